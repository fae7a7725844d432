package sim

import (
	"math/rand/v2"
	"net/http"
	"time"

	"weir/limiter"
)

const (
	// firstBackoff is the longest wait after one refusal; it doubles with each.
	firstBackoff = 100 * time.Millisecond
	// mostBackoff is the longest wait of all.
	mostBackoff = 30 * time.Second
)

// backoff is a number of workers that do not know of each other. One whose
// request is refused waits at random, ever longer, and tries again.
type backoff struct {
	bare
	rnd  *rand.Rand
	idle []worker
	// busy are those whose requests are under way. An answer is taken to be
	// that of the one that began first, which on the whole comes to the same.
	busy []worker
}

// worker has been refused so often in a row, and does nothing until a time.
type worker struct {
	refusals int
	until    time.Time
}

func newBackoff(s Scenario) Policy {
	return &backoff{rnd: rand.New(rand.NewPCG(s.Seed, 3)), idle: make([]worker, s.withDefaults().MaxInFlight)}
}

func (b *backoff) Grant(now time.Time, _ bool, n int) (granted int, retryAt time.Time) {
	waiting := b.idle[:0]
	for _, w := range b.idle {
		switch {
		case w.until.After(now):
			retryAt = earlier(retryAt, w.until)
			waiting = append(waiting, w)
		case granted < n:
			granted++
			b.busy = append(b.busy, w)
		default:
			waiting = append(waiting, w)
		}
	}
	b.idle = waiting
	return granted, retryAt
}

func (b *backoff) Answered(_ limiter.Ticket, now time.Time, a limiter.Answer) {
	w := b.busy[0]
	b.busy = b.busy[1:]
	if a.Status == http.StatusTooManyRequests {
		most := min(firstBackoff<<min(w.refusals, 16), mostBackoff)
		w.refusals++
		w.until = now.Add(time.Duration(b.rnd.Int64N(int64(most))))
	} else {
		w = worker{}
	}
	b.idle = append(b.idle, w)
}

func (b *backoff) Lost(limiter.Ticket, time.Time) {
	b.busy = b.busy[1:]
	b.idle = append(b.idle, worker{})
}
