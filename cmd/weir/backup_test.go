package main

import (
	"fmt"
	"strings"
	"testing"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
	"weir/store"
)

// backedUp is a rig whose database was backed up beside its daemon while "b"
// and "later" waited; "b", and "c", of which the backup knows nothing, were sent
// since, and the daemon has stopped.
func backedUp(t *testing.T, cfg sandbox.Config) *rig {
	r := newRig(t, cfg)
	r.send(envelope("a", rcsBody))
	daemon := r.serve()
	r.awaitState(outbox.Sent, 1)
	r.do("gates", "pause", "default/rcs")
	r.send(envelope("b", rcsBody), fmt.Sprintf(`{"idempotency_key":"later","send_at":"2099-01-01T00:00:00Z","body":%s}`, rcsBody))
	if got := r.do("backup", "backup.db"); !strings.HasPrefix(got, "backup.db has ") {
		t.Errorf("weir backup says %q", got)
	}
	r.do("gates", "resume", "default/rcs")
	r.send(envelope("c", rcsBody))
	r.awaitState(outbox.Sent, 3)
	daemon.stop()
	return r
}

func TestARestoredBackupLosesNothingAndSendsNothingTwiceWhileTheAPIKnowsItsKeys(t *testing.T) {
	r := backedUp(t, sandbox.Config{})
	if got := r.refuse(exitFailed, "restore", "backup.db"); !strings.Contains(got, "--replace") {
		t.Errorf("without consent it says %q", got)
	}
	got := r.do("restore", "--replace", "backup.db")
	for _, want := range []string{"3 messages are as they were", "1 of them waited and may have been sent", "1 are due later", "not known any more", "data/weir.db.replaced-"} {
		if !strings.Contains(got, want) {
			t.Errorf("weir restore does not say %q:\n%s", want, got)
		}
	}
	r.serve()
	r.do("gates", "resume", "default/rcs") // the pause is as it was, too
	r.awaitState(outbox.Sent, 2)
	r.send(envelope("c", rcsBody)) // the application hands over again what it is not sure of
	r.awaitState(outbox.Sent, 3)
	stats := r.api.Stats()
	if stats.Executed != 3 || stats.Twice != 0 || stats.Replayed != 2 {
		t.Errorf("%d effects, %d of them second ones, %d answers given again; want 3, 0 and 2", stats.Executed, stats.Twice, stats.Replayed)
	}
	if b := r.show("b"); *b.MessageID != r.api.Keys("b")["b"].MessageID || r.show("later").State != "pending" {
		t.Errorf("after the restore b is %+v and later %s", b.MessageView, r.show("later").State)
	}
}

func TestWhatTheAPIMayHaveForgottenSinceTheBackupIsNotSentAgain(t *testing.T) {
	r := backedUp(t, sandbox.Config{KeyLifetime: 1}) // it has forgotten at once
	alterFile(t, "backup.db", `UPDATE meta SET value = value - 86400000 WHERE name = 'backup_at'`)
	r.do("restore", "--replace", "backup.db")
	r.serve()
	r.do("gates", "resume", "default/rcs")
	r.awaitState(outbox.Unknown, 1)
	if twice := r.api.Stats().Twice; twice != 0 || r.show("b").State != "unknown" {
		t.Errorf("%d messages took effect twice; b is %s", twice, r.show("b").State)
	}
}

func TestABackupOfNothingAndARestoreBesideADaemonAreRefused(t *testing.T) {
	d := newDesk(t)
	if got := d.refuse(exitFailed, "backup", "b.db"); !strings.Contains(got, "no weir database in data") {
		t.Errorf("it says %q", got)
	}
	d.send(lineOf("a"))
	d.do("backup", "b.db")
	d.daemon(func(*store.Store) {
		if got := d.refuse(exitFailed, "restore", "b.db", "--replace"); !strings.Contains(got, "data directory in use") {
			t.Errorf("beside a daemon it says %q", got)
		}
	})
	if got := d.refuse(exitFailed, "backup", "b.db"); !strings.Contains(got, "choose another name") {
		t.Errorf("over a backup it says %q", got)
	}
}
