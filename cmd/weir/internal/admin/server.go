// Package admin provides what the daemon serves over HTTP: its health, its
// metrics, the API by which programs see and steer it, and the dashboard, which
// is one more user of that API.
//
// It stands beside the way of a message: whatever it shows or changes goes
// through the functions of package store that the commands use too. Nothing but
// health, the login and, on loopback, the metrics is answered without the admin
// token or a session that it has opened. Every refusal is the API's error
// envelope: a code for programs, a line for people, the fields at fault.
//
// Not promised: secrecy on the wire. Beyond loopback a proxy has to add TLS.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"weir/outbox"
	"weir/store"
)

// Config is what a Server serves, and to whom.
type Config struct {
	// Listener takes the connections, see Listen. Nil serves nobody.
	Listener net.Listener
	// Host is the name that Listener was asked for, beside its address. Empty: none.
	Host string
	// Store is the daemon's. Required with a Listener.
	Store *store.Store
	// Token lets in whoever says it. Required with a Listener.
	Token string
	// Channels are the accounts and channels that messages can go by.
	Channels outbox.Channels
	// MaxPending is how many messages may wait before new ones are refused, see
	// SetMaxPending. Zero is no bound.
	MaxPending int
	// Takes tells whether new messages are taken now. Defaults to always.
	Takes func() bool
	// OnGates, if set, is called after gates were changed here: the dispatcher
	// has to hear of them.
	OnGates func()
	// Metrics answers /metrics. Nil: there is no such page.
	Metrics http.Handler
	// Log takes who was turned away, and what was looked at or changed by whom.
	// Defaults to discarding.
	Log *slog.Logger
	// Now is the one clock of the process. Defaults to time.Now.
	Now func() time.Time
}

// Server serves HTTP for one daemon. It is safe for concurrent use.
type Server struct {
	cfg        Config
	loopback   bool // nobody from another machine can connect
	keys       keys
	guesses    guesses
	links      links
	maxPending atomic.Int64 // messages that may wait; 0: no bound
	entering   atomic.Int64 // messages that are about to be stored
	routes     *http.ServeMux
	stopping   chan struct{} // closed when Run ends: streams end with it
	stop       func()
	status     snapshot
	streams    chan struct{} // a place for each
}

// Listen takes an address at once, so that one in use stops the start. An empty
// address gives nil, for a server that is off.
func Listen(address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("WEIR_LISTEN: cannot listen on %s: %w; free it, choose another address, or say off", address, errors.Unwrap(err))
	}
	return l, nil
}

// New gives a server that serves once it runs.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Takes == nil {
		cfg.Takes = func() bool { return true }
	}
	if cfg.OnGates == nil {
		cfg.OnGates = func() {}
	}
	s := &Server{
		cfg: cfg, keys: newKeys(cfg.Token), routes: http.NewServeMux(),
		stopping: make(chan struct{}), streams: make(chan struct{}, maxStreams),
	}
	s.SetMaxPending(cfg.MaxPending)
	s.stop = sync.OnceFunc(func() { close(s.stopping) })
	if cfg.Listener != nil {
		tcp, ok := cfg.Listener.Addr().(*net.TCPAddr)
		s.loopback = ok && tcp.IP.IsLoopback()
	}
	s.register()
	return s
}

// Addr is where the server listens, or "off".
func (s *Server) Addr() string {
	if s.cfg.Listener == nil {
		return "off"
	}
	return s.cfg.Listener.Addr().String()
}

// Close ends listening; Run has done so when it returns.
func (s *Server) Close() error {
	if s.cfg.Listener == nil {
		return nil
	}
	if err := s.cfg.Listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

const (
	// maxConnections bounds the connections that are open at once; more wait in the
	// kernel's queue.
	maxConnections = 256
	// maxHeader bounds the header of a request, in bytes.
	maxHeader = 16 << 10
	// answerFor is how long an answer may take to be read; streams go on longer.
	answerFor = 30 * time.Second
	// lastAnswers is how long a stop waits for answers under way. Streams end at once.
	lastAnswers = 2 * time.Second
)

// Run serves until ctx ends or the listener fails. It returns when every answer
// has ended, or was cut off for taking too long.
func (s *Server) Run(ctx context.Context) error {
	if s.cfg.Listener == nil {
		<-ctx.Done()
		return nil
	}
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler: s, MaxHeaderBytes: maxHeader, DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: answerFor, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return requests },
		ErrorLog:    slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(netutil.LimitListener(s.cfg.Listener, maxConnections)) }()
	select {
	case err := <-failed:
		s.stop()
		return errors.Join(err, server.Close())
	case <-ctx.Done():
	}
	s.stop()
	last, done := context.WithTimeout(requests, lastAnswers)
	defer done()
	if server.Shutdown(last) != nil {
		cancel()
		_ = server.Close() // who has not been answered by now will not be
	}
	<-failed
	return nil
}
