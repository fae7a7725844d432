package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// rebaseRows is how many rows one commit of Rebase looks at.
const rebaseRows = 5000

// Rebase moves the times in unsettled rows by the step that the clock has just
// made, was being the time before it. Those are ends of spans (a message waits
// for its next attempt, its key is known since) and would otherwise be off by
// the step: after one back, what was due at once would wait for as long. Only
// what this run has stamped is moved, from since on; what a producer has asked
// for is a time of day and stays. A step forward leaves alone since when a key is
// known: a machine that was suspended wakes up with one, as its monotonic clock
// stood still, and the API has gone on forgetting meanwhile. Of a claim, which
// may die with the daemon, that is updated_at.
func (s *Store) Rebase(ctx context.Context, since, was time.Time, step time.Duration) error {
	s.shown.mu.Lock()
	s.shown.buckets = nil // so that everything is counted and shown anew
	s.shown.mu.Unlock()
	last := int64(0)
	for more := true; more; {
		err := s.writer.do(ctx, func(tx *tx) (err error) {
			next := last + rebaseRows
			more, err = tx.rebase(last, next, since.UnixMilli(), was.UnixMilli(), step.Milliseconds())
			if err == nil && !more {
				err = tx.see(tx.now)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("store: following a step of the clock: %w", err)
		}
		last += rebaseRows
	}
	if f := s.feed.Load(); f != nil {
		f.rebase(step)
	}
	return nil
}

// rebase moves the rows behind last up to next. It reports whether there are
// rows behind those.
func (t *tx) rebase(last, next, since, was, step int64) (more bool, err error) {
	// A wait that has ended needs no moving, on neither clock. Nor does what was
	// written since the step, by weir send before this process noticed, or by us.
	_, err = t.query(`
		UPDATE messages SET
			due_at           = iif(due_at > min(?4, ?4 + ?5) AND (send_at IS NULL OR due_at <> send_at)
			                       AND updated_at <= ?4 AND updated_at NOT BETWEEN ?4 + ?5 AND ?6, due_at + ?5, due_at),
			first_attempt_at = iif(first_attempt_at BETWEEN ?3 AND ?4, first_attempt_at + ?5, first_attempt_at),
			ambiguous_at     = iif(ambiguous_at     BETWEEN ?3 AND ?4, ambiguous_at     + min(?5, 0), ambiguous_at),
			updated_at       = iif(state = 'sending' AND updated_at BETWEEN ?3 AND ?4, updated_at + min(?5, 0), updated_at)
		WHERE id > ?1 AND id <= ?2 AND (state = 'pending' OR state = 'retrying' OR state = 'sending')`).
		Exec(last, next, since, was, step, t.now)
	if err == nil {
		var latest int64
		err = t.query(`SELECT coalesce(max(id), 0) FROM messages`).QueryRow().Scan(&latest)
		more = latest > next
	}
	return more, err
}

// rebase moves what the feed remembers, and has it look everywhere.
func (f *Feed) rebase(step time.Duration) {
	f.mu.Lock()
	for _, l := range f.lanes {
		l.lookedAt, l.turn, l.checkAt = l.lookedAt.Add(step), l.turn.Add(step), l.checkAt.Add(step)
		for id, fed := range l.out {
			fed.at = fed.at.Add(step)
			l.out[id] = fed
		}
	}
	f.mu.Unlock()
	f.lookEverywhere()
}

// LastSeen is the latest time that a daemon is known to have reached, zero if none.
func (s *Store) LastSeen(ctx context.Context) (time.Time, error) {
	var seen nullMillis
	err := s.read.QueryRowContext(ctx, `
		SELECT value FROM meta
		WHERE name = 'last_seen_at'`).Scan(&seen)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, fmt.Errorf("store: reading the last time seen: %w", err)
	}
	return seen.Time, nil
}

// SeeAgain makes now the last time seen, although that may have been later: a
// person has said that it is right.
func (s *Store) SeeAgain(ctx context.Context) error {
	err := s.writer.do(ctx, func(tx *tx) error { return tx.see(tx.now) })
	if err != nil {
		return fmt.Errorf("store: storing the time: %w", err)
	}
	return nil
}

func (t *tx) see(now int64) error {
	_, err := t.query(`
		INSERT INTO meta (name, value) VALUES ('last_seen_at', ?)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`).Exec(now)
	return err
}
