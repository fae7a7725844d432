package store_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"weir/dispatcher"
	"weir/internal/bubble"
	"weir/outbox"
)

func TestAClaimThatDiedWithItsDaemonIsJudged(t *testing.T) {
	for _, test := range []struct {
		name    string
		set     string // what the row said before
		args    []any
		dead    time.Duration // how long the daemon was down
		state   string
		dueIn   time.Duration
		ambig   time.Time
		attempt int
		code    string
	}{
		{
			name: "the first attempt of a message is repeated once it can no longer be running",
			set:  `attempts = 0`, dead: time.Minute,
			state: "retrying", dueIn: policy.SettleWait, ambig: start, attempt: 1,
		},
		{
			name: "an earlier ambiguous attempt stays the first",
			set:  `attempts = 1, ambiguous_at = ?, first_attempt_at = ?`, args: []any{start.UnixMilli() - 1000, start.UnixMilli() - 1000}, dead: time.Minute,
			state: "retrying", dueIn: policy.SettleWait, ambig: start.Add(-time.Second), attempt: 2,
		},
		{
			name: "too late to repeat",
			set:  `attempts = 0`, dead: policy.RepeatFor() + time.Second,
			state: "unknown", ambig: start, attempt: 1, code: "",
		},
		{
			name: "failing for too long",
			set:  `attempts = 3, first_attempt_at = ?`, args: []any{start.Add(-policy.RetryFor).UnixMilli() - 1}, dead: time.Minute,
			state: "unknown", ambig: start, attempt: 4, code: "out_of_time",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			d.put(message("x"), message("other"))
			d.exec(`UPDATE messages SET `+test.set+` WHERE idempotency_key = 'x'`, test.args...)
			d.claim("x")
			d.Add(test.dead)
			d = d.reopen()

			if n, err := d.Recover(t.Context(), policy); err != nil || n != 1 {
				t.Fatalf("recovered %d (%v), want 1", n, err)
			}
			m := d.row("x")
			due := start
			if test.state == "retrying" {
				due = d.Now().Add(test.dueIn)
			}
			if m.State != test.state || m.DueAt != iso(due) || val(m.AmbiguousAt) != iso(test.ambig) || m.Attempts != test.attempt ||
				val(m.ErrorCode) != test.code || m.ErrorMessage == nil || (m.SettledAt != nil) != (test.state == "unknown") || m.FirstAttemptAt == nil {
				t.Errorf("the row is %+v", m)
			}
			if events := d.events.take(); (len(events) == 1) != (test.state == "unknown") {
				t.Errorf("told %+v", events)
			}
			attempts, err := d.Attempts(t.Context(), m.ID)
			must(t, err)
			if len(attempts) != 1 || attempts[0].Verdict != "lost" || attempts[0].StartedAt != iso(start) || attempts[0].DurationMS != nil {
				t.Errorf("the attempts are %+v, want one that was lost", attempts)
			}
			if n, err := d.Recover(t.Context(), policy); err != nil || n != 0 {
				t.Errorf("recovered %d once more (%v)", n, err)
			}
		})
	}
}

func TestRecoveryLeavesThisEpochsClaimsAlone(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	d.claim("x")
	if n, err := d.Recover(t.Context(), policy); err != nil || n != 0 {
		t.Errorf("recovered %d (%v), want none", n, err)
	}
}

func TestARecordOfAnEarlierDaemonComesTooLate(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	c := d.claim("x")
	d = d.reopen()
	d.record(c, answer(200), accepted)
	if m := d.row("x"); m.State != "sending" {
		t.Errorf("an earlier daemon's claim was recorded: %+v", m)
	}
}

func TestTheSweepJudgesClaimsThatNobodyWorksOn(t *testing.T) {
	d := newDesk(t)
	d.put(message("busy"), message("forgotten"))
	busy := d.claim("busy")
	d.claim("forgotten")
	n, err := d.Sweep(t.Context(), policy, func(id int64) bool { return id == busy.ID })
	if err != nil || n != 1 {
		t.Errorf("swept %d (%v), want 1", n, err)
	}
	if d.row("busy").State != "sending" || d.row("forgotten").State != "retrying" {
		t.Errorf("now %+v and %+v", d.row("busy"), d.row("forgotten"))
	}
}

func TestAnAmbiguousMessageOfAnotherAPIIsUnknown(t *testing.T) {
	d := newDesk(t)
	d.put(message("clean"))
	d.record(d.claim("clean"), answer(429), throttled) // it has a scope, but no ambiguous attempt
	d.ambiguous(message("moved"))
	stayed := message("stayed")
	stayed.Account = "second"
	d.ambiguous(stayed)
	d.put(message("canceled"))
	_, err := d.Cancel(t.Context(), "canceled")
	must(t, err)

	n, err := d.SettleMoved(t.Context(), map[string]string{"default": "there", "second": "here"})
	if err != nil || n != 1 {
		t.Errorf("settled %d (%v), want 1", n, err)
	}
	if clean, moved, stayed := d.row("clean").State, d.row("moved"), d.row("stayed").State; clean != "pending" ||
		moved.State != "unknown" || moved.Generation != 3 || moved.SettledAt == nil || stayed != "retrying" {
		t.Errorf("clean is %s, stayed %s, moved %+v", clean, stayed, moved)
	}
}

func TestADeadlineSettlesWithinASecond(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := bubbleDesk(t)
		expiring, doubtful := message("expiring"), message("doubtful")
		expiring.ExpiresAt = d.Now().Add(10 * time.Second)
		doubtful.ExpiresAt = d.Now().Add(21 * time.Second)
		d.ambiguous(doubtful)
		d.ambiguous(message("repeatable"))
		d.exec(`UPDATE messages SET ambiguous_at = ambiguous_at - ? WHERE idempotency_key = 'repeatable'`,
			(policy.RepeatFor() - 32*time.Second).Milliseconds())
		d.put(expiring, message("never"))

		go func() { _ = d.RunDeadlines(t.Context()) }()
		for _, want := range []struct{ key, state string }{{"expiring", "expired"}, {"doubtful", "unknown"}, {"repeatable", "unknown"}} {
			time.Sleep(9 * time.Second)
			if early := d.events.take(); len(early) != 0 {
				t.Errorf("settled before its deadline: %+v", early)
			}
			time.Sleep(2 * time.Second)
			if now := d.events.take(); len(now) != 1 || val(now[0].Key) != want.key || now[0].State != want.state {
				t.Errorf("a second after the deadline told %+v, want %s to be %s", now, want.key, want.state)
			}
			if m := d.row(want.key); m.State != want.state || m.SettledAt == nil || m.ErrorMessage == nil {
				t.Errorf("the row is %+v", m)
			}
		}
		if m := d.row("expiring"); m.Generation != 2 {
			t.Errorf("the expired row is %+v, want the next generation", m)
		}
		if m := d.row("repeatable"); val(m.ErrorCode) != "out_of_time" {
			t.Errorf("the row is %+v, want the reason", m)
		}
		if m := d.row("never"); m.State != "pending" {
			t.Errorf("a message without a deadline is %s", m.State)
		}
	})
}

func TestTheDeadlineOfAClaimIsTheDispatchersMatter(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := bubbleDesk(t)
		m := message("x")
		m.ExpiresAt = d.Now().Add(time.Second)
		d.put(m)
		c := d.claim("x")
		go func() { _ = d.RunDeadlines(t.Context()) }()
		time.Sleep(5 * time.Second)
		if state := d.row("x").State; state != "sending" {
			t.Fatalf("a claimed message became %s", state)
		}
		must(t, d.Release(t.Context(), []dispatcher.Claim{c}))
		time.Sleep(time.Second)
		if state := d.row("x").State; state != "expired" {
			t.Errorf("given back after its deadline it is %s, want expired", state)
		}
	})
}

func TestManyDeadlinesAtOnceAreAllSettled(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := bubbleDesk(t)
		batch := make([]outbox.Message, 1200) // more than two commits take
		for i := range batch {
			batch[i] = message(fmt.Sprint(i))
			batch[i].ExpiresAt = d.Now()
		}
		d.put(batch...)
		go func() { _ = d.RunDeadlines(t.Context()) }()
		time.Sleep(time.Second)
		if n := d.number(`SELECT count(*) FROM messages WHERE state = 'expired'`); n != 1200 || len(d.events.take()) != 1200 {
			t.Errorf("%d have expired, want all 1200, and all told", n)
		}
	})
}

func TestWhatOthersSettleInTheSameCommitIsNotCounted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		go func() { _, _ = c.Cancel(t.Context(), "waiting") }()
		synctest.Wait()
		moved := make(chan int)
		go func() {
			n, err := c.SettleMoved(t.Context(), map[string]string{"default": "elsewhere"})
			if err != nil {
				t.Error(err)
			}
			moved <- n
		}()
		synctest.Wait()
		close(c.release)
		if n := <-moved; n != 0 {
			t.Errorf("counted %d messages of another API, want none", n)
		}
	})
}
