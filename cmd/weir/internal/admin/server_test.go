package admin_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/cmd/weir/internal/admin"
	"weir/outbox"
	"weir/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "correct-horse-battery"

// desk is a server with a store behind it, and a caller.
type desk struct {
	t       *testing.T
	dir     string
	store   *store.Store
	url     string
	log     *logBuffer
	changed chan struct{} // gates were
	stop    func()        // and wait for its end
	client  *http.Client

	mu   sync.Mutex
	done []string // operations of the document that have succeeded
}

// serve starts a server as change has it.
func serve(t *testing.T, change func(*admin.Config)) *desk {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := admin.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{
		t: t, dir: dir, store: s, url: "http://" + listener.Addr().String(), log: new(logBuffer), changed: make(chan struct{}, 100),
		client: &http.Client{
			Transport:     &http.Transport{},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	cfg := admin.Config{
		Listener: listener, Store: s, Token: token, Channels: outbox.Channels{"default": {"rcs", "email", "default"}},
		Log: d.log.logger(), OnGates: func() { d.changed <- struct{}{} },
	}
	if change != nil {
		change(&cfg)
		d.url = fmt.Sprintf("http://127.0.0.1:%d", cfg.Listener.Addr().(*net.TCPAddr).Port)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- admin.New(cfg).Run(ctx) }()
	d.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ended <- nil
	}
	t.Cleanup(func() {
		d.stop()
		d.client.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// answer is what a call got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) into(t *testing.T, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), to); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
}

// call makes a request with the token and, unless body is empty, as JSON. Of
// headers, as "Name: value", those without a value take away what else is sent.
func (d *desk) call(method, path, body string, headers ...string) answer {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.url, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.URL.Opaque = path // as it is
	req.Header.Set("Authorization", "Bearer "+token)
	if method == "POST" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		switch {
		case name == "Host":
			req.Host = value
		case value == "":
			req.Header.Del(strings.TrimSuffix(name, ":"))
		default:
			req.Header.Set(name, value)
		}
	}
	res, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	got := answer{res.StatusCode, res.Header, string(text)}
	d.hold(method, path, got)
	return got
}

// hold fails the test if an answer is not as the document says.
func (d *desk) hold(method, path string, got answer) {
	d.t.Helper()
	c := theContract(d.t)
	if err := c.holdTo(method, path, got); err != nil {
		d.t.Errorf("%s %s is answered with %d %s: %v", method, path, got.status, got.body, err)
	}
	if names, found := c.operation(method, path); found && got.status < 300 {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.done = append(d.done, method+" "+names[1])
	}
}

// accept stores messages with these keys.
func (d *desk) accept(keys ...string) {
	d.t.Helper()
	messages := make([]outbox.Message, len(keys))
	for i, key := range keys {
		e := outbox.Envelope{Key: key, Body: fmt.Appendf(nil, `{"agent_id":"a", "to":"+4915%d"}`, i)}
		var err error
		if messages[i], err = e.Message(time.Now(), nil); err != nil {
			d.t.Fatal(err)
		}
	}
	if _, err := d.store.Accept(d.t.Context(), messages); err != nil {
		d.t.Fatal(err)
	}
}

// listenBeyond makes a server listen on every address of the machine.
func listenBeyond(t *testing.T, c *admin.Config) {
	t.Helper()
	if err := c.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.Listener, err = admin.Listen("0.0.0.0:0"); err != nil {
		t.Fatal(err)
	}
}

// textPage answers everything with one text.
type textPage string

func (p textPage) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, string(p))
}

// open opens the database beside the store, as another process does.
func (d *desk) open() *sql.DB {
	d.t.Helper()
	db, err := sql.Open("sqlite3", filepath.Join(d.dir, "weir.db")+"?_busy_timeout=5000")
	if err != nil {
		d.t.Fatal(err)
	}
	return db
}
