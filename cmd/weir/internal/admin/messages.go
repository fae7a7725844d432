package admin

import (
	"net/http"
	"slices"
	"strconv"

	"weir/store"
)

// message is one message with what was tried, as weir messages show --json
// prints it.
type message struct {
	store.MessageView
	Timeline []store.AttemptView `json:"timeline"`
}

// messagePage is a page of the list of messages.
type messagePage struct {
	Messages   []store.MessageView `json:"messages"`
	NextCursor *string             `json:"next_cursor"`
	HasMore    bool                `json:"has_more"`
}

func (s *Server) listMessages(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r, append(filterNames, "limit", "cursor")...)
	if err != nil {
		return err
	}
	filter, err := q.filter().selection()
	if err != nil {
		return err
	}
	limit, err := q.limit()
	if err != nil {
		return err
	}
	if filter.Before, err = q.cursor(); err != nil {
		return err
	}
	filter.Most = limit + 1
	rows, err := s.cfg.Store.Messages(r.Context(), filter)
	if err != nil {
		return err
	}
	var page messagePage
	page.Messages, page.NextCursor, page.HasMore = cutPage(rows, limit, func(m store.MessageView) int64 { return m.ID })
	writeJSON(w, http.StatusOK, page)
	return nil
}

func (s *Server) getMessage(w http.ResponseWriter, r *http.Request) error {
	m, err := s.find(r)
	if err != nil {
		return err
	}
	attempts, err := s.cfg.Store.Attempts(r.Context(), m.ID)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, message{m, attempts})
	return nil
}

func (s *Server) getBody(w http.ResponseWriter, r *http.Request) error {
	m, err := s.find(r)
	if err != nil {
		return err
	}
	body, err := s.cfg.Store.Body(r.Context(), m.Key)
	if err != nil {
		return err
	}
	if body == "" {
		return refuse(http.StatusGone, "purged", "the body of message %d is no longer kept (WEIR_KEEP_BODIES)", m.ID)
	}
	s.cfg.Log.Info("a body was read", "message", m.ID, "request_id", requestID(r))
	// Not encoded again: the bytes are those that the API gets.
	write(w, http.StatusOK, "application/json", slices.Concat([]byte(`{"body":`), []byte(body), []byte("}\n")))
	return nil
}

// find gives the message that the path names.
func (s *Server) find(r *http.Request) (store.MessageView, error) {
	id, err := pathID(r, "a message")
	if err != nil {
		return store.MessageView{}, err
	}
	return s.cfg.Store.MessageByID(r.Context(), id)
}

// pathID gives the id in a path.
func pathID(r *http.Request, what string) (int64, error) {
	text := r.PathValue("id")
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 || strconv.FormatInt(id, 10) != text {
		return 0, refuse(http.StatusNotFound, "not_found", "%s is named here by its id, a number", what)
	}
	return id, nil
}
