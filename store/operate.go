package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"weir/dispatcher"
	"weir/outbox"
)

// action is what a person does to a message.
type action struct {
	verb  string
	takes []outbox.State
	// check, if set, returns a bare ErrDeadline or ErrPurged if that stands in the way.
	check func(m *operated, now int64) error
	apply func(*tx, *operated) error
}

// Cancel withdraws a message that waits. It becomes canceled, or unknown if an
// attempt may have been sent; the state it got is returned. It returns
// ErrNotFound, ErrPurged, or ErrState for a message that is being sent or has settled.
func (s *Store) Cancel(ctx context.Context, key string) (outbox.State, error) {
	return s.operate(ctx, key, cancel)
}

// Cancelable are the states that Cancel takes.
var Cancelable = []outbox.State{outbox.Pending, outbox.Retrying}

var cancel = action{
	verb: "cancel", takes: Cancelable,
	apply: func(tx *tx, m *operated) error {
		return tx.settleWaiting(`
			UPDATE messages SET
				state = iif(ambiguous_at IS NULL, 'canceled', 'unknown'),
				generation = generation + 1, updated_at = ?2, settled_at = ?2,
				error_message = iif(ambiguous_at IS NULL, 'canceled by an operator',
				                    'canceled by an operator after an attempt that may have been sent')
			WHERE id = ?1`+returningOutcome, m.id, tx.now)
	},
}

// Retry makes a message that was surely not sent (failed, canceled or expired)
// pending again, as if it were new. It keeps its deadline unless a new one is
// given; one that has passed must be replaced. It returns ErrNotFound, ErrState,
// ErrDeadline, or ErrPurged if its body is no longer kept.
func (s *Store) Retry(ctx context.Context, key string, deadline time.Time) (outbox.State, error) {
	return s.operate(ctx, key, retry(deadline))
}

// Retryable are the states that Retry takes.
var Retryable = []outbox.State{outbox.Failed, outbox.Expired, outbox.Canceled}

func retry(deadline time.Time) action {
	return action{
		verb: "retry", takes: Retryable,
		check: func(m *operated, now int64) error {
			if m.bodiless {
				return ErrPurged
			}
			if d := m.deadline(deadline); !d.IsZero() && d.UnixMilli() <= now {
				return ErrDeadline
			}
			return nil
		},
		apply: func(tx *tx, m *operated) error { return tx.restart(m, m.deadline(deadline), false) },
	}
}

// Resolution is what a person found out about an unknown message.
type Resolution string

const (
	// WasSent means that the message took effect: it becomes sent.
	WasSent Resolution = "sent"
	// WasNotSent means that it surely did not: it becomes failed, and may be retried.
	WasNotSent Resolution = "not-sent"
	// MayDuplicate means that sending it twice is better than not at all: it becomes pending.
	MayDuplicate Resolution = "may-duplicate"
)

// Resolve settles what weir could not know of an unknown message. messageID
// is the API's, if the person knows it. With MayDuplicate a deadline that has
// passed no longer counts, and the message still counts as possibly sent: it may
// be repeated for a key's lifetime from now on, wherever its account is today.
// It returns ErrNotFound, ErrPurged or ErrState.
func (s *Store) Resolve(ctx context.Context, key string, r Resolution, messageID string) (outbox.State, error) {
	return s.operate(ctx, key, action{verb: "resolve", takes: []outbox.State{outbox.Unknown}, apply: func(tx *tx, m *operated) error {
		var next outbox.State
		switch r {
		case MayDuplicate:
			return tx.restart(m, m.deadlineAhead(tx.now), true)
		case WasSent:
			next = outbox.Sent
		case WasNotSent:
			next = outbox.Failed
		default:
			return fmt.Errorf("no such resolution: %q", r)
		}
		return tx.settleWaiting(`
			UPDATE messages SET
				state = ?2, message_id = coalesce(?3, message_id), ambiguous_at = NULL,
				error_code = iif(?2 = 'sent', NULL, error_code), error_message = iif(?2 = 'sent', NULL, error_message),
				generation = generation + 1, updated_at = ?4, settled_at = ?4
			WHERE id = ?1`+returningOutcome, m.id, string(next), text(messageID), tx.now)
	}})
}

// operated is the message that a person acts on.
type operated struct {
	id       int64
	state    outbox.State
	place    place
	expires  time.Time // zero: never
	bodiless bool      // its body is no longer kept
}

// deadline is the new one, if there is one, or else the message's own.
func (m *operated) deadline(renewed time.Time) time.Time {
	if renewed.IsZero() {
		return m.expires
	}
	return renewed
}

// deadlineAhead is the message's deadline, or zero if it has passed.
func (m *operated) deadlineAhead(now int64) time.Time {
	if m.expires.UnixMilli() <= now {
		return time.Time{}
	}
	return m.expires
}

// operate finds a message and changes it in one transaction.
func (s *Store) operate(ctx context.Context, key string, do action) (outbox.State, error) {
	var m operated
	err := s.writer.do(ctx, func(tx *tx) error {
		if err := tx.find(key, &m); err != nil {
			return err
		}
		switch err := tx.act(do, &m); {
		case errors.Is(err, ErrState):
			return fmt.Errorf("%w: cannot %s a message that is %s", ErrState, do.verb, m.state)
		case errors.Is(err, ErrPurged):
			return fmt.Errorf("%w: cannot %s a message without its body", ErrPurged, do.verb)
		case errors.Is(err, ErrDeadline):
			return fmt.Errorf("%w: cannot %s it without a new one", ErrDeadline, do.verb)
		case err != nil:
			return fmt.Errorf("store: %s of a message: %w", do.verb, err)
		}
		return tx.find(key, &m)
	})
	return m.state, err
}

// act does to a message what may be done to it, or returns a bare ErrState,
// ErrDeadline or ErrPurged.
func (t *tx) act(do action, m *operated) error {
	if err := do.allows(m, t.now); err != nil {
		return err
	}
	return do.apply(t, m)
}

func (a action) allows(m *operated, now int64) error {
	if !slices.Contains(a.takes, m.state) {
		return ErrState
	}
	if a.check == nil {
		return nil
	}
	return a.check(m, now)
}

func (t *tx) find(key string, m *operated) error {
	err := m.scan(t.query(operatedRow + `WHERE idempotency_key = ?`).QueryRow(key))
	if errors.Is(err, sql.ErrNoRows) {
		return t.findTombstone(key, m)
	}
	if err != nil {
		return fmt.Errorf("store: reading a message: %w", err)
	}
	return nil
}

const operatedRow = `
	SELECT id, state, account, channel, lane, expires_at, body IS NULL FROM messages
	`

// scan reads a row of operatedRow.
func (m *operated) scan(row interface{ Scan(...any) error }) error {
	var state, lane string
	var expires nullMillis
	err := row.Scan(&m.id, &state, &m.place.Account, &m.place.Channel, &lane, &expires, &m.bodiless)
	m.state, m.place.Lane, m.expires = outbox.State(state), outbox.Lane(lane), expires.Time
	return err
}

// restart makes a settled message pending as if it were new: it waits for its
// send_at again. Its attempts stay on record, but no longer count. If one of them
// maybe took effect, no refusal, deadline or cancellation proves that nothing was sent.
func (t *tx) restart(m *operated, deadline time.Time, maybe bool) error {
	_, err := t.query(`
		UPDATE messages SET
			state = 'pending', generation = generation + 1, attempts = 0,
			due_at = max(?2, coalesce(send_at, 0)), expires_at = ?3, updated_at = ?2, settled_at = NULL,
			first_attempt_at = NULL, ambiguous_at = iif(?4, ?2, NULL), scope = NULL,
			http_status = NULL, error_code = NULL, error_message = NULL
		WHERE id = ?1`).Exec(m.id, t.now, millis(deadline), maybe)
	if err == nil {
		t.arrive(m.place)
	}
	return err
}

// Pause sets an operator's gate on a scope, until a time or, if zero, until Resume.
func (s *Store) Pause(ctx context.Context, scope, reason string, until time.Time) error {
	return s.PutGate(ctx, dispatcher.Gate{
		Scope: scope, Kind: dispatcher.Paused, Reason: reason, Since: s.cfg.Now(), Until: until, SetBy: dispatcher.ByOperator,
	})
}

// Resume removes an operator's gate, or the hold of a clock that a person knows
// to be right. It reports whether there was one.
func (s *Store) Resume(ctx context.Context, scope string) (resumed bool, err error) {
	err = s.writer.do(ctx, func(tx *tx) error {
		n, err := tx.changed(`
			DELETE FROM gates
			WHERE scope = ? AND (kind = 'paused' OR (kind = 'held' AND set_by = 'clock'))`, scope)
		if err != nil {
			return err
		}
		resumed = n > 0
		return tx.showGates(scope)
	})
	if err != nil {
		return false, fmt.Errorf("store: resuming %s: %w", scope, err)
	}
	return resumed, nil
}

// ResumeAll ends the pauses of all scopes, and gives those that it resumed. The
// hold of a clock stays: who ends that says something about the time.
func (s *Store) ResumeAll(ctx context.Context) (resumed []string, err error) {
	err = s.writer.do(ctx, func(tx *tx) error {
		resumed, err = tx.scopes(`
			DELETE FROM gates
			WHERE kind = 'paused'
			RETURNING scope`)
		if err != nil {
			return err
		}
		for _, scope := range resumed {
			if err := tx.showGates(scope); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store: resuming all: %w", err)
	}
	return resumed, nil
}

// scopes runs a change of gates and gives the scopes that it returns, each once.
func (t *tx) scopes(query string) ([]string, error) {
	rows, err := t.query(query).Query()
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var scopes []string
	for rows.Next() {
		var scope string
		if err := rows.Scan(&scope); err != nil {
			return nil, err
		}
		scopes = append(scopes, scope)
	}
	slices.Sort(scopes)
	return slices.Compact(scopes), rows.Err()
}
