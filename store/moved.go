package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// filesEvery is how often the files of the database are looked at.
const filesEvery = 10 * time.Second

// ErrMoved is the end of a daemon whose database file, or a helper file of it,
// has been replaced or removed: what it would write might be seen by nobody.
var ErrMoved = errors.New("store: the database was replaced or removed under the running daemon")

// file is what a path must go on to name.
type file struct{ device, inode uint64 }

// WatchFiles compares the files of the database with those that were opened,
// until ctx ends. When they are others it ends every write and returns
// ErrMoved. It only asks for their names: opening and closing one of them in
// this process would drop SQLite's locks.
func (s *Store) WatchFiles(ctx context.Context) error {
	tick := time.NewTicker(filesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.Moved(); err != nil {
			return err
		}
	}
}

// Moved looks at the files at once. When they are others it ends every write and
// returns ErrMoved, which explains whatever else went wrong.
func (s *Store) Moved() error {
	err := s.compareFiles()
	if err != nil {
		s.writer.fail(err)
	}
	return err
}

// rememberFiles is called once the first commit has made them all.
func (s *Store) rememberFiles() error {
	s.files = make(map[string]file)
	for _, path := range s.databaseFiles() {
		f, err := identify(path)
		if err != nil {
			return fmt.Errorf("store: looking at the database: %w", err)
		}
		s.files[path] = f
	}
	return nil
}

func (s *Store) databaseFiles() []string {
	return []string{s.path(), s.path() + "-wal", s.path() + "-shm"}
}

func (s *Store) compareFiles() error {
	for path, opened := range s.files {
		f, err := identify(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%w: %s is gone; put back what belongs there, then start weir serve", ErrMoved, path)
		case err != nil:
			s.cfg.Log.Warn("the database file cannot be looked at", "error", err)
		case f != opened:
			return fmt.Errorf("%w: %s is another file now; make sure that the right one is there, then start weir serve", ErrMoved, path)
		}
	}
	return nil
}

func identify(path string) (file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return file{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return file{}, fmt.Errorf("%s: no inode", path)
	}
	return file{device: uint64(stat.Dev), inode: stat.Ino}, nil
}
