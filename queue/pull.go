package queue

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// pullHeartbeat makes it known after twice as long that a pull is no longer
// answered although the connection holds. Each one wakes both sides of an idle
// daemon. A pull is renewed after the 30 s that are the library's default.
const pullHeartbeat = 10 * time.Second

// puller takes messages from one consumer, those at hand or else the next one.
// A pull that its caller stopped waiting for stays open and serves the next
// caller: were it canceled, a message that is on its way would be delivered to
// nobody and return only after the consumer's AckWait. It is safe for concurrent
// use; callers take turns.
type puller struct {
	consumer jetstream.Consumer
	cut      <-chan struct{}        // closed when the connection is another
	turn     chan struct{}          // of capacity 1, full while somebody has the turn
	open     jetstream.MessageBatch // for one message; nil if none. The turn guards it.
	abandon  context.CancelFunc     // ends open
}

// errCut is returned by next when the connection was lost and is back.
var errCut = errors.New("queue: the connection was lost meanwhile")

func newPuller(consumer jetstream.Consumer, cut <-chan struct{}) *puller {
	return &puller{consumer: consumer, cut: cut, turn: make(chan struct{}, 1)}
}

// next returns at least one message and no more than most. It waits only while
// there is none, and returns the error of ctx when that ends first, or errCut.
func (p *puller) next(ctx context.Context, most int) ([]jetstream.Msg, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		if err := ctx.Err(); err != nil { // select does not prefer an end to a message
			return nil, err
		}
		if p.open == nil {
			msgs, err := p.atHand(most)
			if err != nil || len(msgs) > 0 {
				return msgs, err
			}
			select {
			case <-p.cut: // a pull would be open on the connection of now, and end as one of the old
				return nil, errCut
			default:
			}
			if err := p.pull(); err != nil {
				return nil, err
			}
		}
		select {
		case msg, ok := <-p.open.Messages():
			err := p.open.Error()
			p.end()
			if ok {
				return []jetstream.Msg{msg}, nil
			}
			if err != nil {
				return nil, err
			}
		case <-p.cut:
			p.end() // else it could take a message for nobody
			return nil, errCut
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// pull opens a pull for the next message.
func (p *puller) pull() error {
	var ctx context.Context
	ctx, p.abandon = context.WithCancel(context.Background()) // it may outlive every caller
	open, err := p.consumer.Fetch(1, jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(pullHeartbeat))
	if err != nil {
		p.abandon()
		return err
	}
	p.open = open
	return nil
}

func (p *puller) end() {
	p.abandon()
	p.open = nil
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
