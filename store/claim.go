package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"weir/dispatcher"
	"weir/outbox"
)

var _ dispatcher.Ledger = (*Store)(nil)

// Claim turns references into claims for one attempt each, committed when it
// returns. A reference that is stale, not due or out of time yields no claim. The scope is kept on rows that have had no ambiguous attempt.
func (s *Store) Claim(ctx context.Context, scope string, refs []outbox.Ref) ([]dispatcher.Claim, error) {
	var claims []dispatcher.Claim
	err := s.writer.do(ctx, func(tx *tx) error {
		claims = make([]dispatcher.Claim, 0, len(refs))
		for _, ref := range refs {
			claim, err := tx.claim(s.epoch, scope, ref, s.cfg.RepeatFor)
			if errors.Is(err, sql.ErrNoRows) {
				tx.stale = append(tx.stale, ref)
				continue
			}
			if err != nil {
				return fmt.Errorf("store: claiming message %d: %w", ref.ID, err)
			}
			claims = append(claims, claim)
			tx.claimed = append(tx.claimed, fed{place{claim.Bucket, claim.Lane}, ref})
		}
		return nil
	})
	return claims, err
}

func (t *tx) claim(epoch int64, scope string, ref outbox.Ref, repeatFor time.Duration) (dispatcher.Claim, error) {
	c := dispatcher.Claim{Ref: ref, ClaimedAt: time.UnixMilli(t.now)}
	var (
		lane                                  string
		traceparent                           sql.NullString
		due, expires, firstAttempt, ambiguous nullMillis
	)
	err := t.query(`
		UPDATE messages SET
			state = 'sending',
			epoch = ?1,
			scope = iif(ambiguous_at IS NULL, ?2, scope),
			updated_at = ?3
		WHERE id = ?4
		  AND generation = ?5
		  AND state IN ('pending', 'retrying')
		  AND due_at <= ?3
		  AND (expires_at IS NULL OR expires_at > ?3)
		  AND (ambiguous_at IS NULL OR ambiguous_at > ?6)
		RETURNING account, channel, lane, idempotency_key, body, traceparent, attempts, throttles,
		          due_at, expires_at, first_attempt_at, ambiguous_at, scope`).
		QueryRow(epoch, scope, t.now, ref.ID, ref.Generation, t.now-repeatFor.Milliseconds()).
		Scan(&c.Bucket.Account, &c.Bucket.Channel, &lane, &c.Key, &c.Body, &traceparent, &c.Attempts, &c.Throttles,
			&due, &expires, &firstAttempt, &ambiguous, &c.Scope)
	c.Lane = outbox.Lane(lane)
	c.Traceparent = traceparent.String
	c.DueAt, c.ExpiresAt = due.Time, expires.Time
	c.FirstAttemptAt, c.AmbiguousAt = firstAttempt.Time, ambiguous.Time
	return c, err
}
