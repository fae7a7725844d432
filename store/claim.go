package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"weir/dispatcher"
	"weir/outbox"
)

var _ dispatcher.Ledger = (*Store)(nil)

// Claim turns references into claims for one attempt each, committed when it
// returns. A reference that is stale, not due or out of time yields no claim.
// The scope is kept on rows that have had no ambiguous attempt.
//
// The rows are read outside the writer, which all messages share: what a
// reference names does not change until its generation does, and the claim
// itself decides.
func (s *Store) Claim(ctx context.Context, scope string, refs []outbox.Ref) ([]dispatcher.Claim, error) {
	read, err := s.readClaims(ctx, scope, refs)
	if err != nil {
		return nil, fmt.Errorf("store: reading messages to claim: %w", err)
	}
	var claims []dispatcher.Claim
	err = s.writer.do(ctx, func(tx *tx) error {
		claims = make([]dispatcher.Claim, 0, len(refs))
		for _, ref := range refs {
			claim, found := read[ref]
			if found {
				if found, err = tx.claim(s.epoch, &claim, s.cfg.RepeatFor); err != nil {
					return fmt.Errorf("store: claiming message %d: %w", ref.ID, err)
				}
			}
			if !found {
				tx.stale = append(tx.stale, ref)
				continue
			}
			claim.ClaimedAt = time.UnixMilli(tx.now)
			claims = append(claims, claim)
			tx.claimed = append(tx.claimed, fed{place{claim.Bucket, claim.Lane}, ref})
		}
		return nil
	})
	return claims, err
}

// readClaims reads what the references name, by reference.
func (s *Store) readClaims(ctx context.Context, scope string, refs []outbox.Ref) (map[outbox.Ref]dispatcher.Claim, error) {
	ids := make([]byte, 1, 1+8*len(refs))
	ids[0] = '['
	for i, ref := range refs {
		if i > 0 {
			ids = append(ids, ',')
		}
		ids = strconv.AppendInt(ids, ref.ID, 10)
	}
	rows, err := s.read.QueryContext(ctx, `
		SELECT id, generation, account, channel, lane, idempotency_key, body, traceparent, attempts, throttles,
		       due_at, expires_at, first_attempt_at, ambiguous_at, scope
		FROM messages
		WHERE id IN (SELECT value FROM json_each(?))`, string(append(ids, ']')))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	claims := make(map[outbox.Ref]dispatcher.Claim, len(refs))
	for rows.Next() {
		c, err := scanClaim(rows, scope)
		if err != nil {
			return nil, err
		}
		claims[c.Ref] = c
	}
	return claims, rows.Err()
}

func scanClaim(rows *sql.Rows, scope string) (dispatcher.Claim, error) {
	c := dispatcher.Claim{Scope: scope}
	var (
		lane                                  string
		body                                  sql.RawBytes
		traceparent, ambiguousScope           sql.NullString
		due, expires, firstAttempt, ambiguous nullMillis
	)
	err := rows.Scan(&c.ID, &c.Generation, &c.Bucket.Account, &c.Bucket.Channel, &lane, &c.Key, &body, &traceparent,
		&c.Attempts, &c.Throttles, &due, &expires, &firstAttempt, &ambiguous, &ambiguousScope)
	c.Body = bytes.Clone(body)
	c.Lane = outbox.Lane(lane)
	c.Traceparent = traceparent.String
	c.DueAt, c.ExpiresAt = due.Time, expires.Time
	c.FirstAttemptAt, c.AmbiguousAt = firstAttempt.Time, ambiguous.Time
	if !c.AmbiguousAt.IsZero() {
		c.Scope = ambiguousScope.String
	}
	return c, err
}

// claim marks the row as being sent, unless that is not due any more.
func (t *tx) claim(epoch int64, c *dispatcher.Claim, repeatFor time.Duration) (bool, error) {
	n, err := t.changed(`
		UPDATE messages SET state = 'sending', epoch = ?1, scope = ?2, updated_at = ?3
		WHERE id = ?4
		  AND generation = ?5
		  AND state IN ('pending', 'retrying')
		  AND due_at <= ?3
		  AND (expires_at IS NULL OR expires_at > ?3)
		  AND (ambiguous_at IS NULL OR ambiguous_at > ?6)`,
		epoch, c.Scope, t.now, c.ID, c.Generation, t.now-repeatFor.Milliseconds())
	return n == 1, err
}
