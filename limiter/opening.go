package limiter

import "time"

// maxHedges bounds how many more requests than planned may ask whether the
// server is open again.
const maxHedges = 8

// opening lets a few requests through until the first answer tells more. One
// that meets a slow answer is hedged by another.
type opening struct {
	width int       // how many may go unasked
	used  int       // how many went
	last  time.Time // when the last one went
}

// room tells how many may go now, and when the next hedge may after them.
// An urgent request does not wait for another's answer, it hedges at once.
func (o *opening) room(d demand) (int, time.Time) {
	next := d.now.Add(d.hedge())
	if n := o.width - o.used; n > 0 {
		return n, next
	}
	if o.used >= o.width+maxHedges {
		return 0, time.Time{}
	}
	if at := o.last.Add(d.hedge()); !d.urgent && d.now.Before(at) {
		return 0, at
	}
	return 1, next
}

func (o *opening) take(now time.Time, n int) { o.used, o.last = o.used+n, now }

// giveBack takes n back: whoever was to ask last did not.
func (o *opening) giveBack(n int) { o.used, o.last = max(o.used-n, 0), time.Time{} }
