package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"weir/cmd/weir/internal/sandbox"
)

// api is the simulated API with what only chaos wants of it: traps that kill the
// daemon from the far end of a request, and answers that no API would give.
type api struct {
	*sandbox.Server
	url    string
	server *http.Server // replaced when the API comes back

	mu   sync.Mutex
	trap *trap
	odd  http.HandlerFunc // answers in the place of the API; nil: nobody does
}

// trap springs at the nth request from now that can have an effect, or at the
// first one after it that is at the stage.
type trap struct {
	stage  stage
	left   int
	spring func() // returns when the daemon is dead
}

func serveAPI(cfg sandbox.Config) (*api, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the simulated API: %w", err)
	}
	a := &api{Server: sandbox.New(cfg), url: "http://" + listener.Addr().String()}
	a.SetFaults()
	a.serve(listener)
	return a, nil
}

func (a *api) serve(listener net.Listener) {
	server := &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second}
	a.server = server
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(err) // nothing that chaos finds means anything then
		}
	}()
}

// leave makes connections fail until the API comes back.
func (a *api) leave() { _ = a.server.Close() }

func (a *api) comeBack() error {
	listener, err := net.Listen("tcp", strings.TrimPrefix(a.url, "http://"))
	if err == nil {
		a.serve(listener)
	}
	return err
}

// close ends the API once every request that arrived has been answered.
func (a *api) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if a.server.Shutdown(ctx) != nil {
		_ = a.server.Close() // what hangs has no effect any more
	}
}

// set lays a trap; nil takes it away.
func (a *api) set(t *trap) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.trap = t
}

// SetFaults puts these in the place of all others, but for what it refuses for good.
func (a *api) SetFaults(faults ...sandbox.Fault) {
	a.Server.SetFaults(append(faults[:len(faults):len(faults)], sandbox.Fault{Kind: sandbox.Kind422, KeyPrefix: refused})...)
}

// answerOddly lets f answer in the place of the API; nil ends it.
func (a *api) answerOddly(f http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.odd = f
}

// meet tells what waits for the request.
func (a *api) meet(r *http.Request) (*trap, http.HandlerFunc) {
	key := r.Header.Get("Idempotency-Key")
	effective := !strings.HasPrefix(key, refused) && a.Keys(key)[key].Effects == 0
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.trap
	if t == nil || !effective {
		return nil, a.odd
	}
	if t.left--; t.left > 0 {
		return nil, a.odd
	}
	if t.stage != executed { // which its answer tells
		a.trap = nil
	}
	return t, a.odd
}

// take takes the trap away, unless somebody has.
func (a *api) take(t *trap) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.trap != t {
		return false
	}
	a.trap = nil
	return true
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t, odd := a.meet(r)
	switch {
	case odd != nil:
		odd(w, r)
		return
	case t == nil:
		a.Server.ServeHTTP(w, r)
		return
	case t.stage == executed:
		a.Server.ServeHTTP(&trapped{ResponseWriter: w, api: a, trap: t}, r)
		return
	}
	body, err := io.ReadAll(r.Body) // while there is somebody to send it
	t.spring()
	if err != nil || t.stage == lost {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	a.Server.ServeHTTP(w, r)
}

// trapped springs when the answer to what was executed is about to be written.
type trapped struct {
	http.ResponseWriter
	api  *api
	trap *trap
}

// WriteHeader implements http.ResponseWriter.
func (t *trapped) WriteHeader(status int) {
	if status == http.StatusOK && t.api.take(t.trap) {
		t.trap.spring()
	}
	t.ResponseWriter.WriteHeader(status)
}
