package dispatcher

import (
	"context"
	"fmt"
	"time"

	"weir/limiter"
	"weir/outbox"
)

// Of what follows, gaugesOf and rate need d.mu.

// reportEvery is how often the gauges are stored while they change.
const reportEvery = 500 * time.Millisecond

// report stores gates and gauges as they change, and looks for new keys.
func (d *Dispatcher) report(ctx context.Context) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, a := range d.accounts {
			d.readKey(a)
		}
		// What has begun to be stored is not forgotten by stopping.
		if err := d.publish(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
}

// publish stores what has changed since the last time.
func (d *Dispatcher) publish(ctx context.Context) error {
	put, drop := d.unsavedGates()
	for _, g := range put {
		if err := d.cfg.Board.PutGate(ctx, g); err != nil {
			return err
		}
		if g.WishTaken {
			d.wishGone(g)
		}
	}
	for _, g := range drop {
		if err := d.cfg.Board.DropGate(ctx, g); err != nil {
			return err
		}
	}
	if err := d.publishTrouble(ctx); err != nil {
		return err
	}
	gauges := d.gauges()
	if err := d.publishParks(ctx, gauges); err != nil {
		return err
	}
	return d.cfg.Board.Report(ctx, gauges)
}

// publishTrouble keeps a stored gate equal to what the source says of itself, so
// that the daemon's row explains why nothing new is sent.
func (d *Dispatcher) publishTrouble(ctx context.Context) error {
	reason := d.cfg.Source.Trouble()
	d.mu.Lock()
	before := d.trouble
	d.mu.Unlock()
	if reason == before.Reason {
		return nil
	}
	now := Gate{Scope: outbox.DaemonScope(d.cfg.Instance), Kind: Degraded, Reason: reason, Since: d.cfg.Now(), SetBy: BySource}
	var err error
	if reason == "" {
		err = d.cfg.Board.DropGate(ctx, now)
	} else {
		if before.Reason != "" {
			now.Since = before.Since
		}
		err = d.cfg.Board.PutGate(ctx, now)
	}
	d.mu.Lock()
	d.trouble = now
	d.mu.Unlock()
	return err
}

// publishParks keeps the stored parks equal to those of the limiters. A wait
// for a reserve is none: after a restart it must not stop the high lane.
func (d *Dispatcher) publishParks(ctx context.Context, gauges []Gauges) error {
	for i, b := range d.buckets {
		now := d.cfg.Now() // a commit before may have taken long
		s := b.limiter.State(now)
		park := Gate{Scope: b.Scope(), Kind: Parked, Reason: s.Reason, Since: now, Until: s.Until, SetBy: ByLimit}
		if gauges[i].State == Parked {
			park.Since = gauges[i].Since
		}
		switch {
		case s.Parked && !s.Until.Equal(b.parkStored):
			if err := d.cfg.Board.PutGate(ctx, park); err != nil {
				return err
			}
			b.parkStored = s.Until
		case !s.Parked && !b.parkStored.IsZero():
			if err := d.cfg.Board.DropGate(ctx, park); err != nil {
				return err
			}
			b.parkStored = time.Time{}
		}
	}
	return nil
}

func (d *Dispatcher) unsavedGates() (put, drop []Gate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.gates.unsaved {
		if g := d.gates.find(id); g != nil {
			stored := g.Gate
			stored.WishTaken = g.asked
			put = append(put, stored)
		} else {
			drop = append(drop, Gate{Scope: id.scope, Kind: id.kind, SetBy: id.setBy})
		}
	}
	clear(d.gates.unsaved)
	return put, drop
}

// gauges are those of every bucket.
func (d *Dispatcher) gauges() []Gauges {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Now()
	all := make([]Gauges, len(d.buckets))
	for i, b := range d.buckets {
		all[i] = d.gaugesOf(b, now)
	}
	return all
}

func (d *Dispatcher) gaugesOf(b *bucket, now time.Time) Gauges {
	s := b.limiter.State(now)
	g := Gauges{
		Bucket: b.Bucket, State: Running, LimitScope: string(b.account.limitScope()),
		Window: s.Window, SentLastMinute: b.sent.total(now),
		LastRequestID: b.last.requestID, LastErrorCode: b.last.errorCode,
	}
	if s.Known {
		g.RateLimit, g.Remaining, g.Reset = &s.Limit, &s.Remaining, s.Reset
	}
	if s.ClockKnown {
		g.ClockOffset = &s.ClockOffset
	}
	setBy := "" // of the state
	switch gate := d.gates.strongest(b); {
	case gate != nil:
		setBy = gate.SetBy
		g.State, g.Reason, g.Since, g.Until = gate.Kind, gate.Reason, gate.Since, gate.Until
	case d.trouble.Reason != "":
		setBy = d.trouble.SetBy
		g.State, g.Reason, g.Since = d.trouble.Kind, d.trouble.Reason, d.trouble.Since
	case s.Parked:
		setBy = ByLimit
		g.State, g.Reason, g.Until = Parked, s.Reason, s.Until
		if now.Before(b.park.until) {
			g.Since = b.park.since
		}
	case b.park.stands(now):
		setBy = ByLimit
		g.State, g.Since, g.Until = Parked, b.park.since, b.park.until
		g.Reason = s.Reason
		if s.Mode == limiter.ModeWindow && s.Proven > 0 {
			g.Reason += ", kept for the high lane and for what others use"
		}
	case b.ramp.width > 0 && (b.seats > 0 || !b.idle()):
		g.Reason = "opening gently after a gate"
	}
	if g.State == Running {
		var alone string
		alone, g.Until = b.waitsAlone(now)
		g.Reason = join(g.Reason, alone)
	}
	if g.State == Running && b.last.refusals >= inARow {
		g.Reason = join(g.Reason, fmt.Sprintf("%d refusals in a row, the last: %s", b.last.refusals, b.last.refusal))
	}
	if g.State == Running || g.State == Parked {
		g.Rate = b.rate(s, now)
		g.Reason = join(join(g.Reason, oddLimit(s, now)), b.misjudged())
	}
	if g.Since.IsZero() {
		g.Since = b.shown.Since
		if g.State != b.shown.State || g.Since.IsZero() {
			g.Since = now
		}
	}
	b.changes.log(d.cfg.Log, &b.shown, &g, setBy, now)
	b.shown = g
	return g
}

// join puts two reasons into one line, where there are two.
func join(one, other string) string {
	if one == "" || other == "" {
		return one + other
	}
	return one + "; " + other
}

// oddShown is how long an answer whose limit made no sense is shown.
const oddShown = time.Hour

// oddLimit says that the API's answers about its limit make no sense.
func oddLimit(s limiter.State, now time.Time) string {
	switch {
	case s.Odd == 0 || now.Sub(s.LastOddAt) > oddShown:
		return ""
	case s.Odd == 1:
		return "an answer with a limit that makes no sense: " + s.LastOdd
	}
	return fmt.Sprintf("%d answers with a limit that makes no sense, the last: %s", s.Odd, s.LastOdd)
}

// rate is what the bucket gets done per second: what the limit allows, or where
// none is known, what it did of late.
func (b *bucket) rate(s limiter.State, now time.Time) float64 {
	if s.Rate > 0 {
		return s.Rate
	}
	return b.sent.perSecond(now)
}

func (a *account) limitScope() limitScope {
	if a.cfg.SharedLimit {
		return perKey
	}
	return perChannel
}
