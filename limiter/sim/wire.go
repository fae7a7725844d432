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
	d := w.judge()
	w.trace(d, false)
	tally := &w.result.Cold
	if w.measured() {
		tally = &w.result.Measured
	}
	h := http.Header{}
	if !w.NoDate {
		h.Set("Date", w.remote().UTC().Format(http.TimeFormat))
	}
	if !d.Allowed {
		tally.Refused++
		if w.Headers == Always || w.Headers == On429 {
			w.tell(h, d)
		}
		retry := ""
		if w.Headers != None && !w.NoRetryAfter {
			retry = strconv.Itoa(RetryAfter(w.remote(), d.Retry))
		}
		return limiter.Answer{Status: http.StatusTooManyRequests, Headers: limiter.ParseHeaders(h, retry)}
	}
	tally.Accepted++
	w.result.Times = append(w.result.Times, w.now)
	if w.Headers == Always && w.rnd.Float64() >= w.Missing {
		w.tell(h, d)
	}
	return limiter.Answer{Status: http.StatusOK, Headers: limiter.ParseHeaders(h, "")}
}

// judge lets a request through if both limits and the weather do.
func (w *world) judge() Decision {
	if storm := w.Storm; w.now >= storm.From && w.now < storm.Until && w.rnd.Float64() < storm.Share {
		d := w.server.Peek(w.remote())
		d.Allowed, d.Retry = false, w.remote().Add(time.Second)
		return d
	}
	if w.beside != nil {
		if b := w.beside.Take(w.remote()); !b.Allowed {
			d := w.server.Peek(w.remote())
			d.Allowed, d.Retry = false, b.Retry
			return d
		}
	}
	return w.server.Take(w.remote())
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
