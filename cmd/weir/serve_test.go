package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/limiter/sim"
	"weir/outbox"
)

func TestMessagesGoOutOnceEachAtThePaceOfTheLimitAndAreNotRepeated(t *testing.T) {
	r := newRig(t, sandbox.Config{Limit: 60, Window: time.Second, Rounding: sim.Ceil, Latency: 5 * time.Millisecond})
	r.serve()
	keys := keysOf("k", 200)
	r.send(envelopes(keys)...)
	r.awaitState(outbox.Sent, len(keys))
	stats := r.api.Stats()
	if stats.Throttled > 2 {
		t.Errorf("%d answers of 429; want at most 2", stats.Throttled)
	}
	if share := float64(stats.Allowed) / stats.Capacity; share < 0.5 {
		t.Errorf("%.0f %% of the limit are used", 100*share)
	}

	code, stdout, stderr := r.sendLines(envelopes(keys)...)
	if code != exitDone || stdout != "accepted 0, already there 200, conflict 0, invalid 0\n" {
		t.Errorf("the second time: exit %d, output %q, errors %q", code, stdout, stderr)
	}
	r.send(envelope("after", rcsBody))
	r.awaitState(outbox.Sent, len(keys)+1)
	r.wantSent(append(keys, "after")...)
	if again := r.api.Stats(); again.Executed+again.Throttled != again.Requests {
		t.Errorf("%d requests for %d messages", again.Requests, again.Executed)
	}
}

func TestOneAttemptIsOneRequestOnTheWire(t *testing.T) {
	for _, faults := range []string{"none", "drop-keepalive:after=3", "cut-after:every=7", "500:every=7", "429:every=25"} {
		t.Run(faults, func(t *testing.T) {
			r := newRig(t, sandbox.Config{Limit: 400, Latency: 5 * time.Millisecond})
			if faults != "none" {
				fault, err := sandbox.ParseFault(faults)
				if err != nil {
					t.Fatal(err)
				}
				r.api.SetFaults(fault)
			}
			r.serve()
			keys := keysOf("k", 60)
			r.send(envelopes(keys)...)
			r.awaitState(outbox.Sent, len(keys))
			r.wantSent(keys...)
			requests := r.api.Stats().Requests
			if n := r.ask(`SELECT sum(attempts + throttles) FROM messages`); n != requests {
				t.Errorf("the API saw %d requests; attempts and throttles are %d", requests, n)
			}
			if n := r.ask(`SELECT sum(requests) FROM attempts`); n != requests {
				t.Errorf("the API saw %d requests; the table of attempts has %d", requests, n)
			}
		})
	}
}

func TestNothingGoesOutBeforeItsTimeOrAfterItsDeadline(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	r.serve()
	at := time.Now().Add(time.Second)
	r.send(
		fmt.Sprintf(`{"idempotency_key":"early","send_at":%q,"body":%s}`, at.Format(time.RFC3339Nano), rcsBody),
		fmt.Sprintf(`{"idempotency_key":"late","expires_at":%q,"body":%s}`, at.Add(-time.Minute).Format(time.RFC3339Nano), rcsBody),
		fmt.Sprintf(`{"idempotency_key":"never","ttl":"1s","send_at":%q,"body":%s}`, at.Add(time.Hour).Format(time.RFC3339Nano), rcsBody),
	)
	r.awaitState(outbox.Sent, 1)
	r.awaitState(outbox.Expired, 2)
	r.wantSent("early")
	if arrived := r.api.Keys("")["early"].Arrivals[0]; arrived.Before(at) {
		t.Errorf("sent %v too early", at.Sub(arrived))
	}
}

func TestAnAccountThatIsHeldStandsInNoOtherAccountsWay(t *testing.T) {
	r := newRig(t, sandbox.Config{Keys: []string{"good_key"}})
	write(t, "good.key", "good_key")
	write(t, "bad.key", "bad_key")
	write(t, "weir.yaml", fmt.Sprintf("accounts:\n  good: {url: %[1]q, key_file: good.key, channels: [sms]}\n  bad: {url: %[1]q, key_file: bad.key}\n", r.env["WEIR_API_URL"]))
	r.env["WEIR_PROBE_INTERVAL"] = "1h" // a probe would change the counts while they are compared
	delete(r.env, "WEIR_API_URL")
	delete(r.env, "WEIR_API_KEY")
	r.serve()
	good, bad := keysOf("good", 20), keysOf("bad", 20)
	for i := range good {
		r.send(
			fmt.Sprintf(`{"idempotency_key":%q,"account":"bad","body":%s}`, bad[i], rcsBody),
			fmt.Sprintf(`{"idempotency_key":%q,"account":"good","channel":"sms","body":%s}`, good[i], rcsBody),
		)
	}
	r.awaitState(outbox.Sent, len(good))
	await(t, "only the account bad is held", func() bool { g := r.gates(); return len(g) == 1 && g["account:bad"].Kind == "held" })
	r.wantSent(good...)
}

func TestAStopLetsWhatIsUnderWayEndAndARestartRepeatsNothing(t *testing.T) {
	r := newRig(t, sandbox.Config{Latency: 400 * time.Millisecond})
	daemon := r.serve()
	keys := keysOf("k", 24)
	r.send(envelopes(keys)...)
	await(t, "several requests are under way", func() bool {
		stats := r.api.Stats()
		return stats.Requests >= 4 && stats.Requests-stats.Executed >= 2
	})
	daemon.stop()
	if executed, sent := r.api.Stats().Executed, r.ask(`SELECT count(*) FROM messages WHERE state = 'sent'`); executed != sent || sent == len(keys) {
		t.Errorf("%d messages took effect, %d are recorded as sent", executed, sent)
	}
	if s, _ := r.status(); s.State != "stopped" || s.InFlight != 0 {
		t.Errorf("the status is %s with %d in flight", s.State, s.InFlight)
	}
	r.serve()
	r.awaitState(outbox.Sent, len(keys))
	r.wantSent(keys...)
	if n := r.api.Stats().Requests; n != len(keys) {
		t.Errorf("%d requests for %d messages", n, len(keys))
	}
}

func TestASecondSignalEndsTheDaemonAtOnceWithExitOne(t *testing.T) {
	r := newRig(t, sandbox.Config{Faults: []sandbox.Fault{{Kind: sandbox.HangBefore}}})
	r.env["WEIR_DRAIN_TIMEOUT"] = "1h"
	daemon := r.serve()
	r.send(envelope("k", rcsBody))
	await(t, "a request is under way", func() bool { return r.api.Stats().Requests > 0 })
	daemon.signal(syscall.SIGTERM)
	await(t, "the first signal has been heard", func() bool {
		conn, err := net.Dial("tcp", daemon.http)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	daemon.signal(syscall.SIGTERM)
	if code := daemon.exit(); code != exitFailed {
		t.Errorf("exit %d", code)
	}
}

func TestADaemonThatWasKilledIsShownAsStopped(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	daemon := r.serve()
	r.send(envelope("k", rcsBody))
	r.awaitState(outbox.Sent, 1)
	// Not awaited: a bucket takes over its daemon's state as it appears.
	if s, buckets := r.status(); s.State != "running" || buckets["bucket:default/rcs"].State != "running" {
		t.Errorf("the daemon is %s, the bucket %s", s.State, buckets["bucket:default/rcs"].State)
	}
	daemon.kill()
	application(t, r.dir+"/weir.db", `UPDATE status SET heartbeat_at = heartbeat_at - 16000`)
	s, buckets := r.status()
	if s.State != "stopped" || buckets["bucket:default/rcs"].State != "stopped" || s.Reason == nil {
		t.Errorf("the daemon is %s, the bucket %s, because: %s", s.State, buckets["bucket:default/rcs"].State, shown(s.Reason))
	}
	if text := r.do("status"); !strings.HasPrefix(text, "daemon weir is stopped") {
		t.Errorf("the status is\n%s", text)
	}
}

func TestHealthIsWhatTheStatusSaysOfTheDaemon(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	daemon := r.serve()
	for _, path := range []string{"/healthz", "/readyz"} {
		await(t, path+" says running", func() bool {
			code, state := daemon.health(path)
			return code == http.StatusOK && state == "running"
		})
	}
	// As if the writer hung: the next heartbeat is due 5 s after the start only.
	application(t, r.dir+"/weir.db", `UPDATE status SET heartbeat_at = heartbeat_at - 60000`)
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, state := daemon.health(path); code != http.StatusServiceUnavailable || state != "stopped" {
			t.Errorf("%s answers %d, %s", path, code, state)
		}
	}
}

// health asks the daemon how it is.
func (s *served) health(path string) (code int, state string) {
	s.t.Helper()
	res, err := http.Get("http://" + s.http + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct{ State string }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, answer.State
}

// BenchmarkAnIdleDaemon tells how much of a core a daemon takes that has nothing
// to do. Each turn watches it for a second, so ask for a number of them:
// -benchtime 10x.
func BenchmarkAnIdleDaemon(b *testing.B) {
	daemon := newRig(b, sandbox.Config{}).serve()
	time.Sleep(time.Second) // the start is work
	before := daemon.used()
	for b.Loop() {
		time.Sleep(time.Second)
	}
	b.ReportMetric(100*(daemon.used()-before).Seconds()/b.Elapsed().Seconds(), "%core")
	b.ReportMetric(0, "ns/op") // a second, always
}

// used is the processor time of all threads.
func (p *process) used() (used time.Duration) {
	p.t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		p.t.Skipf("no schedstat here: %v", err)
	}
	for _, thread := range threads {
		text, _ := os.ReadFile(thread) // the thread may have ended
		var ns int64
		_, _ = fmt.Sscan(string(text), &ns)
		used += time.Duration(ns)
	}
	return used
}
