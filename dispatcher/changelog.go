package dispatcher

import (
	"context"
	"log/slog"
	"time"
)

// tellParks is how often the log says at most that a bucket meets its limit: one
// that does so every second is well, and would fill the disk.
const tellParks = time.Minute

// changeLog says in the log when the state of a bucket is another one.
type changeLog struct {
	parkTold time.Time // when the log last said that it is parked
	silent   bool      // the log does not know that it is parked now
	untold   int       // parks since then that it does not know of
}

// log compares what a bucket showed before with what it shows now, and who set
// that. The end of a park is told as the park was.
func (l *changeLog) log(to *slog.Logger, before, now *Gauges, setBy string, at time.Time) {
	was := before.State
	if was == "" {
		was = Running // as it begins
	}
	if was == now.State {
		return
	}
	attrs := []any{"bucket", now.Bucket.String(), "state", now.State, "was", was}
	if setBy != "" {
		attrs = append(attrs, "by", setBy)
	}
	if !now.Until.IsZero() {
		attrs = append(attrs, "until", now.Until.UTC())
	}
	switch {
	case was == Running && now.State == Parked && at.Sub(l.parkTold) < tellParks:
		l.silent = true
		l.untold++
	case was == Parked && now.State == Running:
		// Told as its beginning was.
	default:
		l.silent = false
	}
	level := slog.LevelInfo
	switch {
	case l.silent:
		level = slog.LevelDebug
	case now.State == Parked:
		if l.untold > 0 {
			attrs = append(attrs, "parked_meanwhile", l.untold)
		}
		l.parkTold, l.untold = at, 0
	}
	to.Log(context.Background(), level, "a bucket's state has changed", attrs...)
}
