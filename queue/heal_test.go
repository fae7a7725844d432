package queue_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// smallDisk mounts a disk of that many MiB, or skips the test where it may not.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("mode=700,size=%dm", mib)); err != nil {
		t.Skipf("no disk of its own: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fillUp takes all that is free on the disk of dir.
func fillUp(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	file, err := os.Create(path)
	for block := make([]byte, 4096); err == nil; {
		_, err = file.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	file.Close()
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

func TestAnEmbeddedServerThatCannotStoreSaysSoIsRestartedAndTheIntakeGoesOn(t *testing.T) {
	for name, store := range map[string]func(dir string) error{
		"with its store":             func(string) error { return nil },
		"although its store is gone": os.RemoveAll,
	} {
		t.Run(name, func(t *testing.T) { testHealing(t, store) })
	}
}

// testHealing fills the disk of an embedded server, does something to its store
// then, and makes space.
func testHealing(t *testing.T, meanwhile func(dir string) error) {
	dir := smallDisk(t, 24)
	troubles := make(chan string, 10)
	cfg := embedded(filepath.Join(dir, "nats"))
	cfg.OnTrouble = func(reason string) { troubles <- reason }
	q := open(t, cfg)
	l := newLedger()
	run(t, q, l)
	p := connect(t, q)
	address := q.Addr()
	publish := func(key string) error {
		short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := p.Publish(short, [][]byte{[]byte(`{"idempotency_key":"` + key + `","body":{"text":"` + strings.Repeat("x", 20<<10) + `"}}`)})
		return err
	}
	if err := publish("before"); err != nil {
		t.Fatal(err)
	}
	awaitKey(t, l, "before")
	free := fillUp(t, dir)
	began := time.Now()
	var err error
	for i := 0; err == nil; i++ { // what a block has preallocated may still take some
		err = publish(fmt.Sprint("full-", i))
	}
	select {
	case reason := <-troubles:
		if !strings.Contains(reason, "cannot store") || !strings.Contains(reason, dir) {
			t.Errorf("it says %q", reason)
		}
		t.Logf("said after %v, the publisher heard %v", time.Since(began).Round(time.Millisecond), err)
	case <-time.After(patience):
		t.Fatal("nobody was told")
	}
	if err := meanwhile(cfg.StoreDir); err != nil {
		t.Fatal(err)
	}
	free()
	select {
	case reason := <-troubles:
		if reason != "" {
			t.Errorf("it says %q", reason)
		}
	case <-time.After(patience):
		t.Fatal("it did not heal")
	}
	if q.Addr() != address {
		t.Errorf("it listens on %s, before on %s", q.Addr(), address)
	}
	for end := time.Now().Add(patience); ; {
		if err = publish("after"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	awaitKey(t, l, "after")
}

// awaitKey returns once the ledger has the key.
func awaitKey(t *testing.T, l *ledger, key string) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case messages := <-l.accept:
			for _, m := range messages {
				if m.Key == key {
					return
				}
			}
		case <-timeout:
			t.Fatalf("%s was not taken in", key)
		}
	}
}

func TestAServerThatRefusesTellsThePublisherAtOnceAndKeepsWhatItHas(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	p := connect(t, q)
	publish := func(key string) error {
		_, err := p.Publish(deadline(t), [][]byte{[]byte(`{"idempotency_key":"` + key + `","body":{}}`)})
		return err
	}
	if err := publish("before"); err != nil {
		t.Fatal(err)
	}
	if err := q.Refuse(deadline(t), true); err != nil {
		t.Fatal(err)
	}
	var refused *jetstream.APIError
	if err := publish("meanwhile"); !errors.As(err, &refused) {
		t.Errorf("%v, want a refusal", err)
	}
	if err := q.Refuse(deadline(t), false); err != nil {
		t.Fatal(err)
	}
	if err := publish("after"); err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	run(t, q, l)
	awaitKey(t, l, "after") // the work queue gives them in order
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, kept := l.stored["before"]; !kept || len(l.stored) != 2 {
		t.Errorf("%d are stored, want before and after", len(l.stored))
	}
}
