package dispatcher

import (
	"sync/atomic"
	"testing"
	"time"

	"weir/outbox"
)

func TestAnObserverFollowsEachAttemptAndNamesTheParentThatGoesAlong(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	var begun atomic.Int64
	judged := make(chan Record, 2)
	inBubble(t, 1, func(r *rig) {
		r.api.play(func(q request) reply {
			if q.parent != parent {
				r.Errorf("request %d carries the traceparent %q", q.nth, q.parent)
			}
			if q.nth == 1 {
				return unavailable
			}
			return ok
		})
		r.add(rcs, outbox.High, "a")
		r.start()
		r.waitAllSent(time.Minute)
		for _, want := range []Verdict{Retry, Sent} {
			seen := <-judged
			if seen.Judgement.Verdict != want || seen.Claim.Key != "a" || seen.Answer.Status == 0 {
				r.Errorf("saw %s of %s with status %d, want %s", seen.Judgement.Verdict, seen.Claim.Key, seen.Answer.Status, want)
			}
		}
		if begun.Load() != 2 {
			r.Errorf("%d attempts began, want 2", begun.Load())
		}
	}, func(c *Config) {
		c.Observe = func(*Claim) (string, func(*Record)) {
			begun.Add(1)
			return parent, func(r *Record) { judged <- *r }
		}
	})
}
