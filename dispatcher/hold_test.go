package dispatcher

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/bubble"
	"weir/outbox"
)

func TestWhileTheTimeIsDoubtedNoVerdictByTimeIsTaken(t *testing.T) {
	late := noon.Add(23 * time.Hour)
	for name, c := range map[string]Claim{
		"failing for too long":  tired,
		"too late to repeat":    {Scope: "s", Attempts: 1, FirstAttemptAt: late.Add(-time.Hour), AmbiguousAt: late.Add(-24 * time.Hour)},
		"both, and may be sent": {Scope: "s", Attempts: 9, FirstAttemptAt: late.Add(-24 * time.Hour), AmbiguousAt: late.Add(-24 * time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			doubted := policy
			doubted.Doubted = true
			a := Answer{StartedAt: late, EndedAt: late, Left: true, Status: 503}
			half := func() float64 { return 0.5 }
			if j := settle(c, a, Retry, doubted, half); j.State != outbox.Retrying || j.DueAt.IsZero() {
				t.Errorf("it is %s, due %v, want retrying", j.State, j.DueAt)
			}
			if j := SettleLost(c, doubted, late); j.State != outbox.Retrying {
				t.Errorf("lost it is %s, want retrying", j.State)
			}
			if j := settle(c, a, Retry, policy, half); !j.State.Settled() {
				t.Errorf("without doubt it is %s", j.State)
			}
		})
	}
}

func TestAnAPIInAnotherYearMakesNothingFailAtOnce(t *testing.T) {
	inBubble(t, 2, func(r *rig) {
		off := time.Now().Add(8760 * time.Hour)
		began := time.Now()
		r.api.play(func(request) reply {
			date := off.Add(time.Since(began)).UTC().Format(http.TimeFormat)
			return reply{status: 503, body: `{"error":"unavailable"}`, header: map[string]string{"Date": date}}
		})
		r.addClaims(rcs, outbox.Normal, func(c *Claim) { c.Attempts, c.FirstAttemptAt = 1, time.Now().Add(-21*time.Hour) }, "k")
		r.start()
		time.Sleep(9 * time.Minute)
		if row := r.row("k"); row.state.Settled() || row.Attempts < 2 {
			t.Errorf("after %d attempts within the ten minutes of doubt it is %s", row.Attempts, row.state)
		}
		r.wait(20*time.Minute, "it is given up once the difference has been steady", func() bool { return r.row("k").state.Settled() })
	})
}

var tooFull = Gate{Scope: outbox.DaemonScope("weir"), Kind: Held, SetBy: ByDisk, Reason: "1 MiB is free"}

func TestAHoldOfThisMachineLetsNothingOutUntilItsOwnCure(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		slow := ok.in(2 * time.Second)
		r.api.always(slow)
		r.add(rcs, outbox.Normal, keys("k", 20)...)
		r.start()
		r.wait(time.Second, "requests are on the wire", func() bool { return r.api.onWire() > 0 })
		synctest.Wait() // those that go at this moment are on the wire
		hold := tooFull
		hold.Since = time.Now()
		r.d.Hold(hold)
		held := time.Now().Add(1)
		time.Sleep(time.Hour)
		if n := len(r.api.requests(held)); n > 0 {
			t.Errorf("%d requests while it held", n)
		}
		if n := r.of(outbox.Sending); n > 0 {
			t.Errorf("%d are claimed", n)
		}
		for _, b := range []outbox.Bucket{rcs, email} {
			if g := r.gauges(b); g.State != Held || g.Reason != hold.Reason {
				t.Errorf("%s is shown as %s: %s", b, g.State, g.Reason)
			}
		}
		r.d.Cure(hold.Scope, ByDisk, "there is space")
		r.waitAllSent(time.Minute)
		time.Sleep(reportEvery)
		if gates := r.stored(); len(gates) > 0 {
			t.Errorf("still stored: %v", gates)
		}
	})
}

func TestAnAnswerToAnEarlierRequestCuresNoHoldOfThisMachine(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		x := &delivery{b: r.d.buckets[0]}
		r.d.Hold(tooFull)
		r.d.mu.Lock()
		r.d.accepted(x, x.b.account.key, Answer{StartedAt: time.Now().Add(time.Second)})
		r.d.mu.Unlock()
		if !r.d.Holds(tooFull.Scope, ByDisk) {
			t.Error("a message that was accepted has made space")
		}
	})
}

func TestAClockThatWasBehindHoldsUntilItHasCaughtUpOrAPersonLiftsIt(t *testing.T) {
	for _, lifted := range []bool{false, true} {
		inBubble(t, 2, func(r *rig) {
			hold := Gate{
				Scope: outbox.DaemonScope("weir"), Kind: Held, SetBy: ByClock, Since: time.Now(),
				Until: time.Now().Add(5 * time.Hour), Reason: "behind",
			}
			if err := r.PutGate(r.Context(), hold); err != nil {
				t.Fatal(err)
			}
			r.d.Hold(hold)
			r.add(rcs, outbox.Normal, keys("k", 5)...)
			r.start()
			time.Sleep(4 * time.Hour)
			if n := len(r.api.requests(time.Time{})); n > 0 {
				t.Fatalf("%d requests before the last time seen", n)
			}
			r.d.Reload(r.stored())
			if !r.d.Holds(hold.Scope, ByClock) {
				t.Fatal("it fell although it stands in the table")
			}
			if lifted {
				r.d.Reload(nil)
				r.waitAllSent(10 * time.Minute)
				return
			}
			r.wait(62*time.Minute, "it opens by itself", func() bool { return r.of(outbox.Sent) == 5 })
		})
	}
}

func TestAHoldThatAPersonLiftsBeforeItIsReportedStaysLifted(t *testing.T) {
	inBubble(t, 2, func(r *rig) {
		r.d.Hold(Gate{ // its caller has stored it, and a person has removed it since
			Scope: outbox.DaemonScope("weir"), Kind: Held, SetBy: ByClock, Since: time.Now(), Until: time.Now().Add(time.Hour),
		})
		r.start()
		time.Sleep(10 * reportEvery)
		if gates := r.stored(); len(gates) > 0 {
			t.Errorf("it is back: %v", gates)
		}
	})
}

func TestWaitsAreSpansAndSurviveAStepOfTheClock(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		bubble.Test(t, func(t *testing.T) {
			d := &Dispatcher{gates: newGates(), wake: make(chan struct{}, 1)}
			now := time.Now()
			d.gates.add(Gate{Scope: "bucket:a/b", Kind: Degraded, SetBy: ByFailures, Since: now, Until: now.Add(time.Minute)}, 0)
			d.gates.add(Gate{Scope: "bucket:a/b", Kind: Paused, SetBy: ByOperator, Since: now, Until: now.Add(time.Minute)}, 0)
			d.buckets = []*bucket{{park: park{since: now, until: now.Add(time.Second)}, alone: map[int64]alone{1: {until: now.Add(time.Minute)}}}}
			d.buckets[0].sent.add(now, 3)
			d.Rebase(step)
			for _, g := range d.gates.all() {
				want := now.Add(time.Minute)
				if g.Kind == Degraded {
					want = want.Add(step)
				}
				if !g.Until.Equal(want) {
					t.Errorf("the gate that is %s ends %v later than it should", g.Kind, g.Until.Sub(want))
				}
			}
			if !d.buckets[0].park.until.Equal(now.Add(step + time.Second)) {
				t.Error("the park ends at another time")
			}
			if _, until := d.buckets[0].waitsAlone(now.Add(step)); !until.Equal(now.Add(step + time.Minute)) {
				t.Errorf("a message waits by itself until %v", until)
			}
			time.Sleep(61 * time.Second)
			if n := d.buckets[0].sent.total(time.Now().Add(step)); n != 0 {
				t.Errorf("%d sent in the last minute, want 0", n)
			}
		})
	}
}

func TestALimitersParkSurvivesAStepOfTheClock(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		inBubble(t, 1, func(r *rig) {
			set := time.Duration(0)
			r.d.cfg.Now = func() time.Time { return time.Now().Add(set) }
			lim := r.d.buckets[0].limiter
			lim.Restore(r.d.cfg.Now(), r.d.cfg.Now().Add(10*time.Minute))
			set = step
			r.d.Rebase(step)
			time.Sleep(9 * time.Minute)
			if !lim.Parked(r.d.cfg.Now()) {
				r.Errorf("after a step of %v the park has ended early", step)
			}
			time.Sleep(time.Minute)
			if lim.Parked(r.d.cfg.Now()) {
				r.Errorf("after a step of %v the park lasts on", step)
			}
		})
	}
}

func TestTheReasonOfADoubtNamesNoServer(t *testing.T) {
	withWall(t, func(w *wall) {
		w.hear("https://secret.example", time.Hour)
		if d, _ := w.Doubt(); strings.Contains(d.Reason, "secret") {
			t.Errorf("it says %q", d.Reason)
		}
	})
}

func TestAStepOfTheClockDuringARequest(t *testing.T) {
	for _, step := range []time.Duration{26 * time.Hour, -time.Hour} {
		var set atomic.Int64
		inBubble(t, 1, func(r *rig) {
			r.api.always(ok.in(time.Second))
			client := r.d.accounts[0].client
			r.add(rcs, outbox.Normal, "k")
			if _, err := r.Claim(r.Context(), "s", []outbox.Ref{{ID: 1}}); err != nil {
				r.Fatal(err)
			}
			began := time.Now()
			time.AfterFunc(time.Second/2, func() {
				set.Store(int64(step))
				client.clock.Check()
			})
			a := client.Post(r.Context(), "key", "k", []byte(`{}`), "")
			if took := a.EndedAt.Sub(a.StartedAt); took != time.Second {
				r.Errorf("%v: a request of a second seems to take %v", step, took)
			}
			if at := a.StartedAt.Sub(began); at != step {
				r.Errorf("%v: it seems to begin %v after it did, want it by the clock that was set", step, at)
			}
			if at := a.KeyUsedAt().Sub(began); at != min(step, 0) {
				r.Errorf("%v: its key is known from %v on: it ages while a machine is suspended", step, at)
			}
			client.Close()
		}, func(c *Config) {
			c.Clock = NewClock(func() time.Time { return time.Now().Add(time.Duration(set.Load())) })
		})
	}
}
