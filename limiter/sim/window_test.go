package sim_test

import (
	"fmt"
	"testing"
	"time"

	"weir/limiter/sim"
)

func at(seconds float64) time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

// steps takes at each time and compares what was allowed and left.
func steps(t *testing.T, l sim.Limit, want []struct {
	at        float64
	allowed   bool
	remaining int
	reset     float64
}) {
	t.Helper()
	for i, s := range want {
		d := l.Take(at(s.at))
		if d.Allowed != s.allowed || d.Remaining != s.remaining || !d.Reset.Equal(at(s.reset)) {
			t.Errorf("step %d, Take(%v) = %v, %d left, reset %v; want %v, %d, %v", i, s.at,
				d.Allowed, d.Remaining, d.Reset.Sub(at(0)).Seconds(), s.allowed, s.remaining, s.reset)
		}
	}
}

type step = struct {
	at        float64
	allowed   bool
	remaining int
	reset     float64
}

func TestAnAlignedWindowEndsAtMultiplesOfItsLength(t *testing.T) {
	steps(t, sim.NewWindow(2, 2*time.Second, true), []step{
		{0.5, true, 1, 2}, {0.9, true, 0, 2}, {1.99, false, 0, 2}, {2, true, 1, 4}, {9.5, true, 1, 10},
	})
}

func TestAWindowOpenedByARequestLastsItsWholeLength(t *testing.T) {
	steps(t, sim.NewWindow(2, 2*time.Second, false), []step{
		{0.5, true, 1, 2.5}, {0.9, true, 0, 2.5}, {2.4, false, 0, 2.5}, {3, true, 1, 5}, {4.9, true, 0, 5},
	})
}

func TestALogFreesEachSlotOneLengthAfterItWasTaken(t *testing.T) {
	steps(t, sim.NewLog(2, 2*time.Second), []step{
		{0, true, 1, 2}, {1, true, 0, 3}, {1.5, false, 0, 3}, {2, true, 0, 4}, {2.5, false, 0, 4}, {3, true, 0, 5},
	})
}

func TestABucketRefillsEvenly(t *testing.T) {
	steps(t, sim.NewBucket(2, 2*time.Second), []step{
		{0, true, 1, 1}, {0, true, 0, 2}, {0.5, false, 0, 2}, {1, true, 0, 3}, {9, true, 1, 10},
	})
}

func TestALoweredLimitLeavesWhatWasUsed(t *testing.T) {
	w := sim.NewWindow(4, time.Second, true)
	w.Take(at(0))
	w.Take(at(0.1))
	w.SetLimit(1)
	if d := w.Take(at(0.2)); d.Allowed || d.Remaining != 0 {
		t.Errorf("Take above the lowered limit = %v, %d left; want false, 0", d.Allowed, d.Remaining)
	}
	w.SetLimit(8)
	if d := w.Take(at(0.3)); !d.Allowed || d.Remaining != 5 {
		t.Errorf("Take under the raised limit = %v, %d left; want true, 5", d.Allowed, d.Remaining)
	}
}

func TestPeekTakesNothing(t *testing.T) {
	for name, l := range map[string]sim.Limit{
		"window": sim.NewWindow(1, time.Second, true), "log": sim.NewLog(1, time.Second), "bucket": sim.NewBucket(1, time.Second),
	} {
		l.Peek(at(0))
		if d := l.Peek(at(0)); !d.Allowed || d.Remaining != 1 {
			t.Errorf("%s: second Peek = %v, %d left; want true, 1", name, d.Allowed, d.Remaining)
		}
	}
}

func ExampleWindow() {
	w := sim.NewWindow(2, time.Second, true)
	now := time.Unix(100, 250e6)
	for range 3 {
		d := w.Take(now)
		fmt.Println(d.Allowed, d.Remaining, sim.FormatReset(d.Reset, sim.Ceil), sim.RetryAfter(now, d.Reset))
	}
	// Output:
	// true 1 101 1
	// true 0 101 1
	// false 0 101 1
}
