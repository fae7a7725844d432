package sim_test

import (
	"testing"
	"time"

	"weir/limiter/sim"
)

// trickle is a scenario that is played quickly.
var trickle = sim.Scenario{Limit: 20, Window: time.Second, MaxInFlight: 16, Warm: 4 * time.Second, Measured: 12 * time.Second}

func TestEveryContenderSendsOnAndNamesTimesThatAreAhead(t *testing.T) {
	var servers []sim.Scenario
	for _, model := range sim.Models() {
		s := trickle
		s.Model = model
		servers = append(servers, s)
	}
	for _, headers := range sim.AllHeaders()[1:] {
		s := trickle
		s.Headers = headers
		servers = append(servers, s)
	}
	for _, c := range sim.Contenders() {
		for _, s := range servers {
			if r := sim.Run(s, c.New(s)); r.Use < 0.3 || r.Spins > 0 {
				t.Errorf("%s against %s with headers %s: %.2f of the limit used, asked again in vain %d times",
					c.Name, s.Model, s.Headers, r.Use, r.Spins)
			}
		}
	}
}

func TestNoContenderIsStoppedByLostAnswers(t *testing.T) {
	for _, c := range sim.Contenders() {
		s := trickle
		s.Lost = 0.05
		if r := sim.Run(s, c.New(s)); r.Use < 0.3 || r.Spins > 0 {
			t.Errorf("%s: %.2f of the limit used, asked again in vain %d times", c.Name, r.Use, r.Spins)
		}
	}
}

func TestWhoTrustsAClockThatIsBehindStormsTheServer(t *testing.T) {
	s := trickle
	s.Skew = -3 * time.Second
	for _, c := range sim.Contenders() {
		per10k := sim.Run(s, c.New(s)).Measured.Per10k()
		switch c.Name {
		case "park", "greedy", "even", "hybrid":
			if per10k < 1000 {
				t.Errorf("%s: %.0f refused per 10,000, want a storm", c.Name, per10k)
			}
		case "weir":
			if per10k > 10 {
				t.Errorf("weir: %.0f refused per 10,000, want none or so", per10k)
			}
		}
	}
}
