package store

import (
	"context"
	"fmt"

	"weir/internal/point"
	"weir/outbox"
)

// Accept stores messages, in order, and tells what became of each: Accepted,
// AlreadyThere or Conflict. When it returns, they are on disk. It returns
// ErrNoRoom while too little of the disk is free.
func (s *Store) Accept(ctx context.Context, messages []outbox.Message) ([]outbox.Result, error) {
	results := make([]outbox.Result, len(messages))
	err := s.doNew(ctx, func(tx *tx) error {
		for i := range messages {
			var err error
			if results[i], err = tx.accept(&messages[i]); err != nil {
				return fmt.Errorf("store: accepting a message: %w", err)
			}
		}
		point.Hit(point.AcceptUncommitted)
		return nil
	})
	if err == nil {
		point.Hit(point.Accepted)
		s.intake.add(results)
	}
	return results, err
}

func (t *tx) accept(m *outbox.Message) (outbox.Result, error) {
	if fingerprint, found, err := t.buried(m.Key); err != nil || found {
		return repeated(m, fingerprint), err
	}
	due := t.now
	if !m.SendAt.IsZero() {
		due = m.SendAt.UnixMilli()
	}
	inserted, err := t.changed(`
		INSERT INTO messages (idempotency_key, fingerprint, account, channel, lane, state, recipient_hash, traceparent,
		                      send_at, due_at, expires_at, created_at, updated_at, body)
		VALUES (?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (idempotency_key) DO NOTHING`,
		m.Key, m.Fingerprint, m.Account, m.Channel, string(m.Lane), text(m.RecipientHash), text(m.Traceparent),
		millis(m.SendAt), due, millis(m.ExpiresAt), t.now, t.now, string(m.Body))
	if err != nil {
		return "", err
	}
	if inserted == 1 {
		t.arrive(place{m.Bucket(), m.Lane})
		return outbox.Accepted, nil
	}
	var stored string
	if err := t.query(`
		SELECT fingerprint FROM messages
		WHERE idempotency_key = ?`).QueryRow(m.Key).Scan(&stored); err != nil {
		return "", err
	}
	return repeated(m, stored), nil
}

// repeated is what m is to the message that has its key.
func repeated(m *outbox.Message, stored string) outbox.Result {
	if stored != m.Fingerprint {
		return outbox.Conflict
	}
	return outbox.AlreadyThere
}

// arrive notes that rows wait at p; a run of equal places is noted once.
func (t *tx) arrive(p place) {
	if n := len(t.arrived); n == 0 || t.arrived[n-1] != p {
		t.arrived = append(t.arrived, p)
	}
}
