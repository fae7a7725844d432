package store_test

import (
	"testing"
	"time"

	"weir/outbox"
)

func TestARowIsClaimedOnlyIfEverythingAllowsIt(t *testing.T) {
	now, repeat := start.UnixMilli(), policy.RepeatFor().Milliseconds()
	for _, test := range []struct {
		name    string
		set     string
		args    []any
		stale   int64 // added to the reference's generation
		claimed bool
	}{
		{name: "due since a minute", set: `due_at = ?`, args: []any{now - 60_000}, claimed: true},
		{name: "due now", set: `due_at = ?`, args: []any{now}, claimed: true},
		{name: "due in a millisecond", set: `due_at = ?`, args: []any{now + 1}},
		{name: "retrying", set: `state = 'retrying'`, claimed: true},
		{name: "being sent", set: `state = 'sending', epoch = 1`},
		{name: "sent", set: `state = 'sent', settled_at = 1`},
		{name: "failed", set: `state = 'failed', settled_at = 1`},
		{name: "expired", set: `state = 'expired', settled_at = 1`},
		{name: "canceled", set: `state = 'canceled', settled_at = 1`},
		{name: "unknown", set: `state = 'unknown', settled_at = 1`},
		{name: "a reference of an earlier generation", set: `generation = 7`, stale: -1},
		{name: "a reference of a later generation", set: `generation = 7`, stale: 1},
		{name: "a grown generation", set: `generation = 7`, claimed: true},
		{name: "a deadline in a millisecond", set: `expires_at = ?`, args: []any{now + 1}, claimed: true},
		{name: "a deadline now", set: `expires_at = ?`, args: []any{now}},
		{name: "repeating is safe for another millisecond", set: `ambiguous_at = ?`, args: []any{now - repeat + 1}, claimed: true},
		{name: "repeating is no longer safe", set: `ambiguous_at = ?`, args: []any{now - repeat}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			d.put(message("x"))
			d.exec(`UPDATE messages SET `+test.set, test.args...)
			ref, state := d.ref("x"), d.row("x").State
			ref.Generation += test.stale
			claims := d.claims(ref)
			if got := len(claims) == 1; got != test.claimed {
				t.Errorf("claimed: %v, want %v", got, test.claimed)
			}
			if test.claimed {
				state = "sending"
			}
			if m := d.row("x"); m.State != state {
				t.Errorf("the row says %s, want %s", m.State, state)
			}
		})
	}
}

func TestAClaimIsCommittedAndKnowsItsMessage(t *testing.T) {
	d := newDesk(t)
	m := message("x")
	m.Lane, m.Traceparent, m.ExpiresAt = outbox.High, "00-1-2-01", start.Add(time.Hour)
	d.put(m)
	d.exec(`UPDATE messages SET attempts = 2, throttles = 3, first_attempt_at = ?, due_at = due_at - 5, state = 'retrying'`, start.UnixMilli()-9000)
	d.Add(time.Second)

	c := d.claim("x")
	if c.Bucket != rcs || c.Lane != outbox.High || c.Key != "x" || string(c.Body) != string(m.Body) || c.Traceparent != m.Traceparent ||
		c.Attempts != 2 || c.Throttles != 3 || c.Scope != "here" || !c.ClaimedAt.Equal(start.Add(time.Second)) ||
		!c.DueAt.Equal(start.Add(-5*time.Millisecond)) || !c.ExpiresAt.Equal(m.ExpiresAt) ||
		!c.FirstAttemptAt.Equal(start.Add(-9*time.Second)) || !c.AmbiguousAt.IsZero() {
		t.Errorf("the claim is %+v", c)
	}
	if n := d.number(`
		SELECT count(*) FROM messages
		WHERE state = 'sending' AND epoch = ? AND generation = 1 AND scope = 'here' AND updated_at = ?`,
		d.Epoch(), start.Add(time.Second).UnixMilli()); n != 1 {
		t.Errorf("another connection sees no claim; the row: %+v", d.row("x"))
	}
}

func TestOneReferenceIsClaimedOnce(t *testing.T) {
	d := newDesk(t)
	d.put(message("a"), message("b"))
	a, b := d.ref("a"), d.ref("b")
	claims := d.claims(b, a, b, outbox.Ref{ID: 999, Generation: 1})
	if len(claims) != 2 || claims[0].Key != "b" || claims[1].Key != "a" {
		t.Errorf("claimed %+v, want b and a, each once", claims)
	}
	if again := d.claims(a, b); len(again) != 0 {
		t.Errorf("claimed again: %+v", again)
	}
}

func TestTheScopeOfAnAmbiguousAttemptIsKept(t *testing.T) {
	d := newDesk(t)
	d.ambiguous(message("maybe"))
	d.put(message("clean"))
	d.record(d.claim("clean"), answer(429), throttled)
	claims, err := d.Claim(t.Context(), "elsewhere", []outbox.Ref{d.ref("maybe"), d.ref("clean")})
	must(t, err)
	if len(claims) != 2 || claims[0].Scope != "here" || claims[1].Scope != "elsewhere" {
		t.Errorf("claimed %+v, want the ambiguous one under its first scope", claims)
	}
	if maybe, clean := val(d.row("maybe").Scope), val(d.row("clean").Scope); maybe != "here" || clean != "elsewhere" {
		t.Errorf("the rows have the scopes %q and %q", maybe, clean)
	}
}
