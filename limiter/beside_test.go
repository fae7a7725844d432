package limiter_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/limiter"
	"weir/limiter/sim"
)

// elsewhere is a 429 of another limit than the one that its headers tell of.
func (a *api) elsewhere(t limiter.Ticket, limit, remaining, reset int, wait time.Duration) {
	answer := a.tell(429, limit, remaining, reset)
	answer.RetryAfter = wait
	a.lim.Answered(t, a.now, answer)
}

func TestARefusalByAnotherLimitIsWaitedOutAndNotTheWindow(t *testing.T) {
	for _, headers := range []bool{true, false} {
		a := newAPI(t)
		a.answer(a.send(), 200, 5000, 4981, 3600)
		a.pass(second)
		ticket := a.send()
		a.pass(10 * ms)
		if headers {
			a.elsewhere(ticket, 5000, 4980, 3600, second)
		} else {
			a.lim.Answered(ticket, a.now, limiter.Answer{Status: 429, Headers: limiter.Headers{RetryAfter: second}})
		}
		a.want(0)
		if s := a.lim.State(a.now); !s.Parked || s.Until.Sub(a.now) != second || s.Remaining < 4980 {
			t.Errorf("%+v, want it parked for a second with 4980 left", s)
		}
		a.pass(second)
		a.want(1)
		trial := a.send()
		a.want(0) // never more than one
		a.pass(10 * ms)
		a.answer(trial, 200, 5000, 4979, 3600)
		for range 2000 {
			ticket := a.send()
			a.pass(ms)
			a.answer(ticket, 200, 5000, 4978, 3600)
		}
		a.want(64) // as many as ever
	}
}

func TestAnotherLimitIsWaitedOutForLongerThanAWindow(t *testing.T) {
	a := newAPI(t)
	for at := range 5 { // five windows of a second
		a.answer(a.send(), 200, 10, 9, at+1)
		a.pass(second)
	}
	a.elsewhere(a.send(), 10, 9, 6, minute)
	if _, retryAt := a.lim.Grant(a.now, true, 1); retryAt.Sub(a.now) != minute {
		t.Errorf("the next token comes after %v, want the minute that the server names", retryAt.Sub(a.now))
	}
}

func TestARequestThatHangsAfterAnotherLimitsWaitIsHedged(t *testing.T) {
	a := newAPI(t)
	a.answer(a.send(), 200, 5000, 4981, 3600)
	a.elsewhere(a.send(), 5000, 4980, 3600, 10*second)
	a.pass(10 * second)
	a.send() // and no answer
	a.want(0)
	if s := a.lim.State(a.now); s.Parked || s.Proven > 0 || !strings.Contains(s.Reason, "is being tried") {
		t.Errorf("%+v, want it said that one asks", s)
	}
	_, retryAt := a.lim.Grant(a.now, true, 1)
	a.now = retryAt
	if waited := retryAt.Sub(epoch) - 10*second; waited > 2*second {
		t.Errorf("another one goes %v after it", waited)
	}
	a.want(1)
}

func TestAHedgeAtAnotherLimitThatIsGivenBackGoesToWhoAsksNext(t *testing.T) {
	a := newAPI(t)
	a.answer(a.send(), 200, 5000, 4981, 3600)
	a.elsewhere(a.send(), 5000, 4980, 3600, 10*second)
	a.pass(10 * second)
	a.send() // and no answer
	a.pass(2 * second)
	a.want(1) // it is given back
	a.want(1)
	a.send()
	a.want(0) // never more than one
}

func TestATokenFromBeforeAnotherLimitsWaitCountsAfterIt(t *testing.T) {
	a := newAPI(t)
	a.answer(a.send(), 200, 5000, 4981, 3600)
	a.ask(2)
	a.elsewhere(a.lim.Sent(a.now), 5000, 4980, 3600, 10*second)
	a.pass(10 * second)
	a.send() // and no answer
	a.answer(a.lim.Sent(a.now), 200, 5000, 4979, 3600)
	a.want(0) // one was admitted, and one is under way
}

func TestARequestThatGoesTheMomentAnotherLimitsWaitEndsCountsAfterIt(t *testing.T) {
	a := newAPI(t)
	a.answer(a.send(), 200, 5000, 4981, 3600)
	a.ask(2)
	a.elsewhere(a.lim.Sent(a.now), 5000, 4980, 3600, 10*second)
	a.pass(10 * second)
	ticket := a.lim.Sent(a.now)
	a.want(1)
	a.answer(ticket, 200, 5000, 4979, 3600)
	a.want(1) // as many as were admitted
}

func TestTrialsAtAnotherLimitGoOneByOneAndRarerEachTime(t *testing.T) {
	a := newAPI(t)
	a.answer(a.send(), 200, 5000, 4981, 3600)
	trials := 0
	for a.now.Sub(epoch) < 10*minute {
		a.elsewhere(a.send(), 5000, 4980, 3600, second)
		trials++
		a.want(0)
		_, retryAt := a.lim.Grant(a.now, true, 1)
		a.now = retryAt
	}
	if trials > 20 {
		t.Errorf("%d trials in 10 minutes, all refused; want 20 at most", trials)
	}
}

func TestARefusalThatLastsAsLongAsTheWindowIsOfItsLimit(t *testing.T) {
	for _, left := range []int{0, 9} {
		for _, early := range []time.Duration{0, second} {
			a := newAPI(t)
			a.open(9, 60)
			ticket := a.send()
			a.pass(10 * ms)
			a.elsewhere(ticket, 10, left, 60, epoch.Add(minute).Sub(a.now)-early)
			if _, retryAt := a.lim.Grant(a.now, true, 1); retryAt.Sub(epoch) < minute {
				t.Errorf("with %d left and a retry_after that ends %v early, the next token comes after %v, want the end of the window", left, early, retryAt.Sub(epoch))
			}
		}
	}
}

func TestALimitPerSecondBesideTheOneThatIsToldIsUsed(t *testing.T) {
	for _, c := range []struct {
		name string
		sim.Scenario
		use float64 // of the first limit
	}{
		{"5000 an hour beside 10 a second", sim.Scenario{Limit: 5000, Window: time.Hour, PerSecond: 10, Warm: time.Hour, Measured: 2 * time.Hour}, 0.99},
		{"1000 a minute beside 20 a second", sim.Scenario{Limit: 1000, Window: minute, PerSecond: 20, Warm: 8 * minute, Measured: 8 * minute}, 0.6},
		{"1000 a minute beside 10 a second", sim.Scenario{Limit: 1000, Window: minute, PerSecond: 10, Warm: 8 * minute, Measured: 8 * minute}, 0.35}, // of 0.6
	} {
		eachModel(t, c.name, c.Scenario, func(t *testing.T, r sim.Result) {
			// What is under way when it refuses is refused, too.
			if r.Use < c.use || r.Measured.Per10k() > 500 || r.Cold.Refused > 400 {
				t.Errorf("%.3f used, %.1f refused per 10,000, %d in a cold start; want %.2f, 500, 400", r.Use, r.Measured.Per10k(), r.Cold.Refused, c.use)
			}
		})
	}
}

func TestAStormOfRefusalsByChanceIsForgottenSoon(t *testing.T) {
	for _, share := range []float64{0.01, 0.2, 1} {
		s := sim.Scenario{Limit: 1800, Window: minute, Warm: 3 * minute, Measured: 4 * minute}
		s.Storm = sim.Storm{From: s.Warm, Until: s.Warm + minute, Share: share}
		eachModel(t, fmt.Sprint(share), s, func(t *testing.T, r sim.Result) {
			// A counter that lets more through in the first minute lets less in the second.
			for minutes, share := range map[int]float64{1: 0.85, 2: 0.8} {
				from, span := s.Storm.Until, time.Duration(minutes)*minute
				use := between(r, from, from+span) * 60 / float64(s.Limit)
				if use < share {
					t.Errorf("%.2f of the limit used in %d minutes after it, want %.2f", use, minutes, share)
				}
			}
		})
	}
}

// eachModel plays s against each, with one seed or with ten.
func eachModel(t *testing.T, name string, s sim.Scenario, check func(*testing.T, sim.Result)) {
	s.MaxInFlight = 64
	for _, model := range sim.Models() {
		t.Run(fmt.Sprintf("%s, %s", name, model), func(t *testing.T) {
			t.Parallel()
			n := uint64(1)
			if *full {
				n = 10
			}
			s := s
			s.Model = model
			for s.Seed = range n {
				check(t, run(t, s))
			}
		})
	}
}
