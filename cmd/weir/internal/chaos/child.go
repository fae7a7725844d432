package chaos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// keptLines is how much of what a process says is kept to be shown.
const keptLines = 40

// child is weir as a process of its own.
type child struct {
	cmd     *exec.Cmd
	running chan struct{} // closed once a daemon says that it runs
	ended   chan struct{}
	asked   bool // to end, by SIGTERM, while it lived
	awaited bool // the scenario has seen to its end

	mu    sync.Mutex
	lines []string // of its standard error, the last ones
}

// start begins a command of weir in the world's directory.
func (w *world) start(env []string, stdin string, args ...string) (*child, error) {
	c := &child{cmd: exec.Command(w.cfg.Program, args...), running: make(chan struct{}), ended: make(chan struct{})}
	c.cmd.Dir = w.dir
	c.cmd.Env = slices.Concat(w.cfg.Env, w.settings, env)
	if stdin != "" {
		c.cmd.Stdin = strings.NewReader(stdin)
	}
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting weir %s: %w", args[0], err)
	}
	go c.follow(stderr)
	w.children = append(w.children, c)
	return c, nil
}

// follow keeps what the process says until it ends.
func (c *child) follow(stderr io.Reader) {
	defer close(c.ended)
	lines := bufio.NewScanner(stderr)
	ran := false
	for lines.Scan() {
		line := lines.Text()
		if !ran && strings.Contains(line, "msg=running ") {
			ran = true
			close(c.running)
		}
		c.mu.Lock()
		c.lines = append(c.lines[max(0, len(c.lines)-keptLines+1):], line)
		c.mu.Unlock()
	}
	_ = c.cmd.Wait() // its state tells
}

// said is the end of what the process had to say.
func (c *child) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines, "\n")
}

// kill is kill -9. It returns when the process is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // fails if it has ended
	<-c.ended
}

func (c *child) alive() bool { return !closed(c.ended) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// killed tells whether it died of SIGKILL.
func (c *child) killed() bool { return c.diedOf(syscall.SIGKILL) }

// excused tells whether its end was wanted: it was killed, ended well when it
// was asked to, or the scenario has judged it.
func (c *child) excused() bool { return c.killed() || c.awaited || c.asked && c.endedWell() }

// endedWell tells whether it ended as a process should that is asked to.
func (c *child) endedWell() bool {
	if c.diedOf(syscall.SIGTERM) && c.said() == "" {
		return true // before its first line of code could listen for signals
	}
	return c.cmd.ProcessState.ExitCode() == 0
}

// blame is nil while the process lives, or if its end was wanted; nil too if
// there is none. It is asked whenever one is started in its place.
func (c *child) blame() error {
	if c == nil || c.alive() || c.excused() {
		return nil
	}
	return fmt.Errorf("%w: weir %s ended by itself with %v:\n%s", ErrFound, c.cmd.Args[1], c.cmd.ProcessState, c.said())
}

func (c *child) diedOf(signal syscall.Signal) bool {
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == signal
}

// awaitEnd waits until the process has ended by itself. Its error wraps ErrFound
// if that takes too long.
func (c *child) awaitEnd(ctx context.Context, patience time.Duration) error {
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(patience):
		return fmt.Errorf("%w: weir %s did not end within %v", ErrFound, c.cmd.Args[1], patience)
	}
}

// ask sends SIGTERM, as systemd does, unless the process has ended.
func (c *child) ask() error {
	if !c.alive() {
		return nil
	}
	c.asked = true
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && c.alive() {
		return err
	}
	return nil
}

// stop asks the process to end, which it must do soon and well.
func (c *child) stop(ctx context.Context) error {
	if err := c.ask(); err != nil {
		return err
	}
	if err := c.awaitEnd(ctx, stopPatience); err != nil {
		return err
	}
	return c.blame()
}
