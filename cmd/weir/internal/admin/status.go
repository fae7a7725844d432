package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"weir/store"
)

const (
	// maxStreams bounds the streams that are open at once.
	maxStreams = 64
	// streamEvery is the shortest time between two events of a stream.
	streamEvery = time.Second
	// streamQuiet is how long a stream says nothing at most, so that both ends
	// notice a connection that is gone.
	streamQuiet = 15 * time.Second
	// streamLife ends a stream in time: its reader comes again, and has to be
	// let in again.
	streamLife = time.Hour
)

// Status is the daemon's row of the status table and the buckets', as weir
// status --json prints them.
type Status struct {
	Daemon  store.StatusView   `json:"daemon"`
	Buckets []store.StatusView `json:"buckets"`
}

func (s *Server) readStatus(ctx context.Context) (st Status, err error) {
	st.Daemon, st.Buckets, err = s.cfg.Store.Status(ctx)
	return st, err
}

func (s *Server) getStatus(w http.ResponseWriter, r *http.Request) error {
	st, err := s.readStatus(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, st)
	return nil
}

// snapshot is the status as all streams show it, read once for all of them.
type snapshot struct {
	mu   sync.Mutex
	at   time.Time
	json []byte
}

// take gives a status that is younger than the pace of the streams.
func (s *snapshot) take(ctx context.Context, read func(context.Context) (Status, error)) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.json != nil && time.Since(s.at) < streamEvery/2 {
		return s.json, nil
	}
	st, err := read(ctx)
	if err != nil {
		return nil, err
	}
	s.json, err = json.Marshal(st)
	s.at = time.Now()
	return s.json, err
}

// streamStatus sends the status as server-sent events: at once, and then when it
// has changed. The stream ends with the daemon.
func (s *Server) streamStatus(w http.ResponseWriter, r *http.Request) error {
	if !accepts(r, "text/event-stream") {
		return refuse(http.StatusNotAcceptable, "not_acceptable", "the answer is text/event-stream, which the Accept header excludes")
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return refuse(http.StatusServiceUnavailable, "too_many_streams", "%d streams are open: close one", maxStreams).again(10 * time.Second)
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return nil
	}
	life, cancel := context.WithTimeout(r.Context(), streamLife)
	defer cancel()
	out := stream{w: w, control: http.NewResponseController(w), said: time.Now()}
	if err := endless(w); err != nil {
		return err
	}
	tick := time.NewTicker(streamEvery)
	defer tick.Stop()
	for {
		status, err := s.status.take(life, s.readStatus)
		if err != nil {
			return nil // it has begun: all that can be said is its end
		}
		if out.show(status) != nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-life.Done():
			return nil
		case <-s.stopping:
			return nil
		}
	}
}

// stream is one reader of events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	last    []byte
	said    time.Time
}

// show sends the status if it is another one, and a sign of life if it has been
// the same for long.
func (o *stream) show(status []byte) error {
	var err error
	switch {
	case !bytes.Equal(status, o.last):
		o.last = status
		err = o.send(fmt.Sprintf("event: status\ndata: %s\n\n", status))
	case time.Since(o.said) >= streamQuiet:
		err = o.send(": nothing new\n\n")
	}
	return err
}

func (o *stream) send(text string) error {
	o.said = time.Now()
	if err := o.control.SetWriteDeadline(o.said.Add(answerFor)); err != nil {
		return err
	}
	if _, err := o.w.Write([]byte(text)); err != nil {
		return err
	}
	return o.control.Flush()
}
