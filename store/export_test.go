package store

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// LimitPages makes the database full for its writer at so many pages beyond
// those that it has. Only the writer may call it: in Config.Now, which it asks in
// each commit.
func (s *Store) LimitPages(more int) error {
	var pages int
	if err := s.writer.prepared(`PRAGMA page_count`).QueryRow().Scan(&pages); err != nil {
		return err
	}
	return s.writer.exec(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+more))
}

// WALPinned is how much of the log must be waiting before people are told.
const WALPinned = walPinned

// HastenWAL makes people hear at once of a reader that pins the log.
func (s *Store) HastenWAL() { s.wal.patience = time.Millisecond }

// HastenLocks makes each commit give up at once while another process keeps the
// write lock, so that it has to be tried again.
func (s *Store) HastenLocks() { s.writer.try = time.Millisecond }

// Pragma is what a PRAGMA says on the writer's own connection.
func (s *Store) Pragma(ctx context.Context, name string) (value string, err error) {
	err = s.writer.do(ctx, func(tx *tx) error {
		return tx.query(`SELECT CAST(` + name + ` AS TEXT) FROM pragma_` + name).QueryRow().Scan(&value)
	})
	return value, err
}

// CallNetworkFS takes the file system of dir for one of the network until undo.
func CallNetworkFS(dir, name string) (undo func(), err error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return nil, err
	}
	magic := uint32(stat.Type)
	networkFS[magic] = name
	return func() { delete(networkFS, magic) }, nil
}

// RefuseType tells whether a directory on such a file system is refused.
func RefuseType(dir string, magic uint32) error { return refuseType(dir, magic) }

// CloseAnyway closes the connections that Close has left open.
func (s *Store) CloseAnyway() error {
	return errors.Join(s.writer.close(), s.read.Close(), s.search.Close())
}

// Selection is the query behind Messages.
func (s *Store) Selection(ctx context.Context, f Filter) (string, []any, error) {
	return s.selection(ctx, f)
}

// CancelAfter is CancelMatching for one page, with something between its reading
// and its commit.
func (s *Store) CancelAfter(ctx context.Context, f Filter, between func()) (Bulk, error) {
	page, err := s.operatedPage(ctx, f)
	if err != nil {
		return Bulk{}, err
	}
	between()
	return s.bulkPage(ctx, page, cancel, false)
}

// KeepSearching keeps every connection for searches until ctx ends.
func (s *Store) KeepSearching(ctx context.Context) error {
	for range searches {
		if _, err := s.search.BeginTxx(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

// SettleDeadlines is one round of RunDeadlines.
func (s *Store) SettleDeadlines(ctx context.Context) error { return s.settleDeadlines(ctx) }
