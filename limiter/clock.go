package limiter

import "time"

// drift is by how much two clocks may part, per unit of time.
const drift = 50e-6

// offset bounds what the server's clock shows more than ours. A server stamps
// its answer in whole seconds somewhere between our sending and receiving, so
// each stamp gives an interval, and their intersection soon is about as narrow
// as a round trip.
type offset struct {
	lo, hi time.Duration
	at     time.Time // of the last stamp; zero: nothing is known
}

func (o *offset) known() bool { return !o.at.IsZero() }

// observe narrows the interval by a Date stamp. If nothing is left of it, one
// of the clocks was set, and the stamp alone counts.
func (o *offset) observe(sent, received, date time.Time) {
	lo, hi := date.Sub(received), date.Add(time.Second).Sub(sent)
	if o.known() {
		slack := time.Duration(drift * float64(received.Sub(o.at)))
		l, h := max(lo, o.lo-slack), min(hi, o.hi+slack)
		if l <= h {
			lo, hi = l, h
		}
	}
	o.lo, o.hi, o.at = lo, hi, received
}

// latest gives the latest time on our clock at which the server's shows t.
func (o *offset) latest(t time.Time) time.Time { return t.Add(-o.lo) }

// earliest gives the earliest time on our clock at which the server's shows t.
func (o *offset) earliest(t time.Time) time.Time { return t.Add(-o.hi) }

// middle gives the likeliest difference.
func (o *offset) middle() time.Duration { return o.lo + (o.hi-o.lo)/2 }
