package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"weir/cmd/weir/internal/steer"
	"weir/outbox"
	"weir/store"
)

// deadline is what a retry may say of a new one.
type deadline struct {
	ExpiresAt string `json:"expires_at"`
	TTL       string `json:"ttl"`
}

func (s *Server) postRetry(w http.ResponseWriter, r *http.Request) error {
	var asked deadline
	if err := decode(r, &asked); err != nil {
		return err
	}
	end, err := steer.Deadline(s.cfg.Now(), asked.ExpiresAt, asked.TTL)
	if err != nil {
		return err
	}
	return s.act(w, r, "retry", steer.NoRetry, func(ctx context.Context, key string) (outbox.State, error) {
		return s.cfg.Store.Retry(ctx, key, end)
	})
}

func (s *Server) postCancel(w http.ResponseWriter, r *http.Request) error {
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	return s.act(w, r, "cancel", steer.NoCancel, s.cfg.Store.Cancel)
}

// resolution is what a person found out of an unknown message.
type resolution struct {
	Outcome   string `json:"outcome"`
	MessageID string `json:"message_id"`
}

var resolutions = map[string]store.Resolution{
	"sent": store.WasSent, "not_sent": store.WasNotSent, "may_duplicate": store.MayDuplicate,
}

func (s *Server) postResolve(w http.ResponseWriter, r *http.Request) error {
	var asked resolution
	if err := decode(r, &asked); err != nil {
		return err
	}
	found, ok := resolutions[asked.Outcome]
	switch {
	case !ok:
		return invalidField("outcome", "must be sent, not_sent or may_duplicate")
	case asked.MessageID != "" && found != store.WasSent:
		return invalidField("message_id", "goes with the outcome sent only")
	case !isText(asked.MessageID):
		return invalidField("message_id", "has more than %d bytes, or characters that cannot be printed", steer.MaxText)
	}
	return s.act(w, r, "resolve", nil, func(ctx context.Context, key string) (outbox.State, error) {
		return s.cfg.Store.Resolve(ctx, key, found, asked.MessageID)
	})
}

// act changes the message that the path names, and shows it as it is then. If its
// state forbids that, refusals may say for each state why.
func (s *Server) act(
	w http.ResponseWriter, r *http.Request, verb string,
	refusals map[outbox.State]string, change func(ctx context.Context, key string) (outbox.State, error),
) error {
	m, err := s.find(r)
	if err != nil {
		return err
	}
	state, err := change(r.Context(), m.Key)
	switch {
	case errors.Is(err, store.ErrState):
		text := fmt.Sprintf("cannot %s message %d, which is %s", verb, m.ID, state)
		if why := refusals[state]; why != "" {
			text += ": " + why
		}
		return refuse(http.StatusConflict, "wrong_state", "%s", text)
	case errors.Is(err, store.ErrPurged):
		return refuse(http.StatusGone, "purged",
			"cannot %s message %d: its body is no longer kept (WEIR_KEEP_BODIES); if it is still wanted, send it under a new key", verb, m.ID)
	case errors.Is(err, store.ErrDeadline):
		return invalidField("expires_at", "the deadline of message %d has passed: give it a new one by expires_at or ttl", m.ID)
	case err != nil:
		return err
	}
	s.cfg.Log.Info("an operator changed a message", "what", verb, "message", m.ID, "state", string(state), "request_id", requestID(r))
	if m, err = s.cfg.Store.MessageByID(r.Context(), m.ID); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		Message store.MessageView `json:"message"`
	}{m})
	return nil
}
