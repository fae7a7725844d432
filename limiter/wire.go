package limiter

import "time"

// Unsent says that the request of t never reached the wire: its token is given back.
func (l *Limiter) Unsent(t Ticket, now time.Time) {
	l.mu.Lock()
	l.flying--
	l.held++
	l.mu.Unlock()
	l.Return(now, 1)
}

// Parked tells whether the server would surely refuse a request now, also one
// whose token was granted before that was known.
func (l *Limiter) Parked(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = l.advance(now)
	if l.windowed() {
		return l.win.confirmed && l.win.left <= 0 && now.Before(l.win.end)
	}
	return now.Before(l.pace.until)
}
