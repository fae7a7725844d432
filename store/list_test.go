package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/outbox"
	"weir/store"
)

// listed are the keys of what the filter selects.
func (d *desk) listed(f store.Filter) []string {
	d.t.Helper()
	messages, err := d.Messages(d.t.Context(), f)
	must(d.t, err)
	keys := []string{}
	for _, m := range messages {
		keys = append(keys, m.Key)
	}
	return keys
}

func TestListsShowTheNewestOfWhatWasAskedFor(t *testing.T) {
	d := newDesk(t)
	d.every()
	other := message("other")
	other.Account, other.Channel, other.Lane, other.RecipientHash = "second", "email", outbox.Bulk, outbox.RecipientHash("+49")
	d.Add(time.Hour)
	d.put(other)
	throttledBy := answer(429)
	throttledBy.RequestID = "req_throttled"
	d.record(d.claim("pending"), throttledBy, throttled)
	states := func(states ...outbox.State) []outbox.State { return states }
	for _, test := range []struct {
		name   string
		filter store.Filter
		want   []string
	}{
		{"the newest", store.Filter{Most: 2}, []string{"other", "maybe"}},
		{"the page before", store.Filter{Most: 2, Before: d.row("maybe").ID}, []string{"expired", "unknown"}},
		{"what waits", store.Filter{Most: 9, States: states(outbox.Pending)}, []string{"other", "pending"}},
		{"what was sent", store.Filter{Most: 9, States: states(outbox.Sent)}, []string{"sent"}},
		{"what failed", store.Filter{Most: 9, States: states(outbox.Failed)}, []string{"failed"}},
		{"what nobody knows", store.Filter{Most: 9, States: states(outbox.Unknown)}, []string{"unknown"}},
		{"several states, one of them twice", store.Filter{Most: 9, States: states(outbox.Sent, outbox.Retrying, outbox.Failed, outbox.Sending, outbox.Failed)},
			[]string{"maybe", "failed", "sent", "retrying", "sending"}},
		{"the newest of several states", store.Filter{Most: 2, States: states(outbox.Sent, outbox.Pending, outbox.Canceled)}, []string{"other", "sent"}},
		{"the page before of several states", store.Filter{Most: 9, States: states(outbox.Sent, outbox.Pending, outbox.Canceled), Before: d.row("sent").ID},
			[]string{"canceled", "pending"}},
		{"a state that there is not", store.Filter{Most: 9, States: states("' OR 1 OR '")}, []string{}},
		{"an account", store.Filter{Most: 9, Account: "second"}, []string{"other"}},
		{"a channel and lane", store.Filter{Most: 9, Channel: "email", Lane: outbox.Bulk}, []string{"other"}},
		{"nothing", store.Filter{Most: 9, Channel: "email", Lane: outbox.High}, []string{}},
		{"a key", store.Filter{Most: 9, Key: "failed"}, []string{"failed"}},
		{"a key in another state", store.Filter{Most: 9, Key: "failed", States: states(outbox.Sent)}, []string{}},
		{"an error code", store.Filter{Most: 9, ErrorCode: "invalid"}, []string{"failed"}},
		{"a recipient", store.Filter{Most: 9, RecipientHash: outbox.RecipientHash("+49")}, []string{"other"}},
		{"those since then", store.Filter{Most: 9, Since: start.Add(time.Hour)}, []string{"other"}},
		{"those until then", store.Filter{Most: 2, Until: start.Add(time.Hour)}, []string{"maybe", "expired"}},
		{"the request of an attempt", store.Filter{Most: 9, RequestID: "req_throttled"}, []string{"pending"}},
		{"the request of an attempt of a state", store.Filter{Most: 9, RequestID: "req_throttled", States: states(outbox.Sent)}, []string{}},
		{"a request that nobody made", store.Filter{Most: 9, RequestID: "req_nobody"}, []string{}},
	} {
		if keys := d.listed(test.filter); !slices.Equal(keys, test.want) {
			t.Errorf("%s: %v, want %v", test.name, keys, test.want)
		}
	}
}

func TestAMessageIsFoundByARequestThatOnlyItsRowStillNames(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	for _, id := range []string{"req_named", ""} { // they share a row, which shows the last
		a := answer(429)
		a.RequestID = id
		d.record(d.claim("x"), a, throttled)
	}
	if n := d.number(`SELECT count(*) FROM attempts WHERE request_id IS NULL`); n != 1 {
		t.Fatal("the attempts have rows of their own")
	}
	if keys := d.listed(store.Filter{Most: 9, RequestID: "req_named"}); !slices.Equal(keys, []string{"x"}) {
		t.Errorf("found %v", keys)
	}
}

func TestAMessageIsReadByTheIDOfItsRow(t *testing.T) {
	d := newDesk(t)
	d.put(message("a"), message("b"))
	want := d.row("b")
	if got, err := d.MessageByID(t.Context(), want.ID); err != nil || got.Key != "b" {
		t.Errorf("got %+v (%v)", got, err)
	}
	if _, err := d.MessageByID(t.Context(), 99); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a row that there is not: %v", err)
	}
}

func TestKeysAreListedByTheirBeginning(t *testing.T) {
	d := newDesk(t)
	for _, key := range []string{"b-2", "a~", "a-1", "a", "b"} {
		d.put(message(key))
	}
	for prefix, want := range map[string][]string{"": {"b", "a", "a-1"}, "a": {"a", "a-1", "a~"}, "b-": {"b-2"}, "c": {}} {
		if keys, err := d.Keys(t.Context(), prefix, 3); err != nil || !slices.Equal(keys, want) {
			t.Errorf("%q: %v (%v), want %v", prefix, keys, err, want)
		}
	}
}

// So many rows wait that their index would have to be sorted for each page.
func TestAListOfACrowdedStateIsInOrderToo(t *testing.T) {
	d := newDesk(t)
	d.exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20010)
		INSERT INTO messages (idempotency_key, fingerprint, account, channel, lane, state, due_at, created_at, updated_at, body)
		SELECT i, i, 'default', 'rcs', 'normal', 'pending', 30000 - i, 1, 1, '{}' FROM n`)
	filter := store.Filter{Most: 2, States: []outbox.State{outbox.Pending}}
	if plan := d.plan(filter); strings.Contains(plan, "TEMP B-TREE FOR ORDER BY") && strings.Contains(plan, "messages_pending") {
		t.Errorf("the plan is\n%s", plan)
	}
	if keys := d.listed(filter); !slices.Equal(keys, []string{"20010", "20009"}) {
		t.Errorf("listed %v", keys)
	}
}

func TestListsUseTheIndexThatIsThereForThem(t *testing.T) {
	d := newDesk(t)
	state := func(s outbox.State) store.Filter {
		return store.Filter{Most: 9, States: []outbox.State{s}, Account: "default", Before: 7}
	}
	for name, test := range map[string]struct {
		filter store.Filter
		index  string
	}{
		"pending":  {state(outbox.Pending), "messages_pending"},
		"retrying": {state(outbox.Retrying), "messages_retrying"},
		"sending":  {state(outbox.Sending), "messages_sending"},
		"failed":   {state(outbox.Failed), "messages_unsent (state=? AND id<?)"},
		"expired":  {state(outbox.Expired), "messages_unsent (state=? AND id<?)"},
		"canceled": {state(outbox.Canceled), "messages_unsent (state=? AND id<?)"},
		"unknown":  {state(outbox.Unknown), "messages_unsent (state=? AND id<?)"},
		"sent":     {state(outbox.Sent), "INTEGER PRIMARY KEY (rowid<?)"},
		"a key":    {store.Filter{Most: 9, Key: "x", States: []outbox.State{outbox.Failed}}, "sqlite_autoindex_messages_1"},
	} {
		if plan := d.plan(test.filter); !strings.Contains(plan, test.index) {
			t.Errorf("%s: the plan is\n%s", name, plan)
		}
	}
	d.put(message("x"))
	a := answer(200)
	a.RequestID = "req_x"
	d.record(d.claim("x"), a, accepted)
	if plan := d.plan(store.Filter{Most: 9, RequestID: "req_x", States: []outbox.State{outbox.Sent}}); !strings.Contains(plan, "INTEGER PRIMARY KEY (rowid=?)") {
		t.Errorf("a request: the plan is\n%s", plan)
	}
}

// plan is what SQLite means to do for the filter.
func (d *desk) plan(f store.Filter) string {
	d.t.Helper()
	query, args, err := d.Selection(d.t.Context(), f)
	must(d.t, err)
	rows, err := d.db.Query("EXPLAIN QUERY PLAN "+query, args...)
	must(d.t, err)
	defer func() { _ = rows.Close() }()
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var detail string
		must(d.t, rows.Scan(&id, &parent, &unused, &detail))
		fmt.Fprintln(&plan, detail)
	}
	must(d.t, rows.Err())
	return plan.String()
}
