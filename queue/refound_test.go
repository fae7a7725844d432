package queue

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"weir/outbox"
)

// refusing is JetStream on a server that refuses some times to make a consumer.
type refusing struct {
	jetstream.JetStream
	times atomic.Int64
}

func (r *refusing) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := r.JetStream.Stream(ctx, name)
	return refusingStream{stream, r}, err
}

type refusingStream struct {
	jetstream.Stream
	refusing *refusing
}

func (s refusingStream) CreateConsumer(ctx context.Context, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	if s.refusing.times.Add(-1) >= 0 {
		return nil, errors.New("no consumer can be made now")
	}
	return s.Stream.CreateConsumer(ctx, cfg)
}

// acceptedKeys is a ledger that tells what it accepts.
type acceptedKeys chan string

func (l acceptedKeys) Accept(_ context.Context, messages []outbox.Message) ([]outbox.Result, error) {
	for _, m := range messages {
		l <- m.Key
	}
	return make([]outbox.Result, len(messages)), nil
}

func (acceptedKeys) Reject(context.Context, []outbox.Rejection) error { return nil }

func (acceptedKeys) Stored(context.Context, string) (json.RawMessage, error) { return nil, nil }

func TestAnIntakeThatCannotBeMadeAnewAtOnceIsMadeLater(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	q, err := Open(ctx, Config{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	server := &refusing{JetStream: q.js}
	server.times.Store(2)
	q.js = server
	accepted, ended := make(acceptedKeys, 1), make(chan error, 1)
	go func() { ended <- q.RunIntake(ctx, accepted) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = q.Close()
	})
	if err := server.DeleteConsumer(ctx, sendStream, "intake-"+q.id); err != nil { // as with its store
		t.Fatal(err)
	}
	if _, err := server.Publish(ctx, "weir.send", []byte(`{"idempotency_key":"k","body":{}}`)); err != nil {
		t.Fatal(err)
	}
	if key := <-accepted; key != "k" {
		t.Errorf("accepted %s", key)
	}
	if left := server.times.Load(); left >= 0 {
		t.Errorf("%d refusals were left", left+1)
	}
}
