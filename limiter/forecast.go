package limiter

import "time"

// forecast is what one idea of the server says is left now, less what is under
// way, and how far it has been off.
type forecast struct {
	left float64
	miss float64 // in requests, averaged over the last reports
}

// correct takes what a report says is left. Answers overtake one another, so a
// single report moves the forecast by a part only, unless it is far off.
func (f *forecast) correct(seen float64, limit int) {
	off := seen - f.left
	f.miss += (max(off, -off) - f.miss) / 16
	if max(off, -off) > max(0.1*float64(limit), 2) {
		f.left = seen
	} else {
		f.left += off / 4
	}
}

// longGap is how many seconds without a measure show that a rate is too low. In
// less, the windows of a fleet look like a refill.
const longGap = 2

// meter measures an even refill, less what others use: what is left, and what
// we were admitted since, must come from somewhere.
type meter struct {
	perSec float64   // averaged over the last limit's worth; 0: unknown
	at     time.Time // when the average begins
	sum    float64   // left and admitted until then
}

// take adds a report. Admitted counts our requests up to the reported one,
// noise is how many may have been under way with it, itself included. A rate
// that is far too low would keep the bucket full whenever a report comes: one
// that nothing was under way with tells at least how low it cannot be.
func (m *meter) take(a sample, admitted, noise int) {
	sum := float64(a.Remaining + admitted)
	passed, grown := a.sent.Sub(m.at).Seconds(), sum-m.sum
	enough := passed > 0 && grown >= min(float64(10+noise), float64(a.Limit)/4)
	if a.Remaining >= a.Limit-1-noise || m.at.IsZero() {
		if enough && noise <= 1 && !m.at.IsZero() && passed > longGap {
			m.perSec = max(m.perSec, grown/passed)
		}
		m.at, m.sum = a.sent, sum // a full bucket hides what it would have refilled since
		return
	}
	if !enough {
		return
	}
	m.perSec = grown / passed
	if over := 1 - float64(a.Limit)/grown; over > 0 {
		m.at = m.at.Add(seconds(over * passed))
		m.sum += over * grown
	}
}

// forget begins anew, the limit having changed, and keeps the rate until then.
func (m *meter) forget() { m.at = time.Time{} }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
