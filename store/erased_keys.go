package store

import (
	"context"
	"fmt"
)

// ErasedKeys are the keys whose envelopes and events are still in the streams:
// by keyHash, whether a tombstone refuses the key.
type ErasedKeys map[string]bool

// Has tells whether key is one of them.
func (k ErasedKeys) Has(key string) bool {
	_, found := k[string(keyHash(key))]
	return found
}

// Refuses tells whether an envelope with key can become no message. One whose key
// stood in a rejected payload only may be what its producer has mended.
func (k ErasedKeys) Refuses(key string) bool { return k[string(keyHash(key))] }

// ErasedKeys returns those that the streams are still to be cleared of.
func (s *Store) ErasedKeys(ctx context.Context) (ErasedKeys, error) {
	var rows []struct {
		Hash    []byte `db:"key_hash"`
		Refused bool
	}
	if err := s.read.SelectContext(ctx, &rows, `
		SELECT e.key_hash, t.key_hash IS NOT NULL AS refused
		FROM erased_keys AS e LEFT JOIN tombstones AS t ON t.key_hash = e.key_hash`); err != nil {
		return nil, fmt.Errorf("store: reading the erased keys: %w", err)
	}
	keys := make(ErasedKeys, len(rows))
	for _, row := range rows {
		keys[string(row.Hash)] = row.Refused
	}
	return keys, nil
}

// ForgetErasedKeys says that the streams hold nothing more of keys.
func (s *Store) ForgetErasedKeys(ctx context.Context, keys ErasedKeys) error {
	err := s.writer.do(ctx, func(tx *tx) error {
		for hash := range keys {
			if _, err := tx.query(`DELETE FROM erased_keys WHERE key_hash = ?`).Exec([]byte(hash)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store: forgetting erased keys: %w", err)
	}
	return nil
}
