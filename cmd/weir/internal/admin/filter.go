package admin

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"weir/outbox"
	"weir/store"
)

// filter selects messages, in the query of a list and in the body of a change of
// many.
type filter struct {
	State         stateNames `json:"state"`
	Lane          string     `json:"lane"`
	Account       string     `json:"account"`
	Channel       string     `json:"channel"`
	ErrorCode     string     `json:"error_code"`
	RequestID     string     `json:"request_id"`
	RecipientHash string     `json:"recipient_hash"`
	Key           string     `json:"idempotency_key"`
	Since         string     `json:"since"`
	Until         string     `json:"until"`
}

var filterNames = namesOf(new(filter))

func (f filter) isEmpty() bool { return reflect.ValueOf(f).IsZero() }

// stateNames is one state, several with commas between them, or a list.
type stateNames []string

// UnmarshalJSON implements json.Unmarshaler.
func (n *stateNames) UnmarshalJSON(data []byte) error {
	var list []string
	if len(data) > 0 && data[0] == '"' {
		list = make([]string, 1)
		data = slices.Concat([]byte{'['}, data, []byte{']'})
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return invalidField("state", "must be a state or a list of states")
	}
	*n = splitStates(list)
	return nil
}

func splitStates(said []string) (names stateNames) {
	for _, one := range said {
		names = append(names, strings.Split(one, ",")...)
	}
	return names
}

var hashForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// selection is the filter as the store has it. What cannot select anything is
// refused: it is mistyped.
func (f filter) selection() (store.Filter, error) {
	var bad outbox.InvalidError
	wrong := func(field, message string) {
		bad.Details = append(bad.Details, outbox.Detail{Field: field, Message: message})
	}
	chosen := store.Filter{
		Key: f.Key, Account: f.Account, Channel: f.Channel, Lane: outbox.Lane(f.Lane),
		ErrorCode: f.ErrorCode, RequestID: f.RequestID, RecipientHash: f.RecipientHash,
	}
	for _, name := range f.State {
		chosen.States = append(chosen.States, outbox.State(name))
	}
	if slices.ContainsFunc(chosen.States, func(s outbox.State) bool { return !slices.Contains(outbox.States[:], s) }) {
		wrong("state", "must be of "+joined(outbox.States[:]))
	}
	if f.Lane != "" && !slices.Contains(outbox.Lanes[:], chosen.Lane) {
		wrong("lane", "must be one of "+joined(outbox.Lanes[:]))
	}
	if f.RecipientHash != "" && !hashForm.MatchString(f.RecipientHash) {
		wrong("recipient_hash", "must be the SHA-256 of the recipient in 64 hex digits, in lower case")
	}
	for _, t := range []struct {
		field, text string
		to          *time.Time
	}{{"since", f.Since, &chosen.Since}, {"until", f.Until, &chosen.Until}} {
		if t.text == "" {
			continue
		}
		at, err := outbox.ParseTime(t.text)
		if err != nil {
			wrong(t.field, "must be a time in RFC 3339, such as 2026-03-28T14:30:00Z")
		}
		*t.to = at
	}
	if len(bad.Details) > 0 {
		return store.Filter{}, &bad
	}
	return chosen, nil
}

func joined[T ~string](names []T) string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = string(name)
	}
	return strings.Join(texts, ", ")
}
