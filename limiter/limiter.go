// Package limiter paces requests to an API so that they use all of its limit
// and none is refused.
//
// A Limiter stands between a dispatcher and the API: it grants tokens, one for
// each request, and learns from every answer. It needs to be told nothing: the
// limit, the window, the server's clock and its habits are taken from the
// X-RateLimit headers, and where there are none, from what is admitted and
// refused.
//
// It follows three kinds of servers, and tells them apart by what they answer.
// Where Remaining only falls until Reset, the server keeps fixed windows: what
// the least Remaining leaves is sure, less what is under way, and the next
// window is opened when the server's clock has surely passed Reset (window).
// Where Remaining rises in between, it refills all the time: what is left now is
// forecast from the last report (level). Where answers tell nothing, the pace is
// found by trying (pacer).
//
// It promises never to hang: while no request is under way, a token is granted
// at the latest one window and a second later, or where the window's length is
// unknown or another limit refuses, when the server's own waiting time is over,
// or up to a minute where that was too short before; 15 minutes at most. It opens
// a fixed window only when the one before has surely ended; where the server has
// no Date to tell, one request asks.
//
// It does not promise that no request is refused: other clients, a lowered
// limit, or a server without headers show themselves only by a refusal. It does
// not queue, wait or send, starts nothing, and reads no clock.
package limiter

import (
	"sync"
	"time"
)

const (
	// busyShare is the reserve while the high lane is in use.
	busyShare = 0.25
	// longestFirst bounds what the first round trip is taken for: it may have
	// hung, and what others take is told from it.
	longestFirst = time.Second
)

// Config sets up a Limiter.
type Config struct {
	// MaxInFlight is how many tokens may be out at once. Defaults to 128.
	MaxInFlight int
	// Reserve is the share of the limit that ordinary lanes leave to the urgent
	// one, from 0 (none) to 1; values outside are moved into it. One above 0
	// counts as 0.25 at least while the urgent lane is busy.
	Reserve float64
}

// Limiter decides how many requests may be sent now to what one limit of the
// server covers. Use New. It is safe for concurrent use. The times that are
// handed in must come from one clock; Rebase tells that it was set. One that was
// set in secret is survived, not followed.
type Limiter struct {
	mu     sync.Mutex
	cfg    Config
	last   time.Time // the latest time that was handed in
	steps  int       // of the clock that were told
	held   int       // granted, not on the wire
	flying int       // on the wire
	rtt    time.Duration
	urgent time.Time // when the urgent lane last got a token
	parked time.Time // the end of the restored park, until an answer comes
	seq    int       // requests that went on the wire
	before bool      // Remaining does not count its own request
	clock  offset
	win    window
	lev    level
	pace   pacer
	brake  brake // beside win and lev
	odd    oddities
}

// Ticket stands for one request on the wire.
type Ticket struct {
	sent     time.Time
	steps    int // of the clock until then
	seq      int // its number
	answered int // how many before it had been answered or lost
}

// Answer is what the server said to one request.
type Answer struct {
	Status   int
	Replayed bool // it is the repeated answer to an earlier request, and may not have been counted
	Headers
}

// New returns a Limiter that knows nothing yet and so begins with one request
// at a time; one more goes after each second without an answer.
func New(cfg Config) *Limiter {
	return &Limiter{cfg: cfg.withDefaults(), pace: pacer{leads: true, width: 1}}
}

func (c Config) withDefaults() Config {
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = 128
	}
	c.Reserve = min(max(c.Reserve, 0), 1)
	return c
}

// Reconfigure replaces the Config. What has been learnt of the limit stays, and
// so does what has been granted: a lower MaxInFlight is kept to as tokens come back.
func (l *Limiter) Reconfigure(cfg Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cfg = cfg.withDefaults()
}

// Grant takes up to n tokens. If fewer are granted, retryAt tells when more may
// be had by time alone; it is zero if only an answer can change that. Urgent is
// for the high lane, which may use the reserve.
func (l *Limiter) Grant(now time.Time, urgent bool, n int) (granted int, retryAt time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = l.advance(now)
	if now.Before(l.parked) {
		return 0, l.parked
	}
	d := demand{now: now, out: l.held + l.flying, flying: l.flying, rtt: l.rtt, urgent: urgent}
	if !urgent {
		d.share = l.share(now)
	}
	free := l.cfg.MaxInFlight - d.out
	room, next := l.room(d)
	if free <= room {
		room, next = max(free, 0), time.Time{}
	}
	if granted = max(min(n, room), 0); granted > 0 {
		l.take(now, granted)
		if urgent {
			l.urgent = now
		}
	}
	if granted >= n {
		return granted, time.Time{}
	}
	return granted, next
}

// Return gives back n tokens that were granted and are not used.
func (l *Limiter) Return(now time.Time, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(now)
	l.giveBack(n)
}

// Sent says that the request of a granted token goes on the wire now. Its
// Ticket must be handed to Answered, Lost or Unsent, once.
func (l *Limiter) Sent(now time.Time) Ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held--
	l.flying++
	l.seq++
	now = l.advance(now)
	l.lev.history.add(l.seq, now, l.lev.limit)
	return Ticket{sent: now, steps: l.steps, seq: l.seq, answered: l.seq - l.flying}
}

// Answered takes the answer to a request, whatever its status.
func (l *Limiter) Answered(t Ticket, now time.Time, a Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.steps != l.steps {
		l.lose(t, l.last) // its times are of the clock before it was set
		return
	}
	now = l.advance(now)
	if t.sent.After(now) {
		t.sent = now
	}
	l.flying--
	l.parked = time.Time{}
	l.measure(now.Sub(t.sent))
	if !a.Date.IsZero() {
		l.clock.observe(t.sent, now, a.Date)
	}
	l.learn(l.sample(t, now, a))
}

// Lost says that no answer to the request will come. As the server may have
// counted it, it stays charged until the window ends.
func (l *Limiter) Lost(t Ticket, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.steps == l.steps {
		now = l.advance(now)
	} else {
		now = l.last
	}
	l.lose(t, now)
}

func (l *Limiter) lose(t Ticket, now time.Time) {
	l.flying--
	l.win.lose(now)
	l.brake.missed(t.sent)
}

// Unsent says that the request never left: its token is given back.
func (l *Limiter) Unsent(t Ticket, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.steps == l.steps {
		l.advance(now)
	}
	l.lev.history.drop(t.seq)
	l.flying--
	l.held++
	l.giveBack(1)
}

// Parked tells whether the server would surely refuse a request now, even one
// whose token was granted before that was known.
func (l *Limiter) Parked(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = l.advance(now)
	switch {
	case now.Before(l.parked):
		return true
	case l.windowed():
		return l.win.parked() || now.Before(l.brake.until)
	case l.refilling():
		return l.lev.parked(now) || now.Before(l.brake.until)
	}
	return now.Before(l.pace.until)
}

// windowed tells whether the server's fixed window is followed.
func (l *Limiter) windowed() bool { return l.win.known() && !l.win.kind.moving }

// refilling tells whether a server is followed that refills all the time.
func (l *Limiter) refilling() bool {
	return l.win.known() && l.win.kind.moving && l.win.kind.silent < silence
}

func (l *Limiter) room(d demand) (int, time.Time) {
	switch {
	case l.windowed():
		n, next := l.win.room(d)
		return l.braked(d, n, next)
	case l.refilling():
		n, next := l.lev.room(d)
		return l.braked(d, n, next)
	}
	return l.pace.room(d)
}

// take charges n tokens. The level is kept whoever leads: it is ready when the
// server turns out to refill.
func (l *Limiter) take(now time.Time, n int) {
	l.held += n
	l.lev.take(now, n)
	if l.windowed() {
		l.win.take(now, n)
	}
	l.brake.take(now, n)
	if l.pace.leads {
		l.pace.take(now, n)
	}
}

func (l *Limiter) giveBack(n int) {
	if n = min(n, l.held); n <= 0 {
		return
	}
	l.held -= n
	l.lev.giveBack(n)
	if l.windowed() {
		l.win.giveBack(n)
	}
	l.brake.giveBack(n)
	if l.pace.leads {
		l.pace.giveBack(n)
	}
}

// share is the share of the limit that ordinary lanes leave alone.
func (l *Limiter) share(now time.Time) float64 {
	busy := !l.urgent.IsZero() && now.Sub(l.urgent) <= max(l.win.length, time.Second)
	if busy && l.cfg.Reserve > 0 {
		return max(l.cfg.Reserve, busyShare)
	}
	return l.cfg.Reserve
}

// learn hands an answer to whoever can use it.
func (l *Limiter) learn(s sample) {
	if s.success {
		l.win.kind.heard(s.reported())
	}
	switch {
	case s.elsewhere:
		l.lev.history.drop(s.seq)
		l.brake.refused(s, &l.win)
		s.RetryAfter = 0 // it is not the window's
	case s.refused:
		l.lev.history.drop(s.seq)
		l.lev.refused(s)
		l.brake.missed(s.sent)
	default:
		l.brake.heard(s.sent)
	}
	led, told := l.refilling(), l.win.rate()
	switch {
	case s.reported():
		l.lev.report(s, l.rtt, l.win.kind.span)
		l.win.report(s, &l.clock)
	case l.windowed() && !l.win.bare(s, &l.clock):
		// A report that is under way may not have counted what came meanwhile.
		l.win = window{kind: l.win.kind, unreported: l.win.unreported}
	}
	switch {
	case l.windowed():
		l.measureRivals()
		l.pace.leads = false
	case l.refilling():
		l.pace.leads = false
		if !led {
			l.lev.lead()
		}
	default:
		l.tryPace(s, told)
	}
}

// tryPace lets the pacer learn, which leads where nothing is told, and begins
// with what was told before.
func (l *Limiter) tryPace(s sample, told float64) {
	if !l.pace.leads {
		l.pace.lead(s.received, told)
	}
	if s.refused {
		l.pace.refused(s.sent, s.received, s.RetryAfter)
	} else {
		l.pace.admitted(s.sent, s.received, l.cfg.MaxInFlight)
	}
}

// measure follows the usual round trip. What takes far longer counts for little.
func (l *Limiter) measure(rtt time.Duration) {
	if l.rtt == 0 {
		l.rtt = min(max(rtt, time.Microsecond), longestFirst)
		return
	}
	l.rtt = max(l.rtt+(min(rtt, 4*l.rtt)-l.rtt)/8, time.Microsecond)
}

// measureRivals looks at what others use, where that is exact: nothing is under
// way, and left counts all answers. Those that the server has not counted are
// not used up then.
func (l *Limiter) measureRivals() {
	w := &l.win
	if l.flying > 0 || !w.confirmed || w.predicted || len(w.unreported) > 0 {
		return
	}
	if !w.refused {
		w.rivals.own = min(w.rivals.own, w.limit-w.left)
	}
	if w.length == 0 {
		return
	}
	if since := w.length - w.end.Sub(w.leftAt); since > w.length/4 {
		w.rivals.measure(w.limit-w.left-w.lost, since)
	}
}
