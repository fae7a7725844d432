package queue

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// interrupted is a consumer that is asked on a connection which is lost and made
// anew before there is an answer.
type interrupted struct {
	jetstream.Consumer
	cut   chan struct{}
	pulls int
}

func (c *interrupted) FetchNoWait(int) (jetstream.MessageBatch, error) {
	close(c.cut)
	return noMessages{}, nil
}

func (c *interrupted) Fetch(int, ...jetstream.FetchOpt) (jetstream.MessageBatch, error) {
	c.pulls++
	return nil, errors.New("a pull was opened")
}

type noMessages struct{}

func (noMessages) Messages() <-chan jetstream.Msg {
	none := make(chan jetstream.Msg)
	close(none)
	return none
}

func (noMessages) Error() error { return nil }

// Such a pull would be given up at once, and a message that it took meanwhile
// would be missing until its AckWait is over.
func TestNoPullIsOpenedOnceTheConnectionIsAnother(t *testing.T) {
	c := &interrupted{cut: make(chan struct{})}
	msgs, err := newPuller(c, c.cut).next(t.Context(), 1)
	if len(msgs) != 0 || !errors.Is(err, errCut) || c.pulls != 0 {
		t.Errorf("%d messages, %v, after %d pulls; want the connection's loss after none", len(msgs), err, c.pulls)
	}
}

func TestACallWhoseContextHasEndedTakesNothing(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for range 100 { // a select between that and its turn would choose by chance
		c := &interrupted{cut: make(chan struct{})}
		if _, err := newPuller(c, c.cut).next(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}
