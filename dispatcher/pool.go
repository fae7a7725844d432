package dispatcher

import (
	"time"

	"weir/limiter"
)

// What follows needs d.mu.

// normalsPerBulk is how many normal messages go for each bulk one while both wait.
const normalsPerBulk = 8

// pool is what one limiter counts: a bucket, or all of an account with a shared
// limit. The order of lanes holds over all of it: no bucket's bulk takes the
// token that another's high lane waits for.
type pool struct {
	limiter *limiter.Limiter
	buckets []*bucket

	turn    int     // the bucket whose turn is next
	normals int     // normal messages since the last bulk one
	shares  []share // of the round that goes on, or of the last
}

// share is a bucket's part in one round of its pool.
type share struct {
	batch
	at    int       // the bucket's place in the pool
	way   way       // what gates leave
	room  int       // how many more it may claim
	until time.Time // when the limiter may grant it more; zero: nothing was asked, or only an answer can tell
}

// take picks what the buckets of a pool may claim now, and charges tokens and
// seats. until is when to look again; short is how many high messages wait for
// a token.
func (d *Dispatcher) take(p *pool, now time.Time) (until time.Time, short int) {
	p.shares = p.shares[:0]
	var wait time.Time // until there may be tokens again
	for i, turn := 0, p.turn; i < len(p.buckets); i++ {
		at := (turn + i) % len(p.buckets)
		s := share{batch: batch{b: p.buckets[at], turn: d.turn}, at: at}
		switch s.way, s.until = d.wayOf(s.b, now); s.way {
		case closed:
			until = sooner(until, s.until)
			continue
		case probe:
			// Its message may be of any lane, but it is one in a while.
			s.until = d.takeProbe(&s.batch, now)
		case open:
			short += d.takeHigh(p, &s, now)
		}
		wait = sooner(wait, s.until)
		p.shares = append(p.shares, s)
	}
	until = sooner(until, wait)
	if short == 0 { // what is refused to high ones is refused to all
		wait = d.takeOrdinary(p, now)
		until = sooner(until, wait)
	}
	for i := range p.shares {
		s := &p.shares[i]
		if s.until.IsZero() && s.room > 0 {
			s.until = wait
		}
		if s.way == open && (s.room > 0 || len(s.refs) > 0) {
			s.b.park.note(now, len(s.refs) > 0, s.until)
		}
	}
	return until, short
}

// wayOf takes down the pauses that are over, then looks at what gates leave.
func (d *Dispatcher) wayOf(b *bucket, now time.Time) (way, time.Time) {
	for _, g := range d.gates.lapsed(b, now) {
		d.lower(g, "its time is over")
	}
	if b.idle() {
		return closed, time.Time{}
	}
	return d.gates.way(b, now)
}

// takeHigh picks high messages of a bucket and says how many are short of a token.
func (d *Dispatcher) takeHigh(p *pool, s *share, now time.Time) int {
	s.room = d.roomFor(s.b, high, now)
	want := min(s.room, s.b.due(high))
	if want == 0 {
		return s.b.setbacks[high].back
	}
	granted, until := p.limiter.Grant(now, true, want)
	s.until = until
	d.pick(p, s, high, granted)
	return want - granted
}

// takeOrdinary picks normal and bulk messages, by their weights and from all
// buckets in turn. It says when the limiter may grant more.
func (d *Dispatcher) takeOrdinary(p *pool, now time.Time) time.Time {
	bulkRoom := max(0, d.seats*3/4-d.bulk.seats)
	want, bulkLeft := 0, bulkRoom
	for i := range p.shares {
		s := &p.shares[i]
		if s.way != open {
			continue
		}
		s.room = d.roomFor(s.b, normal, now)
		normals := min(s.room, s.b.due(normal))
		bulks := min(s.room-normals, s.b.due(bulk), bulkLeft)
		bulkLeft -= bulks
		want += normals + bulks
	}
	if want = min(want, d.free()); want <= 0 {
		return time.Time{}
	}
	granted, until := p.limiter.Grant(now, false, want)
	for ; granted > 0; granted-- {
		s, lane := p.next(bulkRoom)
		if s == nil {
			p.limiter.Return(now, granted) // the bulk that was counted on went to another bucket
			break
		}
		d.pick(p, s, lane, 1)
		if lane == bulk {
			bulkRoom--
			p.normals = 0
		} else {
			p.normals++
		}
	}
	return until
}

// next gives the bucket and lane of the next ordinary message: of the lane that
// is due, else of the other.
func (p *pool) next(bulkRoom int) (*share, int) {
	lanes := [2]int{normal, bulk}
	if p.normals >= normalsPerBulk {
		lanes = [2]int{bulk, normal}
	}
	for _, lane := range lanes {
		var first *share
		after := len(p.buckets)
		for i := range p.shares {
			s := &p.shares[i]
			behind := (s.at - p.turn + len(p.buckets)) % len(p.buckets)
			if s.room > 0 && s.b.due(lane) > 0 && behind < after && (lane != bulk || bulkRoom > 0) {
				first, after = s, behind
			}
		}
		if first != nil {
			return first, lane
		}
	}
	return nil, 0
}

// pick moves n messages of a lane into the bucket's batch.
func (d *Dispatcher) pick(p *pool, s *share, lane, n int) {
	if n == 0 {
		return
	}
	taken := len(s.refs)
	s.refs = s.b.waiting[lane].take(n, s.refs)
	d.charge(&s.batch, lane, s.refs[taken:])
	s.room -= n
	p.turn = (s.at + 1) % len(p.buckets)
}
