package limiter

import "time"

const (
	// rounding is by how much a server may round Reset.
	rounding = time.Second
	// floorsProven is how often a window must outlive its Reset until the
	// server counts as one that rounds down.
	floorsProven = 2
	// doubtful is how much evidence, net of orderly windows, shows that the
	// server does not keep a fixed window.
	doubtful = 3
	// stragglers is how many answers of one window may be counted in the next.
	stragglers = 4
	// firstDoubt is how long the word of a clock that may be hours off is taken
	// for it that a window is still used up, before a request asks.
	firstDoubt = 5 * time.Second
	// longestPark bounds the wait for a Reset that nothing else confirms.
	longestPark = 15 * time.Minute
)

// window follows the server's fixed window through the answers.
//
// Within one window Remaining only falls, so the least that was seen counts
// every request that was answered, in whatever order the answers came. Those
// under way are charged on top, which makes the credit exact. The window ends,
// at the latest, when the server's clock has surely passed Reset, or one length
// after its first answer. From then on the next one is being opened, until an
// answer confirms it.
type window struct {
	limit   int
	changed time.Time     // when another limit was last received
	reset   time.Time     // the server's name for the window; zero: none is known
	length  time.Duration // 0: unknown
	atLeast time.Duration // a shorter length was proven wrong
	shorter int           // how many Resets in a row have been nearer all the same

	confirmed bool      // an answer from the window was seen
	predicted bool      // confirmed without a report: reset names the one before
	opened    time.Time // when the one before had surely ended
	first     time.Time // first answer
	end       time.Time // the latest time at which it ends; zero: unknown
	byLength  bool      // end rests on first and length
	supposed  bool      // end rests on guess
	extra     time.Time // not before this: a refusal came after the computed end
	guess     time.Time // instead of Reset while the server's clock is unknown
	doubted   int       // how often guess was only Reset, by a clock that may be hours off

	left       int // least Remaining
	leftAt     time.Time
	refused    bool        // left is 0 because of a 429
	lost       int         // never answered: charged until a report counts them or the window ends
	lostAt     time.Time   // when the last of them was given up
	unreported []time.Time // answers without a report, until a report counts them

	trying  bool // a request is out that goes against the count
	opening opening
	trust   trust
	rivals  rivals
	checks  checks
	kind    kind
}

func (w *window) known() bool { return !w.reset.IsZero() }

// rate is what the limit allows per second; 0 if unknown.
func (w *window) rate() float64 {
	length := w.length
	if length == 0 || w.kind.moving {
		length = max(w.kind.span, time.Second)
	}
	if !w.known() {
		return 0
	}
	return float64(w.limit) / length.Seconds()
}

// same tells whether reset names the current window. The servers of a fleet
// round apart, which only long windows can bear.
func (w *window) same(reset time.Time) bool {
	d := reset.Sub(w.reset).Abs()
	return d == 0 || d <= rounding && w.length >= 5*rounding
}

// parked tells whether the window is used up until its end, by what was counted
// or by a 429, and no request is out that tries it all the same.
func (w *window) parked() bool {
	return w.confirmed && w.left <= 0 && !w.end.IsZero() && !w.trying
}

// report takes an answer that carries Limit, Remaining and Reset.
func (w *window) report(a sample, c *offset) {
	w.trying = false
	if c.known() {
		w.kind.span = max(w.kind.span, c.earliest(a.Reset).Sub(a.received))
	}
	switch {
	case !w.known():
		w.enter(a)
	case w.same(a.Reset) && w.confirmed && !w.predicted:
		w.merge(a)
	case w.same(a.Reset):
		if !a.sent.Before(w.opened) {
			w.tooEarly(a, c)
		}
	case w.predicted && a.sent.Before(w.opened):
		// A straggler: most likely from the window that was skipped, but it may have
		// arrived in this one.
		if a.admitted() {
			w.count(a)
		}
	case a.Reset.After(w.reset):
		w.next(a, c)
	case a.sent.After(w.leftAt) && w.reset.Sub(a.Reset) > rounding:
		// It was sent when the current window was known already, so it is no
		// straggler: the server's clock was set back.
		w.enter(a)
	}
	w.bound(c)
}

// merge takes a report from the current window.
func (w *window) merge(a sample) {
	switch {
	case a.Limit != w.limit && a.sent.Before(w.changed):
		// It is from before the limit changed, and tells no more than that it was admitted.
		if a.admitted() {
			w.rivals.own++
		}
		return
	case a.Limit != w.limit:
		w.limit, w.changed = a.Limit, a.received
		w.left, w.leftAt, w.refused = a.Remaining, a.received, a.refused
	case a.Remaining <= w.left:
		w.left, w.leftAt, w.refused = a.Remaining, a.received, w.refused || a.refused
	case !w.refused && !a.elsewhere && !a.sent.Before(w.leftAt):
		w.kind.suspect(1)
	}
	if a.refused {
		w.suppose(a)
	}
	if a.admitted() {
		w.rivals.own++
	}
	if w.lostAt.Before(a.sent) {
		// Those of the lost that arrived are no longer among what is left.
		w.rivals.own += w.lost
		w.lost = 0
	}
	w.settle(a.sent)
}

// next takes a report from a window after the current one.
func (w *window) next(a sample, c *offset) {
	opened := !w.confirmed && !a.sent.Before(w.opened)
	promised := w.confirmed && !w.predicted && c.known()
	switch {
	case promised && a.received.Before(c.earliest(w.reset).Add(-rounding)):
		w.kind.suspect(1)
	case w.predicted && a.refused && w.scant(w.limit-w.left+a.out+1):
		w.kind.suspect(2)
	case w.incomplete(a) && opened:
		w.kind.suspect(2 * doubtful)
	case w.incomplete(a):
		w.kind.suspect(1)
	default:
		w.kind.orderly()
		w.learn(a.Reset.Sub(w.reset))
	}
	if opened && a.Remaining >= a.Limit/2 {
		w.trust.good++
	}
	if w.predicted && a.refused {
		w.checks.passed()
	}
	w.enter(a)
}

// scant tells whether n is so far from the limit that nothing else explains it.
func (w *window) scant(n int) bool { return 10*n < 7*w.limit }

// incomplete tells whether a window lacks from its beginning what neither our
// requests that are out nor other clients explain.
func (w *window) incomplete(a sample) bool {
	return a.Limit == w.limit && !w.predicted && w.rivals.perSec < 0.01 && w.scant(a.Remaining+a.out+1)
}

// learn takes the distance of two Resets as the length unless a shorter one was
// seen. With predicted windows between them it would be too long. That a shorter
// one was proven wrong holds until two Resets in a row say otherwise, as hardly
// a clock that is set does, by more than the rounding of a fleet explains.
func (w *window) learn(d time.Duration) {
	if d+5*rounding > w.atLeast {
		w.shorter = 0
	} else if w.shorter++; w.shorter >= 2 {
		w.shorter, w.atLeast = 0, 0
	}
	if w.checks.skipped <= 1 && (w.length == 0 || d < w.length) {
		w.length = max(d, w.atLeast)
	}
}

// enter makes the window that a names the current one.
func (w *window) enter(a sample) {
	if !w.predicted {
		w.rivals.begin(w.known() && !w.confirmed)
		w.rivals.own = w.uncountedSince(w.opened)
		w.first = a.received
		if w.lostAt.Before(a.sent) {
			w.lost = 0
		}
	}
	if a.admitted() {
		w.rivals.own++
	}
	if a.Limit != w.limit {
		w.limit, w.changed = a.Limit, a.received
	}
	w.reset, w.extra, w.doubted = a.Reset, time.Time{}, 0
	w.suppose(a)
	w.left, w.leftAt, w.refused = a.Remaining, a.received, a.refused
	w.confirmed, w.predicted = true, false
	w.settle(a.sent) // the others may have been counted in this window already
	w.trust.early, w.checks.skipped = 0, 0
}

// tooEarly takes a report of the old window that was sent after its computed
// end: it is open for at most as long as the rounding can hide.
func (w *window) tooEarly(a sample, c *offset) {
	if w.trust.floor && !a.refused {
		w.kind.suspect(1)
	}
	w.trust.betrayed()
	if w.byLength {
		// It has become longer: by how much the two hints tell if they agree.
		w.atLeast = w.length + rounding<<min(max(w.trust.early-3, 0), 16)
		if reset := c.earliest(w.reset); c.known() && reset.Sub(a.received.Add(a.RetryAfter)).Abs() <= 2*rounding {
			w.atLeast = max(w.atLeast, min(reset.Sub(w.first), farthest))
		}
		w.length = w.atLeast
	}
	w.confirmed, w.predicted = true, false
	w.limit, w.left, w.leftAt, w.refused = a.Limit, a.Remaining, a.received, a.refused

	w.extra = time.Time{}
	bound := func(by time.Time) {
		if by.After(a.received) && (w.extra.IsZero() || by.Before(w.extra)) {
			w.extra = by
		}
	}
	if a.RetryAfter > 0 && w.trust.early > 3 {
		a.RetryAfter = max(a.RetryAfter, disbelief(w.trust.early-3))
	}
	bound(a.received.Add(a.RetryAfter))
	if c.known() {
		bound(c.latest(w.reset).Add(rounding))
	}
	if w.length > 0 {
		if !w.first.Add(w.length).After(a.received) {
			w.first = a.received
		}
		bound(w.first.Add(w.length))
	}
	if w.extra.IsZero() {
		bound(a.received.Add(w.trust.patience()))
	}
	bound(a.received.Add(w.longest()))
}

// longest is how long a window can last from now on.
func (w *window) longest() time.Duration {
	if w.length > 0 && !w.kind.moving {
		return w.length + rounding
	}
	return longestPark
}

// bare takes an answer without a usable report. It tells whether the window is
// still worth following: a server that refuses again and again without saying
// when it opens does not keep it any more.
func (w *window) bare(a sample, c *offset) bool {
	w.trying = false
	switch {
	case a.elsewhere:
		return true
	case a.refused && w.predicted:
		return false
	case a.refused && w.confirmed && a.sent.Before(w.first):
		// The window before may have refused it.
	case a.refused && w.confirmed:
		w.left, w.leftAt, w.refused = 0, a.received, true
	case a.refused && !a.sent.Before(w.opened):
		a.Limit = w.limit
		w.tooEarly(a, c)
	case a.refused:
	case !w.confirmed && a.success && !a.sent.Before(w.opened):
		w.predict(a)
	case !w.confirmed:
		w.remember(a.received)
	case w.predicted:
		w.count(a)
	default:
		w.charge(a.received)
		w.rivals.own++
	}
	w.bound(c)
	return w.trust.early < 3
}

// predict takes the first success after the end as the first of a new window.
func (w *window) predict(a sample) {
	w.confirmed, w.predicted, w.refused = true, true, false
	w.rivals.begin(true)
	w.rivals.own = w.uncountedSince(w.opened) + 1
	w.first, w.left, w.leftAt = a.received, max(w.limit-w.rivals.own, 0), a.received
	w.lost = 0
	w.remember(a.received)
	w.checks.skipped++
	w.checks.due--
}

// count takes an answer without a report in a predicted window. If more are
// admitted than stragglers can explain, the length or the limit is not what it
// was believed to be.
func (w *window) count(a sample) {
	w.left, w.leftAt = w.left-1, a.received
	w.remember(a.received)
	w.rivals.own++
	if w.left < -stragglers {
		w.length, w.left = 0, w.limit-1
		w.checks = checks{skipped: w.checks.skipped + 1}
	}
}

// bound computes the end.
func (w *window) bound(c *offset) {
	if !w.confirmed {
		return
	}
	w.end, w.byLength, w.supposed = time.Time{}, false, false
	switch {
	case w.predicted, !c.known() && w.length > 0:
	case !c.known():
		w.end, w.supposed = w.guess, true
	case w.trust.floor:
		w.end = c.latest(w.reset).Add(rounding)
	default:
		w.end = c.latest(w.reset)
	}
	if by := w.first.Add(w.length); w.length > 0 && !w.first.IsZero() && (w.end.IsZero() || by.Before(w.end)) {
		w.end, w.byLength, w.supposed = by, true, false
	}
	if w.extra.After(w.end) {
		w.end, w.byLength, w.supposed = w.extra, false, false
	}
}

// roll begins to open the next window once this one has surely ended.
func (w *window) roll(now time.Time, out int) {
	if !w.confirmed || w.end.IsZero() || now.Before(w.end) {
		return
	}
	if w.refused && w.rivals.watched && w.kind.silent >= silence && w.scant(w.rivals.own+out) {
		w.kind.suspect(2)
	}
	w.rivals.end(w.limit-w.left, out+w.lost)
	w.opening = opening{width: 1}
	// The width gains a part of a round trip, which only short windows feel;
	// where there is no backlog, it saves messages from waiting for a probe.
	short := w.length > 0 && w.length < 5*rounding
	rested := w.length > 0 && now.After(w.end.Add(w.length))
	if short && w.trust.full() || rested || w.left >= max(w.limit/2, 1) {
		w.opening.width = w.few()
	}
	w.confirmed, w.predicted, w.opened = false, false, w.end
	w.extra = time.Time{}
}

// few is how many requests may meet a window that is not known for sure.
func (w *window) few() int { return min(max(w.limit/8, 4), 16) }

// suppose tells when a window ends as far as one answer tells without Date.
func (w *window) suppose(a sample) {
	w.guess = a.Reset
	w.doubted++
	if a.RetryAfter > 0 {
		w.guess, w.doubted = a.received.Add(a.RetryAfter), 0
	}
}

// unsure tells whether the end rests on a clock that may be hours off.
func (w *window) unsure() bool { return w.supposed && w.doubted > 0 }
