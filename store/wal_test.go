package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/outbox"
	"weir/store"
)

func TestAReaderThatNeverEndsIsSaidAndTheLogShrinksOnceItDoes(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100 MiB")
	}
	d := newDesk(t)
	d.HastenWAL()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.RunCheckpoints(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
	})
	d.put(message("first"))
	reader := connect(t, d.dir)
	reader.exec(`BEGIN`)
	reader.number(`SELECT count(*) FROM messages`)
	write := func(round string) {
		batch := make([]outbox.Message, 50)
		for i := range batch {
			batch[i] = large(fmt.Sprint(round, "-", i))
		}
		d.put(batch...)
	}
	size := func() int64 {
		info, err := os.Stat(filepath.Join(d.dir, "weir.db-wal"))
		must(t, err)
		return info.Size()
	}
	for i := range 8 { // 80 MiB
		write(fmt.Sprint(i))
	}
	n := 0
	within(t, "the reader is said", func() bool {
		n++
		d.put(message(fmt.Sprint("small-", n))) // only writes are followed by a checkpoint
		return strings.Contains(d.Pinned(), "fuser -v "+d.dir)
	})
	pinned := size()
	reader.exec(`COMMIT`)
	within(t, "it is no longer said", func() bool {
		n++
		d.put(message(fmt.Sprint("small-", n)))
		return d.Pinned() == "" && size() <= store.WALPinned
	})
	t.Logf("weir.db-wal grew to %d MiB and shrank to %d MiB", pinned>>20, size()>>20)
}
