package limiter_test

import (
	"testing"
	"time"

	"weir/limiter"
	"weir/limiter/sim"
)

func TestAServerThatReportsBeforeCountingNeverGetsOneTooMany(t *testing.T) {
	a := newAPI(t)
	a.open(10, 60) // all of the limit is left after a success: it is not counted yet
	a.want(9)
	a.answer(a.send(), 200, 10, 9, 60)
	a.want(8)
	for left := 8; left > 0; left-- {
		a.answer(a.send(), 200, 10, left, 60)
	}
	a.want(0)
}

func TestAnOddRemainingDoesNotTellHowTheServerCounts(t *testing.T) {
	a := newAPI(t)
	ticket := a.send()
	answer := a.tell(200, 10, 10, 60)
	answer.Odd = "X-RateLimit-Remaining is above X-RateLimit-Limit"
	a.lim.Answered(ticket, a.now, answer)
	a.answer(a.send(), 200, 10, 8, 60)
	a.want(8)
}

func TestAReplayDoesNotTellHowTheServerCounts(t *testing.T) {
	a := newAPI(t)
	ticket := a.send()
	answer := a.tell(200, 10, 10, 60) // it was not counted
	answer.Replayed = true
	a.lim.Answered(ticket, a.now, answer)
	a.answer(a.send(), 200, 10, 9, 60)
	a.want(9)
}

func TestWhatTheServerDoesNotCountIsNotMissingFromTheLimit(t *testing.T) {
	for _, headers := range []bool{true, false} {
		a := newAPI(t)
		for reset := 10; reset <= 50; reset += 10 { // long enough without other clients
			for left := 9; left >= 0; left-- {
				ticket := a.send()
				a.pass(10 * ms)
				a.answer(ticket, 200, 10, left, reset)
			}
			a.now = epoch.Add(time.Duration(reset)*second + 500*ms)
		}
		a.answer(a.send(), 200, 10, 9, 60)
		for range 6 { // refused before the counter
			ticket := a.send()
			a.pass(10 * ms)
			if headers {
				a.answer(ticket, 422, 10, 9, 60)
			} else {
				a.lim.Answered(ticket, a.now, limiter.Answer{Status: 502})
			}
		}
		for left := 8; left >= 0; left-- {
			ticket := a.send()
			a.pass(10 * ms)
			a.answer(ticket, 200, 10, left, 60)
		}
		a.want(0)
	}
}

func TestAWindowThatBecomesLongerCostsFewRefusals(t *testing.T) {
	for _, told := range []bool{true, false} {
		a := newAPI(t)
		for reset := 60; reset <= 240; reset += 60 {
			a.open(9, reset)
			a.now = epoch.Add(time.Duration(reset)*second + 500*ms)
		}
		for left := 9; left >= 0; left-- {
			a.open(left, 240+3600)
		}
		refused := 0
		for {
			_, retryAt := a.lim.Grant(a.now, true, 1)
			if retryAt.After(epoch.Add(3830 * second)) {
				break
			}
			a.now = retryAt
			ticket := a.send()
			a.pass(10 * ms)
			answer := a.tell(429, 10, 0, 3840)
			if told {
				answer.RetryAfter = answer.Reset.Sub(a.now.Truncate(second))
			}
			a.lim.Answered(ticket, a.now, answer)
			refused++
		}
		if most := map[bool]int{true: 1, false: 15}[told]; refused > most {
			t.Errorf("retry_after told %v: %d refused in the first window of an hour, want %d at most", told, refused, most)
		}
	}
}

// lengthened plays windows of a minute and then one that ends at long, which a
// refusal shows to have become longer.
func lengthened(t *testing.T, long int) *api {
	a := newAPI(t)
	for reset := 60; reset <= 240; reset += 60 {
		a.open(9, reset)
		a.now = epoch.Add(time.Duration(reset)*second + 500*ms)
	}
	for left := 9; left >= 0; left-- {
		a.open(left, long)
	}
	_, a.now = a.lim.Grant(a.now, true, 1)
	ticket := a.send()
	a.pass(10 * ms)
	answer := a.tell(429, 10, 0, long)
	answer.RetryAfter = answer.Reset.Sub(a.now.Truncate(second))
	a.lim.Answered(ticket, a.now, answer)
	if s := a.lim.State(a.now); s.Window < time.Duration(long-250)*second {
		t.Fatalf("%+v, want a window that has become longer", s)
	}
	a.now = epoch.Add(time.Duration(long)*second + 500*ms)
	return a
}

func TestAWindowThatBecomesLongerAndShorterAgainIsFollowed(t *testing.T) {
	const long = 240 + 3600
	a := lengthened(t, long)
	for reset := long + 60; reset <= long+180; reset += 60 {
		a.open(9, reset)
		a.now = epoch.Add(time.Duration(reset)*second + 500*ms)
	}
	if s := a.lim.State(a.now); s.Window != minute {
		t.Errorf("after three windows of a minute: %+v", s)
	}
}

func TestOneResetTooSoonDoesNotShortenAWindowThatWasProven(t *testing.T) {
	const long = 240 + 300
	a := lengthened(t, long)
	proven := a.lim.State(a.now).Window
	for _, reset := range []int{long + 30, long + 330, long + 360} { // as a server's clock that is set may show
		a.open(9, reset)
		if s := a.lim.State(a.now); s.Window != proven {
			t.Errorf("%+v, want a window of %v", s, proven)
		}
		a.now = epoch.Add(time.Duration(reset)*second + 500*ms)
	}
}

func TestALateRefusalWithoutHeadersDoesNotUseUpTheNewWindow(t *testing.T) {
	for _, wait := range []time.Duration{0, second} {
		a := newAPI(t)
		a.open(9, 10)
		late := a.send()
		a.now = epoch.Add(10*second + 500*ms)
		a.open(9, 20)
		a.lim.Answered(late, a.now, limiter.Answer{Status: 429, Headers: limiter.Headers{RetryAfter: wait}})
		a.want(9)
	}
}

func TestOnlyAFewMeetAWindowThatIsNotKnownToBeOpen(t *testing.T) {
	a := newAPI(t)
	for second := 1; second < 6; second++ {
		a.open(9, second)
		a.answer(a.send(), 200, 10, 0, second)
		a.now = epoch.Add(time.Duration(second)*time.Second + 100*time.Millisecond)
	}
	a.want(4) // the server has kept its word often enough for more than a probe
	first := a.send()
	a.send()
	a.pass(10 * time.Millisecond)
	a.answer(first, 429, 10, 0, 5)
	a.want(0)
	if _, retryAt := a.lim.Grant(a.now, true, 1); retryAt.Sub(a.now) > 2*time.Second {
		t.Errorf("after a window that had not ended more in %v, want it within a window and a second", retryAt.Sub(a.now))
	}
}

func TestARaisedLimitIsFoundByWhatTricklesOutOfTheReserve(t *testing.T) {
	a := &api{t: t, lim: limiter.New(limiter.Config{Reserve: 0.1}), now: epoch}
	a.open(9, 60)
	ticket := a.send()
	a.pass(10 * time.Millisecond)
	a.answer(ticket, 200, 100, 5, 60)
	a.pass(time.Second)
	got, retryAt := a.lim.Grant(a.now, false, 50)
	if got != 0 {
		t.Fatalf("%d ordinary tokens below the reserve, want none", got)
	}
	for got == 0 {
		if !retryAt.After(a.now) || retryAt.Sub(epoch) > 40*time.Second {
			t.Fatalf("the next token out of the reserve comes at %v, want it ahead and within 40s", retryAt.Sub(epoch))
		}
		a.now = retryAt
		got, retryAt = a.lim.Grant(a.now, false, 50)
	}
	ticket = a.lim.Sent(a.now)
	a.lim.Return(a.now, got-1)
	a.pass(10 * time.Millisecond)
	a.answer(ticket, 200, 400, 303, 60)
	if got, _ = a.lim.Grant(a.now, false, 300); got < 100 {
		t.Errorf("%d ordinary tokens after the limit rose, want all but the reserve", got)
	}
}

func TestAnAnswerWithoutHeadersIsChargedOnceUntilAReportCountsIt(t *testing.T) {
	a := newAPI(t)
	a.open(9, 60)
	silent, told := a.send(), a.send()
	a.pass(time.Millisecond)
	a.lim.Answered(silent, a.now, limiter.Answer{Status: 200})
	a.want(7)
	a.answer(told, 200, 10, 7, 60) // may or may not count the silent one
	a.want(6)
	a.pass(time.Millisecond)
	ticket := a.send()
	a.pass(time.Millisecond)
	a.answer(ticket, 200, 10, 6, 60) // was sent later, and counts it
	a.want(6)
}

func TestAnswersWithoutHeadersStayChargedHoweverManyThereAre(t *testing.T) {
	a := newAPI(t)
	a.answer(a.send(), 200, 20_000, 10_020, 3600)
	for range 10_000 {
		ticket := a.send()
		a.pass(ms)
		a.lim.Answered(ticket, a.now, limiter.Answer{Status: 200})
	}
	a.want(20)
}

// straddle puts two requests on the wire that arrive in the window after the
// one that is known, while that has not surely ended.
func (a *api) straddle() (one, other limiter.Ticket) {
	a.t.Helper()
	a.open(9, 10)
	one, other = a.send(), a.send()
	a.now = epoch.Add(10*time.Second + 5*time.Millisecond)
	return one, other
}

func TestAnAnswerWithoutHeadersIsChargedInTheWindowThatMayHaveCountedIt(t *testing.T) {
	a := newAPI(t)
	one, other := a.straddle()
	a.lim.Answered(other, a.now, limiter.Answer{Status: 200})
	a.pass(time.Millisecond)
	a.answer(one, 200, 10, 9, 20)
	a.want(8)
}

func TestALostRequestIsChargedInTheWindowThatMayHaveCountedIt(t *testing.T) {
	a := newAPI(t)
	one, other := a.straddle()
	a.lim.Lost(other, a.now)
	a.pass(time.Millisecond)
	a.answer(one, 200, 10, 9, 20)
	a.want(8)
}

func TestTheAnswerThatOpenedAWindowWithoutHeadersIsChargedBesideAnEarlierReport(t *testing.T) {
	a := newAPI(t)
	a.open(9, 10)
	a.pass(11 * time.Second)
	one, other := a.send(), a.send()
	a.pass(time.Millisecond)
	a.lim.Answered(other, a.now, limiter.Answer{Status: 200})
	a.answer(one, 200, 10, 9, 20)
	a.want(8)
}

func TestAWindowThatAdmitsMoreThanWereLeftIsNotToldAsBelowZero(t *testing.T) {
	a := newAPI(t)
	a.open(9, 10)
	a.pass(11 * time.Second)
	for range 13 { // the server says nothing of what is left
		a.lim.Answered(a.send(), a.now, limiter.Answer{Status: 200})
		if s := a.lim.State(a.now); s.Remaining < 0 {
			t.Fatalf("%d left is told", s.Remaining)
		}
	}
}

func TestWithHeadersOnRefusalsOnlyTheWindowGoesOnByItsLength(t *testing.T) {
	a := newAPI(t)
	silent := func() {
		a.lim.Answered(a.send(), a.now, limiter.Answer{Status: 200, Headers: limiter.Headers{Date: a.now.Truncate(time.Second)}})
	}
	for _, reset := range []int{10, 20} {
		for range 10 {
			silent()
		}
		a.answer(a.send(), 429, 10, 0, reset)
		a.now = epoch.Add(time.Duration(reset)*time.Second + 500*time.Millisecond)
	}
	for range 10 {
		silent()
	}
	a.want(1) // a check whether the server agrees that the window is used up
	a.answer(a.send(), 429, 10, 0, 30)
	a.now = epoch.Add(30*time.Second + 500*time.Millisecond)
	for range 10 {
		silent()
	}
	a.want(0)
	_, retryAt := a.lim.Grant(a.now, true, 1)
	if wait := retryAt.Sub(a.now); wait < 9*time.Second || wait > 11*time.Second {
		t.Errorf("the next token comes in %v, want a window of 10s", wait)
	}
}

func TestALimitOfOneIsUsedInEachWindow(t *testing.T) {
	a := newAPI(t)
	for second := 1; second <= 20; second++ {
		ticket := a.send()
		a.pass(10 * time.Millisecond)
		a.answer(ticket, 200, 1, 0, second)
		a.want(0)
		_, retryAt := a.lim.Grant(a.now, true, 1)
		if wait := retryAt.Sub(a.now); wait > 1100*time.Millisecond {
			t.Fatalf("in window %d the next token comes in %v, want it in the next window", second, wait)
		}
		a.now = retryAt
	}
}

func TestAfterALongPauseMessagesDoNotWaitForAProbe(t *testing.T) {
	a := newAPI(t)
	for _, reset := range []int{10, 20} {
		a.open(9, reset)
		a.now = epoch.Add(time.Duration(reset) * time.Second)
		a.pass(time.Second)
	}
	a.pass(time.Minute)
	if got, _ := a.lim.Grant(a.now, false, 1); got != 1 {
		t.Fatal("the first message after a pause waits")
	}
	if got, retryAt := a.lim.Grant(a.now, false, 1); got != 1 {
		t.Errorf("the second message after a pause waits %v, want no wait", retryAt.Sub(a.now))
	}
}

func TestTheResetsOfAFleetThatAreASecondApartNameOneWindow(t *testing.T) {
	a := newAPI(t)
	a.open(9, 60)
	a.pass(61 * time.Second)
	a.open(9, 120)
	for i, reset := range []int{121, 119, 120, 121} {
		a.answer(a.send(), 200, 10, 8-i, reset)
		a.want(8 - i)
	}
	if s := a.lim.State(a.now); s.Mode != limiter.ModeWindow || s.Window != time.Minute {
		t.Errorf("%+v, want a window of a minute", s)
	}
}

func TestTenThousandTokensThatAreGivenBackCostNothing(t *testing.T) {
	a := newAPI(t)
	a.open(9, 60)
	for range 10_000 {
		if a.ask(1) != 1 {
			t.Fatalf("no token is left: %+v", a.lim.State(a.now))
		}
		a.lim.Unsent(a.lim.Sent(a.now), a.now)
	}
	a.want(9)
}

func TestNothingDriftsInThirtyDaysOfWindowsOfAnHour(t *testing.T) {
	for model, use := range map[sim.Model]float64{
		// A log and a counter of so few lose the part of one that is never risked.
		sim.Clock: 1, sim.FirstRequest: 1, sim.SlidingLog: 0.95, sim.SlidingCounter: 0.87, sim.TokenBucket: 1,
	} {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			s := sim.Scenario{
				Model: model, Limit: 20, Window: time.Hour, Rounding: sim.Ceil, Skew: 1500 * ms,
				Warm: 24*time.Hour - 1500*ms, Measured: 29 * 24 * time.Hour,
			}
			r := run(t, s)
			// The window that is cut off at the end may hold all of its requests or none.
			if least := use - 2.0/(29*24); r.Use < least || r.Measured.Refused > 2 {
				t.Errorf("%.4f used and %d refused, want %.4f and 2 at most", r.Use, r.Measured.Refused, least)
			}
		})
	}
}

func TestAnotherClientThatTakesNinetyPercentNeitherStarvesUsNorIsStormed(t *testing.T) {
	for _, window := range []time.Duration{second, minute} {
		s := server(sim.Clock, window)
		s.RivalShare, s.Measured = 0.9, max(6*window, minute)
		for _, r := range plays(t, s) {
			if r.Use < 0.9 || 10*r.Measured.Refused > r.Measured.Accepted {
				t.Errorf("per %v: %.2f of the rest used, %+v; want most of it and one refusal in ten at most", window, r.Use, r.Measured)
			}
		}
	}
}

func TestLimitersShareNothing(t *testing.T) {
	one, other := newAPI(t), newAPI(t)
	other.open(9, 60)
	one.open(9, 60)
	one.answer(one.send(), 429, 10, 0, 60)
	one.want(0)
	other.want(9)
}
