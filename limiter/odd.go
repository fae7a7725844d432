package limiter

import "time"

// farthest is how far ahead a window may end: a day, and clocks that differ.
const farthest = 25 * time.Hour

// oddities counts the answers whose limit made no sense.
type oddities struct {
	count int
	last  string
	at    time.Time // of the last
}

// sift counts an answer that made no sense, and takes away a report whose Reset
// cannot be the end of a window now: only here the server's clock is known.
func (o *oddities) sift(s *sample, c *offset) {
	if s.reported() {
		if why := misplaced(s, c); why != "" {
			s.Odd = why
			s.Limit, s.Remaining, s.Reset = 0, 0, time.Time{}
		}
	}
	if s.Odd != "" {
		o.count++
		o.last, o.at = s.Odd, s.received
	}
}

// misplaced says what is wrong with when the window of a report ends; empty if
// nothing is. The server may have looked at its limit any time since the
// request was sent, and stamped the answer later.
func misplaced(s *sample, c *offset) string {
	server, slack := s.Date, rounding
	if server.IsZero() {
		server = s.received.Add(c.middle())
		if slack = 10 * time.Second; !c.known() {
			slack = time.Hour
		}
	}
	switch ahead := s.Reset.Sub(server); {
	case ahead < -slack-s.received.Sub(s.sent):
		return "X-RateLimit-Reset lies in the past"
	case ahead > farthest:
		return "X-RateLimit-Reset lies days ahead"
	}
	return ""
}
