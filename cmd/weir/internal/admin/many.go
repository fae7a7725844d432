package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"weir/cmd/weir/internal/steer"
	"weir/outbox"
	"weir/store"
)

// retryMany asks for a retry of all messages that a filter selects.
type retryMany struct {
	cancelMany
	deadline
}

// cancelMany asks for the end of all messages that a filter selects.
type cancelMany struct {
	Filter json.RawMessage `json:"filter"`
	DryRun bool            `json:"dry_run"`
	Before string          `json:"before"` // of a dry run's answer; empty: what is there now
}

// changedMany is how many a filter selected, and of which messages.
type changedMany struct {
	store.Bulk
	Before string `json:"before"` // keeps a change to the messages of this dry run
}

func (s *Server) postRetryMany(w http.ResponseWriter, r *http.Request) error {
	var asked retryMany
	if err := decode(r, &asked); err != nil {
		return err
	}
	end, err := steer.Deadline(s.cfg.Now(), asked.ExpiresAt, asked.TTL)
	if err != nil {
		return err
	}
	return s.many(w, r, asked.cancelMany, "retry", store.Retryable, func(ctx context.Context, f store.Filter) (store.Bulk, error) {
		return s.cfg.Store.RetryMatching(ctx, f, end, asked.DryRun)
	})
}

func (s *Server) postCancelMany(w http.ResponseWriter, r *http.Request) error {
	var asked cancelMany
	if err := decode(r, &asked); err != nil {
		return err
	}
	return s.many(w, r, asked, "cancel", store.Cancelable, func(ctx context.Context, f store.Filter) (store.Bulk, error) {
		return s.cfg.Store.CancelMatching(ctx, f, asked.DryRun)
	})
}

// many changes what a filter selects, in as many commits as it takes: it may
// take minutes, and ends with its caller or the daemon.
func (s *Server) many(
	w http.ResponseWriter, r *http.Request, asked cancelMany, verb string, takes []outbox.State,
	change func(context.Context, store.Filter) (store.Bulk, error),
) error {
	selected, err := readFilter(asked.Filter, takes)
	if err != nil {
		return err
	}
	if selected.Before, err = s.readBefore(r.Context(), asked.Before); err != nil {
		return err
	}
	if err := endless(w); err != nil {
		return err
	}
	ctx, cancel := s.untilStop(r.Context())
	defer cancel()
	sum, err := change(ctx, selected)
	if !asked.DryRun && sum.Changed > 0 {
		s.cfg.Log.Info("an operator changed messages", "what", verb, "changed", sum.Changed, "skipped", sum.Skipped, "request_id", requestID(r))
	}
	if err != nil && ctx.Err() != nil {
		return refuse(http.StatusServiceUnavailable, "unavailable",
			"the call was cut short after %d messages had been changed: make it again for the rest", sum.Changed).again(time.Second)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, changedMany{sum, writeCursor(selected.Before)})
	return nil
}

// readBefore gives the id below which messages are changed. What came after
// somebody was asked was not meant.
func (s *Server) readBefore(ctx context.Context, text string) (int64, error) {
	if text == "" {
		return s.cfg.Store.NextID(ctx)
	}
	id, ok := readCursor(text)
	if !ok {
		return 0, invalidField("before", "is not one that weir gave: take it from the answer to a dry run, or leave it out")
	}
	return id, nil
}

// readFilter reads the filter of a change of many. It has to say something: to
// change everything is seldom meant.
func readFilter(data []byte, takes []outbox.State) (store.Filter, error) {
	var f filter
	if len(data) > 0 {
		if err := decodeObject(data, "filter", &f); err != nil {
			return store.Filter{}, err
		}
	}
	selected, err := f.selection()
	if err != nil {
		return selected, err
	}
	if f.isEmpty() {
		return selected, invalidField("filter", "selects everything: say at least the state")
	}
	if slices.ContainsFunc(selected.States, func(s outbox.State) bool { return !slices.Contains(takes, s) }) {
		return selected, invalidField("state", "must be of %s", joined(takes))
	}
	return selected, nil
}

// endless lets an answer take as long as it takes.
func endless(w http.ResponseWriter) error {
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Time{}); err != nil { // it would end the request too
		return err
	}
	return control.SetWriteDeadline(time.Time{})
}

// untilStop gives a context that ends with the server too.
func (s *Server) untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
