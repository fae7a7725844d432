package sim

import (
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"weir/limiter"
)

// What an answer does to the rate of an aimd: before the first refusal, after
// it, and with a refusal.
const (
	aimdFirst = 1.1
	aimdGain  = 1.0005
	aimdCut   = 0.85
)

// aimd ignores the headers: additive increase, multiplicative decrease.
type aimd struct {
	pace    *rate.Limiter
	out     int
	stale   int // answers still to come to what was under way at the last cut
	refused bool
	until   time.Time
}

func newAIMD(Scenario) Policy { return &aimd{pace: rate.NewLimiter(2, 1)} }

func (p *aimd) Grant(now time.Time, _ bool, n int) (int, time.Time) {
	if now.Before(p.until) {
		return 0, p.until
	}
	return allow(p.pace, now, n)
}

func (p *aimd) Sent(time.Time) limiter.Ticket {
	p.out++
	return limiter.Ticket{}
}

func (p *aimd) Answered(t limiter.Ticket, now time.Time, a limiter.Answer) {
	p.Lost(t, now)
	refused := a.Status == http.StatusTooManyRequests
	factor := aimdFirst
	switch {
	case refused && p.stale > 0:
		return
	case refused:
		factor, p.refused, p.stale = aimdCut, true, p.out
		p.until = now.Add(a.RetryAfter)
	case p.refused:
		factor = aimdGain
	}
	p.pace.SetLimitAt(now, p.pace.Limit()*rate.Limit(factor))
}

func (p *aimd) Lost(limiter.Ticket, time.Time) {
	p.out--
	p.stale = max(p.stale-1, 0)
}
