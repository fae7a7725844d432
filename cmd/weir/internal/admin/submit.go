package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"weir/outbox"
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
	leave, err := s.admit(ctx, w, m.Key)
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
