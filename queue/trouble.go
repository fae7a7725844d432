package queue

import (
	"context"
	"log/slog"
	"time"
)

// trouble paces the repetition of something that fails, and logs when that
// begins, whenever its reason changes, and when it is over.
type trouble struct {
	log    *slog.Logger
	what   string
	reason string // of the last failure; empty: none
	pause  time.Duration
}

func newTrouble(log *slog.Logger, what string) *trouble {
	return &trouble{log: log, what: what, pause: retryFirst}
}

// wait notes a failure and pauses, each time twice as long. Its error is that of ctx.
func (t *trouble) wait(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if reason := err.Error(); reason != t.reason {
		t.reason = reason
		t.log.Error(t.what+" fails; trying again", "error", err)
	}
	timer := time.NewTimer(t.pause)
	defer timer.Stop()
	t.pause = min(2*t.pause, retryMost)
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// over notes that it works.
func (t *trouble) over() {
	if t.reason == "" {
		return
	}
	t.log.Info(t.what + " works again")
	t.reason, t.pause = "", retryFirst
}
