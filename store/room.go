package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
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
	free, err := FreeSpace(s.cfg.Dir)
	if err != nil || free >= s.cfg.MinFree {
		return err
	}
	return fmt.Errorf("%w: %s are free in %s, less than WEIR_MIN_FREE, %s; make space, or lower that setting",
		ErrNoRoom, Size(free), s.cfg.Dir, Size(s.cfg.MinFree))
}

// FreeSpace is how many bytes are free on the disk of dir.
func FreeSpace(dir string) (int64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("store: asking for the free space of %s: %w", dir, err)
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}

// Size writes a number of bytes for people, in the units of the settings: 58.1 GiB.
func Size(n int64) string {
	value, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for value >= 1024 && len(units) > 1 {
		value, units = value/1024, units[1:]
	}
	return strings.TrimSuffix(strconv.FormatFloat(value, 'f', 1, 64), ".0") + " " + units[0]
}

// doNew is do for what is new: it is not taken while the rest of the disk is
// needed for what is there already.
func (s *Store) doNew(ctx context.Context, apply func(*tx) error) error {
	if err := s.Room(); err != nil {
		return err
	}
	return s.writer.do(ctx, apply)
}
