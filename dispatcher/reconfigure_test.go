package dispatcher

import (
	"testing"
	"time"

	"weir/outbox"
)

func TestAnotherConcurrencyCountsWhileMessagesAreSent(t *testing.T) {
	inBubble(t, 2, func(r *rig) {
		r.api.always(ok.in(time.Second))
		r.add(rcs, outbox.Normal, keys("k", 400)...)
		r.start()
		for _, c := range []struct {
			name    string
			workers int
		}{{"more", 6}, {"fewer", 3}, {"more again", 8}} {
			r.d.Reconfigure(Tuning{Concurrency: c.workers})
			time.Sleep(5 * time.Second) // what was on the wire is over
			r.api.forgetPeaks()
			time.Sleep(10 * time.Second)
			if most, _ := r.api.peaks(); most != c.workers {
				r.Errorf("%s: at most %d requests on the wire, want %d", c.name, most, c.workers)
			}
		}
		r.waitAllSent(5 * time.Minute)
		if got := len(r.api.requests(time.Time{})); got != 400 {
			r.Errorf("%d requests for 400 messages", got)
		}
	})
}

func TestReconfiguringAStoppedDispatcherIsHarmless(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.d.Reconfigure(Tuning{Concurrency: 4})
		r.start()
		if err := r.finish(); err != nil {
			r.Fatal(err)
		}
		r.d.Reconfigure(Tuning{Concurrency: MaxConcurrency + 1})
	})
}

func TestAnotherReserveIsLeftToTheHighLane(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.api.limit = 100 // an hour
		r.start()
		r.d.Reconfigure(Tuning{Concurrency: 4, BulkReserve: 0.5})
		r.add(rcs, outbox.Normal, keys("k", 100)...)
		time.Sleep(time.Minute)
		if n := r.of(outbox.Sent); n < 45 || n > 55 {
			r.Errorf("%d of the limit of 100 were used by an ordinary lane; half of it is kept", n)
		}
	})
}

func TestAKeyThatIsRotatedWhileTheOldOneWorksIsUsedWithinASecond(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.start()
		r.key.set("new")
		time.Sleep(time.Second)
		r.add(rcs, outbox.Normal, "k")
		r.waitAllSent(time.Minute)
		if token := r.api.requests(time.Time{})[0].token; token != "Bearer new" {
			r.Errorf("the request came with %q", token)
		}
	})
}

func TestReconfiguringProbesAHoldAtOnce(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.warm()
		r.api.always(unauthorized)
		r.add(rcs, outbox.Normal, keys("a", 50)...)
		r.waitShown(rcs, Held, "refuses the key")
		time.Sleep(10 * time.Minute) // probes have become seldom
		r.api.always(ok)
		asked := time.Now()
		r.d.Reconfigure(Tuning{Concurrency: 1})
		r.waitAllSent(2 * time.Second)
		if first := r.api.requests(asked)[0]; first.at.Sub(asked) > 100*time.Millisecond {
			r.Errorf("the first probe came after %v", first.at.Sub(asked))
		}
	})
}

func TestReconfiguringProbesNoHoldOfThisMachine(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.d.Hold(tooFull)
		r.add(rcs, outbox.Normal, "k")
		r.start()
		r.d.Reconfigure(Tuning{Concurrency: 1})
		time.Sleep(time.Minute)
		if n := len(r.api.requests(time.Time{})); n > 0 {
			r.Errorf("%d requests while the disk is full", n)
		}
	})
}
