package limiter_test

import (
	"slices"
	"testing"
	"time"

	"weir/limiter/sim"
)

const seeds = 3

// goal is what a scenario must reach with every seed.
type goal struct {
	name string
	scenario
	firstRequest bool    // the window opens with the first request
	use          float64 // least
	refused      int     // most, of the whole run
	drain        int     // this many are accepted …
	within       time.Duration
}

func TestTheLimitIsUsedAndRarelyMet(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for _, g := range []goal{
		{
			name:     "a cold start with 100 per 2 s, Reset rounded up, drains 600 in 12.5 s",
			scenario: scenario{limit: 100, window: 2 * s, rounding: sim.Ceil, length: 14 * s},
			use:      0.99, refused: 2, drain: 600, within: 12500 * ms,
		},
		{
			name:     "200 per 2 s",
			scenario: scenario{limit: 200, window: 2 * s, rounding: sim.Ceil, warm: 8 * s, length: 24 * s},
			use:      0.995, refused: 3,
		},
		{
			name:     "200 per 2 s with a server that is 4.7 s ahead",
			scenario: scenario{limit: 200, window: 2 * s, rounding: sim.Ceil, skew: 4700 * ms, warm: 8 * s, length: 24 * s},
			use:      0.99, refused: 3,
		},
		{
			name:     "200 per 2 s with a server that is 3.3 s behind and rounds down",
			scenario: scenario{limit: 200, window: 2 * s, skew: -3300 * ms, warm: 8 * s, length: 24 * s},
			use:      0.98, refused: 3,
		},
		{
			name:         "windows opened by the first request, 300 per 3 s, rounded up",
			scenario:     scenario{limit: 300, window: 3 * s, rounding: sim.Ceil, warm: 9 * s, length: 36 * s},
			firstRequest: true, use: 0.99, refused: 3,
		},
		{
			name:         "windows opened by the first request, 300 per 3 s, rounded down",
			scenario:     scenario{limit: 300, window: 3 * s, warm: 9 * s, length: 36 * s},
			firstRequest: true, use: 0.975, refused: 16,
		},
		{
			name:     "100 per second",
			scenario: scenario{limit: 100, window: s, warm: 8 * s, length: 60 * s},
			use:      0.99, refused: 2,
		},
		{
			name:     "100 per second without a slow tail",
			scenario: scenario{limit: 100, window: s, warm: 8 * s, length: 60 * s, noTail: true},
			use:      0.999, refused: 2,
		},
		{
			name:         "100 per second, opened by the first request",
			scenario:     scenario{limit: 100, window: s, warm: 100 * s, length: 60 * s},
			firstRequest: true, use: 0.955, refused: 20,
		},
		{
			name:     "1000 per minute",
			scenario: scenario{limit: 1000, window: 60 * s, warm: 120 * s, length: 600 * s},
			use:      0.9995, refused: 0,
		},
		{
			name:         "1000 per minute, opened by the first request",
			scenario:     scenario{limit: 1000, window: 60 * s, warm: 120 * s, length: 600 * s},
			firstRequest: true, use: 0.9995, refused: 4,
		},
		{
			name:     "another client takes 40 percent",
			scenario: scenario{limit: 200, window: 2 * s, rounding: sim.Ceil, rival: 40, warm: 8 * s, length: 24 * s},
			use:      0.98, refused: 25,
		},
		{
			name:     "another client takes 30 percent of 1000 per minute",
			scenario: scenario{limit: 1000, window: 60 * s, rival: 5, warm: 120 * s, length: 600 * s},
			use:      0.992, refused: 40,
		},
		{
			name:     "the limit is raised fourfold",
			scenario: scenario{limit: 100, window: 2 * s, rounding: sim.Ceil, change: 16500 * ms, changeTo: 400, warm: 8 * s, length: 24 * s},
			use:      0.98, refused: 2,
		},
		{
			name:     "headers are missing on 30 percent",
			scenario: scenario{limit: 1000, window: 60 * s, missing: 0.3, warm: 120 * s, length: 600 * s},
			use:      0.999, refused: 2,
		},
		{
			name:     "headers come with refusals only",
			scenario: scenario{limit: 200, window: 2 * s, rounding: sim.Ceil, headers: only429, warm: 8 * s, length: 24 * s},
			use:      0.95, refused: 30,
		},
		{
			name:     "no headers at all",
			scenario: scenario{limit: 200, window: 2 * s, headers: noHeaders, length: 24 * s},
			use:      0.75, refused: 48,
		},
		{
			name:     "no headers but retry_after",
			scenario: scenario{limit: 200, window: 2 * s, headers: onlyRetry, length: 24 * s},
			use:      0.7, refused: 42,
		},
		{
			name:     "no Date and a server that is 4 s behind",
			scenario: scenario{limit: 200, window: 2 * s, noDate: true, skew: -4 * s, warm: 8 * s, length: 24 * s},
			use:      0.98, refused: 3,
		},
		{
			name:     "Remaining does not count its own request",
			scenario: scenario{limit: 100, window: 2 * s, before: true, warm: 8 * s, length: 24 * s},
			use:      0.98, refused: 2,
		},
		{
			name:     "one request at a time",
			scenario: scenario{limit: 1000, window: 60 * s, atOnce: 1, warm: 120 * s, length: 600 * s},
			use:      0.99, refused: 0,
		},
		{
			name:     "one request per second",
			scenario: scenario{limit: 1, window: s, warm: 10 * s, length: 60 * s},
			use:      0.98, refused: 2,
		},
		{
			name:     "two percent of the answers are lost",
			scenario: scenario{limit: 100, window: 2 * s, lost: 0.02, warm: 8 * s, length: 60 * s},
			use:      0.94, refused: 2,
		},
	} {
		t.Run(g.name, func(t *testing.T) {
			for seed := range uint64(seeds) {
				g.check(t, seed)
			}
		})
	}
}

func (g goal) check(t *testing.T, seed uint64) {
	t.Helper()
	s := g.scenario
	s.seed = seed
	if g.firstRequest {
		s.server = sim.NewWindow(s.limit, s.window, false)
	}
	r := s.run(t)
	if r.use < g.use {
		t.Errorf("seed %d: %.4f of the limit used, want %.4f", seed, r.use, g.use)
	}
	if r.refused > g.refused {
		t.Errorf("seed %d: %d refused, want at most %d", seed, r.refused, g.refused)
	}
	if g.drain > 0 && (len(r.times) < g.drain || r.times[g.drain-1] > g.within) {
		t.Errorf("seed %d: %d accepted in all, not %d within %v", seed, len(r.times), g.drain, g.within)
	}
}

func TestServersThatKeepNoFixedWindowAreNeitherStormedNorAbandoned(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		scenario
		model   func() sim.Limit
		use     float64
		refused float64 // of the accepted
	}{
		"a sliding log, 200 per 2 s": {
			scenario{limit: 200, window: 2 * s, warm: 8 * s, length: 40 * s},
			func() sim.Limit { return sim.NewLog(200, 2*s) }, 0.5, 0.03,
		},
		"a sliding log, 100 per second": {
			scenario{limit: 100, window: s, warm: 8 * s, length: 40 * s},
			func() sim.Limit { return sim.NewLog(100, s) }, 0.5, 0.03,
		},
		"a sliding log, 1000 per minute": {
			scenario{limit: 1000, window: 60 * s, warm: 120 * s, length: 600 * s},
			func() sim.Limit { return sim.NewLog(1000, 60*s) }, 0.5, 0.03,
		},
		"a bucket, 200 per 2 s": {
			scenario{limit: 200, window: 2 * s, warm: 8 * s, length: 40 * s},
			func() sim.Limit { return sim.NewBucket(200, 2*s) }, 0.85, 0.03,
		},
		"a bucket, 1000 per minute": {
			scenario{limit: 1000, window: 60 * s, warm: 120 * s, length: 600 * s},
			func() sim.Limit { return sim.NewBucket(1000, 60*s) }, 0.85, 0.03,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(seeds) {
				c.seed, c.server = seed, c.model()
				r := c.run(t)
				if r.use < c.use {
					t.Errorf("seed %d: %.4f of the limit used, want %.4f", seed, r.use, c.use)
				}
				if most := int(c.refused * float64(r.accepted)); r.refused > most {
					t.Errorf("seed %d: %d refused of %d, want at most %d", seed, r.refused, r.accepted, most)
				}
			}
		})
	}
}

func TestSparseMessagesDoNotWait(t *testing.T) {
	for name, window := range map[string]time.Duration{"second": time.Second, "minute": time.Minute} {
		t.Run("in windows of a "+name, func(t *testing.T) {
			s := scenario{limit: 100, window: window, sparse: window / 10, length: 60 * window, rounding: sim.Ceil}
			r := s.run(t)
			slices.Sort(r.waits)
			if p99 := r.waits[len(r.waits)*99/100]; p99 > time.Millisecond {
				t.Errorf("1 of 100 messages waited %v or longer, want 1ms", p99)
			}
			if r.refused > 0 {
				t.Errorf("%d refused, want 0", r.refused)
			}
		})
	}
}

func TestTheHighLaneHardlyWaitsBehindABacklog(t *testing.T) {
	for seed := range uint64(seeds) {
		s := scenario{
			limit: 1000, window: time.Minute, urgent: 1200 * time.Millisecond, rounding: sim.Ceil,
			warm: 2 * time.Minute, length: 10 * time.Minute, seed: seed,
		}
		r := s.run(t)
		slices.Sort(r.waits)
		if p99 := r.waits[len(r.waits)*99/100]; p99 > 20*time.Millisecond {
			t.Errorf("seed %d: 1 of 100 urgent messages waited %v or longer, want 20ms", seed, p99)
		}
		if r.use < 0.995 {
			t.Errorf("seed %d: %.4f of the limit used, want 0.995", seed, r.use)
		}
	}
}

func TestTheHighLaneHardlyWaitsInShortWindows(t *testing.T) {
	for seed := range uint64(seeds) {
		s := scenario{
			limit: 200, window: 2 * time.Second, urgent: 100 * time.Millisecond, rounding: sim.Ceil,
			leg: 5 * time.Millisecond, noTail: true, warm: 8 * time.Second, length: 60 * time.Second, seed: seed,
		}
		r := s.run(t)
		if worst := slices.Max(r.waits[50:]); worst > 350*time.Millisecond {
			t.Errorf("seed %d: an urgent message waited %v, want 350ms at most", seed, worst)
		}
		if r.use < 0.99 {
			t.Errorf("seed %d: %.4f of the limit used, want 0.99", seed, r.use)
		}
	}
}
