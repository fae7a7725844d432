package store_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/outbox"
	"weir/store"
)

// smallDisk mounts a disk of that many MiB, or skips the test where it may not.
func smallDisk(t *testing.T, mib int, options ...string) string {
	t.Helper()
	dir := t.TempDir()
	options = append(options, fmt.Sprintf("mode=700,size=%dm", mib))
	if err := syscall.Mount("none", dir, "tmpfs", 0, strings.Join(options, ",")); err != nil {
		t.Skipf("no disk of its own: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fillUp takes all that is free on the disk of dir, and gives a function that
// gives it back.
func fillUp(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	file, err := os.Create(path)
	must(t, err)
	block := make([]byte, 4096)
	for err == nil {
		_, err = file.Write(block)
	}
	must(t, file.Close())
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return func() { must(t, os.Remove(path)) }
}

// patience is how long anything may take that people must see within two seconds:
// the machine may be busy.
const patience = 10 * time.Second

// within checks that something holds before patience ends.
func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !holds(); {
		if now := <-tick.C; now.After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func large(key string) outbox.Message {
	m := message(key)
	m.Body = []byte(`{"text":"` + strings.Repeat("x", 200<<10) + `"}`)
	return m
}

func TestAFullDiskIsAwaitedSaidAndHealsByItself(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T) (*desk, func() func()){
		"a real disk": func(t *testing.T) (*desk, func() func()) {
			dir := smallDisk(t, 8)
			d := openDesk(t, dir, &clock{})
			return d, func() func() { return fillUp(t, dir) }
		},
		"a bound on the file": func(t *testing.T) (*desk, func() func()) {
			bound := make(chan int, 1) // how many pages more there may be, from the next try on
			d := &desk{clock: &clock{}, t: t, dir: t.TempDir(), events: &events{}}
			s, err := store.Open(t.Context(), store.Config{Dir: d.dir, Now: func() time.Time {
				select {
				case pages := <-bound:
					must(t, d.LimitPages(pages))
				default:
				}
				return time.Now()
			}})
			must(t, err)
			t.Cleanup(func() { _ = s.Close() })
			d.Store, d.foreign = s, connect(t, d.dir)
			return d, func() func() {
				bound <- 2
				return func() { bound <- 1 << 20 }
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, fill := prepare(t)
			d.put(message("before"))
			free := fill()
			stored := make(chan error, 1)
			go func() {
				_, err := d.Accept(t.Context(), []outbox.Message{large("a")})
				stored <- err
			}()
			command, err := store.Attach(t.Context(), store.Config{Dir: d.dir, Now: time.Now})
			must(t, err)
			t.Cleanup(func() { _ = command.Close() })
			within(t, "the daemon and weir status say that the disk is full", func() bool {
				daemon, _, err := d.Status(t.Context())
				seen, _, failed := command.Status(t.Context())
				return err == nil && failed == nil && daemon.State == "held" && strings.Contains(val(daemon.Reason), "disk is full") &&
					seen.State == "held" && val(seen.Reason) == val(daemon.Reason)
			})
			select {
			case err := <-stored:
				t.Fatalf("told of %v while the disk was full", err)
			default:
			}
			if w := d.Waiting(); w == nil || !d.Alive() || d.Err() != nil {
				t.Errorf("waiting %v, alive %v, failed with %v", w, d.Alive(), d.Err())
			}
			free()
			must(t, <-stored)
			if daemon, _, _ := command.Status(t.Context()); daemon.State == "held" || d.Waiting() != nil {
				t.Errorf("it still says %s", val(daemon.Reason))
			}
			if n := d.number(`SELECT count(*) FROM messages`); n != 2 {
				t.Errorf("%d messages, want 2", n)
			}
		})
	}
}

func TestACommandDoesNotWaitForAFullDisk(t *testing.T) {
	dir := t.TempDir()
	var s *store.Store
	s, err := store.Attach(t.Context(), store.Config{Dir: dir, Now: func() time.Time {
		must(t, s.LimitPages(0))
		return time.Now()
	}})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	if _, err := s.Accept(t.Context(), []outbox.Message{large("a")}); !errors.Is(err, store.ErrFull) {
		t.Errorf("%v, want ErrFull", err)
	}
}

func TestAStartOnAFullDiskNamesTheDisk(t *testing.T) {
	dir := smallDisk(t, 1)
	fillUp(t, dir)
	for range 2 { // what the first has left is no help to the next
		_, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now})
		if !errors.Is(err, store.ErrFull) && !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v", err)
		}
	}
}

func TestAStartOnAFullDiskWithADatabaseNamesTheDisk(t *testing.T) {
	dir := smallDisk(t, 2)
	s, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now})
	must(t, err)
	must(t, s.Close())
	free := fillUp(t, dir)
	if _, err = store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now}); !errors.Is(err, store.ErrFull) {
		t.Errorf("%v, want ErrFull", err)
	}
	free()
	s, err = store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now})
	must(t, err)
	must(t, s.Close())
}

func TestNothingNewIsStoredWhileTooLittleIsFree(t *testing.T) {
	d := newDesk(t)
	d.put(message("here"))
	beside, err := store.Attach(t.Context(), store.Config{Dir: d.dir, Now: time.Now, MinFree: 1 << 60})
	must(t, err)
	t.Cleanup(func() { _ = beside.Close() })
	if err := beside.Room(); !errors.Is(err, store.ErrNoRoom) || !strings.Contains(err.Error(), "WEIR_MIN_FREE") || !strings.Contains(err.Error(), d.dir) {
		t.Errorf("%v, want an ErrNoRoom that names setting and place", err)
	}
	_, err = beside.Accept(t.Context(), []outbox.Message{message("new")})
	if rejected := beside.Reject(t.Context(), []outbox.Rejection{{}}); !errors.Is(err, store.ErrNoRoom) || !errors.Is(rejected, store.ErrNoRoom) {
		t.Errorf("%v and %v, want ErrNoRoom", err, rejected)
	}
	// What is there already may still change.
	if _, err := beside.Cancel(t.Context(), "here"); err != nil {
		t.Errorf("canceling: %v", err)
	}
	if n := d.number(`SELECT count(*) FROM messages`) + d.number(`SELECT count(*) FROM rejected`); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	if err := d.Room(); err != nil {
		t.Errorf("without a bound: %v", err)
	}
}

func TestALockedDatabaseIsSaidAndAwaitedHoweverLongItTakes(t *testing.T) {
	d := newDesk(t)
	d.HastenLocks()
	locker := connect(t, d.dir)
	locker.exec(`BEGIN IMMEDIATE`)
	stored := make(chan error, 1)
	go func() {
		_, err := d.Accept(t.Context(), []outbox.Message{message("a")})
		stored <- err
	}()
	command, err := store.Attach(t.Context(), store.Config{Dir: d.dir, Now: time.Now})
	must(t, err)
	t.Cleanup(func() { _ = command.Close() })
	within(t, "weir status says that the database is locked", func() bool {
		daemon, _, err := command.Status(t.Context())
		return err == nil && daemon.State == "held" && strings.Contains(val(daemon.Reason), "locked")
	})
	locker.exec(`COMMIT`)
	must(t, <-stored)
	if d.Waiting() != nil || d.Err() != nil {
		t.Errorf("still waiting: %v, %v", d.Waiting(), d.Err())
	}
}

func TestWhatADaemonThatDiedHasNotedIsNotTakenForTrue(t *testing.T) {
	dir := database(t)
	must(t, os.WriteFile(filepath.Join(dir, "weir.lock"), []byte("1\n1000 the disk is full\n"), 0o600))
	command, err := store.Attach(t.Context(), store.Config{Dir: dir, Now: time.Now})
	must(t, err)
	defer func() { _ = command.Close() }()
	if daemon, _, err := command.Status(t.Context()); err != nil || daemon.State != "stopped" {
		t.Errorf("it is %s: %s (%v)", daemon.State, val(daemon.Reason), err)
	}
}

// beBroken makes the test process one whose disk gives an I/O error.
const beBroken = "STORE_TEST_BE_BROKEN"

func TestAnIOErrorEndsTheDaemon(t *testing.T) {
	beBrokenIn(t, "TestInAProcessWhoseFilesMayNotGrow")
}

func TestAnIOErrorOfACheckpointEndsTheDaemon(t *testing.T) {
	beBrokenIn(t, "TestInAProcessWhoseDatabaseMayNotGrow")
}

// beBrokenIn runs another test in a process of its own, which may break its disk.
func beBrokenIn(t *testing.T, name string) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^"+name+"$")
	child.Env = append(os.Environ(), beBroken+"="+t.TempDir(), "GORACE=atexit_sleep_ms=0")
	if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+name+" ") {
		t.Errorf("%v: %s", err, out)
	}
}

// breakable opens a store in a process of beBrokenIn, and skips the test in others.
func breakable(t *testing.T) (s *store.Store, dir string) {
	t.Helper()
	dir = os.Getenv(beBroken)
	if dir == "" {
		t.Skip("only a part of another test")
	}
	s, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s, dir
}

func TestInAProcessWhoseFilesMayNotGrow(t *testing.T) {
	s, _ := breakable(t)
	breakGrowth(t, 100<<10)
	_, err := s.Accept(t.Context(), []outbox.Message{large("a")})
	if err == nil || !strings.Contains(err.Error(), "I/O error") || errors.Is(err, store.ErrFull) {
		t.Errorf("%v, want an I/O error", err)
	}
	select {
	case <-s.Failed():
	case <-time.After(patience):
		t.Error("the store has not failed")
	}
	if s.Alive() {
		t.Error("it counts as alive")
	}
}

func TestInAProcessWhoseDatabaseMayNotGrow(t *testing.T) {
	s, dir := breakable(t)
	for i := range 5 {
		_, err := s.Accept(t.Context(), []outbox.Message{large(fmt.Sprint(i))})
		must(t, err)
	}
	connect(t, dir).exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	info, err := os.Stat(filepath.Join(dir, "weir.db"))
	must(t, err)
	breakGrowth(t, uint64(info.Size())) // the log begins anew, and needs less
	go func() { _ = s.RunCheckpoints(t.Context()) }()
	_, err = s.Accept(t.Context(), []outbox.Message{large("a")})
	must(t, err)
	within(t, "the store has failed", func() bool { return s.Err() != nil })
	if err := s.Err(); !strings.Contains(err.Error(), "I/O error") || errors.Is(err, store.ErrFull) {
		t.Errorf("%v, want an I/O error", err)
	}
	if _, err := s.Accept(t.Context(), []outbox.Message{message("b")}); err == nil {
		t.Error("something more is stored")
	}
}
