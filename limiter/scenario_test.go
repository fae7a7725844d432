package limiter_test

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	"weir/limiter"
	"weir/limiter/sim"
)

// headers is what a simulated server tells about its limit.
type headers int

const (
	allHeaders headers = iota
	only429            // X-RateLimit headers on refusals only
	onlyRetry          // retry_after on refusals only
	noHeaders
)

// scenario is one server, the way to it, and an endless backlog, all in virtual time.
type scenario struct {
	limit    int
	window   time.Duration
	server   sim.Limit // default: a window aligned to the clock
	rounding sim.Rounding
	headers  headers
	missing  float64       // share of successes without headers
	noDate   bool          // no Date header
	before   bool          // Remaining as it was before the request
	skew     time.Duration // what the server's clock shows more
	leg      time.Duration // median of one way; default 20 ms
	tail     float64       // share of requests that take a second more; default 1 %
	noTail   bool
	lost     float64       // share of requests that get no answer
	rival    float64       // another client's requests per second
	change   time.Duration // when the limit becomes changeTo
	changeTo int
	atOnce   int           // MaxInFlight; default 128
	reserve  float64       // default 0.1
	urgent   time.Duration // mean time between messages of the high lane
	sparse   time.Duration // mean time between ordinary messages instead of a backlog
	warm     time.Duration // not measured
	length   time.Duration // measured
	seed     uint64
}

// result is what came of a scenario.
type result struct {
	use      float64         // accepted of what was allowed while measured
	accepted int             // in all
	refused  int             // in all
	times    []time.Duration // of acceptance
	waits    []time.Duration // of the high lane, or of sparse messages
}

type event struct {
	at  time.Duration
	seq int
	do  func()
}

type agenda []event

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(event)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// epoch is where virtual time begins: a whole second on a whole minute.
var epoch = time.Unix(1_700_000_040, 0)

// world runs one scenario.
type world struct {
	scenario
	t      *testing.T
	rnd    *rand.Rand
	lim    *limiter.Limiter
	agenda agenda
	now    time.Duration
	seq    int
	wake   time.Duration
	rivals int // accepted while measured
	own    int
	urgentSince,
	ordinarySince []time.Duration // waiting
	result
}

func (w *world) in(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.agenda, event{w.now + max(d, 0), w.seq, do})
}

func (w *world) local() time.Time  { return epoch.Add(w.now) }
func (w *world) remote() time.Time { return epoch.Add(w.now + w.skew) }
func (w *world) measured() bool    { return w.now >= w.warm && w.now < w.warm+w.length }

func (s scenario) run(t *testing.T) result {
	t.Helper()
	if s.server == nil {
		s.server = sim.NewWindow(s.limit, s.window, true)
	}
	if s.leg == 0 {
		s.leg = 20 * time.Millisecond
	}
	if s.tail == 0 && !s.noTail {
		s.tail = 0.01
	}
	if s.reserve == 0 {
		s.reserve = 0.1
	}
	if s.atOnce == 0 {
		s.atOnce = 128
	}
	w := &world{scenario: s, t: t, rnd: rand.New(rand.NewPCG(s.seed, 7))}
	w.lim = limiter.New(limiter.Config{MaxInFlight: s.atOnce, Reserve: s.reserve})
	if s.changeTo > 0 {
		w.in(s.change, func() { w.server.SetLimit(s.changeTo) })
	}
	if s.rival > 0 {
		w.in(0, w.rivalTakes)
	}
	if s.urgent > 0 {
		w.in(0, w.urgentComes)
	}
	if s.sparse > 0 {
		w.in(0, w.ordinaryComes)
	}
	w.in(0, w.pump)
	for len(w.agenda) > 0 {
		e := heap.Pop(&w.agenda).(event)
		if w.now = e.at; w.now >= s.warm+s.length {
			break
		}
		e.do()
	}
	allowed := float64(s.limit) * s.length.Seconds() / s.window.Seconds()
	if s.changeTo > 0 {
		after := (s.warm + s.length - max(s.change, s.warm)).Seconds()
		allowed += float64(s.changeTo-s.limit) * after / s.window.Seconds()
	}
	w.use = float64(w.own) / (allowed - float64(w.rivals))
	return w.result
}

func (w *world) every(mean time.Duration) time.Duration {
	return time.Duration(w.rnd.ExpFloat64() * float64(mean))
}

func (w *world) rivalTakes() {
	if w.server.Take(w.remote()).Allowed && w.measured() {
		w.rivals++
	}
	w.in(w.every(time.Duration(float64(time.Second)/w.rival)), w.rivalTakes)
}

func (w *world) urgentComes() {
	w.urgentSince = append(w.urgentSince, w.now)
	w.pump()
	w.in(w.every(w.urgent), w.urgentComes)
}

func (w *world) ordinaryComes() {
	w.ordinarySince = append(w.ordinarySince, w.now)
	w.pump()
	w.in(w.every(w.sparse), w.ordinaryComes)
}

// pump asks for as many tokens as there is work, and again when told to.
func (w *world) pump() {
	wake := time.Time{}
	if n := len(w.urgentSince); n > 0 {
		got, next := w.lim.Grant(w.local(), true, n)
		for _, since := range w.urgentSince[:got] {
			w.waits = append(w.waits, w.now-since)
			w.send()
		}
		w.urgentSince, wake = w.urgentSince[got:], next
	}
	want := w.atOnce
	if w.sparse > 0 {
		want = len(w.ordinarySince)
	}
	if want > 0 {
		got, next := w.lim.Grant(w.local(), false, want)
		for i := range got {
			if w.sparse > 0 {
				w.waits = append(w.waits, w.now-w.ordinarySince[i])
			}
			w.send()
		}
		if w.sparse > 0 {
			w.ordinarySince = w.ordinarySince[got:]
		}
		if !next.IsZero() && (wake.IsZero() || next.Before(wake)) {
			wake = next
		}
	}
	w.sleepUntil(wake)
}

func (w *world) sleepUntil(wake time.Time) {
	if wake.IsZero() {
		return
	}
	if !wake.After(w.local()) {
		w.t.Errorf("at %v Grant says that there is more from %v on, yet did not grant it", w.now, wake.Sub(epoch))
	}
	at := max(wake.Sub(epoch), w.now+100*time.Microsecond)
	if w.wake > w.now && w.wake <= at {
		return
	}
	w.wake = at
	w.in(at-w.now, func() {
		if w.now == w.wake {
			w.pump()
		}
	})
}

// send takes one request all the way: claim, wire, server, wire.
func (w *world) send() {
	claim := time.Millisecond + time.Duration(w.rnd.Int64N(int64(2*time.Millisecond)))
	w.in(claim, func() {
		ticket := w.lim.Sent(w.local())
		up, down := w.way(), w.way()
		if w.rnd.Float64() < w.tail {
			if w.rnd.IntN(2) == 0 {
				up += time.Second
			} else {
				down += time.Second
			}
		}
		if w.rnd.Float64() < w.lost {
			w.in(up, func() { w.serve() })
			w.in(3*time.Second, func() { w.lim.Lost(ticket, w.local()); w.pump() })
			return
		}
		w.in(up, func() {
			answer := w.serve()
			w.in(down, func() { w.lim.Answered(ticket, w.local(), answer); w.pump() })
		})
	})
}

func (w *world) way() time.Duration {
	return time.Duration(float64(w.leg) * math.Exp(0.45*w.rnd.NormFloat64()))
}

// serve is what the server does with one request.
func (w *world) serve() limiter.Answer {
	was := w.server.Peek(w.remote())
	d := w.server.Take(w.remote())
	if d.Allowed {
		w.accepted++
		w.times = append(w.times, w.now)
		if w.measured() {
			w.own++
		}
	} else {
		w.refused++
	}
	h := http.Header{}
	if !w.noDate {
		h.Set("Date", w.remote().UTC().Format(http.TimeFormat))
	}
	remaining := d.Remaining
	if w.before {
		remaining = was.Remaining
	}
	tell := w.headers == allHeaders || w.headers == only429 && !d.Allowed
	if tell && !(d.Allowed && w.rnd.Float64() < w.missing) {
		h.Set("X-RateLimit-Limit", strconv.Itoa(d.Limit))
		h.Set("X-RateLimit-Remaining", strconv.Itoa(remaining))
		h.Set("X-RateLimit-Reset", sim.FormatReset(d.Reset, w.rounding))
	}
	status, retry := http.StatusOK, ""
	if !d.Allowed {
		status = http.StatusTooManyRequests
		if w.headers != noHeaders {
			retry = strconv.Itoa(sim.RetryAfter(w.remote(), d.Reset))
		}
	}
	return limiter.Answer{Status: status, Headers: limiter.ParseHeaders(h, retry)}
}
