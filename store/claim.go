package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"weir/dispatcher"
	"weir/internal/point"
	"weir/outbox"
)

var _ dispatcher.Ledger = (*Store)(nil)

// Claim turns references into claims for one attempt each, committed when it
// returns. A reference that is stale, not due or out of time yields no claim. Rows
// take the scope, but those that have had an ambiguous attempt: they keep its.
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
			tx.claimed = append(tx.claimed, placedRef{place{claim.Bucket, claim.Lane}, ref})
		}
		if len(claims) > 0 {
			point.Hit(point.ClaimUncommitted)
		}
		return nil
	})
	if err == nil && len(claims) > 0 {
		point.Hit(point.Claimed)
	}
	return claims, err
}

// claim reads the row if it may be claimed, and marks it. Reading first is
// cheaper than UPDATE … RETURNING, for which SQLite builds a table each time.
func (t *tx) claim(epoch int64, scope string, ref outbox.Ref, repeatFor time.Duration) (dispatcher.Claim, error) {
	c := dispatcher.Claim{Ref: ref, ClaimedAt: time.UnixMilli(t.now), Scope: scope}
	var (
		lane                                           string
		traceparent, ambiguousScope                    sql.NullString
		created, due, expires, firstAttempt, ambiguous nullMillis
	)
	err := t.query(`
		SELECT account, channel, lane, idempotency_key, body, traceparent, attempts, throttles,
		       created_at, due_at, expires_at, first_attempt_at, ambiguous_at, scope
		FROM messages
		WHERE id = ?1
		  AND generation = ?2
		  AND state IN ('pending', 'retrying')
		  AND due_at <= ?3
		  AND (expires_at IS NULL OR expires_at > ?3)
		  AND (ambiguous_at IS NULL OR ambiguous_at > ?4)`).
		QueryRow(ref.ID, ref.Generation, t.now, t.now-repeatFor.Milliseconds()).
		Scan(&c.Bucket.Account, &c.Bucket.Channel, &lane, &c.Key, &c.Body, &traceparent, &c.Attempts, &c.Throttles,
			&created, &due, &expires, &firstAttempt, &ambiguous, &ambiguousScope)
	if err != nil {
		return c, err
	}
	c.Lane = outbox.Lane(lane)
	c.Traceparent = traceparent.String
	c.CreatedAt, c.DueAt, c.ExpiresAt = created.Time, due.Time, expires.Time
	c.FirstAttemptAt, c.AmbiguousAt = firstAttempt.Time, ambiguous.Time
	// Without one, a restore has marked the row, or a person takes the risk of a
	// second effect: its attempt is taken to have gone here.
	if !c.AmbiguousAt.IsZero() && ambiguousScope.Valid {
		c.Scope = ambiguousScope.String
	}
	_, err = t.query(`
		UPDATE OR FAIL messages SET state = 'sending', epoch = ?, scope = ?, updated_at = ?
		WHERE id = ?`).Exec(epoch, c.Scope, t.now, ref.ID)
	return c, err
}
