package dispatcher

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"weir/outbox"
)

func TestAClaimThatTookTooLongIsGivenBackUnsent(t *testing.T) {
	tests := []struct {
		name   string
		takes  time.Duration
		change func(*Claim)
		again  bool
	}{
		{"because it is stale", staleClaim + time.Second, func(*Claim) {}, true},
		{"because the deadline has passed", 2 * time.Second, func(c *Claim) { c.ExpiresAt = time.Now().Add(time.Second) }, false},
		{"because the key may be forgotten", 2 * time.Second, func(c *Claim) {
			c.Attempts, c.AmbiguousAt = 1, time.Now().Add(time.Second-policy.RepeatFor())
			c.Scope = Scope("http://127.0.0.1:1", "default")
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, 2, func(r *rig) {
				r.claimTakes = tt.takes
				r.addClaims(rcs, outbox.Normal, tt.change, "k")
				r.start()
				r.wait(time.Minute, "given back", func() bool { return len(r.copyReleased()) == 1 })
				if got := len(r.api.requests(time.Time{})); got != 0 {
					r.Fatalf("%d requests", got)
				}
				r.ledger.setClaimTakes(0)
				time.Sleep(time.Minute)
				if sent := r.of(outbox.Sent) == 1; sent != tt.again || len(r.copyReleased()) > 2 {
					r.Errorf("sent later: %v, want %v; given back %d times", sent, tt.again, len(r.released))
				}
			})
		})
	}
}

func TestTimeSpentSuspendedCountsBeforeTheClockIsLookedAt(t *testing.T) {
	const asleep = 26 * time.Hour // of which the monotonic clock knows nothing
	tests := []struct {
		name  string
		claim func(now time.Time) Claim
		may   bool
	}{
		{"a fresh claim goes", func(now time.Time) Claim { return Claim{ClaimedAt: now.Add(asleep)} }, true},
		{"a claim of before is stale", func(now time.Time) Claim { return Claim{ClaimedAt: now} }, false},
		{"a claim by a clock that was set back is stale", func(now time.Time) Claim { return Claim{ClaimedAt: now.Add(asleep + time.Hour)} }, false},
		{"a deadline has passed", func(now time.Time) Claim {
			return Claim{ClaimedAt: now.Add(asleep), ExpiresAt: now.Add(time.Hour)}
		}, false},
		{"the API has forgotten the key", func(now time.Time) Claim {
			return Claim{ClaimedAt: now.Add(asleep), AmbiguousAt: now, Scope: Scope("http://127.0.0.1:1", "default")}
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var wall time.Duration
			clock := func(c *Config) {
				c.Clock = NewClock(func() time.Time { return time.Now().Add(wall) })
				c.Now = c.Clock.Now
			}
			inBubble(t, 2, func(r *rig) {
				wall = asleep
				if _, may := r.d.mayPost(&delivery{b: r.d.buckets[0], c: tt.claim(r.d.cfg.Now())}); may != tt.may {
					r.Errorf("it may be sent: %v, want %v", may, tt.may)
				}
			}, clock)
		})
	}
}

func TestAMessageOfAnotherScopeIsNotRepeated(t *testing.T) {
	inBubble(t, 2, func(r *rig) {
		l := r.d.buckets[0]
		x := &delivery{b: l, c: Claim{Scope: "another API", AmbiguousAt: time.Now(), ClaimedAt: time.Now()}}
		if _, may := r.d.mayPost(x); may {
			r.Error("it may be sent")
		}
		x.c.Scope = l.account.scope
		if _, may := r.d.mayPost(x); !may {
			r.Error("it may not be sent in its own scope")
		}
	})
}

func TestA429PutsTheMessageInFrontAndStopsTheBucketUntilTheParkEnds(t *testing.T) {
	inBubble(t, 8, func(r *rig) {
		var from time.Time
		r.api.limit = 0
		r.api.play(func(q request) reply {
			if q.key >= "k030" && from.IsZero() {
				from = q.at
			}
			if !from.IsZero() && q.at.Sub(from) < 3*time.Second {
				return reply{status: 429, body: `{"error":"rate_limit_exceeded","retry_after":3}`, after: 20 * time.Millisecond}
			}
			return ok.in(20 * time.Millisecond)
		})
		r.add(rcs, outbox.Normal, keys("k", 60)...)
		r.start()
		r.waitAllSent(time.Minute)

		first := slices.IndexFunc(r.rows, func(r *row) bool { return r.Throttles > 0 })
		parked := r.api.requests(from.Add(21 * time.Millisecond)) // the answer took 20
		if parked[0].key != r.rows[first].Key || parked[0].at.Sub(from) < 3*time.Second {
			r.Errorf("%s was sent %v after the first 429, want %s after 3 s", parked[0].key, parked[0].at.Sub(from), r.rows[first].Key)
		}
		if got := len(r.api.requests(time.Time{})); got != r.counted() {
			r.Errorf("%d requests, but %d attempts and throttles", got, r.counted())
		}
		if got := r.rows[first]; got.Throttles != 1 || got.Attempts != 1 {
			r.Errorf("%s has %d throttles and %d attempts, want one of each", got.Key, got.Throttles, got.Attempts)
		}
	})
}

func TestA429GivesBackWhatWasClaimedAhead(t *testing.T) {
	inBubble(t, 2, func(r *rig) {
		r.warm()
		limited := time.Now()
		r.api.play(func(q request) reply {
			if q.at.Sub(limited) < time.Second {
				return reply{status: 429, body: `{"error":"rate_limit_exceeded"}`, after: 100 * time.Millisecond}
			}
			return ok
		})
		r.add(rcs, outbox.Normal, keys("k", 20)...)
		r.waitShown(rcs, Parked, "429")
		if got := len(r.api.requests(limited)); got != 2 || len(r.copyReleased()) != 2 {
			r.Errorf("%d requests, %d claims given back; want 2, which were on the wire, and 2", got, len(r.copyReleased()))
		}
		r.waitAllSent(2 * time.Hour)
	})
}

func TestSomethingElseThanTheAPITellsNothingOfTheLimit(t *testing.T) {
	inBubble(t, 2, func(r *rig) {
		b := r.d.buckets[0]
		answer := answered(404, "")
		answer.EndedAt = time.Now()
		for name, value := range map[string]string{"Limit": "5", "Remaining": "0", "Reset": strconv.FormatInt(time.Now().Unix()+60, 10)} {
			answer.Header.Set("X-RateLimit-"+name, value)
		}
		for _, v := range []Verdict{NotAPI, Refused} {
			b.limiter.Grant(time.Now(), true, 1)
			seen := r.d.tellLimiter(&delivery{b: b}, b.limiter.Sent(time.Now()), answer, v)
			known := b.limiter.State(time.Now()).Known
			if want := v != NotAPI; known != want || (seen.Limit != nil) != want {
				r.Errorf("%s: limit known %v, want %v", v, known, want)
			}
		}
	})
}

func TestWhatFailedWaitsAndIsSentAgain(t *testing.T) {
	tests := []struct {
		name    string
		reply   reply
		atLeast time.Duration
	}{
		{"a 503", unavailable, policy.SettleWait},
		{"a cut", cutOff, policy.SettleWait},
		{"a 409 while another request runs", reply{status: 409, body: `{"error":"request_in_progress"}`}, policy.SettleWait},
		{"a wait that is asked for", reply{status: 503, body: `{"error":"unavailable","retry_after":60}`}, time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, 2, func(r *rig) {
				r.api.play(func(q request) reply {
					if q.nth == 1 {
						return tt.reply
					}
					return ok
				})
				r.add(rcs, outbox.Normal, "k")
				r.start()
				r.waitAllSent(10 * time.Minute)
				requests := r.api.requests(time.Time{})
				if got := requests[1].at.Sub(requests[0].at); len(requests) != 2 || got < tt.atLeast {
					r.Errorf("%d requests, the second after %v, want at least %v", len(requests), got, tt.atLeast)
				}
				if got := r.row("k").Attempts; got != 2 {
					r.Errorf("%d attempts, want 2", got)
				}
			})
		})
	}
}

func TestARefusalFailsOneMessageAndRaisesNoGate(t *testing.T) {
	inBubble(t, 2, func(r *rig) {
		r.api.always(refused)
		r.add(rcs, outbox.Normal, keys("k", 20)...)
		r.start()
		r.wait(time.Minute, "all refused", func() bool { return r.of(outbox.Failed) == 20 })
		if got := len(r.api.requests(time.Time{})); got != 20 || len(r.stored()) != 0 {
			r.Errorf("%d requests and gates %v", got, r.stored())
		}
	})
}
