package main

import (
	"fmt"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/limiter/sim"
	"weir/outbox"
)

// paced is a scenario that a daemon and the simulation both play: a backlog
// before a server that is 1.3 s ahead, with answers after 10 ms or so.
func paced(model sim.Model) sim.Scenario {
	return sim.Scenario{
		Model: model, Limit: 80, Window: 2 * time.Second, Rounding: sim.Ceil, Skew: 1300 * time.Millisecond,
		Leg: 5 * time.Millisecond, Tail: -1, MaxInFlight: 64, Backlog: 480, Traced: true,
	}
}

// rigFor makes a rig that serves the scenario's API, and a backlog for its
// daemon. Several may stand beside each other, as it works in no directory.
func rigFor(t *testing.T, s sim.Scenario) (r *rig, keys []string) {
	t.Helper()
	r = newRigAside(t, sandbox.Config{
		Model: s.Model, Limit: s.Limit, Window: s.Window, Rounding: s.Rounding, Skew: s.Skew,
		Latency: 2 * s.Leg * 3 / 4, Jitter: s.Leg,
	})
	r.env["WEIR_CONCURRENCY"] = fmt.Sprint(s.MaxInFlight)
	keys = keysOf(string(s.Model), s.Backlog)
	r.send(envelopes(keys)...)
	return r, keys
}

// TestADaemonUsesALimitOfEachModel lets a daemon for each model work at the same
// time, which takes as long as one of them. It logs how near they come to the
// simulation. What it wants leaves room for a machine that is busy with others:
// where it stops for moments, a sliding log refused 94 of the 480. So it shows a
// daemon that stalls or floods, not one that goes by answers of 429 alone: what
// headers are good for, package limiter tests in virtual time.
func TestADaemonUsesALimitOfEachModel(t *testing.T) {
	models := sim.Models()
	rigs, keys := make([]*rig, len(models)), make([][]string, len(models))
	for i, model := range models {
		rigs[i], keys[i] = rigFor(t, paced(model))
	}
	for _, r := range rigs {
		r.serve()
	}
	for i, r := range rigs {
		s := paced(models[i])
		r.awaitState(outbox.Sent, len(keys[i]))
		r.wantSent(keys[i]...)
		stats := r.api.Stats()
		use := shareUsed(stats.Limits[0].Windows, s.Window)
		least, most := foretold(s)
		t.Logf("%s: %.3f of the limit used and %d refused; the simulation says %.3f at least and %d at most", s.Model, use, stats.Throttled, least, most)
		if use < least/2 || stats.Throttled > most+s.Backlog/4 {
			t.Errorf("with %s the daemon does far worse than the simulation", s.Model)
		}
	}
}

// foretold is what the simulation says of a scenario: the share used at least and
// how many are refused at most, with any luck and also with the slow answers that
// a busy machine gives, where a sliding log is known late.
func foretold(s sim.Scenario) (use float64, refused int) {
	use = 1
	slow, stalling := s, s
	slow.Leg, slow.Tail = 4*s.Leg, 0.05
	stalling.Leg, stalling.Tail = 20*s.Leg, 0.05
	for _, s := range []sim.Scenario{s, slow, stalling} {
		for s.Seed = range uint64(5) {
			r := sim.Run(s, sim.NewWeir(s))
			use = min(use, shareUsed(windowsOf(r, s), s.Window))
			refused = max(refused, r.Total().Refused)
		}
	}
	return use, refused
}

// windowsOf tells the windows of a simulation as the sandbox does its own.
func windowsOf(r sim.Result, s sim.Scenario) []sandbox.Window {
	var windows []sandbox.Window
	first := r.Trace[0].At
	for _, a := range r.Trace {
		start := first + (a.At - first).Truncate(s.Window)
		if s.Model.Windowed() {
			start = a.Reset - s.Window
		}
		at := time.Unix(0, 0).Add(start)
		if n := len(windows); n == 0 || at.After(windows[n-1].Start) {
			windows = append(windows, sandbox.Window{Start: at, Limit: a.Limit})
		}
		if a.Allowed {
			windows[len(windows)-1].Allowed++
		}
	}
	return windows
}

// shareUsed is how much of what the limit allows was used, from the third
// window to the last but one: the first two are a cold start, and the backlog
// ends within the last.
func shareUsed(windows []sandbox.Window, length time.Duration) float64 {
	const cold = 2
	last := len(windows) - 1
	if last <= cold {
		return 0
	}
	used := 0
	for _, w := range windows[cold:last] {
		used += w.Allowed
	}
	span := windows[last].Start.Sub(windows[cold].Start)
	return float64(used) / (float64(windows[last].Limit) * float64(span) / float64(length))
}
