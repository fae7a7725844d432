package main

import (
	"database/sql"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

func TestALogThatAReaderLetsGrowMeetsTheLeastFreeSpaceAndShrinksOnceItEnds(t *testing.T) {
	const leastFree = 16 << 20
	r := newRig(t, sandbox.Config{})
	smallDisk(t, r.dir, 100) // of which a log keeps 64 in the end
	r.env["WEIR_MIN_FREE"] = "16MiB"
	r.serve()
	r.send(envelope("before", rcsBody))
	r.awaitState(outbox.Sent, 1)
	path := filepath.Join(r.dir, "weir.db")
	application(t, path, `CREATE TABLE other (x); INSERT INTO other VALUES (0)`)

	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	reader, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.QueryRow(`SELECT count(*) FROM other`).Scan(new(int)); err != nil {
		t.Fatal(err)
	}
	for written, free := 0, int64(leastFree); written < 100<<20 && free >= leastFree; written += 4 << 20 {
		// Of another size, since SQLite leaves pages alone that stay the same.
		application(t, path, `UPDATE other SET x = zeroblob((4 << 20) + random() % 1000)`)
		var disk syscall.Statfs_t
		if err := syscall.Statfs(r.dir, &disk); err != nil {
			t.Fatal(err)
		}
		free = int64(disk.Bavail) * disk.Bsize
	}
	r.awaitDaemon("held", "less than WEIR_MIN_FREE")
	if code, _, stderr := r.sendLines(envelope("refused", rcsBody)); code != exitFailed || !strings.Contains(stderr, "WEIR_MIN_FREE") {
		t.Errorf("weir send: exit %d and %q", code, stderr)
	}

	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	await(t, "the daemon runs again", func() bool {
		r.do("gates", "pause", "default/email") // a commit of the daemon's is followed by a look at the log
		r.do("gates", "resume", "default/email")
		s, _ := r.status()
		return s.State == "running"
	})
	r.send(envelope("after", rcsBody))
	r.awaitState(outbox.Sent, 2)
	r.wantSent("before", "after")
}
