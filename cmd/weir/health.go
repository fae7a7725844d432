package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"weir/store"
)

// health answers /healthz and /readyz on WEIR_LISTEN.
type health struct {
	listener net.Listener // nil: off
}

// listenHealth listens at once, so that an address in use stops the start.
func listenHealth(address string) (*health, error) {
	if address == "" {
		return &health{}, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("WEIR_LISTEN: cannot listen on %s: %w; free it, choose another address, or say off", address, errors.Unwrap(err))
	}
	return &health{listener: l}, nil
}

func (h *health) addr() string {
	if h.listener == nil {
		return "off"
	}
	return h.listener.Addr().String()
}

// close ends listening; it is already closed if run has served.
func (h *health) close() error {
	if h.listener == nil {
		return nil
	}
	if err := h.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// run serves until ctx ends.
func (h *health) run(ctx context.Context, s *store.Store) error {
	if h.listener == nil {
		<-ctx.Done()
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { answerHealth(w, r, s, "stopped") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answerHealth(w, r, s, "stopped", "degraded") })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(h.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answerHealth says what the status table says of the daemon, which is well
// unless it is in one of the bad states. A restart cures no trouble with NATS, so
// that is bad for /readyz only.
func answerHealth(w http.ResponseWriter, r *http.Request, s *store.Store, bad ...string) {
	daemon, _, err := s.Status(r.Context())
	answer := struct {
		State  string  `json:"state"`
		Reason *string `json:"reason"`
	}{daemon.State, daemon.Reason}
	code := http.StatusOK
	if err != nil || s.Err() != nil || slices.Contains(bad, daemon.State) {
		code = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer) // a reader that has gone needs no answer
}
