package limiter_test

import (
	"slices"
	"testing"
	"time"

	"weir/limiter/sim"
)

const seeds = 3

// demand is what a scenario beyond the acceptance table must reach with every
// seed, its cold start included.
type demand struct {
	name string
	sim.Scenario
	use     float64 // least
	refused int     // most, of the whole run
	drain   int     // this many are accepted …
	within  time.Duration
}

func TestTheLimitIsUsedAndRarelyMet(t *testing.T) {
	const s = time.Second
	for _, g := range []demand{
		{
			name:     "a cold start with 100 per 2 s, Reset rounded up, drains 600 in 12.5 s",
			Scenario: sim.Scenario{Limit: 100, Window: 2 * s, Rounding: sim.Ceil, Measured: 14 * s},
			use:      0.99, refused: 2, drain: 600, within: 12500 * ms,
		},
		{
			name:     "200 per 2 s",
			Scenario: sim.Scenario{Limit: 200, Window: 2 * s, Rounding: sim.Ceil, Warm: 8 * s, Measured: 24 * s},
			use:      0.995, refused: 3,
		},
		{
			name:     "200 per 2 s with a server that is 4.7 s ahead",
			Scenario: sim.Scenario{Limit: 200, Window: 2 * s, Rounding: sim.Ceil, Skew: 4700 * ms, Warm: 8 * s, Measured: 24 * s},
			use:      0.99, refused: 3,
		},
		{
			name:     "200 per 2 s with a server that is 3.3 s behind and rounds down",
			Scenario: sim.Scenario{Limit: 200, Window: 2 * s, Skew: -3300 * ms, Warm: 8 * s, Measured: 24 * s},
			use:      0.98, refused: 3,
		},
		{
			name:     "windows opened by the first request, 300 per 3 s, rounded up",
			Scenario: sim.Scenario{Model: sim.FirstRequest, Limit: 300, Window: 3 * s, Rounding: sim.Ceil, Warm: 9 * s, Measured: 36 * s},
			use:      0.99, refused: 3,
		},
		{
			name:     "windows opened by the first request, 300 per 3 s, rounded down",
			Scenario: sim.Scenario{Model: sim.FirstRequest, Limit: 300, Window: 3 * s, Warm: 9 * s, Measured: 36 * s},
			use:      0.975, refused: 16,
		},
		{
			name:     "100 per second",
			Scenario: sim.Scenario{Limit: 100, Window: s, Warm: 8 * s, Measured: 60 * s},
			use:      0.99, refused: 2,
		},
		{
			name:     "100 per second, opened by the first request",
			Scenario: sim.Scenario{Model: sim.FirstRequest, Limit: 100, Window: s, Warm: 100 * s, Measured: 60 * s},
			use:      0.955, refused: 20,
		},
		{
			name:     "another client takes 40 percent",
			Scenario: sim.Scenario{Limit: 200, Window: 2 * s, Rounding: sim.Ceil, RivalRate: 40, Warm: 8 * s, Measured: 24 * s},
			use:      0.98, refused: 25,
		},
		{
			name:     "the limit is raised fourfold",
			Scenario: sim.Scenario{Limit: 100, Window: 2 * s, Rounding: sim.Ceil, Tiers: []sim.Tier{{After: 16500 * ms, Limit: 400}}, Warm: 8 * s, Measured: 24 * s},
			use:      0.98, refused: 2,
		},
		{
			name:     "headers come with refusals only",
			Scenario: sim.Scenario{Limit: 200, Window: 2 * s, Rounding: sim.Ceil, Headers: sim.On429, Warm: 8 * s, Measured: 24 * s},
			use:      0.95, refused: 30,
		},
		{
			name:     "no headers at all",
			Scenario: sim.Scenario{Limit: 200, Window: 2 * s, Headers: sim.None, Measured: 24 * s},
			use:      0.75, refused: 48,
		},
		{
			name:     "no headers but retry_after",
			Scenario: sim.Scenario{Limit: 200, Window: 2 * s, Headers: sim.RetryAfterOnly, Measured: 24 * s},
			use:      0.7, refused: 42,
		},
		{
			name:     "no Date and a server that is 4 s behind",
			Scenario: sim.Scenario{Limit: 200, Window: 2 * s, NoDate: true, Skew: -4 * s, Warm: 8 * s, Measured: 24 * s},
			use:      0.98, refused: 3,
		},
		{
			name:     "Remaining does not count its own request",
			Scenario: sim.Scenario{Limit: 100, Window: 2 * s, RemainingBefore: true, Warm: 8 * s, Measured: 24 * s},
			use:      0.98, refused: 2,
		},
		{
			name:     "one request per second",
			Scenario: sim.Scenario{Limit: 1, Window: s, Warm: 10 * s, Measured: 60 * s},
			use:      0.98, refused: 2,
		},
		{
			name:     "two percent of the answers are lost",
			Scenario: sim.Scenario{Limit: 100, Window: 2 * s, Lost: 0.02, Warm: 8 * s, Measured: 60 * s},
			use:      0.94, refused: 2,
		},
		{
			name:     "a sliding log, 200 per 2 s",
			Scenario: sim.Scenario{Model: sim.SlidingLog, Limit: 200, Window: 2 * s, Warm: 8 * s, Measured: 40 * s},
			use:      0.94, refused: 90, // one cold start in three finds the span late

		},
		{
			name:     "a sliding counter, 200 per 2 s",
			Scenario: sim.Scenario{Model: sim.SlidingCounter, Limit: 200, Window: 2 * s, Warm: 8 * s, Measured: 40 * s},
			use:      0.96, refused: 10,
		},
		{
			name:     "a bucket, 200 per 2 s",
			Scenario: sim.Scenario{Model: sim.TokenBucket, Limit: 200, Window: 2 * s, Warm: 8 * s, Measured: 40 * s},
			use:      0.99, refused: 10,
		},
	} {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(seeds) {
				g.check(t, seed)
			}
		})
	}
}

func (g demand) check(t *testing.T, seed uint64) {
	t.Helper()
	s := g.Scenario
	s.Seed = seed
	r := run(t, s)
	if r.Use < g.use {
		t.Errorf("seed %d: %.4f of the limit used, want %.4f", seed, r.Use, g.use)
	}
	if refused := r.Total().Refused; refused > g.refused {
		t.Errorf("seed %d: %d refused, want at most %d", seed, refused, g.refused)
	}
	if g.drain > 0 && (len(r.Times) < g.drain || r.Times[g.drain-1] > g.within) {
		t.Errorf("seed %d: %d accepted in all, not %d within %v", seed, len(r.Times), g.drain, g.within)
	}
}

// simulated skips what is played by simulation under the race detector: all of it
// is one goroutine, in which that finds nothing, and takes ten times as long.
func simulated(t *testing.T) {
	t.Helper()
	if raced {
		t.Skip("one goroutine plays this: run it without -race")
	}
}

// run plays s against a limiter, which must never say that there is more from a
// time on that has passed.
func run(t *testing.T, s sim.Scenario) sim.Result {
	t.Helper()
	simulated(t)
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	r := sim.Run(s, sim.NewWeir(s))
	if r.Spins > 0 {
		t.Errorf("seed %d: Grant named a time that had passed %d times", s.Seed, r.Spins)
	}
	return r
}

func TestTheHighLaneHardlyWaitsInShortWindows(t *testing.T) {
	for seed := range uint64(seeds) {
		s := sim.Scenario{
			Limit: 200, Window: 2 * time.Second, HighEvery: 100 * time.Millisecond, Rounding: sim.Ceil,
			Leg: 5 * time.Millisecond, Tail: -1, Warm: 8 * time.Second, Measured: 60 * time.Second, Seed: seed,
		}
		r := run(t, s)
		if worst := slices.Max(r.HighWaits); worst > 350*time.Millisecond {
			t.Errorf("seed %d: an urgent message waited %v, want 350ms at most", seed, worst)
		}
		if r.Use < 0.99 {
			t.Errorf("seed %d: %.4f of the limit used, want 0.99", seed, r.Use)
		}
	}
}
