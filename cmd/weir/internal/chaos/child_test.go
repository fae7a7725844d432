package chaos

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
)

const (
	itRuns = `echo "msg=running x" >&2; while :; do sleep 0.01; done`
	// obedient ends as it should when it is asked to, unruly does not.
	obedient = `trap "exit 0" TERM; ` + itRuns
	unruly   = `trap "exit 3" TERM; ` + itRuns
)

// shell runs a script in the place of weir.
func shell(t *testing.T, script string) (*world, *child) {
	t.Helper()
	w := &world{cfg: Config{Program: "/bin/sh"}, dir: t.TempDir(), api: &api{}}
	c, err := w.start(nil, "", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	w.producers = &producers{world: w, relay: c}
	w.daemon = c
	return w, c
}

func TestAProcessThatEndsByItselfIsToBlameWhenAnotherIsStarted(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		end    func(*child)
		blamed bool
	}{
		"it crashed":                        {"exit 3", func(c *child) { <-c.ended }, true},
		"it just ended":                     {"exit 0", func(c *child) { <-c.ended }, true},
		"it had crashed before it was shot": {"exit 3", func(c *child) { <-c.ended; c.kill() }, true},
		"it did not end well when asked":    {unruly, func(c *child) { <-c.running; _ = c.ask(); <-c.ended }, true},
		"it was killed":                     {obedient, func(c *child) { <-c.running; c.kill() }, false},
		"it ended well when asked":          {obedient, func(c *child) { <-c.running; _ = c.ask(); <-c.ended }, false},
		"the scenario has seen to it":       {"exit 3", func(c *child) { <-c.ended; c.awaited = true }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, child := shell(t, c.script)
			c.end(child)
			if err := w.startDaemon(); errors.Is(err, ErrFound) != c.blamed {
				t.Errorf("the next daemon: %v, want a finding: %v", err, c.blamed)
			}
			if err := w.keepRelay(); errors.Is(err, ErrFound) != c.blamed {
				t.Errorf("the next relay: %v, want a finding: %v", err, c.blamed)
			}
		})
	}
}

func TestAProcessThatDoesNotEndIsAFindingUnlessTheRunIsBrokenOff(t *testing.T) {
	_, child := shell(t, obedient)
	<-child.running
	if err := child.awaitEnd(t.Context(), time.Millisecond); !errors.Is(err, ErrFound) {
		t.Errorf("it does not end: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := child.awaitEnd(ctx, time.Minute); !errors.Is(err, context.Canceled) || errors.Is(err, ErrFound) {
		t.Errorf("broken off: %v", err)
	}
}

func TestARunThatBreaksOffNamesTheDirectoryThatItKeeps(t *testing.T) {
	dir := t.TempDir()
	v, err := Run(t.Context(), Config{Program: "/bin/sh", Kills: 1, Seed: 1, Dir: dir, Out: io.Discard})
	kept := filepath.Join(dir, "episode-1")
	if !errors.Is(err, ErrFound) || !strings.Contains(err.Error(), "("+kept+")") {
		t.Errorf("%v, want %s named", err, kept)
	}
	if _, err := os.Stat(filepath.Join(kept, "shop.db")); err != nil || len(v.Kills) != 0 {
		t.Errorf("%v; %v", err, v.Kills)
	}
}

func TestADirectoryOfAnotherRunIsNotGoneOnWith(t *testing.T) {
	if _, err := newWorld(t.Context(), Config{}, t.TempDir(), sandbox.Config{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a directory that is there: %v, want it refused", err)
	}
}

func TestADaemonKilledWhileItStopsMustNotHaveEndedOtherwise(t *testing.T) {
	stopping := strike{name: "stopping", role: daemon, draining: true}
	for name, c := range map[string]struct {
		script         string
		blamed, missed bool
	}{
		"it had crashed before": {"exit 3", true, false},
		"it had ended before":   {"exit 0", true, false},
		"it crashed meanwhile":  {unruly, true, false},
		"it was quicker":        {obedient, false, true},
		"it was killed":         {`trap "" TERM; ` + itRuns, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, child := shell(t, c.script)
			if c.script == "exit 0" || c.script == "exit 3" {
				<-child.ended
			} else {
				<-child.running
			}
			drain := time.Duration(0)
			if c.blamed || c.missed {
				drain = time.Minute // it ends before
			}
			e := &episode{verdict: newVerdict(1), world: w}
			err := e.fell(t.Context(), stopping, child, drain)
			missed := e.verdict.Missed["stopping"] == 1
			if errors.Is(err, ErrFound) != c.blamed || missed != c.missed || !c.blamed && err != nil {
				t.Errorf("%v, missed: %v; want a finding: %v, missed: %v", err, missed, c.blamed, c.missed)
			}
		})
	}
}
