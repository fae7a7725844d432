package queue

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"weir/internal/bubble"
	"weir/outbox"
)

// refusing is JetStream on a server that fails some times to make a consumer.
type refusing struct {
	jetstream.JetStream
	why   error
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
		return nil, s.refusing.why
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
	server := &refusing{JetStream: q.js, why: errors.New("no consumer can be made now")}
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
	select {
	case key := <-accepted:
		if key != "k" {
			t.Errorf("accepted %s", key)
		}
	case <-time.After(time.Minute):
		t.Error("the message that waits is not accepted")
	}
	if left := server.times.Load(); left >= 0 {
		t.Errorf("%d refusals were left", left+1)
	}
}

func TestAStartWaitsForAnEmbeddedNATSThatGivesNoAnswer(t *testing.T) {
	q, server := openRefusing(t, context.DeadlineExceeded, 2)
	if err := q.setUp(t.Context()); err != nil {
		t.Errorf("it ended: %v", err)
	}
	if left := server.times.Load(); left != -1 {
		t.Errorf("%d refusals were left", left+1)
	}
}

func TestAStartDoesNotWaitForAnEmbeddedNATSThatSaysNo(t *testing.T) {
	no := errors.New("no such thing")
	q, _ := openRefusing(t, no, 1)
	if err := q.setUp(t.Context()); !errors.Is(err, no) {
		t.Errorf("%v, want what it said", err)
	}
}

func openRefusing(t *testing.T, why error, times int64) (*Queue, *refusing) {
	q, err := Open(t.Context(), Config{StoreDir: t.TempDir(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	server := &refusing{JetStream: q.js, why: why}
	server.times.Store(times)
	q.js = server
	return q, server
}

// mute is JetStream on a server that gives no answer.
type mute struct{ jetstream.JetStream }

func (mute) Stream(ctx context.Context, _ string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestAStartGivesUpANATSThatNeverAnswers(t *testing.T) {
	for _, c := range []struct {
		name     string
		server   *embedded
		from, to time.Duration
	}{
		{"embedded", &embedded{}, setUpTimeout, setUpTimeout + apiTimeout + retryMost},
		{"external", nil, apiTimeout, apiTimeout}, // has an operator of its own
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				q := newQueue(Config{}.withDefaults())
				q.server, q.js = c.server, mute{}
				began := time.Now()
				err := q.setUp(t.Context())
				if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took < c.from || took > c.to {
					t.Errorf("%v after %v, want it given up between %v and %v", err, took, c.from, c.to)
				}
			})
		})
	}
}

func TestAStartThatWaitsForNATSCanBeStopped(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		q := newQueue(Config{}.withDefaults())
		q.server, q.js = &embedded{}, mute{}
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(apiTimeout+retryFirst/2, stop) // between two tries
		if err := q.setUp(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want it ended by who stops it", err)
		}
	})
}
