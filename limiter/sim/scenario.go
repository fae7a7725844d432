package sim

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Scenario is one server, the way to it, and what is to be sent, all in virtual
// time. Limit, Window and a length (Measured, or Backlog) are needed; otherwise
// the zero value is an endless backlog before a server that keeps a window
// aligned to the clock and tells everything.
type Scenario struct {
	// Model is how the server counts. Defaults to Clock.
	Model Model
	// Limit is how many requests the server allows per Window.
	Limit int
	// Window is the length of the limit's window.
	Window time.Duration
	// Tiers change the limit while the scenario runs.
	Tiers []Tier
	// RivalRate is how many requests per second another client makes, at
	// random, which the same limit counts; 0 means none.
	RivalRate float64
	// RivalShare adds to RivalRate a share of the first Limit.
	RivalShare float64

	// Chance is the share of requests, from 0 to 1, that the server refuses at
	// random between ChanceFrom and ChanceTo, whatever is left of the limit.
	// They are not counted; the 429 says nothing but to wait for a second.
	Chance float64
	// ChanceFrom and ChanceTo are since the start.
	ChanceFrom, ChanceTo time.Duration

	// Headers says which answers tell about the limit. Defaults to Always.
	Headers Headers
	// Missing is the share of successes, from 0 to 1, whose headers are missing.
	Missing float64
	// Rounding is how Reset becomes whole seconds. The zero value is Floor.
	Rounding Rounding
	// ResetJitter moves each answer's Reset at random, by as much at most
	// either way, as the servers of a fleet do.
	ResetJitter time.Duration
	// RemainingBefore makes Remaining leave out the request that it answers.
	RemainingBefore bool
	// NoDate leaves the Date header out.
	NoDate bool
	// NoRetryAfter leaves retry_after out of a 429, which else names whole seconds.
	NoRetryAfter bool
	// Skew is what the server's clock shows more than ours.
	Skew time.Duration

	// Leg is the median time of one way; each is lognormal with a sigma of
	// 0.45. Defaults to 20 ms.
	Leg time.Duration
	// Tail is the share of requests of which one way takes a second more.
	// Defaults to 0.01; below 0 means none.
	Tail float64
	// Lost is the share of requests, from 0 to 1, that the server counts and
	// whose answers never come. They are given up after 3 s.
	Lost float64

	// MaxInFlight is how many requests may be under way at once. Defaults to 128.
	MaxInFlight int
	// Reserve is the share of the limit that policies which know lanes keep
	// for the high one. Defaults to 0.1; below 0 means none.
	Reserve float64
	// HighEvery is the mean time between messages of the high lane, which come
	// at random; 0 means that none come.
	HighEvery time.Duration
	// HighMost is how many messages of the high lane come, within HighMost
	// times HighEvery; 0 means that they do not end.
	HighMost int
	// Backlog is how many ordinary messages wait from the start; the run is
	// over when they and HighMost others have been sent. 0 means that they do
	// not end.
	Backlog int
	// OrdinaryEvery is the mean time between bursts of ordinary messages that
	// come at random instead of waiting from the start; 0 means a backlog.
	OrdinaryEvery time.Duration
	// Burst is how many of them come at once. Defaults to 1.
	Burst int

	// Warm is how long the cold start takes, which is not measured.
	Warm time.Duration
	// Measured is how long is measured from then on. With a Backlog it bounds
	// the run, and defaults to a hundred times what the limit makes it take.
	Measured time.Duration
	// Seed chooses among the ways in which chance can go.
	Seed uint64

	// Traced keeps every arrival at the server in the Result.
	Traced bool
	// Watch, if set, is told from time to time how much virtual time has
	// passed. It ends the run by returning false.
	Watch func(passed time.Duration) bool
}

// Tier changes the limit to Limit, 1 or more, After that time.
type Tier struct {
	After time.Duration
	Limit int
}

// withDefaults fills in what zero values stand for.
func (s Scenario) withDefaults() Scenario {
	s.Model = cmp.Or(s.Model, Clock)
	s.Headers = cmp.Or(s.Headers, Always)
	s.Leg = cmp.Or(s.Leg, 20*time.Millisecond)
	s.Tail = max(cmp.Or(s.Tail, 0.01), 0)
	s.MaxInFlight = cmp.Or(s.MaxInFlight, 128)
	s.Reserve = max(cmp.Or(s.Reserve, 0.1), 0)
	s.Burst = cmp.Or(s.Burst, 1)
	s.RivalRate += s.RivalShare * s.perSecond()
	s.RivalShare = 0
	if s.Backlog > 0 && s.Measured == 0 {
		s.Measured = 100*s.atBest() + time.Hour
	}
	s.Tiers = slices.SortedStableFunc(slices.Values(s.Tiers), func(a, b Tier) int { return cmp.Compare(a.After, b.After) })
	return s
}

// Validate reports every field that makes no sense, by its name.
func (s Scenario) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("sim: "+format, args...))
		}
	}
	share := func(name string, value float64) {
		check(value >= 0 && value <= 1, "%s %v: must be from 0 to 1", name, value)
	}
	check(s.Model == "" || slices.Contains(Models(), s.Model), "Model %q: want one of %v", s.Model, Models())
	check(s.Headers == "" || slices.Contains(AllHeaders(), s.Headers), "Headers %q: want one of %v", s.Headers, AllHeaders())
	check(s.Limit > 0, "Limit %d: must be 1 or more", s.Limit)
	check(s.Window > 0, "Window %v: must be above 0", s.Window)
	check(s.Measured > 0 || s.Measured == 0 && s.Backlog > 0, "Measured %v: must be above 0", s.Measured)
	check(s.Backlog == 0 || s.OrdinaryEvery == 0, "Backlog: wants no OrdinaryEvery beside it")
	for _, t := range s.Tiers {
		check(t.Limit > 0 && t.After >= 0, "Tiers: %d after %v: wants a limit above 0, and a time", t.Limit, t.After)
	}
	share("RivalShare", s.RivalShare)
	share("Missing", s.Missing)
	share("Lost", s.Lost)
	share("Chance", s.Chance)
	check(s.Tail <= 1, "Tail %v: must be 1 at most", s.Tail)
	check(s.Reserve <= 1, "Reserve %v: must be 1 at most", s.Reserve)
	check(s.RivalRate >= 0, "RivalRate %v: must not be negative", s.RivalRate)
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"ResetJitter", s.ResetJitter}, {"ChanceFrom", s.ChanceFrom}, {"ChanceTo", s.ChanceTo}, {"Leg", s.Leg}, {"HighEvery", s.HighEvery}, {"OrdinaryEvery", s.OrdinaryEvery}, {"Warm", s.Warm}} {
		check(d.value >= 0, "%s %v: must not be negative", d.name, d.value)
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"MaxInFlight", s.MaxInFlight}, {"HighMost", s.HighMost}, {"Backlog", s.Backlog}, {"Burst", s.Burst}} {
		check(n.value >= 0, "%s %d: must not be negative", n.name, n.value)
	}
	return errors.Join(faults...)
}

// perSecond is the rate of the first limit.
func (s Scenario) perSecond() float64 { return float64(s.Limit) / s.Window.Seconds() }

// atBest is how long the first limit makes the backlog take.
func (s Scenario) atBest() time.Duration {
	return time.Duration(float64(s.Backlog+s.HighMost) / s.perSecond() * float64(time.Second))
}

// allowed is how many requests the limit allows from one time to another.
func (s Scenario) allowed(from, to time.Duration) float64 {
	seconds, limit := 0.0, s.Limit
	for _, t := range s.Tiers {
		at := min(max(t.After, from), to)
		seconds += float64(limit) * (at - from).Seconds()
		from, limit = at, t.Limit
	}
	seconds += float64(limit) * (to - from).Seconds()
	return seconds / s.Window.Seconds()
}
