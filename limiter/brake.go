package limiter

import (
	"fmt"
	"time"
)

const (
	// early is by how much a waiting time must end before the window for a 429
	// to be another limit's: Reset and retry_after are rounded.
	early = 2 * rounding
	// brakedFor is how long after its last refusal another limit is minded.
	brakedFor = time.Hour
)

// elsewhere tells whether a 429 comes from another limit than the one that
// answers tell of: that has requests left, and in a window either most of them,
// or the waiting time is over long before its end.
func (w *window) elsewhere(a *sample, c *offset) bool {
	if !a.refused || a.RetryAfter == 0 {
		return false
	}
	if a.reported() && 2*a.Remaining > a.Limit {
		return true
	}
	if w.kind.moving {
		return a.reported() && a.Remaining > 0
	}
	left, reset := a.Remaining, a.Reset
	if !a.reported() {
		if !w.confirmed || w.predicted || a.sent.Before(w.first) {
			return false
		}
		left, reset = w.left, w.reset
	}
	end := c.earliest(reset)
	if !c.known() {
		if end = w.end; w.supposed {
			return false
		}
	}
	return left > 0 && end.Sub(a.received) > a.RetryAfter+early
}

// brake paces what another limit refuses, which tells nothing else of itself,
// beside the one that is told. After a refusal one request at a time tries.
func (l *Limiter) brake(s sample) {
	switch {
	case s.elsewhere:
		if !l.braked {
			l.braked = true
			l.pace.lead(s.received, 0)
		}
		l.pace.refused(s.sent, s.received, s.RetryAfter)
		if l.windowed() {
			// However slow, it must not outlast the window, which has promised more.
			l.pace.least = 1 / max(l.win.length, rounding).Seconds()
			if end := l.win.end; !end.IsZero() && l.pace.until.Add(early).After(end) {
				l.pace.until = end
			}
		}
	case !l.braked || s.refused:
	case s.received.Sub(l.pace.cutAt) > brakedFor:
		l.braked = false
	default:
		l.pace.admitted(s.sent, s.received, l.cfg.MaxInFlight)
	}
	l.pace.leads = l.braked
}

// brakedRoom is what is left of the room until next that the limit leaves which is
// told.
func (l *Limiter) brakedRoom(d demand, n int, next time.Time) (int, time.Time) {
	if !l.braked {
		return n, next
	}
	m, at := l.pace.room(d)
	if l.pace.blocked && d.out > 0 {
		m, at = 0, time.Time{}
	}
	switch {
	case m < n || m == n && at.After(next):
		return m, at
	default:
		return n, next
	}
}

// halted tells whether another limit would refuse a request now.
func (l *Limiter) halted(now time.Time) bool { return l.braked && now.Before(l.pace.until) }

// describeBrake adds to what the limit says of itself that is told.
func (l *Limiter) describeBrake(s *State, now time.Time) {
	if !l.braked {
		return
	}
	if perSec := l.pace.perSec; perSec > 0 && (s.Rate == 0 || perSec < s.Rate) {
		s.Rate = perSec
	}
	switch {
	case s.Parked:
	case l.halted(now):
		s.Parked, s.Until = true, l.pace.until
		s.Reason = "429 by a limit that is not told, although " + s.Reason
	case l.pace.perSec > 0:
		s.Reason += fmt.Sprintf(", %.3g requests per second by a limit that is not told", l.pace.perSec)
	}
}
