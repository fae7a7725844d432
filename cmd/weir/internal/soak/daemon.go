package soak

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// DaemonCommand are the arguments of the command that runs a daemon which tells
// its gauges.
var DaemonCommand = []string{"soak", "daemon"}

// gaugesEvery is how often a daemon tells them.
const gaugesEvery = time.Second

// Gauges are what only the process itself can tell.
type Gauges struct {
	Goroutines int    `json:"goroutines"`
	Heap       uint64 `json:"heap"` // bytes in use
}

// TellGauges writes them to w, a line each second, until ctx ends.
func TellGauges(ctx context.Context, w io.Writer) {
	out := json.NewEncoder(w)
	for pause(ctx, gaugesEvery) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_ = out.Encode(Gauges{Goroutines: runtime.NumGoroutine(), Heap: m.HeapInuse})
	}
}

// daemon is weir in a process of its own, one after the other.
type daemon struct {
	program  func(args ...string) *exec.Cmd
	settings map[string]string

	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  chan struct{}
	failed error // how the last one ended, complete once ended is closed
	wanted bool  // its end was
	gauges Gauges
	said   []string // its last lines
}

// run starts the next one and returns once it runs.
func (d *daemon) run(ctx context.Context) error {
	cmd := d.program(DaemonCommand...)
	for name, value := range d.settings {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("soak: starting the daemon: %w", err)
	}
	running, ended := make(chan struct{}), make(chan struct{})
	d.mu.Lock()
	d.cmd, d.ended, d.wanted, d.failed, d.gauges = cmd, ended, false, nil, Gauges{}
	d.mu.Unlock()
	go d.follow(cmd, stdout, stderr, running, ended)
	select {
	case <-running:
		return nil
	case <-ended:
		return d.failure()
	case <-time.After(startWithin):
		return fmt.Errorf("soak: the daemon does not run after %v", startWithin)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow reads what the process says until it ends.
func (d *daemon) follow(cmd *exec.Cmd, stdout, stderr io.Reader, running, ended chan struct{}) {
	var reading sync.WaitGroup
	reading.Go(func() {
		for in := json.NewDecoder(stdout); ; {
			var g Gauges // zero once nothing more is told: the last one would look as if nothing grew
			err := in.Decode(&g)
			d.mu.Lock()
			d.gauges = g
			d.mu.Unlock()
			if err != nil {
				_, _ = io.Copy(io.Discard, stdout)
				return
			}
		}
	})
	reading.Go(func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			var line struct{ Msg string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "running" {
				close(running)
			}
			d.mu.Lock()
			d.said = append(d.said[max(0, len(d.said)-20):], lines.Text())
			d.mu.Unlock()
		}
	})
	reading.Wait()
	err := cmd.Wait()
	d.mu.Lock()
	if err != nil {
		d.failed = err
	}
	d.mu.Unlock()
	close(ended)
}

// failure is how the daemon ended although nobody wanted it to.
func (d *daemon) failure() error {
	d.mu.Lock()
	err := errors.Join(d.failed, errEnded)
	d.mu.Unlock()
	return fmt.Errorf("soak: the daemon ended by itself: %w%s", err, d.last())
}

// last is the end of what it had to say.
func (d *daemon) last() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := ""
	for _, line := range d.said {
		text += "\n" + line
	}
	return text
}

var errEnded = errors.New("nobody had asked for it")

// stop lets it end as systemd does. What hangs is killed, and that is an error.
func (d *daemon) stop(within time.Duration) error {
	cmd, ended := d.end()
	_ = cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
	select {
	case <-ended:
	case <-time.After(within):
		d.kill()
		return fmt.Errorf("soak: the daemon did not stop within %v and was killed:%s", within, d.last())
	}
	d.mu.Lock()
	err := d.failed
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("soak: the daemon stopped badly: %w%s", err, d.last())
	}
	return nil
}

// kill is kill -9; a process that has ended is left alone.
func (d *daemon) kill() {
	cmd, ended := d.end()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill() // fails if it has ended
	<-ended
}

// end says that the end is wanted.
func (d *daemon) end() (cmd *exec.Cmd, ended chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = true
	return d.cmd, d.ended
}

// alive gives the process id and the latest gauges, or why there is no daemon:
// nil while one is being replaced.
func (d *daemon) alive() (pid int, g Gauges, err error) {
	d.mu.Lock()
	ended, wanted := d.ended, d.wanted
	pid, g = d.cmd.Process.Pid, d.gauges
	d.mu.Unlock()
	select {
	case <-ended:
		if !wanted {
			return 0, g, d.failure()
		}
		return 0, g, nil
	default:
		return pid, g, nil
	}
}
