package dispatcher

import (
	"fmt"
	"time"

	"weir/outbox"
)

// What follows needs d.mu where it looks at the dispatcher, a bucket or a gate.

const (
	// inARow is how many failures, one after the other, make a bucket degraded.
	inARow = 5
	// longestRefusedProbe bounds the doubling wait between probes of a refused key.
	longestRefusedProbe = 10 * time.Minute
)

// learn draws the consequences of an answer for the gates, and gives a message
// that is alone with its failure a wait of its own.
func (d *Dispatcher) learn(x *delivery, key APIKey, a Answer, j *Judgement) {
	b := x.b
	b.note(a, j)
	if j.State.Settled() {
		delete(b.alone, x.c.ID)
	}
	switch j.Verdict {
	case Sent:
		d.accepted(x, key, a)
	case Refused:
		d.answered(b, a)
		b.unpaid = 0 // of two 402s, it stands between them
	case InProgress:
		d.answered(b, a)
	case Throttled:
		if a.IsJSON && a.ErrorCode != "" { // a proxy has limits too
			d.answered(b, a)
		}
		b.setbacks[x.lane].back++
		b.setbacks[x.lane].turn = d.turn + 1
		d.logPark(b, a)
	case Retry, Ambiguous:
		d.failed(b, a, j)
	case NeverLeft:
		if a.Fault != faultCut {
			// One is enough: nothing gets through. A kept connection that was
			// cut before the request left is one failure like others.
			b.failures = max(b.failures, inARow-1)
		}
		d.failed(b, a, j)
	case Unauthorized:
		d.refusedKey(b, key, a, j)
	case Unpaid:
		d.answered(b, a)
		if first := b.unpaid; first == 0 || first == x.c.ID {
			b.unpaid = x.c.ID
			d.waitAlone(x, a, j, unpaidReason(a, j))
			break
		}
		d.hold(b, b.Scope(), ByUnpaid, a, unpaidReason(a, j))
	case NotAPI:
		if first := b.account.stranger; first == 0 || first == x.c.ID {
			b.account.stranger = x.c.ID
			d.waitAlone(x, a, j, strangerReason(a, j))
			break
		}
		d.hold(b, outbox.AccountScope(b.Account), ByNotAPI, a, strangerReason(a, j))
	}
	switch {
	case !x.probe:
	case a.Stopped, key != b.account.key:
		d.gates.abandonProbe(b, x.c.ID)
	default:
		d.probed(b, x.c.ID, a.EndedAt)
	}
}

// note keeps what people look up first.
func (b *bucket) note(a Answer, j *Judgement) {
	if a.RequestID != "" {
		b.last.requestID = a.RequestID
	}
	if j.ErrorCode != "" {
		b.last.errorCode = j.ErrorCode
	}
	switch {
	case j.State == outbox.Sent: // also by a conflict that names the message
		b.sent.add(a.EndedAt, 1)
		b.last.refusals = 0
	case j.Verdict == Refused:
		b.last.refusals++
		b.last.refusal = j.ErrorCode
	}
}

// accepted clears what a message that goes through disproves: holds and
// degraded gates that rose before it was sent. A replay proves only that the
// API answers, an old key nothing about today's.
func (d *Dispatcher) accepted(x *delivery, key APIKey, a Answer) {
	d.answered(x.b, a)
	if a.Replayed || key != x.b.account.key {
		return
	}
	x.b.unpaid = 0
	for g := range d.gates.of(x.b) {
		if g.Kind == Held && !g.AtHome() && g.Since.Before(a.StartedAt) {
			d.lower(g, "a message was accepted")
		}
	}
}

// refusedKey holds the account, unless the key has been changed since.
func (d *Dispatcher) refusedKey(b *bucket, key APIKey, a Answer, j *Judgement) {
	reason := "the server cannot prove to be the API"
	if !a.TLSIdentity {
		d.answered(b, a)
		reason = "the API refuses the key"
	}
	if key == b.account.key {
		d.hold(b, outbox.AccountScope(b.Account), ByUnauthorized, a, fmt.Sprintf("%s (%s)", reason, describe(a, j))+b.account.unread)
	}
}

// answered clears what any answer of the API disproves: that it fails, or that
// something else stands in its place.
func (d *Dispatcher) answered(b *bucket, a Answer) {
	b.failures, b.account.stranger = 0, 0
	b.ramp.success(d.seats)
	for g := range d.gates.of(b) {
		if (g.Kind == Degraded || g.SetBy == ByNotAPI) && g.Since.Before(a.StartedAt) {
			d.lower(g, "the API answers")
		}
	}
}

// failed counts failures in a row; enough of them make the bucket degraded.
func (d *Dispatcher) failed(b *bucket, a Answer, j *Judgement) {
	if a.Stopped {
		return
	}
	b.failures++
	if b.failures < inARow {
		return
	}
	id := gateID{b.Scope(), Degraded, ByFailures}
	if d.gates.find(id) == nil {
		wait := min(d.cfg.Policy.BackoffBase, d.cfg.ProbeInterval)
		d.raise(id, fmt.Sprintf("the API fails (%s)", describe(a, j)), a, wait)
	}
}

// hold raises a gate that needs a cure.
func (d *Dispatcher) hold(b *bucket, scope, setBy string, a Answer, reason string) {
	id := gateID{scope, Held, setBy}
	if g := d.gates.find(id); g != nil {
		g.Reason = reason
		d.gates.unsaved[id] = true
		return
	}
	d.raise(id, reason, a, d.cfg.ProbeInterval)
}

func (d *Dispatcher) raise(id gateID, reason string, a Answer, wait time.Duration) {
	d.gates.add(Gate{
		Scope: id.scope, Kind: id.kind, SetBy: id.setBy, Reason: reason,
		Since: a.EndedAt, Until: a.EndedAt.Add(wait), RequestID: a.RequestID,
	}, wait)
	d.cfg.Log.Warn("gate up", "scope", id.scope, "state", id.kind, "by", id.setBy, "status", a.Status, "request_id", a.RequestID)
}

// lower takes a gate down and lets its buckets begin gently.
func (d *Dispatcher) lower(g *gate, why string) {
	d.gates.remove(g)
	for _, b := range d.buckets {
		for _, scope := range b.scopes {
			if scope == g.Scope {
				b.ramp.begin()
			}
		}
	}
	d.cfg.Log.Info("gate down", "scope", g.Scope, "state", g.Kind, "by", g.SetBy, "why", why)
}

// probed ends a probe. Gates that still stand are probed again later: a refused
// key after twice the wait, up to 10 min; a failing API likewise up to the
// probe interval; the others at that interval. The end of a hold only moves later.
func (d *Dispatcher) probed(b *bucket, row int64, now time.Time) {
	for g := range d.gates.of(b) {
		if g.prober != row {
			continue
		}
		g.prober = 0
		switch g.SetBy {
		case ByUnauthorized:
			g.interval = min(2*g.interval, longestRefusedProbe)
		case ByFailures:
			g.interval = min(2*g.interval, d.cfg.ProbeInterval)
		}
		g.Until = later(g.Until, now.Add(g.interval))
		d.gates.unsaved[g.id()] = true
	}
}

func (d *Dispatcher) logPark(b *bucket, a Answer) {
	d.cfg.Log.Debug("429", "bucket", b.String(), "request_id", a.RequestID)
}

// describe names an answer by its status and code; texts of an API can hold anything.
func describe(a Answer, j *Judgement) string {
	if a.Status == 0 {
		return j.ErrorCode
	}
	return fmt.Sprintf("%d %s", a.Status, j.ErrorCode)
}

func strangerReason(a Answer, j *Judgement) string {
	return fmt.Sprintf("something else answers in the API's place (%s)", describe(a, j))
}

func unpaidReason(a Answer, j *Judgement) string {
	reason := fmt.Sprintf("the balance is too low (%s)", describe(a, j))
	if a.RequiredAmount != "" {
		reason += ", required: " + a.RequiredAmount
	}
	if a.TopupURL != "" {
		reason += ", top up at " + a.TopupURL
	}
	return sanitize(reason)
}

// SettleLost judges an attempt whose daemon died: it may have been sent. Its
// verdict says enough, so it has an error code only where it ends the message.
func SettleLost(c Claim, p Policy, now time.Time) Judgement {
	a := Answer{StartedAt: c.ClaimedAt, EndedAt: now, Left: true, Fault: faultCut, ErrorMessage: "the daemon died during this attempt"}
	j := settle(c, a, Ambiguous, p, func() float64 { return 0 })
	j.Verdict = Lost
	if j.ErrorCode != codeOutOfTime {
		j.ErrorCode = ""
	}
	return j
}
