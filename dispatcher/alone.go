package dispatcher

import (
	"fmt"
	"time"
)

const (
	// longestAlone bounds the doubling wait of a message that fails by itself.
	longestAlone = 15 * time.Minute
	// maxAlone bounds the waits that are remembered.
	maxAlone = 1024
)

// alone is the wait of a message that failed in a way that others would too,
// while none has yet.
type alone struct {
	wait  time.Duration // doubled by the next
	until time.Time
	why   string
}

// waitAlone makes a message wait that fails while nothing says that others
// would, each time twice as long. It needs d.mu.
func (d *Dispatcher) waitAlone(x *delivery, a Answer, j *Judgement, why string) {
	if j.State.Settled() {
		return
	}
	b := x.b
	wait := d.cfg.ProbeInterval
	if last, found := b.alone[x.c.ID]; found {
		wait = min(2*last.wait, longestAlone)
	} else if len(b.alone) >= maxAlone {
		clear(b.alone)
	}
	j.DueAt = later(j.DueAt, a.EndedAt.Add(wait))
	b.alone[x.c.ID] = alone{wait: wait, until: j.DueAt, why: why}
}

// waitsAlone says why messages of the bucket wait by themselves, and until when
// the first of them does; nothing if none does. One whose time has come waits for
// its turn. Of one that was canceled or has expired meanwhile nobody tells the
// dispatcher: it is shown until then. It needs d.mu.
func (b *bucket) waitsAlone(now time.Time) (reason string, until time.Time) {
	var first alone
	count := 0
	for _, w := range b.alone {
		if !w.until.After(now) {
			continue
		}
		if count++; count == 1 || w.until.Before(first.until) {
			first = w
		}
	}
	switch count {
	case 0:
		return "", time.Time{}
	case 1:
		return "a message waits by itself until then: " + first.why, first.until
	}
	return fmt.Sprintf("%d messages wait by themselves, the first until then: %s", count, first.why), first.until
}
