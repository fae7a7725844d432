package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"

	"weir/outbox"
)

// Tombstone is what stays for ever of a message whose row is no longer kept,
// times in ISO 8601 UTC. The key is not stored: who asks knows it.
type Tombstone struct {
	Key         string  `db:"-" json:"idempotency_key"`
	Fingerprint string  `db:"fingerprint" json:"fingerprint"`
	State       string  `db:"state" json:"state"`
	MessageID   *string `db:"message_id" json:"message_id"`
	SettledAt   string  `db:"settled_at" json:"settled_at"`
	ErasedAt    *string `db:"erased_at" json:"erased_at"` // nil: the row went because it was old
}

// Tombstone returns what is kept of the message with the key, or ErrNotFound if
// there was none, or its row is still there.
func (s *Store) Tombstone(ctx context.Context, key string) (Tombstone, error) {
	kept := Tombstone{Key: key}
	err := s.read.GetContext(ctx, &kept, `
		SELECT fingerprint, state, message_id,
		       strftime('%Y-%m-%dT%H:%M:%fZ', settled_at / 1000.0, 'unixepoch') AS settled_at,
		       strftime('%Y-%m-%dT%H:%M:%fZ', erased_at  / 1000.0, 'unixepoch') AS erased_at
		FROM tombstones
		WHERE key_hash = ?`, keyHash(key))
	if errors.Is(err, sql.ErrNoRows) {
		return kept, fmt.Errorf("%w with this key", ErrNotFound)
	}
	if err != nil {
		return kept, fmt.Errorf("store: reading a tombstone: %w", err)
	}
	return kept, nil
}

// buried gives the fingerprint of the message whose tombstone holds the key.
func (t *tx) buried(key string) (fingerprint string, found bool, err error) {
	if t.graves == nil {
		t.graves = new(bool)
		if err := t.query(`SELECT EXISTS (SELECT 1 FROM tombstones)`).QueryRow().Scan(t.graves); err != nil {
			return "", false, err
		}
	}
	if !*t.graves {
		return "", false, nil
	}
	err = t.query(`SELECT fingerprint FROM tombstones WHERE key_hash = ?`).QueryRow(keyHash(key)).Scan(&fingerprint)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return fingerprint, err == nil, err
}

// findTombstone tells why there is no row for the key: there never was one, or
// it is no longer kept.
func (t *tx) findTombstone(key string, m *operated) error {
	var state string
	err := t.query(`SELECT state FROM tombstones WHERE key_hash = ?`).QueryRow(keyHash(key)).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w with this key", ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("store: reading a tombstone: %w", err)
	}
	m.state = outbox.State(state)
	return fmt.Errorf("%w: only a tombstone is there of this message", ErrPurged)
}

// keyHash is how a tombstone names its key: whoever reads the database learns
// nothing of a key that holds an order number or an address, and each key takes
// the same little room.
func keyHash(key string) []byte {
	hash := sha256.Sum256([]byte(key))
	return hash[:]
}
