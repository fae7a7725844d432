package limiter_test

import (
	"fmt"
	"testing"
	"time"

	"weir/limiter"
	"weir/limiter/sim"
)

// stepped is a limiter in whose world a clock is set, or the server lies.
type stepped struct {
	*limiter.Limiter
	from   time.Time
	ours   time.Duration // by which our clock is set then
	theirs time.Duration // by which the server's clock is set then
	retry  time.Duration // what every 429 names; 0: the truth
}

// shift is the time on our clock.
func (p *stepped) shift(t time.Time) time.Time {
	if !t.Before(p.from) {
		return t.Add(p.ours)
	}
	return t
}

func (p *stepped) Grant(now time.Time, urgent bool, n int) (int, time.Time) {
	granted, at := p.Limiter.Grant(p.shift(now), urgent, n)
	if !at.IsZero() {
		at = now.Add(at.Sub(p.shift(now)))
	}
	return granted, at
}

func (p *stepped) Sent(now time.Time) limiter.Ticket { return p.Limiter.Sent(p.shift(now)) }

func (p *stepped) Lost(t limiter.Ticket, now time.Time) { p.Limiter.Lost(t, p.shift(now)) }

func (p *stepped) Answered(t limiter.Ticket, now time.Time, a limiter.Answer) {
	if !now.Before(p.from) && p.theirs != 0 {
		if !a.Date.IsZero() {
			a.Date = a.Date.Add(p.theirs)
		}
		if !a.Reset.IsZero() {
			a.Reset = a.Reset.Add(p.theirs)
		}
	}
	if p.retry > 0 && a.Status == 429 {
		a.RetryAfter = p.retry
	}
	p.Limiter.Answered(t, p.shift(now), a)
}

func play(t *testing.T, s sim.Scenario, p *stepped) sim.Result {
	t.Helper()
	simulated(t)
	p.Limiter = limiter.New(limiter.Config{MaxInFlight: 64, Reserve: 0.1})
	s.MaxInFlight = 64
	r := sim.Run(s, p)
	if r.Spins > 0 {
		t.Errorf("Grant named a time that had passed %d times", r.Spins)
	}
	return r
}

func TestWithDateNothingIsSentTooEarlyAfterTwoSeconds(t *testing.T) {
	for _, skew := range []time.Duration{-5 * second, -1700 * ms, 300 * ms, 5 * second} {
		for _, window := range []time.Duration{second, 2 * second, 10 * second} {
			s := sim.Scenario{Limit: 100, Window: window, Skew: skew, Warm: 2 * second, Measured: minute}
			if r := run(t, s); r.Measured.Refused > 0 {
				t.Errorf("a server %v ahead, windows of %v: %d refused after the first 2s, want none", skew, window, r.Measured.Refused)
			}
		}
	}
}

func TestAStepOfTheServersClockLeavesNothingOfWhatWasMeasured(t *testing.T) {
	for _, by := range []time.Duration{-30 * second, 30 * second} {
		a := newAPI(t)
		a.open(9, 60)
		a.pass(second)
		a.open(8, 60)
		ticket := a.send()
		a.pass(10 * ms)
		answer := a.tell(200, 10, 7, 60)
		answer.Date, answer.Reset = answer.Date.Add(by), answer.Reset.Add(by)
		a.lim.Answered(ticket, a.now, answer)
		if off := (a.lim.State(a.now).ClockOffset - by).Abs(); off > second {
			t.Errorf("set by %v: the offset is %v off, want 1s at most", by, off)
		}
	}
}

func TestWithoutDateAHugeRetryAfterIsNotBelieved(t *testing.T) {
	a := newAPI(t)
	tell := func(ticket limiter.Ticket, status, left, reset int, wait time.Duration) {
		answer := a.tell(status, 10, left, reset)
		answer.Date, answer.RetryAfter = time.Time{}, wait
		a.lim.Answered(ticket, a.now, answer)
	}
	tell(a.send(), 429, 0, 10, 10*second)
	a.pass(10 * second)
	tell(a.send(), 429, 0, 10, 24*time.Hour) // still the window that should have ended
	if _, retryAt := a.lim.Grant(a.now, true, 1); retryAt.Sub(a.now) > 15*minute {
		t.Errorf("the next token comes in %v, want it within 15m", retryAt.Sub(a.now))
	}
}

func TestWithoutDateTheEndOfAWindowIsLearnedFromRetryAfter(t *testing.T) {
	a := newAPI(t)
	tell := func(ticket limiter.Ticket, status, left, reset int, wait time.Duration) {
		answer := a.tell(status, 10, left, reset)
		answer.Date, answer.RetryAfter = time.Time{}, wait
		a.lim.Answered(ticket, a.now, answer)
	}
	tell(a.send(), 200, 5, 40, 0) // by a clock that is 30 s ahead
	tell(a.send(), 429, 0, 40, 10*time.Second)
	a.want(0)
	_, retryAt := a.lim.Grant(a.now, true, 1)
	if wait := retryAt.Sub(a.now); wait != 10*time.Second {
		t.Errorf("the next token comes in %v, want the 10s that the server told", wait)
	}
	a.pass(10 * time.Second)
	tell(a.send(), 200, 9, 50, 0)
	a.want(9)
}

func TestOurClockThatIsSetCostsAWindowAtMost(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, time.Hour} {
		s := sim.Scenario{Limit: 100, Window: 2 * second, Warm: 8 * second, Measured: minute}
		r := play(t, s, &stepped{from: at(30 * second), ours: by})
		if r.Use < 0.93 || r.Measured.Refused > 5 {
			t.Errorf("set by %v: %.3f used, %d refused; want 0.93 and 5 at most", by, r.Use, r.Measured.Refused)
		}
	}
}

func TestATimeThatIsSomeSecondsOldForgetsNoPark(t *testing.T) {
	a := newAPI(t)
	a.open(9, 60)
	ticket := a.send()
	a.pass(30 * second)
	a.answer(ticket, 429, 10, 0, 60)
	until := a.lim.State(a.now).Until
	if s := a.lim.State(a.now.Add(-20 * second)); !s.Parked || !s.Until.Equal(until) {
		t.Errorf("asked with a time from before a long wait: %+v, want it parked until %v", s, until)
	}
	a.want(0)
}

// set tells that the clock was set.
func (a *api) set(step time.Duration) {
	a.pass(step)
	a.lim.Rebase(a.now, step)
}

func TestAStepOfTheClockThatIsToldKeepsAParkAsLongAsItWas(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, -3 * second, 3 * second, time.Hour} {
		a := newAPI(t)
		ticket := a.send()
		a.pass(10 * ms)
		a.answer(ticket, 429, 10, 0, 60)
		_, retryAt := a.lim.Grant(a.now, true, 1)
		wait := retryAt.Sub(a.now)
		a.set(step)
		if _, retryAt = a.lim.Grant(a.now, true, 1); retryAt.Sub(a.now) != wait {
			t.Errorf("after a step of %v the next token comes in %v, want %v as before", step, retryAt.Sub(a.now), wait)
		}
		a.pass(wait)
		a.want(1)
	}
}

func TestAnAnswerFromBeforeAStepOfTheClockMovesNoTime(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, -30 * second, 30 * second} {
		a := newAPI(t)
		a.open(9, 60)
		old, lost, unsent := a.send(), a.send(), a.send()
		ended := a.now.Add(10 * ms)
		a.set(step)
		a.lim.Answered(old, ended, limiter.Answer{Status: 200})
		a.lim.Lost(lost, ended)
		a.lim.Unsent(unsent, ended)
		a.now = a.now.Add(20 * ms)
		ticket := a.send()
		a.pass(50 * ms)
		answer := a.tell(200, 10, 0, 60)
		answer.Reset = a.now.Add(10 * second).Truncate(second)
		a.lim.Answered(ticket, a.now, answer)
		if s := a.lim.State(a.now); !s.Parked || s.Until.Sub(a.now) > 12*second {
			t.Errorf("after a step of %v: %+v, want it parked for 10 s", step, s)
		}
		a.pass(12 * second)
		a.want(1)
	}
}

func TestAServersClockThatIsSetIsFollowed(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, -10 * second, 10 * second, time.Hour} {
		s := sim.Scenario{Limit: 100, Window: 2 * second, Warm: 8 * second, Measured: minute}
		r := play(t, s, &stepped{from: at(30 * second), theirs: by})
		if r.Use < 0.93 || r.Measured.Refused > 10 {
			t.Errorf("set by %v: %.3f used, %d refused; want 0.93 and 10 at most", by, r.Use, r.Measured.Refused)
		}
	}
}

func TestARetryAfterThatLiesCostsNoMoreThanAFewRefusals(t *testing.T) {
	hourly := sim.Scenario{Limit: 20, Window: time.Hour, RivalShare: 0.5, Warm: 2 * time.Hour, Measured: 4 * time.Hour, NoDate: true}
	untold := hourly
	untold.Headers = sim.RetryAfterOnly
	for _, c := range []struct {
		name string
		sim.Scenario
		runs int
		most float64 // refused more than without the lie, on average
	}{
		// With rivals, single runs with a log differ by a lot.
		{"1000 per minute", sim.Scenario{Limit: 1000, Window: minute, RivalShare: 0.1, Warm: 2 * minute, Measured: 10 * minute, NoDate: true}, 4, 30},
		{"20 per hour", hourly, 40, 200},
		{"20 per hour that are not told", untold, 10, 1200},
	} {
		for _, model := range sim.Models() {
			t.Run(fmt.Sprintf("%s, %s", c.name, model), func(t *testing.T) {
				t.Parallel()
				s := c.Scenario
				s.Model = model
				average := func(lie time.Duration) (use, refused float64) {
					for seed := range c.runs {
						s.Seed = uint64(seed)
						r := play(t, s, &stepped{retry: lie})
						use += r.Use / float64(c.runs)
						refused += float64(r.Cold.Refused+r.Measured.Refused) / float64(c.runs)
					}
					return use, refused
				}
				use, refused := average(0)
				lied, more := average(second)
				if lied < use-0.05 || more > 2*refused+c.most {
					t.Errorf("%.3f used, %.1f refused; without the lie %.3f, %.1f", lied, more, use, refused)
				}
			})
		}
	}
}

// at is a time of the simulation.
func at(d time.Duration) time.Time { return epoch.Add(d) }
