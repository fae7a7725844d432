package sim

import (
	"math"
	"strconv"
	"time"
)

// Decision is what a limit says to one request.
type Decision struct {
	Allowed   bool
	Limit     int
	Remaining int       // left after this request
	Reset     time.Time // when the limit is whole again: exact, before rounding
	Retry     time.Time // the earliest time at which the next request would be allowed if nothing else came
}

// Limit is one model of a server's limit.
type Limit interface {
	// Take counts a request that arrives now, if it is allowed.
	Take(now time.Time) Decision
	// Peek says what Take would say, with Remaining as it stands before.
	Peek(now time.Time) Decision
	// SetLimit changes the limit, 1 or more, from now on; what was used stays used.
	SetLimit(n int)
}

var _ Limit = (*Window)(nil)

// Window allows a number of requests in each window of a fixed length.
type Window struct {
	limit   int
	length  time.Duration
	aligned bool
	used    int
	end     time.Time
}

// NewWindow returns a Window of limit requests per length. If aligned is set,
// windows start at multiples of length since the Unix epoch, else with the
// first request after the one before has ended.
func NewWindow(limit int, length time.Duration, aligned bool) *Window {
	return &Window{limit: limit, length: length, aligned: aligned}
}

// Take counts a request that arrives now, if the window has room for it.
func (w *Window) Take(now time.Time) Decision {
	d := w.Peek(now)
	if !now.Before(w.end) {
		w.used, w.end = 0, d.Reset
	}
	if d.Allowed {
		w.used++
		d.Remaining--
	}
	if d.Remaining == 0 {
		d.Retry = w.end
	}
	return d
}

// Peek says what Take would say, with Remaining as it stands before.
func (w *Window) Peek(now time.Time) Decision {
	used, end := w.used, w.end
	if !now.Before(end) {
		used, end = 0, w.endFrom(now)
	}
	left := max(w.limit-used, 0)
	d := Decision{Allowed: left > 0, Limit: w.limit, Remaining: left, Reset: end, Retry: now}
	if left == 0 {
		d.Retry = end
	}
	return d
}

// SetLimit changes the limit from now on; what was used stays used.
func (w *Window) SetLimit(n int) { w.limit = n }

func (w *Window) endFrom(now time.Time) time.Time {
	if !w.aligned {
		return now.Add(w.length)
	}
	return alignedEnd(now, w.length)
}

// alignedEnd is when the window ends that now is in, where windows start at
// multiples of their length since the Unix epoch.
func alignedEnd(now time.Time, length time.Duration) time.Time {
	into := now.UnixNano() % int64(length)
	return now.Add(length - time.Duration(into))
}

// Rounding is how a server turns Reset into whole seconds.
type Rounding int

const (
	// Floor rounds down: the number names a time before the window ends.
	Floor Rounding = iota
	// Ceil rounds up: the number names the end of the window or a time after it.
	Ceil
)

// Unix gives t in whole Unix seconds.
func (r Rounding) Unix(t time.Time) int64 {
	s := t.Unix()
	if r == Ceil && t.Nanosecond() > 0 {
		s++
	}
	return s
}

// FormatReset gives t as the value of an X-RateLimit-Reset header.
func FormatReset(t time.Time, r Rounding) string {
	return strconv.FormatInt(r.Unix(t), 10)
}

// RetryAfter gives the whole seconds from now until retry, rounded up and at
// least 1, as a 429 names them.
func RetryAfter(now, retry time.Time) int {
	return max(1, int(math.Ceil(retry.Sub(now).Seconds())))
}
