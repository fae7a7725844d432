package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"weir/dispatcher"
	"weir/internal/bubble"
	"weir/outbox"
	"weir/store"
)

func TestNoDeadlineIsSettledWhileTheTimeIsDoubted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var doubted atomic.Bool
		doubted.Store(true)
		s, err := store.Open(t.Context(), store.Config{
			Dir: t.TempDir(), Now: time.Now, RepeatFor: 2 * time.Minute, Doubted: doubted.Load,
		})
		must(t, err)
		defer func() { must(t, s.Close()) }()
		late, unclear := message("late"), message("unclear")
		late.ExpiresAt = time.Now().Add(time.Minute)
		_, err = s.Accept(t.Context(), []outbox.Message{late, unclear})
		must(t, err)
		claims, err := s.Claim(t.Context(), "here", []outbox.Ref{{ID: 2, Generation: 1}})
		must(t, err)
		done := make(chan error, 1)
		a := dispatcher.Answer{StartedAt: time.Now(), EndedAt: time.Now()}
		s.Record(dispatcher.Record{Claim: claims[0], Answer: a, Judgement: cutAt(time.Now())}, func(err error) { done <- err })
		must(t, <-done)

		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.RunDeadlines(ctx) }()
		states := func() (string, string) {
			l, _ := s.Message(t.Context(), "late")
			u, _ := s.Message(t.Context(), "unclear")
			return l.State, u.State
		}
		time.Sleep(5 * time.Minute)
		if l, u := states(); l != "pending" || u != "retrying" {
			t.Errorf("they are %s and %s in spite of the doubt", l, u)
		}
		doubted.Store(false)
		time.Sleep(time.Second)
		if l, u := states(); l != "expired" || u != "unknown" {
			t.Errorf("they are %s and %s once the time is known", l, u)
		}
		stop()
		must(t, <-ended)
	})
}

func TestSpansAreMovedWithTheClockAndTimesOfDayAreNot(t *testing.T) {
	for name, step := range map[string]time.Duration{"forward": time.Hour, "back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			d := openDesk(t, t.TempDir(), &clock{now: start})
			began := d.Now()
			later, deadline := message("later"), message("deadline")
			later.SendAt = d.Now().Add(30 * time.Minute)
			deadline.ExpiresAt = d.Now().Add(30 * time.Minute)
			d.put(message("old"), later, deadline)
			d.exec(`UPDATE messages SET first_attempt_at = 1000, ambiguous_at = 1000 WHERE idempotency_key = 'old'`)
			d.put(message("retry"))
			d.record(d.claim("retry"), dispatcher.Answer{}, cutAt(d.Now().Add(time.Minute)))
			d.Add(time.Second)
			d.put(message("now"))
			was := d.Now()
			d.Add(step)
			d.put(message("by the new clock"))
			d.record(d.claim("by the new clock"), dispatcher.Answer{}, cutAt(d.Now().Add(time.Minute)))
			d.put(message("at once"))
			must(t, d.Rebase(t.Context(), began, was, step))
			wait := func(key string) time.Duration {
				at, err := time.Parse(time.RFC3339, d.row(key).DueAt)
				must(t, err)
				return at.Sub(d.Now())
			}
			if w := wait("retry"); w < 50*time.Second || w > time.Minute {
				t.Errorf("the retry is due in %v, want the minute that it had, less what passed", w)
			}
			if w := wait("by the new clock"); w != time.Minute {
				t.Errorf("a retry by the new clock is due in %v, want a minute", w)
			}
			if w := wait("at once"); w > 0 {
				t.Errorf("what came by the new clock waits %v", w)
			}
			if w := wait("now"); w > 0 {
				t.Errorf("what was due at once waits %v", w)
			}
			if got, want := d.row("later").DueAt, iso(later.SendAt); got != want {
				t.Errorf("send_at has become %s, want %s", got, want)
			}
			if got, want := val(d.row("deadline").ExpiresAt), iso(deadline.ExpiresAt); got != want {
				t.Errorf("the deadline has become %s, want %s", got, want)
			}
			if n := d.number(`SELECT ambiguous_at + first_attempt_at FROM messages WHERE idempotency_key = 'old'`); n != 2000 {
				t.Error("an attempt of an earlier run was moved")
			}
			ago := func(column string) time.Duration {
				at := d.number(`SELECT ` + column + ` FROM messages WHERE idempotency_key = 'retry'`)
				return time.Duration(d.Now().UnixMilli()-at) * time.Millisecond
			}
			if a := ago("first_attempt_at"); a < time.Second || a > time.Minute {
				t.Errorf("the attempt of this run lies %v back", a)
			}
			// Forward, the machine may have been suspended, and the API have forgotten the key.
			known := max(step, 0)
			if a := ago("ambiguous_at"); a < known+time.Second || a > known+time.Minute {
				t.Errorf("the key is taken to be known for %v, want %v and what passed", a, known)
			}
			if seen, err := d.LastSeen(t.Context()); err != nil || seen.Sub(d.Now()).Abs() > time.Second {
				t.Errorf("last seen %v (%v), now %v", seen, err, d.Now())
			}
		})
	}
}

func TestTheLastTimeSeenGoesBackOnlyWhenTheClockIsKnownToHave(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var set atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
		s, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Now: now})
		must(t, err)
		defer func() { must(t, s.Close()) }()
		if seen, err := s.LastSeen(t.Context()); err != nil || !seen.IsZero() {
			t.Errorf("before the first heartbeat: %v, %v", seen, err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		must(t, s.ShowRunning(ctx))
		go func() { ended <- s.RunHeartbeat(ctx) }()
		time.Sleep(11 * time.Second)
		before, err := s.LastSeen(t.Context())
		must(t, err)
		set.Store(int64(-time.Hour))
		time.Sleep(10 * time.Second)
		if seen, _ := s.LastSeen(t.Context()); !seen.Equal(before) {
			t.Errorf("a heartbeat of a clock that is behind has moved it from %v to %v", before, seen)
		}
		must(t, s.SeeAgain(t.Context()))
		if seen, _ := s.LastSeen(t.Context()); seen.After(now()) {
			t.Errorf("it is %v, now %v", seen, now())
		}
		stop()
		must(t, <-ended)
	})
}

func TestNothingIsPrunedWhileTheTimeIsDoubted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var doubted atomic.Bool
		doubted.Store(true)
		s, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Now: time.Now, Doubted: doubted.Load})
		must(t, err)
		defer func() { must(t, s.Close()) }()
		_, err = s.Accept(t.Context(), []outbox.Message{message("x")})
		must(t, err)
		_, err = s.Cancel(t.Context(), "x")
		must(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.RunRetention(ctx, store.Retention{Bodies: time.Hour, Rows: time.Hour}) }()
		time.Sleep(5 * time.Hour)
		if _, err := s.Message(t.Context(), "x"); err != nil {
			t.Errorf("it is gone in spite of the doubt: %v", err)
		}
		doubted.Store(false)
		time.Sleep(5 * time.Minute)
		if _, err := s.Message(t.Context(), "x"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("it is there once the time is known: %v", err)
		}
		stop()
		must(t, <-ended)
	})
}

func TestAClaimThatDiesAfterTheClockWasSetBackDoesNotBeginInTheFuture(t *testing.T) {
	for name, test := range map[string]struct{ step, want time.Duration }{
		"back": {-time.Hour, -time.Hour}, "forward, or suspended": {time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := openDesk(t, t.TempDir(), &clock{now: start})
			began := d.Now()
			d.put(message("x"))
			d.claim("x")
			d.Add(time.Second)
			was := d.Now()
			d.Add(test.step)
			must(t, d.Rebase(t.Context(), began, was, test.step))
			d = d.reopen()
			if n, err := d.Recover(t.Context(), policy); err != nil || n != 1 {
				t.Fatalf("recovered %d (%v), want 1", n, err)
			}
			if at, want := val(d.row("x").AmbiguousAt), iso(start.Add(test.want)); at != want {
				t.Errorf("its key is known from %s on, want %s", at, want)
			}
		})
	}
}

func TestTheTimesOfAClockThatWasAheadHoldNothingBackAndProveNothing(t *testing.T) {
	const ahead = 5 * time.Hour
	d := openDesk(t, t.TempDir(), &clock{now: start})
	d.ambiguous(message("maybe before that"))
	d.Add(ahead)
	asked, far := message("asked"), message("far")
	asked.SendAt = d.Now().Add(30 * time.Minute)
	d.put(message("fresh"), message("retry"), message("left"), asked, far)
	d.record(d.claim("retry"), answer(0), dispatcher.Judgement{
		Verdict: dispatcher.NeverLeft, State: outbox.Retrying, Counted: true, DueAt: d.Now().Add(time.Minute),
	})
	d.ambiguous(message("maybe"))
	d.claim("left")
	d.exec(`UPDATE messages SET id = id + 12000 WHERE idempotency_key = 'far'`) // beyond what one commit takes
	d.exec(`INSERT INTO meta VALUES ('last_seen_at', ?)`, d.Now().UnixMilli())
	must(t, d.Close())
	d.Add(time.Minute - ahead)
	d = openDesk(t, d.dir, d.clock)
	if n, err := d.Recover(t.Context(), policy); err != nil || n != 1 {
		t.Fatalf("recovered %d (%v), want 1", n, err)
	}
	d.Add(2 * policy.SettleWait)
	if claims := d.claims(d.ref("fresh")); len(claims) != 0 {
		t.Fatal("the test shows nothing: what the wrong clock set is due")
	}
	must(t, d.SeeAgain(t.Context()))
	for _, key := range []string{"fresh", "retry", "far"} {
		if c := d.claim(key); c.FirstAttemptAt.After(d.Now()) {
			t.Errorf("%s has its first attempt at %v, now it is %v", key, c.FirstAttemptAt, d.Now())
		}
	}
	for _, key := range []string{"maybe before that", "maybe", "left"} {
		if m := d.row(key); m.State != "unknown" || m.SettledAt == nil || m.ErrorMessage == nil {
			t.Errorf("%s may be repeated although nobody knows how old its key is: %+v", key, m)
		}
	}
	if told := d.events.take(); len(told) != 3 {
		t.Errorf("told of %+v, want the three that are unknown", told)
	}
	if due := d.row("asked").DueAt; due != iso(asked.SendAt) {
		t.Errorf("send_at has become %s, want %s", due, iso(asked.SendAt))
	}
	if seen, err := d.LastSeen(t.Context()); err != nil || !seen.Equal(d.Now()) {
		t.Errorf("last seen %v (%v), now %v", seen, err, d.Now())
	}
}

func TestWhatComesBackAfterTheClockWasSetBackWaitsNoLongerThanItShould(t *testing.T) {
	d := openDesk(t, t.TempDir(), &clock{now: start})
	asked := message("asked")
	asked.SendAt = start
	d.put(message("handed back"), message("failed"), asked)
	back, failed, early := d.claim("handed back"), d.claim("failed"), d.claim("asked")
	ended := d.Now().Add(20 * time.Millisecond)
	d.Add(-time.Hour) // and nothing has followed yet
	must(t, d.Release(t.Context(), []dispatcher.Claim{back, early}))
	d.record(failed, dispatcher.Answer{}, dispatcher.Judgement{
		Verdict: dispatcher.NeverLeft, State: outbox.Retrying, Counted: true, DueAt: ended.Add(time.Minute),
	})
	for key, want := range map[string]time.Time{
		"handed back": d.Now(), "failed": d.Now().Add(time.Minute), "asked": asked.SendAt,
	} {
		if due := d.row(key).DueAt; due != iso(want) {
			t.Errorf("%s is due at %s, want %s", key, due, iso(want))
		}
	}
}

func TestAStepOfTheClockBehindTheLastTimeSeenLeavesThat(t *testing.T) {
	d := openDesk(t, t.TempDir(), &clock{now: start.Add(5 * time.Hour)})
	d.ambiguous(message("maybe"))
	seen := d.Now()
	d.exec(`INSERT INTO meta VALUES ('last_seen_at', ?)`, seen.UnixMilli())
	must(t, d.Close())
	d.Add(-5 * time.Hour)
	d = openDesk(t, d.dir, d.clock)
	was := d.Now()
	d.Add(time.Hour)
	must(t, d.Rebase(t.Context(), was, was, time.Hour))
	if now, err := d.LastSeen(t.Context()); err != nil || !now.Equal(seen) {
		t.Errorf("last seen %v (%v), want %v: the next start would not be held", now, err, seen)
	}
	must(t, d.SeeAgain(t.Context()))
	if m := d.row("maybe"); m.State != "unknown" {
		t.Errorf("what the wrong clock has stamped is %s after all, want unknown", m.State)
	}
}

func TestWhatWaitsIsLeftAloneWhenTheLastTimeSeenHasPassed(t *testing.T) {
	d := openDesk(t, t.TempDir(), &clock{now: start})
	d.put(message("retry"))
	d.record(d.claim("retry"), answer(0), cutAt(d.Now().Add(time.Minute)))
	d.exec(`INSERT INTO meta VALUES ('last_seen_at', ?)`, d.Now().UnixMilli())
	must(t, d.SeeAgain(t.Context()))
	if m := d.row("retry"); m.State != "retrying" || m.DueAt != iso(start.Add(time.Minute)) {
		t.Errorf("the row is %+v", m)
	}
}

func TestWhatAWrongClockHadDelayedIsFedAtOnceWhenAPersonKnowsTheTime(t *testing.T) {
	feeding(t, func(d *desk) {
		d.put(message("x"))
		d.exec(`UPDATE messages SET due_at = due_at + 3600000`)
		d.exec(`INSERT INTO meta VALUES ('last_seen_at', ?)`, d.Now().Add(2*time.Hour).UnixMilli())
	}, func(t *testing.T, d *fedDesk) {
		d.expect("before")
		must(t, d.SeeAgain(t.Context()))
		d.expect("now", "x")
	})
}
