package queue_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"weir/outbox"
	"weir/queue"
)

func TestAPlainPublishBecomesAMessage(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	l := newLedger()
	run(t, q, l)
	before := time.Now()
	err := producer(t, q).Publish("weir.send", []byte(`{"idempotency_key":"k1","ttl":"60s","body":{"agent_id":"ag","to":"x","traffic_type":"AUTHENTICATION"}}`))
	if err != nil {
		t.Fatal(err)
	}
	got := next(t, l.accept)[0]
	if got.Key != "k1" || got.Channel != outbox.RCS || got.Lane != outbox.High {
		t.Errorf("got %+v", got)
	}
	if handedOver := got.ExpiresAt.Add(-time.Minute); handedOver.Before(before.Add(-time.Millisecond)) || handedOver.After(time.Now()) {
		t.Errorf("the ttl counts from %v, published after %v", handedOver, before)
	}
}

func TestMessagesAreAcceptedInTheOrderInWhichTheyWerePublished(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	l := newLedger()
	const n = 500
	var want []string
	var payloads [][]byte
	for i := range n {
		want = append(want, fmt.Sprint("k", i))
		payloads = append(payloads, envelope(want[i]))
	}
	acked, err := connect(t, q).Publish(deadline(t), payloads)
	if acked != n || err != nil {
		t.Fatalf("acked %d: %v", acked, err)
	}
	// Not before: a server that is busy storing may leave a pull unanswered for so
	// long that it is given up, and what it delivers to nobody comes again later.
	run(t, q, l)
	if got := l.keys(t, n); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestJunkIsRejectedAsItCameAndGoodOnesPass(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	l := newLedger()
	run(t, q, l)
	nc := producer(t, q)
	for name, row := range map[string]struct{ payload, reason, key string }{
		"no JSON":             {"hello", "envelope", ""},
		"nothing":             {"", "envelope", ""},
		"no body":             {`{"idempotency_key":"k"}`, "body", "k"},
		"no key":              {`{"body":{}}`, "idempotency_key", ""},
		"an unknown lane":     {`{"idempotency_key":"k","body":{},"lane":"fast"}`, "lane", "k"},
		"larger than allowed": {`{"idempotency_key":"k","body":"` + strings.Repeat("x", 900<<10) + `"}`, "envelope", ""},
	} {
		t.Run(name, func(t *testing.T) {
			events, err := nc.SubscribeSync("weir.outcome.rejected")
			if err != nil {
				t.Fatal(err)
			}
			if err := nc.Publish("weir.send", []byte(row.payload)); err != nil {
				t.Fatal(err)
			}
			got := next(t, l.reject)
			if !bytes.Equal(got.Payload, []byte(row.payload)) {
				t.Errorf("the payload has changed: %.100q", got.Payload)
			}
			if !strings.Contains(got.Reason, row.reason) {
				t.Errorf("reason %q does not name %s", got.Reason, row.reason)
			}
			wantEvent(t, events, "invalid", row.key)
			if err := nc.Publish("weir.send", envelope("good-one")); err != nil {
				t.Fatal(err)
			}
			l.keys(t, 1)
		})
	}
}

// wantEvent reads the event of a rejection; an empty key stands for null.
func wantEvent(t *testing.T, events *nats.Subscription, code, key string) {
	t.Helper()
	msg, err := events.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	var event outbox.Outcome
	if err := json.Unmarshal(msg.Data, &event); err != nil {
		t.Fatal(err)
	}
	if event.State != "rejected" || event.ErrorCode == nil || *event.ErrorCode != code {
		t.Errorf("event %s, want error_code %s", msg.Data, code)
	}
	if got := event.Key; (got == nil) != (key == "") || got != nil && *got != key {
		t.Errorf("event %s, want key %q", msg.Data, key)
	}
}

func TestARepeatIsAbsorbedAndAConflictRejected(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	l := newLedger()
	run(t, q, l)
	nc := producer(t, q)
	events, err := nc.SubscribeSync("weir.outcome.rejected")
	if err != nil {
		t.Fatal(err)
	}
	other := []byte(`{"idempotency_key":"k","body":{"to":"another"}}`)
	for _, payload := range [][]byte{envelope("k"), envelope("k"), other} {
		if err := nc.Publish("weir.send", payload); err != nil {
			t.Fatal(err)
		}
	}
	got := next(t, l.reject)
	if !bytes.Equal(got.Payload, other) || got.Reason != "conflict: key k holds another message" {
		t.Errorf("got %s: %s", got.Reason, got.Payload)
	}
	wantEvent(t, events, "conflict", "k")
	if len(l.reject) != 0 {
		t.Error("the repeat was rejected")
	}
}

func TestWhatWasAckedToThePublisherSurvivesAKill(t *testing.T) {
	cfg := embedded(t.TempDir())
	acked, err := connect(t, open(t, cfg)).Publish(deadline(t), [][]byte{envelope("a"), envelope("b")})
	if acked != 2 || err != nil {
		t.Fatalf("acked %d: %v", acked, err)
	}
	l := newLedger()
	run(t, open(t, killed(t, cfg)), l)
	if got := l.keys(t, 2); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %v", got)
	}
}

func TestWhatTheLedgerHasNotCommittedIsThereAgainAtOnceAfterAKill(t *testing.T) {
	cfg := embedded(t.TempDir())
	q := open(t, cfg)
	tried := make(chan struct{}, 100)
	broken := newLedger()
	broken.fail = func() error { tried <- struct{}{}; return errors.New("disk full") }
	run(t, q, broken)
	if _, err := connect(t, q).Publish(deadline(t), [][]byte{envelope("a")}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		next(t, tried) // by then an ack would have arrived
	}
	l := newLedger()
	run(t, open(t, killed(t, cfg)), l)
	l.keys(t, 1)
}

// killed is cfg with a copy of the files as they are now, while the daemon runs:
// what kill -9 would leave behind.
func killed(t *testing.T, cfg queue.Config) queue.Config {
	t.Helper()
	left := t.TempDir()
	live := os.DirFS(cfg.StoreDir)
	err := fs.WalkDir(live, ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // the server has just renamed it
		case err != nil:
			return err
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(left, path), 0o700)
		}
		data, err := fs.ReadFile(live, path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(left, path), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.StoreDir = left
	return cfg
}

func TestAFailingLedgerIsTriedAgainAndWhatItCommitsDoesNotComeAgain(t *testing.T) {
	cfg := embedded(t.TempDir())
	q := open(t, cfg)
	failures := 3
	l := newLedger()
	l.fail = func() error {
		if failures == 0 {
			return nil
		}
		failures--
		return errors.New("disk full")
	}
	stop := run(t, q, l)
	if _, err := connect(t, q).Publish(deadline(t), [][]byte{envelope("a")}); err != nil {
		t.Fatal(err)
	}
	l.keys(t, 1)
	stop()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	again := newLedger()
	q = open(t, cfg)
	run(t, q, again)
	if _, err := connect(t, q).Publish(deadline(t), [][]byte{envelope("b")}); err != nil {
		t.Fatal(err)
	}
	if got := again.keys(t, 1); got[0] != "b" {
		t.Errorf("%v came again although it was committed", got)
	}
}

func TestRequestsAreAnsweredWithWhatBecameOfThem(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	run(t, q, newLedger())
	nc := asker(t, q)
	for _, row := range []struct{ sentence, payload, want string }{
		{"a new message is accepted", string(envelope("k")), `{"result":"accepted","message":{"idempotency_key":"k","lane":"normal"}}`},
		{"the same again is there already", string(envelope("k")), `{"result":"already_there","message":{"idempotency_key":"k","lane":"normal"}}`},
		{"another one under its key is a conflict and shows the stored one", `{"idempotency_key":"k","lane":"high","body":{"to":"y"}}`, `{"result":"conflict","message":{"idempotency_key":"k","lane":"normal"}}`},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			msg, err := nc.RequestWithContext(deadline(t), "weir.rpc.send", []byte(row.payload))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(msg.Data); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestAnInvalidRequestIsAnsweredWithEveryFault(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	l := newLedger()
	run(t, q, l)
	msg, err := asker(t, q).RequestWithContext(deadline(t), "weir.rpc.send", []byte(`{"idempotency_key":"k","body":{},"lane":"fast","channel":"NO"}`))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Result, Error, Message string
		Details                []outbox.Detail
	}
	if err := json.Unmarshal(msg.Data, &got); err != nil {
		t.Fatal(err)
	}
	var fields []string
	for _, d := range got.Details {
		fields = append(fields, d.Field)
	}
	slices.Sort(fields)
	if got.Result != "invalid" || got.Error != "invalid" || got.Message == "" || !slices.Equal(fields, []string{"channel", "lane"}) {
		t.Errorf("got %s", msg.Data)
	}
	if len(l.accept)+len(l.reject) != 0 {
		t.Error("it was stored")
	}
}

func TestABurstOfRequestsSharesCommits(t *testing.T) {
	const n = 200
	var taken atomic.Int64
	all := make(chan struct{})
	cfg := embedded(t.TempDir())
	cfg.Now = func() time.Time { // asked once for each request
		if taken.Add(1) == n {
			close(all)
		}
		return time.Now()
	}
	q := open(t, cfg)
	l := newLedger()
	l.fail = func() error { <-all; return nil }
	run(t, q, l)
	nc := asker(t, q)
	replies, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := nc.PublishRequest("weir.rpc.send", replies.Subject, envelope(fmt.Sprint("k", i))); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		if _, err := replies.NextMsg(patience); err != nil {
			t.Fatal(err)
		}
	}
	// One batch was under way while the rest gathered.
	if commits := len(l.accept); commits > 4 {
		t.Errorf("%d requests took %d commits", n, commits)
	}
}

func TestWhileTheLedgerFailsRequestsAreAnsweredAsUnavailable(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	l := newLedger()
	l.fail = func() error { return errors.New("disk full") }
	run(t, q, l)
	msg, err := asker(t, q).RequestWithContext(deadline(t), "weir.rpc.send", envelope("k"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(msg.Data), `"error":"unavailable"`) || strings.Contains(string(msg.Data), "result") {
		t.Errorf("got %s", msg.Data)
	}
}

func TestAPayloadTooLargeForNATSDoesNotStandInTheWay(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	l := newLedger()
	run(t, q, l)
	large := append([]byte(`{"idempotency_key":"large","body":"`), bytes.Repeat([]byte("x"), 2<<20)...)
	acked, err := connect(t, q).Publish(deadline(t), [][]byte{envelope("a"), large, envelope("b")})
	if acked != 3 || err != nil {
		t.Fatalf("acked %d: %v", acked, err)
	}
	if got := l.keys(t, 2); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %v", got)
	}
	if got := next(t, l.reject); !bytes.HasPrefix(large, got.Payload) {
		t.Errorf("rejected %.80q", got.Payload)
	}
}

func TestAPublisherCountsOnlyWhatIsStored(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	p := connect(t, q)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	acked, err := p.Publish(deadline(t), [][]byte{envelope("a")})
	if acked != 0 || err == nil {
		t.Fatalf("acked %d: %v", acked, err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Publish(canceled, [][]byte{envelope("a")}); err == nil {
		t.Error("a canceled publish has no error")
	}
}
