package limiter

import (
	"fmt"
	"time"
)

// The values of State.Mode.
const (
	// ModeUnknown means that nothing has told a limit yet.
	ModeUnknown = "unknown"
	// ModeWindow means that the server's fixed window is followed.
	ModeWindow = "window"
	// ModeRefill means that the server gives back what was used all the time.
	ModeRefill = "refill"
	// ModePaced means that the server does not tell its limit, and the pace is
	// found by trying.
	ModePaced = "paced"
)

// State is what a Limiter knows, for people and for the status table.
type State struct {
	Mode        string
	Known       bool          // Limit, Remaining and Reset were told by the server
	Limit       int           // requests allowed in a window
	Remaining   int           // of these left, as the server last said
	Proven      int           // of these surely left, whatever became of requests that have no answer
	Window      time.Duration // 0: unknown
	Reset       time.Time     // on the server's clock
	ClockKnown  bool          // ClockOffset was measured
	ClockOffset time.Duration // what the server's clock shows more than ours
	Parked      bool          // the server would refuse a request now; until Until at most a trial is granted
	Until       time.Time
	Reason      string  // one line for people
	Rate        float64 // expected requests per second while there is work; 0: unknown
	Odd         int     // answers whose limit made no sense, or only in part
	LastOdd     string  // what it was in the last of them, as Headers.Odd
	LastOddAt   time.Time
}

// State tells what is known now.
func (l *Limiter) State(now time.Time) State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state(l.advance(now))
}

func (l *Limiter) state(now time.Time) State {
	s := State{Mode: ModeUnknown, Reason: "the limit is not known yet", Odd: l.odd.count, LastOdd: l.odd.last, LastOddAt: l.odd.at}
	if l.clock.known() {
		s.ClockKnown, s.ClockOffset = true, l.clock.middle()
	}
	if w := &l.win; w.known() {
		s.Known, s.Limit, s.Remaining = true, w.limit, max(w.left, 0)
		s.Window, s.Reset = w.length, w.reset
	}
	switch {
	case l.windowed():
		l.win.describe(&s, now)
		if w := &l.win; w.confirmed && !w.predicted {
			s.Proven = max(w.left-w.lost-w.uncounted()-l.held-l.flying, 0)
		}
		l.brake.describe(&s, now)
	case l.refilling():
		l.lev.describe(&s, now)
		l.brake.describe(&s, now)
	case l.pace.blocked || l.pace.bucket != nil:
		l.pace.describe(&s, now)
	case l.pace.heard.IsZero() && l.flying > 0:
		s.Reason = "the limit is not known yet; the first answer will tell more"
	}
	if now.Before(l.parked) {
		s.Parked, s.Until = true, l.parked
		s.Reason = "parked before the restart"
		if l.steps > 0 {
			s.Reason = "parked before the clock was set"
		}
	}
	if s.Parked {
		what := ", opens "
		if l.windowed() && s.Until.Before(l.win.end) {
			what = ", asks again "
		}
		s.Reason += what + s.Until.UTC().Format("15:04:05.0")
	}
	if s.ClockOffset.Abs() >= tellOffset {
		s.Reason += fmt.Sprintf(", server clock %+.1f s", s.ClockOffset.Seconds())
	}
	return s
}

// tellOffset is the difference of the clocks from which on people are told.
const tellOffset = time.Second

// allowance names a limit and its window, as far as they are known.
func allowance(limit int, window time.Duration) string {
	if window <= 0 {
		return fmt.Sprint(limit)
	}
	return fmt.Sprintf("%d per %v", limit, window)
}

// used says that a limit is used up, and whether a refusal showed it.
func used(allowance string, refused bool) string {
	if refused {
		return "429: all " + allowance + " used"
	}
	return "all " + allowance + " used"
}

func (w *window) describe(s *State, now time.Time) {
	s.Mode = ModeWindow
	if w.length > 0 {
		s.Rate = float64(w.limit) / w.length.Seconds()
	}
	if !w.confirmed {
		s.Remaining = w.limit
		s.Reason = fmt.Sprintf("%s, the next window is being opened", allowance(w.limit, w.length))
		return
	}
	if w.left > 0 {
		s.Reason = fmt.Sprintf("%d left of %s", w.left, allowance(w.limit, w.length))
		if w.lost > 0 {
			s.Reason += fmt.Sprintf(", less %d that got no answer", w.lost)
		}
		return
	}
	s.Reason = used(allowance(w.limit, w.length), w.refused)
	if w.parked() {
		s.Parked, s.Until = true, w.end
		if at := w.asksAgain(); at.After(now) && at.Before(w.end) {
			s.Until = at
		}
	}
}

func (v *level) describe(s *State, now time.Time) {
	v.advance(now)
	perSec, _ := v.perSec()
	s.Mode, s.Rate = ModeRefill, perSec
	if perSec > 0 {
		window := seconds(min(float64(v.limit)/perSec, farthest.Seconds()))
		s.Window = window.Round(max(window/100, time.Millisecond).Truncate(time.Millisecond))
	}
	s.Limit, s.Remaining = v.limit, min(max(int(v.best().left), 0), v.limit)
	s.Reason = fmt.Sprintf("%d left of %s, refilled all the time", s.Remaining, allowance(v.limit, s.Window))
	if v.parked(now) {
		s.Parked, s.Until = true, v.trial
		s.Reason = used(allowance(v.limit, s.Window), true)
	}
}

func (p *pacer) describe(s *State, now time.Time) {
	s.Mode, s.Rate = ModePaced, p.perSec
	s.Reason = fmt.Sprintf("the server does not tell its limit: %.3g requests per second", p.perSec)
	if p.blocked {
		s.Reason = "429 from a server that does not tell its limit"
	}
	if now.Before(p.until) {
		s.Parked, s.Until = true, p.until
	}
}

// Restore takes over a park from before a restart. It is kept until its end or
// the first answer, and for 15 minutes at most.
func (l *Limiter) Restore(now, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parkUntil(l.advance(now), until)
}

func (l *Limiter) parkUntil(now, until time.Time) {
	if latest := now.Add(longestPark); until.After(latest) {
		until = latest
	}
	l.parked = until
}
