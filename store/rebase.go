package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// rebaseRows is how many rows one commit of Rebase or SeeAgain looks at.
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
	err := s.restamp(ctx, was, func(tx *tx, last, next int64) error {
		return tx.rebase(last, next, since.UnixMilli(), was.UnixMilli(), step.Milliseconds())
	})
	if err != nil {
		return fmt.Errorf("store: following a step of the clock: %w", err)
	}
	if f := s.feed.Load(); f != nil {
		f.rebase(step)
	}
	return nil
}

// restamp calls do for the rows behind last up to next, for all rows in turn, a
// commit each, and makes now the last time seen with the last of them, if that
// was reached by then.
func (s *Store) restamp(ctx context.Context, reached time.Time, do func(tx *tx, last, next int64) error) error {
	s.shown.mu.Lock()
	s.shown.buckets = nil // so that everything is counted and shown anew
	s.shown.mu.Unlock()
	last := int64(0)
	for more := true; more; last += rebaseRows {
		err := s.writer.do(ctx, func(tx *tx) error {
			next := last + rebaseRows
			if err := do(tx, last, next); err != nil {
				return err
			}
			var latest int64
			if err := tx.query(`SELECT coalesce(max(id), 0) FROM messages`).QueryRow().Scan(&latest); err != nil {
				return err
			}
			if more = latest > next; more {
				return nil
			}
			return tx.see(reached)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rebase moves the rows behind last up to next.
func (t *tx) rebase(last, next, since, was, step int64) error {
	// A wait that has ended needs no moving, on neither clock. Nor does what was
	// written since the step, by weir send before this process noticed, or by us.
	_, err := t.query(`
		UPDATE messages SET
			due_at           = iif(due_at > min(?4, ?4 + ?5) AND (send_at IS NULL OR due_at <> send_at)
			                       AND updated_at <= ?4 AND updated_at NOT BETWEEN ?4 + ?5 AND ?6, due_at + ?5, due_at),
			first_attempt_at = iif(first_attempt_at BETWEEN ?3 AND ?4, first_attempt_at + ?5, first_attempt_at),
			ambiguous_at     = iif(ambiguous_at     BETWEEN ?3 AND ?4, ambiguous_at     + min(?5, 0), ambiguous_at),
			updated_at       = iif(state = 'sending' AND updated_at BETWEEN ?3 AND ?4, updated_at + min(?5, 0), updated_at)
		WHERE id > ?1 AND id <= ?2 AND (state = 'pending' OR state = 'retrying' OR state = 'sending')`).
		Exec(last, next, since, was, step, t.now)
	return err
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

// SeeAgain makes now the last time seen. If that was later, a person has said
// that now is right: the clock was ahead before, since when and by how much nobody
// knows. So what waits for a time that it set is due now, but for what a producer
// has asked for, and what may have been sent becomes unknown: its key is older
// than it looks. No row may be claimed meanwhile.
func (s *Store) SeeAgain(ctx context.Context) error {
	seen, err := s.LastSeen(ctx)
	if err != nil {
		return err
	}
	if seen.After(s.cfg.Now()) {
		err = s.restamp(ctx, seen, (*tx).distrust)
	} else {
		err = s.writer.do(ctx, func(tx *tx) error { return tx.see(seen) })
	}
	if err != nil {
		return fmt.Errorf("store: taking the time for right: %w", err)
	}
	if f := s.feed.Load(); f != nil {
		f.lookEverywhere()
	}
	return nil
}

// distrust gives up the times that a wrong clock has left in the rows behind last
// up to next.
func (t *tx) distrust(last, next int64) error {
	if err := t.settleWaiting(`
		UPDATE messages SET
			state = 'unknown',
			generation = generation + 1, updated_at = ?3, settled_at = ?3,
			error_message = 'an attempt may have been sent while the clock was wrong, and the API may have forgotten its key: repeating is not safe'
		WHERE id > ?1 AND id <= ?2 AND ambiguous_at IS NOT NULL AND state IN ('pending', 'retrying')`+
		returningOutcome, last, next, t.now); err != nil {
		return err
	}
	_, err := t.query(`
		UPDATE messages SET
			due_at           = iif(send_at IS NULL OR due_at <> send_at, min(due_at, ?3), due_at),
			first_attempt_at = min(first_attempt_at, ?3)
		WHERE id > ?1 AND id <= ?2 AND state IN ('pending', 'retrying') AND (due_at > ?3 OR first_attempt_at > ?3)`).
		Exec(last, next, t.now)
	return err
}

// reach makes now the last time seen unless that was later: only Rebase and
// SeeAgain take it back.
func (t *tx) reach() error {
	_, err := t.query(`
		INSERT INTO meta (name, value) VALUES ('last_seen_at', ?)
		ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)`).Exec(t.now)
	return err
}

// see makes now the last time seen. One beyond reached stays: an earlier run has
// been there, and what its clock has stamped is not judged yet.
func (t *tx) see(reached time.Time) error {
	_, err := t.query(`
		INSERT INTO meta (name, value) VALUES ('last_seen_at', ?)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE value <= ?`).Exec(t.now, reached.UnixMilli())
	return err
}
