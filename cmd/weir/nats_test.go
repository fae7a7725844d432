package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

// externalNATS is a NATS server that is not weir's. It can be stopped and
// started again on its port and its files.
type externalNATS struct {
	t    testing.TB
	opts server.Options
	srv  *server.Server
}

func newExternalNATS(t *testing.T) *externalNATS {
	t.Helper()
	n := &externalNATS{t: t, opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, JetStreamMaxStore: 4 << 30, JetStreamMaxMemory: 1 << 30, StoreDir: t.TempDir(),
	}}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *externalNATS) start() {
	n.t.Helper()
	opts := n.opts // the server changes its own
	srv, err := server.NewServer(&opts)
	if err != nil {
		n.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		n.t.Fatal("the external NATS does not start")
	}
	n.srv, n.opts.Port = srv, opts.Port
}

func (n *externalNATS) stop() {
	n.srv.Shutdown()
	n.srv.WaitForShutdown()
}

func TestARestartOfNATSIsExplainedAndOverAtOnce(t *testing.T) {
	t.Parallel()
	r := newRigAside(t, sandbox.Config{Latency: 20 * time.Millisecond})
	nats := newExternalNATS(t)
	r.env["WEIR_NATS_URL"] = nats.srv.ClientURL()
	daemon := r.serve()
	keys := keysOf("k", 1500)
	r.send(envelopes(keys)...)
	await(t, "some are sent", func() bool { return r.api.Stats().Executed > 50 })

	nats.stop()
	r.awaitBucket("rcs", "degraded", "NATS is out of reach")
	if s, _ := r.status(); s.State != "degraded" || s.SinceAt == nil || !strings.Contains(shown(s.Reason), "NATS is out of reach") {
		t.Errorf("the daemon is shown as %s: %s", s.State, shown(s.Reason))
	}
	if code, _ := daemon.health("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answers %d, but a restart would not help", code)
	}
	if code, state := daemon.health("/readyz"); code != http.StatusServiceUnavailable || state != "degraded" {
		t.Errorf("/readyz answers %d, %s", code, state)
	}
	time.Sleep(6 * time.Second) // longer than open pulls notice, and several retries
	stuck := r.api.Stats().Executed
	if stuck == len(keys) {
		t.Fatal("nothing was left in NATS")
	}

	nats.start()
	back := time.Now()
	await(t, "more are sent", func() bool { return r.api.Stats().Executed > stuck })
	t.Logf("sending goes on after %v", time.Since(back))
	r.awaitState(outbox.Sent, len(keys))
	r.awaitBucket("rcs", "running", "")
	r.wantSent(keys...)
	if code, _ := daemon.health("/readyz"); code != http.StatusOK {
		t.Errorf("/readyz answers %d when all is well", code)
	}
	daemon.stop()
	lines := 0
	for _, line := range daemon.stderr {
		if strings.Contains(line, `"WARN"`) || strings.Contains(line, `"ERROR"`) {
			lines++
			t.Log(line)
		}
	}
	if lines > 3 {
		t.Errorf("%d lines of log about one loss", lines)
	}
}
