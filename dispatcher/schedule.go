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

// normalsPerBulk is how many normal messages go for each bulk one while both wait.
const normalsPerBulk = 8

// batch is what one bucket may claim now.
type batch struct {
	b     *bucket
	refs  []outbox.Ref
	bulk  int // of the refs
	probe bool
}

// letGo claims whatever may go now and says when to look again by time alone.
func (d *Dispatcher) letGo(work context.Context) (time.Duration, error) {
	now := d.cfg.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failure != nil || d.stopping {
		return lookAgain, d.failure
	}
	again := now.Add(lookAgain)
	d.turn++
	for i := range d.buckets {
		b := d.buckets[(d.turn+i)%len(d.buckets)]
		next, until := d.take(b, now)
		if !until.IsZero() && until.Before(again) {
			again = until
		}
		if len(next.refs) > 0 {
			d.work.Go(func() { d.claim(work, next) })
		}
	}
	return max(again.Sub(now), 100*time.Microsecond), nil
}

// take picks the references that b may claim now. It charges their tokens and
// seats.
func (d *Dispatcher) take(b *bucket, now time.Time) (batch, time.Time) {
	for _, g := range d.gates.lapsed(b, now) {
		d.lower(g, "its time is over")
	}
	next := batch{b: b}
	if b.idle() {
		return next, time.Time{}
	}
	w, until := d.gates.way(b, now)
	if w == closed {
		return next, until
	}
	if w == probe {
		until = d.takeProbe(&next, now)
	} else {
		until = d.takeOpen(&next, d.roomFor(b), now)
		b.park.note(now, len(next.refs) > 0, until)
	}
	for _, ref := range next.refs {
		d.inHand[ref.ID]++
	}
	b.seats += len(next.refs)
	d.bulk.seats += next.bulk
	for lane := range b.room {
		select {
		case b.room[lane] <- struct{}{}:
		default:
		}
	}
	return next, until
}

func (b *bucket) idle() bool {
	return b.waiting[high].len()+b.waiting[normal].len()+b.waiting[bulk].len() == 0
}

// free is how many seats nobody has.
func (d *Dispatcher) free() int {
	free := d.seats
	for _, b := range d.buckets {
		free -= b.seats
	}
	return free
}

// roomFor is how many more messages b may claim.
func (d *Dispatcher) roomFor(b *bucket) int {
	most := d.seats
	if d.contended(b) {
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

// contended tells whether another bucket has messages that could go.
func (d *Dispatcher) contended(b *bucket) bool {
	for _, other := range d.buckets {
		if other != b && (other.posting > 0 || !other.idle()) && d.gates.strongest(other) == nil {
			return true
		}
	}
	return false
}

// takeOpen picks by lane: high first, then normal and bulk by their weights.
func (d *Dispatcher) takeOpen(next *batch, room int, now time.Time) time.Time {
	b := next.b
	urgent, until := b.grant(now, true, min(room, b.waiting[high].len()))
	next.refs = b.waiting[high].take(urgent, next.refs)
	room -= urgent
	bulkRoom := max(0, min(b.waiting[bulk].len(), d.seats*3/4-d.bulk.seats))
	rest, later := b.grant(now, false, min(room, b.waiting[normal].len()+bulkRoom))
	if until.IsZero() || (!later.IsZero() && later.Before(until)) {
		until = later
	}
	for ; rest > 0; rest-- {
		lane := normal
		if b.waiting[normal].len() == 0 || (bulkRoom > 0 && b.normals >= normalsPerBulk) {
			lane = bulk
		}
		if lane == bulk {
			b.normals = 0
			bulkRoom--
			next.bulk++
		} else {
			b.normals++
		}
		next.refs = b.waiting[lane].take(1, next.refs)
	}
	return until
}

// grant asks the limiter for n tokens.
func (b *bucket) grant(now time.Time, urgent bool, n int) (int, time.Time) {
	if n == 0 {
		return 0, time.Time{}
	}
	return b.limiter.Grant(now, urgent, n)
}

// takeProbe picks one message that has not tried the gates yet: of the highest
// lane, the oldest.
func (d *Dispatcher) takeProbe(next *batch, now time.Time) time.Time {
	b := next.b
	if d.free() == 0 {
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
				if lane == bulk {
					next.bulk = 1
				}
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
	probe bool
}

// claim turns a batch into deliveries. What the ledger does not give is stale:
// its tokens and seats go back.
func (d *Dispatcher) claim(work context.Context, next batch) {
	claims, err := d.cfg.Ledger.Claim(context.WithoutCancel(work), next.b.account.scope, next.refs)
	if err != nil {
		d.fail(err)
	}
	now := d.cfg.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	bulkClaimed := 0
	for _, ref := range next.refs {
		d.release(ref.ID)
	}
	for _, c := range claims {
		x := &delivery{b: next.b, c: c, lane: laneIndex(c.Lane), probe: next.probe}
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
	for d.posting < d.cfg.Concurrency {
		x := d.nextReady()
		if x == nil {
			return
		}
		d.posting++
		x.b.posting++
		if x.lane == bulk {
			d.bulk.posting++
		}
		d.work.Add(1)
		d.start <- x // never blocks: it has room for every seat
	}
}

// nextReady takes the first claimed message for which there is a worker: bulk
// leaves a quarter of them alone, a bucket half of them when others need them.
func (d *Dispatcher) nextReady() *delivery {
	for rank := range d.ready {
		for i, x := range d.ready[rank] {
			if x.lane == bulk && d.bulk.posting >= max(1, d.cfg.Concurrency*3/4) {
				continue
			}
			if x.b.posting >= max(1, d.cfg.Concurrency/2) && d.contended(x.b) {
				continue
			}
			d.ready[rank] = slices.Delete(d.ready[rank], i, i+1)
			return x
		}
	}
	return nil
}
