package dispatcher

import (
	"context"
	"slices"
	"time"

	"weir/outbox"
)

// What follows needs d.mu, except letGo and claim, which take it.

// lookAgain bounds how long the scheduler sleeps when nothing is to be expected.
const lookAgain = time.Second

// batch is what one bucket may claim now.
type batch struct {
	b     *bucket
	refs  []outbox.Ref
	bulk  int // of the refs
	turn  int // of the dispatcher
	probe bool
}

// letGo claims whatever may go now and says when to look again by time alone.
func (d *Dispatcher) letGo(work context.Context) (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Now()
	if d.failure != nil || d.stopping {
		return lookAgain, d.failure
	}
	d.hire(work)
	again := now.Add(lookAgain)
	d.turn++
	for i := range d.pools {
		p := d.pools[(d.turn+i)%len(d.pools)]
		until, short := d.take(p, now)
		again = sooner(again, until)
		for i := range p.shares {
			next := p.shares[i].batch
			if len(next.refs) == 0 {
				continue
			}
			before, claimed := next.b.claimed, make(chan struct{})
			next.b.claimed = claimed
			d.work.Go(func() {
				defer close(claimed)
				d.claim(work, next, before)
			})
		}
		d.yield(work, p, short)
	}
	return max(again.Sub(now), 100*time.Microsecond), nil
}

// hire starts the workers that are still missing.
func (d *Dispatcher) hire(work context.Context) {
	for ; d.hired < d.workers; d.hired++ {
		d.crew.Go(func() { d.deliverAll(work) })
	}
}

// sooner is the earlier of two times, of which zero is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// charge takes seats for messages that have just joined the batch.
func (d *Dispatcher) charge(next *batch, lane int, refs []outbox.Ref) {
	next.b.seats += len(refs)
	if lane == bulk {
		next.bulk += len(refs)
		d.bulk.seats += len(refs)
	}
	for _, ref := range refs {
		d.inHand[ref.ID]++
	}
	select {
	case next.b.room[lane] <- struct{}{}:
	default:
	}
}

// yield hands back n claimed messages that wait for a worker, bulk before normal
// and the last first: high ones wait for their tokens.
func (d *Dispatcher) yield(work context.Context, p *pool, n int) {
	for _, lane := range []int{bulk, normal} {
		for i := len(d.ready[normal]) - 1; i >= 0 && n > 0; i-- {
			x := d.ready[normal][i]
			if x.lane != lane || x.b.limiter != p.limiter || x.probe {
				continue
			}
			d.ready[normal] = slices.Delete(d.ready[normal], i, i+1)
			d.work.Go(func() { d.handBack(work, x) })
			n--
		}
	}
}

func (b *bucket) idle() bool {
	return b.waiting[high].len()+b.waiting[normal].len()+b.waiting[bulk].len() == 0
}

// free is how many seats nobody has; negative while there are to be fewer than
// are taken.
func (d *Dispatcher) free() int {
	free := d.seats
	for _, b := range d.buckets {
		free -= b.seats
	}
	return free
}

// roomFor is how many more messages of a lane b may claim.
func (d *Dispatcher) roomFor(b *bucket, lane int, now time.Time) int {
	most := d.seats
	if d.contended(b, lane, now) {
		most = d.seats / 2
	}
	if b.ramp.width > 0 {
		// Its few claims are worth a commit each, whatever others have ahead.
		return max(0, min(d.free(), most-b.seats, b.ramp.width-b.seats))
	}
	room := max(0, min(d.free(), most-b.seats))
	claimed := len(d.ready[0]) + len(d.ready[1])
	if room < d.seats/8 && claimed >= d.seats/8 && b.waiting[high].len() == 0 {
		// The workers have enough ahead: a few claims more are not worth a commit.
		return 0
	}
	return room
}

// contended tells whether another bucket has messages that could go, so that b
// must leave it half of the seats and workers. One that waits for its limit has
// none. High messages leave nothing to ordinary ones of the same limit, which
// would take the tokens that they need next.
func (d *Dispatcher) contended(b *bucket, lane int, now time.Time) bool {
	for _, other := range d.buckets {
		wants := other.posting > 0 || !other.idle() && !other.park.stands(now)
		if lane == high && other.limiter == b.limiter {
			wants = other.waiting[high].len() > 0
		}
		if other != b && wants && d.gates.strongest(other) == nil {
			return true
		}
	}
	return false
}

// takeProbe picks one message that has not tried the gates yet: of the highest
// lane, the oldest.
func (d *Dispatcher) takeProbe(next *batch, now time.Time) time.Time {
	b := next.b
	if d.free() <= 0 {
		return time.Time{}
	}
	if n, until := b.limiter.Grant(now, true, 1); n == 0 {
		return until
	}
	tried := d.gates.tried(b)
	for range 2 {
		for lane := range b.waiting {
			if ref, found := b.waiting[lane].takeUntried(tried); found {
				next.refs, next.probe = append(next.refs, ref), true
				d.charge(next, lane, next.refs)
				d.gates.beginProbe(b, ref.ID)
				return time.Time{}
			}
		}
		d.gates.forgetTried(b)
		clear(tried)
	}
	return time.Time{}
}

// delivery is a claimed message on its way through a worker.
type delivery struct {
	b     *bucket
	c     Claim
	lane  int
	turn  int // of the dispatcher, when it was picked
	probe bool
}

// claim turns a batch into deliveries, after the bucket's batch before. What the
// ledger does not give is stale: its tokens and seats go back.
func (d *Dispatcher) claim(work context.Context, next batch, before <-chan struct{}) {
	claims, err := d.cfg.Ledger.Claim(context.WithoutCancel(work), next.b.account.scope, next.refs)
	<-before
	if err != nil {
		d.fail(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Now()
	bulkClaimed := 0
	for _, ref := range next.refs {
		d.release(ref.ID)
	}
	for _, c := range claims {
		x := &delivery{b: next.b, c: c, lane: laneIndex(c.Lane), turn: next.turn, probe: next.probe}
		d.inHand[c.ID]++
		if x.lane == bulk {
			bulkClaimed++
		}
		if d.stopping {
			d.work.Go(func() { d.handBack(work, x) })
			continue
		}
		rank := min(x.lane, normal) // normal and bulk have been weighed when they were taken
		d.ready[rank] = append(d.ready[rank], x)
	}
	if unused := len(next.refs) - len(claims); unused > 0 {
		next.b.limiter.Return(now, unused)
		next.b.seats -= unused
		d.bulk.seats -= next.bulk - bulkClaimed
		if next.probe {
			d.gates.abandonProbe(next.b, next.refs[0].ID)
		}
		d.poke()
	}
	d.begin()
}

// begin puts claimed messages on the wire as far as there are workers.
func (d *Dispatcher) begin() {
	now := d.cfg.Now()
	for d.posting < d.workers {
		x := d.nextReady(now)
		if x == nil {
			return
		}
		d.posting++
		x.b.posting++
		if x.lane == bulk {
			d.bulk.posting++
		}
		d.work.Add(1)
		d.start <- x // never blocks: it has room for all that workers may hold
	}
}

// nextReady takes the first claimed message for which there is a worker: bulk
// leaves a quarter of them alone, a bucket half of them when others need them.
func (d *Dispatcher) nextReady(now time.Time) *delivery {
	for rank := range d.ready {
		for i, x := range d.ready[rank] {
			if x.lane == bulk && d.bulk.posting >= max(1, d.workers*3/4) {
				continue
			}
			if x.b.posting >= max(1, d.workers/2) && d.contended(x.b, x.lane, now) {
				continue
			}
			d.ready[rank] = slices.Delete(d.ready[rank], i, i+1)
			return x
		}
	}
	return nil
}
