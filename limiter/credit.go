package limiter

import "time"

// lostDoubt is after how long without a loss it is asked whether the lost
// requests have used up a window.
const lostDoubt = time.Minute

// demand is who asks for room, and what is under way.
type demand struct {
	now    time.Time
	out    int           // tokens that are out
	flying int           // those of them on the wire
	rtt    time.Duration // usual round trip
	share  float64       // of the limit, kept from this lane
	urgent bool          // it is for the high lane
}

// hedge is after how long another request asks what the first did not tell. The
// constant covers the way from grant to wire.
func (d demand) hedge() time.Duration { return 3*d.rtt + 10*time.Millisecond }

// hedged is how many of n may go, and when by time alone one more: requests that
// hang must not keep all others waiting. Below 0, n tells by how many it has.
func (d demand) hedged(n int, news time.Time) (int, time.Time) {
	wait := max(askAgain, d.hedge())
	switch at := news.Add(wait); {
	case n > 0:
		return n, d.now.Add(wait)
	case n <= -maxHedges:
		return 0, time.Time{}
	case d.now.Before(at):
		return 0, at
	}
	return 1, d.now.Add(wait)
}

// room tells how many requests may go now, and from when on, by time alone,
// there is room for more (zero: only an answer can tell).
func (w *window) room(d demand) (int, time.Time) {
	if !w.confirmed {
		return w.openingRoom(d)
	}
	credit := w.credit(d)
	if credit <= 0 {
		return w.trial(d)
	}
	if w.predicted && w.length == 0 {
		// No two Resets have told the length yet, so this may be no window.
		credit = min(credit, w.few()-d.out)
	}
	kept := w.kept(d)
	if kept == 0 {
		return credit, w.end
	}
	return max(credit-kept, 0), w.melted(d, min(credit, kept))
}

// credit is how many more requests the window surely admits.
func (w *window) credit(d demand) int {
	sure := w.left - d.out - w.lost - w.uncounted()
	if w.confirmed && !w.predicted && w.rivals.none() {
		// All that the server has counted is ours, answered or on the way.
		sure = min(w.limit-w.rivals.own-w.lost, w.left+d.flying) - d.out
	}
	return sure - w.rivals.charge(d.now.Sub(w.leftAt)+d.rtt)
}

func (w *window) openingRoom(d demand) (int, time.Time) {
	free := w.limit - d.out - w.lost
	if d.out == 0 {
		// Whatever went before is lost, and somebody has to ask.
		w.opening.used = 0
		free = max(free, 1)
	}
	if free <= 0 {
		return w.beside(d)
	}
	n, next := w.opening.room(d)
	if free <= n {
		return free, d.now.Add(d.hedge() + askAgain)
	}
	return n, next
}

// beside lets one go beside so many under way that they may use up the whole
// window. What takes that much longer than usual has most likely been counted
// before, or is lost: to wait until it is given up would close window after
// window. What arrives in this one for sure goes before.
func (w *window) beside(d demand) (int, time.Time) {
	wait, last := d.hedge()+askAgain, w.opened
	if held := d.out - d.flying; held+w.opening.used >= w.limit {
		wait = d.hedge() + w.longest()
	}
	if w.opening.last.After(last) {
		last = w.opening.last
	}
	switch at := last.Add(wait); {
	case w.opening.used >= w.opening.width+maxHedges:
		return 0, time.Time{}
	case d.now.Before(at):
		return 0, at
	}
	return 1, d.now.Add(wait)
}

// trial lets one request go where the credit is used up but may be wrong.
func (w *window) trial(d demand) (int, time.Time) {
	if d.out > 0 {
		return 0, w.end
	}
	at := w.asksAgain()
	switch {
	case w.unsure():
		at = w.leftAt.Add(min(firstDoubt<<min(w.doubted-1, 16), longestPark))
	case w.predicted && (w.length == 0 || w.checks.due <= 0):
		at = d.now
	case w.left > w.lost+w.uncounted():
		// Only the guess at what others use stands against it.
		at = w.leftAt.Add(d.hedge())
		if !d.urgent {
			at = w.leftAt.Add(max(2*time.Second, d.hedge()))
		}
	case w.left > w.uncounted():
		// Only those that got no answer do: they may never have arrived.
		at = w.lostAt.Add(lostDoubt)
	}
	if !d.now.Before(at) {
		return 1, w.end
	}
	if !w.end.IsZero() && w.end.Before(at) {
		at = w.end
	}
	return 0, at
}

// asksAgain is when a trial goes at the latest: Reset may be years away.
func (w *window) asksAgain() time.Time { return w.leftAt.Add(max(2*w.length, longestPark)) }

// kept is the reserve: a share of the limit that melts to nothing in a straight
// line before the window ends, so that none of it is wasted. What trickles out
// of it also notices a limit that has changed.
func (w *window) kept(d demand) int {
	last, length := w.melt(d)
	if d.share == 0 || length <= 0 {
		return 0
	}
	ahead := min(float64(last.Sub(d.now))/float64(length), 1)
	return int(d.share * float64(w.limit) * max(ahead, 0))
}

// melted is when fewer than n are kept.
func (w *window) melted(d demand, n int) time.Time {
	last, length := w.melt(d)
	ahead := float64(n) / (d.share * float64(w.limit))
	return last.Add(time.Millisecond - time.Duration(ahead*float64(length)))
}

// melt gives when the reserve is gone, early enough for the last of it to be
// used, and how long it melts.
func (w *window) melt(d demand) (last time.Time, length time.Duration) {
	if w.end.IsZero() || w.unsure() {
		return time.Time{}, 0
	}
	if length = w.length; length == 0 {
		length = w.end.Sub(w.first)
	}
	return w.end.Add(-min(length/4, 2*d.rtt+50*time.Millisecond)), length
}

func (w *window) take(now time.Time, n int) {
	if w.confirmed {
		w.trying = w.left <= 0
		return
	}
	w.opening.take(now, n)
}

func (w *window) giveBack(n int) {
	w.trying = false
	w.opening.giveBack(n)
}

func (w *window) lose(now time.Time) {
	w.trying = false
	w.lost++
	w.lostAt = now
}
