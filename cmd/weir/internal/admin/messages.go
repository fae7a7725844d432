package admin

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"

	"weir/outbox"
	"weir/store"
)

// message is one message with what was tried.
type message struct {
	store.MessageView
	Attempts []store.AttemptView `json:"attempts"`
}

// messagePage is a page of a list of messages.
type messagePage struct {
	Messages   []store.MessageView `json:"messages"`
	NextCursor *string             `json:"next_cursor"`
	HasMore    bool                `json:"has_more"`
}

// maxPage is how many rows a page of a list has at most, defaultPage how many
// if none is asked for.
const (
	maxPage     = 200
	defaultPage = 50
)

func (s *Server) listMessages(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r, "state", "lane", "account", "channel", "limit", "cursor")
	if err != nil {
		return err
	}
	filter := store.Filter{
		State: outbox.State(q.Get("state")), Lane: outbox.Lane(q.Get("lane")), Account: q.Get("account"), Channel: q.Get("channel"),
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
	page := messagePage{Messages: rows[:min(len(rows), limit)], HasMore: len(rows) > limit}
	if page.HasMore {
		next := writeCursor(page.Messages[limit-1].ID)
		page.NextCursor = &next
	}
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
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return store.MessageView{}, refuse(http.StatusNotFound, "not_found", "a message is named by its id, a number, not by its key")
	}
	rows, err := s.cfg.Store.Messages(r.Context(), store.Filter{Before: id + 1, Most: 1})
	if err != nil {
		return store.MessageView{}, err
	}
	if len(rows) == 0 || rows[0].ID != id {
		return store.MessageView{}, store.ErrNotFound
	}
	return rows[0], nil
}

// writeCursor and readCursor: opaque, so that what stands behind may change.
func writeCursor(id int64) string {
	return base64.RawURLEncoding.EncodeToString([]byte("1:" + strconv.FormatInt(id, 10)))
}

func readCursor(text string) (int64, bool) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(data) < 3 || string(data[:2]) != "1:" {
		return 0, false
	}
	id, err := strconv.ParseInt(string(data[2:]), 10, 64)
	return id, err == nil && id > 0 && writeCursor(id) == text
}
