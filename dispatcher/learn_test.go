package dispatcher

import (
	"slices"
	"strings"
	"testing"
	"time"

	"weir/outbox"
)

// gaps are the times between requests.
func gaps(requests []request) []time.Duration {
	var all []time.Duration
	for i := 1; i < len(requests); i++ {
		all = append(all, requests[i].at.Sub(requests[i-1].at).Round(100*time.Millisecond))
	}
	return all
}

// warm gets the dispatcher going, so that it has many requests on the wire.
func (r *rig) warm() {
	r.Helper()
	r.add(rcs, outbox.Normal, keys("warm", 40)...)
	r.start()
	r.waitAllSent(time.Minute)
}

// waitShown waits until the bucket is shown in a state, for a reason.
func (r *rig) waitShown(b outbox.Bucket, state GateKind, reason string) {
	r.Helper()
	r.wait(time.Minute, "shown as "+string(state)+": "+reason, func() bool {
		g := r.gauges(b)
		return g.State == state && strings.Contains(g.Reason, reason) && !g.Since.IsZero()
	})
}

func (r *rig) waitNoGates(within time.Duration) {
	r.Helper()
	r.wait(within, "all gates gone", func() bool { return len(r.stored()) == 0 })
}

func TestARefusedKeyHoldsTheAccountUntilANewOneWorks(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.warm()
		r.api.play(func(q request) reply {
			if q.token == "Bearer old" {
				return unauthorized.in(100 * time.Millisecond)
			}
			return ok.in(100 * time.Millisecond)
		})
		from := time.Now()
		r.add(rcs, outbox.Normal, keys("a", 20)...)
		r.add(email, outbox.Normal, keys("b", 20)...)
		r.waitShown(rcs, Held, "the API refuses the key (401 invalid_api_key)")
		r.waitShown(email, Held, "the API refuses the key (401 invalid_api_key)")
		burst := len(r.api.requests(from))
		if burst > 4 {
			r.Errorf("%d requests before the hold, want no more than were on the wire", burst)
		}

		time.Sleep(testProbeInterval * 10) // probes after 1, 3 and 7 intervals
		probes := r.api.requests(from)[burst:]
		if got := gaps(probes); !slices.Equal(got, []time.Duration{20100 * time.Millisecond, 40100 * time.Millisecond}) {
			r.Errorf("probes %v apart, want 2 and 4 intervals", got)
		}
		for i, p := range probes {
			if slices.ContainsFunc(probes[:i], func(q request) bool { return q.key == p.key }) {
				r.Errorf("%s probed twice", p.key)
			}
		}
		if n := r.counted(); n != 40 {
			r.Errorf("%d attempts counted, want those of before only", n)
		}

		r.key.set("new")
		changed := time.Now()
		r.waitAllSent(time.Minute)
		if again := r.api.requests(changed); again[0].at.Sub(changed) > reportEvery {
			r.Errorf("the new key was tried after %v", again[0].at.Sub(changed))
		}
		r.waitShown(rcs, Running, "")
		r.waitNoGates(time.Second)
		if r.counted() != 80 {
			r.Errorf("%d attempts, want one per message", r.counted())
		}
	})
}

func TestAGateOpensOnTwoFourAndSoOn(t *testing.T) {
	inBubble(t, 16, func(r *rig) {
		r.api.always(unauthorized)
		r.add(rcs, outbox.Normal, keys("a", 100)...)
		r.start()
		r.waitShown(rcs, Held, "401")
		from := time.Now()
		r.api.always(ok.in(time.Second))
		r.waitAllSent(time.Minute)
		var atOnce []int
		var last time.Time
		for _, q := range r.api.requests(from) {
			if q.at.Sub(last) > 500*time.Millisecond {
				atOnce = append(atOnce, 0)
				last = q.at
			}
			atOnce[len(atOnce)-1]++
		}
		// The probe, the ramp, and then as many as there are workers.
		if want := []int{1, 1, 2, 4, 8, 16, 16}; len(atOnce) < 7 || !slices.Equal(atOnce[:7], want) {
			r.Errorf("%v requests at once, want %v", atOnce, want)
		}
	})
}

func TestAnAnswerToAnOldKeyDoesNotHoldAgain(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.warm()
		r.api.play(func(q request) reply {
			switch {
			case q.token != "Bearer old":
				return ok.in(100 * time.Millisecond)
			case q.key == "slow":
				return unauthorized.in(20 * time.Second)
			}
			return unauthorized.in(100 * time.Millisecond)
		})
		r.add(rcs, outbox.Normal, "slow", "a", "b")
		r.waitShown(rcs, Held, "401")
		r.key.set("new")
		r.waitNoGates(10 * time.Second)
		r.wait(20*time.Second, "the slow one refused and sent again", func() bool { return r.row("slow").state == outbox.Sent })
		r.waitAllSent(time.Second)
		if len(r.stored()) != 0 {
			r.Errorf("gates %v", r.stored())
		}
	})
}

func TestANewKeyIsProbedAtOnceThoughAProbeWithTheOldOneIsUnderWay(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.api.play(func(q request) reply {
			if q.token == "Bearer old" {
				return unauthorized.in(5 * time.Second)
			}
			return ok
		})
		r.add(rcs, outbox.Normal, keys("a", 3)...)
		r.start()
		r.wait(time.Minute, "a probe", func() bool { return len(r.api.requests(time.Time{})) == 2 })
		r.key.set("new")
		r.waitAllSent(5*time.Second + reportEvery)
	})
}

func TestTheKeyIsReadAgainBeforeAProbe(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.api.always(unauthorized.in(100 * time.Millisecond))
		r.add(rcs, outbox.Normal, keys("a", 3)...)
		r.start()
		r.waitShown(rcs, Held, "401")
		r.d.mu.Lock()
		probeAt := r.d.gates.strongest(r.d.buckets[0]).Until
		r.d.mu.Unlock()
		time.Sleep(time.Until(probeAt) - time.Millisecond)
		r.key.set("new")
		r.wait(time.Second, "a probe", func() bool { return len(r.api.requests(probeAt)) > 0 })
		if probe := r.api.requests(probeAt)[0]; probe.token != "Bearer new" || probe.at.After(probeAt.Add(time.Millisecond)) {
			r.Errorf("probed %v late with %s", probe.at.Sub(probeAt), probe.token)
		}
	})
}

func TestA402OfOneMessageIsItsOwn(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.api.play(func(q request) reply {
			if q.key == "dear" {
				return unpaid
			}
			return ok.in(100 * time.Millisecond)
		})
		r.add(rcs, outbox.Normal, "dear")
		r.start()
		time.Sleep(75 * time.Second)
		if got, want := gaps(r.api.requests(time.Time{})), []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second}; !slices.Equal(got, want) {
			r.Errorf("sent %v apart, want %v", got, want)
		}
		r.add(rcs, outbox.Normal, keys("a", 20)...)
		r.wait(2*time.Second, "the others sent", func() bool { return r.of(outbox.Sent) == 20 })
		if dear := r.row("dear"); dear.Attempts != 0 || dear.state != outbox.Pending || len(r.stored()) != 0 {
			r.Errorf("%s with %d attempts, gates %v; want it pending, uncounted, without gates", dear.state, dear.Attempts, r.stored())
		}
		again := time.Now()
		r.api.play(func(q request) reply {
			if q.key == "dear again" && q.at.Sub(again) < 5*time.Second {
				return unpaid
			}
			return ok
		})
		r.add(rcs, outbox.Normal, "dear again")
		time.Sleep(5 * time.Second)
		if len(r.stored()) != 0 {
			r.Errorf("gates %v though others were paid for in between", r.stored())
		}
		r.waitAllSent(2 * time.Minute)
		r.d.mu.Lock()
		defer r.d.mu.Unlock()
		if alone := r.d.buckets[0].alone; len(alone) != 0 {
			r.Errorf("waits %v are remembered for what is sent", alone)
		}
	})
}

func TestA402OfTwoMessagesHoldsTheirBucketOnly(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.warm()
		r.api.play(func(q request) reply {
			if q.key[0] == 'e' {
				return ok.in(100 * time.Millisecond)
			}
			return unpaid.in(100 * time.Millisecond)
		})
		from := time.Now()
		r.add(rcs, outbox.Normal, keys("r", 20)...)
		r.add(email, outbox.Normal, keys("e", 20)...)
		r.waitShown(rcs, Held, "402 insufficient_balance), required: 0.12, top up at https://pay")
		r.wait(10*time.Second, "e-mail sent", func() bool { return r.row("e019").state == outbox.Sent })
		time.Sleep(25 * time.Second)
		inRCS := slices.DeleteFunc(r.api.requests(from), func(q request) bool { return q.key[0] == 'e' })
		if len(inRCS) < 2+2 || len(inRCS) > 4+3 {
			r.Errorf("%d requests of the held bucket, want those on the wire, two probes, and the first message by itself", len(inRCS))
		}
		r.api.always(ok)
		r.waitAllSent(time.Minute)
		r.waitNoGates(time.Second)
		if r.counted() != 80 {
			r.Errorf("%d attempts", r.counted())
		}
	})
}

func TestSomethingElseThanTheAPIHoldsTheAccountAndSettlesNothing(t *testing.T) {
	for name, page := range map[string]reply{"a page with 200": proxyPage, "a page with 404": proxyLost, "a redirect": {status: 302}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 4, func(r *rig) {
				r.warm()
				from := time.Now()
				r.api.always(page.in(100 * time.Millisecond))
				r.add(rcs, outbox.Normal, keys("r", 20)...)
				r.waitShown(rcs, Held, "something else answers in the API's place")
				r.waitShown(email, Held, "something else answers in the API's place")
				time.Sleep(45 * time.Second)
				if got := len(r.api.requests(from)); got > 4+5+1 {
					r.Errorf("%d requests in a minute of hold", got)
				}
				if r.of(outbox.Sent) != 40 || r.counted() != 40 || r.of(outbox.Failed)+r.of(outbox.Unknown) != 0 {
					r.Errorf("%d sent, %d attempts, want only those of before", r.of(outbox.Sent), r.counted())
				}
				// Any answer of the API shows that it is back.
				r.api.always(refused)
				r.waitNoGates(time.Minute)
				r.api.always(ok)
				r.wait(time.Minute, "an end", func() bool { return r.of(outbox.Sent)+r.of(outbox.Failed)+r.of(outbox.Unknown) == 60 })
			})
		})
	}
}

func TestOneMessageThatMeetsAProxyDoesNotSpin(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.api.always(proxyLost)
		r.add(rcs, outbox.Normal, "a")
		r.start()
		time.Sleep(75 * time.Second)
		if got := len(r.api.requests(time.Time{})); got != 4 || r.counted() != 0 || len(r.stored()) != 0 {
			r.Errorf("%d requests, %d attempts, gates %v; want 4 with growing waits, none, none", got, r.counted(), r.stored())
		}
	})
}

func TestFiveFailuresInARowDegradeTheBucket(t *testing.T) {
	for name, failure := range map[string]reply{"a 503": unavailable, "a cut": cutOff} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 4, func(r *rig) {
				r.warm()
				from := time.Now()
				r.api.always(failure.in(10 * time.Millisecond))
				r.add(rcs, outbox.Normal, keys("r", 100)...)
				r.waitShown(rcs, Degraded, "the API fails")
				time.Sleep(time.Minute)
				requests := r.api.requests(from)
				// 5 to 8 that were on the wire, and then probes after 0.5, 1, 2, 4, 8, 10, 10 … s.
				if got := len(requests); got < 5+8 || got > 8+10 {
					r.Errorf("%d requests in a minute, %v apart", got, gaps(requests))
				}
				r.api.always(refused)
				r.waitNoGates(2 * testProbeInterval)
			})
		})
	}
}

func TestFourFailuresInARowAreNoGate(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.api.play(func(q request) reply {
			if q.nth%5 == 0 {
				return ok
			}
			return unavailable
		})
		r.add(rcs, outbox.Normal, keys("r", 30)...)
		r.start()
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if len(r.stored()) > 0 {
				r.Fatalf("gates %v", r.stored())
			}
		}
	})
}

func TestADialThatFailsDegradesAtOnce(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.api.setDown(true)
		r.add(rcs, outbox.Normal, keys("r", 50)...)
		r.start()
		r.waitShown(rcs, Degraded, "the API fails (dial)")
		if got := r.counted(); got > 4 {
			r.Errorf("%d messages tried, want no more than workers", got)
		}
		r.api.setDown(false)
		r.waitAllSent(time.Minute)
		for _, row := range r.rows {
			if !row.AmbiguousAt.IsZero() {
				r.Errorf("%s is ambiguous though its request never left", row.Key)
			}
		}
	})
}

func TestAKeptConnectionThatDiesIsOneFailure(t *testing.T) {
	tests := []struct {
		fault string
		want  int
	}{{faultCut, 1}, {faultDial, inARow}, {faultDNS, inARow}, {faultTLS, inARow}, {faultTimeout, inARow}}
	for _, tt := range tests {
		t.Run(tt.fault, func(t *testing.T) {
			inBubble(t, 4, func(r *rig) {
				b := r.d.buckets[0]
				r.d.learn(&delivery{b: b}, "old", Answer{Fault: tt.fault, EndedAt: time.Now()}, &Judgement{Verdict: NeverLeft})
				if gated := r.d.gates.strongest(b) != nil; b.failures != tt.want || gated != (tt.want == inARow) {
					r.Errorf("%d failures in a row, gated %v; want %d", b.failures, gated, tt.want)
				}
			})
		})
	}
}

func TestAnyAnswerOfTheAPIShowsThatItWorks(t *testing.T) {
	tests := []struct {
		name    string
		verdict Verdict
		answer  Answer
		clears  bool
	}{
		{"a message that is accepted", Sent, Answer{Status: 200}, true},
		{"an earlier answer that is repeated", Sent, Answer{Status: 200, Replayed: true}, true},
		{"a refusal", Refused, Answer{Status: 422}, true},
		{"a request that still runs", InProgress, Answer{Status: 409}, true},
		{"a limit", Throttled, Answer{Status: 429, IsJSON: true, ErrorCode: "rate_limit_exceeded"}, true},
		{"a limit of something in between", Throttled, Answer{Status: 429}, false},
		{"a key that is not known", Unauthorized, Answer{Status: 401}, true},
		{"a balance that is too low", Unpaid, Answer{Status: 402}, true},
		{"a server that cannot prove to be the API", Unauthorized, Answer{TLSIdentity: true}, false},
		{"a proxy", NotAPI, Answer{Status: 404}, false},
		{"a failure", Retry, Answer{Status: 503}, false},
		{"a cut", Ambiguous, Answer{Fault: faultCut}, false},
		{"a server that is not reached", NeverLeft, Answer{Fault: faultDial}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, 1, func(r *rig) {
				b := r.d.buckets[0]
				b.failures = inARow
				id := gateID{"bucket:default/rcs", Degraded, ByFailures}
				r.d.raise(id, "the API fails", Answer{EndedAt: time.Now()}, time.Second)
				a := tt.answer
				a.StartedAt, a.EndedAt = time.Now().Add(1), time.Now().Add(2)
				r.d.learn(&delivery{b: b}, "old", a, &Judgement{Verdict: tt.verdict})
				if cleared := r.d.gates.find(id) == nil; cleared != tt.clears || (b.failures == 0) != tt.clears {
					r.Errorf("cleared: %v, %d failures in a row", cleared, b.failures)
				}
			})
		})
	}
}

func TestAReplayDoesNotClearAHold(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		b := r.d.buckets[0]
		raised := time.Now()
		r.d.hold(b, "account:default", ByUnauthorized, Answer{EndedAt: raised}, "401")
		tests := []struct {
			name   string
			key    APIKey
			answer Answer
			want   bool
		}{
			{"a replay", "old", Answer{StartedAt: raised.Add(1), Replayed: true}, true},
			{"another key", "older", Answer{StartedAt: raised.Add(1)}, true},
			{"a request from before", "old", Answer{StartedAt: raised.Add(-1)}, true},
			{"a message that goes through", "old", Answer{StartedAt: raised.Add(1)}, false},
		}
		for _, tt := range tests {
			r.d.accepted(&delivery{b: b}, tt.key, tt.answer)
			if held := r.d.gates.strongest(b) != nil; held != tt.want {
				r.Errorf("%s: held %v, want %v", tt.name, held, tt.want)
			}
		}
	})
}

func TestAnAttemptWhoseDaemonDied(t *testing.T) {
	claim := Claim{Scope: "s", ClaimedAt: noon.Add(-time.Minute)}
	old := claim
	old.FirstAttemptAt = noon.Add(-policy.RetryFor - time.Second)
	forgotten := claim
	forgotten.AmbiguousAt = noon.Add(-policy.RepeatFor())
	tests := []struct {
		name  string
		claim Claim
		want  string
	}{
		{"waits for what it may have done", claim, "retrying counted ambiguous 5s"},
		{"ends a message that is out of time", old, "unknown counted ambiguous out_of_time"},
		{"ends a message whose key may be forgotten", forgotten, "unknown counted ambiguous"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := SettleLost(tt.claim, policy, noon)
			if got := describeJudgement(j); got != tt.want || j.Verdict != Lost || !strings.Contains(j.ErrorMessage, "daemon died") {
				t.Errorf("%s %s: %s; want %s", j.Verdict, got, j.ErrorMessage, tt.want)
			}
		})
	}
}

func TestWhatStandsBetweenTwoMessagesAloneKeepsThemApart(t *testing.T) {
	tests := []struct {
		name           string
		alone, between reply
	}{
		{"a refusal between two 402s", unpaid, refused},
		{"a message sent between two pages of a proxy", proxyLost, ok},
		{"a refusal between two pages of a proxy", proxyLost, refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, 1, func(r *rig) {
				r.warm()
				r.api.play(func(q request) reply {
					if q.key == "alone1" || q.key == "alone2" {
						return tt.alone
					}
					return tt.between
				})
				for _, key := range []string{"alone1", "between", "alone2"} {
					r.add(rcs, outbox.Normal, key)
					time.Sleep(time.Second)
				}
				if n := len(r.api.requests(time.Time{})); n != 40+3 {
					r.Errorf("%d requests, want one for each", n)
				}
				if g := r.gauges(rcs); g.State == Held || len(r.stored()) != 0 {
					r.Errorf("%s: %s, gates %v", g.State, g.Reason, r.stored())
				}
			})
		})
	}
}

func TestTheReasonOfA402IsBounded(t *testing.T) {
	long := strings.Repeat("x", maxStored)
	a := Answer{Status: 402, ErrorCode: long, RequiredAmount: long, TopupURL: long}
	if reason := unpaidReason(a, &Judgement{ErrorCode: long}); len(reason) > maxStored {
		t.Errorf("it has %d bytes", len(reason))
	}
}
