package dispatcher

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// repeatMargin is what mayRepeat leaves for clocks that differ and for the way
// to the server, so that the API surely still knows the key.
const repeatMargin = time.Minute

// Policy says how long and how often a message is tried.
type Policy struct {
	// RetryFor is how long after its first attempt a message that keeps failing
	// is given up. It must stay an hour below KeyLifetime, and within RepeatFor.
	RetryFor time.Duration
	// KeyLifetime is how long the API remembers an idempotency key.
	KeyLifetime time.Duration
	// SettleWait is the least wait after an attempt that may still have an effect.
	SettleWait time.Duration
	// BackoffBase is the longest wait after the first attempt; it doubles with each further one.
	BackoffBase time.Duration
	// BackoffMax is the longest wait between two attempts, also where the API
	// asks for a longer one.
	BackoffMax time.Duration
	// RequestTimeout bounds one request.
	RequestTimeout time.Duration
	// Doubted says that the time may be wrong now: nothing is given up by it.
	Doubted bool
}

// validate refuses a policy that would try a message for longer than the API
// knows its key.
func (p Policy) validate() error {
	if p.RequestTimeout <= 0 {
		return fmt.Errorf("field Policy.RequestTimeout is %v, needs to be positive", p.RequestTimeout)
	}
	if p.RetryFor > p.KeyLifetime-time.Hour || p.RetryFor > p.RepeatFor() {
		return fmt.Errorf("field Policy.RetryFor is %v, needs to be an hour below KeyLifetime, %v, and at most RepeatFor, %v",
			p.RetryFor, p.KeyLifetime, p.RepeatFor())
	}
	return nil
}

// mayRepeat tells whether c may be sent at now under scope without the risk of
// a second effect: always while no attempt was ambiguous, later only where and
// as long as the API knows the key.
func mayRepeat(c Claim, scope string, p Policy, now time.Time) bool {
	if c.AmbiguousAt.IsZero() {
		return true
	}
	return scope == c.Scope && now.Before(c.AmbiguousAt.Add(p.RepeatFor()))
}

// RepeatFor is how long after the start of its first ambiguous attempt a
// message may be sent again: as long as the API surely knows its key.
func (p Policy) RepeatFor() time.Duration { return p.KeyLifetime - p.RequestTimeout - repeatMargin }

// outOfTime tells whether a failure at now is one too many for c.
func (p Policy) outOfTime(c Claim, now time.Time) bool {
	return !c.FirstAttemptAt.IsZero() && now.Sub(c.FirstAttemptAt) > p.RetryFor
}

// wait is how long c waits after a counted attempt that answered a. AmbiguousAt
// of c includes that attempt. A request that still runs says nothing about the
// API's health, so it is asked for again without backing off further.
func (p Policy) wait(c Claim, a Answer, v Verdict, rnd func() float64) time.Duration {
	wait := min(retryAfter(a), p.BackoffMax)
	if v == InProgress {
		wait = max(wait, p.BackoffBase) // SettleWait may be zero
	} else {
		wait = max(wait, p.backoff(c.Attempts, rnd))
	}
	if !c.AmbiguousAt.IsZero() {
		wait = max(wait, p.SettleWait)
	}
	return wait
}

// backoff is exponential in the earlier attempts, with full jitter: failures
// that came together do not come back together.
func (p Policy) backoff(earlier int, rnd func() float64) time.Duration {
	ceiling := min(math.Ldexp(float64(p.BackoffBase), earlier), float64(p.BackoffMax))
	return time.Duration(rnd() * ceiling)
}

// asksToWait tells whether the answer names a wait, readable or not.
func asksToWait(a Answer) bool {
	return a.RetryAfter != "" || a.Header.Get("Retry-After") != ""
}

// retryAfter is the longest wait that the answer names, in its header (seconds,
// or a date by the server's own clock) or its body; zero if none can be read.
func retryAfter(a Answer) time.Duration {
	header := a.Header.Get("Retry-After")
	wait := max(seconds(header), seconds(strings.Trim(a.RetryAfter, `"`)))
	if until, err := http.ParseTime(header); err == nil {
		from, err := http.ParseTime(a.Header.Get("Date"))
		if err != nil {
			from = a.EndedAt
		}
		wait = max(wait, until.Sub(from))
	}
	return wait
}

// seconds reads a number of seconds, zero if s is none that is positive.
func seconds(s string) time.Duration {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f <= 0 {
		return 0
	}
	// Beyond a day every wait is as good as any other; more could overflow.
	return time.Duration(min(f, 24*60*60) * float64(time.Second))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
