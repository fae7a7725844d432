package store_test

import (
	"testing"
	"time"

	"weir/dispatcher"
	"weir/outbox"
)

// answer is an answer with the status and a request id that names it.
func answer(status int) dispatcher.Answer {
	return dispatcher.Answer{Status: status, RequestID: "req"}
}

func TestEachJudgementMovesItsMessage(t *testing.T) {
	later := start.Add(time.Minute)
	ok := answer(200)
	ok.MessageID = "msg"
	clean := dispatcher.Judgement{Verdict: dispatcher.NeverLeft, State: outbox.Retrying, Counted: true, DueAt: later, ErrorCode: "dial"}
	stopped := dispatcher.Judgement{Verdict: dispatcher.Ambiguous, State: outbox.Retrying, Ambiguous: true, DueAt: later, ErrorCode: "cut"}
	for _, test := range []struct {
		name       string
		answer     dispatcher.Answer
		judgement  dispatcher.Judgement
		state      string
		generation int64
		attempts   int
		throttles  int
		due        time.Time
		first      bool // has a counted attempt
		ambiguous  bool
	}{
		{name: "sent", answer: ok, judgement: accepted, state: "sent", generation: 1, attempts: 1, due: start, first: true},
		{name: "refused", answer: answer(422), judgement: refused, state: "failed", generation: 1, attempts: 1, due: start, first: true},
		{name: "to be repeated", judgement: clean, state: "retrying", generation: 2, attempts: 1, due: later, first: true},
		{name: "throttled, in front again", answer: answer(429), judgement: throttled, state: "pending", generation: 2, throttles: 1, due: start},
		{name: "unpaid, in front again", answer: answer(402), judgement: unpaid, state: "pending", generation: 2, due: start},
		{name: "cut", judgement: cutAt(later), state: "retrying", generation: 2, attempts: 1, due: later, first: true, ambiguous: true},
		{name: "cut by stopping", judgement: stopped, state: "retrying", generation: 2, due: later, ambiguous: true},
		{name: "unknown", judgement: lost, state: "unknown", generation: 1, attempts: 1, due: start, first: true, ambiguous: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			d.put(message("x"))
			c := d.claim("x")
			d.Add(time.Second)
			d.record(c, test.answer, test.judgement)

			m := d.row("x")
			if m.State != test.state || m.Generation != test.generation || m.Attempts != test.attempts || m.Throttles != test.throttles ||
				m.DueAt != iso(test.due) || m.UpdatedAt != iso(start.Add(time.Second)) ||
				val(m.RequestID) != test.answer.RequestID || val(m.HTTPStatus) != test.answer.Status ||
				val(m.MessageID) != test.answer.MessageID || val(m.ErrorCode) != test.judgement.ErrorCode {
				t.Errorf("the row is %+v", m)
			}
			for _, at := range []struct {
				column string
				value  *string
				want   bool
				time   time.Time
			}{
				{"first_attempt_at", m.FirstAttemptAt, test.first, start},
				{"ambiguous_at", m.AmbiguousAt, test.ambiguous, start},
				{"settled_at", m.SettledAt, test.judgement.State.Settled(), start.Add(time.Second)},
			} {
				if (at.value != nil) != at.want || (at.want && *at.value != iso(at.time)) {
					t.Errorf("%s is %q", at.column, val(at.value))
				}
			}
			checkEvent(t, d, test.judgement, test.answer)
		})
	}
}

// checkEvent checks that exactly what settled was told.
func checkEvent(t *testing.T, d *desk, j dispatcher.Judgement, a dispatcher.Answer) {
	t.Helper()
	events := d.events.take()
	if !j.State.Settled() {
		if len(events) != 0 {
			t.Errorf("told %+v of a message that has not settled", events)
		}
		return
	}
	if len(events) != 1 {
		t.Fatalf("told %+v, want one event", events)
	}
	e := events[0]
	if val(e.Key) != "x" || e.State != string(j.State) || e.Attempts != 1 || !e.At.Equal(start.Add(time.Second)) || e.At.Location() != time.UTC ||
		val(e.MessageID) != a.MessageID || val(e.RequestID) != a.RequestID || val(e.HTTPStatus) != a.Status || val(e.ErrorCode) != j.ErrorCode {
		t.Errorf("told %+v", e)
	}
	if a.MessageID == "" && e.MessageID != nil || a.Status == 0 && e.HTTPStatus != nil || j.ErrorCode == "" && e.ErrorCode != nil {
		t.Errorf("told %+v, want null for what is absent", e)
	}
}

func TestTheFirstTimesOfAMessageStay(t *testing.T) {
	d := newDesk(t)
	d.ambiguous(message("x"))
	d.Add(time.Minute)
	d.record(d.claim("x"), dispatcher.Answer{}, cutAt(d.Now()))
	m := d.row("x")
	if val(m.FirstAttemptAt) != iso(start) || val(m.AmbiguousAt) != iso(start) || m.Attempts != 2 {
		t.Errorf("the row is %+v, want the first attempt's times", m)
	}
}

func TestWhatIsSentHasNoErrorLeft(t *testing.T) {
	d := newDesk(t)
	d.ambiguous(message("x"))
	d.record(d.claim("x"), answer(200), accepted)
	if m := d.row("x"); m.ErrorCode != nil || m.ErrorMessage != nil || m.AmbiguousAt == nil {
		t.Errorf("the row is %+v, want no error", m)
	}
}

func TestAConflictThatSaysSentIsAnErrorOfItsAttemptOnly(t *testing.T) {
	d := newDesk(t)
	d.ambiguous(message("x"))
	conflict := answer(409)
	conflict.MessageID = "msg"
	d.record(d.claim("x"), conflict, dispatcher.Judgement{Verdict: dispatcher.Refused, State: outbox.Sent, Counted: true, ErrorCode: "duplicate"})
	if m := d.row("x"); m.State != "sent" || val(m.MessageID) != "msg" || m.ErrorCode != nil {
		t.Errorf("the row is %+v, want it sent without an error", m)
	}
	if e := d.events.take(); len(e) != 1 || e[0].State != "sent" || val(e[0].MessageID) != "msg" || e[0].ErrorCode != nil {
		t.Errorf("told %+v, want one event as the row is", e)
	}
	if n := d.number(`SELECT count(*) FROM attempts WHERE error_code = 'duplicate'`); n != 1 {
		t.Errorf("%d attempts with the conflict, want 1", n)
	}
}

func TestAStaleClaimChangesNothing(t *testing.T) {
	for _, test := range []struct{ name, set string }{
		{"another daemon's epoch", `epoch = epoch + 1`},
		{"a later generation", `generation = generation + 1`},
		{"no longer being sent", `state = 'retrying'`},
		{"settled", `state = 'canceled', settled_at = 1`},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			d.put(message("x"))
			c := d.claim("x")
			d.exec(`UPDATE messages SET ` + test.set)
			before := d.row("x")
			d.Add(time.Second)
			d.record(c, answer(200), accepted)
			must(t, d.Release(t.Context(), []dispatcher.Claim{c}))
			if after := d.row("x"); after.State != before.State || after.Generation != before.Generation ||
				after.UpdatedAt != before.UpdatedAt || after.RequestID != nil {
				t.Errorf("changed to %+v", after)
			}
			if n := d.number(`SELECT count(*) FROM attempts`); n != 0 || len(d.events.take()) != 0 {
				t.Errorf("it left %d attempts or an event", n)
			}
		})
	}
}

func TestRecordingTwiceCountsOnce(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	c := d.claim("x")
	d.record(c, answer(429), throttled)
	d.record(c, answer(429), throttled)
	if m := d.row("x"); m.Throttles != 1 || m.Generation != 2 || d.number(`SELECT sum(requests) FROM attempts`) != 1 {
		t.Errorf("the row is %+v", m)
	}
}

func TestAttemptsAreNumberedOverAllRequests(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	retry := dispatcher.Judgement{Verdict: dispatcher.Retry, State: outbox.Retrying, Counted: true, DueAt: start}
	unauthorized := dispatcher.Judgement{Verdict: dispatcher.Unauthorized, State: outbox.Pending}
	limit, left := 100, 7
	for i, j := range []dispatcher.Judgement{throttled, throttled, throttled, retry, retry, unpaid, unpaid, unauthorized, throttled, accepted} {
		c := d.claim("x")
		left = i
		must(t, d.recorded(dispatcher.Record{
			Claim: c, Judgement: j, Limit: dispatcher.LimitSeen{Limit: &limit, Remaining: &left, Reset: start.Add(time.Minute)},
			Answer: dispatcher.Answer{StartedAt: d.Now(), EndedAt: d.Now().Add(time.Duration(i) * time.Millisecond), Status: 400 + i, RequestID: "req"},
		}))
		d.Add(time.Second)
	}
	attempts, err := d.Attempts(t.Context(), d.row("x").ID)
	must(t, err)
	type row struct {
		number, requests int
		verdict          string
		latest           int // the request that the row shows
	}
	want := []row{
		{1, 3, "throttled", 2}, {4, 1, "retry", 3}, {5, 1, "retry", 4}, {6, 2, "unpaid", 6},
		{8, 1, "unauthorized", 7}, {9, 1, "throttled", 8}, {10, 1, "sent", 9},
	}
	if len(attempts) != len(want) {
		t.Fatalf("there are %d rows, want %d: %+v", len(attempts), len(want), attempts)
	}
	for i, w := range want {
		a := attempts[i]
		if a.Number != w.number || a.Requests != w.requests || a.Verdict != w.verdict || val(a.HTTPStatus) != 400+w.latest ||
			val(a.DurationMS) != w.latest || a.StartedAt != iso(start.Add(time.Duration(w.latest)*time.Second)) ||
			val(a.RateLimit) != 100 || val(a.Remaining) != w.latest || val(a.ResetAt) != iso(start.Add(time.Minute)) {
			t.Errorf("row %d is %+v, want %+v", i, a, w)
		}
	}
	if m := d.row("x"); m.Attempts != 3 || m.Throttles != 4 {
		t.Errorf("counted %d attempts and %d throttles, want 3 and 4", m.Attempts, m.Throttles)
	}
}

func TestAReleasedClaimIsAsIfItHadNotBeenMade(t *testing.T) {
	d := newDesk(t)
	d.put(message("fresh"), message("tried"), message("maybe"))
	uncounted := cutAt(start) // cut short by stopping
	uncounted.Counted = false
	d.record(d.claim("maybe"), answer(0), uncounted)
	d.record(d.claim("tried"), answer(503), dispatcher.Judgement{Verdict: dispatcher.NeverLeft, State: outbox.Retrying, Counted: true, DueAt: start})
	for key, state := range map[string]string{"fresh": "pending", "tried": "retrying", "maybe": "retrying"} {
		before := d.row(key)
		c := d.claim(key)
		must(t, d.Release(t.Context(), []dispatcher.Claim{c}))
		m := d.row(key)
		if m.State != state || m.DueAt != before.DueAt || m.Attempts != before.Attempts || m.Throttles != 0 {
			t.Errorf("%s is %+v", key, m)
		}
		if m.Generation != c.Next().Generation || len(d.claims(c.Ref)) != 0 {
			t.Errorf("%s can be claimed by a reference of before", key)
		}
		if len(d.claims(c.Next())) != 1 {
			t.Errorf("%s cannot be claimed by its next reference", key)
		}
	}
	if n := d.number(`SELECT count(*) FROM attempts`); n != 2 {
		t.Errorf("there are %d attempts, want the 2 that were made", n)
	}
}

func TestAnAttemptThatTheClockWasSetBackInDoesNotBeginInTheFuture(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	c := d.claim("x")
	d.Add(-time.Hour)
	d.record(c, dispatcher.Answer{}, cutAt(d.Now()))
	if at := val(d.row("x").AmbiguousAt); at != iso(d.Now()) {
		t.Errorf("its key is known from %s on, but it is %s", at, iso(d.Now()))
	}
}
