package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/dispatcher"
	"weir/internal/bubble"
	"weir/outbox"
	"weir/store"
)

// crowd is a store whose writer stands still, so that work gathers before it.
// Each of its commits happens at another millisecond. It has two messages: row
// 1, whose cancellation keeps the writer, and row 2.
type crowd struct {
	*store.Store
	foreign
	release chan struct{}
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{release: make(chan struct{})}
	dir := t.TempDir()
	var commits atomic.Int64
	s, err := store.Open(t.Context(), store.Config{
		Dir:       dir,
		Now:       func() time.Time { return start.Add(time.Duration(commits.Add(1)) * time.Millisecond) },
		OnSettled: func([]store.Settled) { <-c.release },
	})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	c.Store, c.foreign = s, connect(t, dir)
	if _, err := s.Accept(t.Context(), []outbox.Message{message("blocker"), message("waiting")}); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = s.Cancel(t.Context(), "blocker") }()
	synctest.Wait()
	return c
}

func TestWritersWhoWaitTogetherShareOneCommit(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		const writers = 100
		failures := make(chan error, writers)
		for i := range writers {
			go func() {
				_, err := c.Accept(t.Context(), []outbox.Message{message(fmt.Sprint(i))})
				failures <- err
			}()
		}
		synctest.Wait()
		close(c.release)
		for range writers {
			must(t, <-failures)
		}
		if n := c.number(`SELECT count(DISTINCT created_at) FROM messages WHERE id > 2`); n != 1 {
			t.Errorf("%d writers took %d commits, want 1", writers, n)
		}
	})
}

func TestAMistakeOfOneWriterHurtsNoOther(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		bad := message("bad")
		bad.Lane = "express" // the table refuses it
		const writers = 30
		good, nobody, refused := make(chan error, writers), make(chan error, writers), make(chan error, writers)
		for i := range writers {
			go func() {
				results, err := c.Accept(t.Context(), []outbox.Message{message(fmt.Sprint(i))})
				if err == nil && results[0] != outbox.Accepted {
					err = fmt.Errorf("it is %s", results[0])
				}
				good <- err
			}()
			go func() { _, err := c.Cancel(t.Context(), "nobody"); nobody <- err }()
			go func() { _, err := c.Accept(t.Context(), []outbox.Message{bad}); refused <- err }()
		}
		synctest.Wait()
		close(c.release)
		for range writers {
			if err := <-good; err != nil {
				t.Errorf("a good message was not accepted: %v", err)
			}
			if err := <-nobody; !errors.Is(err, store.ErrNotFound) {
				t.Errorf("canceling nobody: %v, want ErrNotFound", err)
			}
			if err := <-refused; err == nil || errors.Is(err, store.ErrNotFound) {
				t.Errorf("a bad message: %v, want its own error", err)
			}
		}
		if n := c.number(`SELECT count(*) FROM messages`); n != writers+2 || c.Err() != nil {
			t.Errorf("%d messages are stored (%v), want %d", n, c.Err(), writers+2)
		}
	})
}

func TestCloseEndsAfterWhatWasTaken(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		const writers = 20
		failures := make(chan error, writers)
		for i := range writers {
			go func() {
				_, err := c.Accept(t.Context(), []outbox.Message{message(fmt.Sprint(i))})
				failures <- err
			}()
		}
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- c.Close() }()
		synctest.Wait()
		close(c.release)
		must(t, <-closed)
		for range writers {
			must(t, <-failures)
		}
		if n := c.number(`SELECT count(*) FROM messages`); n != writers+2 {
			t.Errorf("%d messages are stored, want %d", n, writers+2)
		}
	})
}

func TestAfterCloseNothingIsWritten(t *testing.T) {
	d := newDesk(t)
	must(t, d.Close())
	for range 50 { // whether the queue or the end is seen first is chance
		if _, err := d.Accept(t.Context(), []outbox.Message{message("x")}); !errors.Is(err, store.ErrClosed) {
			t.Fatalf("%v, want ErrClosed", err)
		}
	}
	if n := d.number(`SELECT count(*) FROM messages`); n != 0 {
		t.Error("something was written")
	}
}

// warned is a log handler that tells of the first warning.
type warned struct {
	slog.Handler
	first chan string
}

func (w warned) Enabled(context.Context, slog.Level) bool { return true }

func (w warned) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		select {
		case w.first <- r.Message:
		default:
		}
	}
	return nil
}

func TestABusyDatabaseIsAwaited(t *testing.T) {
	dir := t.TempDir()
	log := warned{slog.DiscardHandler, make(chan string, 1)}
	s, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now, Log: slog.New(log)})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	f := connect(t, dir)

	f.exec(`BEGIN IMMEDIATE`)
	results := make(chan error, 2)
	for _, key := range []string{"a", "b"} {
		go func() {
			_, err := s.Accept(t.Context(), []outbox.Message{message(key)})
			results <- err
		}()
	}
	if message := <-log.first; !strings.Contains(message, "trying again") {
		t.Errorf("the log says %q", message)
	}
	select {
	case err := <-results:
		t.Fatalf("told of %v while another process held the lock", err)
	default:
	}
	f.exec(`COMMIT`)
	must(t, <-results)
	must(t, <-results)
	if n := f.number(`SELECT count(*) FROM messages`); n != 2 || s.Err() != nil {
		t.Errorf("%d messages are stored (%v), want 2", n, s.Err())
	}
}

func TestADaemonThatWasReplacedWritesNothingMore(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	c := d.claim("x")
	select {
	case <-d.Failed():
		t.Fatal("failed before")
	default:
	}
	d.exec(`UPDATE meta SET value = value + 1 WHERE name = 'epoch'`)

	if _, err := d.Accept(t.Context(), []outbox.Message{message("y")}); !errors.Is(err, store.ErrEpochLost) {
		t.Fatalf("accepting: %v, want ErrEpochLost", err)
	}
	<-d.Failed()
	if !errors.Is(d.Err(), store.ErrEpochLost) {
		t.Errorf("it failed with %v", d.Err())
	}
	d.exec(`UPDATE meta SET value = value - 1 WHERE name = 'epoch'`) // even so
	for name, err := range map[string]error{
		"recording": d.recorded(dispatcher.Record{Claim: c, Judgement: accepted}),
		"releasing": d.Release(t.Context(), []dispatcher.Claim{c}),
		"ping":      d.Ping(t.Context()),
		"start":     d.ShowRunning(t.Context()),
	} {
		if !errors.Is(err, store.ErrEpochLost) {
			t.Errorf("%s: %v, want ErrEpochLost", name, err)
		}
	}
	if n := d.number(`SELECT count(*) FROM messages WHERE state = 'sending' AND idempotency_key = 'x'`); n != 1 || d.number(`SELECT count(*) FROM messages`) != 1 {
		t.Error("something was written")
	}
}

func TestForeignWritesAreNoticed(t *testing.T) {
	dir := t.TempDir()
	noticed := make(chan struct{}, 100)
	s, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now, OnForeignWrite: func() { noticed <- struct{}{} }})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	command, err := store.Attach(t.Context(), store.Config{Dir: dir, Now: time.Now})
	must(t, err)
	t.Cleanup(func() { _ = command.Close() })
	for i := range 3 {
		if _, err := command.Accept(t.Context(), []outbox.Message{message(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-noticed:
		case <-time.After(patience):
			t.Fatal("a foreign write was not noticed")
		}
	}
}

func TestOwnWritesAreNotForeign(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var noticed atomic.Int64
		s, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Now: time.Now, OnForeignWrite: func() { noticed.Add(1) }})
		must(t, err)
		defer func() { must(t, s.Close()) }()
		for i := range 5 {
			if _, err := s.Accept(t.Context(), []outbox.Message{message(fmt.Sprint(i))}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := noticed.Load(); n != 0 {
			t.Errorf("%d of its own commits were taken for foreign ones", n)
		}
	})
}

func TestACommitIsOnTheDiskWhenItReturns(t *testing.T) {
	dir := t.TempDir()
	daemon, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now})
	must(t, err)
	defer func() { must(t, daemon.Close()) }()
	command, err := store.Attach(t.Context(), store.Config{Dir: dir, Now: time.Now})
	must(t, err)
	defer func() { must(t, command.Close()) }()
	for who, s := range map[string]*store.Store{"a daemon": daemon, "a command": command} {
		for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1", "secure_delete": "1"} {
			if got, err := s.Pragma(t.Context(), pragma); err != nil || got != want {
				t.Errorf("%s writes with %s = %s (%v), want %s", who, pragma, got, err, want)
			}
		}
	}
}
