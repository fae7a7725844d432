package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bulk is what a change of many messages came to.
type Bulk struct {
	Matched int `json:"matched"` // fitted the filter
	Changed int `json:"changed"`
	Skipped int `json:"skipped"` // fitted, but could not be changed, or not any more
	Purged  int `json:"purged"`  // of the skipped: their bodies are no longer kept
	Overdue int `json:"overdue"` // of the skipped: their deadlines have passed, and there is no new one
}

// bulkBatch is how many messages share a commit: a few milliseconds of it.
const bulkBatch = 200

// bulkGap is left between two commits: a daemon in another process asks for the
// write lock once a millisecond.
const bulkGap = time.Millisecond

// RetryMatching does what Retry does to all messages that match, in the order
// of their acceptance; f's Most does not count. Without Before it leaves alone
// what comes in meanwhile, see NextID. Without States it takes the Retryable ones;
// of others it returns ErrState. With dryRun nothing is
// changed, and the counts say what would be skipped. It works in small commits,
// so that a daemon goes on meanwhile: after an error some are changed, as the
// counts say, and it may be called again.
func (s *Store) RetryMatching(ctx context.Context, f Filter, deadline time.Time, dryRun bool) (Bulk, error) {
	return s.bulk(ctx, f, retry(deadline), dryRun)
}

// CancelMatching does what Cancel does to all messages that match, as
// RetryMatching does what Retry does.
func (s *Store) CancelMatching(ctx context.Context, f Filter, dryRun bool) (Bulk, error) {
	return s.bulk(ctx, f, cancel, dryRun)
}

func (s *Store) bulk(ctx context.Context, f Filter, do action, dryRun bool) (Bulk, error) {
	if len(f.States) == 0 {
		f.States = do.takes
	}
	for _, state := range f.States {
		if !slices.Contains(do.takes, state) {
			return Bulk{}, fmt.Errorf("%w: cannot %s messages that are %s", ErrState, do.verb, state)
		}
	}
	var sum Bulk
	if f.Before == 0 { // What comes in meanwhile was not meant.
		var err error
		if f.Before, err = s.NextID(ctx); err != nil {
			return sum, err
		}
	}
	f.oldestFirst, f.Most = true, bulkBatch
	for {
		page, err := s.operatedPage(ctx, f)
		if err != nil {
			return sum, fmt.Errorf("store: %s of many messages: %w", do.verb, err)
		}
		if len(page) == 0 {
			return sum, nil
		}
		f.after = page[len(page)-1].id
		batch, err := s.bulkPage(ctx, page, do, dryRun)
		if err != nil {
			return sum, fmt.Errorf("store: %s of many messages: %w", do.verb, err)
		}
		sum.add(batch)
		select {
		case <-time.After(bulkGap):
		case <-ctx.Done():
		}
	}
}

// NextID is above the ids of all messages that are there: as a filter's Before it
// keeps a change to those that somebody was asked about.
func (s *Store) NextID(ctx context.Context) (id int64, err error) {
	if err := s.read.GetContext(ctx, &id, `SELECT 1 + coalesce(max(id), 0) FROM messages`); err != nil {
		return 0, fmt.Errorf("store: looking for the newest message: %w", err)
	}
	return id, nil
}

func (s *Store) operatedPage(ctx context.Context, f Filter) ([]operated, error) {
	query, args, err := s.selection(ctx, f)
	if err != nil {
		return nil, err
	}
	rows, err := s.search.QueryContext(ctx, operatedRow+`WHERE id IN (`+query+`) ORDER BY id`, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var page []operated
	for rows.Next() {
		var m operated
		if err := m.scan(rows); err != nil {
			return nil, err
		}
		page = append(page, m)
	}
	return page, rows.Err()
}

// bulkPage changes those messages of a page that can still be changed.
func (s *Store) bulkPage(ctx context.Context, page []operated, do action, dryRun bool) (batch Bulk, err error) {
	if dryRun {
		now := s.cfg.Now().UnixMilli()
		for i := range page {
			if err := do.allows(&page[i], now); err == nil {
				batch.Matched++
			} else {
				batch.skip(err)
			}
		}
		return batch, nil
	}
	err = s.writer.do(ctx, func(tx *tx) error {
		batch = Bulk{} // a commit may be tried again
		for i := range page {
			var m operated // as it is by now
			err := m.scan(tx.query(operatedRow + `WHERE id = ?`).QueryRow(page[i].id))
			if err == nil {
				err = tx.act(do, &m)
			}
			if err == nil {
				batch.Matched++
				batch.Changed++
			} else if !batch.skip(err) {
				return err
			}
		}
		return nil
	})
	return batch, err
}

// skip counts a message that stays as it is because of err, unless that is a failure.
func (b *Bulk) skip(err error) bool {
	switch {
	case errors.Is(err, ErrPurged):
		b.Purged++
	case errors.Is(err, ErrDeadline):
		b.Overdue++
	case errors.Is(err, ErrState), errors.Is(err, sql.ErrNoRows):
	default:
		return false
	}
	b.Matched++
	b.Skipped++
	return true
}

func (b *Bulk) add(more Bulk) {
	b.Matched += more.Matched
	b.Changed += more.Changed
	b.Skipped += more.Skipped
	b.Purged += more.Purged
	b.Overdue += more.Overdue
}
