package sim_test

import (
	"testing"
	"time"

	"weir/limiter/sim"
)

func TestEveryContenderSendsOnAndNamesTimesThatAreAhead(t *testing.T) {
	for _, c := range sim.Contenders() {
		for _, model := range sim.Models() {
			for _, headers := range sim.AllHeaders() {
				s := backlog
				s.Model, s.Headers = model, headers
				r := sim.Run(s, c.New(s))
				if r.Use < 0.3 || r.Spins > 0 {
					t.Errorf("%s against %s with headers %s: %.2f of the limit used, asked again in vain %d times",
						c.Name, model, headers, r.Use, r.Spins)
				}
			}
		}
	}
}

func TestNoContenderIsStoppedByLostAnswers(t *testing.T) {
	for _, c := range sim.Contenders() {
		s := backlog
		s.Lost = 0.05
		if r := sim.Run(s, c.New(s)); r.Use < 0.3 || r.Spins > 0 {
			t.Errorf("%s: %.2f of the limit used, asked again in vain %d times", c.Name, r.Use, r.Spins)
		}
	}
}

func TestWhoTrustsAClockThatIsBehindStormsTheServer(t *testing.T) {
	s := backlog
	s.Skew = -3 * time.Second
	for _, c := range sim.Contenders() {
		s.Seed = 1
		r := sim.Run(s, c.New(s))
		per10k := r.Measured.Per10k()
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
