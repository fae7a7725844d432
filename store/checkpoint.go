package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// checkpointEvery is how often the write-ahead log is copied into the database
// while there are writes.
const checkpointEvery = 100 * time.Millisecond

// RunCheckpoints copies the write-ahead log into the database beside the
// writer, until ctx ends: a commit then need not do it. The writer's own
// automatic checkpoint, at a larger size, finds little left to copy and lets
// the log begin anew.
func (s *Store) RunCheckpoints(ctx context.Context) error {
	db, err := sqlx.Open("sqlite3", dsn(s.path(), checkpointPragmas))
	if err != nil {
		return fmt.Errorf("store: opening for checkpoints: %w", err)
	}
	db.SetMaxOpenConns(1)
	defer func() { _ = db.Close() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.writer.commits:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(checkpointEvery):
		}
		// Busy means that another process is at it; then there is nothing to do. On a
		// full disk the writer waits by itself. What cannot be copied otherwise stays
		// in the log, which would grow for ever: that ends the daemon.
		var busy, pages, copied int64
		err := db.QueryRowContext(context.WithoutCancel(ctx), `PRAGMA wal_checkpoint(PASSIVE)`).Scan(&busy, &pages, &copied)
		switch {
		case err == nil:
			s.wal.note((pages-copied)*pageSize, time.Now())
		case isBroken(err) && !isFull(err):
			s.writer.fail(fmt.Errorf("store: copying the write-ahead log into the database: %w", err))
		}
	}
}
