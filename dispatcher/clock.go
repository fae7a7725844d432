package dispatcher

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// longestSlip is how far the wall clock may leave the daemon's own before
	// that counts as a step.
	longestSlip = 2 * time.Second
	// clocksAgree is how far a server's clock may be from ours without casting
	// doubt on it, and how much a difference may vary and still be the same one.
	clocksAgree = time.Minute
	// doubtFor is how long after a step, or after a difference to a server's
	// clock was first seen, nothing irrevocable is decided by time; and how long
	// a server's Date says something about now.
	doubtFor = 10 * time.Minute
)

// Clock is the one clock of a daemon: the wall clock's time at its start,
// counted on by the monotonic clock, so that an hour more or less on the wall
// makes nothing expire between two looks at it. Check follows a step of the
// wall clock. Doubt tells when a verdict by time that cannot be undone has to
// wait. A Clock is safe for concurrent use.
type Clock struct {
	wall   func() time.Time
	start  time.Time    // monotonic
	offset atomic.Int64 // of Now to start plus what has passed, in nanoseconds

	mu      sync.Mutex
	stepped time.Time             // when the wall clock stepped last; zero: not seen to
	step    time.Duration         // that step
	servers map[string]difference // to the clocks of servers heard since
	seen    time.Time             // the time that the daemon before had reached; zero if ours is later
}

// difference is how far a server's clock is from ours.
type difference struct {
	is    time.Duration // what the server's shows more, when first seen
	since time.Time     // when it became that; zero: the clocks agree
	heard time.Time
}

// Doubt is why verdicts by time are put off.
type Doubt struct {
	Reason string
	Since  time.Time
	Until  time.Time // unless something else is learnt
}

// NewClock begins to count at what wall shows. Of the wall's times only the
// wall clock reading is used.
func NewClock(wall func() time.Time) *Clock {
	c := &Clock{wall: wall, start: time.Now(), servers: make(map[string]difference)}
	c.offset.Store(int64(wall().Round(0).Sub(c.start.Round(0))))
	return c
}

// Now is the time by this clock. It carries no monotonic reading: those from
// before and after a step would not fit together.
func (c *Clock) Now() time.Time {
	return c.start.Round(0).Add(time.Since(c.start) + time.Duration(c.offset.Load()))
}

// Latest is the later of Now and what the wall clock shows at this moment. The
// monotonic clock stands still while the machine is suspended: until the next
// Check, what may not be late has to ask this.
func (c *Clock) Latest() time.Time { return later(c.Now(), c.wall().Round(0)) }

// Check looks at the wall clock. If that has stepped, Now follows it, and the
// size of the step is returned; what the servers' clocks showed before no
// longer counts.
func (c *Clock) Check() (step time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	step = c.wall().Round(0).Sub(c.Now())
	if step.Abs() <= longestSlip {
		return 0
	}
	c.offset.Add(int64(step))
	c.stepped, c.step = c.Now(), step
	clear(c.servers)
	return step
}

// Heard takes the Date of an answer to a request of ours between sent and
// received. Servers are told apart, since the clock of one says nothing about
// that of another.
func (c *Clock) Heard(server string, sent, received, date time.Time) {
	if date.IsZero() {
		return
	}
	var d time.Duration
	if before := date.Sub(sent); before < 0 {
		d = before
	} else if after := date.Sub(received); after > 0 {
		d = after
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known, found := c.servers[server]
	switch {
	case d.Abs() <= clocksAgree:
		known = difference{}
	case !found || known.since.IsZero() || (d-known.is).Abs() > clocksAgree:
		known = difference{is: d, since: received}
	}
	known.heard = received
	c.servers[server] = known
}

// NotBefore tells the time that the daemon before had reached. Until then
// nothing can be told by the time, unless Accept is called.
func (c *Clock) NotBefore(seen time.Time) (behind bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if behind = c.Now().Add(longestSlip).Before(seen); behind {
		c.seen = seen
	}
	return behind
}

// Accept takes the time as it is: a person has said that it is right.
func (c *Clock) Accept() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = time.Time{}
}

// Doubt tells whether verdicts by time that cannot be undone have to wait now,
// and why. They are taken while our clock and the servers' agree; where one
// differs, once it has done so steadily for ten minutes: then ours decides.
// While no server has been heard of lately they are taken ten minutes after a
// step of the wall clock. A start counts as right.
func (c *Clock) Doubt() (Doubt, bool) {
	now := c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.seen) {
		return Doubt{
			Reason: "the clock shows a time that lies before the end of the last run", Since: now, Until: c.seen,
		}, true
	}
	var doubt Doubt
	recent := false
	for _, d := range c.servers {
		if now.Sub(d.heard) > doubtFor {
			continue
		}
		recent = true
		until := d.since.Add(doubtFor)
		if !d.since.IsZero() && now.Before(until) && until.After(doubt.Until) {
			doubt = Doubt{
				Reason: fmt.Sprintf("clock: the API's clock differs by %v from this machine's", d.is.Round(time.Second)),
				Since:  d.since, Until: until,
			}
		}
	}
	if until := c.stepped.Add(doubtFor); !recent && !c.stepped.IsZero() && now.Before(until) {
		doubt = Doubt{Reason: fmt.Sprintf("clock: the wall clock was set by %v", c.step.Round(time.Second)), Since: c.stepped, Until: until}
	}
	return doubt, !doubt.Until.IsZero()
}
