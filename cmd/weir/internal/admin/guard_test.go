package admin_test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/admin"
)

func TestWrongCallsGetTheRightCodeAndOneClearLine(t *testing.T) {
	d := serve(t, nil)
	d.accept("a")
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code                     string
	}{
		{"no token", "GET", "/api/v1/status", "", []string{"Authorization:"}, 401, "unauthorized"},
		{"a wrong token", "GET", "/api/v1/status", "", []string{"Authorization: Bearer wrong"}, 401, "unauthorized"},
		{"the token as a password", "GET", "/api/v1/status", "", []string{"Authorization: Basic " + token}, 401, "unauthorized"},
		{"no token, and a path that does not exist", "GET", "/api/v1/secrets", "", []string{"Authorization:"}, 401, "unauthorized"},
		{"a path that does not exist", "GET", "/api/v1/secrets", "", nil, 404, "not_found"},
		{"a name that leads to loopback", "GET", "/api/v1/status", "", []string{"Host: evil.example"}, 421, "misdirected"},
		{"such a name, and health", "GET", "/healthz", "", []string{"Host: evil.example:7070"}, 421, "misdirected"},
		{"a way out of the path", "GET", "/api/v1/../../etc/passwd", "", nil, 404, "not_found"},
		{"an encoded way out of the path", "GET", "/api/v1/%2e%2e/status", "", nil, 404, "not_found"},
		{"an encoded slash", "GET", "/api/v1%2fstatus", "", nil, 404, "not_found"},
		{"a double slash", "GET", "/api//v1/status", "", nil, 404, "not_found"},
		{"a dot", "GET", "/./", "", nil, 404, "not_found"},
		{"a slash at the end", "GET", "/api/v1/status/", "", nil, 404, "not_found"},
		{"a backslash", "GET", `/api\v1\status`, "", nil, 404, "not_found"},
		{"a NUL", "GET", "/api/v1/messages/%00", "", nil, 404, "not_found"},
		{"a method that the path does not have", "DELETE", "/api/v1/status", "", nil, 405, "method_not_allowed"},
		{"OPTIONS", "OPTIONS", "/api/v1/status", "", nil, 405, "method_not_allowed"},
		{"TRACE", "TRACE", "/api/v1/status", "", nil, 405, "method_not_allowed"},
		{"a made-up method", "FROB", "/api/v1/status", "", nil, 405, "method_not_allowed"},
		{"an answer that cannot be read", "GET", "/api/v1/status", "", []string{"Accept: text/html"}, 406, "not_acceptable"},
		{"an answer that is not wanted", "GET", "/api/v1/status", "", []string{"Accept: */*, application/json;q=0"}, 406, "not_acceptable"},
		{"a stream that cannot be read", "GET", "/api/v1/status/stream", "", []string{"Accept: application/json"}, 406, "not_acceptable"},
		{"a page of a million rows", "GET", "/api/v1/messages?limit=1000000", "", nil, 422, "invalid"},
		{"a page of no rows", "GET", "/api/v1/messages?limit=0", "", nil, 422, "invalid"},
		{"a limit that is no number", "GET", "/api/v1/messages?limit=ten", "", nil, 422, "invalid"},
		{"a cursor of nobody", "GET", "/api/v1/messages?cursor=abc", "", nil, 422, "invalid"},
		{"a cursor that is nearly one", "GET", "/api/v1/messages?cursor=MTorMw", "", nil, 422, "invalid"},
		{"a huge body", "POST", "/api/v1/gates/pause", strings.Repeat(" ", 3<<20), nil, 413, "too_large"},
		{"a body that is no JSON", "POST", "/api/v1/gates/pause", "scope=all", nil, 400, "bad_json"},
		{"a filter that does not exist", "GET", "/api/v1/messages?stat=failed", "", nil, 422, "invalid"},
		{"a filter said twice", "GET", "/api/v1/messages?lane=high&lane=bulk", "", nil, 422, "invalid"},
		{"a query that is none", "GET", "/api/v1/messages?a=%zz", "", nil, 400, "bad_request"},
		{"a query with semicolons", "GET", "/api/v1/messages?state=sent;lane=high", "", nil, 400, "bad_request"},
		{"a message that is not there", "GET", "/api/v1/messages/99", "", nil, 404, "not_found"},
		{"a message by a number that is none", "GET", "/api/v1/messages/-1", "", nil, 404, "not_found"},
		{"a message by a number too large", "GET", "/api/v1/messages/99999999999999999999", "", nil, 404, "not_found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := d.call(c.method, c.path, c.body, c.headers...)
			wantRefusal(t, got, c.status, c.code)
			if allow := got.header.Get("Allow"); (c.status == 405) != (allow != "") {
				t.Errorf("Allow is %q", allow)
			}
		})
	}
}

// wantRefusal checks the error envelope.
func wantRefusal(t *testing.T, got answer, status int, code string) {
	t.Helper()
	var envelope struct{ Error, Message string }
	if err := json.Unmarshal([]byte(got.body), &envelope); err != nil {
		t.Fatalf("%d without an envelope: %q", got.status, got.body)
	}
	t.Logf("%d %s: %s", got.status, envelope.Error, envelope.Message)
	if got.status != status || envelope.Error != code {
		t.Errorf("not %d %s", status, code)
	}
	if envelope.Message == "" || strings.ContainsAny(envelope.Message, "\n\r") {
		t.Error("there is not one line for people")
	}
	if got.header.Get("Content-Type") != "application/json" || got.header.Get("X-Request-Id") == "" {
		t.Errorf("the header is %v", got.header)
	}
}

func TestARequestIDOfTheCallerComesBackUnlessItIsNone(t *testing.T) {
	d := serve(t, nil)
	if id := d.call("GET", "/healthz", "", "X-Request-Id: mine-1").header.Get("X-Request-Id"); id != "mine-1" {
		t.Errorf("it is %q", id)
	}
	if id := d.call("GET", "/healthz", "", "X-Request-Id: <b>").header.Get("X-Request-Id"); !strings.HasPrefix(id, "req_") {
		t.Errorf("it is %q", id)
	}
}

func TestEveryAnswerForbidsWhatABrowserCouldDoWithIt(t *testing.T) {
	d := serve(t, nil)
	for _, path := range []string{"/healthz", "/api/v1/status", "/nothing"} {
		header := d.call("GET", path, "").header
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff",
			"Cache-Control": "no-store", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		} {
			if !strings.HasPrefix(header.Get(name), want) {
				t.Errorf("%s of %s is %q", name, path, header.Get(name))
			}
		}
		if header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s lets others read it", path)
		}
	}
}

func TestMetricsAreOpenOnLoopbackOnly(t *testing.T) {
	metrics := func(c *admin.Config) { c.Metrics = textPage("weir_up 1\n") }
	if got := serve(t, metrics).call("GET", "/metrics", "", "Authorization:"); got.status != 200 || got.body != "weir_up 1\n" {
		t.Errorf("on loopback: %d %s", got.status, got.body)
	}
	beyond := serve(t, func(c *admin.Config) { metrics(c); listenBeyond(t, c) })
	wantRefusal(t, beyond.call("GET", "/metrics", "", "Authorization:"), 401, "unauthorized")
	if got := beyond.call("GET", "/metrics", ""); got.status != 200 {
		t.Errorf("beyond loopback with the token: %d", got.status)
	}
}

func TestBeyondLoopbackEveryNameNeedsTheToken(t *testing.T) {
	d := serve(t, func(c *admin.Config) { listenBeyond(t, c) })
	wantRefusal(t, d.call("GET", "/api/v1/status", "", "Host: weir.example", "Authorization:"), 401, "unauthorized")
	if got := d.call("GET", "/api/v1/status", "", "Host: weir.example"); got.status != 200 {
		t.Errorf("with the token: %d %s", got.status, got.body)
	}
}

func TestOnLoopbackOnlyTheNamesOfLoopbackAreAnswered(t *testing.T) {
	d := serve(t, func(c *admin.Config) { c.Host = "weir.internal" })
	for host, status := range map[string]int{
		"localhost": 200, "LOCALHOST:7070": 200, "127.0.0.1": 200, "127.8.9.10:80": 200, "[::1]:7070": 200, "weir.internal:7070": 200,
		"evil.example": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421, "192.0.2.1": 421, "0.0.0.0": 421, "[::]": 421, "localhost:x:y": 421,
	} {
		if got := d.call("GET", "/api/v1/status", "", "Host: "+host); got.status != status {
			t.Errorf("%s is answered with %d", host, got.status)
		}
	}
}

func TestAServerWithoutATokenLetsNobodyIn(t *testing.T) {
	d := serve(t, func(c *admin.Config) { c.Token = "" })
	wantRefusal(t, d.call("GET", "/api/v1/status", "", "Authorization: Bearer "), 401, "unauthorized")
	if got := d.logIn(""); got.status != 401 || got.header.Get("Set-Cookie") != "" {
		t.Errorf("a login without a token: %d", got.status)
	}
}

func TestNoMoreConnectionsAreOpenThanThereIsRoomFor(t *testing.T) {
	d := serve(t, nil)
	ask := func() net.Conn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, "GET /assets/none HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	hear := func(conn net.Conn, within time.Duration) error {
		if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		_, err := conn.Read(make([]byte, 1))
		return err
	}
	const room = 256 // as docs/design.md says
	conns := make([]net.Conn, room)
	for i := range conns {
		conns[i] = ask()
		if err := hear(conns[i], patience); err != nil {
			t.Fatalf("connection %d is not answered: %v", i, err)
		}
	}
	late := ask()
	if err := hear(late, 20*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("connection %d is answered at once (%v)", room, err)
	}
	conns[0].Close()
	if err := hear(late, patience); err != nil {
		t.Errorf("it is not answered when there is room: %v", err)
	}
}
