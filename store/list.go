package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/outbox"
)

// Filter selects messages; zero fields select all.
type Filter struct {
	Key           string
	States        []outbox.State // any of these
	Account       string
	Channel       string
	Lane          outbox.Lane
	ErrorCode     string
	RequestID     string    // of any of its attempts that is on record
	RecipientHash string    // see outbox.RecipientHash
	Since         time.Time // accepted then or later
	Until         time.Time // accepted before
	Before        int64     // only those with a smaller id: the next page
	Most          int       // at most so many, the latest first

	after       int64 // only those with a larger id
	oldestFirst bool
}

// Messages returns the messages that match, newest first. What no index finds
// is looked for row by row, a million of them in a quarter of a second: for so rare a
// question, an index would cost every message more than it saves.
func (s *Store) Messages(ctx context.Context, f Filter) ([]MessageView, error) {
	messages := []MessageView{}
	query, args, err := s.selection(ctx, f)
	if err == nil {
		err = s.search.SelectContext(ctx, &messages, `
			SELECT `+messageColumns+` FROM messages_readable
			WHERE id IN (`+query+`)
			ORDER BY id DESC`, args...)
	}
	if err != nil {
		return nil, fmt.Errorf("store: listing messages: %w", err)
	}
	return messages, nil
}

// selection is a query for the ids of what f selects, in order.
func (s *Store) selection(ctx context.Context, f Filter) (query string, args []any, err error) {
	order := `ORDER BY id DESC LIMIT ?`
	if f.oldestFirst {
		order = `ORDER BY id LIMIT ?`
	}
	common, values, err := s.conditions(ctx, f)
	if err != nil {
		return "", nil, err
	}
	ways, err := s.ways(ctx, f)
	if err != nil {
		return "", nil, err
	}
	var parts []string
	for _, w := range ways {
		parts = append(parts, `SELECT * FROM (SELECT id FROM messages `+w.index+` WHERE `+w.where+common+` `+order+`)`)
		args = append(append(append(args, w.args...), values...), f.Most)
	}
	return `SELECT id FROM (` + strings.Join(parts, ` UNION ALL `) + `) ` + order, append(args, f.Most), nil
}

// conditions are those of f beside the states, each behind an AND.
func (s *Store) conditions(ctx context.Context, f Filter) (where string, args []any, err error) {
	add := func(condition string, arg any) {
		where += ` AND ` + condition
		args = append(args, arg)
	}
	for _, c := range []struct{ column, value string }{
		{"idempotency_key", f.Key}, {"account", f.Account}, {"channel", f.Channel}, {"lane", string(f.Lane)},
		{"error_code", f.ErrorCode}, {"recipient_hash", f.RecipientHash},
	} {
		if c.value != "" {
			add(c.column+` = ?`, c.value)
		}
	}
	if !f.Since.IsZero() {
		add(`created_at >= ?`, f.Since.UnixMilli())
	}
	if !f.Until.IsZero() {
		add(`created_at < ?`, f.Until.UnixMilli())
	}
	if f.Before > 0 {
		add(`id < ?`, f.Before)
	}
	if f.after > 0 {
		add(`id > ?`, f.after)
	}
	if f.RequestID != "" {
		condition, err := s.requestCondition(ctx, f.RequestID)
		if err != nil {
			return "", nil, err
		}
		add(condition, f.RequestID)
	}
	return where, args, nil
}

// requestCondition looks among the attempts. Only of a message that was
// throttled may the row have an older request id than they: they are then shared.
func (s *Store) requestCondition(ctx context.Context, requestID string) (string, error) {
	var there bool
	if err := s.search.GetContext(ctx, &there, `SELECT EXISTS (SELECT 1 FROM attempts WHERE request_id = ?)`, requestID); err != nil {
		return "", err
	}
	if there {
		return `id IN (SELECT message FROM attempts WHERE request_id = ?)`, nil
	}
	return `request_id = ?`, nil
}

// way is how the rows of some states are found in the order of their ids.
type way struct {
	index, where string
	args         []any
}

// ways are those that together find the states of f, each row once. A state that
// a partial index is for stands in the query itself, or SQLite would not see it.
func (s *Store) ways(ctx context.Context, f Filter) ([]way, error) {
	if len(f.States) == 0 {
		return []way{{where: `1`}}, nil
	}
	if f.Key != "" || f.RequestID != "" {
		return []way{among(`+state`, f.States)}, nil // few rows are left already
	}
	var ways []way
	var scanned []outbox.State
	for _, state := range slices.Compact(slices.Sorted(slices.Values(f.States))) {
		is := `state = '` + string(state) + `'`
		switch state {
		case outbox.Failed, outbox.Expired, outbox.Canceled, outbox.Unknown:
			ways = append(ways, way{index: `INDEXED BY messages_unsent`, where: is + ` AND settled_at IS NOT NULL AND state <> 'sent'`})
		case outbox.Sending:
			ways = append(ways, way{index: `INDEXED BY messages_sending`, where: is})
		case outbox.Pending, outbox.Retrying:
			few, err := s.few(ctx, is)
			if err != nil {
				return nil, err
			}
			if few {
				ways = append(ways, way{index: `INDEXED BY messages_` + string(state), where: is})
				break
			}
			fallthrough
		default:
			scanned = append(scanned, state)
		}
	}
	if len(scanned) > 0 {
		scan := among(`state`, scanned)
		scan.index = `NOT INDEXED`
		ways = append(ways, scan)
	}
	return ways, nil
}

func among(column string, states []outbox.State) way {
	w := way{where: column + ` IN (?` + strings.Repeat(`, ?`, len(states)-1) + `)`}
	for _, state := range states {
		w.args = append(w.args, string(state))
	}
	return w
}

// fewRows are so few that sorting them for each page costs next to nothing.
const fewRows = 20_000

// few tells whether few rows wait in a state. Their index has another order
// than that of a list: of many the next ones are found sooner along the ids.
func (s *Store) few(ctx context.Context, is string) (few bool, err error) {
	err = s.search.GetContext(ctx, &few, `
		SELECT count(*) < ? FROM (SELECT 1 FROM messages WHERE `+is+` LIMIT ?)`, fewRows, fewRows)
	return few, err
}

// Keys returns keys of messages that begin with prefix, in their order; without
// one, those of the newest messages.
func (s *Store) Keys(ctx context.Context, prefix string, most int) ([]string, error) {
	keys := []string{}
	query, args := `SELECT idempotency_key FROM messages ORDER BY id DESC LIMIT ?`, []any{most}
	if prefix != "" { // a key has no character beyond ~
		query = `
			SELECT idempotency_key FROM messages
			WHERE idempotency_key >= ? AND idempotency_key < ?
			ORDER BY idempotency_key
			LIMIT ?`
		args = []any{prefix, prefix + "\x7f", most}
	}
	if err := s.search.SelectContext(ctx, &keys, query, args...); err != nil {
		return nil, fmt.Errorf("store: listing keys: %w", err)
	}
	return keys, nil
}
