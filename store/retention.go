package store

import (
	"context"
	"fmt"
	"time"

	"weir/internal/point"
)

const (
	// retentionEvery is how often the daemon looks for what has been kept long enough.
	retentionEvery = time.Minute
	// pruneRows and pruneTime bound one commit: outcomes may have to share it.
	pruneRows = 200
	pruneTime = 5 * time.Millisecond
	// pruneStep is how many rows are pruned between two looks at the clock.
	pruneStep = 20
	// prunePause is the shortest pause between two commits, and pruneShare how
	// many times as long as the last one took it is while others write too.
	prunePause = time.Millisecond
	pruneShare = 9
	// keepRejected is how long a rejected payload is kept.
	keepRejected = 7 * 24 * time.Hour
)

// Retention says how long what has settled is kept. No message that is unknown
// is ever pruned: a person has to decide about it first.
type Retention struct {
	// Bodies is how long a body is kept: it holds people's data, and only a
	// retry of a message that was not sent needs it. It must not be shorter than
	// the time for which the API knows a key.
	Bodies time.Duration
	// Rows is how long the row is kept, with its attempts. Then a tombstone stays,
	// which refuses another message with the key for ever. It must not be shorter
	// than Bodies.
	Rows time.Duration
}

// RunRetention prunes what has been kept long enough until ctx ends, in small
// commits with pauses between them, so that nothing waits for it. Freed pages
// are used again by later messages; the file does not shrink.
func (s *Store) RunRetention(ctx context.Context, keep Retention) error {
	tick := time.NewTicker(retentionEvery)
	defer tick.Stop()
	for {
		if err := s.prune(ctx, keep); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("what has been kept long enough could not be pruned; trying again", "error", err, "in", retentionEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// pruning is one kind of what goes.
type pruning struct {
	before int64 // it was settled, or came, by then
	due    string
	step   func(t *tx, before int64, most int) (int64, error)
}

// prune takes away all that is due.
func (s *Store) prune(ctx context.Context, keep Retention) error {
	if s.doubted() {
		return nil // what is gone does not come back when the clock is right again
	}
	now := s.cfg.Now()
	for _, p := range []pruning{
		{now.Add(-keep.Bodies).UnixMilli(), bodiesDue, (*tx).purgeBodies},
		{now.Add(-keep.Rows).UnixMilli(), rowsDue, (*tx).buryRows},
		{now.Add(-keepRejected).UnixMilli(), rejectedDue, (*tx).dropRejected},
	} {
		if err := s.pruneAll(ctx, p); err != nil {
			return fmt.Errorf("store: pruning: %w", err)
		}
	}
	return nil
}

// pruneAll takes the write lock only when a reader has found something to do.
func (s *Store) pruneAll(ctx context.Context, p pruning) error {
	for {
		var found bool
		if err := s.read.GetContext(ctx, &found, p.due, p.before); err != nil || !found {
			return err
		}
		var took time.Duration
		err := s.writer.do(ctx, func(tx *tx) (err error) {
			took, err = s.pruneSome(tx, p)
			if err == nil {
				point.Hit(point.PruneUncommitted)
			}
			return err
		})
		if err != nil {
			return err
		}
		point.Hit(point.PruneCommitted)
		if err := s.pauseAfter(ctx, took); err != nil {
			return err
		}
	}
}

// pruneSome prunes what one commit may, and tells how long that took.
func (s *Store) pruneSome(tx *tx, p pruning) (took time.Duration, err error) {
	start := s.cfg.Now()
	for rows := int64(0); rows < pruneRows && took < pruneTime; took = s.cfg.Now().Sub(start) {
		n, err := p.step(tx, p.before, pruneStep)
		if err != nil {
			return took, err
		}
		if rows += n; n < pruneStep {
			break
		}
	}
	return took, tx.sumUp()
}

// pauseAfter leaves the writer to others: much of the time if there are any,
// half of it otherwise. A backlog of old rows is worked off when it is quiet.
func (s *Store) pauseAfter(ctx context.Context, took time.Duration) error {
	before := s.commits.Load()
	for _, pause := range []time.Duration{max(took, prunePause), max(took, prunePause) * (pruneShare - 1)} {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		if s.commits.Load() == before {
			return nil
		}
	}
	return nil
}

// The conditions are those of the partial indexes, word for word: INDEXED BY
// fails where they are not.
const (
	bodiesDue = `
		SELECT EXISTS (SELECT 1 FROM messages INDEXED BY messages_whole
		WHERE settled_at IS NOT NULL AND state <> 'unknown' AND body IS NOT NULL AND settled_at <= ?)`
	rowsDue = `
		SELECT EXISTS (SELECT 1 FROM messages INDEXED BY messages_bare
		WHERE settled_at IS NOT NULL AND state <> 'unknown' AND body IS NULL AND settled_at <= ?)`
	rejectedDue = `
		SELECT coalesce((SELECT received_at <= ? FROM rejected ORDER BY id LIMIT 1), 0)`
)

func (t *tx) purgeBodies(before int64, most int) (int64, error) {
	return t.changed(`
		UPDATE messages SET body = NULL
		WHERE id IN (SELECT id FROM messages INDEXED BY messages_whole
		             WHERE settled_at IS NOT NULL AND state <> 'unknown' AND body IS NOT NULL AND settled_at <= ?
		             ORDER BY settled_at
		             LIMIT ?)`, before, most)
}

// buried is a row that becomes a tombstone.
type buried struct {
	id        int64
	key       string
	tombstone []any // what is taken over as it is
}

// buryRows puts tombstones in the place of rows; the attempts go with their row.
func (t *tx) buryRows(before int64, most int) (int64, error) {
	rows, err := t.rowsToBury(before, most)
	if err != nil {
		return 0, err
	}
	t.graves = nil // no longer known
	for _, r := range rows {
		// A key that has a tombstone already can have no row; if somebody made one
		// by hand, the later one counts, and pruning goes on.
		if _, err := t.query(`
			INSERT OR REPLACE INTO tombstones (key_hash, fingerprint, state, message_id, settled_at)
			VALUES (?, ?, ?, ?, ?)`).Exec(append([]any{keyHash(r.key)}, r.tombstone...)...); err != nil {
			return 0, err
		}
		if _, err := t.query(`DELETE FROM messages WHERE id = ?`).Exec(r.id); err != nil {
			return 0, err
		}
	}
	return int64(len(rows)), nil
}

func (t *tx) rowsToBury(before int64, most int) ([]buried, error) {
	rows, err := t.query(`
		SELECT id, idempotency_key, fingerprint, state, message_id, settled_at FROM messages INDEXED BY messages_bare
		WHERE settled_at IS NOT NULL AND state <> 'unknown' AND body IS NULL AND settled_at <= ?
		ORDER BY settled_at
		LIMIT ?`).Query(before, most)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []buried
	for rows.Next() {
		r := buried{tombstone: make([]any, 4)}
		if err := rows.Scan(&r.id, &r.key, &r.tombstone[0], &r.tombstone[1], &r.tombstone[2], &r.tombstone[3]); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// dropRejected looks at the oldest rows only: ids grow with received_at.
func (t *tx) dropRejected(before int64, most int) (int64, error) {
	return t.changed(`
		DELETE FROM rejected
		WHERE id IN (SELECT id FROM (SELECT id, received_at FROM rejected ORDER BY id LIMIT ?2) WHERE received_at <= ?1)`, before, most)
}
