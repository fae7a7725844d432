package limiter

import (
	"fmt"
	"math"
	"time"
)

const (
	// early is by how much a waiting time must end before the window for a 429
	// to be another limit's: Reset and retry_after are rounded.
	early = 2 * rounding
	// probation is how many waits after a refusal a second one shows that it was
	// not by chance.
	probation = 16
	// mostPatience bounds how many turns lie between two trials of more.
	mostPatience = 64
	// brakedFor is for how long, at least, another limit is minded.
	brakedFor = time.Hour
)

// elsewhere tells whether a 429 comes from another limit than the one that
// answers tell of: that has more left than races between the requests under way
// explain, and if it is a window, most of it or a long time.
func (w *window) elsewhere(a *sample, c *offset) bool {
	if !a.refused || a.RetryAfter == 0 {
		return false
	}
	if w.kind.moving {
		return w.kind.silent < silence && a.reported() && a.Remaining > a.overlap
	}
	limit, left, reset := a.Limit, a.Remaining, a.Reset
	ours := w.confirmed && !w.predicted && !a.sent.Before(w.first)
	switch {
	case !a.reported() && !ours:
		return false
	case !a.reported():
		limit, left, reset = w.limit, w.left, w.reset
	case ours && w.same(a.Reset):
		left = min(left, w.left)
	}
	if 2*left > limit {
		return true
	}
	end := c.earliest(reset)
	if !c.known() {
		if !ours || w.supposed {
			return false
		}
		end = w.end
	}
	return left > a.overlap && end.Sub(a.received) > a.RetryAfter+early
}

// brake minds a limit that refuses beside the one that answers tell of, such as
// one per second beside one per hour. Nothing tells of it but its 429s.
//
// Each is waited out. A second one soon after begins to count turns, of the time
// from the end of one wait to the end of the next: in a turn no more go than the
// last one that was refused has admitted. A limit refuses the trial of more each
// time, and nothing else: trials grow rare. Chance refuses other turns, too: so
// each second one tries for more, and for twice as much while that passes.
type brake struct {
	span  time.Duration // of a turn; 0: there is no such limit
	until time.Time     // nothing goes before
	last  time.Time     // when it refused last
	began time.Time     // of the turn; zero: the first wait is not over yet

	met    bool // the turn has met a refusal
	misses int  // refusals in a row with nothing admitted in between

	used     int       // in the turn
	admitted int       // of them
	unknown  int       // of them: no answer tells whether they were
	asked    time.Time // when the last went

	base     int // what a turn surely admits; 0: it has refused once only
	step     int // how many more are tried
	rest     int // turns to use up until they are
	patience int // turns between two trials
}

// refused takes a 429 of the limit beside w.
func (b *brake) refused(a sample, w *window) {
	if b.span > 0 && (b.met || a.sent.Before(b.began)) {
		return // it was under way already
	}
	wait := a.RetryAfter
	if b.misses > 0 {
		wait = max(wait, disbelief(b.misses))
	}
	if left := w.end.Sub(a.received); !w.kind.moving && left > wait && left <= wait+early {
		wait = left // both may name the same moment
	}
	wait = min(wait, longestPark)
	if b.span == 0 {
		*b = brake{span: probation * wait, patience: 1}
	}
	b.misses++
	b.until, b.last, b.met = a.received.Add(wait), a.received, true
}

// heard takes any other answer to a request sent then.
func (b *brake) heard(sent time.Time) {
	if b.span == 0 || b.began.IsZero() || sent.Before(b.began) {
		return
	}
	b.admitted++
	b.catchUp()
	if !b.met {
		b.misses = 0
	}
}

// missed takes that no answer tells whether a request sent then was admitted.
func (b *brake) missed(sent time.Time) {
	if !sent.Before(b.began) {
		b.unknown++
		b.catchUp()
	}
}

// catchUp keeps used from falling behind what has gone for sure.
func (b *brake) catchUp() { b.used = max(b.used, b.admitted+b.unknown) }

func (b *brake) take(now time.Time, n int) { b.used, b.asked = b.used+n, now }

// giveBack takes n back: whoever was to ask last did not.
func (b *brake) giveBack(n int) {
	b.used, b.asked = b.used-n, time.Time{}
	b.catchUp()
}

// room tells how many may go now, and when more may. No turn of a known base
// outlasts longest.
func (b *brake) room(d demand, longest time.Duration) (int, time.Time) {
	if b.base > 0 {
		b.span = min(b.span, longest)
	}
	b.roll(d, longest)
	switch {
	case b.span == 0:
		return math.MaxInt, time.Time{}
	case d.now.Before(b.until):
		return 0, b.until
	}
	n, next := math.MaxInt, b.began.Add(b.span)
	if b.base > 0 {
		n = b.most() - b.used
	}
	if b.base == 0 || b.misses > 0 {
		free, at := b.asking(d)
		n = min(n, free)
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return max(n, 0), next
}

// asking tells how many may go while little is known of the turn, and when one
// more may that hedges them: after a wait one, then as many as were admitted.
func (b *brake) asking(d demand) (int, time.Time) {
	return d.hedged(max(b.admitted, 1)-(b.used-b.admitted-b.unknown), b.asked)
}

// most is how many may go in the turn.
func (b *brake) most() int {
	if b.rest > 0 {
		return b.base
	}
	return b.base + b.step
}

// roll begins the next turn once one is over.
func (b *brake) roll(d demand, longest time.Duration) {
	now := d.now
	if b.span == 0 || now.Before(b.until) || !b.met && now.Before(b.began.Add(b.span)) {
		return
	}
	chance := !b.met && b.base == 0
	if chance || b.forgotten(now) {
		*b = brake{}
		return
	}
	switch {
	case b.met && b.admitted == 0:
		// The wait was too short, which tells nothing of the limit.
	case b.met:
		b.learn()
		b.span = min(b.until.Sub(b.began), longest)
	case b.used < b.most():
		// More was not wanted.
	case b.rest > 0:
		b.rest--
	default:
		b.base += b.step
		b.step *= 2
	}
	b.began, b.met = now, false
	b.used, b.admitted, b.unknown = d.out-d.flying, 0, 0 // what is held may go in this turn
}

// forgotten tells whether it has not refused for so long that trials of more passed.
func (b *brake) forgotten(now time.Time) bool {
	return now.Sub(b.last) > max(brakedFor, 2*mostPatience*b.span)
}

// learn takes what the turn has admitted for what the limit does.
func (b *brake) learn() {
	switch {
	case diff(b.admitted, b.base) > max(b.base/8, 1):
		b.patience = 1
	case b.used > b.base: // after as many as before
		b.patience = min(2*b.patience, mostPatience)
	default: // by chance, as it seems
		b.patience = max(b.patience/4, 1)
	}
	b.base, b.step, b.rest = b.admitted, 1, b.patience
}

// braked is what is left of n until next by the limit that is not told.
func (l *Limiter) braked(d demand, n int, next time.Time) (int, time.Time) {
	m, at := l.brake.room(d, l.win.longest())
	if m < n || m == n && at.After(next) {
		return m, at
	}
	return n, next
}

// describe adds to what is said of the limit that is told.
func (b *brake) describe(s *State, now time.Time) {
	switch {
	case b.span == 0 || b.forgotten(now):
		return
	case now.Before(b.until) && !s.Parked:
		s.Parked, s.Until = true, b.until
		s.Reason = "429 by a limit that is not told: " + s.Reason
	case b.base > 0 && !s.Parked:
		s.Reason += fmt.Sprintf(", %d per %v by a limit that is not told", b.base, b.span.Round(time.Second/10))
	case !s.Parked:
		s.Reason += ", a limit that is not told is being tried"
	}
	if b.base == 0 || b.misses > 0 {
		s.Proven = 0 // one asks
	}
	if b.base == 0 {
		return
	}
	s.Proven = min(s.Proven, max(b.most()-b.used, 0))
	if perSec := float64(b.base) / b.span.Seconds(); s.Rate == 0 || perSec < s.Rate {
		s.Rate = perSec
	}
}

func diff(a, b int) int { return max(a-b, b-a) }
