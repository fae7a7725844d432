package queue

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"weir/internal/bubble"
	"weir/outbox"
)

// slowLedger accepts a batch whenever it is told to.
type slowLedger struct {
	Ledger
	begun   []string // keys
	proceed chan struct{}
}

func (l *slowLedger) Accept(_ context.Context, messages []outbox.Message) ([]outbox.Result, error) {
	for _, m := range messages {
		l.begun = append(l.begun, m.Key)
	}
	<-l.proceed
	return make([]outbox.Result, len(messages)), nil
}

func (l *slowLedger) Stored(context.Context, string) (json.RawMessage, error) { return nil, nil }

func TestRequestsAreCommittedInTheOrderInWhichTheyCame(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		l := &slowLedger{proceed: make(chan struct{})}
		r := &rpc{Queue: &Queue{cfg: Config{Now: time.Now}}, ledger: l, waiting: make(chan request, rpcWaiting), turn: make(chan struct{}, 1)}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		for range rpcServers {
			go r.serve(ctx)
		}
		for i, key := range []string{"a", "b", "c"} {
			r.enqueue(&nats.Msg{Data: []byte(`{"idempotency_key":"` + key + `","body":{}}`)})
			synctest.Wait()
			if i > 0 && !slices.Equal(l.begun, []string{"a"}) {
				t.Errorf("%v have begun before the first was committed", l.begun)
			}
		}
		l.proceed <- struct{}{}
		synctest.Wait()
		if want := []string{"a", "b", "c"}; !slices.Equal(l.begun, want) {
			t.Errorf("committed %v, want %v", l.begun, want)
		}
		close(l.proceed)
	})
}
