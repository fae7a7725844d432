package outbox_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"weir/outbox"
)

// file is a publisher that stores payloads as lines and then says so.
type file struct {
	*os.File
	say io.Writer
}

func (f file) Publish(_ context.Context, payloads [][]byte) (int, error) {
	for _, p := range payloads {
		if _, err := f.Write(append(p, '\n')); err != nil {
			return 0, err
		}
	}
	fmt.Fprintln(f.say, "stored")
	return len(payloads), nil
}

func openLines(t *testing.T, dir string, say io.Writer) file {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "stored"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return file{f, say}
}

const childDir = "OUTBOX_TEST_CHILD_DIR"

// beKilled is the process that dies: an application that writes orders with
// their requests, and its relay. It is killed when it says that rows are
// stored, which is before they are marked.
func beKilled(t *testing.T, dir string) {
	db := openFile(t, filepath.Join(dir, "shop.db"))
	go newRelay(t, db, openLines(t, dir, os.Stdout), outbox.Config{Batch: 16}).Run(t.Context())
	for {
		tx := begin(t, db)
		result, err := tx.ExecContext(t.Context(), `INSERT INTO orders DEFAULT VALUES`)
		if err != nil {
			t.Fatal(err)
		}
		id, err := result.LastInsertId()
		if err != nil {
			t.Fatal(err)
		}
		e := outbox.Envelope{Key: outbox.Key("order", strconv.FormatInt(id, 10)), Body: []byte(`{}`)}
		if err := outbox.Enqueue(t.Context(), tx, e); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNothingIsLostWhenApplicationAndRelayAreKilled(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		beKilled(t, dir)
	}
	dir := t.TempDir()
	for batches := 1; batches <= 6; batches++ {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		child.Env = append(os.Environ(), childDir+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewScanner(out)
		for range batches {
			if !said.Scan() || said.Text() != "stored" {
				t.Fatalf("the child said %q", said.Text())
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		var died *exec.ExitError
		if err := child.Wait(); !errors.As(err, &died) {
			t.Fatalf("the child ended with %v", err)
		}
	}

	db := openFile(t, filepath.Join(dir, "shop.db"))
	if _, err := newRelay(t, db, openLines(t, dir, io.Discard), outbox.Config{}).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "stored"))
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]int64{} // key to its place in the order
	for line := range bytes.Lines(data) {
		e, err := outbox.ParseEnvelope(line)
		if err != nil {
			t.Fatal(err)
		}
		if _, again := stored[e.Key]; !again {
			stored[e.Key] = int64(len(stored) + 1)
		}
	}
	orders := number(t, db, `SELECT count(*) FROM orders`)
	if waiting := number(t, db, countWaiting); waiting != 0 || orders < 6 || int64(len(stored)) != orders {
		t.Errorf("%d orders, %d stored, %d waiting", orders, len(stored), waiting)
	}
	for id := range orders {
		if key := outbox.Key("order", strconv.FormatInt(id+1, 10)); stored[key] != id+1 {
			t.Errorf("order %d was stored as number %d", id+1, stored[key])
		}
	}
}
