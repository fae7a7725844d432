package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// MessageView is a message as people and scripts read it: the columns of
// messages_readable without the body, times in ISO 8601 UTC, null for absent.
type MessageView struct {
	ID             int64   `db:"id" json:"id"`
	Key            string  `db:"idempotency_key" json:"idempotency_key"`
	Fingerprint    string  `db:"fingerprint" json:"fingerprint"`
	Account        string  `db:"account" json:"account"`
	Channel        string  `db:"channel" json:"channel"`
	Lane           string  `db:"lane" json:"lane"`
	State          string  `db:"state" json:"state"`
	Generation     int64   `db:"generation" json:"generation"`
	Epoch          *int64  `db:"epoch" json:"epoch"`
	Scope          *string `db:"scope" json:"scope"`
	RecipientHash  *string `db:"recipient_hash" json:"recipient_hash"`
	Traceparent    *string `db:"traceparent" json:"traceparent"`
	Attempts       int     `db:"attempts" json:"attempts"`
	Throttles      int     `db:"throttles" json:"throttles"`
	SendAt         *string `db:"send_at" json:"send_at"`
	DueAt          string  `db:"due_at" json:"due_at"`
	ExpiresAt      *string `db:"expires_at" json:"expires_at"`
	CreatedAt      string  `db:"created_at" json:"created_at"`
	FirstAttemptAt *string `db:"first_attempt_at" json:"first_attempt_at"`
	AmbiguousAt    *string `db:"ambiguous_at" json:"ambiguous_at"`
	UpdatedAt      string  `db:"updated_at" json:"updated_at"`
	SettledAt      *string `db:"settled_at" json:"settled_at"`
	MessageID      *string `db:"message_id" json:"message_id"`
	RequestID      *string `db:"request_id" json:"request_id"`
	HTTPStatus     *int    `db:"http_status" json:"http_status"`
	ErrorCode      *string `db:"error_code" json:"error_code"`
	ErrorMessage   *string `db:"error_message" json:"error_message"`
}

// AttemptView is one row of attempts_readable.
type AttemptView struct {
	Message      int64   `db:"message" json:"message"`
	Number       int     `db:"number" json:"number"`
	Requests     int     `db:"requests" json:"requests"`
	StartedAt    string  `db:"started_at" json:"started_at"`
	DurationMS   *int    `db:"duration_ms" json:"duration_ms"`
	Verdict      string  `db:"verdict" json:"verdict"`
	HTTPStatus   *int    `db:"http_status" json:"http_status"`
	ErrorCode    *string `db:"error_code" json:"error_code"`
	ErrorMessage *string `db:"error_message" json:"error_message"`
	RequestID    *string `db:"request_id" json:"request_id"`
	RateLimit    *int    `db:"rate_limit" json:"rate_limit"`
	Remaining    *int    `db:"remaining" json:"remaining"`
	ResetAt      *string `db:"reset_at" json:"reset_at"`
}

// StatusView is one row of status_readable.
type StatusView struct {
	Scope          string  `db:"scope" json:"scope"`
	State          string  `db:"state" json:"state"`
	Reason         *string `db:"reason" json:"reason"`
	SinceAt        *string `db:"since_at" json:"since_at"`
	UntilAt        *string `db:"until_at" json:"until_at"`
	LimitScope     *string `db:"limit_scope" json:"limit_scope"`
	RateLimit      *int    `db:"rate_limit" json:"rate_limit"`
	Remaining      *int    `db:"remaining" json:"remaining"`
	ResetAt        *string `db:"reset_at" json:"reset_at"`
	WindowMS       *int64  `db:"window_ms" json:"window_ms"`
	ClockOffsetMS  *int64  `db:"clock_offset_ms" json:"clock_offset_ms"`
	Pending        int     `db:"pending" json:"pending"`
	Scheduled      int     `db:"scheduled" json:"scheduled"`
	Retrying       int     `db:"retrying" json:"retrying"`
	InFlight       int     `db:"in_flight" json:"in_flight"`
	Sent           int     `db:"sent" json:"sent"`
	Failed         int     `db:"failed" json:"failed"`
	Expired        int     `db:"expired" json:"expired"`
	Canceled       int     `db:"canceled" json:"canceled"`
	Unknown        int     `db:"unknown" json:"unknown"`
	Throttled      int     `db:"throttled" json:"throttled"`
	SentLastMinute int     `db:"sent_last_minute" json:"sent_last_minute"`
	OldestDueAt    *string `db:"oldest_due_at" json:"oldest_due_at"`
	ETAAt          *string `db:"eta_at" json:"eta_at"`
	LastRequestID  *string `db:"last_request_id" json:"last_request_id"`
	LastErrorCode  *string `db:"last_error_code" json:"last_error_code"`
	HeartbeatAt    *string `db:"heartbeat_at" json:"heartbeat_at"`
}

// GateView is one row of gates_readable.
type GateView struct {
	Scope     string  `db:"scope" json:"scope"`
	Kind      string  `db:"kind" json:"kind"`
	Reason    string  `db:"reason" json:"reason"`
	SinceAt   string  `db:"since_at" json:"since_at"`
	UntilAt   *string `db:"until_at" json:"until_at"`
	RequestID *string `db:"request_id" json:"request_id"`
	SetBy     string  `db:"set_by" json:"set_by"`
}

const messageColumns = `
	id, idempotency_key, fingerprint, account, channel, lane, state, generation, epoch, scope, recipient_hash, traceparent,
	attempts, throttles, send_at, due_at, expires_at, created_at, first_attempt_at, ambiguous_at, updated_at, settled_at,
	message_id, request_id, http_status, error_code, error_message`

// Message returns the message with the key, or ErrNotFound.
func (s *Store) Message(ctx context.Context, key string) (MessageView, error) {
	return s.message(ctx, "idempotency_key", key)
}

// MessageByID returns the message in the row, or ErrNotFound.
func (s *Store) MessageByID(ctx context.Context, id int64) (MessageView, error) {
	return s.message(ctx, "id", id)
}

func (s *Store) message(ctx context.Context, column string, value any) (MessageView, error) {
	var m MessageView
	err := s.read.GetContext(ctx, &m, `SELECT `+messageColumns+` FROM messages_readable WHERE `+column+` = ?`, value)
	if errors.Is(err, sql.ErrNoRows) {
		return m, fmt.Errorf("%w with this %s", ErrNotFound, column)
	}
	if err != nil {
		return m, fmt.Errorf("store: reading a message: %w", err)
	}
	return m, nil
}

// Stored is Message as JSON or, once its row is gone, its Tombstone.
func (s *Store) Stored(ctx context.Context, key string) (json.RawMessage, error) {
	m, err := s.Message(ctx, key)
	if errors.Is(err, ErrNotFound) {
		kept, err := s.Tombstone(ctx, key)
		if err != nil {
			return nil, err
		}
		return json.Marshal(kept)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

// Body returns the body of the message with the key, or ErrNotFound.
func (s *Store) Body(ctx context.Context, key string) (string, error) {
	var body sql.NullString
	err := s.read.GetContext(ctx, &body, `SELECT body FROM messages WHERE idempotency_key = ?`, key)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("%w with this key", ErrNotFound)
	}
	if err != nil {
		return "", fmt.Errorf("store: reading a body: %w", err)
	}
	return body.String, nil
}

// Attempts returns the attempts of a message, first to last.
func (s *Store) Attempts(ctx context.Context, message int64) ([]AttemptView, error) {
	attempts := []AttemptView{}
	err := s.read.SelectContext(ctx, &attempts, `
		SELECT * FROM attempts_readable
		WHERE message = ?
		ORDER BY number`, message)
	if err != nil {
		return nil, fmt.Errorf("store: reading the attempts of message %d: %w", message, err)
	}
	return attempts, nil
}

// GateViews returns every gate for people, by scope.
func (s *Store) GateViews(ctx context.Context) ([]GateView, error) {
	gates := []GateView{}
	if err := s.read.SelectContext(ctx, &gates, `SELECT * FROM gates_readable ORDER BY scope, kind, set_by`); err != nil {
		return nil, fmt.Errorf("store: reading the gates: %w", err)
	}
	return gates, nil
}
