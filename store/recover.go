package store

import (
	"context"
	"fmt"
	"time"

	"weir/dispatcher"
	"weir/internal/point"
	"weir/outbox"
)

// Recover judges the claims that a daemon left behind which died: the request
// of each may have been made. Those that may be repeated become retrying, due
// once the first request can no longer be running; the others unknown. It
// returns how many there were.
func (s *Store) Recover(ctx context.Context, p dispatcher.Policy) (int, error) {
	return s.recoverWhere(ctx, p, `epoch < ?`, func(int64) bool { return false })
}

// Sweep does the same for claims of this epoch that nobody works on. There
// should be none; it makes sure that a mistake cannot hold a message for ever.
func (s *Store) Sweep(ctx context.Context, p dispatcher.Policy, working func(id int64) bool) (int, error) {
	return s.recoverWhere(ctx, p, `epoch = ?`, working)
}

func (s *Store) recoverWhere(ctx context.Context, p dispatcher.Policy, epochs string, working func(id int64) bool) (int, error) {
	recovered := 0
	err := s.writer.do(ctx, func(tx *tx) error {
		recovered = 0
		left, err := tx.leftClaims(epochs, s.epoch)
		if err != nil {
			return err
		}
		for i := range left {
			if working(left[i].claim.ID) {
				continue
			}
			if err := tx.recoverClaim(&left[i], p); err != nil {
				return err
			}
			recovered++
		}
		point.Hit(point.RecoveryUncommitted)
		return nil
	})
	point.Hit(point.Recovered)
	if err != nil {
		return 0, fmt.Errorf("store: judging claims that were left behind: %w", err)
	}
	return recovered, nil
}

// SettleMoved makes messages unknown whose ambiguous attempt went to another
// base URL or account than theirs is today: there the key means nothing.
// scopes gives each account's scope of today. It returns how many there were.
func (s *Store) SettleMoved(ctx context.Context, scopes map[string]string) (int, error) {
	moved := 0
	err := s.writer.do(ctx, func(tx *tx) error {
		before := len(tx.settled)
		for account, scope := range scopes {
			if err := tx.settleWaiting(`
				UPDATE messages SET
					state = 'unknown',
					generation = generation + 1, updated_at = ?1, settled_at = ?1,
					error_message = 'an attempt may have been sent to the API that this account had before: repeating is not safe'
				WHERE ambiguous_at IS NOT NULL AND state IN ('pending', 'retrying') AND account = ?2 AND scope <> ?3`+
				returningOutcome, tx.now, account, scope); err != nil {
				return err
			}
		}
		moved = len(tx.settled) - before
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("store: settling messages of another API: %w", err)
	}
	return moved, nil
}

// leftClaim is a row in "sending" and the epoch that claimed it.
type leftClaim struct {
	claim dispatcher.Claim
	epoch int64
}

func (t *tx) leftClaims(epochs string, epoch int64) ([]leftClaim, error) {
	rows, err := t.query(`
		SELECT id, generation, epoch, account, channel, lane, idempotency_key, attempts, first_attempt_at, ambiguous_at, updated_at
		FROM messages
		WHERE state = 'sending' AND ` + epochs).Query(epoch)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var left []leftClaim
	for rows.Next() {
		var l leftClaim
		var lane string
		var first, ambiguous, claimedAt nullMillis
		if err := rows.Scan(&l.claim.ID, &l.claim.Generation, &l.epoch, &l.claim.Bucket.Account, &l.claim.Bucket.Channel, &lane,
			&l.claim.Key, &l.claim.Attempts, &first, &ambiguous, &claimedAt); err != nil {
			return nil, err
		}
		l.claim.Lane = outbox.Lane(lane)
		l.claim.FirstAttemptAt, l.claim.AmbiguousAt, l.claim.ClaimedAt = first.Time, ambiguous.Time, claimedAt.Time
		left = append(left, l)
	}
	return left, rows.Err()
}

func (t *tx) recoverClaim(l *leftClaim, p dispatcher.Policy) error {
	j := dispatcher.SettleLost(l.claim, p, time.UnixMilli(t.now))
	_, err := t.apply(l.epoch, &l.claim, change{
		state: j.State, due: j.DueAt, attempts: 1, firstAttempt: l.claim.ClaimedAt, ambiguous: l.claim.ClaimedAt,
		errorCode: j.ErrorCode, errorMessage: j.ErrorMessage,
	})
	if err != nil {
		return err
	}
	return t.attempt(l.claim.ID, attempt{
		started: l.claim.ClaimedAt, verdict: dispatcher.Lost, errorCode: j.ErrorCode, errorMessage: j.ErrorMessage,
		generation: l.claim.Generation,
	})
}
