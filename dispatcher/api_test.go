package dispatcher

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"weir/outbox"
)

// request is one that the API has seen.
type request struct {
	key, token string
	parent     string // traceparent
	at         time.Time
	nth        int // of all requests, from 1
}

// reply is what the API makes of a request, after a time of its own.
type reply struct {
	status int
	body   string
	header map[string]string
	after  time.Duration
	cut    bool
}

// Replies of the API, and of something in its place.
var (
	ok           = reply{status: 200, body: `{"message_id":"msg_1"}`}
	unauthorized = reply{status: 401, body: `{"error":"invalid_api_key","message":"no"}`}
	unpaid       = reply{status: 402, body: `{"error":"insufficient_balance","required_amount":0.12,"topup_url":"https://pay"}`}
	refused      = reply{status: 422, body: `{"error":"missing_consent"}`}
	unavailable  = reply{status: 503, body: `{"error":"unavailable"}`}
	proxyPage    = reply{status: 200, body: `<html>sign in</html>`, header: map[string]string{"Content-Type": "text/html"}}
	proxyLost    = reply{status: 404, body: `<html>not found</html>`, header: map[string]string{"Content-Type": "text/html"}}
	cutOff       = reply{cut: true}
)

func (r reply) in(d time.Duration) reply { r.after = d; return r }

// api is a real HTTP server on connections in memory, so that it can live in a
// bubble of virtual time.
type api struct {
	t      *testing.T
	ledger *ledger
	conns  chan net.Conn
	server *http.Server

	mu     sync.Mutex
	limit  int                 // as its headers tell; 0: no such headers
	script func(request) reply // called one at a time
	down   bool                // dialing fails
	seen   []request
	wire   map[string]outbox.Bucket // keys on the wire
	most   int                      // requests on the wire at once
	beside int                      // of them in rcs, while another bucket had some
}

func newAPI(t *testing.T, l *ledger) *api {
	a := &api{
		t: t, ledger: l, conns: make(chan net.Conn), limit: 100_000, wire: make(map[string]outbox.Bucket),
		script: func(request) reply { return ok.in(10 * time.Millisecond) },
	}
	a.server = &http.Server{Handler: a}
	go func() { _ = a.server.Serve(a) }()
	t.Cleanup(func() { _ = a.server.Close() })
	return a
}

// play makes f answer from now on.
func (a *api) play(f func(request) reply) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.script = f
}

// always makes r the answer to everything.
func (a *api) always(r reply) { a.play(func(request) reply { return r }) }

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	key := r.Header.Get("Idempotency-Key")
	if row := a.ledger.row(key); row.state != outbox.Sending {
		a.t.Errorf("a request for %s, which is %s, without a claim", key, row.state)
	}
	answer := a.enter(key, r.Header)
	select {
	case <-time.After(answer.after):
	case <-r.Context().Done(): // the client has gone
	}
	a.mu.Lock()
	delete(a.wire, key)
	a.mu.Unlock()
	if answer.cut {
		panic(http.ErrAbortHandler)
	}
	for name, value := range answer.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(answer.status)
	_, _ = io.WriteString(w, answer.body)
}

func (a *api) enter(key string, h http.Header) reply {
	bucket := a.ledger.row(key).Bucket
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	seen := request{key: key, token: h.Get("Authorization"), parent: h.Get("Traceparent"), at: now, nth: len(a.seen) + 1}
	a.seen = append(a.seen, seen)
	if _, twice := a.wire[key]; twice {
		a.t.Errorf("two requests for %s at once", key)
	}
	a.wire[key] = bucket
	a.most = max(a.most, len(a.wire))
	inRCS := 0
	for _, b := range a.wire {
		if b == rcs {
			inRCS++
		}
	}
	if inRCS < len(a.wire) {
		a.beside = max(a.beside, inRCS)
	}
	answer := a.script(seen)
	if a.limit > 0 && answer.header == nil {
		answer.header = map[string]string{
			"X-RateLimit-Limit":     strconv.Itoa(a.limit),
			"X-RateLimit-Remaining": strconv.Itoa(max(a.limit-seen.nth, 0)),
			"X-RateLimit-Reset":     strconv.FormatInt(now.Truncate(time.Hour).Add(time.Hour).Unix(), 10),
			"X-Request-Id":          fmt.Sprint("req_", seen.nth),
		}
	}
	return answer
}

// requests returns those seen so far, from the given time on.
func (a *api) requests(from time.Time) []request {
	a.mu.Lock()
	defer a.mu.Unlock()
	var late []request
	for _, r := range a.seen {
		if !r.at.Before(from) {
			late = append(late, r)
		}
	}
	return late
}

// onWire counts the requests that are on the wire now.
func (a *api) onWire() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.wire)
}

// peaks tells how many were on the wire at once at most.
func (a *api) peaks() (most, beside int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.most, a.beside
}

func (a *api) forgetPeaks() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.most, a.beside = 0, 0
}

func (a *api) setDown(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
}

// dial connects as a net.Dialer would.
func (a *api) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	a.mu.Lock()
	down := a.down
	a.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError("nobody listens")}
	}
	client, server := net.Pipe()
	select {
	case a.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept is the listener's side of dial.
func (a *api) Accept() (net.Conn, error) {
	conn, open := <-a.conns
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (a *api) Close() error   { close(a.conns); return nil }
func (a *api) Addr() net.Addr { return &net.TCPAddr{} }
