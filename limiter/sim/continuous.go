package sim

import (
	"math"
	"time"
)

var (
	_ Limit = (*Log)(nil)
	_ Limit = (*Bucket)(nil)
)

// Log allows a number of requests in any stretch of a fixed length (a sliding
// log). Its Reset is when nothing is in use any more.
type Log struct {
	limit  int
	length time.Duration
	taken  []time.Time
}

// NewLog returns a Log of limit requests per length.
func NewLog(limit int, length time.Duration) *Log {
	return &Log{limit: limit, length: length}
}

// Take counts a request that arrives now, if there is room for it.
func (l *Log) Take(now time.Time) Decision {
	d := l.Peek(now)
	if d.Allowed {
		l.taken = append(l.taken, now)
		d.Remaining--
		d.Reset, d.Retry = now.Add(l.length), l.retry(now)
	}
	return d
}

// Peek says what Take would say, with Remaining as it stands before.
func (l *Log) Peek(now time.Time) Decision {
	for len(l.taken) > 0 && !now.Before(l.taken[0].Add(l.length)) {
		l.taken = l.taken[1:]
	}
	left := max(l.limit-len(l.taken), 0)
	d := Decision{Allowed: left > 0, Limit: l.limit, Remaining: left, Reset: now, Retry: l.retry(now)}
	if n := len(l.taken); n > 0 {
		d.Reset = l.taken[n-1].Add(l.length)
	}
	return d
}

// SetLimit changes the limit from now on; what was used stays used.
func (l *Log) SetLimit(n int) { l.limit = n }

// retry is when the last of those is forgotten that leave no room for one more.
func (l *Log) retry(now time.Time) time.Time {
	if n := len(l.taken); n >= l.limit {
		return l.taken[n-l.limit].Add(l.length)
	}
	return now
}

// tolerance is how far below a whole request rounding errors may leave one.
const tolerance = 1e-9

// Bucket refills evenly and holds at most its limit (GCRA, token bucket). Its
// Reset is when it is full again.
type Bucket struct {
	limit  int
	length time.Duration
	tokens float64
	at     time.Time
}

// NewBucket returns a full Bucket of limit tokens that refills in length.
func NewBucket(limit int, length time.Duration) *Bucket {
	return &Bucket{limit: limit, length: length, tokens: float64(limit)}
}

// Take counts a request that arrives now, if a whole token is there.
func (b *Bucket) Take(now time.Time) Decision {
	d := b.Peek(now)
	if d.Allowed {
		b.tokens--
		d.Remaining--
		d.Reset, d.Retry = b.reaches(now, float64(b.limit)), b.reaches(now, 1)
	}
	return d
}

// Peek says what Take would say, with Remaining as it stands before.
func (b *Bucket) Peek(now time.Time) Decision {
	if !b.at.IsZero() {
		b.tokens += now.Sub(b.at).Seconds() * float64(b.limit) / b.length.Seconds()
	}
	b.tokens, b.at = math.Min(b.tokens, float64(b.limit)), now
	left := int(b.tokens + tolerance)
	return Decision{
		Allowed: left > 0, Limit: b.limit, Remaining: left,
		Reset: b.reaches(now, float64(b.limit)), Retry: b.reaches(now, 1),
	}
}

// SetLimit changes the limit and with it the rate of the refill from now on.
func (b *Bucket) SetLimit(n int) { b.limit = n }

// reaches is when so many tokens are there.
func (b *Bucket) reaches(now time.Time, tokens float64) time.Time {
	missing := max(tokens-b.tokens, 0) / float64(b.limit)
	return now.Add(time.Duration(math.Ceil(missing * float64(b.length))))
}
