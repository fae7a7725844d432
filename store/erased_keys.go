package store

import (
	"context"
	"fmt"
)

// ErasedKeys are the keys whose envelopes and events are still in the streams.
type ErasedKeys map[string]bool // by keyHash

// Has tells whether key is one of them.
func (k ErasedKeys) Has(key string) bool { return k[string(keyHash(key))] }

// ErasedKeys returns those that the streams are still to be cleared of.
func (s *Store) ErasedKeys(ctx context.Context) (ErasedKeys, error) {
	var hashes [][]byte
	if err := s.read.SelectContext(ctx, &hashes, `SELECT key_hash FROM erased_keys`); err != nil {
		return nil, fmt.Errorf("store: reading the erased keys: %w", err)
	}
	keys := make(ErasedKeys, len(hashes))
	for _, hash := range hashes {
		keys[string(hash)] = true
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
