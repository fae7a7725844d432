package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// rewritePragmas wait for a busy daemon's writes.
const rewritePragmas = "mode=rw&_busy_timeout=30000&_synchronous=FULL&_secure_delete=1&_mutex=no"

const (
	// emptyingFor is how long Rewrite tries to empty the write-ahead log: readers
	// are in the way for moments, and so is a daemon that copies the log itself.
	emptyingFor = 30 * time.Second
	// emptyingTry is how long one try waits for readers, and the pause behind it:
	// SQLite lets nobody write meanwhile, and a daemon has to.
	emptyingTry = 50 * time.Millisecond
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
		if err := s.roomToRewrite(ctx, db); err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, `VACUUM`); err != nil {
			return err
		}
		return emptyLog(ctx, db)
	})
	if isFull(err) {
		return fmt.Errorf("%w: making the database anew: %w", ErrFull, err)
	}
	if err != nil {
		return fmt.Errorf("store: making the database anew: %w", err)
	}
	return nil
}

// roomToRewrite returns ErrFull if the new database, which goes through the
// write-ahead log, would leave too little of the disk: a daemon would send
// nothing until that is empty again.
func (s *Store) roomToRewrite(ctx context.Context, db *sqlx.DB) error {
	var size int64
	if err := db.GetContext(ctx, &size, `
		SELECT (page_count - freelist_count) * page_size
		FROM pragma_page_count, pragma_freelist_count, pragma_page_size`); err != nil {
		return err
	}
	free, err := FreeSpace(s.cfg.Dir)
	if err == nil && free-size < s.cfg.MinFree {
		err = fmt.Errorf("%w: %s are free in %s; %s are needed, and WEIR_MIN_FREE, %s, has to stay",
			ErrFull, Size(free), s.cfg.Dir, Size(size), Size(s.cfg.MinFree))
	}
	return err
}

func emptyLog(ctx context.Context, db *sqlx.DB) error {
	if _, err := db.ExecContext(ctx, fmt.Sprintf(`PRAGMA busy_timeout = %d`, emptyingTry.Milliseconds())); err != nil {
		return err
	}
	patient, cancel := context.WithTimeout(ctx, emptyingFor)
	defer cancel()
	for {
		var busy bool
		var pages, copied int64
		if err := db.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &pages, &copied); err != nil || !busy {
			return err
		}
		select {
		case <-time.After(emptyingTry):
		case <-patient.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return ErrWALKept
		}
	}
}
