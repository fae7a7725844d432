package limiter

import "time"

// mostRecent bounds how many answers are remembered that no report has counted: one
// that overlaps more will hardly come.
const mostRecent = 1 << 12

// remember keeps an answer that no report has counted yet, in case that one comes
// which was made before it.
func (w *window) remember(at time.Time) {
	if len(w.unreported) >= mostRecent {
		w.unreported = append(w.unreported[:0], w.unreported[mostRecent/2:]...)
	}
	w.unreported = append(w.unreported, at)
}

// charge keeps an answer without a report until one has counted it. When there
// are too many to remember, the oldest are charged for good.
func (w *window) charge(at time.Time) {
	before := len(w.unreported)
	w.remember(at)
	w.left -= before + 1 - len(w.unreported)
}

// uncounted is how many answers left does not count.
func (w *window) uncounted() int {
	if w.predicted {
		return 0
	}
	return len(w.unreported)
}

// uncountedSince is how many of the answers that no report has counted came since
// then. A request that was sent before the window ended may have arrived in the next.
func (w *window) uncountedSince(then time.Time) int {
	n := len(w.unreported)
	for n > 0 && !w.unreported[n-1].Before(then) {
		n--
	}
	return len(w.unreported) - n
}

// settle drops the answers that a report sent at that time has counted.
func (w *window) settle(sent time.Time) {
	n := 0
	for n < len(w.unreported) && w.unreported[n].Before(sent) {
		n++
	}
	w.unreported = append(w.unreported[:0], w.unreported[n:]...)
}
