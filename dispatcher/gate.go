package dispatcher

import (
	"iter"
	"maps"
	"slices"
	"time"
)

// GateKind tells what a gate waits for.
type GateKind string

// The kinds of gates, the weakest first. Only the strongest is shown as a
// bucket's state; all of them hold.
const (
	Running  GateKind = "running" // no gate
	Parked   GateKind = "parked"  // the limit: until a time
	Degraded GateKind = "degraded"
	Held     GateKind = "held"   // needs a cure
	Paused   GateKind = "paused" // by an operator
)

// Who sets gates. Each is cleared by its own cure only.
const (
	ByOperator     = "operator"
	ByUnauthorized = "401"
	ByUnpaid       = "402"
	ByNotAPI       = "not_api"
	ByFailures     = "failures"
	ByLimit        = "limit"
	BySource       = "queue" // shown only: what is at hand may go
)

// Gate is why a scope does not send now.
type Gate struct {
	Scope     string // "daemon:<instance>", "account:<account>" or "bucket:<account>/<channel>"
	Kind      GateKind
	Reason    string
	Since     time.Time
	Until     time.Time // the next probe, or the end; zero: until its cure
	RequestID string    // of the answer that raised it
	SetBy     string
	// WishTaken says, when the gate is stored, that an operator's wish for a probe
	// in the stored one has been followed. Else such a wish stays.
	WishTaken bool
}

// gate is a Gate at work.
type gate struct {
	Gate
	interval time.Duration  // the wait after the next failed probe
	prober   int64          // the message that probes it now; 0: none
	asked    bool           // an operator's wish for a probe has been taken, and still stands in the table
	tried    map[int64]bool // the messages that have probed it: each probe is a different one
}

// gateID tells gates apart: several may stand on one scope.
type gateID struct {
	scope string
	kind  GateKind
	setBy string
}

func (g Gate) id() gateID { return gateID{g.Scope, g.Kind, g.SetBy} }

// strength orders gates; the strongest is shown.
func (k GateKind) strength() int {
	return slices.Index([]GateKind{Running, Parked, Degraded, Held, Paused}, k)
}

// gates are all gates that stand. They require that Dispatcher.mu is held.
type gates struct {
	byScope map[string][]*gate
	unsaved map[gateID]bool // changed since they were stored
}

func newGates() gates {
	return gates{byScope: make(map[string][]*gate), unsaved: make(map[gateID]bool)}
}

// find returns the gate with that id, or nil.
func (s *gates) find(id gateID) *gate {
	for _, g := range s.byScope[id.scope] {
		if g.id() == id {
			return g
		}
	}
	return nil
}

// add puts up a gate that does not stand yet.
func (s *gates) add(g Gate, interval time.Duration) *gate {
	added := &gate{Gate: g, interval: interval, tried: make(map[int64]bool)}
	s.byScope[g.Scope] = append(s.byScope[g.Scope], added)
	s.unsaved[g.id()] = true
	return added
}

// remove takes a gate down, also while the gates of a bucket are being looked at.
func (s *gates) remove(g *gate) {
	left := slices.Clone(s.byScope[g.Scope])
	s.byScope[g.Scope] = slices.DeleteFunc(left, func(other *gate) bool { return other == g })
	s.unsaved[g.id()] = true
}

// of yields every gate in the bucket's way.
func (s *gates) of(b *bucket) iter.Seq[*gate] {
	return func(yield func(*gate) bool) {
		for _, scope := range b.scopes {
			for _, g := range s.byScope[scope] {
				if !yield(g) {
					return
				}
			}
		}
	}
}

// strongest is the gate that explains best why the bucket does not send, or nil.
func (s *gates) strongest(b *bucket) *gate {
	var strongest *gate
	for g := range s.of(b) {
		if strongest == nil || g.Kind.strength() > strongest.Kind.strength() {
			strongest = g
		}
	}
	return strongest
}

// bars tells whether a gate stands that the message does not probe.
func (s *gates) bars(b *bucket, row int64) bool {
	for g := range s.of(b) {
		if g.prober != row {
			return true
		}
	}
	return false
}

// way tells whether the bucket may send now.
type way int

const (
	open   way = iota
	probe      // one message, to see whether the gates can go
	closed     // not now
)

// way looks at every gate of the bucket. While closed, until is when to look
// again; zero means that only an event can change it.
func (s *gates) way(b *bucket, now time.Time) (w way, until time.Time) {
	w = open
	probing := false
	for g := range s.of(b) {
		w = max(w, probe)
		probing = probing || g.prober != 0
		if g.Until.IsZero() && (g.Kind == Paused || g.AtHome()) {
			return closed, time.Time{}
		}
		until = later(until, g.Until)
	}
	switch {
	case probing:
		return closed, time.Time{}
	case until.After(now):
		return closed, until
	}
	return w, time.Time{}
}

// lapsed are the gates of the bucket that end by time alone, without a probe.
func (s *gates) lapsed(b *bucket, now time.Time) []*gate {
	var over []*gate
	for g := range s.of(b) {
		if (g.Kind == Paused || g.SetBy == ByClock) && !g.Until.IsZero() && !g.Until.After(now) {
			over = append(over, g)
		}
	}
	return over
}

// beginProbe marks the bucket's gates as being probed by the row.
func (s *gates) beginProbe(b *bucket, row int64) {
	for g := range s.of(b) {
		g.prober = row
		g.tried[row] = true
	}
}

// abandonProbe undoes beginProbe when the probe told nothing.
func (s *gates) abandonProbe(b *bucket, row int64) {
	for g := range s.of(b) {
		if g.prober == row {
			g.prober = 0
			delete(g.tried, row)
		}
	}
}

// tried tells for a row whether it has probed any of the bucket's gates.
func (s *gates) tried(b *bucket) map[int64]bool {
	all := make(map[int64]bool)
	for g := range s.of(b) {
		maps.Copy(all, g.tried)
	}
	return all
}

// forgetTried lets every message probe again: all at hand have had their turn.
func (s *gates) forgetTried(b *bucket) {
	for g := range s.of(b) {
		clear(g.tried)
	}
}

// all returns every gate that stands.
func (s *gates) all() []*gate {
	return slices.Concat(slices.Collect(maps.Values(s.byScope))...)
}
