package store_test

import (
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"weir/dispatcher"
	"weir/outbox"
	"weir/store"
)

// start is when the clock of a test begins.
var start = time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC)

var policy = dispatcher.Policy{
	RetryFor: 20 * time.Hour, KeyLifetime: 24 * time.Hour, SettleWait: 5 * time.Second,
	BackoffBase: 500 * time.Millisecond, BackoffMax: 5 * time.Minute, RequestTimeout: 30 * time.Second,
}

var rcs = outbox.Bucket{Account: "default", Channel: "rcs"}

// clock is a clock that a test moves by hand. The zero clock is the one of the
// synctest bubble.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now.IsZero() {
		return time.Now()
	}
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// desk is an open store and what a test does with it.
type desk struct {
	*store.Store
	*clock
	t      *testing.T
	dir    string
	events *events
	foreign
}

// events collects what OnSettled says.
type events struct {
	mu  sync.Mutex
	all []store.Settled
}

func (e *events) add(settled []store.Settled) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, settled...)
}

// take returns the events since the last call.
func (e *events) take() []store.Settled {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

// foreign is a connection as another program has it.
type foreign struct {
	t  *testing.T
	db *sqlx.DB
}

func connect(t *testing.T, dir string) foreign {
	t.Helper()
	return connectTo(t, filepath.Join(dir, "weir.db"))
}

func connectTo(t *testing.T, path string) foreign {
	t.Helper()
	db, err := sqlx.Open("sqlite3", "file:"+path+"?_busy_timeout=5000&_foreign_keys=1")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return foreign{t, db}
}

func (f foreign) exec(query string, args ...any) {
	f.t.Helper()
	if _, err := f.db.Exec(query, args...); err != nil {
		f.t.Fatalf("%s: %v", query, err)
	}
}

func (f foreign) number(query string, args ...any) (n int64) {
	f.t.Helper()
	if err := f.db.Get(&n, query, args...); err != nil {
		f.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// newDesk opens a store in an empty directory, with a clock of its own.
func newDesk(t *testing.T) *desk {
	t.Helper()
	return openDesk(t, t.TempDir(), &clock{now: start})
}

// bubbleDesk opens a store that lives in the time of a synctest bubble.
func bubbleDesk(t *testing.T) *desk {
	t.Helper()
	return openDesk(t, t.TempDir(), &clock{})
}

func openDesk(t *testing.T, dir string, c *clock) *desk {
	t.Helper()
	d := &desk{clock: c, t: t, dir: dir, events: &events{}}
	s, err := store.Open(t.Context(), store.Config{Dir: dir, Now: c.Now, RepeatFor: policy.RepeatFor(), OnSettled: d.events.add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	d.Store, d.foreign = s, connect(t, dir)
	return d
}

// reopen ends the daemon and starts the next one.
func (d *desk) reopen() *desk {
	d.t.Helper()
	if err := d.Close(); err != nil {
		d.t.Fatal(err)
	}
	return openDesk(d.t, d.dir, d.clock)
}

// put stores messages that must be new.
func (d *desk) put(messages ...outbox.Message) {
	d.t.Helper()
	results, err := d.Accept(d.t.Context(), messages)
	if err != nil {
		d.t.Fatal(err)
	}
	if i := slices.IndexFunc(results, func(r outbox.Result) bool { return r != outbox.Accepted }); i >= 0 {
		d.t.Fatalf("%s is %s, not accepted", messages[i].Key, results[i])
	}
}

// row is the message with the key as people see it.
func (d *desk) row(key string) store.MessageView {
	d.t.Helper()
	m, err := d.Message(d.t.Context(), key)
	if err != nil {
		d.t.Fatal(err)
	}
	return m
}

// ref is the reference to the message as it is now.
func (d *desk) ref(key string) outbox.Ref {
	d.t.Helper()
	m := d.row(key)
	return outbox.Ref{ID: m.ID, Generation: m.Generation}
}

// claims claims what it can under the scope "here".
func (d *desk) claims(refs ...outbox.Ref) []dispatcher.Claim {
	d.t.Helper()
	claims, err := d.Claim(d.t.Context(), "here", refs)
	if err != nil {
		d.t.Fatal(err)
	}
	return claims
}

// claim claims the message with the key.
func (d *desk) claim(key string) dispatcher.Claim {
	d.t.Helper()
	claims := d.claims(d.ref(key))
	if len(claims) != 1 {
		d.t.Fatalf("%s could not be claimed; its row: %+v", key, d.row(key))
	}
	return claims[0]
}

// record stores an attempt that began when the claim was made and took 20 ms.
func (d *desk) record(c dispatcher.Claim, a dispatcher.Answer, j dispatcher.Judgement) {
	d.t.Helper()
	a.StartedAt, a.EndedAt = c.ClaimedAt, c.ClaimedAt.Add(20*time.Millisecond)
	must(d.t, d.recorded(dispatcher.Record{Claim: c, Answer: a, Judgement: j}))
}

// recorded returns once the record is on disk, or cannot be.
func (d *desk) recorded(r dispatcher.Record) error {
	done := make(chan error, 1)
	d.Record(r, func(err error) { done <- err })
	return <-done
}

// Judgements as the dispatcher gives them.
var (
	accepted  = dispatcher.Judgement{Verdict: dispatcher.Sent, State: outbox.Sent, Counted: true}
	refused   = dispatcher.Judgement{Verdict: dispatcher.Refused, State: outbox.Failed, Counted: true, ErrorCode: "invalid", ErrorMessage: "no such recipient"}
	throttled = dispatcher.Judgement{Verdict: dispatcher.Throttled, State: outbox.Pending, Throttled: true, ErrorCode: "rate_limited"}
	unpaid    = dispatcher.Judgement{Verdict: dispatcher.Unpaid, State: outbox.Pending, ErrorCode: "insufficient_balance"}
	lost      = dispatcher.Judgement{Verdict: dispatcher.Ambiguous, State: outbox.Unknown, Counted: true, Ambiguous: true, ErrorCode: "cut"}
)

// cutAt is the judgement of a request that was cut, to be repeated at due.
func cutAt(due time.Time) dispatcher.Judgement {
	return dispatcher.Judgement{
		Verdict: dispatcher.Ambiguous, State: outbox.Retrying, Counted: true, Ambiguous: true, DueAt: due, ErrorCode: "cut",
	}
}

// ambiguous stores a message whose first attempt may have been sent; it waits
// for its next one, which is due.
func (d *desk) ambiguous(m outbox.Message) {
	d.t.Helper()
	d.put(m)
	d.record(d.claim(m.Key), dispatcher.Answer{}, cutAt(d.Now()))
}

// val is what p points to, the zero value for nil.
func val[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// iso writes a time as the views do.
func iso(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheKeyOfATableWithoutRowidStandsFirst(t *testing.T) {
	d := newDesk(t)
	misplaced := d.text(`
		SELECT coalesce(group_concat(t.name || '.' || c.name), '')
		FROM pragma_table_list AS t, pragma_table_info(t.name) AS c
		WHERE t.wr AND c.pk > 0 AND c.pk <> c.cid + 1`)
	if misplaced != "" {
		t.Errorf("an older SQLite's integrity_check would complain of %s", misplaced)
	}
}
