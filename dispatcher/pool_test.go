package dispatcher

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/limiter/sim"
	"weir/outbox"
)

// shared makes one limit of the channels of an account.
func shared(c *Config) { c.Accounts[0].SharedLimit = true }

func withoutReserve(c *Config) { c.BulkReserve = 0 }

// tell is what the API says to a request that its limit has decided on.
func tell(d sim.Decision) reply {
	r := ok.in(20 * time.Millisecond)
	if !d.Allowed {
		r = reply{status: 429, body: `{"error":"rate_limit_exceeded"}`}
	}
	r.header = map[string]string{
		"X-RateLimit-Limit": strconv.Itoa(d.Limit), "X-RateLimit-Remaining": strconv.Itoa(d.Remaining),
		"X-RateLimit-Reset": sim.FormatReset(d.Reset, sim.Ceil),
	}
	return r
}

// keep makes the API keep a limit.
func (a *api) keep(limit sim.Limit) {
	a.play(func(request) reply { return tell(limit.Take(time.Now())) })
}

// order is the first letters of the messages that were claimed.
func (r *rig) order() string {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	var letters strings.Builder
	for _, key := range r.claimed {
		letters.WriteByte(key[0])
	}
	return letters.String()
}

func TestAProbeThatWaitsForItsLimitGoesWhenThatOpens(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		d, b, now := r.d, r.d.buckets[0], time.Now()
		d.Restore([]Gate{heldGate(b.Scope(), ByUnpaid, now.Add(-time.Hour), now)})
		b.limiter.Restore(now, now.Add(300*time.Millisecond))
		d.mu.Lock()
		defer d.mu.Unlock()
		b.waiting[bulk].fetched = []outbox.Ref{{ID: 1}}
		if until, _ := d.take(d.pools[0], now); until.Sub(now) != 300*time.Millisecond {
			r.Errorf("looks again in %v, want it in 300ms", until.Sub(now))
		}
	})
}

func TestAHighMessageTakesTheTokenOfBulkThatWaitsForAWorker(t *testing.T) {
	for _, c := range []struct {
		name string
		bulk outbox.Bucket
		with []func(*Config)
	}{
		{"of its own bucket", rcs, []func(*Config){withoutReserve}},
		{"of another bucket with the same limit", email, []func(*Config){withoutReserve, shared}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, 4, func(r *rig) {
				limit := sim.NewWindow(40, time.Hour, true)
				r.api.play(func(request) reply { return tell(limit.Take(time.Now())).in(100 * time.Millisecond) })
				r.add(c.bulk, outbox.Bulk, keys("b", 100)...)
				r.start()
				r.wait(time.Minute, "the last three tokens in the hands of bulk that waits", func() bool {
					return len(r.api.requests(time.Time{})) == 37 && r.of(outbox.Sending) == 6
				})
				r.add(rcs, outbox.High, "h")
				r.wait(time.Second, "the high message sent", func() bool { return r.row("h").state == outbox.Sent })
				if n := len(r.api.requests(time.Time{})); n > 40 {
					r.Errorf("%d requests against a limit of 40", n)
				}
			}, c.with...)
		})
	}
}

func TestHighOfOneBucketGoesBeforeBulkOfAnotherWithTheSameLimit(t *testing.T) {
	for _, high := range []outbox.Bucket{rcs, email} {
		t.Run(high.Channel, func(t *testing.T) {
			other := map[outbox.Bucket]outbox.Bucket{rcs: email, email: rcs}[high]
			inBubble(t, 4, func(r *rig) {
				r.api.keep(sim.NewWindow(10, time.Minute, true))
				r.add(other, outbox.Bulk, keys("b", 100)...)
				r.start()
				r.wait(time.Minute, "the window used up", func() bool { return r.of(outbox.Sent) == 10 })
				r.add(high, outbox.High, keys("h", 15)...)
				r.wait(3*time.Minute, "two windows more", func() bool { return r.of(outbox.Sent) == 30 })
				// What goes in one round may be claimed in any order.
				if got := r.order(); strings.Count(got[10:20], "h") != 10 || strings.Count(got[20:30], "h") != 5 {
					r.Errorf("after the first window came %s", got[10:])
				}
			}, shared, withoutReserve)
		})
	}
}

func TestTheReserveIsOneForAllBucketsWithTheSameLimit(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.api.keep(sim.NewWindow(100, time.Hour, true))
		r.add(email, outbox.Bulk, keys("b", 200)...)
		r.start()
		time.Sleep(10 * time.Minute)
		if sent := r.of(outbox.Sent); sent < 90 || sent > 93 {
			r.Errorf("%d of 100 sent, want what the reserve leaves", sent)
		}
		r.add(rcs, outbox.High, keys("h", 5)...)
		r.wait(time.Second, "the high messages sent", func() bool { return r.row("h004").state == outbox.Sent })
	}, shared)
}

func TestALimitOfABucketDoesNotDisturbAnother(t *testing.T) {
	inBubble(t, 8, func(r *rig) {
		rcsLimit, emailLimit := sim.NewWindow(10, time.Hour, true), sim.NewWindow(100_000, time.Hour, true)
		for range 5 {
			rcsLimit.Take(time.Now()) // by somebody else: weir meets a 429
		}
		r.api.play(func(q request) reply {
			if strings.HasPrefix(q.key, "rcs") {
				return tell(rcsLimit.Take(time.Now()))
			}
			return tell(emailLimit.Take(time.Now())).in(time.Second)
		})
		r.add(rcs, outbox.High, keys("rcs", 100)...)
		r.add(email, outbox.Bulk, keys("email", 1000)...)
		r.start()
		r.waitShown(rcs, Parked, "10")
		r.wait(time.Minute, "the workers with the other bucket", func() bool { return r.api.onWire() == 6 })
		from := time.Now()
		time.Sleep(10 * time.Second)
		if n := len(r.api.requests(from)); n < 60 {
			r.Errorf("%d requests of the other bucket in 10 s, want 6 a second: bulk may use 6 of 8 workers", n)
		}
		if back := strings.Join(r.copyReleased(), " "); strings.Contains(back, "email") {
			r.Errorf("claims that went back: %s", back)
		}
		if g := r.gauges(email); g.State != Running {
			r.Errorf("the other bucket is %s: %s", g.State, g.Reason)
		}
		if g := r.gauges(rcs); *g.RateLimit != 10 || *r.gauges(email).RateLimit != 100_000 {
			r.Errorf("limits of %d and %d", *g.RateLimit, *r.gauges(email).RateLimit)
		}
	})
}

func TestBucketsWithTheSameLimitShareItsPark(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.api.keep(sim.NewWindow(20, time.Minute, true))
		r.add(rcs, outbox.Normal, keys("r", 100)...)
		r.add(email, outbox.Normal, keys("e", 100)...)
		r.start()
		r.wait(time.Minute, "the window used up", func() bool { return r.of(outbox.Sent) == 20 })
		r.waitShown(rcs, Parked, "20")
		r.waitShown(email, Parked, "20")
		r.wait(10*time.Minute, "more windows", func() bool { return r.of(outbox.Sent) == 100 })
		for _, record := range r.records {
			if record.Answer.Status == 429 {
				r.Fatal("a limit that is one for both was overdrawn")
			}
		}
	}, shared, withoutReserve)
}

func TestBucketsWithTheSameLimitTakeTurns(t *testing.T) {
	for _, lane := range outbox.Lanes {
		t.Run(string(lane), func(t *testing.T) {
			inBubble(t, 4, func(r *rig) {
				r.api.keep(sim.NewWindow(1, time.Second, true))
				r.add(rcs, lane, keys("r", 20)...)
				r.add(email, lane, keys("e", 20)...)
				r.startFilled()
				r.waitAllSent(2 * time.Minute)
				if got := r.order(); got != strings.Repeat("re", 20) && got != strings.Repeat("er", 20) {
					r.Errorf("tokens went to %s", got)
				}
			}, shared, withoutReserve)
		})
	}
}

func TestEightNormalForEachBulkAlsoOneTokenAtATime(t *testing.T) {
	for _, c := range []struct {
		name string
		bulk outbox.Bucket
		with []func(*Config)
	}{
		{"within a bucket", rcs, nil},
		{"over buckets with the same limit", email, []func(*Config){shared}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, 8, func(r *rig) {
				r.api.keep(sim.NewWindow(1, time.Second, true))
				r.add(rcs, outbox.Normal, keys("n", 60)...)
				r.add(c.bulk, outbox.Bulk, keys("b", 10)...)
				r.startFilled()
				r.waitAllSent(3 * time.Minute)
				if got, want := r.order()[:54], strings.Repeat("nnnnnnnnb", 6); got != want {
					r.Errorf("order %s, want %s", got, want)
				}
			}, c.with...)
		})
	}
}

func TestTheOrderWithinALaneOutlivesRefusalsAndParks(t *testing.T) {
	for _, c := range []struct {
		name   string
		refuse func(nth int) bool // besides what the limit refuses
		late   time.Duration      // the time that refusals take
		strip  []string
	}{
		{"with all headers", func(int) bool { return false }, 0, nil},
		{"with refusals out of the blue", func(nth int) bool { return nth%5 == 3 }, 0, nil},
		{"with three refusals in a row", func(nth int) bool { return nth%9 < 3 }, 0, nil},
		{"with refusals that come after their window", func(nth int) bool { return nth%6 == 5 }, 2 * time.Second, nil},
		{"without headers", func(nth int) bool { return nth%7 == 5 }, 0, []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}},
		{"with headers that make no sense", func(nth int) bool { return nth%4 == 3 }, 0, []string{"X-RateLimit-Remaining"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, 1, func(r *rig) {
				r.recordTakes = 5 * time.Millisecond
				limit := sim.NewWindow(7, 2*time.Second, true)
				chance := rand.New(rand.NewPCG(1, 2))
				r.api.play(func(q request) reply {
					if chance.IntN(4) == 0 {
						limit.Take(time.Now()) // another client
					}
					d := limit.Peek(time.Now())
					if d.Allowed = d.Allowed && !c.refuse(q.nth); d.Allowed {
						d = limit.Take(time.Now())
					}
					answer := tell(d)
					if !d.Allowed {
						answer = answer.in(c.late)
					}
					for _, name := range c.strip {
						delete(answer.header, name)
					}
					return answer
				})
				began := time.Now()
				for _, lane := range outbox.Lanes {
					r.addClaims(rcs, lane, func(claim *Claim) {
						claim.DueAt = began.Add(-time.Duration(chance.IntN(10)) * time.Second)
					}, keys(string(lane), 40)...)
				}
				r.startFilled()
				r.waitAllSent(time.Hour)
				r.wantInOrder()
			})
		})
	}
}

// wantInOrder checks that the messages of each lane were accepted by due time,
// then row, and that some were refused before.
func (r *rig) wantInOrder() {
	r.Helper()
	var accepted [len(outbox.Lanes)][]Claim
	refused := 0
	for _, record := range r.records {
		if record.Judgement.State != outbox.Sent {
			refused++
			continue
		}
		lane := laneIndex(record.Claim.Lane)
		accepted[lane] = append(accepted[lane], record.Claim)
	}
	for lane, claims := range accepted {
		byTurn := func(a, b Claim) int { return cmp.Or(a.DueAt.Compare(b.DueAt), cmp.Compare(a.ID, b.ID)) }
		if !slices.IsSortedFunc(claims, byTurn) {
			var order []string
			for _, c := range claims {
				order = append(order, fmt.Sprint(c.DueAt.Second(), ":", c.ID))
			}
			r.Errorf("lane %s was accepted in the order %v", outbox.Lanes[lane], order)
		}
	}
	if refused < 5 {
		r.Errorf("only %d refusals: this tests nothing", refused)
	}
}

func TestClaimsTakeEffectInTheOrderInWhichTheyWerePicked(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.warm()
		r.setClaimTakes(100 * time.Millisecond)
		r.add(rcs, outbox.Normal, "first")
		time.Sleep(10 * time.Millisecond)
		r.setClaimTakes(0)
		r.add(rcs, outbox.Normal, "second")
		r.waitAllSent(time.Second)
		if q := r.api.requests(time.Time{}); q[40].key != "first" {
			r.Errorf("%s was sent before the one in front of it", q[40].key)
		}
	})
}
