// Package soak runs weir for a long time as it is meant to run: a daemon in a
// process of its own, producers that go on writing, an API that fails in turns,
// and restarts, some of them kills. It ends with a verdict: what was lost, what
// took effect twice, and what has grown.
//
// It stands beside chaos, which kills at named points; here time is the enemy.
// What it compares are the simulated API's own books, what producers were told,
// and the database.
package soak

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"weir/cmd/weir/internal/sandbox"
	"weir/limiter/sim"
)

const (
	// drainWithin is how long the backlog may take once the weather is fine again.
	drainWithin = 3 * time.Minute
	// startWithin is how long a start may take.
	startWithin = 30 * time.Second
	// stopWithin is how long a stop may take: longer than the settings allow.
	stopWithin = 30 * time.Second
)

// Config says how long and how hard.
type Config struct {
	// Program makes a process of weir with these arguments. Required.
	Program func(args ...string) *exec.Cmd
	// Dir is where everything is kept; an existing directory. Required.
	Dir string
	// For is how long traffic, faults and restarts go on.
	For time.Duration
	// Rate is how many messages a second are handed over; the API allows three
	// times as many.
	Rate int
	// Restarts is the mean time between two restarts in the first half. The
	// daemon that runs then goes on to the end, so that what it leaks is seen.
	Restarts time.Duration
	// Seed decides when which storm and which restart comes.
	Seed uint64
	// Out takes what happens, a line each.
	Out io.Writer
}

// soak is one run.
type soak struct {
	Config
	start   time.Time
	went    time.Duration // until the weather was fine
	api     *sandbox.Server
	apiURL  string
	nats    string // address
	daemon  *daemon
	told    told
	samples samples
}

// Run soaks until the time is over, or ctx ends, waits for what is under way, and
// judges. The error says that it could not be done; a bad verdict is none.
func Run(ctx context.Context, cfg Config) (*Verdict, error) {
	s := &soak{Config: cfg, start: time.Now()}
	s.told.keys, s.told.bodies = make(map[string]bool), make(map[string][sha256.Size]byte)
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("soak: listening for the simulated API: %w", err)
	}
	s.apiURL = "http://" + api.Addr().String()
	if s.nats, err = freeAddress(); err != nil {
		return nil, errors.Join(err, api.Close())
	}
	s.api = sandbox.New(sandbox.Config{
		Limit: 3 * cfg.Rate, Window: time.Second, Rounding: sim.Ceil, Scope: sandbox.PerKey,
		Latency: 5 * time.Millisecond, Jitter: 20 * time.Millisecond,
	})
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- s.api.Serve(serving, api) }()
	defer func() { stopServing(); <-served }()

	s.daemon = &daemon{program: s.aside, settings: s.settings()}
	defer s.daemon.kill()
	if err := s.daemon.run(ctx); err != nil {
		return nil, err
	}
	if err := s.disturb(ctx); err != nil {
		return nil, err
	}
	s.say("the weather is fine; waiting until all is sent")
	s.went = time.Since(s.start)
	s.api.SetFaults()
	ctx = context.WithoutCancel(ctx) // who ends it early wants to know all the same
	if err := s.drain(ctx); err != nil {
		return nil, err
	}
	if err := s.daemon.stop(stopWithin); err != nil {
		return nil, err
	}
	return s.judge(ctx)
}

// disturb lets everything go on at once for as long as it is to.
func (s *soak) disturb(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.For)
	defer cancel()
	group, working := errgroup.WithContext(ctx)
	group.Go(func() error { return s.publish(working) })
	group.Go(func() error { return s.send(working) })
	group.Go(func() error { return s.weather(working, rand.New(rand.NewPCG(s.Seed, 1))) })
	group.Go(func() error { return s.restart(working, rand.New(rand.NewPCG(s.Seed, 2))) })
	group.Go(func() error { return s.measure(working) })
	err := group.Wait()
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// aside makes a process that a person's Ctrl-C, which is meant for the soak, does
// not reach.
func (s *soak) aside(args ...string) *exec.Cmd {
	cmd := s.Program(args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func (s *soak) settings() map[string]string {
	return map[string]string{
		"WEIR_DATA_DIR": s.dataDir(), "WEIR_CONFIG": "/dev/null", "WEIR_API_URL": s.apiURL, "WEIR_API_KEY": sandbox.DefaultKey,
		"WEIR_NATS_LISTEN": s.nats, "WEIR_LISTEN": "127.0.0.1:0", "WEIR_LOG_FORMAT": "json",
		// Short waits, so that an hour holds what otherwise takes days.
		"WEIR_REQUEST_TIMEOUT": "3s", "WEIR_SETTLE_WAIT": "200ms", "WEIR_BACKOFF_BASE": "100ms", "WEIR_BACKOFF_MAX": "5s",
		"WEIR_PROBE_INTERVAL": "500ms", "WEIR_DRAIN_TIMEOUT": "10s",
	}
}

func (s *soak) dataDir() string { return filepath.Join(s.Dir, "data") }

func (s *soak) say(format string, args ...any) {
	fmt.Fprintf(s.Out, "%8v  %s\n", time.Since(s.start).Round(time.Second), fmt.Sprintf(format, args...))
}

// freeAddress is one that a daemon can listen on after each restart. It lies below
// the ports that the system gives to connections, one of which could take it
// while the daemon is down.
func freeAddress() (string, error) {
	for {
		address := fmt.Sprint("127.0.0.1:", 10_000+rand.N(20_000))
		l, err := net.Listen("tcp", address)
		if err == nil {
			return address, l.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return "", fmt.Errorf("soak: looking for a free port: %w", err)
		}
	}
}

// pause waits, and reports false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
