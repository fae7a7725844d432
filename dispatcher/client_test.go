package dispatcher

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/bubble"
)

const accepted = `{"message_id":"msg_1"}`

func TestPostSendsOneExactRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, accepted)
	}))
	defer srv.Close()
	c := newTestClient(t, ClientConfig{BaseURL: srv.URL + "/eu/"})

	a := c.Post(t.Context(), "secret", "order-1", []byte(`{ "to" : "x" }`), "00-4bf9-00f0-01")

	if judge(a) != Sent || !a.Left || a.Fault != "" {
		t.Fatalf("answer %+v, want sent", a)
	}
	if got.Method != "POST" || got.URL.Path != "/eu/v1/messages" || got.Proto != "HTTP/1.1" || got.ContentLength != 14 {
		t.Errorf("request %s %s %s, %d bytes", got.Method, got.URL, got.Proto, got.ContentLength)
	}
	if string(body) != `{ "to" : "x" }` {
		t.Errorf("body %q, want the bytes as given", body)
	}
	want := http.Header{
		"Accept":          {"application/json"},
		"Accept-Encoding": {"identity"},
		"Authorization":   {"Bearer secret"},
		"Content-Length":  {"14"},
		"Content-Type":    {"application/json"},
		"Idempotency-Key": {"order-1"},
		"Traceparent":     {"00-4bf9-00f0-01"},
		"User-Agent":      {"weir/test"},
	}
	if fmt.Sprint(got.Header) != fmt.Sprint(want) {
		t.Errorf("header\n%v, want\n%v", got.Header, want)
	}
}

// A proxy of the environment would be asked for every host but loopback, which
// is all that a test can reach.
func TestTheClientKnowsNoProxy(t *testing.T) {
	if c := newTestClient(t, ClientConfig{BaseURL: "https://api.invalid"}); c.transport.Proxy != nil {
		t.Error("the transport asks for a proxy")
	}
}

func TestPostReportsTheWholeAnswer(t *testing.T) {
	c := newTestClient(t, ClientConfig{BaseURL: serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-Id", "req_1")
		w.Header().Set("X-Ratelimit-Remaining", "7")
		w.Header().Set("Idempotent-Replayed", "TRUE")
		w.WriteHeader(402)
		_, _ = io.WriteString(w, `{"error":"insufficient_balance","message":"top up","retry_after":30,
			"required_amount":0.12,"topup_url":"https://pay","details":[]}`)
	})})

	a := c.Post(t.Context(), "k", "1", []byte(`{}`), "")

	if a.Header.Get("X-RateLimit-Remaining") != "7" || a.StartedAt.IsZero() || a.EndedAt.Before(a.StartedAt) {
		t.Errorf("header %v, times %v to %v", a.Header, a.StartedAt, a.EndedAt)
	}
	a.Header, a.StartedAt, a.EndedAt = nil, time.Time{}, time.Time{}
	want := Answer{
		Left: true, Status: 402, RequestID: "req_1", Replayed: true, IsJSON: true,
		ErrorCode: "insufficient_balance", ErrorMessage: "top up", RetryAfter: "30",
		RequiredAmount: "0.12", TopupURL: "https://pay",
	}
	if fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", want) {
		t.Errorf("answer\n%+v, want\n%+v", a, want)
	}
}

func TestOnePostIsOneRequestWhereKeptAliveConnectionsDropOnReuse(t *testing.T) {
	wire := newWire(t, func(conn net.Conn, nth int) bool {
		if nth == 1 {
			answer(conn, accepted)
		}
		return nth == 1
	})
	c := newTestClient(t, ClientConfig{BaseURL: wire.url})

	first := c.Post(t.Context(), "k", "a", []byte(`{}`), "")
	second := c.Post(t.Context(), "k", "b", []byte(`{}`), "")

	if judge(first) != Sent {
		t.Errorf("first answer %+v, want sent", first)
	}
	if judge(second) != Ambiguous || second.Fault != faultCut {
		t.Errorf("second answer %+v, want an ambiguous cut", second)
	}
	if seen := wire.requests(); len(seen) != 2 {
		t.Errorf("requests on the wire %q, want a and b once each", seen)
	}
}

// The server closes each connection as it answers, without saying so. Whether
// net/http notices before it uses the connection again is a race; whichever way
// it ends, the answer has to be true.
func TestWhatNeverLeftIsNeverSeenWhereIdleConnectionsClose(t *testing.T) {
	wire := newWire(t, func(conn net.Conn, _ int) bool {
		answer(conn, accepted)
		return false
	})
	c := newTestClient(t, ClientConfig{BaseURL: wire.url})

	const posts = 300
	verdicts := make(map[string]Verdict)
	for i := range posts {
		key := fmt.Sprint(i)
		verdicts[key] = judge(c.Post(t.Context(), "k", key, []byte(`{}`), ""))
	}

	seen := make(map[string]int)
	for _, key := range wire.requests() {
		seen[key]++
	}
	for key, v := range verdicts {
		switch {
		case seen[key] > 1:
			t.Errorf("key %s was %d times on the wire", key, seen[key])
		case v == Sent && seen[key] != 1, v == NeverLeft && seen[key] != 0:
			t.Errorf("key %s is %s and was %d times on the wire", key, v, seen[key])
		}
	}
}

// net/http gives a connection up whose writer has not reported within 50 ms of
// the answer. In virtual time, which stands still while a connection is read,
// these do not pass on a busy machine.
func TestConnectionsAreUsedAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		connections := 0
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := accepted
			if r.Header.Get("Idempotency-Key") == "long" {
				body += strings.Repeat(" ", maxAnswer-len(body))
			}
			_, _ = io.WriteString(w, body)
		}))
		srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				connections++
			}
		}
		srv.Start()
		defer srv.Close()
		c := newTestClient(t, ClientConfig{BaseURL: srv.URL})

		for _, key := range []string{"short", "long", "short"} {
			if a := c.Post(t.Context(), "k", key, []byte(`{}`), ""); judge(a) != Sent {
				t.Errorf("%s: answer %+v, want sent", key, a)
			}
		}
		if connections != 1 {
			t.Errorf("%d connections, want 1", connections)
		}
	})
}

func TestAnswersThatBreakOff(t *testing.T) {
	tests := []struct {
		name   string
		answer string
		want   Verdict
	}{
		{"a cut before the status is ambiguous", "", Ambiguous},
		{"a cut within the header is ambiguous", "HTTP/1.1 200 OK\r\nContent-Le", Ambiguous},
		{"a cut within the body of an acceptance is ambiguous", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + accepted, Ambiguous},
		{"a cut within the body of a refusal is ambiguous", "HTTP/1.1 400 Bad Request\r\nContent-Length: 99\r\n\r\n{\"error\":\"x\"}", Ambiguous},
		{"a cut within the body of a 503 leaves it a 503", "HTTP/1.1 503 Busy\r\nContent-Length: 99\r\n\r\n{", Retry},
		{"a cut within the body of a 429 leaves it a 429", "HTTP/1.1 429 Slow\r\nContent-Length: 99\r\n\r\n{", Throttled},
		{"what is not HTTP is ambiguous", "SSH-2.0-OpenSSH_9.6\r\n", Ambiguous},
		{"a header beyond what is read is ambiguous", "HTTP/1.1 200 OK\r\nContent-Length: 22\r\nX: " + strings.Repeat("x", 2*maxAnswerHeader) + "\r\n\r\n" + accepted, Ambiguous},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wire := newWire(t, func(conn net.Conn, _ int) bool {
				_, _ = io.WriteString(conn, tt.answer)
				return false
			})
			c := newTestClient(t, ClientConfig{BaseURL: wire.url})
			a := c.Post(t.Context(), "k", "1", []byte(`{}`), "")
			if got := judge(a); got != tt.want || !a.Left || a.Fault != faultCut || a.ErrorMessage == "" {
				t.Errorf("verdict %s of %+v, want %s", got, a, tt.want)
			}
		})
	}
}

func TestAnswersThatDoNotCome(t *testing.T) {
	for name, start := range map[string]string{
		"a server that never answers times out ambiguously":       "",
		"a server that never ends its body times out ambiguously": "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			wire := newWire(t, func(conn net.Conn, _ int) bool {
				_, _ = io.WriteString(conn, start)
				return true
			})
			c := newTestClient(t, ClientConfig{BaseURL: wire.url, Timeout: 100 * time.Millisecond})
			a := c.Post(t.Context(), "k", "1", []byte(`{}`), "")
			if judge(a) != Ambiguous || a.Fault != faultTimeout || a.Stopped {
				t.Errorf("answer %+v, want an ambiguous timeout", a)
			}
		})
	}
}

func TestRequestsThatNeverLeave(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	silent := newWire(t, nil)

	tests := []struct {
		name, base, fault string
	}{
		{"a refused connection is a dial fault", closed.URL, faultDial},
		{"a name that cannot be is a dns fault", "https://weir..invalid", faultDNS},
		{"a server without TLS is a tls fault", strings.Replace(plain.URL, "http:", "https:", 1), faultTLS},
		{"a handshake that never ends is a timeout", strings.Replace(silent.url, "http:", "https:", 1), faultTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newTestClient(t, ClientConfig{BaseURL: tt.base, Timeout: 300 * time.Millisecond})
			a := c.Post(t.Context(), "k", "1", []byte(`{}`), "")
			if judge(a) != NeverLeft || a.Left || a.Fault != tt.fault || a.Status != 0 || a.ErrorMessage == "" {
				t.Errorf("answer %+v, want never left by %s", a, tt.fault)
			}
		})
	}
}

func TestAServerHasToProveItsIdentity(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, accepted)
	}))
	defer srv.Close()
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	trusted := x509.NewCertPool()
	trusted.AddCert(srv.Certificate())
	// The certificate is for 127.0.0.1 and example.com.
	otherName := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)

	tests := []struct {
		name, base string
		roots      *x509.CertPool
		want       Verdict
	}{
		{"a trusted certificate for the name is the API", srv.URL, trusted, Sent},
		{"an unknown authority is unauthorized", srv.URL, x509.NewCertPool(), Unauthorized},
		{"a certificate for another name is unauthorized", otherName, trusted, Unauthorized},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newTestClient(t, ClientConfig{BaseURL: tt.base, RootCAs: tt.roots})
			a := c.Post(t.Context(), "k", "1", []byte(`{}`), "")
			if judge(a) != tt.want || a.TLSIdentity != (tt.want == Unauthorized) || a.Left != (tt.want == Sent) {
				t.Errorf("answer %+v, want %s", a, tt.want)
			}
		})
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	followed := false
	target := serve(t, func(http.ResponseWriter, *http.Request) { followed = true })
	c := newTestClient(t, ClientConfig{BaseURL: serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target, http.StatusTemporaryRedirect)
	})})

	a := c.Post(t.Context(), "k", "1", []byte(`{}`), "")

	if a.Status != 307 || judge(a) != NotAPI || followed {
		t.Errorf("status %d, verdict %s, followed %v", a.Status, judge(a), followed)
	}
}

func TestAnswersThatAreNotJSONAreNotTheAPI(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, accepted)
	_ = z.Close()

	tests := []struct {
		name   string
		header http.Header
		body   string
	}{
		{"a gzip that nobody asked for", http.Header{"Content-Encoding": {"gzip"}}, zipped.String()},
		{"a portal's HTML", http.Header{"Content-Type": {"text/html"}}, "<html>Please log in</html>"},
		{"no body", nil, ""},
		{"more than one value", nil, accepted + accepted},
		{"an array", nil, "[" + accepted + "]"},
		{"null", nil, "null"},
		{"a number as message_id", nil, `{"message_id":1}`},
		{"an empty message_id", nil, `{"message_id":""}`},
		{"a message_id of control characters", nil, `{"message_id":"\u0007"}`},
		{"a message_id in capitals", nil, `{"Message_ID":"msg_1"}`},
		{"a body beyond what is read", nil, accepted + strings.Repeat(" ", maxAnswer)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newTestClient(t, ClientConfig{BaseURL: serve(t, func(w http.ResponseWriter, _ *http.Request) {
				for name, values := range tt.header {
					w.Header()[name] = values
				}
				_, _ = io.WriteString(w, tt.body)
			})})
			a := c.Post(t.Context(), "k", "1", []byte(`{}`), "")
			if judge(a) != NotAPI || a.Status != 200 || a.Fault != "" || a.MessageID != "" {
				t.Errorf("verdict %s of %+v, want not_api", judge(a), a)
			}
		})
	}
}

func TestAHugeAnswerIsNotReadToItsEnd(t *testing.T) {
	const size = 64 << 20
	written := make(chan int64, 1)
	c := newTestClient(t, ClientConfig{BaseURL: serve(t, func(w http.ResponseWriter, _ *http.Request) {
		n, _ := io.CopyN(w, endless{}, size)
		written <- n
	})})

	a := c.Post(t.Context(), "k", "1", []byte(`{}`), "")

	if judge(a) != NotAPI || a.Fault != "" {
		t.Fatalf("answer %+v, want not_api", a)
	}
	if n := <-written; n == size {
		t.Errorf("the server got rid of all %d bytes", n)
	}
}

func TestStoredTextsAreCutAndCleaned(t *testing.T) {
	wire := newWire(t, func(conn net.Conn, _ int) bool {
		body := `{"error":"a\u001b[31mb","message":"` + strings.Repeat("é", maxStored) + `"}`
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 400 Bad\r\nX-Request-Id: r\xff\u0085%s\r\nContent-Length: %d\r\n\r\n%s",
			strings.Repeat("q", 2*maxStored), len(body), body)
		return true
	})
	c := newTestClient(t, ClientConfig{BaseURL: wire.url})

	a := c.Post(t.Context(), "k", "1", []byte(`{}`), "")

	if want := "r" + strings.Repeat("q", maxStored-4); a.RequestID != want {
		t.Errorf("request id %q (%d bytes), want %d bytes", a.RequestID, len(a.RequestID), len(want))
	}
	if a.ErrorCode != "a[31mb" || a.ErrorMessage != strings.Repeat("é", maxStored/2) {
		t.Errorf("error %q, message of %d bytes", a.ErrorCode, len(a.ErrorMessage))
	}
}

func TestACallThatIsStoppedSaysSo(t *testing.T) {
	arrived := make(chan struct{}, 1)
	wire := newWire(t, func(net.Conn, int) bool {
		arrived <- struct{}{}
		return true
	})
	c := newTestClient(t, ClientConfig{BaseURL: wire.url})
	ctx, cancel := context.WithCancel(t.Context())

	answers := make(chan Answer)
	go func() { answers <- c.Post(ctx, "k", "1", []byte(`{}`), "") }()
	<-arrived
	cancel()
	if a := <-answers; !a.Stopped || !a.Left || judge(a) != Ambiguous {
		t.Errorf("under way: %+v, want stopped and ambiguous", a)
	}
	if a := c.Post(ctx, "k", "2", []byte(`{}`), ""); !a.Stopped || a.Left || judge(a) != NeverLeft {
		t.Errorf("after the stop: %+v, want stopped and never left", a)
	}
	if seen := wire.requests(); len(seen) != 1 {
		t.Errorf("requests on the wire %q, want the first only", seen)
	}
}

func TestAConnectionThatOutlastsASuspendOfTheMachineIsNotUsed(t *testing.T) {
	wire := newWire(t, func(conn net.Conn, _ int) bool {
		answer(conn, accepted)
		return true
	})
	var looks atomic.Int64 // at the wall clock: at first, before the dial, and after it
	c := newTestClient(t, ClientConfig{BaseURL: wire.url, Clock: NewClock(func() time.Time {
		if looks.Add(1) > 2 {
			return time.Now().Add(26 * time.Hour)
		}
		return time.Now()
	})})

	a := c.Post(t.Context(), "k", "1", []byte(`{}`), "")

	if judge(a) != NeverLeft || a.Fault != faultDial || !strings.Contains(a.ErrorMessage, "suspended") {
		t.Errorf("answer %+v, want it not to leave", a)
	}
	if a := c.Post(t.Context(), "k", "2", []byte(`{}`), ""); judge(a) != Sent {
		t.Errorf("once awake: %+v, want it sent", a)
	}
	if seen := wire.requests(); len(seen) != 1 || seen[0] != "2" {
		t.Errorf("requests on the wire %q, want the second only", seen)
	}
}

func TestTheKeyIsNeverShown(t *testing.T) {
	const secret = "sk_live\n"
	c := newTestClient(t, ClientConfig{BaseURL: "http://127.0.0.1:1"})
	key := APIKey(secret)
	field := struct{ Key APIKey }{key}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("start", "key", key, "field", field)
	slog.New(slog.NewTextHandler(&log, nil)).Info("start", "key", key, "field", field)
	shown := fmt.Sprintf("%v %s %q %#v %d %x %#v %+v %s",
		key, key, key, key, key, key, field, c.Post(t.Context(), key, "1", []byte(`{}`), ""), &log)
	for _, form := range []string{"sk_live", fmt.Sprintf("%x", "sk_live")} {
		if strings.Contains(shown, form) {
			t.Errorf("the key is shown: %s", shown)
		}
	}
}

func TestNewClientRefuses(t *testing.T) {
	valid := ClientConfig{BaseURL: "https://api.example", Connections: 1, Timeout: 1, UserAgent: "weir/1", Clock: NewClock(time.Now)}
	tests := []struct {
		name   string
		change func(*ClientConfig)
	}{
		{"an empty URL", func(c *ClientConfig) { c.BaseURL = "" }},
		{"a URL without a scheme", func(c *ClientConfig) { c.BaseURL = "api.example" }},
		{"a URL of another scheme", func(c *ClientConfig) { c.BaseURL = "ftp://api.example" }},
		{"a URL without a host", func(c *ClientConfig) { c.BaseURL = "https:///v1" }},
		{"a URL that cannot be read", func(c *ClientConfig) { c.BaseURL = "https://u:hidden@api.example:port" }},
		{"a URL with a password", func(c *ClientConfig) { c.BaseURL = "https://u:hidden@api.example" }},
		{"a URL with a query", func(c *ClientConfig) { c.BaseURL = "https://api.example?x=1" }},
		{"plain HTTP beyond loopback", func(c *ClientConfig) { c.BaseURL = "http://api.example" }},
		{"no connections", func(c *ClientConfig) { c.Connections = 0 }},
		{"no timeout", func(c *ClientConfig) { c.Timeout = 0 }},
		{"no user agent", func(c *ClientConfig) { c.UserAgent = "" }},
		{"no clock", func(c *ClientConfig) { c.Clock = nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := valid
			tt.change(&cfg)
			_, err := NewClient(cfg)
			if !errors.Is(err, ErrClientConfig) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("error %v, want ErrClientConfig without the password", err)
			}
		})
	}
	for _, base := range []string{"https://api.example", "http://localhost:1", "http://127.9.9.9", "http://[::1]:1"} {
		cfg := valid
		cfg.BaseURL = base
		if _, err := NewClient(cfg); err != nil {
			t.Errorf("%s: %v", base, err)
		}
	}
}

func BenchmarkPost(b *testing.B) {
	c := newTestClient(b, ClientConfig{BaseURL: serve(b, benchHandler)})
	body := []byte(benchBody)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if a := c.Post(b.Context(), "k", "order-1", body, ""); judge(a) != Sent {
				b.Fatal(a)
			}
		}
	})
}

// BenchmarkBareLoop is what BenchmarkPost is to be compared with: the same
// request without limits of time and size, and without a look at the answer.
func BenchmarkBareLoop(b *testing.B) {
	url := serve(b, benchHandler)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(benchBody))
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer k")
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Idempotency-Key", "order-1")
			resp, err := client.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
}

const benchBody = `{"agent_id":"ag_live_1","to":"+491700000000","content":{"text":"hello"}}`

func benchHandler(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, `{"message_id":"msg_1","status":"queued","created_at":"2026-03-28T14:30:00Z","billing":{"hold_amount":0.12}}`)
}

func newTestClient(t testing.TB, cfg ClientConfig) *Client {
	t.Helper()
	cfg.Connections, cfg.UserAgent = 64, "weir/test"
	if cfg.Clock == nil {
		cfg.Clock = NewClock(time.Now)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func serve(t testing.TB, h http.HandlerFunc) string {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// wire is a server below HTTP, which notes the keys of the requests it gets.
type wire struct {
	url   string
	mu    sync.Mutex
	keys  []string
	conns []net.Conn
}

// newWire starts a wire. It hands on each request, the nth of its connection,
// and closes the connection when that returns false; without onRequest it never
// even reads.
func newWire(t *testing.T, onRequest func(conn net.Conn, nth int) bool) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{url: "http://" + listener.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			w.conns = append(w.conns, conn)
			w.mu.Unlock()
			if onRequest != nil {
				running.Go(func() { w.serve(conn, onRequest) })
			}
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		w.mu.Lock()
		for _, conn := range w.conns {
			_ = conn.Close()
		}
		w.mu.Unlock()
		running.Wait()
	})
	return w
}

func (w *wire) serve(conn net.Conn, onRequest func(net.Conn, int) bool) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for nth := 1; ; nth++ {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		w.mu.Lock()
		w.keys = append(w.keys, req.Header.Get("Idempotency-Key"))
		w.mu.Unlock()
		if !onRequest(conn, nth) {
			return
		}
	}
}

func (w *wire) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.keys...)
}

func answer(w io.Writer, body string) {
	_, _ = fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// endless reads as spaces for ever.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestLookAsksForAListAndSendsNothing(t *testing.T) {
	var got *http.Request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"invalid_api_key"}`)
	}))
	defer srv.Close()
	c := newTestClient(t, ClientConfig{BaseURL: srv.URL + "/eu"})
	a, state := c.Look(t.Context(), "secret")
	if a.Status != 401 || a.ErrorCode != "invalid_api_key" || state != nil {
		t.Errorf("answer %+v, %v", a, state)
	}
	if got.Method != "GET" || got.URL.String() != "/eu/v1/messages?limit=1" || got.ContentLength != 0 || got.Header.Get("Idempotency-Key") != "" ||
		got.Header.Get("Authorization") != "Bearer secret" || got.Header.Get("Content-Type") != "" {
		t.Errorf("request %s %s, %v", got.Method, got.URL, got.Header)
	}
	if a := c.Post(t.Context(), "secret", "k", []byte("{}"), ""); a.Status != 401 || got.URL.String() != "/eu/v1/messages" || got.Header.Get("Content-Type") == "" {
		t.Errorf("a look has changed what Post sends: %s, %v", got.URL, got.Header)
	}
}
