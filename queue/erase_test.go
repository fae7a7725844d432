package queue_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weir/outbox"
	"weir/queue"
)

// stands tells which of the texts stand in a file of the directory.
func stands(t *testing.T, dir string, texts ...string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return ignoreGone(err)
		}
		data, err := os.ReadFile(path)
		for _, text := range texts {
			if bytes.Contains(data, []byte(text)) {
				found = append(found, text)
			}
		}
		return ignoreGone(err)
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// ignoreGone is nil for a file that the server has removed meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func TestWhatIsErasedOrAckedStandsInNoFileAndTheRestIsKept(t *testing.T) {
	dir := t.TempDir()
	q := open(t, embedded(dir))
	l := newLedger()
	stop := run(t, q, l)
	p := connect(t, q)
	for _, key := range []string{"acked-1", "acked-2"} {
		if _, err := p.Publish(deadline(t), [][]byte{envelope(key)}); err != nil {
			t.Fatal(err)
		}
	}
	l.keys(t, 2)
	stop()
	// Acks take effect on their own, and a file goes only while nothing else waits in it.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx := deadline(t); len(stands(t, dir, "acked-1", "acked-2")) > 0; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("what was acked still stands in a file")
		}
	}
	if _, err := p.Publish(deadline(t), [][]byte{envelope("erased-3"), envelope("kept-4"), envelope("erased-5")}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"erased-6", "kept-7"} {
		q.PublishOutcome(outbox.Outcome{Key: &key, State: "sent", At: time.Now()})
	}
	erased := func(key string) bool { return len(key) > 6 && key[:6] == "erased" }
	n, err := q.Erase(deadline(t), queue.Erased{Envelopes: erased, Events: erased})
	if err != nil || n != 3 {
		t.Errorf("%d erased, %v; want 3", n, err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if found := stands(t, dir, "acked-1", "acked-2", "erased-3", "erased-5", "erased-6"); len(found) > 0 {
		t.Errorf("there are still %q", found)
	}
	if found := stands(t, dir, "kept-4", "kept-7"); len(found) != 2 {
		t.Errorf("of what is to be kept there is only %q", found)
	}
	// And while no daemon runs.
	n, err = queue.EraseBeside(deadline(t), embedded(dir), queue.Erased{
		Envelopes: func(key string) bool { return key == "kept-4" }, Events: func(string) bool { return false },
	})
	if err != nil || n != 1 || len(stands(t, dir, "kept-4")) > 0 {
		t.Errorf("%d erased, %v", n, err)
	}
	q = open(t, embedded(dir))
	run(t, q, l)
	if _, err := connect(t, q).Publish(deadline(t), [][]byte{envelope("later-8")}); err != nil {
		t.Fatal(err)
	}
	if keys := l.keys(t, 1); keys[0] != "later-8" {
		t.Errorf("taken in: %q", keys)
	}
}

func TestWithoutStreamsThereIsNothingToErase(t *testing.T) {
	cfg := embedded(filepath.Join(t.TempDir(), "none"))
	every := func(string) bool { return true }
	all := queue.Erased{Envelopes: every, Events: every}
	if n, err := queue.EraseBeside(deadline(t), cfg, all); n != 0 || err != nil {
		t.Errorf("%d erased, %v", n, err)
	}
	if _, err := os.Stat(cfg.StoreDir); !os.IsNotExist(err) {
		t.Errorf("a directory was made: %v", err)
	}
	cfg = queue.Config{URL: external(t), Now: time.Now}
	if n, err := queue.EraseBeside(deadline(t), cfg, all); n != 0 || err != nil {
		t.Errorf("an external server without streams: %d erased, %v", n, err)
	}
}
