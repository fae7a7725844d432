package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"weir/outbox"
	"weir/queue"
)

// patience ends a test that would hang. It is longer than the 20 s after which a
// pull that nobody answers any more is given up.
const patience = time.Minute

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func embedded(dir string) queue.Config {
	return queue.Config{StoreDir: dir, Listen: "127.0.0.1:0", Now: time.Now}
}

// open opens a queue that is closed at the end of the test, if not before.
func open(t testing.TB, cfg queue.Config) *queue.Queue {
	t.Helper()
	q, err := queue.Open(deadline(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

// producer connects as anybody on this machine can.
func producer(t *testing.T, q *queue.Queue, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(q.Addr(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// asker connects a producer once the intake of q hears requests.
func asker(t *testing.T, q *queue.Queue) *nats.Conn {
	t.Helper()
	next(t, q.Listening())
	return producer(t, q)
}

func connect(t testing.TB, q *queue.Queue) *queue.Publisher {
	t.Helper()
	p, err := queue.Connect(deadline(t), queue.PublisherConfig{URL: "nats://" + q.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// external runs a NATS server that is not weir's.
func external(t *testing.T) string {
	t.Helper()
	return externalWith(t, 0)
}

// externalWith is external with another max_payload than NATS's own.
func externalWith(t *testing.T, maxPayload int32) string {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, JetStreamMaxStore: 4 << 30, StoreDir: t.TempDir(),
		MaxPayload: maxPayload,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the external server does not start")
	}
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	return srv.ClientURL()
}

// ledger is a store in memory.
type ledger struct {
	fail   func() error // nil: never
	accept chan []outbox.Message
	reject chan outbox.Rejection

	mu     sync.Mutex
	stored map[string]outbox.Message
}

func newLedger() *ledger {
	return &ledger{
		accept: make(chan []outbox.Message, 10_000),
		reject: make(chan outbox.Rejection, 10_000),
		stored: make(map[string]outbox.Message),
	}
}

func (l *ledger) Accept(_ context.Context, messages []outbox.Message) ([]outbox.Result, error) {
	if l.fail != nil {
		if err := l.fail(); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	results := make([]outbox.Result, len(messages))
	for i, m := range messages {
		before, there := l.stored[m.Key]
		switch {
		case !there:
			l.stored[m.Key] = m
			results[i] = outbox.Accepted
		case before.Fingerprint == m.Fingerprint:
			results[i] = outbox.AlreadyThere
		default:
			results[i] = outbox.Conflict
		}
	}
	l.accept <- messages
	return results, nil
}

func (l *ledger) Reject(_ context.Context, rejections []outbox.Rejection) error {
	for _, r := range rejections {
		l.reject <- r
	}
	return nil
}

func (l *ledger) Stored(_ context.Context, key string) (json.RawMessage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, ok := l.stored[key]
	if !ok {
		return nil, errors.New("no such message")
	}
	return json.Marshal(map[string]string{"idempotency_key": m.Key, "lane": string(m.Lane)})
}

// run runs the intake until the test ends, or until the returned function is called.
func run(t testing.TB, q *queue.Queue, l queue.Ledger) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- q.RunIntake(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the intake ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// keys reads keys of accepted messages until there are n.
func (l *ledger) keys(t testing.TB, n int) []string {
	t.Helper()
	var keys []string
	for len(keys) < n {
		for _, m := range next(t, l.accept) {
			keys = append(keys, m.Key)
		}
	}
	return keys
}

// next reads from c what must come.
func next[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func envelope(key string) []byte {
	return fmt.Appendf(nil, `{"idempotency_key":%q,"body":{"to":"+491511234567"}}`, key)
}

func TestAPortInUseIsOneErrorThatNamesAddressAndSetting(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := embedded(t.TempDir())
	cfg.Listen = taken.Addr().String()
	_, err = queue.Open(deadline(t), cfg)
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v, want EADDRINUSE", err)
	}
	for _, part := range []string{cfg.Listen, "WEIR_NATS_LISTEN"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %s", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than one line", err)
	}
}

func TestAFaultyConfigurationIsRefusedByName(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*queue.Config)
		want   string
	}{
		"listening beyond loopback needs a token": {func(c *queue.Config) { c.Listen = "0.0.0.0:0" }, "WEIR_NATS_TOKEN"},
		"every interface is beyond loopback":      {func(c *queue.Config) { c.Listen = ":0" }, "WEIR_NATS_TOKEN"},
		"an address needs a port":                 {func(c *queue.Config) { c.Listen = "127.0.0.1" }, "WEIR_NATS_LISTEN"},
		"a port is a number":                      {func(c *queue.Config) { c.Listen = "127.0.0.1:nats" }, "WEIR_NATS_LISTEN"},
		"an instance is part of a subject":        {func(c *queue.Config) { c.Instance = "a.b" }, "WEIR_INSTANCE"},
		"an embedded server needs a directory":    {func(c *queue.Config) { c.StoreDir = "" }, "StoreDir"},
		"a clock is needed":                       {func(c *queue.Config) { c.Now = nil }, "Now"},
		"a URL must be one":                       {func(c *queue.Config) { c.URL = "nats://secret:word@%zz" }, "WEIR_NATS_URL"},
		"an unreachable server is named":          {func(c *queue.Config) { c.URL = "nats://u:secret@127.0.0.1:1" }, "nats://127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := embedded(t.TempDir())
			row.change(&cfg)
			_, err := queue.Open(deadline(t), cfg)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want an error that names %s", err, row.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%q gives credentials away", err)
			}
		})
	}
}

func TestADirectoryThatCannotBeUsedIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := queue.Open(deadline(t), embedded(file))
	if err == nil || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "WEIR_NATS_LISTEN") {
		t.Errorf("got %v", err)
	}
}

func TestASecondDaemonIsRefusedUntilTheFirstIsGone(t *testing.T) {
	cfg := queue.Config{URL: external(t), Now: time.Now, Instance: "first"}
	first := open(t, cfg)
	second := cfg
	second.Instance = "second"
	_, err := queue.Open(deadline(t), second)
	if !errors.Is(err, queue.ErrOwned) {
		t.Fatalf("got %v, want ErrOwned", err)
	}
	if !strings.Contains(err.Error(), `"first"`) {
		t.Errorf("%q does not name the owner", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, second)
}

func TestADaemonWhoseIntakeWasTakenOverStops(t *testing.T) {
	url := external(t)
	q := open(t, queue.Config{URL: url, Now: time.Now})
	ended := make(chan error, 1)
	go func() { ended <- q.RunIntake(deadline(t), newLedger()) }()

	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	for name := range js.ConsumerNames("WEIR_SEND") {
		if err := js.DeleteConsumer("WEIR_SEND", name); err != nil {
			t.Fatal(err)
		}
	}
	if err := next(t, ended); !errors.Is(err, queue.ErrIntakeLost) {
		t.Fatalf("got %v, want ErrIntakeLost", err)
	}
}

func deleteStream(t *testing.T, url, name string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(name); err != nil {
		t.Fatal(err)
	}
}

func TestAServerThatWouldNotTakeEveryEnvelopeIsRefused(t *testing.T) {
	url := externalWith(t, outbox.MaxEnvelope)
	_, asDaemon := queue.Open(deadline(t), queue.Config{URL: url, Now: time.Now})
	_, asProducer := queue.Connect(deadline(t), queue.PublisherConfig{URL: url})
	for _, err := range []error{asDaemon, asProducer} {
		if err == nil || !strings.Contains(err.Error(), "max_payload") {
			t.Errorf("%v, want a word about max_payload", err)
		}
	}
}
