package limiter

import (
	"net/http"
	"time"
)

// sample is one answer, as those see it who learn from it.
type sample struct {
	Headers
	sent, received time.Time
	refused        bool // 429 of this limit
	elsewhere      bool // 429 of another limit: it says what is left, and took nothing
	success        bool // 2xx
	replayed       bool // it answers an earlier request
	seq            int  // the request's number
	out            int  // tokens that are out now
	overlap        int  // requests that may have overtaken this one or been overtaken
}

// admitted tells whether the server has counted the request.
func (a *sample) admitted() bool { return !a.refused && !a.elsewhere }

// sample is an answer in the light of what else is under way.
func (l *Limiter) sample(t Ticket, now time.Time, a Answer) sample {
	s := sample{
		Headers: a.Headers, sent: t.sent, received: now,
		refused: a.Status == http.StatusTooManyRequests, replayed: a.Replayed,
		success: a.Status >= 200 && a.Status < 300,
		seq:     t.seq, out: l.held + l.flying, overlap: l.seq - t.answered,
	}
	l.odd.sift(&s, &l.clock)
	if l.win.elsewhere(&s, &l.clock) {
		s.refused, s.elsewhere = false, true
	}
	if !s.reported() {
		return s
	}
	l.before = l.before || s.success && s.Remaining == s.Limit && s.Odd == "" && !s.replayed
	switch {
	case s.refused:
		s.Remaining = 0
	case l.before && !s.elsewhere:
		s.Remaining = max(s.Remaining-1, 0)
	}
	return s
}
