package chaos

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// answer is what the API would have answered.
type answer struct {
	header http.Header
	code   int
	bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) { a.code = code }

// executed lets the API execute the request and gives the answer that it would give.
func (a *api) executed(r *http.Request) *answer {
	kept := &answer{header: http.Header{}, code: http.StatusOK}
	a.Server.ServeHTTP(kept, r)
	return kept
}

// drip answers one byte a second.
func drip(a *api) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer := a.executed(r)
		w.WriteHeader(answer.code)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for _, b := range answer.Bytes() {
			if _, err := w.Write([]byte{b}); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	}
}

// zipped answers with gzip, although the request accepts none.
func zipped(a *api) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		z := gzip.NewWriter(&body)
		_, _ = z.Write(a.executed(r).Bytes()) // a buffer does not fail
		_ = z.Close()
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(body.Bytes())
	}
}

// huge answers what it should, with 10 MB of blanks around it.
func huge(a *api) http.HandlerFunc {
	blanks := bytes.Repeat([]byte(" "), 10<<20)
	return func(w http.ResponseWriter, r *http.Request) {
		answer := a.executed(r)
		_, _ = w.Write(blanks)
		_, _ = w.Write(answer.Bytes())
	}
}

// unprintable is what would color a terminal, as JSON spells it. Without it, a
// text is as it was.
const unprintable = `\u001b\u0001\u007f`

// escapedHeader answers rightly, with a request id that would color a terminal.
// It writes to the connection itself, since net/http refuses to, as it refuses to
// read such an answer.
func escapedHeader(a *api) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer := a.executed(r)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		var head strings.Builder
		for name, values := range answer.header {
			if !strings.EqualFold(name, "X-Request-Id") {
				fmt.Fprintf(&head, "%s: %s\r\n", name, strings.Join(values, ","))
			}
		}
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d X\r\n%sX-Request-Id: req\x1b[31m\x01\x7fred\r\nConnection: close\r\n\r\n%s",
			answer.code, head.String(), answer.String())
		_ = conn.Close()
	}
}

// escapedError answers 503, with text that would color a terminal.
func escapedError(a *api) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a.executed(r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintf(w, `{"error":"down%[1]s","message":"It is%[1]s down."}`, unprintable)
	}
}

// escapedID answers rightly, but for what it adds to the message id.
func escapedID(a *api) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer := a.executed(r)
		body := bytes.Replace(answer.Bytes(), []byte(`"message_id":"`), []byte(`"message_id":"`+unprintable), 1)
		answer.header.Del("Content-Length")
		for name, values := range answer.header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.code)
		_, _ = w.Write(body)
	}
}
