package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/bubble"
	"weir/outbox"
	"weir/store"
)

func TestADatabaseThatIsReplacedOrRemovedIsNoticedWithinTenSecondsAndLeftAlone(t *testing.T) {
	const theirs = "this belongs to another database"
	for _, name := range []string{"weir.db", "weir.db-wal", "weir.db-shm"} {
		for _, replaced := range []bool{true, false} {
			bubble.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				s, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now})
				must(t, err)
				ended := make(chan error, 1)
				go func() { ended <- s.WatchFiles(t.Context()) }()
				time.Sleep(time.Minute)
				synctest.Wait()
				select {
				case err := <-ended:
					t.Fatalf("before: %v", err)
				default:
				}
				path := filepath.Join(dir, name)
				must(t, os.Rename(path, path+".away"))
				if replaced {
					must(t, os.WriteFile(path, []byte(theirs), 0o600))
				}
				begun := time.Now()
				select {
				case err = <-ended:
				case <-time.After(time.Minute):
					t.Fatalf("%s: nobody has noticed within a minute", name)
				}
				if took := time.Since(begun); took > watchLimit || !errors.Is(err, store.ErrMoved) || !strings.Contains(err.Error(), path) {
					t.Errorf("%s: after %v: %v, want ErrMoved that names it", name, took, err)
				}
				if _, err := s.Accept(t.Context(), []outbox.Message{message("x")}); !errors.Is(err, store.ErrMoved) {
					t.Errorf("%s: it still writes: %v", name, err)
				}
				must(t, s.Close())
				data, err := os.ReadFile(path)
				if replaced && string(data) != theirs || !replaced && !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s was touched: %q, %v", name, data, err)
				}
				must(t, s.CloseAnyway())
			})
		}
	}
}

// watchLimit is what the specification gives the watch.
const watchLimit = 10 * time.Second
