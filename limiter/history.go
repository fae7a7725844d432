package limiter

import (
	"slices"
	"time"
)

// mostRemembered bounds the memory of a history, which is 1.5 MB then.
const mostRemembered = 1 << 16

// history keeps when our latest requests were sent, because a sliding log gives
// each place back one span after it was taken. It learns that span: when the
// server counts n requests, the n-th latest is younger and the one before older.
type history struct {
	sent  []time.Time // zero: the request took no place
	first int         // number of the request at sent[0]
	void  int         // how many took no place, ever
	voids []int       // the numbers of those that are in sent, in order
	freed int         // requests before this number have given their place back
	span  time.Duration
}

// add takes that request number seq was sent. It must be the next number.
func (h *history) add(seq int, at time.Time, limit int) {
	if len(h.sent) == 0 {
		h.first, h.freed = seq, seq
	}
	h.sent = append(h.sent, at)
	if keep := min(2*limit+256, mostRemembered/2); len(h.sent) > 2*keep {
		n := copy(h.sent, h.sent[len(h.sent)-keep:])
		h.first += len(h.sent) - n
		h.sent = h.sent[:n]
		h.freed = max(h.freed, h.first)
		gone, _ := slices.BinarySearch(h.voids, h.first)
		h.voids = append(h.voids[:0], h.voids[gone:]...)
	}
}

// drop takes that a request got no place.
func (h *history) drop(seq int) {
	if i := seq - h.first; i >= 0 && i < len(h.sent) && !h.sent[i].IsZero() {
		h.sent[i] = time.Time{}
		h.void++
		at, _ := slices.BinarySearch(h.voids, seq)
		h.voids = slices.Insert(h.voids, at, seq)
	}
}

// latest gives when the n-th latest request that has a place was sent, counted
// back from request seq.
func (h *history) latest(seq, n int) (time.Time, bool) {
	at := seq - n + 1
	before, _ := slices.BinarySearch(h.voids, seq+1)
	for _, void := range slices.Backward(h.voids[:before]) {
		if void < at {
			break
		}
		at--
	}
	i := at - h.first
	if i < 0 || i >= len(h.sent) {
		return time.Time{}, false
	}
	return h.sent[i], true
}

// fit learns from what the server counted when request seq came, give or take
// noise.
func (h *history) fit(seq, counted, noise int, now time.Time, rtt time.Duration) {
	at, ok := h.latest(seq, 1)
	if !ok {
		return
	}
	was := h.span
	if t, ok := h.latest(seq, max(counted-noise, 1)); ok && h.span > 0 {
		h.span += max(at.Sub(t)-h.span, 0) / 4
	}
	if t, ok := h.latest(seq, counted+noise+1); ok && at.Sub(t) > rtt {
		if age := at.Sub(t); h.span == 0 {
			h.span = age
		} else {
			h.span -= max(h.span-age, 0) / 4
		}
	}
	if h.span == was {
		return
	}
	// Another span frees other places.
	for h.freed > h.first && h.sent[h.freed-1-h.first].Add(h.span).After(now) {
		h.freed--
	}
	h.advance(now)
}

// advance counts the places that have come free until now.
func (h *history) advance(now time.Time) int {
	if h.span == 0 {
		return 0
	}
	n := 0
	for i := h.freed - h.first; i < len(h.sent) && !h.sent[i].Add(h.span).After(now); i++ {
		if !h.sent[i].IsZero() {
			n++
		}
		h.freed++
	}
	return n
}

// freedSince counts the places that have come free from t on, until the last
// advance. It looks no further back than a request that took none: counting on,
// it foresees more than comes, and more is refused.
func (h *history) freedSince(t time.Time) int {
	n := 0
	for i := h.freed - h.first - 1; i >= 0 && h.sent[i].Add(h.span).After(t); i-- {
		n++
	}
	return n
}

// next tells when the n-th place from now on comes free.
func (h *history) next(n int) (time.Time, bool) {
	if h.span == 0 {
		return time.Time{}, false
	}
	for i := h.freed - h.first; i < len(h.sent); i++ {
		if h.sent[i].IsZero() {
			continue
		}
		if n--; n <= 0 {
			return h.sent[i].Add(h.span), true
		}
	}
	return time.Time{}, false
}
