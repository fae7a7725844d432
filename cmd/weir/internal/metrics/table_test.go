package metrics

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"weir/store"
)

func TestOnlyAStateThatATimeEndsIsExposedWithThatTime(t *testing.T) {
	until := "2026-01-02T03:04:05.000Z"
	for state, want := range map[string]int{"parked": 1, "degraded": 1, "running": 0} {
		samples := make(chan prometheus.Metric, 100)
		sink{samples}.bucket(&store.StatusView{State: state, UntilAt: &until}, rcs.Account, rcs.Channel)
		close(samples)
		ends := 0
		for sample := range samples {
			if sample.Desc() == stateUntil {
				ends++
			}
		}
		if ends != want {
			t.Errorf("%s is exposed with %d ends, want %d", state, ends, want)
		}
	}
}
