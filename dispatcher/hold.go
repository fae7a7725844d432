package dispatcher

import "time"

// Who sets the gates whose cause lies on this machine. No answer of the API
// cures them, none is probed, and no start takes them over: it looks itself.
const (
	ByDisk  = "disk"  // too little space is free
	ByClock = "clock" // held: the time is surely wrong; degraded: it may be, and nothing is held back
	ByNATS  = "nats"  // degraded: the embedded server cannot store
	ByWAL   = "wal"   // degraded: a reader keeps the write-ahead log from being emptied
)

// AtHome tells whether the cause of the gate lies on this machine.
func (g Gate) AtHome() bool {
	switch g.SetBy {
	case ByDisk, ByClock, ByNATS, ByWAL:
		return true
	}
	return false
}

// liftable tells whether an operator takes the gate away by removing it.
func (g Gate) liftable() bool { return g.Kind == Paused || g.SetBy == ByClock }

// Hold puts up a gate that no answer of the API cures: it stands until Cure, or
// until its end if it is ByClock. The same gate again renews reason and end. One
// that is ByClock is stored by the caller.
func (d *Dispatcher) Hold(g Gate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if standing := d.gates.find(g.id()); standing != nil {
		standing.Reason, standing.Until = g.Reason, g.Until
		d.gates.unsaved[g.id()] = true
		return
	}
	d.gates.add(g, 0)
	if g.liftable() {
		delete(d.gates.unsaved, g.id()) // stored now, it would undo what an operator has done meanwhile
	}
	d.cfg.Log.Warn("gate up", "scope", g.Scope, "state", g.Kind, "by", g.SetBy, "reason", g.Reason)
}

// Cure takes down a gate that Hold has put up, if it stands.
func (d *Dispatcher) Cure(scope, setBy, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.gates.find(gateID{scope, Held, setBy}); g != nil {
		d.lower(g, why)
		d.poke()
	}
}

// Holds tells whether a gate of Hold stands.
func (d *Dispatcher) Holds(scope, setBy string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gates.find(gateID{scope, Held, setBy}) != nil
}

// policy is that of the configuration, and whether the time can be trusted now.
func (d *Dispatcher) policy() Policy {
	p := d.cfg.Policy
	_, p.Doubted = d.cfg.Clock.Doubt()
	return p
}

// Rebase moves what the dispatcher remembers by the step that the clock has
// made: its waits are spans, and end when they would have ended. What an
// operator has set is a time of day and stays.
func (d *Dispatcher) Rebase(step time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.gates.all() {
		if g.liftable() {
			continue
		}
		g.Since = g.Since.Add(step)
		if !g.Until.IsZero() {
			g.Until = g.Until.Add(step)
		}
		d.gates.unsaved[g.id()] = true
	}
	for _, b := range d.buckets {
		b.park.since, b.park.until = b.park.since.Add(step), b.park.until.Add(step)
		b.sent.second += int64(step / time.Second)
		for row, w := range b.alone {
			w.until = w.until.Add(step)
			b.alone[row] = w
		}
		b.shown.Since = b.shown.Since.Add(step)
	}
	for _, p := range d.pools {
		p.limiter.Rebase(d.cfg.Now(), step)
	}
	d.poke()
}
