package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"weir/outbox"
	"weir/store"
)

// fill stores some megabytes, of which the write-ahead log keeps nothing.
func (d *desk) fill() {
	d.t.Helper()
	batch := make([]outbox.Message, 40)
	for i := range batch {
		batch[i] = large(fmt.Sprint("large-", i))
	}
	d.put(batch...)
	d.exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
}

func TestTheDatabaseIsWrittenAnewBesideADaemonThatCopiesTheLogItself(t *testing.T) {
	d := newDesk(t)
	d.fill()
	ctx, stop := context.WithCancel(t.Context())
	var daemon sync.WaitGroup
	defer daemon.Wait()
	defer stop()
	daemon.Go(func() { _ = d.RunCheckpoints(ctx) })
	daemon.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			_, _ = d.Accept(ctx, []outbox.Message{message(fmt.Sprint("small-", n))})
		}
	})
	for range 5 {
		must(t, d.Rewrite(t.Context()))
	}
}

func TestWhileALogIsEmptiedAReaderThatDoesNotEndKeepsNobodyFromWriting(t *testing.T) {
	d := newDesk(t)
	d.fill()
	reader := connect(t, d.dir)
	reader.exec(`BEGIN`)
	reader.number(`SELECT count(*) FROM messages`)
	rewritten := make(chan error, 1)
	go func() { rewritten <- d.Rewrite(t.Context()) }()
	within(t, "all is in the log", func() bool {
		info, err := os.Stat(filepath.Join(d.dir, "weir.db-wal"))
		must(t, err)
		return info.Size() > 40*200<<10
	})
	for n := range 20 {
		d.put(message(fmt.Sprint("small-", n)))
	}
	select {
	case err := <-rewritten:
		t.Fatalf("it did not wait for the reader: %v", err)
	default:
	}
	reader.exec(`COMMIT`)
	must(t, <-rewritten)
}

func TestADatabaseIsNotWrittenAnewIntoTheSpaceThatMustStayFree(t *testing.T) {
	d := newDesk(t)
	d.fill()
	tight, err := store.Attach(t.Context(), store.Config{Dir: d.dir, Now: time.Now, MinFree: 1 << 60})
	must(t, err)
	defer tight.Close()
	if err := tight.Rewrite(t.Context()); !errors.Is(err, store.ErrFull) {
		t.Errorf("rewriting: %v", err)
	}
}
