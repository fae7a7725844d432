package main

import (
	"database/sql"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"weir/cmd/weir/internal/sandbox"
)

func TestADaemonThatFailsEndsAlthoughItsDatabaseIsLocked(t *testing.T) {
	t.Parallel()
	r := newRigAside(t, sandbox.Config{})
	r.env["WEIR_DRAIN_TIMEOUT"] = "1ms"
	a := &app{getenv: func(name string) string { return r.env[name] }, stderr: io.Discard, now: time.Now}
	cfg, err := a.serveConfig(pflag.NewFlagSet("serve", pflag.ContinueOnError))
	if err != nil {
		t.Fatal(err)
	}
	d, err := a.openDaemon(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.run(t.Context()) }()
	await(t, "it runs", func() bool { s, _ := r.status(); return s.State == "running" })

	db, err := sql.Open("sqlite3", r.dir+"/weir.db?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	lock, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback() }()
	if err := d.admin.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "use of closed network connection") {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Errorf("it has not ended after %v", patience)
		_ = lock.Rollback()
		<-ended
	}
}
