package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"weir/outbox"
)

const (
	// deadlinePoll keeps the promise that a deadline settles its message within a second.
	deadlinePoll = 400 * time.Millisecond
	// deadlineBatch bounds one commit of settled deadlines.
	deadlineBatch = 500
)

// RunDeadlines settles waiting messages whose time is over, until ctx ends:
// a deadline that has passed makes them expired, or unknown if an attempt may
// have had an effect; so does the end of the time in which an ambiguous
// attempt may be repeated.
func (s *Store) RunDeadlines(ctx context.Context) error {
	tick := time.NewTicker(deadlinePoll)
	defer tick.Stop()
	for {
		if !s.doubted() {
			if err := s.settleDeadlines(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Store) settleDeadlines(ctx context.Context) error {
	now := s.cfg.Now().UnixMilli()
	for _, d := range []struct {
		due, settle string
		before      int64
	}{
		{expiredDue, settleExpired, now},
		{ambiguousDue, settleAmbiguous, now - s.cfg.RepeatFor.Milliseconds()},
	} {
		if err := s.settleOverdue(ctx, d.due, d.settle, d.before); err != nil {
			return fmt.Errorf("store: settling deadlines: %w", err)
		}
	}
	return nil
}

// settleOverdue takes the write lock only when a reader has found something to do.
func (s *Store) settleOverdue(ctx context.Context, due, settle string, before int64) error {
	for ctx.Err() == nil {
		var found bool
		if err := s.read.GetContext(ctx, &found, due, before); err != nil || !found {
			return err
		}
		err := s.writer.do(ctx, func(tx *tx) error { return tx.settleWaiting(settle, before, tx.now, deadlineBatch) })
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	expiredDue = `
		SELECT EXISTS (SELECT 1 FROM messages
		WHERE expires_at IS NOT NULL AND state IN ('pending', 'retrying') AND expires_at <= ?)`
	settleExpired = `
		UPDATE messages SET
			state = iif(ambiguous_at IS NULL, 'expired', 'unknown'),
			generation = generation + 1, updated_at = ?2, settled_at = ?2,
			error_message = iif(ambiguous_at IS NULL, 'its deadline passed before it was sent',
			                    'its deadline passed after an attempt that may have been sent')
		WHERE id IN (SELECT id FROM messages
		             WHERE expires_at IS NOT NULL AND state IN ('pending', 'retrying') AND expires_at <= ?1
		             LIMIT ?3)` + returningOutcome
	ambiguousDue = `
		SELECT EXISTS (SELECT 1 FROM messages
		WHERE ambiguous_at IS NOT NULL AND state IN ('pending', 'retrying') AND ambiguous_at <= ?)`
	settleAmbiguous = `
		UPDATE messages SET
			state = 'unknown',
			generation = generation + 1, updated_at = ?2, settled_at = ?2,
			error_code = 'out_of_time',
			error_message = 'an attempt may have been sent, and the API may have forgotten its key: repeating is no longer safe'
		WHERE id IN (SELECT id FROM messages
		             WHERE ambiguous_at IS NOT NULL AND state IN ('pending', 'retrying') AND ambiguous_at <= ?1
		             LIMIT ?3)` + returningOutcome
	returningOutcome = `
		RETURNING id, account, channel, lane, idempotency_key, state, message_id, request_id, http_status, error_code, attempts, settled_at`
)

// settleWaiting runs an UPDATE that settles rows nobody has claimed, and
// notes their outcomes.
func (t *tx) settleWaiting(query string, args ...any) error {
	rows, err := t.query(query).Query(args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var (
			s                          Settled
			key, lane                  string
			messageID, requestID, code sql.NullString
			httpStatus                 sql.NullInt64
			at                         int64
		)
		if err := rows.Scan(&s.ID, &s.Bucket.Account, &s.Bucket.Channel, &lane, &key, &s.State, &messageID, &requestID, &httpStatus, &code, &s.Attempts, &at); err != nil {
			return err
		}
		s.Lane, s.Key, s.At = outbox.Lane(lane), &key, time.UnixMilli(at).UTC()
		s.MessageID, s.RequestID = optional(messageID.String), optional(requestID.String)
		s.HTTPStatus, s.ErrorCode = optional(int(httpStatus.Int64)), optional(code.String)
		t.settled = append(t.settled, s)
	}
	return rows.Err()
}

func (s *Store) doubted() bool { return s.cfg.Doubted != nil && s.cfg.Doubted() }
