package main

import (
	"context"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

// contents gives every file below a directory, also the directories' names.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			files[path] = ""
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return files
}

// wantRefused starts a daemon that must end with exit 1 and one line that
// contains each of the texts.
func (r *rig) wantRefused(names ...string) {
	r.t.Helper()
	p := r.start("serve")
	code := p.exit()
	if code != exitFailed || len(p.stderr) != 1 || !strings.HasPrefix(p.stderr[0], "weir: ") {
		r.t.Errorf("exit %d, want 1 and one line; it says:\n%s", code, strings.Join(p.stderr, "\n"))
	}
	for _, name := range names {
		if !strings.Contains(strings.Join(p.stderr, "\n"), name) {
			r.t.Errorf("%q does not name %s", p.stderr, name)
		}
	}
}

// taken is an address at which somebody listens already.
func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// helpers are what looking at a database in a data directory leaves beside it.
var helpers = []string{"weir.lock", "weir.db-wal", "weir.db-shm"}

func TestAStartThatMustFailNamesTheCauseInOneLineAndWritesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		settings map[string]string
		prepare  func(r *rig)
		names    []string
		late     bool // seen only once the database is open: the epoch is another, the messages are the same
	}{
		"without an API key":              {settings: map[string]string{"WEIR_API_KEY": ""}, names: []string{"WEIR_API_KEY"}},
		"without an API":                  {settings: map[string]string{"WEIR_API_URL": ""}, names: []string{"WEIR_API_URL"}},
		"http beyond loopback":            {settings: map[string]string{"WEIR_API_URL": "http://api.example.com"}, names: []string{"WEIR_API_URL", "https"}},
		"a key file that is not there":    {settings: map[string]string{"WEIR_API_KEY": "", "WEIR_API_KEY_FILE": "none.key"}, names: []string{"WEIR_API_KEY_FILE", "none.key"}},
		"NATS open to all":                {settings: map[string]string{"WEIR_NATS_LISTEN": "0.0.0.0:0"}, names: []string{"WEIR_NATS_LISTEN", "WEIR_NATS_TOKEN"}},
		"HTTP open to all":                {settings: map[string]string{"WEIR_LISTEN": "0.0.0.0:0"}, names: []string{"WEIR_LISTEN", "WEIR_ADMIN_TOKEN"}},
		"a setting that is no duration":   {settings: map[string]string{"WEIR_RETRY_FOR": "soon"}, names: []string{"WEIR_RETRY_FOR", "soon"}},
		"NATS port in use":                {settings: map[string]string{"WEIR_NATS_LISTEN": taken(t)}, names: []string{"WEIR_NATS_LISTEN", "in use"}, late: true},
		"HTTP port in use":                {settings: map[string]string{"WEIR_LISTEN": taken(t)}, names: []string{"WEIR_LISTEN", "in use"}, late: true},
		"NATS that is not there":          {settings: map[string]string{"WEIR_NATS_URL": "nats://127.0.0.1:1"}, names: []string{"127.0.0.1:1"}, late: true},
		"a config that is not there":      {settings: map[string]string{"WEIR_CONFIG": "none.yaml"}, names: []string{"none.yaml"}},
		"a config that cannot be read":    {prepare: func(r *rig) { write(r.t, "weir.yaml", "accounts: [") }, names: []string{"weir.yaml"}},
		"a config with an unknown name":   {prepare: func(r *rig) { write(r.t, "weir.yaml", "data_dri: x\n") }, names: []string{"weir.yaml", "data_dri"}},
		"a data directory that is a file": {settings: map[string]string{"WEIR_DATA_DIR": "weir.txt"}, prepare: func(r *rig) { write(r.t, "weir.txt", "") }, names: []string{"weir.txt"}},
		"a database of a newer weir": {
			prepare: func(r *rig) { application(r.t, "data/weir.db", `PRAGMA user_version = 99`) }, names: []string{"data", "newer"},
		},
		"a database that is none": {
			prepare: func(r *rig) { write(r.t, "data/weir.db", strings.Repeat("no database\n", 1000)) }, names: []string{"weir.db"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, sandbox.Config{})
			r.send(envelope("k", rcsBody))
			for name, value := range c.settings {
				r.env[name] = value
			}
			if c.prepare != nil {
				c.prepare(r)
			}
			before := contents(t, ".")
			r.wantRefused(c.names...)
			if c.late {
				if n := r.ask(`SELECT count(*) FROM messages WHERE state = 'pending' AND generation = 1`); n != 1 {
					t.Errorf("%d messages are as they were; want 1", n)
				}
				return
			}
			for path, is := range contents(t, ".") {
				was, there := before[path]
				if there && was != is || !there && !slices.Contains(helpers, filepath.Base(path)) {
					t.Errorf("%s was written", path)
				}
			}
			if n := r.api.Stats().Requests; n > 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestASecondDaemonIsRefusedAndTheFirstWorksOn(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	r.serve()
	r.wantRefused("data", "in use")
	r.send(envelope("k", rcsBody))
	r.awaitState(outbox.Sent, 1)
	r.wantSent("k")
	if n := r.ask(`SELECT value FROM meta WHERE name = 'epoch'`); n != 1 {
		t.Errorf("the epoch is %d", n)
	}
}

func TestASignalDuringTheStartIsNoFailure(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	var stderr strings.Builder
	a := &app{getenv: func(name string) string { return r.env[name] }, stdin: strings.NewReader(""), stdout: io.Discard, stderr: &stderr, now: time.Now}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if code := a.run(ctx, []string{"serve"}); code != exitDone || strings.Contains(stderr.String(), "canceled") {
		t.Errorf("exit %d; it says:\n%s", code, stderr.String())
	}
}

func TestWhatMayHaveBeenSentToOneAPIIsNotSentToAnother(t *testing.T) {
	r := newRig(t, sandbox.Config{Faults: []sandbox.Fault{{Kind: sandbox.CutAfter}}})
	daemon := r.serve()
	r.send(envelope("maybe", rcsBody))
	await(t, "an attempt may have been sent", func() bool {
		return r.ask(`SELECT count(*) FROM messages WHERE ambiguous_at IS NOT NULL`) == 1
	})
	daemon.stop()
	other := r.desk.rig(sandbox.Config{}) // the base URL is another from now on
	other.send(envelope("fresh", rcsBody))
	other.serve()
	other.awaitState(outbox.Sent, 1)
	other.awaitState(outbox.Unknown, 1)
	other.wantSent("fresh")
	if m := other.messages()["maybe"]; !strings.Contains(shown(m.ErrorMessage), "the API that this account had before") {
		t.Errorf("maybe is %s: %s", m.State, shown(m.ErrorMessage))
	}
}
