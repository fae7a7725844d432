package dispatcher

import (
	"slices"
	"strings"
	"testing"
	"time"

	"weir/outbox"
)

// startFilled lets the dispatcher begin only once it holds references of all lanes.
func (r *rig) startFilled() {
	r.d.Restore([]Gate{{Scope: "daemon:weir", Kind: Paused, SetBy: ByOperator, Since: time.Now(), Until: time.Now().Add(time.Second)}})
	r.start()
}

func TestLanesGoHighFirstThenEightNormalForEachBulk(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.add(rcs, outbox.Bulk, keys("b", 6)...)
		r.add(rcs, outbox.Normal, keys("n", 40)...)
		r.add(rcs, outbox.High, keys("h", 5)...)
		r.startFilled()
		r.waitAllSent(time.Minute)
		var order strings.Builder
		for _, key := range r.claimed {
			order.WriteByte(key[0])
		}
		want := "hhhhh" + strings.Repeat("nnnnnnnnb", 5) + "b"
		if order.String() != want {
			r.Errorf("order %s, want %s", &order, want)
		}
		for _, lane := range []string{"b", "n", "h"} {
			own := slices.DeleteFunc(slices.Clone(r.claimed), func(key string) bool { return key[:1] != lane })
			if !slices.IsSorted(own) {
				r.Errorf("lane %s out of order: %q", lane, own)
			}
		}
	})
}

func TestASlowAPIDoesNotKeepBulkWaiting(t *testing.T) {
	inBubble(t, 64, func(r *rig) {
		r.api.always(ok.in(20 * time.Second))
		r.add(rcs, outbox.Normal, keys("n", 2000)...)
		r.add(rcs, outbox.Bulk, keys("b", 500)...)
		r.startFilled()
		time.Sleep(10 * time.Minute)
		of := make(map[byte]int)
		for _, q := range r.api.requests(time.Time{}) {
			of[q.key[0]]++
		}
		if of['b'] < of['n']/10 || of['n'] < 7*of['b'] {
			r.Errorf("%d normal requests and %d bulk, want 8 to 1", of['n'], of['b'])
		}
	})
}

func TestAHighMessageOvertakesABacklog(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.api.always(ok.in(100 * time.Millisecond))
		r.add(rcs, outbox.Bulk, keys("b", 500)...)
		r.add(rcs, outbox.Normal, keys("n", 500)...)
		r.start()
		time.Sleep(3 * time.Second)
		asked := time.Now()
		r.add(rcs, outbox.High, "h")
		r.wait(time.Second, "the high message sent", func() bool { return r.row("h").state == outbox.Sent })
		if took := time.Since(asked); took > 305*time.Millisecond {
			r.Errorf("the high message took %v, want a seat, a worker and its own request", took)
		}
	})
}

func TestBulkLeavesAQuarterOfTheWorkersAlone(t *testing.T) {
	inBubble(t, 8, func(r *rig) {
		r.api.always(ok.in(time.Second))
		r.add(rcs, outbox.Bulk, keys("b", 100)...)
		r.start()
		time.Sleep(10 * time.Second)
		if most, _ := r.api.peaks(); most != 6 {
			r.Errorf("%d bulk requests at once, want 6 of 8", most)
		}
		r.add(rcs, outbox.Normal, keys("n", 2)...)
		r.wait(50*time.Millisecond, "normal messages on the free workers", func() bool { return r.api.onWire() == 8 })
	})
}

func TestABucketHoldsAtMostHalfWhileAnotherHasDueWork(t *testing.T) {
	inBubble(t, 8, func(r *rig) {
		r.api.always(ok.in(100 * time.Millisecond))
		r.add(rcs, outbox.Normal, keys("rcs", 300)...)
		r.add(email, outbox.Normal, keys("email", 100)...)
		r.startFilled()
		r.waitAllSent(time.Minute)
		if most, beside := r.api.peaks(); beside != 4 || most != 8 {
			r.Errorf("%d requests of a bucket at once beside another, %d at most, want 4 and 8", beside, most)
		}
	})
}

func TestAStaleReferenceGivesBackItsSeatAndToken(t *testing.T) {
	inBubble(t, 2, func(r *rig) {
		r.add(rcs, outbox.Bulk, keys("gone", 40)...)
		for _, row := range r.rows {
			row.fed, row.Generation = 5, 5
			r.d.buckets[0].waiting[bulk].fetched = append(r.d.buckets[0].waiting[bulk].fetched, outbox.Ref{ID: row.ID, Generation: 4})
		}
		r.start()
		r.add(rcs, outbox.Bulk, keys("k", 10)...)
		r.wait(time.Minute, "the others sent", func() bool { return r.of(outbox.Sent) == 10 })
		r.d.mu.Lock()
		defer r.d.mu.Unlock()
		if got := r.d.free(); got != r.d.seats || r.d.bulk.seats != 0 || len(r.d.inHand) != 0 {
			r.Errorf("%d of %d seats free, %d for bulk taken, %d rows in hand", got, r.d.seats, r.d.bulk.seats, len(r.d.inHand))
		}
	})
}

func TestALimitIsNeverOverdrawnByClaims(t *testing.T) {
	inBubble(t, 8, func(r *rig) {
		r.api.limit = 20
		r.api.play(func(q request) reply {
			if q.nth > 20 {
				return reply{status: 429, body: `{"error":"rate_limit_exceeded"}`}
			}
			return ok.in(50 * time.Millisecond)
		})
		r.add(rcs, outbox.Normal, keys("k", 100)...)
		r.start()
		time.Sleep(20 * time.Second)
		if got := len(r.api.requests(time.Time{})); got > 20 || r.of(outbox.Sending) != 0 {
			r.Errorf("%d requests and %d claims against a limit of 20", got, r.of(outbox.Sending))
		}
	})
}

func TestABucketThatOpensIsNotKeptOutByABusyOne(t *testing.T) {
	inBubble(t, 64, func(r *rig) {
		r.api.always(ok.in(100 * time.Millisecond))
		r.d.Restore([]Gate{heldGate("bucket:default/rcs", ByUnpaid, time.Now(), time.Now().Add(2*time.Second))})
		r.add(rcs, outbox.Normal, keys("rcs", 100)...)
		r.add(email, outbox.Normal, keys("email", 3000)...)
		r.start()
		r.wait(4*time.Second, "the bucket that opens has sent", func() bool { return r.row("rcs099").state == outbox.Sent })
		if r.of(outbox.Pending) < 100 {
			r.Error("the other bucket was not busy all the time")
		}
	})
}
