package admin

import (
	"errors"
	"net/http"

	"weir/store"
)

// rejectedPage is a page of the list of what could not become a message.
type rejectedPage struct {
	Rejected   []store.RejectedRow `json:"rejected"`
	NextCursor *string             `json:"next_cursor"`
	HasMore    bool                `json:"has_more"`
}

func (s *Server) listRejected(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r, "limit", "cursor")
	if err != nil {
		return err
	}
	limit, err := q.limit()
	if err != nil {
		return err
	}
	before, err := q.cursor()
	if err != nil {
		return err
	}
	rows, err := s.cfg.Store.Rejected(r.Context(), before, limit+1)
	if err != nil {
		return err
	}
	var page rejectedPage
	page.Rejected, page.NextCursor, page.HasMore = cutPage(rows, limit, func(row store.RejectedRow) int64 { return row.ID })
	writeJSON(w, http.StatusOK, page)
	return nil
}

// getPayload gives a payload as it came. It may be anything: it is for no
// browser to interpret.
func (s *Server) getPayload(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "what was rejected")
	if err != nil {
		return err
	}
	payload, err := s.cfg.Store.RejectedPayload(r.Context(), id)
	if err != nil {
		return rejectedFault(id, err)
	}
	s.cfg.Log.Info("a rejected payload was read", "rejected", id, "request_id", requestID(r))
	writeJSON(w, http.StatusOK, struct {
		Payload string `json:"payload"`
	}{string(payload)})
	return nil
}

func (s *Server) postRequeue(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "what was rejected")
	if err != nil {
		return err
	}
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	m, result, err := s.cfg.Store.RequeueRejected(r.Context(), id, s.cfg.Channels)
	if err != nil {
		return rejectedFault(id, err)
	}
	s.cfg.Log.Info("an operator requeued a rejected payload", "rejected", id, "result", string(result), "request_id", requestID(r))
	return s.answerSubmitted(r.Context(), w, m.Key, result)
}

func rejectedFault(id int64, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refuse(http.StatusNotFound, "not_found", "nothing rejected has the id %d", id)
	case errors.Is(err, store.ErrCut):
		return refuse(http.StatusGone, "cut", "only a part of the payload is kept: send the message anew")
	}
	return err
}
