package sim_test

import (
	"fmt"
	"math/rand/v2"
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

func TestACounterWeighsTheWindowBeforeByWhatIsStillCovered(t *testing.T) {
	steps(t, sim.NewCounter(4, 2*time.Second), []step{
		{0, true, 3, 2}, {0, true, 2, 2}, {1, true, 1, 2}, {1, true, 0, 2}, {1.9, false, 0, 2},
		{2, false, 0, 4}, {2.5, true, 0, 4}, {2.9, false, 0, 4}, {3, true, 0, 4}, {7, true, 3, 8},
	})
}

func TestACounterOfOneAllowsARequestInEverySecondWindow(t *testing.T) {
	c := sim.NewCounter(1, time.Second)
	allowed := 0
	for tenth := range 200 {
		if c.Take(at(float64(tenth) / 10)).Allowed {
			allowed++
		}
	}
	if allowed != 10 {
		t.Errorf("%d allowed in 20 windows, want 10", allowed)
	}
}

func TestRetryIsTheEarliestTimeAtWhichARequestIsAllowed(t *testing.T) {
	for _, model := range sim.Models() {
		for seed := range uint64(200) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			l, now := model.New(1+rnd.IntN(9), 3*time.Second), at(0)
			for range 100 {
				now = now.Add(time.Duration(rnd.Int64N(int64(700 * time.Millisecond))))
				d := l.Take(now)
				if peek := l.Peek(now); !peek.Retry.Equal(d.Retry) {
					t.Fatalf("%s, seed %d: Take names %v, Peek %v", model, seed, d.Retry, peek.Retry)
				}
				if !d.Retry.After(now) {
					if !l.Peek(now).Allowed {
						t.Fatalf("%s, seed %d: Retry is now, yet nothing is allowed", model, seed)
					}
					continue
				}
				if l.Peek(d.Retry.Add(-time.Microsecond)).Allowed {
					t.Fatalf("%s, seed %d: allowed before Retry, which is %v ahead", model, seed, d.Retry.Sub(now))
				}
				if now = d.Retry; !l.Take(now).Allowed {
					t.Fatalf("%s, seed %d: not allowed at Retry", model, seed)
				}
			}
		}
	}
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
	for _, model := range sim.Models() {
		l := model.New(1, time.Second)
		l.Peek(at(0))
		if d := l.Peek(at(0)); !d.Allowed || d.Remaining != 1 {
			t.Errorf("%s: second Peek = %v, %d left; want true, 1", model, d.Allowed, d.Remaining)
		}
	}
}

func ExampleWindow() {
	w := sim.NewWindow(2, time.Second, true)
	now := time.Unix(100, 250e6)
	for range 3 {
		d := w.Take(now)
		fmt.Println(d.Allowed, d.Remaining, sim.FormatReset(d.Reset, sim.Ceil), sim.RetryAfter(now, d.Retry))
	}
	// Output:
	// true 1 101 1
	// true 0 101 1
	// false 0 101 1
}
