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
	now = l.advance(now)
	s := State{Mode: ModeUnknown, Reason: "the limit is not known yet", Odd: l.odd.count, LastOdd: l.odd.last, LastOddAt: l.odd.at}
	if l.clock.known() {
		s.ClockKnown, s.ClockOffset = true, l.clock.middle()
	}
	if w := &l.win; w.known() {
		s.Known, s.Limit, s.Remaining = true, w.limit, w.left
		s.Window, s.Reset = w.length, w.reset
	}
	switch {
	case l.windowed():
		l.win.describe(&s)
	case l.refilling():
		l.lev.describe(&s, now)
	case l.pace.blocked || l.pace.bucket != nil:
		l.pace.describe(&s, now)
	}
	if now.Before(l.parked) {
		s.Parked, s.Until = true, l.parked
		s.Reason = "parked before the restart"
	}
	return s
}

func (w *window) describe(s *State) {
	s.Mode = ModeWindow
	if w.length > 0 {
		s.Rate = float64(w.limit) / w.length.Seconds()
	}
	if !w.confirmed {
		s.Remaining = w.limit
		s.Reason = "the window has ended, the next one is being opened"
		return
	}
	s.Reason = fmt.Sprintf("%d of %d left in this window", w.left, w.limit)
	if w.left > 0 {
		return
	}
	s.Reason = fmt.Sprintf("the limit of %d is used up", w.limit)
	if w.refused {
		s.Reason = fmt.Sprintf("429: the limit of %d is used up", w.limit)
	}
	if w.parked() {
		s.Parked, s.Until = true, w.end
	}
}

func (v *level) describe(s *State, now time.Time) {
	v.advance(now)
	perSec, _ := v.perSec()
	s.Mode, s.Rate = ModeRefill, perSec
	if perSec > 0 {
		s.Window = seconds(float64(v.limit) / perSec).Round(time.Millisecond)
	}
	left := min(max(int(v.best().left), 0), v.limit)
	s.Reason = fmt.Sprintf("a limit that refills all the time: %d of %d left, %.3g more each second", left, v.limit, perSec)
	if v.parked(now) {
		s.Parked, s.Until = true, v.trial
		s.Reason = fmt.Sprintf("429: the limit of %d is used up", v.limit)
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
	now = l.advance(now)
	if latest := now.Add(longestPark); until.After(latest) {
		until = latest
	}
	l.parked = until
}
