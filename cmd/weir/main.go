// Command weir keeps send requests safe and hands each of them once to an API
// that limits how fast it may be called.
//
// This package is the program's shell: command line, configuration, signals
// and exit codes, and the place where the other packages are put together.
// What it promises to scripts is the exit code (0 done, 1 failed, 2 wrong
// usage) and that errors stand on standard error, one line each. The wording
// of those lines is for people and may change.
//
// A file is named for its command, as are those that begin with its name. Files
// of daemon are what weir serve runs, files of config what all settings go
// through, from flags, environment and weir.yaml.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"weir/internal/point"
)

// app is what every command gets from outside. Tests hand in their own.
type app struct {
	getenv func(string) string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	now    func() time.Time
}

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	a := &app{
		getenv: os.Getenv,
		stdin:  os.Stdin,
		stdout: os.Stdout,
		stderr: os.Stderr,
		now:    point.Now,
	}
	os.Exit(a.run(interruptible(context.Background(), signals, os.Exit), os.Args[1:]))
}

// interruptible returns a context that the first signal ends. The second one
// calls exit with 1, for those who do not want to wait until weir has drained.
func interruptible(parent context.Context, signals <-chan os.Signal, exit func(code int)) context.Context {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		<-signals
		cancel()
		<-signals
		exit(exitFailed)
	}()
	return ctx
}
