package sim

import "time"

// leastSleep bounds how often the policy is asked in vain.
const leastSleep = 100 * time.Microsecond

// message is one that waits or is under way.
type message struct {
	high bool
	came time.Duration
	left time.Duration // when its last request was granted
}

// lane holds the messages that wait, those that were refused before the others.
type lane struct{ again, fresh []message }

func (l *lane) len() int { return len(l.again) + len(l.fresh) }

// take gives the next message. There must be one.
func (l *lane) take() (m message) {
	from := &l.again
	if len(l.again) == 0 {
		from = &l.fresh
	}
	m, *from = (*from)[0], (*from)[1:]
	return m
}

// lanes are all messages that are still to be sent.
type lanes struct {
	high, ordinary lane
	endless        bool          // there is always one more ordinary message
	out            int           // messages under way
	settled        int           // of those that come to an end
	wake           time.Duration // when the policy will be asked again by time alone
}

// open lets messages come.
func (w *world) open() {
	switch {
	case w.HighMost > 0:
		span := float64(w.HighMost) * float64(w.HighEvery)
		for range w.HighMost {
			w.in(time.Duration(w.rnd.Float64()*span), w.highComes)
		}
	case w.HighEvery > 0:
		w.in(0, w.highKeepComing)
	}
	switch {
	case w.OrdinaryEvery > 0:
		w.in(0, w.ordinaryCome)
	case w.Backlog > 0:
		w.ordinary.fresh = make([]message, w.Backlog)
	default:
		w.endless = true
	}
	w.in(0, w.pump)
}

func (w *world) highKeepComing() {
	w.highComes()
	w.in(w.random(w.HighEvery), w.highKeepComing)
}

func (w *world) highComes() {
	w.high.fresh = append(w.high.fresh, message{high: true, came: w.now})
	w.pump()
}

func (w *world) ordinaryCome() {
	for range w.Burst {
		w.ordinary.fresh = append(w.ordinary.fresh, message{came: w.now})
	}
	w.pump()
	w.in(w.random(w.OrdinaryEvery), w.ordinaryCome)
}

// pump asks for as many tokens as there is work for, and again when told to.
func (w *world) pump() {
	high := w.serve(&w.high, true)
	w.sleepUntil(earlier(high, w.serve(&w.ordinary, false)))
}

// serve sends what one lane may send now.
func (w *world) serve(l *lane, urgent bool) (wake time.Time) {
	free := w.MaxInFlight - w.out
	if missing := free - l.len(); w.endless && !urgent && missing > 0 {
		l.fresh = append(l.fresh, make([]message, missing)...)
	}
	want := min(l.len(), free)
	if want <= 0 {
		return time.Time{}
	}
	granted, wake := w.policy.Grant(w.local(), urgent, want)
	for range granted {
		m := l.take()
		m.left = w.now
		w.out++
		w.send(m)
	}
	return wake
}

func (w *world) sleepUntil(wake time.Time) {
	if wake.IsZero() {
		return
	}
	if !wake.After(w.local()) {
		w.result.Spins++
	}
	at := max(wake.Sub(epoch), w.now+leastSleep)
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

// settle takes a message that is done: its answer is no refusal, or none will come.
func (w *world) settle(m message) {
	w.out--
	w.waited(m, m.left)
	if m.high && w.HighMost == 0 {
		return // one of those that never end
	}
	if w.settled++; w.Backlog > 0 && w.settled == w.Backlog+w.HighMost {
		w.result.Done = w.now
	}
}

// putBack lets a message that was refused wait again.
func (w *world) putBack(m message) {
	w.out--
	l := &w.ordinary
	if m.high {
		l = &w.high
	}
	l.again = append(l.again, m)
}

func (w *world) waited(m message, until time.Duration) {
	switch {
	case m.came < w.Warm:
	case m.high:
		w.result.HighWaits = append(w.result.HighWaits, until-m.came)
	case !w.endless:
		w.result.Waits = append(w.result.Waits, until-m.came)
	}
}

// stillWaiting counts the waits that the end of the run cuts short.
func (w *world) stillWaiting() {
	for _, waiting := range [][]message{w.high.again, w.high.fresh, w.ordinary.again, w.ordinary.fresh} {
		for _, m := range waiting {
			w.waited(m, w.now)
		}
	}
}
