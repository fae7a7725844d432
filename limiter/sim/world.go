package sim

import (
	"math/rand/v2"
	"time"
)

// epoch is where virtual time begins: a whole second on a whole minute.
var epoch = time.Unix(1_700_000_040, 0)

// watchEvery is after how many events Scenario.Watch is told.
const watchEvery = 1 << 14

// world runs one scenario.
type world struct {
	Scenario
	policy Policy
	server Limit
	beside Limit // nil: none
	rnd    *rand.Rand
	agenda agenda
	now    time.Duration // since epoch
	lanes
	rivals int // requests of the rival that were accepted while measured
	result Result
}

// Run plays s, which must be valid, against a fresh policy.
func Run(s Scenario, p Policy) Result {
	s = s.withDefaults()
	w := &world{Scenario: s, policy: p, server: s.Model.New(s.Limit, s.Window), rnd: rand.New(rand.NewPCG(s.Seed, 7))}
	if s.PerSecond > 0 {
		w.beside = NewWindow(s.PerSecond, time.Second, true)
	}
	for _, t := range s.Tiers {
		w.in(t.After, func() { w.server.SetLimit(t.Limit) })
	}
	if s.RivalRate > 0 {
		w.in(0, w.rivalTakes)
	}
	w.open()
	w.play()
	w.close()
	return w.result
}

// play lets happen what happens until the time is over or all has been sent.
func (w *world) play() {
	end := w.Warm + w.Measured
	for n := 1; w.result.Done == 0; n++ {
		if w.agenda.empty() || w.agenda.soonest() >= end {
			w.now = end // of a policy that waits for what cannot come, too
			return
		}
		e := w.agenda.next()
		w.now = e.at
		e.do()
		if n%watchEvery == 0 && w.Watch != nil && !w.Watch(w.now) {
			return
		}
	}
}

// close settles what only the end shows.
func (w *world) close() {
	w.stillWaiting()
	if measured := w.now - w.Warm; measured > 0 {
		w.result.Use = float64(w.result.Measured.Accepted) / (w.allowed(w.Warm, w.now) - float64(w.rivals))
	}
}

func (w *world) in(d time.Duration, do func()) { w.agenda.plan(w.now+max(d, 0), do) }

// local is the time on our clock, remote on the server's.
func (w *world) local() time.Time  { return epoch.Add(w.now) }
func (w *world) remote() time.Time { return epoch.Add(w.now + w.Skew) }

func (w *world) measured() bool { return w.now >= w.Warm }

// random is a time between two events that come independently of each other.
func (w *world) random(mean time.Duration) time.Duration {
	return time.Duration(w.rnd.ExpFloat64() * float64(mean))
}

func (w *world) rivalTakes() {
	d := w.server.Take(w.remote())
	if d.Allowed && w.measured() {
		w.rivals++
	}
	w.trace(d, true)
	w.in(w.random(time.Duration(float64(time.Second)/w.RivalRate)), w.rivalTakes)
}

func (w *world) trace(d Decision, rival bool) {
	if w.Traced {
		w.result.Trace = append(w.result.Trace, Arrival{
			At: w.now, Rival: rival, Allowed: d.Allowed, Limit: d.Limit, Left: d.Remaining, Reset: d.Reset.Sub(epoch) - w.Skew,
		})
	}
}
