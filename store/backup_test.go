package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/dispatcher"
	"weir/outbox"
	"weir/store"
)

// backup makes a backup of the desk's database.
func (d *desk) backup() (file string) {
	d.t.Helper()
	file = filepath.Join(d.t.TempDir(), "backup.db")
	must(d.t, store.Backup(d.t.Context(), d.dir, file, d.Now()))
	return file
}

func TestABackupBesideADaemonIsOneWholeFileForItsOwnerOnly(t *testing.T) {
	d := newDesk(t)
	d.put(message("before"))
	stop := make(chan struct{})
	written := make(chan error, 1)
	go func() { // a daemon at work
		var err error
		for i := 0; err == nil; i++ {
			select {
			case <-stop:
				written <- nil
				return
			default:
				_, err = d.Accept(context.Background(), []outbox.Message{message(fmt.Sprint(i))})
			}
		}
		written <- err
	}()
	file := d.backup()
	close(stop)
	must(t, <-written)

	entries, err := os.ReadDir(filepath.Dir(file))
	must(t, err)
	info, err := os.Stat(file)
	must(t, err)
	if len(entries) != 1 || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup left %v, mode %v", entries, info.Mode())
	}
	dir := t.TempDir()
	_, err = store.Restore(t.Context(), dir, file, d.Now(), policy.SettleWait, false)
	must(t, err)
	if n := openDesk(t, dir, d.clock).number(`SELECT count(*) FROM messages WHERE idempotency_key = 'before'`); n != 1 {
		t.Error("what was there before the backup is not in it")
	}
}

func TestABackupOverwritesNothingAndLeavesNoHalfFile(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	dir := t.TempDir()
	file := filepath.Join(dir, "there")
	must(t, os.WriteFile(file, []byte("precious"), 0o600))
	if err := store.Backup(t.Context(), d.dir, file, d.Now()); !errors.Is(err, store.ErrExists) {
		t.Errorf("over a file that is there: %v", err)
	}
	if err := store.Backup(t.Context(), d.dir, filepath.Join(d.dir, "weir.db"), d.Now()); !errors.Is(err, store.ErrExists) {
		t.Errorf("over the database itself: %v", err)
	}
	if content, _ := os.ReadFile(file); string(content) != "precious" {
		t.Errorf("the file that was there says %q", content)
	}
}

func TestABackupThatIsInterruptedLeavesNothing(t *testing.T) {
	d := newDesk(t)
	large := message("x")
	large.Body = []byte(`{"text":"` + strings.Repeat("x", 200<<10) + `"}`)
	for i := range 100 {
		large.Key = fmt.Sprint(i)
		d.put(large)
	}
	for range 20 { // a backup may be quicker than its interruption
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- store.Backup(ctx, d.dir, filepath.Join(dir, "b.db"), d.Now()) }()
		for begun := false; !begun; {
			entries, err := os.ReadDir(dir)
			must(t, err)
			begun = len(entries) > 0
		}
		cancel()
		interrupted := <-ended
		if interrupted == nil {
			continue
		}
		entries, err := os.ReadDir(dir)
		must(t, err)
		if len(entries) > 0 {
			t.Errorf("after %v there is %v", interrupted, entries)
		}
		return
	}
	t.Fatal("no backup was interrupted")
}

func TestARestoreMarksWhatMayHaveBeenSentSinceTheBackup(t *testing.T) {
	d := newDesk(t)
	later := message("later")
	later.SendAt = start.Add(10 * time.Hour)
	soon := message("soon")
	soon.SendAt = start.Add(2 * time.Hour)
	elsewhere := message("elsewhere")
	elsewhere.Account = "second"
	d.put(message("pending"), message("retrying"), message("sending"), message("sent"), elsewhere, soon, later)
	d.record(d.claim("sent"), dispatcher.Answer{}, accepted)
	d.record(d.claim("retrying"), dispatcher.Answer{}, dispatcher.Judgement{Verdict: dispatcher.Retry, State: outbox.Retrying, Counted: true, DueAt: d.Now()})
	d.claim("sending")
	claimed := d.Now()
	d.Add(time.Minute)
	file := d.backup()
	asOf := d.Now()
	d.Add(2 * time.Hour)

	dir := t.TempDir()
	made, err := store.Restore(t.Context(), dir, file, d.Now(), policy.SettleWait, false)
	must(t, err)
	if made.Messages != 7 || made.Marked != 5 || made.Later != 1 || !made.AsOf.Equal(asOf) || made.Replaced != "" {
		t.Errorf("it says %+v", made)
	}
	r := openDesk(t, dir, d.clock)
	for key, want := range map[string]string{
		"pending": iso(asOf), "retrying": iso(asOf), "elsewhere": iso(asOf), "soon": iso(asOf), "sending": iso(claimed), "sent": "", "later": "",
	} {
		if got := val(r.row(key).AmbiguousAt); got != want {
			t.Errorf("%s may have been sent from %q on, want %q", key, got, want)
		}
	}
	// A request of the daemon that was lost may still run.
	d.Add(policy.SettleWait - time.Millisecond)
	if claims := r.claims(r.ref("pending"), r.ref("retrying")); len(claims) != 0 {
		t.Errorf("%+v are repeated too early", claims)
	}
	if got := r.row("later").DueAt; got != iso(later.SendAt) {
		t.Errorf("what was surely not sent is due at %s", got)
	}
	d.Add(time.Millisecond)
	// Under the rules for ambiguous attempts: where the account's last one went, else where it goes today.
	if c := r.claim("pending"); c.Scope != "here" || !c.AmbiguousAt.Equal(asOf) {
		t.Errorf("claimed as %+v", c)
	}
	claims, err := r.Claim(t.Context(), "there", []outbox.Ref{r.ref("elsewhere")})
	must(t, err)
	if len(claims) != 1 || claims[0].Scope != "there" {
		t.Errorf("an account that never sent is claimed as %+v", claims)
	}
	if moved, err := r.SettleMoved(t.Context(), map[string]string{"default": "elsewhere"}); err != nil || moved == 0 || r.row("soon").State != "unknown" {
		t.Errorf("another API than the last attempt's settles %d messages, %v; soon is %s", moved, err, r.row("soon").State)
	}
}

func TestARestoreBeginsAnEpochAboveAllThatWere(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	file := d.backup()
	d = d.reopen().reopen().reopen()
	last := d.Epoch()
	must(t, d.Close())
	must(t, d.db.Close())
	_, err := store.Restore(t.Context(), d.dir, file, d.Now(), policy.SettleWait, true)
	must(t, err)
	if epoch := openDesk(t, d.dir, d.clock).Epoch(); epoch <= last+1 {
		t.Errorf("the epoch after epoch %d and a restore is %d", last, epoch)
	}
}

func TestARestoreSetsAsideWhatIsThereAndOnlyIfItIsToldTo(t *testing.T) {
	d := newDesk(t)
	d.put(message("old"))
	file := d.backup()
	d.put(message("new"))
	if _, err := store.Restore(t.Context(), d.dir, file, d.Now(), policy.SettleWait, true); !errors.Is(err, store.ErrInUse) {
		t.Errorf("beside a daemon: %v", err)
	}
	must(t, d.Close())
	before := contents(t, d.dir)
	if _, err := store.Restore(t.Context(), d.dir, file, d.Now(), policy.SettleWait, false); !errors.Is(err, store.ErrExists) {
		t.Errorf("over a database: %v", err)
	}
	reader, err := d.db.Begin() // another program has it open
	must(t, err)
	_, err = reader.Query(`SELECT * FROM messages`)
	must(t, err)
	if _, err := store.Restore(t.Context(), d.dir, file, d.Now(), policy.SettleWait, true); !errors.Is(err, store.ErrInUse) {
		t.Errorf("beside a command: %v", err)
	}
	must(t, errors.Join(reader.Rollback(), d.db.Close()))
	lock, err := os.Open(filepath.Join(d.dir, "weir.lock")) // a daemon that is just starting
	must(t, err)
	must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	if _, err := store.Restore(t.Context(), d.dir, file, d.Now(), policy.SettleWait, true); !errors.Is(err, store.ErrInUse) {
		t.Errorf("beside a daemon that holds the lock only: %v", err)
	}
	must(t, lock.Close())
	if after := contents(t, d.dir); !maps.Equal(before, after) {
		t.Error("a restore that was refused changed the directory")
	}
	made, err := store.Restore(t.Context(), d.dir, file, d.Now(), policy.SettleWait, true)
	must(t, err)
	r := openDesk(t, d.dir, d.clock)
	if _, err := r.Message(t.Context(), "new"); !errors.Is(err, store.ErrNotFound) || r.row("old").State != "pending" {
		t.Errorf("after the restore there is a message of after the backup, %v", err)
	}
	aside := t.TempDir()
	must(t, os.Chmod(aside, 0o700))
	must(t, os.Rename(made.Replaced, filepath.Join(aside, "weir.db")))
	if openDesk(t, aside, d.clock).row("new").State != "pending" {
		t.Error("what was replaced is not whole")
	}
}

func TestARestoreThatDiedAfterSettingAsideCanBeRunAgainAtOnce(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	file := d.backup()
	now := d.Now()
	must(t, errors.Join(d.Close(), d.db.Close()))
	first, err := store.Restore(t.Context(), d.dir, file, now, policy.SettleWait, true)
	must(t, err)
	aside := filepath.Base(first.Replaced)
	before := contents(t, d.dir)[aside]
	must(t, os.Link(filepath.Join(d.dir, "weir.db"), first.Replaced+"-2")) // a second one died here
	second, err := store.Restore(t.Context(), d.dir, file, now, policy.SettleWait, true)
	if err != nil || second.Replaced != first.Replaced+"-2" {
		t.Errorf("the database is aside as %s: %v", second.Replaced, err)
	}
	if after := contents(t, d.dir)[aside]; after == "" || after != before {
		t.Error("what the first restore had set aside is no longer that")
	}
}

func TestALogThatABrokenDatabaseLeftIsNotTakenForTheRestoredOnes(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	file := d.backup()
	dir := database(t)
	leave(t, dir, `DELETE FROM messages`)
	must(t, os.Truncate(filepath.Join(dir, "weir.db"), 5000)) // damaged beyond reading
	must(t, os.WriteFile(filepath.Join(dir, "weir.db"), bytes.Repeat([]byte("x"), 5000), 0o600))
	made, err := store.Restore(t.Context(), dir, file, d.Now(), policy.SettleWait, true)
	must(t, err)
	if r := openDesk(t, dir, d.clock); r.row("x").State != "pending" || r.number(`SELECT count(*) FROM messages`) != 1 {
		t.Error("the restored database is not the backup")
	}
	if _, err := os.Stat(made.Replaced + "-wal"); err != nil {
		t.Errorf("the log of what was replaced: %v", err)
	}
}

func TestWhatIsNoWholeBackupIsNotRestored(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	good, err := os.ReadFile(d.backup())
	must(t, err)
	damaged := bytes.Clone(good)
	copy(damaged[len(damaged)/2:], strings.Repeat("\xff", 3000))
	newer := d.backup()
	connectTo(t, newer).exec(`PRAGMA user_version = 99`)
	foreign := d.backup()
	connectTo(t, foreign).exec(`PRAGMA application_id = 7`)
	inconsistent := d.backup()
	c := connectTo(t, inconsistent)
	c.exec(`PRAGMA writable_schema = 1`)
	c.exec(`UPDATE sqlite_schema SET sql = replace(sql, 'WHERE state = ''retrying''', 'WHERE state = ''pending''') WHERE name = 'messages_retrying'`)
	live := filepath.Join(t.TempDir(), "live.db")
	must(t, os.WriteFile(live, good, 0o600))
	must(t, os.WriteFile(live+"-wal", []byte("x"), 0o600))
	file := func(content []byte) string {
		path := filepath.Join(t.TempDir(), "b.db")
		must(t, os.WriteFile(path, content, 0o600))
		return path
	}
	for _, test := range []struct {
		name, file string
		want       error
	}{
		{"an empty file", file(nil), store.ErrCorrupt},
		{"a half file", file(good[:len(good)/2]), store.ErrCorrupt},
		{"a damaged file", file(damaged), store.ErrCorrupt},
		{"an index that lacks rows", inconsistent, store.ErrCorrupt},
		{"no database", file([]byte(strings.Repeat("hello ", 1000))), store.ErrCorrupt},
		{"another program's database", foreign, store.ErrCorrupt},
		{"a newer weir's backup", newer, store.ErrNewer},
		{"a database in use", live, store.ErrCorrupt},
		{"nothing", filepath.Join(t.TempDir(), "no"), os.ErrNotExist},
	} {
		dir := filepath.Join(t.TempDir(), "data")
		if _, err := store.Restore(t.Context(), dir, test.file, d.Now(), policy.SettleWait, false); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if _, err := os.Stat(filepath.Join(dir, "weir.db")); err == nil {
			t.Errorf("%s was restored", test.name)
		}
	}
}
