package sim

import (
	"math"
	"time"
)

var _ Limit = (*Counter)(nil)

// Counter counts in windows aligned to the clock. To the current one's count it
// adds that of the one before, weighted by the share of it that a sliding
// window still covers, and of what is then left only whole requests are allowed
// (a sliding window counter). Its Reset is the end of the current window.
type Counter struct {
	limit        int
	length       time.Duration
	end          time.Time // of the current window
	before, used int       // requests counted in the window before and in the current one
}

// NewCounter returns a Counter of limit requests per length.
func NewCounter(limit int, length time.Duration) *Counter {
	return &Counter{limit: limit, length: length}
}

// Take counts a request that arrives now, if a whole one is left.
func (c *Counter) Take(now time.Time) Decision {
	d := c.Peek(now)
	if d.Allowed {
		c.used++
		d.Remaining--
		d.Retry = c.retry(now)
	}
	return d
}

// Peek says what Take would say, with Remaining as it stands before.
func (c *Counter) Peek(now time.Time) Decision {
	if !now.Before(c.end) {
		if c.before = c.used; !now.Before(c.end.Add(c.length)) {
			c.before = 0
		}
		c.used, c.end = 0, alignedEnd(now, c.length)
	}
	left := c.left(now)
	return Decision{Allowed: left > 0, Limit: c.limit, Remaining: left, Reset: c.end, Retry: c.retry(now)}
}

// SetLimit changes the limit from now on; what was used stays used.
func (c *Counter) SetLimit(n int) { c.limit = n }

func (c *Counter) left(now time.Time) int {
	covered := float64(c.end.Sub(now)) / float64(c.length)
	return max(int(float64(c.limit-c.used)-float64(c.before)*covered+tolerance), 0)
}

// retry is when so much of the window before is out of sight that one more fits.
func (c *Counter) retry(now time.Time) time.Time {
	if c.left(now) > 0 {
		return now
	}
	// fits is how much of a window with count requests may still be covered.
	fits := func(others, count int) time.Duration {
		return time.Duration(math.Floor(float64(c.limit-1-others) / float64(count) * float64(c.length)))
	}
	if c.used < c.limit {
		return c.end.Add(-fits(c.used, c.before))
	}
	return c.end.Add(c.length - fits(0, c.used))
}
