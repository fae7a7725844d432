package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"weir/dispatcher"
	"weir/outbox"
	"weir/store"
)

// machineEvery is how often the daemon looks at what its machine gives it:
// clock, disk, NATS. People must hear within two seconds what is wrong.
const machineEvery = 500 * time.Millisecond

// machine is what the daemon knows of the machine below it.
type machine struct {
	began  time.Time                  // the start, by the clock as it is now, or earlier
	behind bool                       // the start lay before the last time seen
	nats   atomic.Pointer[string]     // why the embedded NATS cannot store; nil or empty: it can
	shown  map[string]dispatcher.Gate // what notice has put into the table, by who sets it

	low, refused bool // too little is free, and NATS knows; watchDisk's own
}

// lookAtMachine drops what the run before has shown of it, and holds everything
// back from the beginning where that is due.
func (d *daemon) lookAtMachine(ctx context.Context) error {
	gates, err := d.store.Gates(ctx)
	if err != nil {
		return err
	}
	for _, g := range gates {
		if g.AtHome() {
			err = errors.Join(err, d.store.DropGate(ctx, g))
		}
	}
	seen, lastErr := d.store.LastSeen(ctx)
	if err := errors.Join(err, lastErr); err != nil {
		return err
	}
	d.lookAtDisk()
	if d.machine.behind = d.clock.NotBefore(seen); !d.machine.behind {
		return nil
	}
	hold := dispatcher.Gate{
		Scope: d.scope(), Kind: dispatcher.Held, SetBy: dispatcher.ByClock, Since: d.now(), Until: seen,
		Reason: fmt.Sprintf("the clock shows %s, but the last run had reached %s: nothing is sent until then; set the clock, or if it is right: weir gates resume daemon (then what may have been sent is unknown)",
			d.now().UTC().Format(time.RFC3339), seen.UTC().Format(time.RFC3339)),
	}
	// In the table before anybody can compare the two.
	if err := d.store.PutGate(ctx, hold); err != nil {
		return err
	}
	d.dispatcher.Hold(hold)
	return nil
}

func (m *machine) natsTrouble() string {
	if reason := m.nats.Load(); reason != nil {
		return *reason
	}
	return ""
}

// queueTrouble is why NATS gives or takes nothing now, empty if it does both.
func (d *daemon) queueTrouble() string { return cmp.Or(d.queue.Trouble(), d.machine.natsTrouble()) }

// takes tells whether new messages are taken now, in every way there is.
func (d *daemon) takes() bool {
	select {
	case <-d.queue.Listening():
	default:
		return false
	}
	return d.store.Waiting() == nil && d.store.Room() == nil && d.queueTrouble() == ""
}

func (d *daemon) scope() string { return outbox.DaemonScope(d.cfg.Instance) }

// policy is that of the configuration, and whether the time can be trusted now.
func (d *daemon) policy() dispatcher.Policy {
	p := d.cfg.policy()
	p.Doubted = d.doubted()
	return p
}

func (d *daemon) doubted() bool {
	_, doubted := d.clock.Doubt()
	return doubted
}

// watchDisk holds everything back while less than WEIR_MIN_FREE is free.
func (d *daemon) watchDisk(ctx context.Context) error {
	return every(ctx, machineEvery, func() error {
		d.lookAtDisk()
		if d.machine.low != d.machine.refused {
			if err := d.queue.Refuse(ctx, d.machine.low); err != nil {
				d.log.Warn("the embedded NATS cannot be told whether there is space; trying again", "error", err)
			} else {
				d.machine.refused = d.machine.low
			}
		}
		return nil
	})
}

func (d *daemon) lookAtDisk() {
	err := d.store.Room()
	low := errors.Is(err, store.ErrNoRoom)
	switch {
	case err != nil && !low:
		d.log.Warn("the disk does not tell how much is free", "error", err)
	case low && !d.machine.low:
		d.machine.low = true
		d.dispatcher.Hold(dispatcher.Gate{
			Scope: d.scope(), Kind: dispatcher.Held, SetBy: dispatcher.ByDisk, Since: d.now(),
			Reason: "nothing is taken in or sent: " + strings.TrimPrefix(err.Error(), store.ErrNoRoom.Error()+": "),
		})
	case !low && d.machine.low:
		d.machine.low = false
		d.dispatcher.Cure(d.scope(), dispatcher.ByDisk, "enough of the disk is free")
	}
}

// watchMachine follows the clock, and shows what is wrong without holding
// anything back.
func (d *daemon) watchMachine(ctx context.Context) error {
	return every(ctx, machineEvery, func() error {
		if err := d.followClock(ctx); err != nil {
			return err
		}
		doubt, _ := d.clock.Doubt()
		if d.machine.behind {
			doubt = dispatcher.Doubt{} // the hold says it
		} else if doubt.Reason != "" {
			doubt.Reason += ": no message expires or is given up until the time is sure"
		}
		return errors.Join(
			d.notice(ctx, dispatcher.ByClock, doubt.Reason, doubt.Since, doubt.Until),
			d.notice(ctx, dispatcher.ByNATS, d.machine.natsTrouble(), d.now(), time.Time{}),
			d.notice(ctx, dispatcher.ByWAL, d.store.Pinned(), d.now(), time.Time{}),
		)
	})
}

// followClock goes along with a step of the wall clock, and ends the doubt about
// a start that lay before the last time seen.
func (d *daemon) followClock(ctx context.Context) error {
	if step := d.clock.Check(); step != 0 {
		was := d.now().Add(-step) // not before the look: nothing that the old clock has stamped lies behind it
		d.log.Warn("the wall clock was set; waits are kept, and nothing is given up by the time until that is sure",
			"by", step.Round(time.Millisecond).String())
		d.dispatcher.Rebase(step)
		began := d.machine.began
		d.machine.began = began.Add(min(step, 0)) // what a step forward leaves alone is of this run all the same
		if err := d.store.Rebase(ctx, began, was, step); err != nil {
			return err
		}
	}
	if d.machine.behind && !d.dispatcher.Holds(d.scope(), dispatcher.ByClock) {
		d.machine.behind = false
		d.clock.Accept()
		return d.store.SeeAgain(ctx)
	}
	return nil
}

// acceptClock mends the rows once a person has taken away the hold of a start
// that lay before the last time seen. Until it returns the hold stands for the
// dispatcher, so that nothing goes by the times of the wrong clock.
func (d *daemon) acceptClock(ctx context.Context, stored []dispatcher.Gate) error {
	stands := slices.ContainsFunc(stored, func(g dispatcher.Gate) bool {
		return g.Kind == dispatcher.Held && g.SetBy == dispatcher.ByClock
	})
	if stands || !d.dispatcher.Holds(d.scope(), dispatcher.ByClock) {
		return nil
	}
	return d.store.SeeAgain(ctx)
}

// notice shows on the daemon's row that something is wrong, until it is called
// with an empty reason. Nothing is held back.
func (d *daemon) notice(ctx context.Context, setBy, reason string, since, until time.Time) error {
	shown, stands := d.machine.shown[setBy]
	switch {
	case reason == "" && !stands, stands && shown.Reason == reason && shown.Until.Equal(until):
		return nil
	case reason == "":
		delete(d.machine.shown, setBy)
		d.log.Info("cured", "what", setBy)
		return d.store.DropGate(ctx, shown)
	case stands:
		since = shown.Since
	}
	if d.machine.shown == nil {
		d.machine.shown = make(map[string]dispatcher.Gate)
	}
	g := dispatcher.Gate{Scope: d.scope(), Kind: dispatcher.Degraded, SetBy: setBy, Reason: reason, Since: since, Until: until}
	d.machine.shown[setBy] = g
	d.log.Warn("something is wrong", "what", setBy, "reason", reason)
	return d.store.PutGate(ctx, g)
}
