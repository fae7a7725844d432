package dispatcher

import (
	"sync"
	"testing"
	"time"

	"weir/outbox"
)

func TestAnObserverFollowsEachAttemptAndNamesTheParentThatGoesAlong(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	var mu sync.Mutex
	var begun int
	var seen []Record
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
		mu.Lock()
		defer mu.Unlock()
		want := []Verdict{Retry, Sent}
		if begun != len(want) || len(seen) != len(want) {
			r.Fatalf("%d attempts began and %d were judged, want %d", begun, len(seen), len(want))
		}
		for i, s := range seen {
			if s.Judgement.Verdict != want[i] || s.Claim.Key != "a" || s.Answer.Status == 0 {
				r.Errorf("saw %s of %s with status %d, want %s", s.Judgement.Verdict, s.Claim.Key, s.Answer.Status, want[i])
			}
		}
	}, func(c *Config) {
		c.Observe = func(*Claim) (string, func(*Record)) {
			mu.Lock()
			defer mu.Unlock()
			begun++
			return parent, func(r *Record) {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, *r)
			}
		}
	})
}
