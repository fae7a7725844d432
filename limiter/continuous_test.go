package limiter_test

import (
	"testing"
	"time"

	"weir/limiter"
	"weir/limiter/sim"
)

// refill makes a server known that gives back what was used within its Reset.
func (a *api) refill() {
	a.t.Helper()
	a.open(5, 60)
	for range 3 {
		ticket := a.send()
		a.pass(10 * time.Millisecond)
		a.answer(ticket, 200, 10, 7, 60)
		ticket = a.send()
		a.pass(10 * time.Millisecond)
		a.answer(ticket, 200, 10, 5, 60)
	}
	if s := a.lim.State(a.now); s.Mode != limiter.ModeRefill {
		a.t.Fatalf("after Remaining rose three times: %+v, want a refill", s)
	}
}

func TestRemainingThatRisesThreeTimesInAWindowShowsARefill(t *testing.T) { newAPI(t).refill() }

func TestARefundOfOneShowsNoRefill(t *testing.T) {
	a := newAPI(t)
	a.open(5, 60)
	ticket := a.send()
	a.pass(10 * time.Millisecond)
	a.answer(ticket, 200, 10, 6, 60)
	if s := a.lim.State(a.now); s.Mode != limiter.ModeWindow || s.Remaining != 5 {
		t.Errorf("after one refund: %+v, want the window with the 5 that are sure", s)
	}
	a.want(5)
}

func TestWhereOnlyAReportCanTellNobodyLooksAgainAllTheTime(t *testing.T) {
	a := newAPI(t)
	for left := 900; left > 800; left -= 30 { // of a bucket that refills 1000 a minute
		ticket := a.send()
		a.pass(10 * ms)
		a.answer(ticket, 200, 1000, left, 60)
		a.pass(2 * second)
		ticket = a.send()
		a.pass(10 * ms)
		a.answer(ticket, 200, 1000, left+32, 60)
	}
	a.answer(a.send(), 200, 1000, 3, 60)
	a.pass(5 * second) // a forecast alone lets a few more go
	for a.ask(1) == 1 {
		a.lim.Sent(a.now)
	}
	if s := a.lim.State(a.now); s.Mode != limiter.ModeRefill || s.Remaining < 20 {
		t.Fatalf("%+v, want a refill with places that are only forecast", s)
	}
	if _, retryAt := a.lim.Grant(a.now, true, 1); !retryAt.IsZero() {
		t.Errorf("looks again in %v, want only when something is heard", retryAt.Sub(a.now))
	}
}

func TestATokenThatComesBackIsNotLostToThePace(t *testing.T) {
	a := newAPI(t)
	a.refill()
	for range 30 {
		a.pass(time.Second)
		if a.ask(1) == 1 {
			ticket := a.lim.Sent(a.now)
			a.pass(10 * time.Millisecond)
			a.answer(ticket, 200, 10, 4, int(a.now.Sub(epoch)/time.Second)+6)
		}
	}
	for range 20 {
		got, _ := a.lim.Grant(a.now, false, 1)
		if got != 1 {
			t.Fatalf("no token is left though all came back: %+v", a.lim.State(a.now))
		}
		a.lim.Return(a.now, got)
	}
}

func TestALimitOfOneThatRefillsIsNotSparedForEver(t *testing.T) {
	a := newAPI(t)
	a.refill()
	for range 3 {
		ticket := a.send()
		a.pass(10 * time.Millisecond)
		a.answer(ticket, 200, 1, 0, int(a.now.Sub(epoch)/time.Second)+2)
		a.pass(3 * time.Second)
	}
	if got, retryAt := a.lim.Grant(a.now, false, 1); got != 1 {
		t.Errorf("no token is granted, and the next comes in %v: %+v", retryAt.Sub(a.now), a.lim.State(a.now))
	}
}

func TestRefusedRequestsDoNotRaiseTheRefill(t *testing.T) {
	a := newAPI(t)
	a.refill()
	for range 200 { // a known refill of about one per second
		a.pass(time.Second)
		if a.ask(1) == 1 {
			ticket := a.lim.Sent(a.now)
			a.pass(10 * time.Millisecond)
			a.answer(ticket, 200, 10, 5, int(a.now.Sub(epoch)/time.Second)+5)
		}
	}
	before := a.lim.State(a.now).Rate
	for range 50 {
		_, retryAt := a.lim.Grant(a.now, true, 1)
		if retryAt.After(a.now) {
			a.now = retryAt
			a.ask(1)
		}
		ticket := a.lim.Sent(a.now)
		a.pass(10 * time.Millisecond)
		a.answer(ticket, 429, 10, 0, int(a.now.Sub(epoch)/time.Second)+10)
	}
	if after := a.lim.State(a.now).Rate; before < 0.5 || after > before*1.05 {
		t.Errorf("the refill was %.3g and is %.3g after refusals, want no more", before, after)
	}
}

func TestALimitThatFallsBelowWhatALogHoldsNamesNoTimeThatHasPassed(t *testing.T) {
	s := sim.Scenario{
		Model: sim.SlidingLog, Limit: 100, Window: 10 * second, Warm: 40 * second, Measured: 20 * second,
		Tiers: []sim.Tier{{After: 45 * second, Limit: 10}},
	}
	for seed := range uint64(6) {
		s.Seed = seed
		run(t, s)
	}
}

func TestARefillIsFoundAgainAfterRivalsThatLeftNothing(t *testing.T) {
	a := newAPI(t)
	server := sim.NewBucket(100, time.Minute)
	ask := func() (accepted int) {
		got, _ := a.lim.Grant(a.now, false, 64)
		var tickets []limiter.Ticket
		var answers []limiter.Answer
		for range got {
			tickets = append(tickets, a.lim.Sent(a.now))
			d, status := server.Take(a.now), 429
			if d.Allowed {
				accepted, status = accepted+1, 200
			}
			answers = append(answers, limiter.Answer{Status: status, Headers: limiter.Headers{
				Date: a.now.Truncate(time.Second), Limit: d.Limit, Remaining: d.Remaining, Reset: d.Reset.Truncate(time.Second),
			}})
		}
		a.pass(100 * time.Millisecond)
		for i, ticket := range tickets {
			a.lim.Answered(ticket, a.now, answers[i])
		}
		return accepted
	}
	for range 24 {
		for server.Peek(a.now).Remaining > 15 {
			server.Take(a.now)
		}
		ask()
		a.pass(10 * time.Minute)
	}
	accepted := 0
	for end := a.now.Add(time.Hour); a.now.Before(end); {
		accepted += ask()
	}
	if accepted < 5700 {
		t.Errorf("%d requests were accepted in an hour in which 6000 can be: %+v", accepted, a.lim.State(a.now))
	}
}
