package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

// smallDisk mounts a disk of that many MiB at a path, or skips the test where it
// may not.
func smallDisk(t *testing.T, path string, mib int) {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", path, "tmpfs", 0, fmt.Sprintf("mode=700,size=%dm", mib)); err != nil {
		t.Skipf("no disk of its own: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(path, syscall.MNT_DETACH) })
}

// fillUp takes all but so many bytes of the disk at path.
func fillUp(t testing.TB, path string, leave int64) (free func()) {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(path, &fs); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(path, "ballast"))
	block := make([]byte, 4096)
	for left := int64(fs.Bavail)*fs.Bsize - leave; err == nil && (leave == 0 || left > 0); left -= 4096 {
		_, err = file.Write(block)
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	file.Close()
	return func() {
		if err := os.Remove(file.Name()); err != nil {
			t.Error(err)
		}
	}
}

// awaitDaemon returns once the daemon's row has the state and a reason that
// contains the text. People must see it within two seconds; how long it took is
// logged, since here the machine may be busy.
func (d *desk) awaitDaemon(state, reason string) {
	d.t.Helper()
	begun := time.Now()
	await(d.t, fmt.Sprintf("the daemon is %s: %s", state, reason), func() bool {
		s, _ := d.status()
		return s.State == state && strings.Contains(shown(s.Reason), reason)
	})
	d.t.Logf("%s: %s is shown after %v", state, reason, time.Since(begun).Round(time.Millisecond))
}

func TestBelowTheLeastFreeSpaceNothingIsTakenOrSentAndItGoesOnByItself(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	smallDisk(t, r.dir, 64)
	r.env["WEIR_MIN_FREE"] = "16MiB"
	daemon := r.serve()
	nc, err := nats.Connect(daemon.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	r.send(envelope("before", rcsBody))
	r.awaitState(outbox.Sent, 1)
	r.do("gates", "pause", "default/rcs")
	r.awaitBucket("rcs", "paused", "")
	r.send(envelope("waits", rcsBody))
	free := fillUp(t, r.dir, 8<<20)
	r.awaitDaemon("held", "less than WEIR_MIN_FREE")
	r.do("gates", "resume", "default/rcs")
	r.awaitBucket("rcs", "held", "nothing is taken in or sent")

	sender := r.start("send", "--key", "refused", "--body", rcsBody)
	if code := sender.exit(); code != exitFailed || !strings.Contains(strings.Join(sender.stderr, "\n"), "WEIR_MIN_FREE") || len(sender.stderr) != 1 {
		t.Errorf("weir send: exit %d and %q", code, sender.stderr)
	}
	answer, err := nc.Request("weir.rpc.send", []byte(envelope("asked", rcsBody)), patience)
	if err != nil || !strings.Contains(string(answer.Data), "unavailable") {
		t.Errorf("asked, it says %s (%v)", answer.Data, err)
	}
	await(t, "a publisher is refused", func() bool {
		_, err := js.Publish(t.Context(), "weir.send", []byte(envelope("published", rcsBody)))
		var refused *jetstream.APIError
		return errors.As(err, &refused)
	})
	if code, _ := daemon.health("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answers %d, but a restart would not help", code)
	}
	if code, state := daemon.health("/readyz"); code != http.StatusServiceUnavailable || state != "held" {
		t.Errorf("/readyz answers %d, %s", code, state)
	}
	stored, sent := r.messages(), r.api.Stats().Requests
	if stored["waits"].State != string(outbox.Pending) || stored["refused"].Key != "" || stored["asked"].Key != "" || sent != 1 {
		t.Errorf("%d requests; waits is %s, refused %q, asked %q", sent, stored["waits"].State, stored["refused"].State, stored["asked"].State)
	}

	free()
	r.awaitDaemon("running", "")
	r.send(envelope("after", rcsBody))
	await(t, "a publisher is heard", func() bool {
		_, err := js.Publish(t.Context(), "weir.send", []byte(envelope("published", rcsBody)))
		return err == nil
	})
	r.awaitState(outbox.Sent, len(r.messages()))
	await(t, "what was published is sent", func() bool { return r.messages()["published"].State == string(outbox.Sent) })
	for key := range r.messages() {
		if n := r.api.Keys("")[key].Effects; n != 1 {
			t.Errorf("%s took effect %d times", key, n)
		}
	}
}

func TestAStartWithTooLittleFreeSpaceSendsNothing(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	r.send(envelope("k", rcsBody))
	r.env["WEIR_MIN_FREE"] = "999999TiB"
	daemon := r.serve()
	r.awaitDaemon("held", "less than WEIR_MIN_FREE")
	r.awaitBucket("rcs", "held", "less than WEIR_MIN_FREE")
	daemon.stop()
	if n := r.api.Stats().Requests; n != 0 {
		t.Errorf("%d requests", n)
	}
	delete(r.env, "WEIR_MIN_FREE")
	r.serve()
	r.awaitState(outbox.Sent, 1)
	r.awaitDaemon("running", "")
	r.wantSent("k")
}

func TestADiskThatIsFullToTheLastByteLosesNothingAndIsSaid(t *testing.T) {
	r := newRig(t, sandbox.Config{Latency: 300 * time.Millisecond})
	smallDisk(t, r.dir, 64)
	r.env["WEIR_MIN_FREE"] = "1KiB"
	daemon := r.serve()
	keys := keysOf("k", 100)
	r.send(envelopes(keys)...)
	await(t, "some are under way", func() bool { return r.api.Stats().Executed > 10 })
	free := fillUp(t, r.dir, 0)
	r.awaitDaemon("held", "")
	if code, state := daemon.health("/healthz"); code != http.StatusOK || state != "held" {
		t.Errorf("/healthz answers %d, %s", code, state)
	}
	free()
	r.awaitState(outbox.Sent, len(keys))
	r.awaitDaemon("running", "")
	r.wantSent(keys...)
	daemon.stop()
}

func TestAStartOnAFullOrReadOnlyDiskSaysSoInOneLine(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(r *rig)
		says    string
	}{
		{"full from the beginning", func(r *rig) { fillUp(r.t, r.dir, 0) }, "no space left"},
		{"full later", func(r *rig) { r.send(envelope("k", rcsBody)); fillUp(r.t, r.dir, 0) }, "no space left"},
		{"read-only", func(r *rig) {
			r.send(envelope("k", rcsBody))
			if err := syscall.Mount("none", r.dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
				r.t.Fatal(err)
			}
		}, "read-only file system"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, sandbox.Config{})
			smallDisk(t, r.dir, 4)
			r.env["WEIR_MIN_FREE"] = "1KiB"
			c.prepare(r)
			r.wantRefused(c.says)
		})
	}
}

func TestAnEmbeddedNATSWhoseDiskIsFullIsSaidAndHeals(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	smallDisk(t, filepath.Join(r.dir, "nats"), 24)
	if err := os.Chmod(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	daemon := r.serve()
	nc, err := nats.Connect(daemon.nats, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	free := fillUp(t, filepath.Join(r.dir, "nats"), 0)
	body := strings.Replace(rcsBody, "Hi", strings.Repeat("x", 20<<10), 1)
	var acked []string
	for i := 0; err == nil; i++ { // what a block has preallocated may still take some
		key := fmt.Sprint("k-", i)
		if _, err = js.Publish(t.Context(), "weir.send", []byte(envelope(key, body))); err == nil {
			acked = append(acked, key)
		}
	}
	r.awaitDaemon("degraded", "embedded NATS cannot store")
	if code, _ := daemon.health("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d", code)
	}
	r.send(envelope("beside", rcsBody))
	await(t, "what comes another way is sent", func() bool { return r.messages()["beside"].State == string(outbox.Sent) })
	free()
	await(t, "it takes messages again", func() bool {
		_, err := js.Publish(t.Context(), "weir.send", []byte(envelope("after", rcsBody)))
		return err == nil
	})
	await(t, "it is shown as running", func() bool { s, _ := r.status(); return s.State == "running" })
	for _, key := range append(acked, "after") {
		await(t, key+" is sent", func() bool { return r.messages()[key].State == string(outbox.Sent) })
	}
}

func TestADatabaseThatIsReplacedEndsTheDaemonInOneLine(t *testing.T) {
	t.Parallel()
	r := newRigAside(t, sandbox.Config{})
	daemon := r.serve()
	// Of all three this is the one that no connection opens by its name again.
	if err := os.Rename(r.dir+"/weir.db-shm", r.dir+"/away"); err != nil {
		t.Fatal(err)
	}
	if code := daemon.exit(); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	r.wantLastLine(daemon.process, "the database was replaced or removed")
}

// wantLastLine checks the one line in which a daemon says why it ended.
func (r *rig) wantLastLine(p *process, says string) {
	r.t.Helper()
	said := 0
	for _, line := range p.stderr {
		if strings.HasPrefix(line, "weir: ") {
			said++
		}
	}
	if last := p.stderr[len(p.stderr)-1]; said != 1 || !strings.Contains(last, says) {
		r.t.Errorf("it ends with %d lines of its own, the last: %s", said, last)
	}
}

func TestADaemonWhoseDatabaseAnotherHasTakenOverEnds(t *testing.T) {
	t.Parallel()
	r := newRigAside(t, sandbox.Config{})
	daemon := r.serve()
	application(t, r.dir+"/weir.db", `UPDATE meta SET value = value + 1 WHERE name = 'epoch'`)
	if code := daemon.exit(); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	r.wantLastLine(daemon.process, "another daemon has taken over")
}

func TestAnIOErrorOfTheDatabaseEndsTheDaemonAndTheNextJudges(t *testing.T) {
	r := newRig(t, sandbox.Config{Latency: 500 * time.Millisecond})
	daemon := r.serve()
	r.send(envelopes(keysOf("k", 8))...)
	await(t, "requests are under way", func() bool { return r.ask(`SELECT count(*) FROM messages WHERE state = 'sending'`) > 0 })
	limit := unix.Rlimit{Cur: 1 << 10, Max: 1 << 10} // no file may grow, or be written beyond that
	if err := unix.Prlimit(daemon.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		t.Skip(err)
	}
	if code := daemon.exit(); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	if said := strings.Join(daemon.stderr, "\n"); !strings.Contains(said, "weir: ") || !strings.Contains(said, "disk I/O error") {
		t.Errorf("it says %s", said)
	}
	r.serve()
	r.awaitState(outbox.Sent, 8)
	r.wantSent(keysOf("k", 8)...)
}

func TestTheWatchdogIsFedWhileTheDaemonWaitsForALock(t *testing.T) {
	t.Parallel()
	r := newRigAside(t, sandbox.Config{})
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	r.env["NOTIFY_SOCKET"], r.env["WATCHDOG_USEC"] = socket.LocalAddr().String(), "300000"
	daemon := r.serve()
	release := r.lock()
	daemon.dial().publish("weir.send", "", envelope("k", rcsBody)) // idle, it would write nothing until its heartbeat
	r.awaitDaemon("held", "locked")
	_ = socket.SetReadDeadline(time.Now().Add(patience))
	buffer := make([]byte, 1024)
	for fed := 0; fed < 15; { // more than what may still be there from before
		n, err := socket.Read(buffer)
		if err != nil {
			t.Fatalf("the watchdog was fed %d times: %v", fed, err)
		}
		if strings.Contains(string(buffer[:n]), "WATCHDOG=1") {
			fed++
		}
	}
	if s, _ := r.status(); s.State != "held" {
		t.Errorf("the daemon is %s before the lock is given back", s.State)
	}
	release()
	r.awaitDaemon("running", "")
}

func TestADatabaseThatIsLockedForSecondsLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRigAside(t, sandbox.Config{Latency: 20 * time.Millisecond})
	daemon := r.serve()
	keys := keysOf("k", 300)
	r.send(envelopes(keys)...)
	await(t, "some are sent", func() bool { return r.api.Stats().Executed > 20 })
	release := r.lock()
	r.awaitDaemon("held", "another process keeps the database locked")
	if code, _ := daemon.health("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answers %d", code)
	}
	if n := r.api.Stats().Executed; n == len(keys) {
		t.Fatal("nothing was left to be held back")
	}
	release()
	r.awaitState(outbox.Sent, len(keys))
	r.wantSent(keys...)
	r.awaitDaemon("running", "")
}

// lock takes the write lock of the database as another process would.
func (d *desk) lock() (release func()) {
	d.t.Helper()
	db, err := sql.Open("sqlite3", d.dir+"/weir.db?_txlock=immediate&_busy_timeout=5000")
	if err != nil {
		d.t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		d.t.Fatal(err)
	}
	return func() {
		_ = tx.Rollback()
		_ = db.Close()
	}
}

// within runs a daemon inside the test, so that its clock can be set.
type within struct {
	*rig
	d    *daemon
	set  atomic.Int64 // how far the wall clock is off
	said *viewer      // its log
}

func (r *rig) within(change func(*daemon)) *within {
	r.t.Helper()
	w := &within{rig: r, said: newViewer()}
	a := &app{getenv: func(name string) string { return r.env[name] }, stderr: w.said, now: func() time.Time {
		return time.Now().Round(0).Add(time.Duration(w.set.Load()))
	}}
	cfg, err := a.serveConfig(pflag.NewFlagSet("serve", pflag.ContinueOnError))
	if err != nil {
		r.t.Fatal(err)
	}
	w.d, err = a.openDaemon(r.t.Context(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	change(w.d)
	ended := make(chan error, 1)
	go func() { ended <- w.d.run(r.t.Context()) }()
	r.t.Cleanup(func() {
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
	return w
}

func TestTheClockSetByAnHourEitherWayLosesNothingAndExpiresNothing(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			r := newRigAside(t, sandbox.Config{Limit: 100, Window: time.Second, Latency: 10 * time.Millisecond})
			w := r.within(func(*daemon) {})
			keys := keysOf("k", 400)
			r.send(envelopes(keys)...)
			await(t, "some are sent", func() bool { return r.api.Stats().Executed > 50 })
			late := envelope("late", rcsBody)
			late = strings.Replace(late, `{"idem`, fmt.Sprintf(`{"send_at":%q,"expires_at":%q,"idem`,
				time.Now().Add(40*time.Minute).Format(time.RFC3339), time.Now().Add(50*time.Minute).Format(time.RFC3339)), 1)
			r.send(late)
			w.set.Store(int64(step))
			// The view tells by the real clock whether a daemon lives: ask the table.
			await(t, "the doubt is shown", func() bool {
				return r.ask(`SELECT count(*) FROM status WHERE scope = 'daemon:weir' AND state = 'degraded' AND reason LIKE 'clock: %' AND until_at IS NOT NULL`) == 1
			})
			const told = `"level":"WARN","msg":"the wall clock was set;`
			if said := w.said.await(t, told); strings.Count(said, told) != 1 {
				t.Errorf("of one step the log says\n%s", said)
			}
			await(t, "all are sent", func() bool { return r.ask(`SELECT count(*) FROM messages WHERE state = 'sent'`) == len(keys) })
			if m := r.messages()["late"]; m.State != string(outbox.Pending) {
				t.Errorf("the message whose time may be over is %s", m.State)
			}
			for _, key := range keys {
				if n := r.api.Keys("")[key].Effects; n != 1 {
					t.Errorf("%s took effect %d times", key, n)
				}
			}
		})
	}
}

func TestAMachineThatWasSuspendedRepeatsNothingWhoseKeyMayBeForgotten(t *testing.T) {
	t.Parallel()
	r := newRigAside(t, sandbox.Config{Faults: []sandbox.Fault{{Kind: sandbox.CutBefore}}})
	w := r.within(func(*daemon) {})
	r.send(envelope("cut", rcsBody))
	await(t, "it may have been sent", func() bool { return r.ask(`SELECT count(*) FROM messages WHERE ambiguous_at IS NOT NULL`) == 1 })
	w.set.Store(int64(26 * time.Hour)) // the monotonic clock stood still
	await(t, "the step is seen", func() bool { return r.ask(`SELECT count(*) FROM gates WHERE set_by = 'clock'`) == 1 })
	r.api.SetFaults()
	r.send(strings.Replace(envelope("later", rcsBody), `{"idem`,
		fmt.Sprintf(`{"send_at":%q,"idem`, w.d.now().Add(time.Second).Format(time.RFC3339Nano)), 1))
	await(t, "what came after it is sent", func() bool { return r.ask(`SELECT count(*) FROM messages WHERE state = 'sent'`) > 0 })
	if n := r.api.Keys("")["cut"].Effects; n != 0 {
		t.Errorf("it took effect %d times after the API may have forgotten its key", n)
	}
}

func TestAKeyAgesWhileTheMachineIsSuspendedDuringItsRequest(t *testing.T) {
	t.Parallel()
	r := newRigAside(t, sandbox.Config{Latency: 2 * time.Second, Faults: []sandbox.Fault{{Kind: sandbox.CutAfter}}})
	w := r.within(func(*daemon) {})
	r.send(envelope("cut", rcsBody))
	await(t, "the request is under way", func() bool { return r.api.Stats().Requests == 1 })
	w.set.Store(int64(26 * time.Hour))
	await(t, "it may have been sent", func() bool { return r.ask(`SELECT count(*) FROM messages WHERE ambiguous_at IS NOT NULL`) == 1 })
	if at := time.UnixMilli(int64(r.ask(`SELECT ambiguous_at FROM messages`))); time.Until(at) > time.Hour {
		t.Errorf("the key is taken to be known from %v on, when the machine woke, not from when the request left", at)
	}
}

func TestAStepBackBehindOneForwardLeavesNoKeyYounger(t *testing.T) {
	t.Parallel()
	r := newRigAside(t, sandbox.Config{Faults: []sandbox.Fault{{Kind: sandbox.CutBefore}}})
	w := r.within(func(*daemon) {})
	r.send(envelope("cut", rcsBody))
	const ambiguous = `SELECT coalesce(max(ambiguous_at), 0) FROM messages`
	await(t, "it may have been sent", func() bool { return r.ask(ambiguous) > 0 })
	was := r.ask(ambiguous)
	w.set.Store(int64(3 * time.Hour))
	await(t, "the step forward is seen", func() bool { return time.Until(w.d.now()) > 2*time.Hour })
	w.set.Store(int64(2 * time.Hour)) // the clock had been an hour ahead when the request left
	await(t, "it is moved by the step back", func() bool {
		moved := time.Duration(was-r.ask(ambiguous)) * time.Millisecond
		return (moved - time.Hour).Abs() < time.Minute // both clocks are not read at one moment
	})
}

func TestAGateEndsWhenItWouldHaveAlthoughTheClockWasSetBack(t *testing.T) {
	r := newRig(t, sandbox.Config{Faults: []sandbox.Fault{{Kind: sandbox.Kind503}}})
	w := r.within(func(*daemon) {})
	r.send(envelopes(keysOf("k", 20))...)
	const isDegraded = `SELECT count(*) FROM gates WHERE scope = 'bucket:default/rcs' AND kind = 'degraded'`
	await(t, "the bucket is degraded", func() bool { return r.ask(isDegraded) == 1 })
	w.set.Store(int64(-time.Hour))
	await(t, "the step is seen", func() bool { return r.ask(`SELECT count(*) FROM gates WHERE set_by = 'clock'`) == 1 })
	r.api.SetFaults()
	await(t, "all are sent", func() bool { return r.ask(`SELECT count(*) FROM messages WHERE state = 'sent'`) == 20 })
}

func TestAStartBeforeTheLastTimeSeenSendsNothingUntilAPersonSaysSo(t *testing.T) {
	t.Parallel()
	r := newRigAside(t, sandbox.Config{})
	r.serve().stop()
	overdue := strings.Replace(envelope("overdue", rcsBody), `{"idem`, `{"ttl":"1s","idem`, 1)
	r.send(envelope("k", rcsBody), overdue, envelope("maybe", rcsBody))
	application(t, r.dir+"/weir.db", fmt.Sprintf(`INSERT OR REPLACE INTO meta VALUES ('last_seen_at', %d)`, time.Now().Add(time.Hour).UnixMilli()))
	// As if the clock had been wrong when they came, and when one may have been sent.
	application(t, r.dir+"/weir.db", `
		UPDATE messages SET due_at = due_at + 3000000, created_at = created_at + 3000000, updated_at = updated_at + 3000000
		WHERE idempotency_key = 'k'`)
	application(t, r.dir+"/weir.db", `UPDATE messages SET state = 'retrying', ambiguous_at = due_at + 3000000 WHERE idempotency_key = 'maybe'`)
	daemon := r.serve()
	r.awaitDaemon("held", "the last run had reached")
	r.awaitBucket("rcs", "held", "nothing is sent until then")
	beat := r.ask(`SELECT max(heartbeat_at) FROM status`)
	await(t, "the next heartbeat has noted the time, and the deadline has passed", func() bool {
		next := r.ask(`SELECT max(heartbeat_at) FROM status`)
		return next > beat && r.ask(`SELECT max(expires_at) FROM messages`) < next
	})
	daemon.stop()
	r.serve() // it is not forgotten by another start
	r.awaitDaemon("held", "the last run had reached")
	if n := r.api.Stats().Requests; n != 0 || r.messages()["overdue"].State != string(outbox.Pending) {
		t.Errorf("%d requests; the message whose time may be over is %s", n, r.messages()["overdue"].State)
	}
	if text := r.do("gates", "resume", "daemon"); !strings.Contains(text, "is resumed") {
		t.Errorf("it says %q", text)
	}
	r.awaitState(outbox.Sent, 1)
	r.awaitState(outbox.Expired, 1)
	r.awaitState(outbox.Unknown, 1)
	if n := r.api.Stats().Requests; n != 1 {
		t.Errorf("%d requests, want one: what may have been sent is not repeated", n)
	}
	r.awaitDaemon("running", "")
	await(t, "the time is taken as it is", func() bool {
		return r.ask(`SELECT value / 1000 FROM meta WHERE name = 'last_seen_at'`) <= int(time.Now().Unix())
	})
}

func TestAClaimThatNobodyWorksOnIsSweptByTheDaemon(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	r.send(strings.Replace(envelope("k", rcsBody), `{"idem`, `{"send_at":"2099-01-01T00:00:00Z","idem`, 1)) // so that no worker takes it
	r.within(func(d *daemon) { d.sweepEvery = 50 * time.Millisecond })
	application(t, r.dir+"/weir.db", `UPDATE messages SET state = 'sending', epoch = (SELECT value FROM meta WHERE name = 'epoch')`)
	await(t, "the claim is judged as lost", func() bool { return r.ask(`SELECT count(*) FROM attempts WHERE verdict = 'lost'`) == 1 })
	r.awaitState(outbox.Sent, 1)
	if n := r.api.Keys("")["k"].Effects; n != 1 {
		t.Errorf("it took effect %d times", n)
	}
}

func TestWhatIsWrongIsShownAndHoldsNothingBack(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	reason := "NATS is ill"
	r.within(func(d *daemon) { d.machine.nats.Store(&reason) })
	r.awaitDaemon("degraded", reason)
	if text := r.do("gates", "list"); !strings.Contains(text, "nats") {
		t.Errorf("the list of gates says %s", text)
	}
	r.send(envelope("k", rcsBody))
	r.awaitState(outbox.Sent, 1)
}
