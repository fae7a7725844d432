package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/cmd/weir/internal/sandbox"
)

// lockable is a file of which the kernel is asked for locks. It stays open for as
// long as the test: closing it would drop this process's locks.
type lockable struct {
	name string
	fd   int
}

func openLockable(t *testing.T, path string) lockable {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return lockable{filepath.Base(path), fd}
}

// locked tells whether this process has a lock on the file.
func (w lockable) locked() bool {
	// The locks of a process do stand against those of an open file description.
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	err := unix.FcntlFlock(uintptr(w.fd), unix.F_OFD_GETLK, &lock)
	return err == nil && lock.Type != unix.F_UNLCK && int(lock.Pid) == os.Getpid()
}

// Closing any other descriptor of a file drops all of a process's locks on it:
// another process would then take the database for one that nobody has open.
func TestTheDaemonOpensTheFilesOfTheDatabaseOnlyThroughSQLite(t *testing.T) {
	r := newRigAside(t, sandbox.Config{})
	path := filepath.Join(t.TempDir(), "probe")
	probe, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	if err := unix.FcntlFlock(probe.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		t.Skip("this file system has no locks: ", err)
	}
	if !openLockable(t, path).locked() {
		t.Skip("the kernel does not tell the locks of this file system")
	}
	r.env["WEIR_ADMIN_TOKEN"] = "admin_token"
	w := r.within(func(d *daemon) { d.sweepEvery = 50 * time.Millisecond })
	files := []lockable{openLockable(t, filepath.Join(r.dir, "weir.db")), openLockable(t, filepath.Join(r.dir, "weir.db-shm"))}
	keepsLocks := func(after string) {
		t.Helper()
		for _, file := range files {
			if !file.locked() {
				t.Fatalf("no lock on %s is left after %s", file.name, after)
			}
		}
	}
	keepsLocks("the start")
	later := time.Now().Add(3 * machineEvery)
	r.send(strings.Replace(envelope("k", rcsBody), `{"idem`, fmt.Sprintf(`{"send_at":%q,"idem`, later.Format(time.RFC3339Nano)), 1))
	r.do("gates", "pause", "default/rcs")
	r.do("gates", "resume", "default/rcs")
	await(t, "it is sent, and the machine has been looked at", func() bool { return r.ask(`SELECT count(*) FROM messages WHERE state = 'sent'`) == 1 })
	keepsLocks("a message and a pause")
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/api/v1/status", "/api/v1/messages", "/api/v1/messages/1"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.d.admin.Addr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer admin_token")
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s answers %d", path, resp.StatusCode)
		}
		keepsLocks(path)
	}
	if err := w.d.store.Moved(); err != nil {
		t.Error(err)
	}
	keepsLocks("a look at the files")
}
