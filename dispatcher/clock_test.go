package dispatcher

import (
	"strings"
	"testing"
	"time"

	"weir/internal/bubble"
)

// wall is a wall clock in a bubble that can be set.
type wall struct {
	*testing.T
	*Clock
	set time.Duration
}

func withWall(t *testing.T, test func(w *wall)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		w := &wall{T: t}
		w.Clock = NewClock(w.read)
		test(w)
	})
}

func (w *wall) read() time.Time { return time.Now().Add(w.set) }

// hear takes an answer of a server whose clock is that far from the right time.
func (w *wall) hear(server string, off time.Duration) {
	now := w.Now()
	w.Heard(server, now, now, time.Now().Add(off).Truncate(time.Second))
}

// wantDoubt checks for how long verdicts have to wait, and that the reason says
// why; 0 is not at all.
func (w *wall) wantDoubt(until time.Duration, reason string) {
	w.Helper()
	doubt, doubted := w.Doubt()
	if left := doubt.Until.Sub(w.Now()); doubted != (until > 0) || doubted && left != until || !strings.Contains(doubt.Reason, reason) {
		w.Errorf("doubted %v for %v: %q; want %v: %q", doubted, left, doubt.Reason, until, reason)
	}
}

func TestTheClockCountsOnWhileNobodyLooksAtTheWall(t *testing.T) {
	withWall(t, func(w *wall) {
		start := w.Now()
		w.set = time.Hour
		time.Sleep(time.Minute)
		if passed := w.Now().Sub(start); passed != time.Minute {
			t.Errorf("%v have passed, want a minute", passed)
		}
	})
}

func TestTheClockFollowsAStepOfOverTwoSecondsEitherWay(t *testing.T) {
	for _, step := range []time.Duration{2100 * time.Millisecond, -2100 * time.Millisecond, time.Hour, -time.Hour} {
		withWall(t, func(w *wall) {
			w.set = step
			if seen := w.Check(); seen != step || !w.Now().Equal(w.read()) {
				t.Errorf("a step of %v is taken for %v; the clock is off by %v", step, seen, w.Now().Sub(w.read()))
			}
			if again := w.Check(); again != 0 {
				t.Errorf("seen again as %v", again)
			}
		})
	}
}

func TestASmallSlipOfTheWallClockIsNoStep(t *testing.T) {
	withWall(t, func(w *wall) {
		w.set = 2 * time.Second
		if step := w.Check(); step != 0 || !w.Now().Equal(time.Now()) {
			t.Errorf("a slip counts as a step of %v", step)
		}
		w.wantDoubt(0, "")
	})
}

func TestAStartWithoutAStepIsTrusted(t *testing.T) {
	withWall(t, func(w *wall) { w.wantDoubt(0, "") })
}

func TestAStepIsDoubtedForTenMinutes(t *testing.T) {
	withWall(t, func(w *wall) {
		w.set = time.Hour
		w.Check()
		w.wantDoubt(10*time.Minute, "the wall clock was set by 1h0m0s")
		time.Sleep(10*time.Minute - time.Millisecond)
		w.wantDoubt(time.Millisecond, "set")
		time.Sleep(time.Millisecond)
		w.wantDoubt(0, "")
	})
}

func TestAServerThatAgreesEndsTheDoubtAfterAStepAtOnce(t *testing.T) {
	withWall(t, func(w *wall) {
		w.hear("a", 0) // before the step it says nothing about after it
		w.set = time.Hour
		w.Check()
		w.wantDoubt(10*time.Minute, "set")
		w.hear("a", time.Hour+59*time.Second)
		w.wantDoubt(0, "")
	})
}

func TestAServersOtherTimeIsDoubtedUntilItHasBeenSteadyForTenMinutes(t *testing.T) {
	withWall(t, func(w *wall) {
		w.hear("a", 3*time.Hour)
		w.wantDoubt(10*time.Minute, "differs by 3h0m0s")
		time.Sleep(9 * time.Minute)
		w.hear("a", 3*time.Hour-time.Minute)
		w.wantDoubt(time.Minute, "differs")
		time.Sleep(time.Minute)
		w.hear("a", 3*time.Hour)
		w.wantDoubt(0, "") // our clock decides
		w.hear("a", 2*time.Hour)
		w.wantDoubt(10*time.Minute, "differs by 2h0m0s")
		w.hear("a", 0)
		w.wantDoubt(0, "")
	})
}

func TestTheClocksOfServersAreNotTakenForOne(t *testing.T) {
	withWall(t, func(w *wall) {
		for range 11 * 60 { // one lives in another year, and both answer by turns
			w.hear("a", 8760*time.Hour)
			w.hear("b", 0)
			time.Sleep(time.Second)
		}
		w.wantDoubt(0, "")
	})
}

func TestASlowAnswerIsNoOtherTime(t *testing.T) {
	withWall(t, func(w *wall) {
		now := w.Now()
		w.Heard("a", now.Add(-5*time.Minute), now, now.Add(-4*time.Minute))
		w.wantDoubt(0, "")
	})
}

func TestAServerThatIsSilentNoLongerCountsAfterTenMinutes(t *testing.T) {
	withWall(t, func(w *wall) {
		w.hear("a", -time.Hour)
		time.Sleep(2 * time.Minute)
		w.set = time.Hour
		w.Check()
		w.hear("a", 0) // now an hour behind ours
		w.wantDoubt(10*time.Minute, "differs by -1h0m0s")
		time.Sleep(10*time.Minute + 1)
		w.wantDoubt(0, "")
	})
}

func TestAStartBeforeTheLastTimeSeenIsDoubtedUntilThenOrUntilAPersonAccepts(t *testing.T) {
	withWall(t, func(w *wall) {
		if w.NotBefore(w.Now().Add(2 * time.Second)) {
			t.Error("two seconds count as behind")
		}
		if !w.NotBefore(w.Now().Add(time.Hour)) {
			t.Error("an hour does not count as behind")
		}
		w.hear("a", 0) // the server may be the one that is wrong
		w.wantDoubt(time.Hour, "before the end of the last run")
		w.Accept()
		w.wantDoubt(0, "")
		w.NotBefore(w.Now().Add(time.Hour))
		time.Sleep(time.Hour)
		w.wantDoubt(0, "")
	})
}
