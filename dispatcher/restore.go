package dispatcher

import (
	"slices"
	"time"
)

// longestHold bounds the wait for the probe of a restored gate: the clock may
// have been wrong when it was stored.
const longestHold = 15 * time.Minute

// Restore takes the gates that stood when the daemon before ended. Holds that
// are overdue are probed at once; a park is kept until the first answer. Those of
// a channel or account that weir.yaml no longer has could be cured by nobody, and
// go; a pause stays, since it is an operator's.
func (d *Dispatcher) Restore(stored []Gate) {
	now := d.cfg.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range stored {
		// An answer cures only what rose before its request left.
		g.Since = earlier(g.Since, now)
		switch {
		case g.Kind != Paused && !d.serves(g.Scope):
			d.gates.unsaved[g.id()] = true // it does not stand: the table is to lose it
			continue
		case g.Kind == Parked:
			d.restorePark(g, now)
			continue
		case g.SetBy == BySource:
			d.trouble = g
			continue
		}
		if g.Kind != Paused {
			g.Until = earlier(g.Until, now.Add(longestHold))
		}
		d.gates.add(g, d.cfg.ProbeInterval)
		delete(d.gates.unsaved, g.id())
	}
}

// serves tells whether any bucket looks at the gates of the scope.
func (d *Dispatcher) serves(scope string) bool {
	return slices.ContainsFunc(d.buckets, func(b *bucket) bool { return slices.Contains(b.scopes[:], scope) })
}

// restorePark needs d.mu.
func (d *Dispatcher) restorePark(g Gate, now time.Time) {
	for _, b := range d.buckets {
		if b.Scope() == g.Scope {
			b.parkStored = g.Until
			b.park = park{since: g.Since, until: earlier(g.Until, now.Add(longestHold))} // as the limiter bounds it
			b.limiter.Restore(now, g.Until)
		}
	}
}

// Reload follows what operators have changed in the stored gates: pauses, and
// probes that they ask for (a gate whose end has been set to its beginning).
func (d *Dispatcher) Reload(stored []Gate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	theirs := make(map[gateID]bool) // what only an operator lifts
	for _, g := range stored {
		id := g.id()
		standing := d.gates.find(id)
		switch {
		case g.Kind == Paused && standing != nil:
			standing.Reason, standing.Until = g.Reason, g.Until // if it is over, take lowers it, and so it leaves the table
		case g.Kind == Paused && !g.Until.IsZero() && !g.Until.After(d.cfg.Now()):
			// Over, and not yet removed from the table.
		case g.Kind == Paused:
			d.gates.add(g, 0)
			delete(d.gates.unsaved, id)
			d.cfg.Log.Info("gate up", "scope", g.Scope, "state", g.Kind, "by", g.SetBy)
		case standing != nil:
			d.followWish(standing, g.Until.Equal(g.Since))
		}
		theirs[id] = g.liftable()
	}
	for _, standing := range d.gates.all() {
		if standing.liftable() && !theirs[standing.id()] {
			d.lower(standing, "resumed by an operator")
			delete(d.gates.unsaved, standing.id())
		}
	}
	d.poke()
}

// followWish makes a gate's probe due when an operator asks for it: once,
// although the wish stands in the table until the gate is stored again.
func (d *Dispatcher) followWish(g *gate, asked bool) {
	if asked && !g.asked {
		g.Until = d.cfg.Now()
		d.gates.unsaved[g.id()] = true
	}
	g.asked = asked
}

// wishGone notes that the gate has been stored over a wish that had been taken:
// the next one that is read is another. It takes d.mu.
func (d *Dispatcher) wishGone(stored Gate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.gates.find(stored.id()); g != nil {
		g.asked = false
	}
}
