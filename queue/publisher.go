package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/outbox"
)

// publishWindow is how many publishes may wait for their PubAck at once: enough
// to keep the server busy, few enough to stay within nats.go's own bound.
const publishWindow = 1024

// cutPayload is the length to which a payload is cut: one byte more than an
// envelope may have, and so refused for its length.
const cutPayload = outbox.MaxEnvelope + 1

// PublisherConfig says where a producer hands over.
type PublisherConfig struct {
	// URL is the address of the daemon's NATS. Defaults to nats://127.0.0.1:4222.
	URL string
	// Token is the password of the user producer, unless URL carries credentials.
	// Empty means none, which suffices on a loopback listener without a token.
	Token string
}

// Publisher hands envelopes over on weir.send. It is safe for concurrent use.
type Publisher struct {
	cfg PublisherConfig

	mu    sync.Mutex
	nc    *nats.Conn
	js    jetstream.JetStream // on nc
	ended bool                // by Close
}

var _ outbox.Publisher = (*Publisher)(nil)

// Connect reaches the NATS of a daemon as a producer. A connection that is lost
// later comes back by itself; until then Publish fails. Of ctx only the deadline
// counts; two seconds are tried at least. The caller must Close.
func Connect(ctx context.Context, cfg PublisherConfig) (*Publisher, error) {
	p := &Publisher{cfg: cfg}
	if err := p.connect(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// connect sets nc and js.
func (p *Publisher) connect(ctx context.Context) error {
	url := cmp.Or(p.cfg.URL, nats.DefaultURL)
	opts := append(connectionOptions(), nats.Name("weir publisher"),
		// Publish tells what failed; the library would write it to standard error.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if p.cfg.Token != "" {
		opts = append(opts, nats.UserInfo(producerUser, p.cfg.Token))
	}
	if deadline, ok := ctx.Deadline(); ok {
		// Each reconnect gets as much.
		opts = append(opts, nats.Timeout(max(time.Until(deadline), nats.DefaultTimeout)))
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return fmt.Errorf("queue: connect to %s: %w", redacted(url), err)
	}
	js, err := newJetStream(nc)
	if err == nil {
		err = checkMaxPayload(nc)
	}
	if err != nil {
		nc.Close()
		return err
	}
	p.nc, p.js = nc, js
	return nil
}

// stream gives JetStream on a connection that is there or comes back. One that
// the client library has given up, as it does on a complaint of the server that
// it does not know, is made anew; who else publishes or closes waits meanwhile.
func (p *Publisher) stream(ctx context.Context) (jetstream.JetStream, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p.nc.IsClosed() && !p.ended {
		if err := p.connect(ctx); err != nil {
			return nil, err
		}
	}
	return p.js, nil
}

// Publish hands payloads over in order and returns how many from the first on
// are stored. Behind those, some may be stored as well: publishing them again is
// harmless, since the key decides. A payload that is longer than an envelope may
// be is cut: it could never become a message, and cut it ends among the rejected
// ones instead of standing in the way of those behind it.
func (p *Publisher) Publish(ctx context.Context, payloads [][]byte) (acked int, err error) {
	fitting := slices.Clone(payloads)
	for i, payload := range fitting {
		fitting[i] = payload[:min(len(payload), cutPayload)]
	}
	js, err := p.stream(ctx)
	if err != nil {
		return 0, err
	}
	acked, err = publishInOrder(ctx, js, sendSubject, fitting)
	if err != nil {
		return acked, fmt.Errorf("queue: publish on %s: %w", sendSubject, err)
	}
	return acked, nil
}

// Close ends the connection. Publish then fails.
func (p *Publisher) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.nc.Close()
	return nil
}

// publishInOrder publishes payloads, many at a time, and returns how many from
// the first on are stored.
func publishInOrder(ctx context.Context, js jetstream.JetStream, subject string, payloads [][]byte) (acked int, err error) {
	for window := range slices.Chunk(payloads, publishWindow) {
		n, err := publishWindowOf(ctx, js, subject, window)
		acked += n
		if err != nil {
			return acked, err
		}
	}
	return acked, nil
}

func publishWindowOf(ctx context.Context, js jetstream.JetStream, subject string, payloads [][]byte) (acked int, err error) {
	futures := make([]jetstream.PubAckFuture, 0, len(payloads))
	for _, payload := range payloads {
		future, failure := js.PublishAsync(subject, payload)
		if failure != nil {
			err = failure
			break
		}
		futures = append(futures, future)
	}
	for _, future := range futures {
		select {
		case <-future.Ok():
			acked++
		case failure := <-future.Err():
			return acked, failure
		case <-ctx.Done():
			return acked, ctx.Err()
		}
	}
	return acked, err
}
