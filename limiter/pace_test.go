package limiter_test

import (
	"fmt"
	"testing"
	"time"

	"weir/limiter"
	"weir/limiter/sim"
)

// between is how many requests per second were accepted from one time to another.
func between(r sim.Result, from, to time.Duration) float64 {
	n := 0
	for _, at := range r.Times {
		if at >= from && at < to {
			n++
		}
	}
	return float64(n) / (to - from).Seconds()
}

func TestAfterAMinuteOfRefusalsByChanceThePaceIsSoonBack(t *testing.T) {
	const begins, ends = 2 * minute, 3 * minute
	for _, s := range []sim.Scenario{
		{Limit: 100, Headers: sim.None, Storm: sim.Storm{Share: 0.2}},
		{Limit: 100, Headers: sim.RetryAfterOnly, Storm: sim.Storm{Share: 0.05}},
		{Limit: 1e6, Headers: sim.RetryAfterOnly, Storm: sim.Storm{Share: 0.2}}, // which is never met
	} {
		t.Run(fmt.Sprintf("%d per second, headers %s, %v refused", s.Limit, s.Headers, s.Storm.Share), func(t *testing.T) {
			t.Parallel()
			s.Window, s.MaxInFlight, s.Warm, s.Measured = second, 10, begins, ends-begins+minute
			s.Storm.From, s.Storm.Until = begins, ends
			for seed := range uint64(seeds) {
				r := run(t, spread(s, seed))
				before, after := between(r, begins-minute/2, begins), between(r, ends+minute/2, ends+minute)
				if after < 0.6*before {
					t.Errorf("seed %d: %.1f requests per second half a minute after, %.1f before", seed, after, before)
				}
			}
		})
	}
}

func TestAPaceDoesNotLongForALimitThatFell(t *testing.T) {
	t.Parallel()
	const fell, ends = 2 * minute, 10 * minute
	for seed := range uint64(seeds) {
		s := spread(sim.Scenario{
			Limit: 100, Window: second, Headers: sim.RetryAfterOnly, Traced: true, Warm: fell, Measured: ends - fell,
			Tiers: []sim.Tier{{After: fell, Limit: 20}},
		}, seed)
		late := 0
		for _, a := range run(t, s).Trace {
			if !a.Allowed && a.At > ends-3*minute {
				late++
			}
		}
		if late > 10 {
			t.Errorf("seed %d: %d refused in the last 3 of 8 minutes with the lower limit, want next to none", seed, late)
		}
	}
}

// found is a server without headers whose pace is known to be near 50 a second.
func found(t *testing.T) *api {
	a := newAPI(t)
	for range 100 {
		a.sendNow(200, 0)
	}
	a.sendNow(429, second)
	for end := a.now.Add(10 * second); a.now.Before(end); {
		if !a.sendNow(200, 0) {
			a.pass(ms)
		}
	}
	return a
}

func TestARefusalAmongRequestsOfNowAndThenTellsNoPace(t *testing.T) {
	a := found(t)
	for range 20 {
		a.sendNow(200, 0)
		a.pass(10 * second)
	}
	known := a.lim.State(a.now).Rate
	sent := a.sendNow(429, second)
	a.pass(second)
	if sent = a.sendNow(200, 0) && sent; !sent {
		t.Fatal("a request was not granted")
	}
	if got := a.lim.State(a.now).Rate; got < 0.85*known {
		t.Errorf("%.1f a second after one of 20 was refused in 3 minutes, %.1f before; want an eighth less", got, known)
	}
}

func TestATimeInWhichNothingAsksAgainTellsNoPace(t *testing.T) {
	for name, a := range map[string]*api{"a pace is known": found(t), "none is known": newAPI(t)} {
		for range 100 {
			if !a.sendNow(200, 0) {
				a.pass(ms)
			}
		}
		a.pass(100 * ms)
		sent := a.sendNow(429, second)
		a.pass(time.Hour)
		if sent = a.sendNow(200, 0) && sent; !sent {
			t.Fatalf("%s: a request was not granted", name)
		}
		if got := a.lim.State(a.now).Rate; got < 20 {
			t.Errorf("%s: %.3f a second an hour after a refusal, want about 30", name, got)
		}
	}
}

func TestBeforeAPaceIsKnownRequestsThatHangDoNotKeepAllOthersWaiting(t *testing.T) {
	for answers := range 10 {
		a := newAPI(t)
		for range answers {
			a.sendNow(200, 0)
		}
		width := a.ask(64)
		for range width {
			a.lim.Sent(a.now)
		}
		for range 8 {
			got, retryAt := a.lim.Grant(a.now, false, 5)
			if got != 0 || retryAt.Sub(a.now) > second || !retryAt.After(a.now) {
				t.Fatalf("after %d answers: %d tokens beside %d that hang, more in %v; want none, one in 1s", answers, got, width, retryAt.Sub(a.now))
			}
			a.now = retryAt
			a.want(1)
			a.send()
		}
		a.pass(minute)
		a.want(0)
	}
}

func TestAnswersThatTakeLongDoNotMakeMoreGoAtOnce(t *testing.T) {
	a := newAPI(t)
	for range 7 {
		sent := a.send()
		a.pass(900 * ms)
		a.want(0)
		a.pass(900 * ms)
		if a.ask(1) > 0 {
			a.lim.Return(a.now, 1)
		}
		a.lim.Answered(sent, a.now, limiter.Answer{Status: 200})
	}
	a.send()
	a.pass(1800 * ms)
	a.want(0)
}
