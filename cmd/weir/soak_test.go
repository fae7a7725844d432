package main

import (
	"strings"
	"testing"
)

func TestAShortSoakLosesNothingAndJudgesIt(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	d := newDesk(t)
	d.env[asProgram], d.env["GORACE"] = "1", "atexit_sleep_ms=0"
	code, stdout, stderr := d.run(t.Context(), strings.NewReader(""), "soak", "--for", "10s", "--restarts", "3s")
	if code != exitDone {
		t.Fatalf("exit %d: %s\n%s", code, stderr, stdout)
	}
	for _, name := range []string{"accepted", "lost", "unsent", "wrong", "twice", "violations", "counts", "memory", "goroutines", "descriptors", "WAL"} {
		if !strings.Contains(stdout, "\nok   "+name+" ") {
			t.Errorf("the verdict has no %q:\n%s", name, stdout)
		}
	}
	d.refuse(exitUsage, "soak", "--for", "1s")
}

func TestTheSoakIsNotListedAmongTheCommands(t *testing.T) {
	if out := newDesk(t).do("--help"); strings.Contains(out, "soak") {
		t.Errorf("weir --help lists it:\n%s", out)
	}
}
