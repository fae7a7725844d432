package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// LimitPages makes the database full for its writer at so many pages, beyond
// those that it has.
func (s *Store) LimitPages(ctx context.Context, more int) error {
	var pages int
	if err := s.writer.conn.QueryRowContext(ctx, `PRAGMA page_count`).Scan(&pages); err != nil {
		return err
	}
	_, err := s.writer.conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+more))
	return err
}

// WALPinned is how much of the log must be waiting before people are told.
const WALPinned = walPinned

// HastenWAL makes people hear at once of a reader that pins the log.
func (s *Store) HastenWAL() { s.wal.patience = time.Millisecond }

// CloseAnyway closes the connections that Close has left open.
func (s *Store) CloseAnyway() error { return errors.Join(s.writer.close(), s.read.Close()) }
