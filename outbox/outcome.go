package outbox

import (
	"encoding/json"
	"time"
)

// Outcome is the event published on weir.outcome.<state> when a message
// settles, and with the state "rejected" for what became none. Absent values
// are null.
type Outcome struct {
	Key        *string   `json:"idempotency_key"`
	State      string    `json:"state"`
	MessageID  *string   `json:"message_id"`
	RequestID  *string   `json:"request_id"`
	HTTPStatus *int      `json:"http_status"`
	ErrorCode  *string   `json:"error_code"`
	Attempts   int       `json:"attempts"`
	At         time.Time `json:"at"`
}

// MarshalJSON writes the event. Its time is in UTC and always shows
// milliseconds, so that texts compare as the times do.
func (o Outcome) MarshalJSON() ([]byte, error) {
	type event Outcome // without this method
	return json.Marshal(struct {
		event
		At string `json:"at"`
	}{event(o), o.At.UTC().Format("2006-01-02T15:04:05.000Z")})
}
