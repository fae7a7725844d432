package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"weir/outbox"
)

// topUp feeds the first due rows of a place that are not fed already.
func (f *Feed) topUp(ctx context.Context, p place, now time.Time) error {
	due, err := f.scan(ctx, p, now)
	if err == nil && len(due) > 0 {
		err = f.cfg.Queue.PublishWork(ctx, p.Bucket, p.Lane, due)
	}
	if err == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ref := range due {
		delete(f.lanes[p].out, ref.ID)
	}
	return fmt.Errorf("store: feeding %s %s: %w", p.Bucket, p.Lane, err)
}

// scan reads the head of a place and marks what it returns as fed: before it
// is published, since it may be claimed before the publish returns. After an
// error too, what it returns has been marked.
func (f *Feed) scan(ctx context.Context, p place, now time.Time) ([]outbox.Ref, error) {
	var due []outbox.Ref
	f.mu.Lock()
	f.lanes[p].more = false
	f.mu.Unlock()
	for _, query := range []string{dueRetries, dueFresh} {
		rows, err := f.store.read.QueryxContext(ctx, query, p.Account, p.Channel, string(p.Lane),
			now.UnixMilli(), now.Add(-f.store.cfg.RepeatFor).UnixMilli(), feedDepth)
		if err != nil {
			return due, err
		}
		if due, err = f.collect(p, rows, now, due); err != nil {
			return due, err
		}
	}
	return due, nil
}

// The two scans differ in the state only, so that each meets its own partial index.
const (
	dueRetries = `
		SELECT id, generation, due_at FROM messages
		WHERE state = 'retrying' AND account = ? AND channel = ? AND lane = ?
		  AND (expires_at IS NULL OR expires_at > ?) AND (ambiguous_at IS NULL OR ambiguous_at > ?)
		ORDER BY due_at, id
		LIMIT ?`
	dueFresh = `
		SELECT id, generation, due_at FROM messages
		WHERE state = 'pending' AND account = ? AND channel = ? AND lane = ?
		  AND (expires_at IS NULL OR expires_at > ?) AND (ambiguous_at IS NULL OR ambiguous_at > ?)
		ORDER BY due_at, id
		LIMIT ?`
)

func (f *Feed) collect(p place, rows *sqlx.Rows, now time.Time, due []outbox.Ref) ([]outbox.Ref, error) {
	defer func() { _ = rows.Close() }()
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lanes[p]
	for seen := 1; rows.Next(); seen++ {
		var ref outbox.Ref
		var dueAt int64
		if err := rows.Scan(&ref.ID, &ref.Generation, &dueAt); err != nil {
			return due, err
		}
		if at := time.UnixMilli(dueAt); at.After(now) {
			if l.nextDue.IsZero() || at.Before(l.nextDue) {
				l.nextDue = at
			}
			break
		}
		l.more = l.more || seen == feedDepth
		if fed, found := l.out[ref.ID]; found && fed.generation >= ref.Generation {
			continue
		}
		if len(l.out) >= feedDepth {
			l.more = true
			break
		}
		l.out[ref.ID] = fedSince{generation: ref.Generation, at: now, open: l.openAt(now)}
		due = append(due, ref)
	}
	return due, rows.Err()
}
