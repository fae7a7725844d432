package admin_test

import (
	"encoding/json"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/admin"
	"weir/outbox"
	"weir/store"
)

// FuzzAPI makes sure that no request whatever makes the server panic or answer
// with 5xx, that a refusal is the error envelope of the document, and that
// nothing but what is open is told, and nothing changed, without the token.
func FuzzAPI(f *testing.F) {
	for _, seed := range []struct{ method, target, header, body string }{
		{"GET", "/api/v1/status", "", ""}, {"GET", "/healthz", "Accept: */*;q=0", ""}, {"HEAD", "/api/v1/messages?state=sent&limit=200", "", ""},
		{"GET", "/api/v1/messages?since=2026-03-28T14:30:00Z&cursor=MToz", "Accept: application/json;q=0.5, text/*", ""},
		{"POST", "/api/v1/messages", "Content-Type: application/json\nIdempotency-Key: k", `{"body":{"to":"a"},"ttl":"2h"}`},
		{"POST", "/api/v1/messages/1/retry", "Content-Type: application/json; charset=utf-8", `{"expires_at":"2126-03-28T14:30:00Z"}`},
		{"POST", "/api/v1/messages/1/resolve", "Content-Type: application/json", `{"outcome":"sent","message_id":"\ud800"}`},
		{"POST", "/api/v1/messages/cancel", "Content-Type: application/json", `{"filter":{"state":["pending",null]},"dry_run":true}`},
		{"POST", "/api/v1/messages/retry", "Content-Type: application/json", `{"filter":{"state":"failed","error_code":"dns"},"ttl":"2h"}`},
		{"POST", "/api/v1/gates/pause", "Content-Type: application/json\nOrigin: http://a", `{"scope":"all","until":"1e9h"}`},
		{"GET", "/api/v1/rejected/1/payload", "Host: evil.example", ""}, {"POST", "/api/v1/rejected/1/requeue", "Content-Type: application/json", ""},
		{"POST", "/api/v1/login-links", "Content-Type: application/json", `{}`}, {"GET", "/login?once=x", "", ""},
		{"POST", "/login", "Content-Type: application/x-www-form-urlencoded", "token=x"}, {"OPTIONS", "/", "", ""},
		{"GET", "/../%2e%2e//a\\b?a=%zz;b", "Cookie: weir_session=AAAAAAAAAAA\nAuthorization: Bearer", ""},
	} {
		f.Add(seed.method, seed.target, seed.header, seed.body, true)
		f.Add(seed.method, seed.target, seed.header, seed.body, false)
	}
	s, err := store.Open(f.Context(), store.Config{Dir: f.TempDir(), Now: time.Now})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	listener, err := admin.Listen("127.0.0.1:0") // for its address
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { listener.Close() })
	server := admin.New(admin.Config{
		Listener: listener, Store: s, Token: token, MaxPending: 1000, Channels: outbox.Channels{"default": {"rcs", "email", "default"}},
	})
	c, err := readContract()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, target, header, body string, withToken bool) {
		req := request(method, target, header, body)
		if req == nil || strings.HasSuffix(req.URL.Path, "/stream") {
			t.Skip() // net/http refuses it by itself; or it has no end
		}
		if withToken {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		before := rows(t, s)
		out := endless{httptest.NewRecorder()}
		server.ServeHTTP(out, req)
		got := answer{out.Code, out.Header(), out.Body.String()}
		if got.status >= 500 && req.URL.Path != "/healthz" && req.URL.Path != "/readyz" {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if got.status >= 400 && !strings.HasPrefix(req.URL.Path, "/login") && method != "HEAD" {
			if err := c.check(got.body, "components", "schemas", "Error"); err != nil && got.status != 503 {
				t.Fatalf("%d without an envelope: %s: %v", got.status, got.body, err)
			}
			var refusal struct{ Message string }
			if json.Unmarshal([]byte(got.body), &refusal) == nil && strings.ContainsAny(refusal.Message, "\n\r\x1b\x00") {
				t.Fatalf("more than a line: %q", refusal.Message)
			}
		}
		if withToken || req.Header.Get("Authorization") == "Bearer "+token {
			return
		}
		if got.status < 300 && strings.HasPrefix(req.URL.Path, "/api") {
			t.Fatalf("told without the token: %d %s", got.status, got.body)
		}
		if out.Header().Get("Set-Cookie") != "" && req.URL.Path != "/logout" {
			t.Fatalf("let in without the token: %v", out.Header())
		}
		if after := rows(t, s); after != before {
			t.Fatalf("changed without the token: %s after %s", after, before)
		}
	})
}

// endless is an answer that may take as long as it takes.
type endless struct{ *httptest.ResponseRecorder }

func (endless) SetReadDeadline(time.Time) error  { return nil }
func (endless) SetWriteDeadline(time.Time) error { return nil }

// request is what net/http would hand over, or nil where it would refuse.
func request(method, target, header, body string) *http.Request {
	u, err := url.ParseRequestURI(target)
	if err != nil || !strings.HasPrefix(target, "/") {
		return nil
	}
	req, err := http.NewRequest(method, "http://127.0.0.1", strings.NewReader(body))
	if err != nil {
		return nil
	}
	// Guesses from one address would soon have to wait.
	from := fnv.New32a()
	_, _ = io.WriteString(from, header+target)
	req.URL, req.RequestURI, req.RemoteAddr = u, target, net.IP(from.Sum(nil)).String()+":1"
	for line := range strings.SplitSeq(header, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			req.Host = value
		} else if name != "" {
			req.Header.Add(name, value)
		}
	}
	return req
}

// rows tells whether anything was changed.
func rows(t *testing.T, s *store.Store) string {
	t.Helper()
	daemon, buckets, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gates, err := s.GateViews(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal([]any{daemon, buckets, gates})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
