package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"

	"weir/outbox"
)

// Intake counts what this process has been handed since it opened the store, by
// whatever way. What commands store in processes of their own is not in it.
type Intake struct {
	Accepted, AlreadyThere, Conflicts int64 // messages
	Rejected                          int64 // payloads that became no message
}

// intakeCounts is an Intake that grows.
type intakeCounts struct {
	accepted, alreadyThere, conflicts, rejected atomic.Int64
}

// add counts what has been committed.
func (c *intakeCounts) add(results []outbox.Result) {
	for _, result := range results {
		switch result {
		case outbox.Accepted:
			c.accepted.Add(1)
		case outbox.AlreadyThere:
			c.alreadyThere.Add(1)
		case outbox.Conflict:
			c.conflicts.Add(1)
		}
	}
}

// Intake tells what has been handed over so far.
func (s *Store) Intake() Intake {
	c := &s.intake
	return Intake{c.accepted.Load(), c.alreadyThere.Load(), c.conflicts.Load(), c.rejected.Load()}
}

// Space is what the database takes of its disk, and what is left, in bytes.
type Space struct {
	Database, WAL int64
	Free          int64 // on the disk of the data directory
	MinFree       int64 // below this nothing new is taken; 0: no bound
}

// Space asks the file system. It opens no file, which would drop SQLite's locks.
func (s *Store) Space() (Space, error) {
	database, err := sizeOf(s.path())
	wal, walErr := sizeOf(s.path() + "-wal")
	free, freeErr := s.free()
	return Space{Database: database, WAL: wal, Free: free, MinFree: s.cfg.MinFree}, errors.Join(err, walErr, freeErr)
}

// sizeOf is zero for a file that is not there.
func sizeOf(path string) (int64, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("store: asking for a size: %w", err)
	}
	return info.Size(), nil
}

// RejectedKept counts the rejected payloads that are kept.
func (s *Store) RejectedKept(ctx context.Context) (int, error) {
	var kept int
	if err := s.read.GetContext(ctx, &kept, `SELECT count(*) FROM rejected`); err != nil {
		return 0, fmt.Errorf("store: counting the rejected payloads: %w", err)
	}
	return kept, nil
}
