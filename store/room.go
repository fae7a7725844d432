package store

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// ErrNoRoom is returned by Accept and Reject while less than Config.MinFree is
// free on the disk of the data directory. Nothing was stored.
var ErrNoRoom = errors.New("store: too little free disk space")

// Room is nil while at least Config.MinFree is free on the disk of the data
// directory, and else an ErrNoRoom. It costs a microsecond.
func (s *Store) Room() error {
	if s.cfg.MinFree <= 0 {
		return nil
	}
	free, err := s.free()
	if err != nil {
		return err
	}
	if free >= s.cfg.MinFree {
		return nil
	}
	return fmt.Errorf("%w: %s are free in %s, less than WEIR_MIN_FREE, %s; make space, or lower that setting",
		ErrNoRoom, mebibytes(free), s.cfg.Dir, mebibytes(s.cfg.MinFree))
}

// free is how many bytes of the disk of the data directory are free.
func (s *Store) free() (int64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(s.cfg.Dir, &fs); err != nil {
		return 0, fmt.Errorf("store: asking for the free space of %s: %w", s.cfg.Dir, err)
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// doNew is do for what is new: it is not taken while the rest of the disk is
// needed for what is there already.
func (s *Store) doNew(ctx context.Context, apply func(*tx) error) error {
	if err := s.Room(); err != nil {
		return err
	}
	return s.writer.do(ctx, apply)
}
