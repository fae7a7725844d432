package sim

import (
	"net/http"
	"time"

	"weir/limiter"
)

// evenBurst is how many tokens an even pace lets pile up.
const evenBurst = 5

// follower believes the headers as they come: the last one that came in is the
// truth, and the server's clock is its own.
type follower struct {
	bare
	paced func(left, limit int) bool // whether to spread what is left
	heeds bool                       // Remaining, else 429 only

	limit, left int // 0: no header came yet
	reset       time.Time
	longest     time.Duration // from an answer to its Reset
	every       time.Duration // the pace
	next        time.Time     // when the pace allows one more
	until       time.Time     // after a 429
}

func newPark(Scenario) Policy { return &follower{} }

func newGreedy(Scenario) Policy {
	return &follower{heeds: true, paced: func(int, int) bool { return false }}
}

func newEven(Scenario) Policy {
	return &follower{heeds: true, paced: func(int, int) bool { return true }}
}

func newHybrid(Scenario) Policy {
	return &follower{heeds: true, paced: func(left, limit int) bool { return 5*left < limit }}
}

func (f *follower) Grant(now time.Time, _ bool, n int) (granted int, retryAt time.Time) {
	if now.Before(f.until) {
		return 0, f.until
	}
	if !f.heeds || f.limit == 0 {
		return n, time.Time{}
	}
	for granted < n {
		if f.left == 0 && !now.Before(f.reset) {
			f.left, f.every = f.limit, f.longest/time.Duration(f.limit) // a new window must have begun
		}
		switch {
		case f.left == 0:
			return granted, f.reset
		case f.paced(f.left, f.limit):
			if f.next.After(now) {
				return granted, f.next
			}
			if oldest := now.Add(-(evenBurst - 1) * f.every); f.next.Before(oldest) {
				f.next = oldest
			}
			f.next = f.next.Add(max(f.every, time.Nanosecond))
		}
		f.left--
		granted++
	}
	return granted, time.Time{}
}

func (f *follower) Answered(_ limiter.Ticket, now time.Time, a limiter.Answer) {
	if a.Limit > 0 {
		f.limit, f.left, f.reset = a.Limit, a.Remaining, a.Reset
		span := max(f.reset.Sub(now), 0)
		f.longest = max(f.longest, span)
		f.every = span / time.Duration(max(f.left, 1))
	}
	if a.Status != http.StatusTooManyRequests {
		return
	}
	f.left = 0
	if f.until = now.Add(a.RetryAfter); a.Limit > 0 {
		f.until = a.Reset
	}
}
