// Package sandbox provides a simulated API: an HTTP handler that takes messages
// as the real one does, keeps a rate limit and idempotency books, and fails in
// every way that it is told to.
//
// It stands at the far end of a message's way, in `weir sandbox`, `weir demo`
// and the tests, and is the judge there: it counts every effect of every key,
// every arrival, and everything that must never be sent (Stats, Keys).
//
// A send passes these places in this order, and each may settle it: the door
// (a proxy in front; the API is not reached), authentication, the limit, form
// (can it be read at all), the service (balance, health), the idempotency
// books, the message's own refusals, validation, execution, the answer. What
// stops it before the limit counts nothing there and its answer carries no
// limit headers; a replay is a request like any other to the limit. The kinds
// of faults are listed by the place where they strike.
//
// It promises that an effect happens at most once per key while the key is
// remembered, and that it tells when one happened again. Nothing of it outlives
// the process, its books grow for as long as it lives, and /stats and /control
// ask for no key: it is for loopback.
package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	sendPath = "/v1/messages"
	testPath = "/v1/test/messages"
	// testMessages is how many messages the test endpoint takes in all.
	testMessages = 5
	// stopWithin is how long requests may take to end when the server stops.
	stopWithin = time.Second
)

// Server is the simulated API. New makes one; it is safe for concurrent use.
type Server struct {
	cfg       Config
	requestID string // what request ids begin with

	mu     sync.Mutex
	keys   map[string]bool
	limits *limits
	books  *books
	trials *books // of the test endpoint
	faults []Fault
	rules  *rulebook
	conns  map[string]int // answers by client address, while a rule asks for them
	stats  Stats
}

// New returns a Server that behaves as cfg says. cfg is one that Validate
// accepts.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	boot := make([]byte, 3)
	rand.Read(boot)
	run := hex.EncodeToString(boot)
	s := &Server{
		cfg:       cfg,
		requestID: "req_" + run + "_",
		limits:    newLimits(cfg, cfg.Now().Add(cfg.Skew)),
		books:     newBooks(run, cfg.KeyLifetime),
		trials:    newBooks("test_"+run, cfg.KeyLifetime),
		stats: Stats{
			Violations: map[string]Violation{},
			Status:     map[int]int{},
			Faults:     map[Kind]int{},
		},
	}
	s.SetKeys(cfg.Keys...)
	s.SetFaults(cfg.Faults...)
	return s
}

// SetLimit changes the limit from now on; 0 lifts it.
func (s *Server) SetLimit(limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits.set(limit)
}

// SetKeys accepts these API keys and no others from now on.
func (s *Server) SetKeys(keys ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = make(map[string]bool, len(keys))
	for _, key := range keys {
		s.keys[key] = true
	}
}

// SetFaults puts these rules, which are such as ParseFault gives, in the place
// of all others. Their From and To count from now.
func (s *Server) SetFaults(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = slices.Clone(faults)
	s.rules = newRulebook(faults, s.cfg.Now())
	s.conns = map[string]int{}
}

// Serve answers on l until ctx ends, then lets requests end and returns nil.
// Requests that hang are cut at once, others after a second.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState: func(conn net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				s.forget(conn.RemoteAddr().String())
			}
		},
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("sandbox: serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if err := srv.Shutdown(grace); errors.Is(err, context.DeadlineExceeded) {
		srv.Close()
	}
	<-failed
	return nil
}

// forget drops what is known of a connection that is gone: its address may
// come again.
func (s *Server) forget(conn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, reads := strings.CutPrefix(r.URL.Path, sendPath+"/")
	route := r.Method + " " + r.URL.Path
	switch {
	case route == "GET /stats":
		writeJSON(w, http.StatusOK, s.Stats())
	case route == "GET /stats/keys":
		writeJSON(w, http.StatusOK, s.Keys(r.URL.Query().Get("prefix")))
	case route == "GET /control", route == "POST /control":
		s.control(w, r)
	case route == "POST "+sendPath:
		s.send(w, r, s.books)
	case route == "POST "+testPath:
		s.send(w, r, s.trials)
	case route == "GET "+sendPath:
		s.list(w, r)
	case reads && r.Method == http.MethodGet:
		s.read(w, r, id)
	case reads, r.URL.Path == sendPath, r.URL.Path == testPath:
		s.misrouted(w, r, wrongMethod)
	default:
		s.misrouted(w, r, wrongPath)
	}
}

// send takes one POST through all places.
func (s *Server) send(w http.ResponseWriter, r *http.Request, b *books) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		panic(http.ErrAbortHandler) // the client left in mid-request
	}
	c := &call{
		form:   examine(r.Header, body, s.cfg.RequireUUIDKeys),
		apiKey: bearer(r),
		conn:   r.RemoteAddr,
		route:  r.Method + " " + r.URL.Path,
		books:  b,
	}
	s.judge(c)
	if c.reached {
		s.delay()
	}
	s.settle(c)
	s.write(w, r, c)
}

// read answers GET /v1/messages/{id}. Reading has a limit of its own at the
// real API; here it has none.
func (s *Server) read(w http.ResponseWriter, r *http.Request, id string) {
	c := s.open(r)
	s.mu.Lock()
	found, known := s.books.message(id)
	if !known {
		found, known = s.trials.message(id)
	}
	switch {
	case !s.keys[c.apiKey]:
		c.refuse(traits[Kind401])
	case !known:
		c.refuse(trait{status: http.StatusNotFound, code: "not_found", text: "There is no such message."})
	default:
		c.effect, c.reads = found, true
	}
	s.mu.Unlock()
	s.delay()
	s.settle(c)
	s.write(w, r, c)
}

// list answers GET /v1/messages, always with an empty page: it is only for those
// who try a key without sending.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	c := s.open(r)
	s.mu.Lock()
	if c.lists = s.keys[c.apiKey]; !c.lists {
		c.refuse(traits[Kind401])
	}
	s.mu.Unlock()
	s.delay()
	s.settle(c)
	s.write(w, r, c)
}

// misrouted refuses a request that the API has no place for.
func (s *Server) misrouted(w http.ResponseWriter, r *http.Request, v violation) {
	c := s.open(r)
	s.mu.Lock()
	s.violate(c, v)
	s.mu.Unlock()
	s.settle(c)
	s.write(w, r, c)
}

// open counts the arrival of a request that is no send.
func (s *Server) open(r *http.Request) *call {
	c := &call{apiKey: bearer(r), conn: r.RemoteAddr, route: r.Method + " " + r.URL.Path, reached: true}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrive(c)
	return c
}

// delay lets the latency pass. The client may leave meanwhile; what runs, runs on.
func (s *Server) delay() {
	if d := s.cfg.Latency + upTo(s.cfg.Jitter); d > 0 {
		<-time.After(d)
	}
}

func bearer(r *http.Request) string {
	key, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return ""
	}
	return key
}
