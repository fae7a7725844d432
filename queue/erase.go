package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go/jetstream"
)

// eraseFetch is how many events are read at once.
const eraseFetch = 1000

// Erased tells by their keys what is to be erased. Both fields are needed.
type Erased struct {
	Envelopes func(key string) bool // in WEIR_SEND: only of keys that are refused, or a message is lost
	Events    func(key string) bool // in WEIR_OUTCOME
}

// Erase overwrites the envelopes in WEIR_SEND and the events in WEIR_OUTCOME
// that are erased, and tells how many there were. An envelope that has been
// acked cannot be overwritten: the server drops its file once nothing in it waits.
func (q *Queue) Erase(ctx context.Context, erased Erased) (int, error) {
	var sum int
	for _, s := range []struct {
		name   string
		find   func(ctx context.Context, s jetstream.Stream, state jetstream.StreamState, erased func(key string) bool) ([]uint64, error)
		erased func(key string) bool
	}{{sendStream, q.findEnvelopes, erased.Envelopes}, {outcomeStream, q.findEvents, erased.Events}} {
		n, err := q.eraseIn(ctx, s.name, func(stream jetstream.Stream, state jetstream.StreamState) ([]uint64, error) {
			return s.find(ctx, stream, state, s.erased)
		})
		sum += n
		if err != nil {
			return sum, fmt.Errorf("queue: erase in stream %s: %w", s.name, err)
		}
	}
	return sum, nil
}

// EraseBeside is Erase while no daemon runs. It reaches an external server, or
// starts the embedded one without letting anybody in: the caller holds the lock
// on the data directory. Without streams there is nothing to do.
func EraseBeside(ctx context.Context, cfg Config, erased Erased) (int, error) {
	cfg.Listen = ""
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return 0, err
	}
	if _, err := os.Stat(cfg.StoreDir); cfg.URL == "" && errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	q := newQueue(cfg)
	err := q.connect()
	if err == nil {
		q.js, err = newJetStream(q.nc)
	}
	var n int
	if err == nil {
		n, err = q.Erase(ctx, erased)
	}
	return n, errors.Join(err, q.Close())
}

func (q *Queue) eraseIn(ctx context.Context, name string, find func(jetstream.Stream, jetstream.StreamState) ([]uint64, error)) (int, error) {
	stream, err := q.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	found, err := find(stream, stream.CachedInfo().State)
	if err != nil {
		return 0, err
	}
	for _, seq := range found {
		if err := stream.SecureDeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return 0, err
		}
	}
	return len(found), nil
}

// findEnvelopes reads one by one: a work queue has one consumer, the intake's.
func (q *Queue) findEnvelopes(ctx context.Context, s jetstream.Stream, state jetstream.StreamState, erased func(string) bool) ([]uint64, error) {
	var found []uint64
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		msg, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(sendSubject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break // none from here on
		}
		if err != nil {
			return nil, err
		}
		seq = msg.Sequence
		if erased(keyOf(msg.Data)) {
			found = append(found, seq)
		}
	}
	return found, nil
}

func (q *Queue) findEvents(ctx context.Context, s jetstream.Stream, state jetstream.StreamState, erased func(string) bool) ([]uint64, error) {
	if state.Msgs == 0 {
		return nil, nil
	}
	events, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{InactiveThreshold: apiTimeout})
	if err != nil {
		return nil, err
	}
	var found []uint64
	for {
		batch, err := events.Fetch(eraseFetch, jetstream.FetchMaxWait(apiTimeout))
		if err != nil {
			return nil, err
		}
		read := 0
		for msg := range batch.Messages() {
			meta, err := msg.Metadata()
			if err != nil {
				return nil, err
			}
			read++
			if erased(keyOf(msg.Data())) {
				found = append(found, meta.Sequence.Stream)
			}
			if meta.Sequence.Stream >= state.LastSeq {
				return found, nil
			}
		}
		if err := batch.Error(); err != nil {
			return nil, err
		}
		if read == 0 {
			return found, nil // the last ones have been deleted
		}
	}
}

// keyOf reads the key of an envelope or an event; empty if there is none.
func keyOf(data []byte) string {
	var named struct {
		Key string `json:"idempotency_key"`
	}
	if err := json.Unmarshal(data, &named); err != nil {
		return ""
	}
	return named.Key
}
