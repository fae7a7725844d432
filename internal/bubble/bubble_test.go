package bubble_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/bubble"
)

// Without the care that bubble takes, this brings the race detector down.
func TestManyGoroutinesMayWaitForTimersUnderTheRaceDetector(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var waiting sync.WaitGroup
		var rang atomic.Int64
		for range 64 {
			waiting.Go(func() {
				for i := range 1000 {
					timer := time.NewTimer(time.Duration(i%2) * time.Millisecond)
					select {
					case <-timer.C:
					default:
						<-timer.C
					}
					rang.Add(1)
				}
			})
		}
		waiting.Wait()
		if n := rang.Load(); n != 64_000 {
			t.Errorf("%d timers rang", n)
		}
	})
}
