package dispatcher

import (
	"testing"
	"time"

	"weir/outbox"
)

func heldGate(scope, setBy string, since time.Time, until time.Time) Gate {
	return Gate{Scope: scope, Kind: Held, SetBy: setBy, Reason: "restored", Since: since, Until: until}
}

func TestGatesMayBeTakenDownWhileTheyAreLookedAt(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		b := r.d.buckets[0]
		for _, by := range []string{ByUnauthorized, ByNotAPI, "x", "y"} {
			r.d.gates.add(Gate{Scope: "account:default", Kind: Held, SetBy: by}, time.Second)
		}
		seen := 0
		for g := range r.d.gates.of(b) {
			seen++
			r.d.lower(g, "test")
		}
		if seen != 4 || r.d.gates.strongest(b) != nil {
			r.Errorf("%d of 4 gates seen, left %v", seen, r.d.gates.strongest(b))
		}
		if b.ramp.width != 1 {
			r.Errorf("ramp %v, want a gentle opening", b.ramp)
		}
	})
}

func TestTheStrongestGateIsShown(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		for _, g := range []Gate{
			{Scope: "bucket:default/rcs", Kind: Degraded, SetBy: ByFailures},
			{Scope: "account:default", Kind: Held, SetBy: ByUnauthorized},
			{Scope: "daemon:weir", Kind: Paused, SetBy: ByOperator},
		} {
			r.d.gates.add(g, time.Second)
			if got := r.d.gates.strongest(r.d.buckets[0]); got.Kind != g.Kind {
				r.Errorf("%s is shown, want %s", got.Kind, g.Kind)
			}
		}
		if got := r.d.gates.strongest(r.d.buckets[1]); got.Kind != Paused {
			r.Errorf("e-mail shows %s, want the gate of the daemon", got.Kind)
		}
	})
}

func TestAProbeIsNotSentAgainstAGateThatRoseAfterIt(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		b := r.d.buckets[0]
		r.d.gates.add(Gate{Scope: "account:default", Kind: Held, SetBy: ByUnauthorized}, time.Second)
		r.d.gates.beginProbe(b, 7)
		x := &delivery{b: b, probe: true, c: Claim{Ref: outbox.Ref{ID: 7}, ClaimedAt: time.Now()}}
		if _, may := r.d.mayPost(x); !may {
			r.Fatal("the probe may not be sent")
		}
		other := &delivery{b: b, c: Claim{Ref: outbox.Ref{ID: 8}, ClaimedAt: time.Now()}}
		if _, may := r.d.mayPost(other); may {
			r.Error("another message may be sent beside the probe")
		}
		r.d.gates.add(Gate{Scope: "daemon:weir", Kind: Paused, SetBy: ByOperator}, 0)
		if _, may := r.d.mayPost(x); may {
			r.Error("the probe may be sent though an operator has paused the daemon")
		}
		if r.d.gates.tried(b)[7] {
			r.Error("the message counts as tried though it was not sent")
		}
	})
}

func TestOnlyOneMessageProbesAnAccountOfSeveralBuckets(t *testing.T) {
	inBubble(t, 8, func(r *rig) {
		r.d.Restore([]Gate{heldGate("account:default", ByUnauthorized, time.Now(), time.Now())})
		r.api.always(unauthorized.in(time.Second))
		r.add(rcs, outbox.Normal, keys("r", 20)...)
		r.add(email, outbox.Normal, keys("e", 20)...)
		r.start()
		time.Sleep(5 * time.Minute)
		if most, _ := r.api.peaks(); most != 1 || len(r.api.requests(time.Time{})) != 4 {
			r.Errorf("%d probes at once, %d in all; want one at a time, at once and after 20, 40, 80 s", most, len(r.api.requests(time.Time{})))
		}
	})
}

func TestProbesTakeTheHighestLaneAndEachMessageOnceBeforeAnyAgain(t *testing.T) {
	inBubble(t, 2, func(r *rig) {
		r.d.Restore([]Gate{heldGate("account:default", ByUnauthorized, time.Now(), time.Now().Add(time.Second))})
		r.api.always(unauthorized)
		r.add(rcs, outbox.Bulk, "b")
		r.add(rcs, outbox.Normal, "n1", "n2")
		r.add(rcs, outbox.High, "h")
		r.start()
		time.Sleep(21 * time.Minute)
		var order string
		for _, q := range r.api.requests(time.Time{}) {
			order += q.key + " "
		}
		if want := "h n1 n2 b h n1 n2 "; order != want {
			r.Errorf("probes by %s, want %s", order, want)
		}
	})
}

func TestAProbeThatIsStaleLetsTheNextOneTry(t *testing.T) {
	inBubble(t, 2, func(r *rig) {
		r.d.Restore([]Gate{heldGate("bucket:default/rcs", ByUnpaid, time.Now(), time.Now())})
		r.add(rcs, outbox.High, "gone")
		r.rows[0].fed, r.rows[0].Generation = 5, 5
		r.d.buckets[0].waiting[high].fetched = []outbox.Ref{{ID: 1, Generation: 4}}
		r.add(rcs, outbox.Normal, "a")
		r.start()
		r.wait(time.Second, "the other message sent", func() bool { return r.row("a").state == outbox.Sent })
	})
}

func TestAProbeNeedsASeat(t *testing.T) {
	inBubble(t, 2, func(r *rig) {
		b, other := r.d.buckets[0], r.d.buckets[1]
		r.d.Restore([]Gate{heldGate("bucket:default/rcs", ByUnpaid, time.Now(), time.Now())})
		b.waiting[normal].fetched = []outbox.Ref{{ID: 1}}
		other.seats = r.d.seats
		p := r.d.pools[0]
		r.d.take(p, time.Now())
		if x := p.shares[0]; len(x.refs) != 0 {
			r.Errorf("%v is taken while no seat is free", x.refs)
		}
		other.seats--
		r.d.take(p, time.Now())
		if x := p.shares[0]; len(x.refs) != 1 || !x.probe {
			r.Errorf("%v is taken, want one probe", x.refs)
		}
	})
}
