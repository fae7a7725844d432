package limiter_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/limiter"
	"weir/limiter/sim"
)

// request is one that was granted and is on its way, there or back.
type request struct {
	ticket  limiter.Ticket
	arrived bool
	answer  limiter.Answer
}

// client drives a limiter as a dispatcher may: in any order, at any time.
type client struct {
	t      *rapid.T
	lim    *limiter.Limiter
	now    time.Time
	held   int // granted, not on the wire
	flying []*request
}

func newClient(t *rapid.T) *client {
	cfg := limiter.Config{MaxInFlight: rapid.IntRange(1, 40).Draw(t, "in flight"), Reserve: float64(rapid.IntRange(0, 3).Draw(t, "reserve")) / 10}
	return &client{t: t, lim: limiter.New(cfg), now: epoch}
}

func (c *client) upTo(what string, n int) int { return rapid.IntRange(0, n).Draw(c.t, what) }

// pass lets time pass: hardly any, a round trip, or up to longest.
func (c *client) pass(longest time.Duration) {
	most := []time.Duration{time.Millisecond, 50 * time.Millisecond, time.Second, longest}[c.upTo("pass", 3)]
	c.now = c.now.Add(time.Duration(rapid.Int64Range(0, int64(most)).Draw(c.t, "passed")))
}

// grant asks for up to n tokens. What it says must make sense in any state.
func (c *client) grant(urgent bool, n int) int {
	got, retryAt := c.lim.Grant(c.now, urgent, n)
	switch {
	case got < 0 || got > n:
		c.t.Fatalf("%d tokens were granted of %d", got, n)
	case got < n && !retryAt.IsZero() && !retryAt.After(c.now):
		c.t.Fatalf("%d of %d tokens, and more at a time that passed %v ago: %+v", got, n, c.now.Sub(retryAt), c.lim.State(c.now))
	}
	c.held += got
	return got
}

func (c *client) giveBack(n int) {
	n = min(n, c.held)
	c.lim.Return(c.now, n)
	c.held -= n
}

func (c *client) send() {
	if c.held > 0 {
		c.held--
		c.flying = append(c.flying, &request{ticket: c.lim.Sent(c.now)})
	}
}

// pick takes one of the requests that are on their way.
func (c *client) pick() (*request, int) {
	if len(c.flying) == 0 {
		return nil, 0
	}
	i := c.upTo("which", len(c.flying)-1)
	return c.flying[i], i
}

func (c *client) remove(i int) { c.flying = append(c.flying[:i], c.flying[i+1:]...) }

// settle ends all that is under way: nothing more is heard of it.
func (c *client) settle() {
	c.giveBack(c.held)
	for _, r := range c.flying {
		c.lim.Lost(r.ticket, c.now)
	}
	c.flying = nil
}

// check is what must hold at any time.
func (c *client) check() {
	s := c.lim.State(c.now)
	if s.Remaining < 0 || s.Remaining > s.Limit || s.Limit < 0 || s.Rate < 0 || s.Window < 0 {
		c.t.Fatalf("the state makes no sense: %+v", s)
	}
	if s.Parked && !s.Until.After(c.now) {
		c.t.Fatalf("parked until a time that has passed: %+v", s)
	}
}

// fixed is a server that keeps fixed windows and tells the truth, though not
// with every answer.
type fixed struct {
	*client
	limit  int
	server sim.Limit
	skew   time.Duration
	before bool // Remaining leaves out the request that it answers
	silent int  // this many of ten answers tell nothing
}

func newFixed(t *rapid.T) *fixed {
	f := &fixed{
		client: newClient(t),
		limit:  rapid.IntRange(1, 12).Draw(t, "limit"),
		skew:   time.Duration(rapid.Int64Range(-5000, 5000).Draw(t, "skew")) * time.Millisecond,
		before: rapid.Bool().Draw(t, "before"),
		silent: rapid.IntRange(0, 4).Draw(t, "silent"),
	}
	length := time.Duration(rapid.IntRange(1, 20).Draw(t, "window")) * time.Second
	f.server = sim.NewWindow(f.limit, length, rapid.Bool().Draw(t, "aligned"))
	f.learn()
	return f
}

// learn lets the first answer tell all. While nothing is known, an answer that
// tells nothing is forgotten, and only one to a fresh window shows whether
// Remaining counts its own request.
func (f *fixed) learn() {
	silent := f.silent
	f.silent = 0
	f.grant(true, 1)
	f.send()
	f.move()
	f.move()
	f.silent = silent
}

// move lets a request arrive, or its answer come back.
func (f *fixed) move() {
	r, i := f.pick()
	switch {
	case r == nil:
	case r.arrived:
		f.remove(i)
		f.lim.Answered(r.ticket, f.now, r.answer)
	default:
		r.arrived = true
		r.answer = f.reply()
	}
}

func (f *fixed) reply() limiter.Answer {
	now := f.now.Add(f.skew)
	d := f.server.Take(now)
	a := limiter.Answer{Status: 200, Headers: limiter.Headers{Date: now.Truncate(time.Second)}}
	if !d.Allowed {
		a.Status = 429
		a.RetryAfter = time.Duration(sim.RetryAfter(now, d.Retry)) * time.Second
	}
	if f.upTo("silence", 9) >= f.silent {
		a.Limit, a.Remaining, a.Reset = d.Limit, d.Remaining, time.Unix(sim.Ceil.Unix(d.Reset), 0)
		if f.before && d.Allowed {
			a.Remaining++
		}
	}
	return a
}

// setClock sets, now and then, the server's clock ahead or ours back. What is
// under way meanwhile cannot be told from what comes later, so nothing is.
func (f *fixed) setClock() {
	by := time.Duration(f.upTo("by", 3600)) * time.Second
	switch f.upTo("clock", 9) {
	case 0:
		f.skew += by
	case 1:
		if len(f.flying) == 0 && f.held == 0 {
			f.now, f.skew = f.now.Add(-by), f.skew+by
			f.learn()
		}
	}
}

// wantProven checks that what was granted has room in the window, if the
// limiter has heard of this window at all. Whatever has not arrived may arrive
// in it.
func (f *fixed) wantProven() {
	s, d := f.lim.State(f.now), f.server.Peek(f.now.Add(f.skew))
	if s.Mode != limiter.ModeWindow || s.Reset.Unix() != sim.Ceil.Unix(d.Reset) {
		return
	}
	used := f.limit - d.Remaining
	out := f.held
	for _, r := range f.flying {
		if !r.arrived {
			out++
		}
	}
	if used+out > f.limit {
		f.t.Fatalf("of %d in the window %d are used and %d are out: %+v", f.limit, used, out, s)
	}
}

func TestNoMoreIsGrantedThanIsProvenToBeLeftInAFixedWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFixed(t)
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			switch f.upTo("step", 11) {
			case 0, 1:
				f.pass(5 * time.Second)
			case 2, 3:
				if f.grant(rapid.Bool().Draw(t, "urgent"), f.upTo("tokens", f.limit+2)) > 0 {
					f.wantProven()
				}
			case 4, 5:
				f.send()
			case 6, 7, 8:
				f.move()
			case 9:
				f.giveBack(1)
			case 10:
				switch r, i := f.pick(); {
				case r == nil:
				case !r.arrived && rapid.Bool().Draw(t, "unsent"):
					f.remove(i)
					f.lim.Unsent(r.ticket, f.now)
				case r.arrived && f.silent == 0:
					// A loss at the very end of a window is forgotten if an answer
					// without headers opens the next.
					f.remove(i)
					f.lim.Lost(r.ticket, f.now)
				}
			case 11:
				f.setClock()
			}
			f.check()
		}
	})
}

// chaos does anything that can happen to a limiter, with anything that a server
// could say.
func (c *client) chaos() {
	switch c.upTo("step", 11) {
	case 0, 1:
		c.pass(20 * time.Second)
	case 2, 3, 4:
		c.grant(rapid.Bool().Draw(c.t, "urgent"), c.upTo("tokens", 8))
	case 5, 6:
		c.send()
	case 7, 8:
		if r, i := c.pick(); r != nil {
			c.remove(i)
			c.lim.Answered(r.ticket, c.now, c.anything())
		}
	case 9:
		if r, i := c.pick(); r != nil {
			c.remove(i)
			if rapid.Bool().Draw(c.t, "lost") {
				c.lim.Lost(r.ticket, c.now)
			} else {
				c.lim.Unsent(r.ticket, c.now)
			}
		}
	case 10:
		c.giveBack(c.upTo("back", 3))
	case 11:
		switch c.upTo("rare", 20) {
		case 0:
			c.stepClock()
		case 1:
			c.lim.Restore(c.now, c.now.Add(time.Duration(c.upTo("park", 3000))*time.Second))
		}
	}
	c.check()
}

// stepClock sets our clock. In secret it is not by less than a minute, which
// would look like a caller who was late.
func (c *client) stepClock() {
	step := time.Duration(rapid.IntRange(-7200, 7200).Draw(c.t, "clock set by")) * time.Second
	told := step.Abs() < time.Minute || rapid.Bool().Draw(c.t, "told")
	c.now = c.now.Add(step)
	if told {
		c.lim.Rebase(c.now, step)
	}
}

// anything is an answer of a server that is mostly sane.
func (c *client) anything() limiter.Answer {
	a := limiter.Answer{Status: []int{200, 200, 200, 200, 201, 429, 402, 503}[c.upTo("status", 7)]}
	server := c.now.Add(3 * time.Second)
	if c.upTo("date", 3) > 0 {
		a.Date = server.Truncate(time.Second)
	}
	if c.upTo("report", 7) > 0 {
		a.Limit = []int{10, 10, 10, 1, 40}[c.upTo("limit", 4)]
		a.Remaining = c.upTo("remaining", a.Limit)
		a.Reset = server.Truncate(4 * time.Second).Add(4 * time.Second)
		switch c.upTo("odd", 20) {
		case 0:
			a.Reset = server.Add(time.Duration(rapid.IntRange(-3600, 100_000).Draw(c.t, "reset")) * time.Second)
		case 1:
			a.Reset = server.Add(time.Duration(c.upTo("reset", 8000)) * time.Millisecond)
		}
	}
	if c.upTo("retry", 10) == 0 {
		a.RetryAfter = time.Duration(c.upTo("wait", 90_000)) * time.Second / 10
	}
	return a
}

// steps plays up to that many steps of chaos.
func (c *client) steps(most int) {
	for range rapid.IntRange(1, most).Draw(c.t, "steps") {
		c.chaos()
	}
}

func TestWithNothingUnderWayATokenIsGrantedWithinAWindowAndASecond(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClient(t)
		c.steps(150)
		c.settle()
		s, from := c.lim.State(c.now), c.now
		longest := s.Window + s.Window/100 + time.Second // it is told as a round figure
		if s.Mode != limiter.ModeWindow || s.Window == 0 || s.Parked {
			longest = max(longest, 15*time.Minute)
		}
		// The reserve melts until Reset, however far ahead that is.
		urgent := s.Window == 0 || rapid.Bool().Draw(t, "urgent")
		for tries := 0; ; tries++ {
			got, retryAt := c.lim.Grant(c.now, urgent, 1)
			if got == 1 {
				return
			}
			if !retryAt.After(c.now) || retryAt.Sub(from) > longest || tries > 1000 {
				t.Fatalf("nothing is under way, and the next token comes in %v, want one within %v: %+v", retryAt.Sub(from), longest, c.lim.State(c.now))
			}
			c.now = retryAt
		}
	})
}

func TestTokensThatAreGivenBackCanBeTakenAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClient(t)
		c.steps(100)
		urgent := rapid.Bool().Draw(t, "urgent")
		got := c.grant(urgent, 100)
		for range 3 {
			c.giveBack(got)
			again := c.grant(urgent, 100)
			// A pace keeps no more than a burst for later.
			paced := c.lim.State(c.now).Mode != limiter.ModeWindow
			if again < min(got, 1) || again < got && !paced {
				t.Fatalf("%d tokens were given back and %d granted again: %+v", got, again, c.lim.State(c.now))
			}
			got = again
		}
	})
}
