package limiter

import (
	"math/rand/v2"
	"testing"
	"time"
)

// latestByCounting is what latest gives, one request after the other.
func latestByCounting(h *history, seq, n int) (time.Time, bool) {
	for i := seq - h.first; i >= 0; i-- {
		if !h.sent[i].IsZero() {
			if n--; n == 0 {
				return h.sent[i], true
			}
		}
	}
	return time.Time{}, false
}

func TestRequestsThatTookNoPlaceAreSkippedByTheHistory(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	h, now := &history{}, time.Unix(1_700_000_040, 0)
	for seq := 1; seq < 3000; seq++ {
		now = now.Add(time.Second)
		h.add(seq, now, 100)
		if rnd.IntN(5) == 0 {
			h.drop(seq - rnd.IntN(50))
		}
		from, n := max(seq-rnd.IntN(50), h.first), 1+rnd.IntN(300)
		got, ok := h.latest(from, n)
		if want, there := latestByCounting(h, from, n); ok != there || ok && !got.Equal(want) {
			t.Fatalf("the request %d before %d was sent at %v, %v; want %v, %v", n, from, got, ok, want, there)
		}
	}
	if most := 2*(2*100+256) + 1; len(h.sent) > most || len(h.voids) > most {
		t.Errorf("%d requests and %d without a place are remembered, want %d at most", len(h.sent), len(h.voids), most)
	}
}
