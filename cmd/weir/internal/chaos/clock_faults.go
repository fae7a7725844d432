package chaos

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/internal/point"
)

// clockScenarios turn the wall clock of weir, not the API's.
func clockScenarios() []scenario {
	var all []scenario
	for _, step := range []struct {
		name string
		by   time.Duration
	}{
		{"ahead", time.Hour},
		{"back", -time.Hour},
	} {
		all = append(all,
			scenario{name: "clock: an hour " + step.name + " between two runs", pointed: true, run: func(ctx context.Context, w *world) error {
				return w.turnedBetween(ctx, step.by)
			}},
			scenario{name: "clock: an hour " + step.name + " during a run", pointed: true, run: func(ctx context.Context, w *world) error {
				return w.turnedDuring(ctx, step.by)
			}})
	}
	return all
}

// turn sets the wall clock of every weir of this world that has been started
// with shiftable settings.
func (w *world) turn(by time.Duration) error {
	return os.WriteFile(filepath.Join(w.dir, "clock"), []byte(by.String()), 0o600)
}

// shiftable restarts the daemon with a clock that can be turned.
func (w *world) shiftable(ctx context.Context) error {
	w.settings = append(w.settings, point.Shift("clock")...)
	return w.restart(ctx)
}

func (w *world) restart(ctx context.Context) error {
	if err := w.daemon.stop(ctx); err != nil {
		return err
	}
	return w.serve(ctx)
}

// turnedBetween leaves messages in every state of waiting to a daemon whose
// clock is wrong, and then to one whose clock is right again.
func (w *world) turnedBetween(ctx context.Context, by time.Duration) error {
	if err := w.shiftable(ctx); err != nil {
		return err
	}
	if err := w.leaveWaiting(ctx); err != nil {
		return err
	}
	if err := w.goesOnOrSays(ctx, func() error { return errors.Join(w.turn(by), w.serve(ctx)) }); err != nil {
		return err
	}
	if err := w.goesOnOrSays(ctx, func() error { return errors.Join(w.turn(0), w.restart(ctx)) }); err != nil {
		return err
	}
	return w.later(ctx, by)
}

// later restarts weir once all that was written by a clock that was ahead is in
// the past.
func (w *world) later(ctx context.Context, by time.Duration) error {
	if err := w.turn(max(by, 0) + time.Minute); err != nil {
		return err
	}
	return w.restart(ctx)
}

// turnedDuring turns the clock under a daemon with which messages wait whose
// deadline an hour may pass over. It has not passed: all of them must be sent.
func (w *world) turnedDuring(ctx context.Context, by time.Duration) error {
	if err := w.shiftable(ctx); err != nil {
		return err
	}
	w.api.SetFaults(sandbox.Fault{Kind: sandbox.Kind429})
	waiting, err := w.feedUntil(ctx, "30m")
	if err != nil {
		return err
	}
	if err := w.awaitStatus(ctx, "parked", ""); err != nil {
		return err
	}
	w.makeSome()
	err = w.goesOnOrSays(ctx, func() error {
		err := errors.Join(w.turn(by), w.awaitCommand(ctx, "degraded", "no message expires"))
		w.api.SetFaults()
		return err
	})
	if err != nil {
		return err
	}
	if err := errors.Join(w.lasts(ctx), w.turn(0)); err != nil {
		return err
	}
	if err := w.awaitEffects(ctx, waiting); err != nil {
		return err
	}
	return w.later(ctx, by)
}

// awaitEffects returns once each of the messages has taken effect.
func (w *world) awaitEffects(ctx context.Context, keys []string) error {
	return until(ctx, settlePatience, "messages with a deadline ahead are sent", func() (bool, error) {
		known := w.api.Keys("")
		return !slices.ContainsFunc(keys, func(key string) bool { return known[key].Effects == 0 }), nil
	})
}

// leaveWaiting kills the daemon while messages wait, some of them after an
// attempt that took effect and was not answered.
func (w *world) leaveWaiting(ctx context.Context) error {
	w.api.answerOddly(func(rw http.ResponseWriter, r *http.Request) {
		w.api.executed(r)
		panic(http.ErrAbortHandler)
	})
	defer w.api.answerOddly(nil)
	if _, err := w.feed(ctx); err != nil {
		return err
	}
	if err := w.awaitStatus(ctx, "degraded", "cut"); err != nil {
		return err
	}
	w.daemon.kill()
	return nil
}
