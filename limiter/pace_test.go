package limiter_test

import (
	"fmt"
	"testing"
	"time"

	"weir/limiter/sim"
)

// between is how many requests per second were accepted from one time to another.
func between(r sim.Result, from, to time.Duration) float64 {
	n := 0
	for _, at := range r.Times {
		if at >= from && at < to {
			n++
		}
	}
	return float64(n) / (to - from).Seconds()
}

func TestAfterAMinuteOfRefusalsByChanceThePaceIsSoonBack(t *testing.T) {
	const begins, ends = 90 * second, 150 * second
	for _, s := range []sim.Scenario{
		{Limit: 100, Headers: sim.None, Chance: 0.2},
		{Limit: 100, Headers: sim.RetryAfterOnly, Chance: 0.05},
		{Limit: 1e6, Headers: sim.RetryAfterOnly, Chance: 0.2}, // which is never met
	} {
		t.Run(fmt.Sprintf("%d per second, headers %s, %v refused", s.Limit, s.Headers, s.Chance), func(t *testing.T) {
			t.Parallel()
			s.Window, s.MaxInFlight, s.Warm, s.Measured = second, 10, begins, ends-begins+minute
			s.ChanceFrom, s.ChanceTo = begins, ends
			for seed := range uint64(seeds) {
				r := run(t, spread(s, seed))
				before, after := between(r, begins-minute/2, begins), between(r, ends+minute/2, ends+minute)
				if after < 0.6*before {
					t.Errorf("seed %d: %.1f requests per second half a minute after, %.1f before", seed, after, before)
				}
			}
		})
	}
}
