package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

const (
	// rewritePragmas wait for a busy daemon's writes.
	rewritePragmas = "mode=rw&_busy_timeout=30000&_synchronous=FULL&_secure_delete=1&_mutex=no"
	// emptyWALFor is how long readers may keep the write-ahead log from being emptied.
	emptyWALFor = 15 * time.Second
)

// ErrWALKept is returned by Rewrite when a reader that does not end keeps the
// write-ahead log from being emptied.
var ErrWALKept = errors.New("store: a reader keeps the write-ahead log")

// Rewrite writes the whole database anew and empties the write-ahead log: what
// was deleted stands in no free page, and in no gap within one, any more. Where
// pages are rearranged, secure_delete leaves some of it there. Others cannot
// write meanwhile, and twice the size of the database has to be free. It returns
// ErrFull or ErrWALKept.
func (s *Store) Rewrite(ctx context.Context) error {
	err := withSQL(s.path(), rewritePragmas, func(db *sqlx.DB) error {
		if _, err := db.ExecContext(ctx, `VACUUM`); err != nil {
			return err
		}
		for start := time.Now(); ; {
			var busy bool
			var pages, copied int64
			if err := db.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &pages, &copied); err != nil || !busy {
				return err
			}
			if time.Since(start) > emptyWALFor {
				return ErrWALKept
			}
		}
	})
	if isFull(err) {
		return fmt.Errorf("%w: making the database anew: %w", ErrFull, err)
	}
	if err != nil {
		return fmt.Errorf("store: making the database anew: %w", err)
	}
	return nil
}
