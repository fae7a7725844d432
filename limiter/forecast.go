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

// meter measures an even refill, less what others use: what is left, and what
// we were admitted since, must come from somewhere.
type meter struct {
	perSec float64   // averaged over the last limit's worth; 0: unknown
	at     time.Time // when the average begins
	sum    float64   // left and admitted until then
}

// take adds a report. Admitted counts our requests up to the reported one,
// noise is how many of them may have overtaken it.
func (m *meter) take(a sample, admitted, noise int) {
	sum := float64(a.Remaining + admitted)
	if a.Remaining >= a.Limit-1-noise || m.at.IsZero() {
		m.at, m.sum = a.sent, sum // a full bucket hides its refill
		return
	}
	passed, grown := a.sent.Sub(m.at).Seconds(), sum-m.sum
	if passed <= 0 || grown < min(float64(10+noise), float64(a.Limit)/4) {
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
