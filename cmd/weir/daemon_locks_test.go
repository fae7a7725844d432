package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/cmd/weir/internal/sandbox"
)

// locked tells whether this process has a lock on the file, by the kernel's list.
func locked(t *testing.T, path string) bool {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		t.Skip("no list of locks here: ", err)
	}
	pid, inode := fmt.Sprint(os.Getpid()), fmt.Sprintf(":%d", info.Sys().(*syscall.Stat_t).Ino)
	for line := range strings.Lines(string(locks)) {
		// 1: POSIX  ADVISORY  READ 18261 fe:00:12476952 128 128
		if f := strings.Fields(line); len(f) > 5 && f[1] == "POSIX" && f[4] == pid && strings.HasSuffix(f[5], inode) {
			return true
		}
	}
	return false
}

// Closing any other descriptor of a file drops all of a process's locks on it:
// another process would then take the database for one that nobody has open.
func TestTheDaemonOpensTheFilesOfTheDatabaseOnlyThroughSQLite(t *testing.T) {
	r := newRigAside(t, sandbox.Config{})
	probe, err := os.Create(filepath.Join(t.TempDir(), "probe"))
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	if err := unix.FcntlFlock(probe.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil || !locked(t, probe.Name()) {
		t.Skip("the kernel does not list locks of this file system: ", err)
	}
	r.env["WEIR_ADMIN_TOKEN"] = "admin_token"
	w := r.within(func(d *daemon) { d.sweepEvery = 50 * time.Millisecond })
	keepsLocks := func(after string) {
		t.Helper()
		for _, name := range []string{"weir.db", "weir.db-shm"} {
			if !locked(t, filepath.Join(r.dir, name)) {
				t.Fatalf("no lock on %s is left after %s", name, after)
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
