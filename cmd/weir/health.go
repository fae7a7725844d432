package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"weir/store"
)

// health answers /healthz, /readyz and /metrics on WEIR_LISTEN.
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

// run serves until ctx ends. Takes tells whether new messages are taken.
func (h *health) run(ctx context.Context, s *store.Store, takes func() bool, metrics http.Handler) error {
	if h.listener == nil {
		<-ctx.Done()
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { answerHealth(w, r, s, true) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answerHealth(w, r, s, takes()) })
	mux.Handle("GET /metrics", metrics)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(limitCrowd(h.listener, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answerHealth says what the status table says of the daemon, or would if it
// could be written. A restart cures neither a disk nor NATS, so that those are
// bad for /readyz only.
func answerHealth(w http.ResponseWriter, r *http.Request, s *store.Store, well bool) {
	daemon, _, err := s.Status(r.Context())
	answer := struct {
		State  string  `json:"state"`
		Reason *string `json:"reason"`
	}{daemon.State, daemon.Reason}
	code := http.StatusOK
	if err != nil || !well || !s.Alive() || daemon.State == "stopped" {
		code = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer) // a reader that has gone needs no answer
}

// metricsHandler serves the metrics: to everybody on loopback, beyond it to
// those with the token, since account names and the traffic are nobody else's
// business.
func (d *daemon) metricsHandler() http.Handler {
	served := d.metrics.Handler(d.log)
	if !beyondLoopback(d.cfg.Listen) {
		return served
	}
	want := []byte("Bearer " + string(d.cfg.AdminToken))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the metrics need the admin token: Authorization: Bearer …", http.StatusUnauthorized)
			return
		}
		served.ServeHTTP(w, r)
	})
}
