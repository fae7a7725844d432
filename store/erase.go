package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"weir/outbox"
)

// erasePage is how many rows are looked at or erased at once: a page of the
// largest bodies fits into memory, and its commit takes a few milliseconds.
const erasePage = 100

// Traces are what there is of a person.
type Traces struct {
	Waiting  []int64 // rows of messages that may be canceled, and surely have not been sent
	Settled  []int64
	Sending  []int64 // their requests are under way: what comes of them is not known
	Unknown  []int64 // may have been sent, for a person to decide
	Rejected []int64
	Gone     bool // the row of the key has gone before
}

// Messages is how many there are, whatever their state.
func (t *Traces) Messages() int {
	return len(t.Waiting) + len(t.Settled) + len(t.Sending) + len(t.Unknown)
}

// FindTraces looks for everything of a person, in each row where it is not the
// one of a key. It keeps no read open for long.
func (s *Store) FindTraces(ctx context.Context, w Whose) (Traces, error) {
	var found Traces
	err := s.findMessages(ctx, w, &found)
	if err == nil {
		err = s.findRejected(ctx, w, &found)
	}
	if err == nil && w.Key != "" && found.Messages() == 0 {
		_, err = s.Tombstone(ctx, w.Key)
		found.Gone = err == nil
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
	}
	if err != nil {
		return found, fmt.Errorf("store: looking for a person's data: %w", err)
	}
	return found, nil
}

// suspect is a message that may be the person's.
type suspect struct {
	ID        int64  `db:"id"`
	Key       string `db:"idempotency_key"`
	State     string `db:"state"`
	Ambiguous bool   `db:"ambiguous"`
	Hit       bool   `db:"hit"`
	Body      []byte `db:"body"`
}

func (s *Store) findMessages(ctx context.Context, w Whose, found *Traces) error {
	for after := int64(0); ; {
		var page []suspect
		err := s.search.SelectContext(ctx, &page, `
			SELECT id, idempotency_key, state, ambiguous_at IS NOT NULL AS ambiguous,
			       ?1 <> '' OR coalesce(recipient_hash = ?2, 0) AS hit, CAST(body AS BLOB) AS body
			FROM messages
			WHERE id > ?3 AND (?1 = '' OR idempotency_key = ?1)
			ORDER BY id
			LIMIT ?4`, w.Key, outbox.RecipientHash(w.Recipient), after, erasePage)
		if err != nil {
			return err
		}
		for _, m := range page {
			if m.Hit || w.in(m.Body) || w.in([]byte(m.Key)) {
				found.add(m)
			}
			after = m.ID
		}
		if len(page) < erasePage || w.Key != "" {
			return nil
		}
	}
}

func (t *Traces) add(m suspect) {
	switch outbox.State(m.State) {
	case outbox.Sending:
		t.Sending = append(t.Sending, m.ID)
	case outbox.Pending, outbox.Retrying:
		if m.Ambiguous {
			t.Unknown = append(t.Unknown, m.ID)
		} else {
			t.Waiting = append(t.Waiting, m.ID)
		}
	case outbox.Unknown:
		t.Unknown = append(t.Unknown, m.ID)
	default:
		t.Settled = append(t.Settled, m.ID)
	}
}

func (s *Store) findRejected(ctx context.Context, w Whose, found *Traces) error {
	for after := int64(0); ; {
		var page []struct {
			ID      int64
			Payload []byte
		}
		if err := s.search.SelectContext(ctx, &page, `
			SELECT id, payload FROM rejected
			WHERE id > ?
			ORDER BY id
			LIMIT ?`, after, erasePage); err != nil {
			return err
		}
		for _, r := range page {
			if w.in(r.Payload) {
				found.Rejected = append(found.Rejected, r.ID)
			}
			after = r.ID
		}
		if len(page) < erasePage {
			return nil
		}
	}
}

// Erasure is what was erased, as the table erasures keeps it.
type Erasure struct {
	Messages int // each is a tombstone now
	Canceled int // of the messages: they still waited
	Rejected int
	Left     int // messages whose state has changed since they were found
}

// Erase puts tombstones in the place of the found messages, those that wait
// included, and removes the rejected payloads. askedBy is the person or program,
// for the table erasures. The keys are noted for the streams, see ErasedKeys. It
// works in small commits; after an error it may be called again. What was erased
// still stands in free pages until Rewrite.
func (s *Store) Erase(ctx context.Context, w Whose, found Traces, askedBy string) (Erasure, error) {
	var sum Erasure
	id, err := s.beginErasure(ctx, w, askedBy)
	if err == nil {
		err = s.eraseAll(ctx, id, append(found.Waiting, found.Settled...), (*tx).eraseMessage, &sum)
	}
	if err == nil {
		err = s.eraseAll(ctx, id, found.Rejected, (*tx).eraseRejected, &sum)
	}
	if err != nil {
		return sum, fmt.Errorf("store: erasing: %w", err)
	}
	return sum, nil
}

// beginErasure notes that something is erased before it is.
func (s *Store) beginErasure(ctx context.Context, w Whose, askedBy string) (id int64, err error) {
	askedFor := "recipient"
	if w.Key != "" {
		askedFor = "key"
	}
	err = s.writer.do(ctx, func(tx *tx) error {
		if w.Key != "" {
			if err := tx.noteErased(w.Key); err != nil {
				return err
			}
			if _, err := tx.query(`
				UPDATE tombstones SET erased_at = coalesce(erased_at, ?)
				WHERE key_hash = ?`).Exec(tx.now, keyHash(w.Key)); err != nil {
				return err
			}
		}
		return tx.query(`
			INSERT INTO erasures (asked_for, asked_by, messages, canceled, rejected, erased_at)
			VALUES (?, ?, 0, 0, 0, ?)
			RETURNING id`).QueryRow(askedFor, askedBy, tx.now).Scan(&id)
	})
	return id, err
}

// eraseAll erases rows in commits of a page, each with what it erased.
func (s *Store) eraseAll(ctx context.Context, id int64, rows []int64, one func(*tx, int64, *Erasure) error, sum *Erasure) error {
	for page := range slices.Chunk(rows, erasePage) {
		var erased Erasure
		err := s.writer.do(ctx, func(tx *tx) error {
			erased = Erasure{}
			for _, row := range page {
				if err := one(tx, row, &erased); err != nil {
					return err
				}
			}
			if _, err := tx.query(`
				UPDATE erasures SET messages = messages + ?, canceled = canceled + ?, rejected = rejected + ?
				WHERE id = ?`).Exec(erased.Messages, erased.Canceled, erased.Rejected, id); err != nil {
				return err
			}
			return tx.sumUp()
		})
		if err != nil {
			return err
		}
		sum.Messages += erased.Messages
		sum.Canceled += erased.Canceled
		sum.Rejected += erased.Rejected
		sum.Left += erased.Left
	}
	return nil
}

// eraseMessage puts a tombstone in the place of one message, unless its state
// does not allow that any more. One that waits counts as canceled.
func (t *tx) eraseMessage(id int64, sum *Erasure) error {
	var key string
	var waits bool
	grave := make([]any, 4)
	rows, err := t.query(`
		SELECT idempotency_key, settled_at IS NULL, fingerprint, iif(settled_at IS NULL, 'canceled', state), message_id, coalesce(settled_at, ?2)
		FROM messages
		WHERE id = ?1 AND state <> 'unknown' AND state <> 'sending' AND (settled_at IS NOT NULL OR ambiguous_at IS NULL)`).Query(id, t.now)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	if !rows.Next() {
		sum.Left++
		return rows.Err()
	}
	if err := rows.Scan(&key, &waits, &grave[0], &grave[1], &grave[2], &grave[3]); err != nil {
		return err
	}
	t.graves = nil // no longer known
	if _, err := t.query(`
		INSERT OR REPLACE INTO tombstones (key_hash, fingerprint, state, message_id, settled_at, erased_at)
		VALUES (?, ?, ?, ?, ?, ?)`).Exec(append(append([]any{keyHash(key)}, grave...), t.now)...); err != nil {
		return err
	}
	if _, err := t.query(`DELETE FROM messages WHERE id = ?`).Exec(id); err != nil {
		return err
	}
	sum.Messages++
	if waits {
		sum.Canceled++
	}
	return t.noteErased(key)
}

// eraseRejected removes one rejected payload, and notes the keys in it.
func (t *tx) eraseRejected(id int64, sum *Erasure) error {
	var payload string
	err := t.query(`SELECT CAST(payload AS TEXT) FROM rejected WHERE id = ?`).QueryRow(id).Scan(&payload)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // pruned meanwhile
	}
	if err != nil {
		return err
	}
	for _, key := range keysIn(payload) {
		if err := t.noteErased(key); err != nil {
			return err
		}
	}
	_, err = t.query(`DELETE FROM rejected WHERE id = ?`).Exec(id)
	sum.Rejected++
	return err
}

func (t *tx) noteErased(key string) error {
	_, err := t.query(`INSERT INTO erased_keys (key_hash) VALUES (?) ON CONFLICT DO NOTHING`).Exec(keyHash(key))
	return err
}
