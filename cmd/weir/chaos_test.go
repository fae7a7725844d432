package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weir/cmd/weir/internal/chaos"
	"weir/internal/point"
)

// shortKills is enough for every named place, and some at random.
const shortKills = 40

// chaosConfig lets chaos run this test binary as weir, into out.
func chaosConfig(t *testing.T, out io.Writer) chaos.Config {
	t.Helper()
	if !point.Built {
		t.Skip("named places and clocks that can be turned need -tags chaos")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return chaos.Config{Program: program, Env: []string{asProgram + "=1"}, Kills: shortKills, Seed: 1, Dir: t.TempDir(), Out: out}
}

func TestNoFaultOfScenariosLosesAnythingOrSendsItTwice(t *testing.T) {
	for _, name := range chaos.Scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := chaos.RunScenario(t.Context(), chaosConfig(t, &out), name)
			if errors.Is(err, chaos.ErrSkipped) {
				t.Skip(err)
			}
			if err != nil {
				t.Error(err)
			}
			t.Log(out.String())
		})
	}
}

func TestNothingIsLostOrSentTwiceWhereverAProcessIsKilled(t *testing.T) {
	var out bytes.Buffer
	verdict, err := chaos.Run(t.Context(), chaosConfig(t, &out))
	verdict.Print(&out)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range chaos.Places() {
		if verdict.Kills[place] == 0 {
			t.Errorf("nobody died at: %s", place)
		}
	}
	for _, state := range []string{"sent", "failed", "expired"} {
		if verdict.Ended[state] == 0 {
			t.Errorf("no message ended as %s: nothing is proven of that", state)
		}
	}
}

// pointsOf gives the Go files and imports of the package of points in a build.
func pointsOf(t *testing.T, args ...string) string {
	t.Helper()
	args = append(append([]string{"list"}, args...), "-f", "{{.GoFiles}} {{.Imports}}", "weir/internal/point")
	out, err := exec.CommandContext(t.Context(), "go", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestOnlyABuildWithTheTagHasPlacesToDieAt(t *testing.T) {
	if got, want := pointsOf(t), "[off.go point.go] [time]"; got != want {
		t.Errorf("a release builds %s, want %s: no more than the time", got, want)
	}
	if got := pointsOf(t, "-tags", "chaos"); !strings.HasPrefix(got, "[on.go point.go]") || !strings.Contains(got, "syscall") {
		t.Errorf("with the tag: %s", got)
	}
}

func TestAReleaseHoldsNothingThatCouldKillIt(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	// Put together here, so that this test does not find itself.
	for _, name := range []string{"KILL", "CLOCK"} {
		if variable := strings.Join([]string{"WEIR", "CHAOS", name}, "_"); bytes.Contains(binary, []byte(variable)) != point.Built {
			t.Errorf("%s in the program: %v, with points: %v", variable, !point.Built, point.Built)
		}
	}
}

func TestNoReleaseIsBuiltWithTheTag(t *testing.T) {
	for _, path := range []string{"../../deploy/Dockerfile", "../../README.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(regexp.MustCompile(`[^\w-]+`).Split(string(text), -1), "chaos") {
			t.Errorf("%s names the tag chaos", path)
		}
	}
}

func TestChaosWithoutAKillIsRefused(t *testing.T) {
	if code, _, stderr := execute(t.Context(), "chaos", "--kills", "0"); code != exitUsage || !strings.Contains(stderr, "--kills must be 1 or more") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestEveryScenarioIsKnownBeforeTheFirstIsPlayed(t *testing.T) {
	name := "clock: an hour ahead between two runs"
	want := "needs a build with the tag chaos"
	if point.Built {
		name, want = "clock: an hour off", "there is no scenario"
	}
	code, stdout, stderr := execute(t.Context(), "chaos", "--scenario", chaos.Scenarios()[0], "--scenario", name)
	if code != exitUsage || stdout != "" || !strings.Contains(stderr, want) {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
}

func TestTheHelpOfWeirDoesNotListChaosWhichHasItsOwn(t *testing.T) {
	_, help, _ := execute(t.Context(), "--help")
	if strings.Contains(help, "chaos") {
		t.Error("the help lists chaos")
	}
	code, own, _ := execute(t.Context(), "chaos", "-h")
	if code != exitDone || !strings.Contains(own, "--kills") || !strings.Contains(own, "--seed") {
		t.Errorf("exit %d, help:\n%s", code, own)
	}
}
