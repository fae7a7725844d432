package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"weir/outbox"
	"weir/queue"
	"weir/store"
)

// application opens the application's database and runs a statement.
func application(t testing.TB, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// tap is a store that tells which messages it has accepted.
type tap struct {
	*store.Store
	accepted chan string
}

func (s *tap) Accept(ctx context.Context, messages []outbox.Message) ([]outbox.Result, error) {
	results, err := s.Store.Accept(ctx, messages)
	for _, m := range messages {
		s.accepted <- m.Key
	}
	return results, err
}

// intakeOf runs a daemon's queue and intake on a free port, into the desk's
// database, and gives its URL and the keys of what it accepts.
func intakeOf(t *testing.T, d *desk, token string) (url string, accepted <-chan string) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Dir: d.dir, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(t.Context(), queue.Config{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Token: token, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	tapped := &tap{s, make(chan string, 10)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.RunIntake(ctx, tapped) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, q.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return "nats://" + q.Addr(), tapped.accepted
}

func TestInitCreatesTheOutboxAndKeepsTheJournalMode(t *testing.T) {
	d := newDesk(t)
	for range 2 {
		if got, want := d.do("outbox", "init", "--db", "shop.db"), "weir_outbox is ready in shop.db\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	application(t, "shop.db", `INSERT INTO weir_outbox (idempotency_key, body) VALUES ('k', '{}')`)
	if _, err := os.Stat("shop.db-wal"); !os.IsNotExist(err) {
		t.Errorf("the database was turned to WAL: %v", err)
	}
}

func TestRelayOnceHandsOverWhatIsThereAndEnds(t *testing.T) {
	d := newDesk(t)
	d.env["WEIR_NATS_TOKEN"] = "s3cret"
	url, accepted := intakeOf(t, d, "s3cret")
	d.do("outbox", "init", "--db", "shop.db")
	application(t, "shop.db", `INSERT INTO weir_outbox (idempotency_key, body) VALUES ('a', '{"agent_id":"ag_1"}'), ('b', '{}')`)
	for _, want := range []string{"relayed 2\n", "relayed 0\n"} {
		if got := d.do("outbox", "relay", "--db", "shop.db", "--nats-url", url, "--once"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if first, second := <-accepted, <-accepted; first != "a" || second != "b" {
		t.Errorf("%s and %s arrived", first, second)
	}
	if got := d.show("a"); got.Channel != "rcs" || *got.Body != `{"agent_id":"ag_1"}` {
		t.Errorf("got %+v", got)
	}
}

func TestRelayFollowsTheApplicationUntilItIsStopped(t *testing.T) {
	d := newDesk(t)
	url, accepted := intakeOf(t, d, "")
	d.do("outbox", "init", "--db", "shop.db")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan string)
	go func() {
		code, stdout, stderr := d.run(ctx, strings.NewReader(""), "outbox", "relay", "--db", "shop.db", "--nats-url", url)
		ended <- fmt.Sprint(code, stdout, stderr)
	}()
	for _, key := range []string{"a", "b"} {
		application(t, "shop.db", fmt.Sprintf(`INSERT INTO weir_outbox (idempotency_key, body) VALUES ('%s', '{}')`, key))
		if got := <-accepted; got != key {
			t.Errorf("%s arrived, want %s", got, key)
		}
	}
	stop()
	if got := <-ended; got != "0" {
		t.Errorf("the relay ended with %q; want exit 0 and nothing to say", got)
	}
}

// signalWriter passes on what is written.
type signalWriter chan string

func (w signalWriter) Write(text []byte) (int, error) {
	w <- string(text)
	return len(text), nil
}

func TestARelayThatFindsNoDaemonSaysSoAndWaits(t *testing.T) {
	d := newDesk(t)
	d.do("outbox", "init", "--db", "shop.db")
	application(t, "shop.db", `INSERT INTO weir_outbox (idempotency_key, body) VALUES ('a', '{}')`)
	const nobody = "nats://127.0.0.1:1"
	if got := d.refuse(exitFailed, "outbox", "relay", "--db", "shop.db", "--nats-url", nobody, "--once"); !strings.Contains(got, "127.0.0.1:1") {
		t.Errorf("%q does not say where", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	log, ended := make(signalWriter), make(chan int)
	go func() {
		a := &app{getenv: func(string) string { return "" }, stdout: new(bytes.Buffer), stderr: log, now: time.Now}
		ended <- a.run(ctx, []string{"outbox", "relay", "--db", "shop.db", "--nats-url", nobody})
	}()
	if got := <-log; !strings.Contains(got, "127.0.0.1:1") {
		t.Errorf("%q does not say where", got)
	}
	stop()
	if code := <-ended; code != exitDone {
		t.Errorf("exit %d", code)
	}
}

func TestRelayRefusesAFileWithoutTheOutbox(t *testing.T) {
	d := newDesk(t)
	if got := d.refuse(exitFailed, "outbox", "relay", "--db", "none.db"); !strings.Contains(got, "none.db") {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat("none.db"); !os.IsNotExist(err) {
		t.Errorf("the file exists: %v", err)
	}
	application(t, "shop.db", `CREATE TABLE orders (id INTEGER)`)
	write(t, "notes.db", strings.Repeat("not a database\n", 100))
	for _, path := range []string{"shop.db", "notes.db"} {
		if got := d.refuse(exitFailed, "outbox", "relay", "--db", path); !strings.Contains(got, "weir outbox init") {
			t.Errorf("%s: %q does not say what to do", path, got)
		}
	}
	d.refuse(exitUsage, "outbox", "relay")
	d.refuse(exitUsage, "outbox", "init")
}
