package limiter_test

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"weir/limiter/sim"
)

// full makes the acceptance table what limiter.md measured: ten seeds, and the
// whole length. The figures are then printed: go test ./limiter -run Accept -full -v
var full = flag.Bool("full", false, "play the acceptance table with ten seeds and at full length")

const (
	ms     = time.Millisecond
	second = time.Second
	minute = time.Minute
)

// goal is what a scenario must reach. Use and refusals are taken over all
// seeds, as a single one makes of chance; cold starts and waits are the worst
// of any.
type goal struct {
	name string
	sim.Scenario
	use     float64 // least, on average
	refused float64 // most per 10,000 accepted, of all seeds together
	cold    int     // most refused in a cold start; uncounted: any number
	missed  string  // what the goal says, where this limiter falls short of it
}

// uncounted is for goals that say nothing of the cold start.
const uncounted = -1

// spread gives a scenario the seed and a server's clock of its own, up to 5 s
// off, and lets the measuring begin with a window of the server, because a part
// of one can hold all of its requests or none.
func spread(s sim.Scenario, seed uint64) sim.Scenario {
	s.Seed = seed
	_, part := math.Modf(0.3 + float64(seed)*math.Phi)
	s.Skew = time.Duration((2*part - 1) * float64(5*second))
	if s.MaxInFlight == 0 {
		s.MaxInFlight = 64
	}
	s.Traced = s.Traced || s.Model == sim.FirstRequest
	if s.Warm == 0 {
		s.Warm = 4 * s.Window
	}
	s.Warm += (s.Window - s.Skew%s.Window) % s.Window
	if s.Measured == 0 {
		windows := 12
		if !*full {
			windows /= 2
		}
		s.Measured = max(time.Duration(windows)*s.Window, 2*minute)
	}
	return s
}

// plays runs a scenario with every seed.
func plays(t *testing.T, s sim.Scenario) []sim.Result {
	t.Helper()
	n := uint64(seeds)
	if *full {
		n = 10
	}
	results := make([]sim.Result, n)
	for seed := range n {
		s := spread(s, seed)
		r := run(t, s)
		if s.Model == sim.FirstRequest {
			r.Use = ofWholeWindows(r, s)
		}
		results[seed] = r
	}
	return results
}

func TestAcceptanceOfUseAndRefusals(t *testing.T) {
	for _, g := range slices.Concat(plainGoals(), oddGoals()) {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			g.check(t)
		})
	}
}

func (g goal) check(t *testing.T) {
	t.Helper()
	use, worst, cold, tally := 0.0, math.Inf(1), 0, sim.Tally{}
	results := plays(t, g.Scenario)
	for _, r := range results {
		use += r.Use / float64(len(results))
		worst, cold = min(worst, r.Use), max(cold, r.Cold.Refused)
		tally.Accepted += r.Measured.Accepted
		tally.Refused += r.Measured.Refused
	}
	figures := fmt.Sprintf("%.2f %% used (worst %.2f), %.2f refused per 10,000, %d at most in a cold start",
		100*use, 100*worst, tally.Per10k(), cold)
	if *full {
		t.Log(g.name+":", figures, g.missed)
	}
	if use < g.use || tally.Per10k() > g.refused || g.cold != uncounted && cold > g.cold {
		t.Errorf("%s; want %.2f %%, %.4g, %d", figures, 100*g.use, g.refused, g.cold)
	}
}

// ofWholeWindows is the use of windows that requests open, from the opening of
// the first to that of the last. They do not end when the measuring does, and
// a part of one can hold all of its requests or none.
func ofWholeWindows(r sim.Result, s sim.Scenario) float64 {
	var own, rivals int // since the first opening
	var first time.Duration
	use := 0.0
	for _, a := range r.Trace {
		if a.Allowed && a.Left == a.Limit-1 && a.At >= s.Warm {
			if first == 0 {
				first = a.At
			} else {
				allowed := float64(s.Limit) * float64(a.At-first) / float64(s.Window)
				use = float64(own) / (allowed - float64(rivals))
			}
		}
		switch {
		case first == 0 || !a.Allowed:
		case a.Rival:
			rivals++
		default:
			own++
		}
	}
	return use
}

// server is a scenario of one of the two usual limits.
func server(m sim.Model, window time.Duration) sim.Scenario {
	limit := 1000
	if window == second {
		limit = 100
	}
	return sim.Scenario{Model: m, Limit: limit, Window: window}
}

// plainGoals are limiter.md section 7, 1 to 6, and what issue 3 asks beyond it.
func plainGoals() []goal {
	untailed := server(sim.Clock, second)
	untailed.Tail = -1
	return []goal{
		{"clock windows of a second", server(sim.Clock, second), 0.994, 0, 0, ""},
		{"clock windows of a second without a slow tail", untailed, 0.999, 0, 0, ""},
		{"clock windows of a minute", server(sim.Clock, minute), 0.9995, 1, 0, ""},
		{"first-request windows of a second", server(sim.FirstRequest, second), 0.965, 2, uncounted, ""},
		{"first-request windows of a minute", server(sim.FirstRequest, minute), 0.999, 1, 4,
			"99.95 %, which left out the round trip between two windows: 0.08 %"},
		{"a log over a second", server(sim.SlidingLog, second), 0.935, 20, uncounted, "94 %, which holds over ten seeds"},
		{"a log over 10 seconds", sim.Scenario{Model: sim.SlidingLog, Limit: 600, Window: 10 * second}, 0.965, 2, uncounted, "99.3 %"},
		{"a log over a minute", server(sim.SlidingLog, minute), 0.9975, 1, uncounted, "99.8 %, which holds over ten seeds"},
		{"a counter over a second", server(sim.SlidingCounter, second), 0.94, 20, uncounted, ""},
		{"a counter over a minute", server(sim.SlidingCounter, minute), 0.996, 1, uncounted, ""},
		{"a bucket of a second", server(sim.TokenBucket, second), 0.999, 1.2, uncounted, "1, which holds over ten seeds"},
		{"a bucket of a minute", server(sim.TokenBucket, minute), 0.999, 1, uncounted, ""},
	}
}

// oddGoals are limiter.md section 7, 13 to 15, its stretch goals, and the weak
// spots of section 6 that must have become better. Those that issue 3 does not
// name are played with -full only.
func oddGoals() []goal {
	var goals []goal
	add := func(name string, change func(*sim.Scenario), rows ...goal) {
		for _, g := range rows {
			g.name = fmt.Sprintf("%s, %s per %v", name, g.Model, g.Window)
			change(&g.Scenario)
			goals = append(goals, g)
		}
	}
	addFull := func(name string, change func(*sim.Scenario), rows ...goal) {
		if *full {
			add(name, change, rows...)
		}
	}
	of := func(m sim.Model, window time.Duration, use, refused float64, missed string) goal {
		return goal{"", server(m, window), use, refused, uncounted, missed}
	}

	name, change := "another client takes 30 percent", func(s *sim.Scenario) { s.RivalShare = 0.3 }
	add(name, change,
		of(sim.Clock, minute, 0.992, 50, ""),
		of(sim.FirstRequest, minute, 0.992, 50, ""),
		of(sim.TokenBucket, minute, 0.992, 50, ""))
	addFull(name, change,
		of(sim.SlidingCounter, minute, 0.988, 50, "99.2 %"),
		of(sim.SlidingLog, minute, 0.89, 50, "99.2 %"))

	name, change = "headers are missing on 30 percent", func(s *sim.Scenario) { s.Missing = 0.3 }
	add(name, change,
		of(sim.Clock, minute, 0.999, 2, ""),
		of(sim.FirstRequest, minute, 0.999, 2, ""))
	addFull(name, change,
		of(sim.SlidingLog, minute, 0.993, 46, ""),
		of(sim.SlidingCounter, minute, 0.997, 2, ""),
		of(sim.TokenBucket, minute, 0.999, 2, ""))

	name, change = "headers come with 429 only", func(s *sim.Scenario) { s.Headers = sim.On429 }
	add(name, change,
		of(sim.Clock, minute, 0.999, 10, ""),
		of(sim.SlidingLog, minute, 0.95, 100, ""),
		of(sim.SlidingCounter, second, 0.8, 40, ""))
	addFull(name, change,
		of(sim.FirstRequest, minute, 0.99, 17, ""),
		of(sim.SlidingCounter, minute, 0.6, 40, "about all: three runs in ten use 9 to 28 %"),
		of(sim.TokenBucket, minute, 0.97, 40, ""))

	name, change = "no Date", func(s *sim.Scenario) { s.NoDate = true }
	add(name, change,
		of(sim.Clock, second, 0.99, 0, ""),
		of(sim.SlidingLog, second, 0.93, 20, "94 %, which holds over ten seeds"),
		of(sim.SlidingCounter, second, 0.94, 20, ""))
	addFull(name, change,
		of(sim.FirstRequest, second, 0.965, 2, ""),
		of(sim.TokenBucket, second, 0.999, 2, ""),
		of(sim.FirstRequest, minute, 0.999, 1, ""))

	name, change = "no headers at all", func(s *sim.Scenario) { s.Headers = sim.None }
	add(name, change,
		of(sim.Clock, second, 0.88, 80, ""),
		of(sim.SlidingLog, second, 0.8, 80, ""))
	addFull(name, change,
		of(sim.FirstRequest, second, 0.87, 80, ""),
		of(sim.SlidingCounter, second, 0.83, 80, ""),
		of(sim.TokenBucket, second, 0.93, 80, ""))

	name, change = "a fleet whose Resets are 0.3 s off", func(s *sim.Scenario) { s.ResetJitter = 300 * ms }
	add(name, change,
		of(sim.Clock, minute, 0.9995, 15, ""),
		of(sim.Clock, second, 0.75, 100, "95 %, if it can be reached; limiter.md saw 77"))
	addFull(name, change,
		of(sim.FirstRequest, minute, 0.999, 15, ""),
		of(sim.FirstRequest, second, 0.75, 400, "95 %, if it can be reached; limiter.md saw 76"))

	name, change = "one request at a time", func(s *sim.Scenario) { s.MaxInFlight = 1 }
	add(name, change,
		of(sim.Clock, minute, 0.99, 1, ""),
		of(sim.SlidingLog, minute, 0.94, 1, ""),
		of(sim.Clock, second, 0.99*0.178, 0, "")) // a round trip takes 56 ms on average
	addFull(name, change,
		of(sim.FirstRequest, minute, 0.99, 1, ""),
		of(sim.SlidingCounter, minute, 0.94, 1, ""))
	return slices.Concat(goals, coldGoals(sim.Floor), coldGoals(sim.Ceil))
}

// coldGoals bound what is refused in the first six windows, or the first minute.
func coldGoals(r sim.Rounding) []goal {
	// A Reset that is rounded up, or that ends an aligned window, misleads nobody.
	learned, rounded := 0, "up"
	if r == sim.Floor {
		learned, rounded = 4, "down"
	}
	of := func(m sim.Model, limit int, window time.Duration, most int) goal {
		s := sim.Scenario{Model: m, Limit: limit, Window: window, Rounding: r, Warm: 6 * max(window, 10*second), Measured: 1}
		return goal{fmt.Sprintf("a cold start, Reset rounded %s, %s per %v", rounded, m, window), s, 0, math.Inf(1), most, ""}
	}
	return []goal{
		of(sim.Clock, 1000, minute, 0),
		of(sim.FirstRequest, 1000, minute, learned),
		of(sim.FirstRequest, 600, 10*second, learned),
		of(sim.FirstRequest, 100, second, learned),
		of(sim.SlidingLog, 600, 10*second, 4),
		of(sim.TokenBucket, 50, 10*second, 10),
	}
}

func TestAcceptanceOfSparseMessages(t *testing.T) {
	for _, model := range sim.Models() {
		for _, window := range []time.Duration{second, minute} {
			t.Run(fmt.Sprintf("%s per %v", model, window), func(t *testing.T) {
				t.Parallel()
				s := server(model, window)
				s.OrdinaryEvery = 10 * s.Window / time.Duration(s.Limit)
				for _, r := range plays(t, s) {
					if p99 := sim.Quantile(r.Waits, 0.99); p99 > ms {
						t.Errorf("1 of 100 messages waited %v or longer, want 1ms", p99)
					}
					if r.Measured.Refused > 0 {
						t.Errorf("%d refused, want 0", r.Measured.Refused)
					}
				}
			})
		}
	}
}

func TestAcceptanceOfTheHighLaneUnderAnEndlessBacklog(t *testing.T) {
	for _, c := range []struct {
		model sim.Model
		p99   time.Duration
		use   float64
		long  bool // with -full only
	}{
		{sim.Clock, 20 * ms, 0.995, false},
		{sim.FirstRequest, 20 * ms, 0.995, true},
		{sim.SlidingLog, 1200 * ms, 0.99, true},
		{sim.SlidingCounter, 13 * ms, 0.99, true},
		{sim.TokenBucket, 20 * ms, 0.995, true},
	} {
		if c.long && !*full {
			continue
		}
		t.Run(string(c.model), func(t *testing.T) {
			t.Parallel()
			s := server(c.model, minute)
			s.HighEvery, s.Reserve = 20*s.Window/time.Duration(s.Limit), 0.25
			use, waits := 0.0, []time.Duration(nil)
			results := plays(t, s)
			for _, r := range results {
				use += r.Use / float64(len(results))
				waits = append(waits, r.HighWaits...)
			}
			p99 := sim.Quantile(waits, 0.99)
			if *full {
				t.Logf("%s: p50 %v, p99 %v, %.2f %% used", c.model, sim.Quantile(waits, 0.5), p99, 100*use)
			}
			if p99 > c.p99 || use < c.use {
				t.Errorf("1 of 100 urgent messages waited %v or longer, %.2f %% used; want %v, %.1f %%", p99, 100*use, c.p99, 100*c.use)
			}
		})
	}
}

func TestAcceptanceOfALimitThatRises(t *testing.T) {
	for _, c := range []struct {
		window, most time.Duration
		model        sim.Model
	}{
		{minute, 1100 * ms, sim.Clock},
		{minute, 1100 * ms, sim.FirstRequest},
		{minute, 1100 * ms, sim.SlidingCounter},
		{minute, 32 * second, sim.SlidingLog}, // missed: 1.1 s; nothing trickles while the log is full
		{time.Hour, 37 * second, sim.Clock},   // 30 s; the reserve lets one through every 36 s
		{time.Hour, 37 * second, sim.FirstRequest},
		{time.Hour, 30 * second, sim.SlidingCounter},
	} {
		if c.window == time.Hour && !*full {
			continue
		}
		t.Run(fmt.Sprintf("%s per %v", c.model, c.window), func(t *testing.T) {
			t.Parallel()
			s := sim.Scenario{Model: c.model, Limit: 1000, Window: c.window, Traced: true, Measured: c.window}
			at := tier(&s, 4000)
			worst := time.Duration(0)
			for _, r := range plays(t, s) {
				isMore := func(a sim.Arrival) bool { return a.At >= at && a.Allowed && a.Limit-a.Left > 1000 }
				i := slices.IndexFunc(r.Trace, isMore)
				if i < 0 {
					t.Fatal("the risen limit was never used")
				}
				worst = max(worst, r.Trace[i].At-at)
			}
			if *full {
				t.Logf("%s per %v: used after %v at most", c.model, c.window, worst)
			}
			if worst > c.most {
				t.Errorf("more than before was used after %v, want %v", worst, c.most)
			}
		})
	}
}

func TestAcceptanceOfALimitThatFalls(t *testing.T) {
	for model, most := range map[sim.Model]float64{
		sim.Clock: 12, sim.FirstRequest: 12, sim.SlidingCounter: 12,
		sim.SlidingLog: 20, // missed: 12
	} {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			s := server(model, minute)
			at := tier(&s, 250)
			s.Measured, s.Traced = 4*minute, true
			all, worst := 0, 0
			results := plays(t, s)
			for _, r := range results {
				refused := 0
				for _, a := range r.Trace {
					if a.At >= at && !a.Allowed {
						refused++
					}
				}
				all, worst = all+refused, max(worst, refused)
			}
			mean := float64(all) / float64(len(results))
			if *full {
				t.Logf("%s: %.1f refused, %d at most", model, mean, worst)
			}
			if mean > most {
				t.Errorf("%.1f were refused on average, %d at most; want %v", mean, worst, most)
			}
		})
	}
}

// tier lets the limit change in the middle of a window, and says when.
func tier(s *sim.Scenario, limit int) time.Duration {
	at := 4*s.Window + s.Window/2
	s.Tiers = []sim.Tier{{After: at, Limit: limit}}
	return at
}
