package sim

import (
	"time"

	"golang.org/x/time/rate"

	"weir/limiter"
)

// Contender is a policy that others can be compared with.
type Contender struct {
	Name string
	Text string // what it does, in a few words
	// New returns a policy that knows nothing yet, for a valid Scenario.
	New func(Scenario) Policy
}

// Contenders are weir's own limiter and what else clients do about limits.
func Contenders() []Contender {
	return []Contender{
		{"weir", "weir's own limiter, which is told nothing", NewWeir},
		{"backoff", "each worker waits ever longer after a 429: exponential backoff with full jitter", newBackoff},
		{"park", "sends at will, and after a 429 waits until Reset, by its own clock", newPark},
		{"greedy", "believes the last Remaining that came in, and waits at 0 until Reset", newGreedy},
		{"even", "spreads what Remaining says evenly until Reset, in bursts of 5", newEven},
		{"hybrid", "greedy above a fifth of the limit, even below it", newHybrid},
		{"aimd", "ignores the headers: ever faster until a 429, then a step back", newAIMD},
		{"fixed-rate", "a token bucket, golang.org/x/time/rate, set by hand to the very limit", newFixedRate},
	}
}

// bare is the part of a Policy that most contenders leave out.
type bare struct{}

func (bare) Sent(time.Time) limiter.Ticket  { return limiter.Ticket{} }
func (bare) Lost(limiter.Ticket, time.Time) {}

// fixedRate is a token bucket that is told the limit and learns nothing.
type fixedRate struct {
	bare
	pace *rate.Limiter
}

func newFixedRate(s Scenario) Policy {
	return &fixedRate{pace: rate.NewLimiter(rate.Limit(s.perSecond()), 1)}
}

func (f *fixedRate) Grant(now time.Time, _ bool, n int) (int, time.Time) {
	return allow(f.pace, now, n)
}

func (f *fixedRate) Answered(limiter.Ticket, time.Time, limiter.Answer) {}

// allow takes up to n tokens from a bucket, and tells when there is one more.
func allow(pace *rate.Limiter, now time.Time, n int) (int, time.Time) {
	tokens := pace.TokensAt(now)
	granted := min(n, int(tokens))
	pace.AllowN(now, granted)
	missing := (float64(granted+1) - tokens) / float64(pace.Limit())
	return granted, now.Add(time.Duration(missing*float64(time.Second)) + time.Microsecond)
}

// earlier gives the earlier of two times of which one may be zero, for none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
