package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"weir/outbox"
)

const (
	maxRejectedPayload = 320 << 10
	maxRejectedRows    = 10_000
	maxRejectedBytes   = 256 << 20
)

// Reject keeps payloads that could not become messages, for people to look at.
// The oldest make room: at most 10,000 rows and 256 MiB are kept.
func (s *Store) Reject(ctx context.Context, rejections []outbox.Rejection) error {
	err := s.doNew(ctx, func(tx *tx) error {
		for _, r := range rejections {
			if err := tx.reject(r); err != nil {
				return fmt.Errorf("store: keeping a rejected payload: %w", err)
			}
		}
		if err := tx.boundRejected(); err != nil {
			return fmt.Errorf("store: bounding the rejected payloads: %w", err)
		}
		return nil
	})
	if err == nil {
		s.intake.rejected.Add(int64(len(rejections)))
	}
	return err
}

func (t *tx) reject(r outbox.Rejection) error {
	payload := r.Payload[:min(len(r.Payload), maxRejectedPayload)]
	if payload == nil {
		payload = []byte{} // a nil slice would be NULL
	}
	_, err := t.query(`
		INSERT INTO rejected (payload, size, reason, received_at)
		VALUES (?, ?, ?, ?)`).Exec(payload, len(r.Payload), r.Reason, t.now)
	return err
}

func (t *tx) boundRejected() error {
	if _, err := t.query(`
		DELETE FROM rejected
		WHERE id <= (SELECT id FROM rejected ORDER BY id DESC LIMIT 1 OFFSET ?)`).Exec(maxRejectedRows); err != nil {
		return err
	}
	_, err := t.query(`
		DELETE FROM rejected
		WHERE id <= (SELECT max(id) FROM (SELECT id, sum(length(payload)) OVER (ORDER BY id DESC) AS held FROM rejected)
		             WHERE held > ?)`).Exec(maxRejectedBytes)
	return err
}

// RejectedRow is a payload that could not become a message, without the payload.
type RejectedRow struct {
	ID         int64  `db:"id" json:"id"`
	Reason     string `db:"reason" json:"reason"`
	Size       int    `db:"size" json:"size"` // of the whole payload, in bytes
	Cut        bool   `db:"cut" json:"cut"`   // more came than is kept
	ReceivedAt string `db:"received_at" json:"received_at"`
}

// Rejected returns at most so many of the rejected payloads with an id below
// before, newest first. Zero is before none.
func (s *Store) Rejected(ctx context.Context, before int64, most int) ([]RejectedRow, error) {
	rows := []RejectedRow{}
	err := s.read.SelectContext(ctx, &rows, `
		SELECT r.id, r.reason, r.size, r.received_at, t.size > length(t.payload) AS cut
		FROM rejected_readable AS r JOIN rejected AS t ON t.id = r.id
		WHERE r.id < ?1 OR ?1 = 0
		ORDER BY r.id DESC
		LIMIT ?2`, before, most)
	if err != nil {
		return nil, fmt.Errorf("store: reading the rejected payloads: %w", err)
	}
	return rows, nil
}

// RejectedPayload returns what is kept of a rejected payload, or ErrNotFound.
func (s *Store) RejectedPayload(ctx context.Context, id int64) ([]byte, error) {
	var payload []byte
	err := s.read.GetContext(ctx, &payload, `SELECT payload FROM rejected WHERE id = ?`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, noRejected(id)
	}
	if err != nil {
		return nil, fmt.Errorf("store: reading a rejected payload: %w", err)
	}
	return payload, nil
}

func noRejected(id int64) error {
	return fmt.Errorf("%w: nothing rejected has the id %d", ErrNotFound, id)
}
