package dispatcher

import (
	"context"
	"math/rand/v2"
	"time"

	"weir/internal/point"
	"weir/limiter"
)

// staleClaim is the age at which a claim that has not been sent is given back:
// too much may have changed since.
const staleClaim = 10 * time.Second

// deliverAll is a worker. Workers are kept, because a new goroutine would grow
// its stack anew for each request.
func (d *Dispatcher) deliverAll(work context.Context) {
	for x := range d.start {
		d.deliver(work, x)
		d.work.Done()
	}
}

// deliver makes one attempt of a claimed message: check, post, judge, record.
func (d *Dispatcher) deliver(work context.Context, x *delivery) {
	key, ok := d.mayPost(x)
	if !ok {
		d.mu.Lock()
		d.freeWorker(x)
		d.mu.Unlock()
		d.handBack(work, x)
		return
	}
	ticket := x.b.limiter.Sent(d.cfg.Now())
	point.Hit(point.Requested)
	traceparent, judged := d.cfg.Observe(&x.c)
	answer := x.b.account.client.Post(work, key, x.c.Key, x.c.Body, traceparent)
	point.Hit(point.Answered)
	verdict := judge(answer)
	seen := d.tellLimiter(x, ticket, answer, verdict)
	judgement := settle(x.c, answer, verdict, d.policy(), rand.Float64)

	d.mu.Lock()
	d.learn(x, key, answer, &judgement)
	d.watchScope(x.b, answer, verdict, seen)
	d.freeWorker(x)
	d.mu.Unlock()

	record := Record{Claim: x.c, Answer: answer, Judgement: judgement, Limit: seen}
	judged(&record)
	d.work.Add(1)
	d.cfg.Ledger.Record(record, func(err error) {
		point.Hit(point.OutcomeCommitted)
		if err != nil {
			d.fail(err)
		}
		d.freeSeat(x, !judgement.State.Settled() && judgement.DueAt.IsZero(), verdict == Throttled)
		d.work.Done()
	})
}

// mayPost looks once more, right before the request is written, whether it may
// be: what was claimed ahead must not go against a gate that has risen since.
func (d *Dispatcher) mayPost(x *delivery) (APIKey, bool) {
	if x.probe {
		d.readRefusedKey(x.b.account)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now, latest := d.cfg.Now(), d.cfg.Clock.Latest() // not before the lock: Rebase sets the limiters' time under it
	switch {
	case d.stopping,
		d.gates.bars(x.b, x.c.ID),
		x.b.limiter.Parked(now),
		!x.probe && x.turn < x.b.setbacks[x.lane].turn,
		latest.Sub(x.c.ClaimedAt).Abs() > staleClaim, // in the future: the clock was set back
		!x.c.ExpiresAt.IsZero() && !latest.Before(x.c.ExpiresAt),
		!mayRepeat(x.c, x.b.account.scope, d.cfg.Policy, latest):
		if x.probe {
			d.gates.abandonProbe(x.b, x.c.ID)
		}
		return "", false
	}
	return x.b.account.key, true
}

// tellLimiter passes on what the answer says about the limit, and returns it.
// What is not the API's answer says nothing.
func (d *Dispatcher) tellLimiter(x *delivery, t limiter.Ticket, a Answer, v Verdict) LimitSeen {
	switch {
	case !a.Left:
		x.b.limiter.Unsent(t, a.EndedAt)
		return LimitSeen{}
	case a.Status == 0, v == NotAPI:
		x.b.limiter.Lost(t, a.EndedAt)
		return LimitSeen{}
	}
	h := limiter.ParseHeaders(a.Header, a.RetryAfter)
	d.cfg.Clock.Heard(x.b.account.scope, a.StartedAt, a.EndedAt, h.Date)
	x.b.limiter.Answered(t, a.EndedAt, limiter.Answer{Status: a.Status, Replayed: a.Replayed, Headers: h})
	if h.Reset.IsZero() {
		return LimitSeen{}
	}
	return LimitSeen{Limit: &h.Limit, Remaining: &h.Remaining, Reset: h.Reset}
}

// freeWorker lets the next claimed message on the wire. It requires that d.mu
// is held.
func (d *Dispatcher) freeWorker(x *delivery) {
	d.posting--
	x.b.posting--
	if x.lane == bulk {
		d.bulk.posting--
	}
	if !d.stopping {
		d.begin()
	}
}

// handBack returns a claim whose request was not made.
func (d *Dispatcher) handBack(work context.Context, x *delivery) {
	x.b.limiter.Return(d.cfg.Now(), 1)
	if err := d.cfg.Ledger.Release(context.WithoutCancel(work), []Claim{x.c}); err != nil {
		d.fail(err)
	}
	d.freeSeat(x, true, false)
}

// freeSeat ends a delivery once the ledger has it. A message that came back
// unharmed leads its lane again.
func (d *Dispatcher) freeSeat(x *delivery, again, refused bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.release(x.c.ID)
	if refused {
		x.b.setbacks[x.lane].back--
	}
	x.b.seats--
	if x.lane == bulk {
		d.bulk.seats--
	}
	if again {
		x.b.waiting[x.lane].put(returned{Ref: x.c.Next(), due: x.c.DueAt})
	}
	d.poke()
}
