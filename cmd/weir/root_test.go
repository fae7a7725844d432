package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/bubble"
	"weir/store"
)

// execute runs one command line and gives its exit code, output and errors.
func execute(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, complaints bytes.Buffer
	a := &app{
		getenv: func(string) string { return "" },
		stdin:  strings.NewReader(""),
		stdout: &out,
		stderr: &complaints,
		now:    time.Now,
	}
	code = a.run(ctx, args)
	return code, out.String(), complaints.String()
}

func TestWhatIsDoneExitsWithZeroAndNothingOnStandardError(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--help"}, {"help", "version"}, {"completion", "bash"}} {
		code, stdout, stderr := execute(t.Context(), args...)
		if code != exitDone || stdout == "" || stderr != "" {
			t.Errorf("weir %q: exit %d, output %q, errors %q", args, code, stdout, stderr)
		}
	}
}

func TestWrongUsageExitsWithTwoAndOneLine(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"frobnicate"},
		{"--frobnicate"},
		{"version", "--frobnicate"},
		{"version", "extra"},
		{"completion"},
		{"completion", "tcsh"},
	} {
		code, stdout, stderr := execute(t.Context(), args...)
		if code != exitUsage || stdout != "" {
			t.Errorf("weir %q: exit %d, output %q", args, code, stdout)
		}
		if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "weir: ") || !strings.Contains(stderr, "--help'") {
			t.Errorf("weir %q: errors %q", args, stderr)
		}
	}
}

func TestWithoutACommandTheKnownOnesAreListed(t *testing.T) {
	_, _, stderr := execute(t.Context())
	if !strings.HasPrefix(stderr, "weir: weir needs a command: ") || !strings.Contains(stderr, "version") {
		t.Errorf("errors %q", stderr)
	}
}

func TestAMistypedCommandIsLedToTheRightOne(t *testing.T) {
	_, _, stderr := execute(t.Context(), "verison")
	if !strings.Contains(stderr, "did you mean version?") {
		t.Errorf("errors %q", stderr)
	}
}

// judge gives the exit code and the complaint of a command that ends with err.
func judge(ctx context.Context, err error) (int, string) {
	var complaints bytes.Buffer
	a := &app{stderr: &complaints}
	command := &cobra.Command{
		Use:           "weir",
		RunE:          func(*cobra.Command, []string) error { return err },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	command.SetArgs([]string{})
	code := a.execute(ctx, command)
	return code, complaints.String()
}

func TestTheErrorOfACommandDecidesTheExitCode(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		code int
		want string
	}{
		"none is done":                       {t.Context(), nil, exitDone, ""},
		"any other is a failure":             {t.Context(), errors.New("no such message"), exitFailed, "weir: no such message\n"},
		"a package's name is not for people": {t.Context(), fmt.Errorf("%w: d", store.ErrInUse), exitFailed, "weir: data directory in use: d\n"},
		"two faults are two lines":           {t.Context(), errors.Join(errors.New("a"), errors.New("b")), exitFailed, "weir: a\nweir: b\n"},
		"wrong usage found by the command":   {t.Context(), usageErrorf("--key and -f exclude each other"), exitUsage, "weir: --key and -f exclude each other; see 'weir --help'\n"},
		"a signal is an interruption":        {ended, context.Canceled, exitFailed, "weir: interrupted before it was done\n"},
		"a cancel of its own is just failed": {t.Context(), context.Canceled, exitFailed, "weir: context canceled\n"},
	} {
		t.Run(name, func(t *testing.T) {
			code, complaint := judge(c.ctx, c.err)
			if code != c.code || complaint != c.want {
				t.Errorf("exit %d, %q; want %d, %q", code, complaint, c.code, c.want)
			}
		})
	}
}

func TestTheFirstSignalEndsTheContextAndTheSecondExitsWithOne(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal, 2)
		codes := make(chan int, 1)
		ctx := interruptible(t.Context(), signals, func(code int) { codes <- code })
		synctest.Wait()
		if ctx.Err() != nil {
			t.Fatal("the context ended before any signal")
		}
		signals <- syscall.SIGTERM
		<-ctx.Done()
		synctest.Wait()
		select {
		case <-codes:
			t.Fatal("the first signal made the program exit")
		default:
		}
		signals <- os.Interrupt
		if code := <-codes; code != exitFailed {
			t.Errorf("exit %d, want %d", code, exitFailed)
		}
	})
}

func TestTheVersionNamesWhatABugReportNeeds(t *testing.T) {
	info := &debug.BuildInfo{
		GoVersion: "go1.26.8",
		Main:      debug.Module{Path: "weir", Version: "v1.2.3"},
		Deps: []*debug.Module{
			{Path: "github.com/mattn/go-sqlite3", Version: "v1.14.53"},
			{Path: "github.com/spf13/cobra", Version: "v1.10.2"},
		},
		Settings: []debug.BuildSetting{
			{Key: "GOOS", Value: "linux"}, {Key: "GOARCH", Value: "amd64"},
			{Key: "vcs.revision", Value: "abc123"}, {Key: "vcs.modified", Value: "true"},
		},
	}
	want := "weir v1.2.3 (revision abc123, modified)\ngo1.26.8 linux/amd64\ngithub.com/mattn/go-sqlite3 v1.14.53\n"
	if got := versionText(info); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func Example() {
	a := &app{getenv: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stdout, now: time.Now}
	fmt.Println("exit", a.run(context.Background(), []string{"frobnicate"}))
	// Output:
	// weir: weir has no command "frobnicate"; see 'weir --help'
	// exit 2
}

func TestTheNamesOfPackagesAreLeftOutOfErrorsAndOnlyThose(t *testing.T) {
	for text, want := range map[string]string{
		"store: queue: no":                      "no",
		"looking for it: store: reading: no":    "looking for it: reading: no",
		"first; store: second":                  "first; second",
		"reason \"app store: closed\" is kept":  "reason \"app store: closed\" is kept",
		"the database of the store: is not one": "the database of the store: is not one",
	} {
		if got := plain(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
