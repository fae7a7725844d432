package limiter

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

const (
	// spared is left alone by ordinary lanes, in requests: a place that comes
	// free is met a moment too early about as often as too late.
	spared = 0.8
	// sparedBusy is left alone beside it while the high lane is busy.
	sparedBusy = 3
	// mostSpared bounds what refusals add to it, as a share of the limit.
	mostSpared = 0.08
	// eager and patient are how many times as fast as the refill what is left
	// over is used up, were all of the limit left: as the only client, and
	// beside others, to whom a gap would fall that a hurry leaves behind.
	eager, patient = 16, 3
	// whole is the share of the limit from which on we count as its only client.
	whole = 0.8
)

// level follows what is left at a server that refills all the time: a sliding
// log or counter, or a bucket (GCRA).
//
// Every report anchors it. In between, two forecasts compete: that the server
// refills evenly, as a bucket does and a counter nearly, and that it gives each
// place back one span after it was taken, as a log does. The one that has been
// closer to the reports is believed, but no more than a few requests go on a
// forecast alone. Ordinary lanes go at an even pace, faster the more is left
// over, so that a log gives its places back evenly and none comes in a burst.
type level struct {
	limit   int
	at      time.Time // the forecasts are for this time
	seq     int       // the latest request whose report was taken
	even    forecast
	log     forecast
	meter   meter
	history history
	span    time.Duration // longest way from an answer to its Reset

	told  float64   // what was left at the last report, less what was taken since
	taken time.Time // when a token was last taken
	prior time.Time // and when before that
	pace  *rate.Limiter
	back  int  // tokens of the pace that came back unused
	busy  bool // the high lane is

	margin    float64   // left alone beside spared, learnt from refusals
	refusals  int       // in a row
	refusedAt time.Time // of the last that counted
	trial     time.Time // until then the server said to wait
}

// lead forgets the refill of the time in which the server seemed to keep windows.
func (v *level) lead() { v.meter, v.margin, v.refusals = meter{}, 0, 0 }

// parked tells whether the server has refused, and again what was sent when a
// place should have been free: then it is taken at its word.
func (v *level) parked(now time.Time) bool { return v.refusals > 1 && now.Before(v.trial) }

// best is the forecast that is believed.
func (v *level) best() *forecast {
	if v.history.span > 0 && v.log.miss <= v.even.miss {
		return &v.log
	}
	return &v.even
}

// perSec is the refill that we can count on, 0 if unknown, and whether it is
// about all of the limit. A log that others use seems to have a longer span, so
// Reset goes before it.
func (v *level) perSec() (perSec float64, alone bool) {
	perSec = v.meter.perSec
	span := v.span
	if span <= 0 {
		span = v.history.span
	}
	if span <= 0 {
		return perSec, false
	}
	most := float64(v.limit) / span.Seconds()
	if perSec == 0 || perSec > whole*most && perSec < most {
		perSec = most // a counter that was not used up does not show its refill
	}
	return perSec, perSec > whole*most
}

// few is how many requests may go on a forecast alone.
func (v *level) few(rtt time.Duration) float64 {
	return max(4, 2*v.meter.perSec*rtt.Seconds())
}

// advance brings the forecasts to now.
func (v *level) advance(now time.Time) {
	if v.at.IsZero() || now.Before(v.at) {
		v.at = now
		return
	}
	v.even.left = min(v.even.left+v.meter.perSec*now.Sub(v.at).Seconds(), float64(v.limit))
	v.log.left = min(v.log.left+float64(v.history.advance(now)), float64(v.limit))
	v.at = now
}

// report takes an answer that tells Limit and Remaining.
func (v *level) report(a sample, rtt, span time.Duration) {
	v.advance(a.received)
	v.span = span
	if a.Limit != v.limit {
		v.limit = a.Limit
		v.meter.forget()
	}
	if !a.refused {
		v.refusals = 0
		v.margin *= 1 - 1e-4
	}
	if a.seq < v.seq {
		return // overtaken: others tell more
	}
	v.seq = a.seq
	seen := float64(a.Remaining - a.out)
	if a.refused {
		seen = min(seen, 0)
		v.even.left, v.log.left = min(v.even.left, 0.9), min(v.log.left, 0.9)
	} else {
		v.meter.take(a, a.seq-v.history.void, a.overlap)
	}
	v.history.fit(a.seq, a.Limit-a.Remaining, a.overlap, a.received, rtt)
	v.told = seen
	// A request that is sent now arrives later by as much as this one's way took.
	v.even.correct(seen+v.meter.perSec*a.received.Sub(a.sent).Seconds(), v.limit)
	v.log.correct(seen+float64(v.history.freedSince(a.sent)), v.limit)
	v.setPace(a.received)
}

// refused takes a 429. All that was under way when the last of them came tells
// no more than that one.
func (v *level) refused(a sample) {
	if a.sent.Before(v.refusedAt) {
		return
	}
	wait := a.RetryAfter
	if wait == 0 {
		wait = min(200*time.Millisecond<<min(v.refusals, 16), time.Minute)
	} else if v.refusals > 0 {
		wait = max(wait, disbelief(v.refusals))
	}
	v.refusals++
	v.refusedAt, v.trial = a.received, a.received.Add(min(wait, longestPark))
	v.margin = min(v.margin+0.5, mostSpared*float64(v.limit))
}

// room tells how many requests may go now, and when there is room for more.
func (v *level) room(d demand) (int, time.Time) {
	if v.parked(d.now) {
		return 0, v.trial
	}
	v.busy = d.urgent || d.share >= busyShare
	v.advance(d.now)
	f, spare := v.best(), v.spare(d)
	n := int(min(f.left-spare, v.told+v.few(d.rtt)))
	switch {
	case n <= 0 && d.out == 0:
		return v.ask(d, f, spare+1)
	case n <= 0:
		return 0, v.ahead(d.now, f, spare+1)
	case d.urgent:
		return n, v.ahead(d.now, f, float64(n+1))
	}
	return v.evenly(d, n)
}

// spare is what a lane leaves alone: of a tiny limit not all, which never comes.
func (v *level) spare(d demand) float64 {
	if d.urgent {
		return 0
	}
	spare := min(spared+v.margin, mostSpared*float64(v.limit))
	if d.share >= busyShare {
		spare += min(sparedBusy, d.share*float64(v.limit))
	}
	return min(spare, float64(v.limit-1))
}

// evenly lets ordinary lanes have of n what the pace allows. Above half of the
// limit there is no hurry: a burst may go at once.
func (v *level) evenly(d demand, n int) (int, time.Time) {
	if free := int(v.best().left) - v.limit/2; free > 0 {
		return min(n, free), time.Time{}
	}
	if v.pace == nil {
		// Nothing is known of the refill.
		return max(min(n, max(v.limit/8, 4)-d.out), 0), time.Time{}
	}
	tokens := v.pace.TokensAt(d.now)
	next := d.now.Add(seconds(max(math.Floor(tokens)+1-tokens, 0)/float64(v.pace.Limit())) + time.Microsecond)
	return min(n, max(int(tokens), 0)+v.back), next
}

// ask lets one request find out what is left where nothing is under way to tell.
func (v *level) ask(d demand, f *forecast, want float64) (int, time.Time) {
	at, known := v.due(d.now, f, want)
	for _, other := range [...]*forecast{&v.even, &v.log} {
		if t, ok := v.due(d.now, other, want); ok && !known {
			at, known = t, true
		}
	}
	switch {
	case v.refusals > 0 && (!known || v.trial.Before(at)):
		at = v.trial
	case !known:
		at = v.taken.Add(d.hedge())
	}
	if latest := v.taken.Add(v.longest()); at.After(latest) {
		at = latest // a forecast may be wrong
	}
	if at.After(d.now) {
		return 0, at
	}
	return 1, d.now.Add(d.hedge())
}

// longest is how long nobody need ask at most.
func (v *level) longest() time.Duration {
	if perSec, _ := v.perSec(); perSec > 0 {
		return max(seconds(min(float64(v.limit)/perSec, farthest.Seconds())), longestPark)
	}
	return longestPark
}

// ahead is when f expects that much to be left. It is zero if f cannot tell, or
// expects it already: then only a report lets more go.
func (v *level) ahead(now time.Time, f *forecast, want float64) time.Time {
	if at, ok := v.due(now, f, want); ok && at.After(now) {
		return at
	}
	return time.Time{}
}

// due is when f expects that much to be left; ok is false if it cannot tell.
func (v *level) due(now time.Time, f *forecast, want float64) (at time.Time, ok bool) {
	missing := want - f.left
	switch {
	case missing <= 0:
		return now, true
	case f == &v.log:
		if at, ok = v.history.next(int(math.Ceil(missing))); ok {
			at = at.Add(time.Microsecond)
		}
		return at, ok
	case v.meter.perSec <= 0:
		return time.Time{}, false
	}
	return now.Add(seconds(min(missing/v.meter.perSec, longestPark.Seconds())) + time.Microsecond), true
}

// setPace sets the even pace by the refill and by what is left over.
func (v *level) setPace(now time.Time) {
	perSec, alone := v.perSec()
	if perSec <= 0 {
		return
	}
	hurry := float64(patient)
	if alone && !v.busy {
		hurry = eager
	}
	perSec *= 1.02 + hurry*max(v.best().left, 0)/float64(v.limit)
	burst := max(2, int(perSec/50)) // makes up for the granularity of timers
	if v.pace == nil {
		v.pace = rate.NewLimiter(rate.Limit(perSec), burst)
		return
	}
	v.pace.SetLimitAt(now, rate.Limit(perSec))
	v.pace.SetBurstAt(now, burst)
}

func (v *level) take(now time.Time, n int) {
	v.advance(now)
	v.prior, v.taken = v.taken, now
	v.give(-n)
	if v.pace != nil {
		again := min(n, v.back)
		v.back -= again
		v.pace.AllowN(now, n-again)
	}
}

// giveBack takes n tokens back, as if they had not been taken.
func (v *level) giveBack(n int) {
	v.taken = v.prior
	v.give(n)
	if v.pace != nil {
		v.back = min(v.back+n, v.pace.Burst())
	}
}

// give adds n to what is left.
func (v *level) give(n int) {
	v.told += float64(n)
	v.even.left += float64(n)
	v.log.left += float64(n)
}
