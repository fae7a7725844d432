package sandbox

import (
	"cmp"
	"slices"
	"time"

	"weir/limiter/sim"
)

// keptWindows is how many windows of each limit Stats remembers.
const keptWindows = 100

// limits counts sends by API key and, if asked, channel. Its times are the server's.
type limits struct {
	cfg     Config
	limit   int // 0: none
	started time.Time
	tiers   []Tier // still to come, in order
	buckets map[bucketName]*bucket
	names   []bucketName // in order of appearance
}

type bucketName struct{ key, channel string }

// bucket is one limit and what it has allowed.
type bucket struct {
	model     sim.Limit
	first     time.Time
	windows   []Window // the last is the current one
	allowed   int
	throttled int
	capacity  float64 // of the windows before the current one
}

func newLimits(cfg Config, now time.Time) *limits {
	tiers := slices.Clone(cfg.Tiers)
	slices.SortStableFunc(tiers, func(a, b Tier) int { return cmp.Compare(a.After, b.After) })
	return &limits{cfg: cfg, limit: cfg.Limit, started: now, tiers: tiers, buckets: map[bucketName]*bucket{}}
}

// take asks the limit for one send. limited is false if there is none.
func (l *limits) take(now time.Time, key, channel string) (d sim.Decision, limited bool) {
	b := l.bucket(now, key, channel)
	if b == nil {
		return sim.Decision{Allowed: true}, false
	}
	d = b.model.Take(now)
	b.count(d, l.windowStart(b, d, now), l.cfg.Window)
	if d.Allowed && l.cfg.RemainingBefore {
		d.Remaining++
	}
	return d, true
}

// peek tells how the limit stands.
func (l *limits) peek(now time.Time, key, channel string) (d sim.Decision, limited bool) {
	b := l.bucket(now, key, channel)
	if b == nil {
		return sim.Decision{}, false
	}
	return b.model.Peek(now), true
}

// bucket gives the limit that counts a send, or nil.
func (l *limits) bucket(now time.Time, key, channel string) *bucket {
	for len(l.tiers) > 0 && now.Sub(l.started) >= l.tiers[0].After {
		l.set(l.tiers[0].Of(l.cfg.Limit))
		l.tiers = l.tiers[1:]
	}
	if l.limit == 0 {
		return nil
	}
	name := bucketName{key: key}
	if l.cfg.Scope == PerChannel {
		name.channel = channel
	}
	b := l.buckets[name]
	if b == nil {
		b = &bucket{model: l.cfg.Model.New(l.limit, l.cfg.Window), first: now}
		l.buckets[name] = b
		l.names = append(l.names, name)
	}
	return b
}

// set changes the limit from now on; 0 lifts it.
func (l *limits) set(limit int) {
	l.limit = limit
	if limit == 0 {
		return
	}
	for _, b := range l.buckets {
		b.model.SetLimit(limit)
	}
}

// windowStart says when the window began that d belongs to. A model without
// windows is told in stretches of the same length from its first request on.
func (l *limits) windowStart(b *bucket, d sim.Decision, now time.Time) time.Time {
	if l.cfg.Model == sim.Clock || l.cfg.Model == sim.FirstRequest {
		return d.Reset.Add(-l.cfg.Window)
	}
	return b.first.Add(now.Sub(b.first).Truncate(l.cfg.Window))
}

func (b *bucket) count(d sim.Decision, start time.Time, length time.Duration) {
	last := len(b.windows) - 1
	if last < 0 || start.After(b.windows[last].Start) {
		if last >= 0 {
			w := b.windows[last]
			b.capacity += float64(w.Limit) * start.Sub(w.Start).Seconds() / length.Seconds()
		}
		if len(b.windows) == keptWindows {
			b.windows = slices.Delete(b.windows, 0, 1)
		}
		b.windows = append(b.windows, Window{Start: start.UTC()})
	}
	w := &b.windows[len(b.windows)-1]
	w.Limit = d.Limit
	if d.Allowed {
		w.Allowed++
		b.allowed++
	} else {
		w.Throttled++
		b.throttled++
	}
}

// stats tells what the limit has allowed and what it would have.
func (b *bucket) stats() LimitStats {
	capacity := b.capacity
	if n := len(b.windows); n > 0 {
		capacity += float64(b.windows[n-1].Allowed)
	}
	return LimitStats{
		Allowed:   b.allowed,
		Throttled: b.throttled,
		Capacity:  capacity,
		Windows:   slices.Clone(b.windows),
	}
}
