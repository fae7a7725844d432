package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"weir/cmd/weir/internal/steer"
	"weir/outbox"
	"weir/store"
)

// fault is a refusal as the caller gets it: the error envelope of the API that
// weir serves.
type fault struct {
	status  int
	Code    string          `json:"error"`
	Message string          `json:"message"`
	Details []outbox.Detail `json:"details,omitempty"`
	// RetryAfter is how many seconds to wait before the same call again; 0: it
	// would not help.
	RetryAfter int `json:"retry_after,omitempty"`
}

// Error implements error.
func (f *fault) Error() string { return f.Code + ": " + f.Message }

func refuse(status int, code, format string, args ...any) *fault {
	return &fault{status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// invalid refuses values that were read, but cannot be meant.
func invalid(details ...outbox.Detail) *fault {
	err := outbox.InvalidError{Details: details}
	return &fault{status: http.StatusUnprocessableEntity, Code: "invalid", Message: err.Error(), Details: details}
}

func invalidField(field, format string, args ...any) *fault {
	return invalid(outbox.Detail{Field: field, Message: fmt.Sprintf(format, args...)})
}

// again says when the same call may succeed.
func (f *fault) again(wait time.Duration) *fault {
	f.RetryAfter = max(1, int((wait+time.Second-1)/time.Second))
	return f
}

// handler answers a request, or returns why it does not.
type handler func(w http.ResponseWriter, r *http.Request) error

// answer writes what went wrong, if something did.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		return
	}
	f := s.faultOf(r, err)
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="weir"`)
	}
	writeJSON(w, f.status, f)
}

// faultOf is err as the caller may see it. What it does not know is for the log.
func (s *Server) faultOf(r *http.Request, err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	if bad, ok := errors.AsType[*outbox.InvalidError](err); ok {
		return invalid(bad.Details...)
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refuse(http.StatusRequestEntityTooLarge, "too_large", "the body has more bytes than this call takes")
	}
	if scope, ok := errors.AsType[*steer.ScopeError](err); ok {
		return invalidField("scope", "%s", scope.Reason)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refuse(http.StatusNotFound, "not_found", "there is no such message")
	case errors.Is(err, store.ErrNoRoom):
		return refuse(http.StatusServiceUnavailable, "no_room", "too little of the disk is free: nothing was stored; make space, or lower WEIR_MIN_FREE").again(30 * time.Second)
	case s.cfg.Store.Err() != nil:
		return refuse(http.StatusServiceUnavailable, "unavailable", "the database cannot be written: the daemon is ending").again(10 * time.Second)
	case r.Context().Err() != nil:
		return refuse(http.StatusServiceUnavailable, "unavailable", "the call was cut short: look what became of it, or make it again").again(time.Second)
	}
	s.cfg.Log.Error("a call of the HTTP API failed", "path", r.Pattern, "request_id", requestID(r), "error", err)
	return refuse(http.StatusInternalServerError, "internal", "weir could not answer: its log says why, under this request id, or that of an equal failure up to half a minute before")
}

// writeJSON answers with one value.
func writeJSON(w http.ResponseWriter, status int, value any) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err) // every value here is one of ours
	}
	write(w, status, "application/json", out.Bytes())
}

// write answers with bytes. A reader that has gone needs no answer.
func write(w http.ResponseWriter, status int, kind string, data []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data)
}
