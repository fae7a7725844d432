package limiter

import "time"

// longestLate is how much older than the last a time may be that was taken in
// good time: its caller had to wait, for a lock or the processor. One that is
// older yet is of a clock that was set while nobody told.
const longestLate = time.Minute

// Rebase takes that the clock has been set by step and shows now: nothing that
// was learnt from before holds but a park, which ends when it would have ended
// or with the first answer, after 15 minutes at most. Answers to what was sent
// before count as lost.
func (l *Limiter) Rebase(now time.Time, step time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	until := l.state(l.last).Until.Add(step)
	l.steps++
	l.forget(now)
	l.parkUntil(now, until)
}

// advance brings the state to now, which it returns. Callers race for the lock,
// so a time may be older than the last.
func (l *Limiter) advance(now time.Time) time.Time {
	switch late := l.last.Sub(now); {
	case late >= longestLate:
		l.forget(now)
	case late > 0:
		now = l.last
	}
	l.last = now
	l.win.roll(now, l.flying)
	return now
}

// forget leaves nothing but what is under way.
func (l *Limiter) forget(now time.Time) {
	l.last, l.parked, l.clock, l.urgent = now, time.Time{}, offset{}, time.Time{}
	l.win, l.lev, l.brake = window{}, level{}, brake{}
	l.pace.lead(now, 0)
}
