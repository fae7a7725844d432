package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"weir/outbox"
	"weir/store"
)

// submitFor is how long a message may take to be stored.
const submitFor = 10 * time.Second

// submitted is the answer to a message that is stored.
type submitted struct {
	Result  outbox.Result   `json:"result"`
	Message json.RawMessage `json:"message"`
}

// postMessage takes an envelope, by the rules of every other way in.
func (s *Server) postMessage(w http.ResponseWriter, r *http.Request) error {
	m, err := s.readMessage(r)
	if err != nil {
		return err
	}
	if waiting := s.cfg.Store.Waiting(); waiting != nil {
		return refuse(http.StatusServiceUnavailable, "unavailable", "nothing can be stored now: %s", waiting.Reason).again(streamQuiet)
	}
	ctx, cancel := context.WithTimeout(r.Context(), submitFor)
	defer cancel()
	leave, err := s.crowd.enter(ctx, w, s, m.Key)
	if err != nil {
		return err
	}
	defer leave()
	results, err := s.cfg.Store.Accept(ctx, []outbox.Message{m})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return refuse(http.StatusServiceUnavailable, "unavailable", "it took too long to store the message, and may be stored yet: make the same call again").again(time.Second)
	case err != nil:
		return err
	}
	return s.answerSubmitted(ctx, w, m.Key, results[0])
}

// readMessage gives the message of a request. Its key may stand in the header,
// as with the API that weir serves.
func (s *Server) readMessage(r *http.Request) (outbox.Message, error) {
	received := s.cfg.Now()
	data, err := readBody(r)
	switch {
	case err != nil:
		return outbox.Message{}, err
	case len(data) > outbox.MaxEnvelope:
		return outbox.Message{}, refuse(http.StatusRequestEntityTooLarge, "too_large", "the envelope has more than %d bytes", outbox.MaxEnvelope)
	case !json.Valid(data):
		return outbox.Message{}, badJSON()
	}
	key := r.Header.Get("Idempotency-Key")
	e, err := outbox.ParseEnvelope(data)
	if bad, ok := errors.AsType[*outbox.InvalidError](err); ok && key != "" {
		bad.Details = slices.DeleteFunc(bad.Details, func(d outbox.Detail) bool { return d.Field == keyField })
	}
	switch {
	case err != nil:
		return outbox.Message{}, err
	case key != "" && e.Key != "" && key != e.Key:
		return outbox.Message{}, invalidField(keyField, "differs from the header Idempotency-Key: make them equal or leave one out")
	case e.Key == "":
		e.Key = key
	}
	return e.Message(received, s.cfg.Channels)
}

const keyField = "idempotency_key"

// answerSubmitted tells what became of a message, and shows the stored one.
func (s *Server) answerSubmitted(ctx context.Context, w http.ResponseWriter, key string, result outbox.Result) error {
	stored, err := s.cfg.Store.Stored(ctx, key)
	if err != nil {
		return err
	}
	var row struct {
		ID    int64  `json:"id"` // none if only a tombstone is left
		State string `json:"state"`
	}
	if err := json.Unmarshal(stored, &row); err != nil {
		return err
	}
	name := "a message that is no longer kept"
	if row.ID > 0 {
		name = fmt.Sprintf("message %d", row.ID)
		w.Header().Set("Location", "/api/v1/messages/"+strconv.FormatInt(row.ID, 10))
	}
	if result == outbox.Conflict {
		return &fault{
			status: http.StatusConflict, Code: "conflict", Message: "the key stands for another message: give this one a key of its own",
			Details: []outbox.Detail{{Field: keyField, Message: fmt.Sprintf("is that of %s, which has another body or account and is %s", name, row.State)}},
		}
	}
	writeJSON(w, http.StatusAccepted, submitted{result, stored})
	return nil
}

// crowd counts the messages that are about to be stored, so that many at once
// do not pass the bound together.
type crowd struct{ entering atomic.Int64 }

// enter refuses a message that would be one too many. One that is there already
// is none more: its producer, who has not heard of it, is to be told.
func (c *crowd) enter(ctx context.Context, w http.ResponseWriter, s *Server, key string) (leave func(), err error) {
	most := s.cfg.MaxPending
	if most == 0 {
		return func() {}, nil
	}
	entering := int(c.entering.Add(1)) // before the count: none is in neither
	leave = func() { c.entering.Add(-1) }
	st, err := s.readStatus(ctx)
	if err != nil {
		leave()
		return nil, err
	}
	load := loadOf(st)
	left := most - load.waiting - entering
	wait := load.wait(-left)
	header := w.Header()
	header.Set("X-RateLimit-Limit", strconv.Itoa(most))
	header.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, left)))
	header.Set("X-RateLimit-Reset", strconv.FormatInt(s.cfg.Now().Add(wait).Unix(), 10))
	if left >= 0 {
		return leave, nil
	}
	_, err = s.cfg.Store.Stored(ctx, key)
	if err == nil {
		return leave, nil
	}
	leave()
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return nil, refuse(http.StatusTooManyRequests, "rate_limit_exceeded",
		"%d messages wait, and WEIR_MAX_PENDING allows %d: hand this one over later, or raise it", load.waiting, most).again(wait)
}

// load is how much waits, and how fast it goes.
type load struct{ waiting, perMinute int }

func loadOf(st Status) (l load) {
	for _, b := range st.Buckets {
		l.waiting += b.Pending + b.Retrying
		l.perMinute += b.SentLastMinute
	}
	return l
}

// wait estimates when so many will have left, within a minute.
func (l load) wait(surplus int) time.Duration {
	if surplus <= 0 {
		return 0
	}
	if l.perMinute == 0 {
		return time.Minute
	}
	return min(time.Minute, time.Duration(surplus)*time.Minute/time.Duration(l.perMinute))
}
