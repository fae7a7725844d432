package queue

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pullWait is how long one pull waits at the server before it is renewed.
	pullWait = 30 * time.Second
	// pullHeartbeat makes a dead server known after twice as long.
	pullHeartbeat = 2 * time.Second
)

// puller takes messages from one consumer, those at hand or else the next one.
// A pull that its caller stopped waiting for stays open and serves the next
// caller: were it canceled, a message that is on its way would be delivered to
// nobody and return only after the consumer's AckWait. It is safe for concurrent
// use; callers take turns.
type puller struct {
	consumer jetstream.Consumer
	turn     chan struct{}          // of capacity 1, full while somebody has the turn
	open     jetstream.MessageBatch // for one message; nil if none. The turn guards it.
}

func newPuller(consumer jetstream.Consumer) *puller {
	return &puller{consumer: consumer, turn: make(chan struct{}, 1)}
}

// next returns at least one message and no more than most. It waits only while
// there is none, and returns the error of ctx when that ends first.
func (p *puller) next(ctx context.Context, most int) ([]jetstream.Msg, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		if p.open == nil {
			msgs, err := p.atHand(most)
			if err != nil || len(msgs) > 0 {
				return msgs, err
			}
			p.open, err = p.consumer.Fetch(1, jetstream.FetchMaxWait(pullWait), jetstream.FetchHeartbeat(pullHeartbeat))
			if err != nil {
				p.open = nil
				return nil, err
			}
		}
		select {
		case msg, ok := <-p.open.Messages():
			err := p.open.Error()
			p.open = nil
			if ok {
				return []jetstream.Msg{msg}, nil
			}
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// atHand returns messages that are there already, no more than most.
func (p *puller) atHand(most int) ([]jetstream.Msg, error) {
	batch, err := p.consumer.FetchNoWait(most)
	if err != nil {
		return nil, err
	}
	var msgs []jetstream.Msg
	for msg := range batch.Messages() {
		msgs = append(msgs, msg)
	}
	if len(msgs) > 0 {
		return msgs, nil // an error behind them comes again
	}
	return nil, batch.Error()
}
