package sim_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"weir/limiter"
	"weir/limiter/sim"
)

// backlog is a scenario of a few windows before which messages wait for ever.
var backlog = sim.Scenario{Limit: 100, Window: time.Second, Warm: 4 * time.Second, Measured: 12 * time.Second}

func TestTheSameScenarioComesOutTheSameEachTime(t *testing.T) {
	s := backlog
	s.Lost, s.RivalShare, s.HighEvery, s.Traced = 0.01, 0.2, 100*time.Millisecond, true
	one, two := sim.Run(s, sim.NewWeir(s)), sim.Run(s, sim.NewWeir(s))
	if !reflect.DeepEqual(one, two) {
		t.Errorf("use %v and %v, %+v and %+v", one.Use, two.Use, one.Total(), two.Total())
	}
	s.Seed = 1
	if other := sim.Run(s, sim.NewWeir(s)); reflect.DeepEqual(one, other) {
		t.Error("another seed makes no difference")
	}
}

func TestUseIsMeasuredAgainstWhatTheLimitAllowedAndARivalLeft(t *testing.T) {
	for name, change := range map[string]func(*sim.Scenario){
		"a limit alone":          func(*sim.Scenario) {},
		"another client":         func(s *sim.Scenario) { s.RivalShare = 0.4 },
		"a limit that is raised": func(s *sim.Scenario) { s.Tiers = []sim.Tier{{After: 10 * time.Second, Limit: 300}} },
	} {
		s := backlog
		change(&s)
		if r := sim.Run(s, sim.NewWeir(s)); r.Use < 0.97 || r.Use > 1 {
			t.Errorf("%s: %.3f is used, want nearly all", name, r.Use)
		}
	}
}

func TestTheTraceIsWhatTheServerSaw(t *testing.T) {
	s := backlog
	s.Traced, s.Skew, s.RivalRate = true, 3*time.Second, 10
	r := sim.Run(s, sim.NewWeir(s))
	var own, rivals sim.Tally
	for i, a := range r.Trace {
		tally := &own
		if a.Rival {
			tally = &rivals
		}
		if a.Allowed {
			tally.Accepted++
		} else {
			tally.Refused++
		}
		if ends := a.At.Truncate(time.Second) + time.Second; a.Reset != ends {
			t.Fatalf("arrival %d at %v: Reset at %v, want %v", i, a.At, a.Reset, ends)
		}
	}
	if own != r.Total() || rivals.Accepted == 0 {
		t.Errorf("the trace has %+v of ours and %+v of the rival, the result says %+v", own, rivals, r.Total())
	}
}

func TestABacklogEndsWhenAllIsSent(t *testing.T) {
	s := sim.Scenario{Limit: 100, Window: time.Second, Backlog: 900, HighEvery: 90 * time.Millisecond, HighMost: 100}
	r := sim.Run(s, sim.NewWeir(s))
	if r.Total().Accepted != 1000 || len(r.HighWaits) != 100 || len(r.Waits) != 900 {
		t.Errorf("%d accepted, %d urgent; want 1000, 100", r.Total().Accepted, len(r.HighWaits))
	}
	if r.Done < 9*time.Second || r.Done > 12*time.Second {
		t.Errorf("done after %v, want 10s or so", r.Done)
	}
	if high, others := sim.Quantile(r.HighWaits, 0.5), sim.Quantile(r.Waits, 0.5); high > 10*time.Millisecond || others < 3*time.Second {
		t.Errorf("half of the urgent wait %v, of the others %v; want next to nothing, seconds", high, others)
	}
}

func TestABacklogEndsBesideAHighLaneThatDoesNot(t *testing.T) {
	s := sim.Scenario{Limit: 100, Window: time.Second, Backlog: 500, HighEvery: 50 * time.Millisecond}
	r := sim.Run(s, sim.NewWeir(s))
	if len(r.Waits) != 500 || len(r.HighWaits) < 50 || r.Done < 5*time.Second {
		t.Errorf("%d of the backlog and %d urgent ones are sent after %v; want 500 and about 120 after 6s or so",
			len(r.Waits), len(r.HighWaits), r.Done)
	}
}

func TestWhatIsRefusedIsSentAgainAndItsWaitGoesOn(t *testing.T) {
	s := sim.Scenario{Limit: 10, Window: time.Second, Backlog: 30}
	r := sim.Run(s, reckless{limiter.New(limiter.Config{})})
	if r.Total().Accepted != 30 || r.Total().Refused == 0 || r.Done == 0 {
		t.Errorf("%+v, done after %v; want 30 accepted at last", r.Total(), r.Done)
	}
	if worst := sim.Quantile(r.Waits, 1); worst < time.Second {
		t.Errorf("the longest wait is %v; want it to count until the request that was accepted", worst)
	}
}

// reckless grants whatever it is asked for.
type reckless struct{ *limiter.Limiter }

func (r reckless) Grant(_ time.Time, _ bool, n int) (int, time.Time) { return n, time.Time{} }

func TestAPolicyThatHangsUsesHardlyAnything(t *testing.T) {
	if r := sim.Run(backlog, &hanging{Policy: sim.NewWeir(backlog)}); r.Use > 0.1 {
		t.Errorf("%.2f is used, want next to nothing", r.Use)
	}
}

// hanging grants one token, and says that there will be no more.
type hanging struct {
	sim.Policy
	done bool
}

func (h *hanging) Grant(time.Time, bool, int) (int, time.Time) {
	if h.done {
		return 0, time.Time{}
	}
	h.done = true
	return 1, time.Time{}
}

func TestAWatcherSeesTimePassAndMayEndTheRun(t *testing.T) {
	s := sim.Scenario{Limit: 1000, Window: time.Second, Measured: time.Hour}
	var seen []time.Duration
	s.Watch = func(passed time.Duration) bool {
		seen = append(seen, passed)
		return len(seen) < 3
	}
	r := sim.Run(s, sim.NewWeir(s))
	if len(seen) != 3 || seen[2] <= seen[1] || r.Total().Accepted > 100_000 {
		t.Errorf("seen %v, %d accepted; want the run to end at the third time", seen, r.Total().Accepted)
	}
}

func TestEveryFieldThatMakesNoSenseIsNamed(t *testing.T) {
	err := sim.Scenario{
		Model: "m", Headers: "h", Tiers: []sim.Tier{{}}, RivalRate: -1, RivalShare: 2, Missing: -1, ResetJitter: -1, Leg: -1, Tail: 2,
		Lost: 2, MaxInFlight: -1, Reserve: 2, HighEvery: -1, HighMost: -1, Backlog: -1, OrdinaryEvery: -1, Burst: -1, Warm: -1,
	}.Validate()
	if err == nil {
		t.Fatal("Validate = nil; want errors")
	}
	for _, name := range []string{
		"Model", "Limit", "Window", "Headers", "Tiers", "RivalRate", "RivalShare", "Missing", "ResetJitter", "Leg", "Tail",
		"Lost", "MaxInFlight", "Reserve", "HighEvery", "HighMost", "Backlog", "OrdinaryEvery", "Burst", "Warm", "Measured",
	} {
		if !strings.Contains(err.Error(), name+" ") && !strings.Contains(err.Error(), name+":") {
			t.Errorf("Validate does not name %s: %v", name, err)
		}
	}
}

func ExampleRun() {
	s := sim.Scenario{
		Limit: 100, Window: time.Second, Rounding: sim.Ceil, Skew: 4 * time.Second,
		Warm: 4 * time.Second, Measured: 12 * time.Second, Tail: -1,
	}
	r := sim.Run(s, sim.NewWeir(s))
	fmt.Printf("%.1f %% of the limit used, %d of %d refused\n", 100*r.Use, r.Measured.Refused, r.Measured.Accepted+r.Measured.Refused)
	// Output:
	// 100.0 % of the limit used, 0 of 1200 refused
}

func TestRefusalsByChanceComeBetweenTheirTimesAndCostNothingOfTheLimit(t *testing.T) {
	s := backlog
	s.Limit, s.Window, s.MaxInFlight, s.Traced = 1e6, time.Hour, 10, true
	s.Storm = sim.Storm{From: 4 * time.Second, Until: 8 * time.Second, Share: 0.5}
	r := sim.Run(s, sim.NewWeir(s))
	left := s.Limit
	for _, a := range r.Trace {
		left = min(left, a.Left)
	}
	if counted := s.Limit - left; r.Cold.Refused > 0 || r.Measured.Refused == 0 || counted != r.Total().Accepted {
		t.Errorf("%+v before, %+v from then on, %d counted; want refusals from then on only, not counted", r.Cold, r.Measured, counted)
	}
	s.Storm.Until = s.Storm.From
	if r := sim.Run(s, sim.NewWeir(s)); r.Total().Refused > 0 {
		t.Errorf("%d refused at no time, want 0", r.Total().Refused)
	}
	s.Storm.Share = 1.1
	if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "Storm.Share") {
		t.Errorf("a share above 1: %v", err)
	}
}
