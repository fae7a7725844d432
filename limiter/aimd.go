package limiter

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

const (
	// cut is what a refusal leaves of the rate.
	cut = 0.88
	// slowly and quickly are how much of itself the rate gains with each answer:
	// near the rate that was last refused, and elsewhere.
	slowly, quickly = 5e-5, 1e-3
	// A rate far below what is proven gains up to boldly instead, so that it
	// doubles in as many seconds as doubling says.
	boldly, doubling = 0.05, 5
	// memory is after what time of refusals below what is proven two thirds of
	// that are forgotten, a sixth at most with each: the limit may have fallen.
	memory = time.Minute
	// sustained is how long it takes to prove a rate.
	sustained = time.Minute
	// fewest is how many must be admitted for a rate to be measured again.
	fewest = 16
	// idle is after how long without an answer the time does not count in which
	// a rate is measured: there was nothing to send.
	idle = time.Second
	// askAgain is after how long without an answer one more may go before the
	// first refusal: requests that hang must not keep all others waiting.
	askAgain = time.Second
	// slowest keeps a rate from vanishing, in requests per second.
	slowest = 1.0 / 60
)

// pacer finds the pace of a server that does not tell it: additive increase,
// multiplicative decrease.
//
// Until the first refusal only the number of requests under way grows. The rate
// that was then admitted, waits included, is where the pace begins, unless a
// better guess is known.
type pacer struct {
	leads   bool
	width   int       // how many may be under way before the first refusal
	asked   time.Time // when the last was granted, before the first refusal or while blocked
	answers int
	bucket  *rate.Limiter // nil before the first refusal
	perSec  float64       // 0 until measured
	ceiling float64       // the rate that was last refused
	proven  float64       // the best rate that was admitted for long, less what was forgotten
	spare   int           // tokens that came back unused

	passed   int           // accepted until the last recovery, since from
	from     time.Time     // when the measuring of proven began
	accepted int           // since the last recovery
	since    time.Time     // of the last recovery, or the first request after none or an idle time
	resumed  bool          // since is of a recovery
	unused   time.Duration // how long nothing was to be sent, of the time since
	full     time.Time     // when the bucket is full, if nothing more goes
	heard    time.Time     // of the last answer that was no refusal
	cutAt    time.Time     // of the last refusal that counted
	until    time.Time     // parked
	blocked  bool          // refused, and not admitted since
	refusals int           // in a row
	opening  opening
}

// lead begins to pace where others did before: at perSec, if that is above 0.
func (p *pacer) lead(now time.Time, perSec float64) {
	*p = pacer{leads: true, width: 1, since: now}
	if perSec > 0 {
		p.set(now, perSec)
	}
}

// admitted takes an answer that was no refusal.
func (p *pacer) admitted(sent, now time.Time, most int) {
	p.accepted++
	p.heard = now
	switch {
	case p.blocked:
		if !sent.Before(p.cutAt) {
			p.resume(now)
		}
	case p.bucket == nil:
		p.answers++
		if step := widen(p.width); p.answers%step == 0 {
			p.width = min(p.width+1, most)
		}
	case p.bucket.TokensAt(now) < float64(p.bucket.Burst()):
		// A pace that is not used up would grow without having been tried.
		p.set(now, p.perSec*(1+p.gain()))
	}
}

// gain is how much of itself the rate gains with an answer.
func (p *pacer) gain() float64 {
	switch {
	case p.fallen():
		return min(max(quickly, math.Ln2/(doubling*p.perSec)), boldly)
	case p.perSec > 0.9*p.ceiling && p.perSec < 1.05*p.ceiling:
		return slowly
	}
	return quickly
}

// fallen tells whether the rate is far below what was once admitted. A minute of
// refusals by chance brings it there, and an ordinary gain takes hours to undo that.
func (p *pacer) fallen() bool { return p.perSec < 0.9*p.proven }

// widen is how many answers make room for one more request. All that are under
// way are refused when the limit is met, so many grow slower.
func widen(width int) int {
	if width >= 16 {
		return 32
	}
	return 8
}

// resume begins again after a refusal, at no more than what was admitted on
// average since the last recovery. A few before the first one tell nothing: the
// limit may have been used up when they came. Nor does what came now and then: it
// was all that there was to send.
func (p *pacer) resume(now time.Time) {
	perSec := p.perSec
	enough := p.accepted >= fewest || perSec == 0 && p.resumed
	passed := now.Sub(p.since)
	if passed > 0 && enough && p.unused < passed/2 {
		measured := float64(p.accepted) / passed.Seconds()
		if perSec == 0 {
			perSec = measured * cut
		}
		perSec = min(perSec, max(measured, perSec/2))
	}
	p.prove(now)
	p.accepted, p.since, p.resumed, p.unused = 0, now, true, 0
	p.blocked, p.refusals, p.spare = false, 0, 0
	if perSec > 0 {
		p.set(now, perSec)
		p.full = later(p.full, now)
	}
}

// prove measures over several refusals: between two of them chance, or a window
// that ended meanwhile, may have let far more through than the limit does.
func (p *pacer) prove(now time.Time) {
	if !p.resumed {
		p.passed, p.from = 0, p.since
	}
	p.passed += p.accepted
	if since := now.Sub(p.from); since >= sustained {
		p.proven = max(p.proven, float64(p.passed)/since.Seconds())
		p.passed, p.from = 0, now
	}
}

func (p *pacer) set(now time.Time, perSec float64) {
	p.perSec = max(perSec, slowest)
	// A burst makes up for the granularity of timers.
	burst := max(1, int(p.perSec/50))
	if p.bucket == nil {
		p.bucket = rate.NewLimiter(rate.Limit(p.perSec), burst)
	} else {
		p.bucket.SetLimitAt(now, rate.Limit(p.perSec))
		p.bucket.SetBurstAt(now, burst)
	}
	p.fill(now)
}

// fill foretells when the bucket is full.
func (p *pacer) fill(now time.Time) {
	missing := float64(p.bucket.Burst()) - p.bucket.TokensAt(now)
	if missing > 0 || p.full.IsZero() || p.full.After(now) {
		p.full = now.Add(time.Duration(max(missing, 0) / p.perSec * float64(time.Second)))
	}
}

// refused takes a 429. All that was under way when the first of them came tells
// no more than that one.
func (p *pacer) refused(sent, now time.Time, wait time.Duration) {
	if sent.Before(p.cutAt) {
		return
	}
	if !p.blocked && p.perSec > 0 {
		p.ceiling = p.perSec
		if p.perSec < p.proven {
			passed := min(now.Sub(p.cutAt), memory/6)
			p.proven *= math.Exp(-passed.Seconds() / memory.Seconds())
		}
		p.set(now, p.perSec*cut)
	}
	if wait == 0 {
		wait = min(100*time.Millisecond<<min(p.refusals, 16), time.Minute)
	} else if p.refusals > 0 {
		wait = max(wait, disbelief(p.refusals))
	}
	p.refusals++
	p.blocked, p.cutAt = true, now
	p.until = now.Add(min(wait, longestPark))
	p.opening = opening{width: 1}
}

// disbelief is how long to wait at least after so many refusals in a row,
// however soon the server says that it would admit one.
func disbelief(refusals int) time.Duration {
	return min(time.Second<<min(refusals-1, 16), time.Minute)
}

// room tells how many requests may go now, and when there is room for more.
func (p *pacer) room(d demand) (int, time.Time) {
	switch {
	case d.now.Before(p.until):
		return 0, p.until
	case p.blocked:
		if d.out == 0 {
			p.opening.used = 0
		}
		return p.opening.room(d)
	case p.bucket == nil:
		return p.growing(d)
	}
	tokens := p.bucket.TokensAt(d.now)
	n := max(int(tokens), 0)
	missing := (float64(n+1) - tokens) / p.perSec
	return n + p.spare, d.now.Add(time.Duration(missing*float64(time.Second)) + time.Microsecond)
}

// growing is room before the first refusal.
func (p *pacer) growing(d demand) (int, time.Time) {
	return d.hedged(p.width-d.out, later(p.asked, p.heard))
}

func (p *pacer) take(now time.Time, n int) {
	switch {
	case p.blocked:
		p.since = p.since.Add(max(now.Sub(later(p.until, p.asked)), 0))
		p.asked = now
		p.opening.take(now, n)
	case p.bucket == nil:
		p.asked = now
		if now.Sub(p.heard) > idle {
			p.accepted, p.since, p.resumed, p.unused = 0, now, false, 0
		}
	default:
		p.unused += max(now.Sub(p.full), 0)
		p.full = later(p.full, now)
		used := min(n, p.spare)
		p.spare -= used
		p.bucket.AllowN(now, n-used)
		p.fill(now)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (p *pacer) giveBack(n int) {
	switch {
	case p.blocked:
		p.opening.giveBack(n)
	case p.bucket != nil:
		p.spare = min(p.spare+n, p.bucket.Burst())
	default:
		p.asked = time.Time{} // whoever was to ask last did not
	}
}
