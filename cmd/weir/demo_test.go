package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
	"weir/store"
)

// demoRun is a run of "weir demo" with a directory for temporary files of its own.
type demoRun struct {
	code           int
	stdout, stderr string
	kept           []string // directories that are left
}

// runDemo runs "weir demo" on a machine whose own settings would lead it astray.
func runDemo(ctx context.Context, t *testing.T, a *app, args ...string) demoRun {
	t.Helper()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Chdir(t.TempDir())
	write(t, "weir.yaml", "api_url: https://api.example.com\naccounts: 7\n")
	var stdout, stderr bytes.Buffer
	if a.stdout == nil {
		a.stdout = &stdout
	}
	a.getenv, a.stderr = func(string) string { return "nonsense" }, &stderr
	r := demoRun{code: a.run(ctx, append([]string{"demo"}, args...)), stdout: stdout.String(), stderr: stderr.String()}
	kept, err := filepath.Glob(filepath.Join(temp, "*"))
	if err != nil {
		t.Fatal(err)
	}
	r.kept = kept
	return r
}

// figure asks a database for one number.
func figure(t testing.TB, path, query string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestADemoSendsEveryOrdersMessageOnceAndItsSummaryAgreesWithTheBooks(t *testing.T) {
	r := runDemo(t.Context(), t, &app{now: time.Now}, "--orders", "60", "--limit", "15", "--window", "1s", "--keep")
	if r.code != exitDone || r.stderr != "" || len(r.kept) != 1 {
		t.Fatalf("exit %d, errors %q, kept %v, output:\n%s", r.code, r.stderr, r.kept, r.stdout)
	}
	weirDB, shopDB := filepath.Join(r.kept[0], "data", "weir.db"), filepath.Join(r.kept[0], "shop.db")
	requests := figure(t, weirDB, `SELECT sum(attempts + throttles) FROM messages`)
	throttled := figure(t, weirDB, `SELECT sum(throttles) FROM messages`)
	for _, want := range []string{
		"sent once       60 of 60, ",
		fmt.Sprintf("requests        %d, of which %d were answered with 429\n", requests, throttled),
		"windows with a backlog\n",
		"one-time passwords  high    6 ",
		"confirmations       normal  18 ",
		"campaign            bulk    36 ",
		"Kept in " + r.kept[0] + ":",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if strings.Contains(r.stdout, "level=") {
		t.Error("the daemon's log stands in the output")
	}
	if t.Failed() {
		t.Log(r.stdout)
	}
	for lane, want := range map[outbox.Lane]int{outbox.High: 6, outbox.Normal: 18, outbox.Bulk: 36} {
		if n := figure(t, weirDB, fmt.Sprintf(`SELECT count(*) FROM messages WHERE state = 'sent' AND lane = '%s'`, lane)); n != want {
			t.Errorf("%d messages of lane %s are sent; want %d", n, lane, want)
		}
	}
	if n := figure(t, shopDB, `SELECT count(*) FROM orders JOIN weir_outbox ON idempotency_key = message_key`); n != 60 {
		t.Errorf("%d orders have a message in the outbox; want 60", n)
	}
}

// firstWrite calls back once something is written.
type firstWrite func()

func (w firstWrite) Write(text []byte) (int, error) {
	w()
	return len(text), nil
}

func TestAnInterruptedDemoLeavesNothingBehind(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	r := runDemo(ctx, t, &app{now: time.Now, stdout: firstWrite(interrupt)})
	if r.code != exitFailed || r.stderr != "weir: "+errInterrupted.Error()+"\n" || len(r.kept) != 0 {
		t.Errorf("exit %d, errors %q, kept %v", r.code, r.stderr, r.kept)
	}
}

func TestADemoThatTakesTooLongSaysWhereToLook(t *testing.T) {
	start := time.Now()
	hurried := func() time.Time { return start.Add(1000 * time.Since(start)) }
	r := runDemo(t.Context(), t, &app{now: hurried}, "--orders", "10", "--limit", "1", "--window", "1m")
	if r.code != exitFailed || len(r.kept) != 1 {
		t.Fatalf("exit %d, errors %q, kept %v", r.code, r.stderr, r.kept)
	}
	log := filepath.Join(r.kept[0], "weir.log")
	if !strings.Contains(r.stderr, "of 10 messages have reached weir") || !strings.Contains(r.stderr, log) {
		t.Errorf("errors %q", r.stderr)
	}
	if info, err := os.Stat(log); err != nil || info.Size() == 0 {
		t.Errorf("the log: %v, %v", info, err)
	}
}

func TestADemoWithoutAPlaceForItsFilesSaysSo(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	if code, _, stderr := execute(t.Context(), "demo"); code != exitFailed || !strings.Contains(stderr, "TMPDIR") {
		t.Errorf("exit %d, errors %q", code, stderr)
	}
}

func TestADemoRefusesFiguresThatItCannotWorkWith(t *testing.T) {
	for _, flag := range []string{"--orders=9", "--orders=10001", "--limit=0", "--window=99ms", "--window=61s"} {
		name, _, _ := strings.Cut(flag, "=")
		if code, _, stderr := execute(t.Context(), "demo", flag); code != exitUsage || !strings.Contains(stderr, name) {
			t.Errorf("%s: exit %d, errors %q", flag, code, stderr)
		}
	}
}

// twoMessages are books in which all is well: one message went out at once, one
// after it had been throttled.
func twoMessages() *books {
	committed := time.Date(2026, 3, 28, 14, 30, 0, 0, time.UTC)
	first, second := "msg_1", "msg_2"
	return &books{
		receipts: map[string]receipt{"a": {passwords, committed}, "b": {campaign, committed}},
		rows: []store.MessageView{
			{Key: "a", State: "sent", MessageID: &first, Attempts: 1},
			{Key: "b", State: "sent", MessageID: &second, Attempts: 1, Throttles: 1},
		},
		keys: map[string]sandbox.Key{
			"a": {Effects: 1, MessageID: first, Arrivals: []time.Time{committed.Add(20 * time.Millisecond)}},
			"b": {Effects: 1, MessageID: second, Arrivals: []time.Time{committed.Add(time.Second), committed.Add(3 * time.Second)}},
		},
		stats: sandbox.Stats{Requests: 3, Throttled: 1},
	}
}

func TestBooksThatAgreePass(t *testing.T) {
	f := twoMessages().audit()
	if err := f.err(); err != nil || f.good != 2 || f.throttled != 1 {
		t.Errorf("got %v, %d good, %d throttled", err, f.good, f.throttled)
	}
	if high, bulk := f.waits[outbox.High], f.waits[outbox.Bulk]; percentile(high, 0.5) != 20*time.Millisecond || percentile(bulk, 0.99) != 3*time.Second {
		t.Errorf("waits %v and %v; want 20 ms, and 3 s until it was no longer throttled", high, bulk)
	}
}

func TestEveryDisagreementOfTheBooksIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*books)
		want  string
	}{
		"a message that is not sent":           {func(b *books) { b.rows[0].State = "retrying" }, "a is retrying in weir.db, not sent"},
		"a message that weir.db lacks":         {func(b *books) { b.rows = b.rows[1:] }, "a is missing in weir.db, not sent"},
		"a message that weir.db has too many":  {func(b *books) { b.rows = append(b.rows, store.MessageView{Key: "c"}) }, "weir.db holds 3 messages, not 2"},
		"a message that never reached the API": {func(b *books) { delete(b.keys, "a") }, "a took effect 0 times"},
		"a message that took effect twice":     {func(b *books) { k := b.keys["a"]; k.Effects = 2; b.keys["a"] = k }, "a took effect 2 times"},
		"another message id":                   {func(b *books) { b.rows[0].MessageID = b.rows[1].MessageID }, "a has message id msg_2 in weir.db, msg_1 at the API"},
		"no message id":                        {func(b *books) { b.rows[0].MessageID = nil }, "a has message id - in weir.db"},
		"a key that the shop does not know":    {func(b *books) { b.keys["c"] = sandbox.Key{Effects: 1} }, "the API saw 3 keys, not 2"},
		"a request that weir.db does not know": {func(b *books) { b.stats.Requests++ }, "the API saw 4 requests, weir.db knows of 3"},
		"a request that must never have been sent": {func(b *books) {
			b.stats.Violations = map[string]sandbox.Violation{"lone_surrogate": {Count: 7}}
		}, "lone_surrogate, 7 times"},
	} {
		t.Run(name, func(t *testing.T) {
			b := twoMessages()
			c.spoil(b)
			if err := b.audit().err(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v; want %q in it", err, c.want)
			}
		})
	}
}

func TestOfManyFaultsTheFirstAreShown(t *testing.T) {
	f := &findings{wrong: strings.Fields("g f e d c b a")}
	if got := f.err().Error(); got != "a\nb\nc\nd\ne\nand 2 more" {
		t.Errorf("got %q", got)
	}
}

func TestTheShareOfTheLimitIsTakenOverWindowsWithABacklog(t *testing.T) {
	start := time.Date(2026, 3, 28, 14, 30, 0, 0, time.UTC)
	window := func(second, allowed int) sandbox.Window {
		return sandbox.Window{Start: start.Add(time.Duration(second) * time.Second), Limit: 10, Allowed: allowed}
	}
	receipts := make(map[string]receipt)
	for i := range 30 {
		receipts[fmt.Sprint(i)] = receipt{campaign, start.Add(500 * time.Millisecond)}
	}
	for i := range 5 {
		receipts[fmt.Sprint("late", i)] = receipt{campaign, start.Add(5 * time.Second)}
	}
	f := new(findings)
	// The first window began before anything was committed, the last two ended
	// with nothing left to send.
	f.measure(sandbox.LimitStats{Allowed: 35, Windows: []sandbox.Window{
		window(0, 4), window(1, 9), window(2, 10), window(3, 7), window(6, 5),
	}}, receipts)
	if f.windows != 2 || f.allowed != 20 || f.used != 19 {
		t.Errorf("got %d of %d requests in %d windows; want 19 of 20 in 2", f.used, f.allowed, f.windows)
	}
}

func TestAPercentileIsOneOfTheValues(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1)*time.Second)
	}
	for _, c := range []struct {
		sorted []time.Duration
		p      float64
		want   time.Duration
	}{
		{hundred, 0.50, 50 * time.Second},
		{hundred, 0.99, 99 * time.Second},
		{hundred[:1], 0.50, time.Second},
		{hundred[:2], 0.99, 2 * time.Second},
		{nil, 0.99, 0},
	} {
		if got := percentile(c.sorted, c.p); got != c.want {
			t.Errorf("percentile %v of %d values is %v; want %v", c.p, len(c.sorted), got, c.want)
		}
	}
}
