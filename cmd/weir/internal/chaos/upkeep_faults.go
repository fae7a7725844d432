package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/internal/point"
)

// upkeepScenarios are what is done to a database besides sending: pruning,
// backup and restore, each with deaths in between.
func upkeepScenarios() []scenario {
	return []scenario{
		// An API that has forgotten every key long ago, as after 91 days.
		{name: "upkeep: rows pruned, and handed over once more", pointed: true, run: pruned,
			conf: func(c *sandbox.Config) { c.KeyLifetime = 1 }},
		{name: "upkeep: a backup restored while producers repeat", pointed: true, run: restored},
	}
}

// pruned lets every row grow old, daemons die while they prune, and producers
// hand over once more what has only a tombstone left.
func pruned(ctx context.Context, w *world) error {
	w.forgets = true
	if err := w.shiftable(ctx); err != nil {
		return err
	}
	if err := errors.Join(w.daemon.stop(ctx), w.turn(91*24*time.Hour)); err != nil {
		return err
	}
	// Bodies go first, then rows: each time one dies within the commit, one after it.
	for _, at := range []point.Name{point.PruneUncommitted, point.PruneCommitted, point.PruneUncommitted, point.PruneCommitted} {
		if err := w.dies(ctx, at, "serve"); err != nil {
			return err
		}
		if err := w.inspect(ctx); err != nil {
			return err
		}
	}
	if err := w.serve(ctx); err != nil {
		return err
	}
	if err := until(ctx, settlePatience, "only tombstones are left", func() (bool, error) {
		n, err := w.ask(ctx, `SELECT count(*) FROM messages`)
		return n == 0, err
	}); err != nil {
		return err
	}
	w.again()
	if err := w.handOver(ctx); err != nil {
		return err
	}
	n, err := w.ask(ctx, `SELECT count(*) FROM messages`)
	if err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("%w: %d messages with a tombstone were accepted once more", ErrFound, n)
	}
	return nil
}

// restored goes back to a backup of the time at which messages waited that have
// been sent since. Backup and restore die before they succeed.
func restored(ctx context.Context, w *world) error {
	w.forgets = true
	w.api.SetLimit(1) // so that most of it still waits
	w.makeSome()
	if err := w.handOver(ctx); err != nil {
		return err
	}
	if err := w.dies(ctx, point.BackupCopied, "backup", "backup.db"); err != nil {
		return err
	}
	switch _, err := os.Stat(filepath.Join(w.dir, "backup.db")); {
	case err == nil:
		return fmt.Errorf("%w: a backup that died has left its file", ErrFound)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := w.succeeds(ctx, "backup", "backup.db"); err != nil {
		return err
	}
	w.api.SetLimit(10 * usual)
	w.makeSome() // the backup knows nothing of these
	if err := errors.Join(w.handOver(ctx), w.awaitSettled(ctx)); err != nil {
		return err
	}
	w.daemon.kill()
	for _, at := range []point.Name{point.RestoreMarked, point.RestoreAside} {
		if err := w.dies(ctx, at, "restore", "--replace", "backup.db"); err != nil {
			return err
		}
		if err := w.inspect(ctx); err != nil {
			return fmt.Errorf("after a restore that died: %w", err)
		}
	}
	if err := w.succeeds(ctx, "restore", "--replace", "backup.db"); err != nil {
		return err
	}
	n, err := w.ask(ctx, `SELECT count(*) FROM messages WHERE settled_at IS NULL AND ambiguous_at IS NULL`)
	if err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("%w: after the restore %d messages wait as if they could not have been sent since the backup", ErrFound, n)
	}
	w.again()
	return nil
}

// dies runs a command of weir that is to be killed at a place.
func (w *world) dies(ctx context.Context, at point.Name, args ...string) error {
	c, err := w.start(point.Arm(at, 1), "", args...)
	if err != nil {
		return err
	}
	if err := c.awaitEnd(ctx, startPatience); err != nil {
		return fmt.Errorf("it did not get to %s: %w", at, err)
	}
	if !c.killed() {
		return fmt.Errorf("%w: weir %s did not die at %s but ended with %v:\n%s", ErrFound, args[0], at, c.cmd.ProcessState, c.said())
	}
	return nil
}

func (w *world) succeeds(ctx context.Context, args ...string) error {
	c, err := w.start(nil, "", args...)
	if err != nil {
		return err
	}
	if err := c.awaitEnd(ctx, startPatience); err != nil {
		return err
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%w: weir %s ended with %v:\n%s", ErrFound, args[0], c.cmd.ProcessState, c.said())
	}
	return nil
}
