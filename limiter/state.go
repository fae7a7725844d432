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
	Opens       time.Time     // on our clock: the next window is open by then; zero: unknown
	ClockKnown  bool          // ClockOffset was measured
	ClockOffset time.Duration // what the server's clock shows more than ours
	InFlight    int           // requests on the wire
	Parked      bool          // nothing is granted before Until
	Until       time.Time
	Reason      string  // one line for people
	Rate        float64 // expected requests per second while there is work; 0: unknown
}

// State tells what is known now.
func (l *Limiter) State(now time.Time) State {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = l.advance(now)
	s := State{
		Mode: ModeUnknown, InFlight: l.flying, Reason: "the limit is not known yet",
		Limit: l.hint.Limit, Window: l.hint.Window, ClockOffset: l.hint.ClockOffset,
	}
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
	case l.pace.blocked || l.pace.bucket != nil:
		l.pace.describe(&s, now)
	}
	if now.Before(l.hint.Until) {
		s.Parked, s.Until = true, l.hint.Until
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
	s.Opens = w.end
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

// Memory is what is worth keeping over a restart. Zero values say nothing.
type Memory struct {
	Limit       int
	Window      time.Duration
	Until       time.Time // parked until, on our clock
	ClockOffset time.Duration
}

// Restore takes what is remembered from before a restart. The park is kept
// until its end or the first answer, and for two windows or 15 minutes at most;
// all else is shown only, until an answer tells it anew.
func (l *Limiter) Restore(now time.Time, m Memory) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = l.advance(now)
	if latest := now.Add(max(2*m.Window, longestPark)); m.Until.After(latest) {
		m.Until = latest
	}
	l.hint = m
}
