package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/steer"
	"weir/dispatcher"
	"weir/outbox"
	"weir/store"
)

// daemon opens the desk's database as its daemon, for states that no command
// brings about.
func (d *desk) daemon(use func(s *store.Store)) {
	d.t.Helper()
	s, err := store.Open(d.t.Context(), store.Config{Dir: d.dir, Now: d.now, RepeatFor: time.Hour})
	if err != nil {
		d.t.Fatal(err)
	}
	use(s)
	if err := s.Close(); err != nil {
		d.t.Fatal(err)
	}
}

// unknown makes the message with the key unknown: an operator cancels it after
// an attempt that may have been sent.
func (d *desk) unknown(key string) {
	d.t.Helper()
	d.daemon(func(s *store.Store) {
		m, err := s.Message(d.t.Context(), key)
		if err != nil {
			d.t.Fatal(err)
		}
		claims, err := s.Claim(d.t.Context(), "scope", []outbox.Ref{{ID: m.ID, Generation: m.Generation}})
		if err != nil || len(claims) != 1 {
			d.t.Fatalf("claims %v, %v", claims, err)
		}
	})
	d.daemon(func(s *store.Store) {
		if _, err := s.Recover(d.t.Context(), dispatcher.Policy{RetryFor: 20 * time.Hour, KeyLifetime: 24 * time.Hour}); err != nil {
			d.t.Fatal(err)
		}
	})
	if got, want := d.do("messages", "cancel", key), key+" is unknown\n"; got != want {
		d.t.Fatalf("cancel says %q, want %q", got, want)
	}
}

func (d *desk) send(lines ...string) {
	d.t.Helper()
	if code, _, stderr := d.sendLines(lines...); code != exitDone {
		d.t.Fatal(stderr)
	}
}

// listed gives the keys of weir messages list.
func (d *desk) listed(args ...string) []string {
	d.t.Helper()
	var keys []string
	for line := range strings.Lines(d.do(append([]string{"messages", "list", "--json"}, args...)...)) {
		var m store.MessageView
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			d.t.Fatal(err)
		}
		keys = append(keys, m.Key)
	}
	return keys
}

func TestAListIsNarrowedByEachOfItsFlags(t *testing.T) {
	d := newDesk(t)
	d.send(lineOf("rcs"), `{"idempotency_key":"mail","lane":"bulk","body":{"channel_id":"c","subject":"s"}}`, lineOf("gone"))
	d.do("messages", "cancel", "gone")
	for _, c := range []struct{ args, want []string }{
		{nil, []string{"gone", "mail", "rcs"}},
		{[]string{"--limit", "2"}, []string{"gone", "mail"}},
		{[]string{"--state", "pending"}, []string{"mail", "rcs"}},
		{[]string{"--state", "canceled"}, []string{"gone"}},
		{[]string{"--channel", "email"}, []string{"mail"}},
		{[]string{"--lane", "normal", "--state", "pending"}, []string{"rcs"}},
		{[]string{"--account", "other"}, nil},
	} {
		if got := d.listed(c.args...); !slices.Equal(got, c.want) {
			t.Errorf("%q lists %q, want %q", c.args, got, c.want)
		}
	}
	d.refuse(exitUsage, "messages", "list", "--state", "done")
	d.refuse(exitUsage, "messages", "list", "--lane", "fast")
	d.refuse(exitUsage, "messages", "list", "--limit", "0")
}

func TestAListLongerThanAPageMissesAndRepeatsNothing(t *testing.T) {
	d := newDesk(t)
	d.send(numbered(2*listPage + 3)...)
	for _, limit := range []int{listPage, listPage + 1, 2*listPage + 3, 5 * listPage} {
		got := d.listed("--limit", fmt.Sprint(limit))
		want := min(limit, 2*listPage+3)
		if len(got) != want || got[0] != fmt.Sprintf("k-%d", 2*listPage+3) || len(slices.Compact(slices.Sorted(slices.Values(got)))) != want {
			t.Errorf("--limit %d lists %d messages, the first %s", limit, len(got), got[0])
		}
	}
}

func TestTheListForPeopleShowsKeyStateAndBucket(t *testing.T) {
	d := newDesk(t)
	d.send(lineOf("order-7"))
	lines := strings.Split(d.do("messages", "list"), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "KEY ") || !slices.Equal(strings.Fields(lines[1])[:4], []string{"order-7", "pending", "default/rcs", "normal"}) {
		t.Errorf("got %q", lines)
	}
}

func TestTheBodyIsShownOnlyWhenAskedFor(t *testing.T) {
	d := newDesk(t)
	d.send(lineOf("order-7"))
	for _, form := range [][]string{{}, {"--json"}} {
		args := append([]string{"messages", "show", "order-7"}, form...)
		if got := d.do(args...); strings.Contains(got, "+49151") {
			t.Errorf("weir %q shows who receives it: %s", args, got)
		}
		args = append(args, "--body")
		if got := d.do(args...); !strings.Contains(got, "+49151") {
			t.Errorf("weir %q does not show the body: %s", args, got)
		}
	}
}

func TestTheStoryOfAMessageHasEveryAttemptAndRequest(t *testing.T) {
	requests, text := []string{"req_1", "req_2"}, "it is busy\x1b[2J"
	settled, message, status, duration := "2026-03-28T14:30:09.000Z", "msg_1", 503, 120
	r := messageReport{
		MessageView: store.MessageView{
			Key: "order-7", State: "sent", Account: "default", Channel: "rcs", Lane: "normal", Attempts: 2, Throttles: 3,
			CreatedAt: "2026-03-28T14:30:00.000Z", SettledAt: &settled, MessageID: &message, RequestID: &requests[1],
		},
		Timeline: []store.AttemptView{
			{Number: 1, Requests: 1, StartedAt: "2026-03-28T14:30:01.000Z", Verdict: "retry", HTTPStatus: &status, RequestID: &requests[0], DurationMS: &duration, ErrorMessage: &text},
			{Number: 2, Requests: 3, StartedAt: "2026-03-28T14:30:04.000Z", Verdict: "throttled"},
			{Number: 5, Requests: 1, StartedAt: "2026-03-28T14:30:08.500Z", Verdict: "sent", RequestID: &requests[1]},
		},
	}
	var got strings.Builder
	if err := r.print(&got); err != nil {
		t.Fatal(err)
	}
	want := `order-7 is sent
default/rcs, lane normal, attempts 2, throttled 3

2026-03-28T14:30:00.000Z  handed over
2026-03-28T14:30:01.000Z  attempt 1: retry, 120 ms, HTTP 503, request req_1, it is busy\x1b[2J
2026-03-28T14:30:04.000Z  attempts 2 to 4, of which this is the last: throttled
2026-03-28T14:30:08.500Z  attempt 5: sent, request req_2
2026-03-28T14:30:09.000Z  sent, message msg_1, request req_2
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

func TestAWaitingMessageShowsWhenItIsDueAndItsDeadline(t *testing.T) {
	d := newDesk(t)
	d.do("send", "--key", "k", "--body", "{}", "--send-at", "2099-01-01T00:00:00Z", "--expires-at", "2099-01-02T00:00:00Z")
	got := d.do("messages", "show", "k")
	if want := "2099-01-01T00:00:00.000Z  due\n2099-01-02T00:00:00.000Z  deadline\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got\n%s\nwant its end to be\n%s", got, want)
	}
}

func TestACanceledMessageCanBeRetried(t *testing.T) {
	d := newDesk(t)
	d.send(lineOf("k"))
	if got, want := d.do("messages", "cancel", "k"), "k is canceled\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	d.refuse(exitFailed, "messages", "cancel", "k")
	if got, want := d.do("messages", "retry", "k"), "k is pending\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := d.refuse(exitFailed, "messages", "retry", "k"); !strings.Contains(got, "cannot retry k, which is pending: ") {
		t.Errorf("got %q", got)
	}
}

func TestARetryKeepsTheDeadlineUnlessItIsGivenANewOne(t *testing.T) {
	d := newDesk(t)
	d.do("send", "--key", "k", "--body", "{}", "--expires-at", "2099-01-02T00:00:00Z")
	d.do("messages", "cancel", "k")
	d.do("messages", "retry", "k")
	if got, want := *d.show("k").ExpiresAt, "2099-01-02T00:00:00.000Z"; got != want {
		t.Errorf("the deadline is %s, want %s", got, want)
	}
	d.do("messages", "cancel", "k")
	d.do("messages", "retry", "k", "--expires-at", "2098-01-01T00:00:00Z")
	if got, want := *d.show("k").ExpiresAt, "2098-01-01T00:00:00.000Z"; got != want {
		t.Errorf("the deadline is %s, want %s", got, want)
	}
}

func TestAMessageWhoseDeadlineHasPassedIsRetriedWithANewOneOnly(t *testing.T) {
	d := newDesk(t)
	now := time.Now()
	d.now = func() time.Time { return now }
	d.do("send", "--key", "k", "--body", "{}", "--ttl", "1m")
	d.do("messages", "cancel", "k")
	now = now.Add(time.Hour)
	if got := d.refuse(exitFailed, "messages", "retry", "k"); !strings.Contains(got, "--ttl") {
		t.Errorf("%q does not say what to do", got)
	}
	d.refuse(exitUsage, "messages", "retry", "k", "--expires-at", now.Add(-time.Second).Format(time.RFC3339))
	d.refuse(exitUsage, "messages", "retry", "k", "--expires-at", "later")
	d.refuse(exitUsage, "messages", "retry", "k", "--ttl", "1 hour")
	if got, want := d.do("messages", "retry", "k", "--ttl", "5m"), "k is pending\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAnUnknownMessageLeavesOnlyByAPersonsWord(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"k", "--sent", "msg_7"}, "k is sent\n"},
		{[]string{"k", "--sent"}, "k is sent\n"},
		{[]string{"k", "--not-sent"}, "k is failed\n"},
		{[]string{"k", "--may-duplicate"}, "k is pending\n"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			d := newDesk(t)
			d.send(lineOf("k"))
			d.unknown("k")
			if got := d.refuse(exitFailed, "messages", "retry", "k"); !strings.Contains(got, "weir messages resolve") {
				t.Errorf("%q does not say what to do", got)
			}
			if got := d.do(append([]string{"messages", "resolve"}, c.args...)...); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if id := d.show("k").MessageID; len(c.args) == 3 && (id == nil || *id != "msg_7") {
				t.Errorf("the message id is %v", id)
			}
		})
	}
}

func TestResolveNeedsOneAnswer(t *testing.T) {
	d := newDesk(t)
	d.send(lineOf("k"))
	for _, args := range [][]string{
		{"k"}, {"k", "--sent=false"}, {"k", "--sent", "--not-sent"}, {"k", "--not-sent", "msg_7"}, {"--sent"},
		{"k", "--sent", "msg\x1b[2J"}, {"k", "--sent", strings.Repeat("m", steer.MaxText+1)},
	} {
		d.refuse(exitUsage, append([]string{"messages", "resolve"}, args...)...)
	}
	d.refuse(exitFailed, "messages", "resolve", "k", "--sent")
}

func TestAKeyThatNobodyHasIsNamed(t *testing.T) {
	d := newDesk(t)
	d.send(lineOf("k"))
	for _, args := range [][]string{{"show", "x"}, {"retry", "x"}, {"cancel", "x"}, {"resolve", "x", "--sent"}} {
		if got, want := d.refuse(exitFailed, append([]string{"messages"}, args...)...), "weir: no message has the key x\n"; got != want {
			t.Errorf("weir messages %q: %q, want %q", args, got, want)
		}
	}
	if _, err := d.store().Message(t.Context(), "x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the store says %v", err)
	}
}
