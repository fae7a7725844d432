package store

import (
	"context"
	"fmt"
	"time"

	"weir/dispatcher"
	"weir/internal/point"
	"weir/outbox"
)

// Record stores an attempt and what it made of its message, in one commit, and
// calls done once it is on disk. A claim that is no longer the daemon's own
// changes nothing: that epoch has ended, and recovery has judged the row.
func (s *Store) Record(r dispatcher.Record, done func(error)) {
	s.writer.submit(func(tx *tx) error {
		if err := tx.record(s.epoch, &r); err != nil {
			return fmt.Errorf("store: recording an attempt of message %d: %w", r.Claim.ID, err)
		}
		point.Hit(point.OutcomeUncommitted)
		return nil
	}, done)
}

func (t *tx) record(epoch int64, r *dispatcher.Record) error {
	c, a, j := &r.Claim, &r.Answer, &r.Judgement
	next := change{
		state: j.State, due: t.due(a.EndedAt, j.DueAt),
		httpStatus: a.Status, errorCode: j.ErrorCode, errorMessage: j.ErrorMessage,
		requestID: a.RequestID,
	}
	if j.State == outbox.Sent {
		next.messageID = a.MessageID
		next.errorCode, next.errorMessage = "", "" // a conflict can say that it was sent
	}
	if j.Counted {
		next.attempts, next.firstAttempt = 1, a.StartedAt
	}
	if j.Throttled {
		next.throttles = 1
	}
	if j.Ambiguous {
		// The clock may have been set back during the request.
		next.ambiguous = time.UnixMilli(min(a.KeyUsedAt().UnixMilli(), t.now))
	}
	applied, err := t.apply(epoch, c, next)
	if err != nil || !applied {
		return err
	}
	return t.attempt(c.ID, attempt{
		started: a.StartedAt, duration: a.EndedAt.Sub(a.StartedAt), verdict: j.Verdict,
		httpStatus: a.Status, errorCode: j.ErrorCode, errorMessage: j.ErrorMessage, requestID: a.RequestID,
		limit: r.Limit, generation: c.Generation,
	})
}

// due is when to try again, told at ended, by the clock of this commit: that may
// have been set back in between. A correction of less than a second is none.
func (t *tx) due(ended, at time.Time) time.Time {
	now := time.UnixMilli(t.now)
	if at.IsZero() || !ended.After(now.Add(time.Second)) {
		return at
	}
	return now.Add(at.Sub(ended))
}

// Release gives claims back that were not used, in one commit.
func (s *Store) Release(ctx context.Context, claims []dispatcher.Claim) error {
	return s.writer.do(ctx, func(tx *tx) error {
		for i := range claims {
			if _, err := tx.apply(s.epoch, &claims[i], change{state: waiting(&claims[i])}); err != nil {
				return fmt.Errorf("store: releasing message %d: %w", claims[i].ID, err)
			}
		}
		return nil
	})
}

// waiting is the state to which an unused claim returns.
func waiting(c *dispatcher.Claim) outbox.State {
	if c.Attempts > 0 || !c.AmbiguousAt.IsZero() {
		return outbox.Retrying
	}
	return outbox.Pending
}

// change is what becomes of a claimed row. Zero values leave a column alone.
type change struct {
	state        outbox.State
	attempts     int
	throttles    int
	due          time.Time
	firstAttempt time.Time
	ambiguous    time.Time
	messageID    string
	requestID    string
	httpStatus   int
	errorCode    string
	errorMessage string
}

// apply moves a row out of "sending". It reports false if the row is not held
// under this claim. What was due when it was claimed is due now, although the
// clock may have been set back since; a send_at is a time of day.
func (t *tx) apply(epoch int64, c *dispatcher.Claim, next change) (bool, error) {
	var settledAt any
	grown := 1 // a return to pending or retrying outdates every reference to the row
	if next.state.Settled() {
		settledAt, grown = t.now, 0
	}
	n, err := t.changed(`
		UPDATE OR FAIL messages SET
			state            = ?1,
			generation       = generation + ?2,
			attempts         = attempts + ?3,
			throttles        = throttles + ?4,
			due_at           = coalesce(?5, iif(due_at = send_at, due_at, min(due_at, ?13))),
			first_attempt_at = coalesce(first_attempt_at, ?6),
			ambiguous_at     = coalesce(ambiguous_at, ?7),
			message_id       = coalesce(?8, message_id),
			request_id       = coalesce(?9, request_id),
			http_status      = coalesce(?10, http_status),
			error_code       = iif(?1 = 'sent', NULL, coalesce(?11, error_code)),
			error_message    = iif(?1 = 'sent', NULL, coalesce(?12, error_message)),
			updated_at       = ?13,
			settled_at       = ?14
		WHERE id = ?15 AND generation = ?16 AND state = 'sending' AND epoch = ?17`,
		string(next.state), grown, next.attempts, next.throttles, millis(next.due), millis(next.firstAttempt),
		millis(next.ambiguous), text(next.messageID), text(next.requestID), number(next.httpStatus),
		text(next.errorCode), text(next.errorMessage), t.now, settledAt, c.ID, c.Generation, epoch)
	if err != nil || n == 0 {
		return false, err
	}
	at := place{c.Bucket, c.Lane}
	switch {
	case next.state.Settled():
		t.settled = append(t.settled, Settled{outcome(c, next, t.now), c.ID, c.Bucket, c.Lane})
	case next.due.IsZero():
		t.held = append(t.held, placedRef{at, c.Next()})
	default:
		t.arrive(at)
	}
	return true, nil
}

// outcome is the event of a claim that has settled.
func outcome(c *dispatcher.Claim, next change, now int64) outbox.Outcome {
	return outbox.Outcome{
		Key: &c.Key, State: string(next.state), Attempts: c.Attempts + next.attempts, At: time.UnixMilli(now).UTC(),
		MessageID: optional(next.messageID), RequestID: optional(next.requestID),
		HTTPStatus: optional(next.httpStatus), ErrorCode: optional(next.errorCode),
	}
}

// optional is nil for the zero value, which the contract writes as null.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
