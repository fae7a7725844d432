package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
	"weir/store"
)

// asProgram names the environment variable that makes the test binary be weir
// itself, so that tests can send it real signals and kill it.
const asProgram = "WEIR_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		signal.Ignore(syscall.SIGXFSZ) // a file that may not grow is to be an I/O error
		main()
	}
	// A fetch of nats.go ends with its time, a few seconds, not with its connection.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*pullConsumer).fetch.func1"))
}

// patience is how long anything may take that must happen.
const patience = 30 * time.Second

// await returns once holds does.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !holds(); {
		if now := <-tick.C; now.After(end) {
			t.Fatalf("waited %v in vain for: %s", patience, what)
		}
	}
}

// process is weir as a process of its own.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser

	running chan runningLine // what a daemon says once it runs
	ended   chan struct{}
	mu      sync.Mutex
	stderr  []string // complete once ended is closed; before, it needs mu
}

// runningLine is the line of the log in which a daemon says where it listens.
type runningLine struct{ Msg, NATS, HTTP string }

// start starts a command of weir with the desk's settings and no others.
func (d *desk) start(args ...string) *process {
	d.t.Helper()
	program, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	p := &process{t: d.t, cmd: exec.Command(program, args...), running: make(chan runningLine, 1), ended: make(chan struct{})}
	// The race detector would let each process linger for a second.
	p.cmd.Env = []string{asProgram + "=1", "TMPDIR=" + os.TempDir(), "GORACE=atexit_sleep_ms=0"}
	for name, value := range d.env {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		d.t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go p.follow(stderr)
	d.t.Cleanup(func() {
		p.kill()
		said := strings.Join(p.stderr, "\n")
		if strings.Contains(said, "DATA RACE") {
			d.t.Error("the process has a data race")
		}
		if d.t.Failed() {
			d.t.Logf("weir %s, %v:\n%s", args[0], p.cmd.ProcessState, said)
		}
	})
	return p
}

// follow keeps what the process says until it ends.
func (p *process) follow(stderr io.Reader) {
	defer close(p.ended)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		p.mu.Lock()
		p.stderr = append(p.stderr, lines.Text())
		p.mu.Unlock()
		var line runningLine
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "running" {
			p.running <- line
		}
	}
	_ = p.cmd.Wait() // the exit code tells
}

// awaitLine returns once the process has said a line with all the parts.
func (p *process) awaitLine(parts ...string) {
	p.t.Helper()
	await(p.t, "a line with "+strings.Join(parts, ", "), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.ContainsFunc(p.stderr, func(line string) bool {
			return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) })
		})
	})
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails if it has ended
	<-p.ended
}

// exit waits until the process has ended by itself and gives its exit code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("weir did not end within %v", patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop is what systemd does to stop weir, which must end well.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitDone {
		p.t.Fatalf("exit %d after SIGTERM", code)
	}
}

// rig is a desk with a simulated API and the settings of a daemon for it.
type rig struct {
	*desk
	api *sandbox.Server
}

// newRig serves a simulated API until the test ends. Its headers let weir open
// up at once; settings are such that waits are short.
func newRig(t testing.TB, cfg sandbox.Config) *rig {
	t.Helper()
	return newDesk(t).rig(cfg)
}

// newRigAside is newRig for a test that runs beside others: the working
// directory is not its own, so all its paths are absolute.
func newRigAside(t *testing.T, cfg sandbox.Config) *rig {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	return (&desk{t: t, dir: dir, env: map[string]string{"WEIR_DATA_DIR": dir}, now: time.Now}).rig(cfg)
}

// rig is newRig for a desk that is there.
func (d *desk) rig(cfg sandbox.Config) *rig {
	t := d.t
	t.Helper()
	if cfg.Limit == 0 {
		cfg.Limit = 10_000
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{desk: d, api: sandbox.New(cfg)}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.api.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for name, value := range map[string]string{
		"WEIR_API_URL": "http://" + listener.Addr().String(), "WEIR_API_KEY": sandbox.DefaultKey,
		"WEIR_NATS_LISTEN": "127.0.0.1:0", "WEIR_LISTEN": "127.0.0.1:0", "WEIR_LOG_FORMAT": "json",
		"WEIR_CONCURRENCY": fmt.Sprint(concurrency), "WEIR_PROBE_INTERVAL": probeInterval.String(),
		"WEIR_SETTLE_WAIT": "100ms", "WEIR_BACKOFF_BASE": "50ms", "WEIR_BACKOFF_MAX": "500ms",
	} {
		r.env[name] = value
	}
	return r
}

const (
	concurrency   = 8
	probeInterval = 200 * time.Millisecond
)

// served is a daemon that runs.
type served struct {
	*process
	nats, http string // where it listens
}

// serve starts the daemon and returns once it runs.
func (d *desk) serve() *served {
	d.t.Helper()
	p := d.start("serve")
	select {
	case line := <-p.running:
		return &served{p, line.NATS, line.HTTP}
	case <-p.ended:
		d.t.Fatalf("weir serve ended with %v", p.cmd.ProcessState)
	case <-time.After(patience):
		d.t.Fatalf("weir serve does not run after %v", patience)
	}
	return nil
}

const (
	rcsBody  = `{"agent_id":"ag_1","to":"+4915112345678","message_type":"MESSAGE","traffic_type":"TRANSACTION","content":{"text":"Hi"}}`
	mailBody = `{"channel_id":"ch_1","to":"a@example.org","subject":"Hi","message_type":"MESSAGE","content":{"text":"Hi"}}`
)

// keysOf makes so many keys.
func keysOf(prefix string, count int) []string {
	keys := make([]string, count)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s-%d", prefix, i+1)
	}
	return keys
}

// envelope is a message that the simulated API accepts.
func envelope(key, body string) string {
	return fmt.Sprintf(`{"idempotency_key":%q,"body":%s}`, key, body)
}

// envelopes are messages for the channel rcs.
func envelopes(keys []string) []string {
	lines := make([]string, len(keys))
	for i, key := range keys {
		lines[i] = envelope(key, rcsBody)
	}
	return lines
}

// ask asks the database for one number. It leaves no connection open, so that
// what a killed daemon left is found by the next one.
func (d *desk) ask(query string) int {
	d.t.Helper()
	return figure(d.t, d.dir+"/weir.db", query)
}

// awaitState returns once so many messages are in the state.
func (d *desk) awaitState(state outbox.State, count int) {
	d.t.Helper()
	await(d.t, fmt.Sprintf("%d messages are %s", count, state), func() bool {
		return d.ask(fmt.Sprintf(`SELECT count(*) FROM messages WHERE state = '%s'`, state)) == count
	})
}

// status gives what weir status --json says, the buckets by their scope.
func (d *desk) status() (daemon store.StatusView, buckets map[string]store.StatusView) {
	d.t.Helper()
	var got struct {
		Daemon  store.StatusView
		Buckets []store.StatusView
	}
	if err := json.Unmarshal([]byte(d.do("status", "--json")), &got); err != nil {
		d.t.Fatal(err)
	}
	buckets = make(map[string]store.StatusView)
	for _, b := range got.Buckets {
		buckets[b.Scope] = b
	}
	return got.Daemon, buckets
}

// awaitBucket returns once a bucket of the default account is in a state whose
// reason contains the text.
func (d *desk) awaitBucket(channel, state, reason string) {
	d.t.Helper()
	var last store.StatusView
	defer func() {
		if d.t.Failed() {
			d.t.Logf("the last status of %s: %s, %s", channel, last.State, shown(last.Reason))
		}
	}()
	await(d.t, fmt.Sprintf("%s is %s: %s", channel, state, reason), func() bool {
		_, buckets := d.status()
		last = buckets["bucket:default/"+channel]
		return last.State == state && strings.Contains(shown(last.Reason), reason)
	})
}

// wantSent checks that the keys, and nothing else, took effect at the API, each
// once and as it is recorded, and that the status table counts what there is.
func (r *rig) wantSent(keys ...string) {
	r.t.Helper()
	at := r.api.Keys("")
	rows := r.messages()
	for _, key := range keys {
		row, effect := rows[key], at[key]
		if effect.Effects != 1 || row.State != string(outbox.Sent) || shown(row.MessageID) != effect.MessageID || row.RequestID == nil {
			r.t.Errorf("%s took effect %d times as %s; it is recorded as %s with message id %s and request id %s",
				key, effect.Effects, effect.MessageID, row.State, shown(row.MessageID), shown(row.RequestID))
		}
	}
	stats := r.api.Stats()
	if stats.Executed != len(keys) || len(stats.Violations) > 0 {
		r.t.Errorf("%d messages took effect, want %d; never to be sent: %v", stats.Executed, len(keys), stats.Violations)
	}
	r.wantTrueCounts(rows)
}

// messages gives every message by its key.
func (d *desk) messages() map[string]store.MessageView {
	d.t.Helper()
	rows := make(map[string]store.MessageView)
	for line := range strings.Lines(d.do("messages", "list", "--json", "--limit", "100000")) {
		var m store.MessageView
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			d.t.Fatal(err)
		}
		rows[m.Key] = m
	}
	return rows
}

// wantTrueCounts checks that the status counts the messages as they are.
func (d *desk) wantTrueCounts(rows map[string]store.MessageView) {
	d.t.Helper()
	want := make(map[string]map[string]int)
	for _, m := range rows {
		for _, scope := range []string{"daemon", "bucket:" + m.Account + "/" + m.Channel} {
			if want[scope] == nil {
				want[scope] = make(map[string]int)
			}
			want[scope][m.State]++
		}
	}
	daemon, buckets := d.status()
	buckets["daemon"] = daemon
	for scope, s := range buckets {
		for state, n := range map[string]int{
			"pending": s.Pending, "retrying": s.Retrying, "sending": s.InFlight, "sent": s.Sent,
			"failed": s.Failed, "expired": s.Expired, "canceled": s.Canceled, "unknown": s.Unknown,
		} {
			if n != want[scope][state] {
				d.t.Errorf("the status of %s counts %d %s; there are %d", scope, n, state, want[scope][state])
			}
		}
	}
	for scope := range want {
		if _, there := buckets[scope]; !there {
			d.t.Errorf("the status has no row for %s", scope)
		}
	}
}
