package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"weir/store"
)

// three gives a desk with a canceled message that is an hour old, and two that
// wait, of which one is an hour old too.
func three(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t)
	now := time.Now()
	d.now = func() time.Time { return now }
	d.send(lineOf("gone"), lineOf("old"))
	d.do("messages", "cancel", "gone")
	now = now.Add(time.Hour)
	d.send(`{"idempotency_key":"mail","lane":"bulk","body":{"channel_id":"c","subject":"s","to":"a@example.com"}}`)
	return d
}

func TestAListIsNarrowedByWhoWhenAndWhy(t *testing.T) {
	d := three(t)
	hash := *d.show("mail").RecipientHash
	for _, c := range []struct{ args, want []string }{
		{[]string{"--state", "pending,canceled"}, []string{"mail", "old", "gone"}},
		{[]string{"--state", "sent", "--state", "canceled"}, []string{"gone"}},
		{[]string{"--to", "a@example.com"}, []string{"mail"}},
		{[]string{"--to", "nobody"}, nil},
		{[]string{"--recipient-hash", hash}, []string{"mail"}},
		{[]string{"--key", "old"}, []string{"old"}},
		{[]string{"--since", "30m"}, []string{"mail"}},
		{[]string{"--since", "1d"}, []string{"mail", "old", "gone"}},
		{[]string{"--since", d.now().Add(-time.Second).Format(time.RFC3339Nano)}, []string{"mail"}},
		{[]string{"--until", "30m ago"}, []string{"old", "gone"}},
		{[]string{"--older-than", "30m", "--state", "pending"}, []string{"old"}},
		{[]string{"--since", "2h", "--until", "90m"}, nil},
		{[]string{"--error-code", "blocked"}, nil},
		{[]string{"--request-id", "req_1"}, nil},
	} {
		if got := d.listed(c.args...); !slices.Equal(got, c.want) {
			t.Errorf("%q lists %q, want %q", c.args, got, c.want)
		}
	}
	for _, args := range [][]string{
		{"--since", "yesterday"}, {"--until", "-2h"}, {"--older-than", "2w"}, {"--state", "pending,done"},
		{"--to", "a", "--recipient-hash", "b"}, {"--until", "1h", "--older-than", "2h"},
	} {
		d.refuse(exitUsage, append([]string{"messages", "list"}, args...)...)
	}
}

func TestManyMessagesAreCanceledAndRetriedByAFilter(t *testing.T) {
	d := three(t)
	for _, step := range []struct {
		args []string
		want string
		left []string // what then waits
	}{
		{[]string{"cancel", "--older-than", "30m", "--dry-run"}, "1 message would be canceled\n", []string{"mail", "old"}},
		{[]string{"cancel", "--older-than", "30m", "--yes"}, "1 message canceled\n", []string{"mail"}},
		{[]string{"cancel", "--older-than", "30m"}, "0 messages canceled\n", []string{"mail"}},
		{[]string{"retry", "--state", "canceled", "--channel", "rcs", "--yes"}, "2 messages retried\n", []string{"mail", "old", "gone"}},
		{[]string{"cancel", "--lane", "bulk", "--yes"}, "1 message canceled\n", []string{"old", "gone"}},
	} {
		if got := d.do(append([]string{"messages"}, step.args...)...); got != step.want {
			t.Errorf("%q says %q, want %q", step.args, got, step.want)
		}
		if got := d.listed("--state", "pending"); !slices.Equal(got, step.left) {
			t.Errorf("after %q %q wait, want %q", step.args, got, step.left)
		}
	}
}

func TestWhatIsSkippedIsSaidWithItsReason(t *testing.T) {
	b := &bulkCommand{}
	got := b.skipped(store.Bulk{Matched: 9, Changed: 3, Skipped: 6, Purged: 3, Overdue: 2})
	want := "; 6 skipped: 3 without their bodies, which are no longer kept (WEIR_KEEP_BODIES), " +
		"2 whose deadlines have passed (give them a new one with --ttl or --expires-at), 1 that have moved on meanwhile"
	if got != want {
		t.Errorf("got %q", got)
	}
}

func TestAChangeOfManyMustSayWhich(t *testing.T) {
	d := three(t)
	for _, args := range [][]string{
		{"cancel"}, {"retry"}, {"cancel", "old", "mail"}, {"cancel", "old", "--lane", "bulk"}, {"cancel", "old", "--dry-run"}, {"retry", "--yes"},
		{"cancel", "--state", "sent"}, {"retry", "--state", "unknown"}, {"retry", "--state", "failed", "--ttl", "soon"},
	} {
		d.refuse(exitUsage, append([]string{"messages"}, args...)...)
	}
}

func TestWithoutATerminalAChangeOfManyNeedsAYes(t *testing.T) {
	d := three(t)
	if got := d.refuse(exitUsage, "messages", "cancel", "--state", "pending"); !strings.HasPrefix(got, "weir: this would cancel 2 messages: confirm it with --yes") {
		t.Errorf("got %q", got)
	}
	if got := d.listed("--state", "pending"); len(got) != 2 {
		t.Errorf("left are %q", got)
	}
}

func TestAtATerminalAChangeOfManyIsAskedFor(t *testing.T) {
	for answer, left := range map[string]int{"y\n": 0, "Yes\n": 0, "\n": 2, "n\n": 2, "\x04": 2} {
		d := three(t)
		people, program := openTerminal(t, 80, 24)
		if _, err := people.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := d.run(t.Context(), program, "messages", "cancel", "--state", "pending")
		if !strings.HasPrefix(stderr, "cancel 2 messages? [y/N] ") || (code == exitDone) != (left == 0) || (stdout != "") != (left == 0) {
			t.Errorf("%q: exit %d, output %q, errors %q", answer, code, stdout, stderr)
		}
		if got := d.listed("--state", "pending"); len(got) != left {
			t.Errorf("%q leaves %q", answer, got)
		}
	}
}

func TestAMessageIsShownByTheIDOfOneOfItsRequests(t *testing.T) {
	d := newDesk(t)
	d.send(lineOf("k"))
	d.alter(`INSERT INTO attempts (message, number, started_at, verdict, request_id) SELECT id, 1, 1, 'retry', 'req_1' FROM messages`)
	if got := d.do("messages", "show", "--request-id", "req_1"); !strings.HasPrefix(got, "k is pending\n") {
		t.Errorf("got %q", got)
	}
	if got := d.listed("--request-id", "req_1"); !slices.Equal(got, []string{"k"}) {
		t.Errorf("listed %q", got)
	}
	if got := d.refuse(exitFailed, "messages", "show", "--request-id", "req_2"); !strings.HasPrefix(got, "weir: no request with the id req_2 is on record") {
		t.Errorf("got %q", got)
	}
	d.refuse(exitUsage, "messages", "show")
	d.refuse(exitUsage, "messages", "show", "k", "--request-id", "req_1")
}
