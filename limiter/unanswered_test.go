package limiter_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"weir/limiter"
	"weir/limiter/sim"
)

// underWay is a request and when its answer comes.
type underWay struct {
	ticket limiter.Ticket
	answer limiter.Answer
	at     time.Time
	hangs  bool // it is given up instead
}

// hangingServer is a window of limit per second, aligned to the clock, which
// counts everything and lets what arrives from 3.05 s until 4.5 s hang for half
// a minute. Everything else is answered in 20 ms.
func hangingServer(t *testing.T, limit int) (after []time.Duration, refused int) {
	a, server := newAPI(t), sim.NewWindow(limit, second, true)
	var flying []underWay
	for until := epoch.Add(32 * second); a.now.Before(until); a.pass(5 * ms) {
		flying = slices.DeleteFunc(flying, func(u underWay) bool {
			switch {
			case a.now.Before(u.at):
				return false
			case u.hangs:
				a.lim.Lost(u.ticket, a.now)
			default:
				a.lim.Answered(u.ticket, a.now, u.answer)
			}
			return true
		})
		for range a.ask(64) {
			u := underWay{ticket: a.lim.Sent(a.now), at: a.now.Add(20 * ms)}
			passed := a.now.Sub(epoch)
			if passed > 3050*ms && passed < 4500*ms {
				u.hangs, u.at = true, a.now.Add(30*second)
			}
			d := server.Take(a.now)
			u.answer = limiter.Answer{Status: 200, Headers: limiter.Headers{
				Date: a.now.Truncate(second), Limit: d.Limit, Remaining: d.Remaining, Reset: d.Reset,
			}}
			if !d.Allowed {
				u.answer.Status = 429
				refused++
			}
			if passed >= 4500*ms {
				after = append(after, passed)
			}
			flying = append(flying, u)
		}
	}
	return after, refused
}

func TestAsManyRequestsAsTheLimitThatHangDoNotKeepAllOthersWaiting(t *testing.T) {
	for _, limit := range []int{1, 2, 10} {
		last := 4500 * ms
		after, refused := hangingServer(t, limit)
		for _, at := range append(after, 32*second) {
			if at-last > 4*second {
				t.Errorf("of %d per second that hang: nothing was sent from %v to %v, want something each 4s", limit, last, at)
			}
			last = at
		}
		if refused > 0 {
			t.Errorf("of %d per second that hang: %d others were refused, want none", limit, refused)
		}
	}
}

func TestRequestsThatAreASecondLateAreNotJoinedByOneTooMany(t *testing.T) {
	a := newAPI(t)
	for reset := 10; reset <= 30; reset += 10 {
		a.open(9, reset)
		a.now = epoch.Add(time.Duration(reset)*second + 500*ms)
	}
	a.open(9, 40)
	a.now = epoch.Add(39*second + 990*ms)
	for range 9 {
		a.send()
	}
	a.pass(1010 * ms) // the window is over: they may arrive in the next
	got, retryAt := a.lim.Grant(a.now, true, 5)
	if got != 1 || !retryAt.After(a.now.Add(second)) {
		t.Fatalf("beside 9 of 10 that are late %d tokens, more %v from now; want one, and a second later another", got, retryAt.Sub(a.now))
	}
	a.lim.Sent(a.now)
	if s := a.lim.State(a.now); s.Proven != 0 {
		t.Errorf("%+v, want none that is proven in a window that nobody has seen", s)
	}
	for range 20 {
		a.pass(50 * ms)
		a.want(0)
	}
}

func TestAServerThatAnswersNothingIsNotAskedForEver(t *testing.T) {
	a := newAPI(t)
	a.open(9, 10)
	a.pass(11 * second)
	a.open(9, 20)
	for range 9 {
		a.send()
	}
	a.now = epoch.Add(20 * second)
	asked := 0
	for range 200 {
		a.pass(second)
		got := a.ask(5)
		for range got {
			a.lim.Sent(a.now)
		}
		asked += got
	}
	if asked != 4+8 { // so many go at once where little was used before
		t.Errorf("%d asked whether the next window is open, want 4 and 8 hedges", asked)
	}
}

func TestTokensThatAreHeldAreNotJoinedByOneTooMany(t *testing.T) {
	a := newAPI(t)
	a.open(9, 10)
	a.pass(11 * second)
	a.open(9, 20)
	if got := a.ask(9); got != 9 {
		t.Fatalf("%d tokens, want 9", got)
	}
	a.now = epoch.Add(20*second + 500*ms)
	a.send()
	for range 9 { // all that are held go in this window
		a.pass(second)
		a.want(0)
	}
}

// lose lets n requests go of which nothing is heard.
func (a *api) lose(n int) {
	a.t.Helper()
	for range n {
		ticket := a.send()
		a.pass(10 * ms)
		a.lim.Lost(ticket, a.now)
		a.pass(ms)
	}
}

// retryAt is when, by time alone, a token comes; none may be there.
func (a *api) retryAt() time.Time {
	a.t.Helper()
	got, at := a.lim.Grant(a.now, false, 1)
	if got != 0 {
		a.t.Fatalf("at %v a token was granted, want none: %+v", a.now.Sub(epoch), a.lim.State(a.now))
	}
	return at
}

func TestLostRequestsDoNotCloseALongWindow(t *testing.T) {
	a := newAPI(t)
	a.answer(a.send(), 200, 60, 59, 3600)
	a.lose(59) // an outage
	for range 2 {
		at := a.retryAt()
		if wait := at.Sub(a.now); wait > minute {
			t.Fatalf("the next token comes in %v, want a trial within a minute", wait)
		}
		s := a.lim.State(a.now)
		if s.Parked || s.Proven != 0 || !strings.Contains(s.Reason, "got no answer") {
			t.Fatalf("%+v, want it told that those without an answer stand against it", s)
		}
		a.now = at
		a.lose(1)
	}
	a.now = a.retryAt()
	ticket := a.send()
	a.want(0)
	a.pass(10 * ms)
	a.answer(ticket, 200, 60, 40, 3600) // some of them had arrived
	a.want(40)
	if s := a.lim.State(a.now); s.Proven != 40 || s.Reason != "40 left of 60" {
		t.Errorf("%+v, want those that got no answer forgotten", s)
	}
}

func TestALostRequestIsChargedUntilAReportThatCountsIt(t *testing.T) {
	a := newAPI(t)
	a.open(9, 60)
	before, lost := a.send(), a.send()
	a.pass(10 * ms)
	a.lim.Lost(lost, a.now)
	a.pass(10 * ms)
	a.answer(before, 200, 10, 8, 60) // may have been counted first
	a.want(7)
	a.open(6, 60)
	a.want(6)
}

func TestWhereOneInTwentyGetsNoAnswerTheLimitIsUsedAllTheSame(t *testing.T) {
	s := sim.Scenario{Model: sim.Clock, Limit: 30, Window: 10 * second, Lost: 0.05}
	for _, r := range plays(t, s) {
		if r.Use < 0.99 || r.Measured.Refused > 0 {
			t.Errorf("%.2f %% used, %d refused; want 99 %% and none", 100*r.Use, r.Measured.Refused)
		}
	}
}

// orderly plays windows of ten seconds long enough for it to be believed that
// nobody else uses the limit, and begins another, which ends at 60 s.
func orderly(t *testing.T) *api {
	a := newAPI(t)
	for reset := 10; reset <= 50; reset += 10 {
		a.open(9, reset)
		a.now = epoch.Add(time.Duration(reset)*second + 500*ms)
	}
	a.open(9, 60)
	return a
}

// wantAlone checks that in the window after the one that ends at 60 s nobody
// else is believed to use the limit: one under way that another's report has
// counted is then charged once.
func (a *api) wantAlone() {
	a.t.Helper()
	a.now = epoch.Add(60*second + 500*ms)
	a.open(9, 70)
	counted, reports := a.send(), a.send()
	a.pass(10 * ms)
	a.answer(reports, 200, 10, 7, 70)
	a.want(7)
	a.answer(counted, 200, 10, 8, 70)
}

func TestALostRequestIsNotTakenForAnotherClients(t *testing.T) {
	for name, play := range map[string]func(*api){
		"counted by a report from before it was lost": func(a *api) {
			lost, reports := a.send(), a.send()
			a.pass(10 * ms)
			a.answer(reports, 200, 10, 7, 60)
			a.lim.Lost(lost, a.now)
		},
		"counted by a later report": func(a *api) {
			a.lose(1)
			a.open(7, 60)
		},
		"never counted": func(a *api) {
			a.lose(1)
			a.open(8, 60)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := orderly(t)
			play(a)
			a.wantAlone()
		})
	}
}

func TestAnAnswerFromBeforeTheLimitChangedIsNotTakenForAnotherClients(t *testing.T) {
	a := orderly(t)
	old, newer := a.send(), a.send()
	a.pass(10 * ms)
	a.answer(newer, 200, 40, 37, 60)
	a.pass(10 * ms)
	a.answer(old, 200, 10, 8, 60)
	a.now = epoch.Add(60*second + 500*ms)
	ticket := a.send()
	a.pass(10 * ms)
	a.answer(ticket, 200, 40, 39, 70)
	counted, reports := a.send(), a.send()
	a.pass(10 * ms)
	a.answer(reports, 200, 40, 37, 70)
	a.want(37)
	a.answer(counted, 200, 40, 38, 70)
}
