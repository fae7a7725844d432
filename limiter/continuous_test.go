package limiter_test

import (
	"testing"
	"time"

	"weir/limiter/sim"
)

func TestALimitThatFallsBelowWhatALogHoldsNamesNoTimeThatHasPassed(t *testing.T) {
	s := sim.Scenario{
		Model: sim.SlidingLog, Limit: 100, Window: 10 * time.Second, Warm: 40 * time.Second, Measured: 20 * time.Second,
		Tiers: []sim.Tier{{After: 45 * time.Second, Limit: 10}},
	}
	for seed := range uint64(6) {
		s.Seed = seed
		run(t, s)
	}
}
