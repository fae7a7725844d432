package sim

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"weir/limiter"
)

const (
	// spread is the sigma of the lognormal time of one way.
	spread = 0.45
	// slow is what a request of the tail takes more.
	slow = time.Second
	// patience is after what time an answer counts as lost.
	patience = 3 * time.Second
)

// send takes one request all the way: claim, wire, server, wire.
func (w *world) send(m message) {
	// Between token and wire lies the commit of the claim.
	claim := time.Millisecond + time.Duration(w.rnd.Int64N(int64(2*time.Millisecond)))
	w.in(claim, func() {
		ticket := w.policy.Sent(w.local())
		up, down := w.way(), w.way()
		if w.rnd.Float64() < w.Tail {
			if w.rnd.IntN(2) == 0 {
				up += slow
			} else {
				down += slow
			}
		}
		lost := w.rnd.Float64() < w.Lost
		if lost {
			w.in(patience, func() { w.policy.Lost(ticket, w.local()); w.settle(m); w.pump() })
		}
		w.in(up, func() {
			answer := w.answer()
			if !lost {
				w.in(down, func() { w.receive(m, ticket, answer) })
			}
		})
	})
}

func (w *world) way() time.Duration {
	return time.Duration(float64(w.Leg) * math.Exp(spread*w.rnd.NormFloat64()))
}

func (w *world) receive(m message, ticket limiter.Ticket, a limiter.Answer) {
	w.policy.Answered(ticket, w.local(), a)
	if a.Status == http.StatusTooManyRequests {
		w.putBack(m)
	} else {
		w.settle(m)
	}
	w.pump()
}

// answer is what the server does with one request.
func (w *world) answer() limiter.Answer {
	tally := &w.result.Cold
	if w.measured() {
		tally = &w.result.Measured
	}
	h := http.Header{}
	if !w.NoDate {
		h.Set("Date", w.remote().UTC().Format(http.TimeFormat))
	}
	if w.byChance() {
		tally.Refused++
		return w.refuse(h, w.remote().Add(time.Second))
	}
	d := w.server.Take(w.remote())
	w.trace(d, false)
	if !d.Allowed {
		tally.Refused++
		if w.Headers == Always || w.Headers == On429 {
			w.tell(h, d)
		}
		return w.refuse(h, d.Retry)
	}
	tally.Accepted++
	w.result.Times = append(w.result.Times, w.now)
	if w.Headers == Always && w.rnd.Float64() >= w.Missing {
		w.tell(h, d)
	}
	return limiter.Answer{Status: http.StatusOK, Headers: limiter.ParseHeaders(h, "")}
}

// byChance tells whether the server refuses a request for no reason of the limit.
func (w *world) byChance() bool {
	return w.Chance > 0 && w.now >= w.ChanceFrom && w.now < w.ChanceTo && w.rnd.Float64() < w.Chance
}

// refuse is a 429 after which the next request would be allowed at retry.
func (w *world) refuse(h http.Header, retry time.Time) limiter.Answer {
	after := ""
	if w.Headers != None && !w.NoRetryAfter {
		after = strconv.Itoa(RetryAfter(w.remote(), retry))
	}
	return limiter.Answer{Status: http.StatusTooManyRequests, Headers: limiter.ParseHeaders(h, after)}
}

// tell puts the limit into the headers of an answer.
func (w *world) tell(h http.Header, d Decision) {
	remaining, reset := d.Remaining, d.Reset
	if w.RemainingBefore && d.Allowed {
		remaining++
	}
	if w.ResetJitter > 0 {
		reset = reset.Add(time.Duration((2*w.rnd.Float64() - 1) * float64(w.ResetJitter)))
	}
	// Spelt as Go keeps them, which saves a conversion for each of many answers.
	h.Set("X-Ratelimit-Limit", strconv.Itoa(d.Limit))
	h.Set("X-Ratelimit-Remaining", strconv.Itoa(remaining))
	h.Set("X-Ratelimit-Reset", FormatReset(reset, w.Rounding))
}
