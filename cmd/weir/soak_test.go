package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
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
	for _, name := range []string{"accepted", "lost", "unsent", "wrong", "twice", "changed", "keyless", "violations", "counts", "repeated", "restarts", "WAL"} {
		if !strings.Contains(stdout, "\nok   "+name+" ") {
			t.Errorf("the verdict has no %q:\n%s", name, stdout)
		}
	}
	for _, name := range []string{"memory", "heap", "goroutines", "descriptors"} {
		if !strings.Contains(stdout, "\n?    "+name+" ") {
			t.Errorf("the verdict pretends to know of %q:\n%s", name, stdout)
		}
	}
	d.refuse(exitUsage, "soak", "--for", "1s")
}

func TestASoakThatIsInterruptedJudgesWhatItHasSeen(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	soak := exec.CommandContext(t.Context(), program, "soak", "--for", "1h", "--restarts", "1s")
	soak.Env = []string{asProgram + "=1", "GORACE=atexit_sleep_ms=0", "TMPDIR=" + t.TempDir()}
	soak.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stderr bytes.Buffer
	soak.Stderr = &stderr
	out, err := soak.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := soak.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	interrupted := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if !interrupted && strings.Contains(lines.Text(), "the next one runs after") {
			interrupted = true
			// As a terminal does: to every process of its group.
			if err := syscall.Kill(-soak.Process.Pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := soak.Wait(); err != nil || !strings.Contains(said.String(), "\nok   lost ") || !strings.Contains(said.String(), "\nok   restarts ") {
		t.Errorf("%v: %s\n%s", err, &stderr, said.String())
	}
}

func TestTheSoakIsNotListedAmongTheCommands(t *testing.T) {
	if out := newDesk(t).do("--help"); strings.Contains(out, "soak") {
		t.Errorf("weir --help lists it:\n%s", out)
	}
}
