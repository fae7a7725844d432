package queue

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
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

func TestARequestBeyondThoseThatMayWaitIsAnsweredAsUnavailableAtOnce(t *testing.T) {
	q, err := Open(t.Context(), Config{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	answers, err := q.nc.SubscribeSync("answers")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		request []byte
		mayWait int
	}{
		{"many", []byte("{}"), rpcWaiting},
		{"large", make([]byte, 1<<20), rpcWaitingBytes >> 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &rpc{Queue: q, waiting: make(chan request, rpcWaiting)} // nobody serves
			msg := &nats.Msg{Reply: "answers", Data: tt.request, Sub: answers}
			for range tt.mayWait + 3 {
				r.enqueue(msg)
			}
			for range 3 {
				answer, err := answers.NextMsg(time.Minute)
				if err != nil || !strings.Contains(string(answer.Data), `"error":"unavailable"`) {
					t.Fatalf("answer %v, %v", answer, err)
				}
			}
			if size := int64(tt.mayWait * len(tt.request)); len(r.waiting) != tt.mayWait || r.bytes.Load() != size {
				t.Errorf("%d with %d bytes wait, want %d with %d", len(r.waiting), r.bytes.Load(), tt.mayWait, size)
			}
			served := len(r.gather(<-r.waiting))
			r.enqueue(msg)
			if waiting := tt.mayWait - served + 1; len(r.waiting) != waiting {
				t.Errorf("%d wait after %d were served and one came, want %d", len(r.waiting), served, waiting)
			}
		})
	}
}
