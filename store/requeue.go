package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"weir/outbox"
)

// ErrCut is returned by RequeueRejected for a payload of which only a part is kept.
var ErrCut = errors.New("store: only a part of the payload is kept")

// RequeueRejected judges a rejected payload once more, with the channels that
// are known now, and makes a message of it if it can: the cause may have gone,
// such as a channel that weir.yaml did not have. The payload stays as it came: a
// mended one is another message, to be sent as such. A ttl still counts from
// when the payload came. It leaves the rejected if the result is Accepted or
// AlreadyThere; on Conflict, and with an error, it stays. The error is
// ErrNotFound, ErrCut, ErrNoRoom, or an *outbox.InvalidError that says what is
// wrong with it.
func (s *Store) RequeueRejected(ctx context.Context, id int64, known outbox.Channels) (m outbox.Message, result outbox.Result, err error) {
	err = s.doNew(ctx, func(tx *tx) error {
		m, err = tx.judgeRejected(id, known)
		if err != nil {
			return err
		}
		result, err = tx.accept(&m)
		if err != nil {
			return fmt.Errorf("store: requeueing a rejected payload: %w", err)
		}
		if result == outbox.Conflict {
			return nil
		}
		_, err = tx.query(`DELETE FROM rejected WHERE id = ?`).Exec(id)
		return err
	})
	return m, result, err
}

func (t *tx) judgeRejected(id int64, known outbox.Channels) (outbox.Message, error) {
	var payload []byte
	var size int
	var received nullMillis
	err := t.query(`SELECT payload, size, received_at FROM rejected WHERE id = ?`).QueryRow(id).Scan(&payload, &size, &received)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return outbox.Message{}, noRejected(id)
	case err != nil:
		return outbox.Message{}, fmt.Errorf("store: reading a rejected payload: %w", err)
	case len(payload) < size:
		return outbox.Message{}, fmt.Errorf("%w: %d of %d bytes", ErrCut, len(payload), size)
	}
	envelope, err := outbox.ParseEnvelope(payload)
	if err != nil {
		return outbox.Message{}, err
	}
	return envelope.Message(received.Time, known)
}
