package outbox

import "time"

// Outcome is the event published on weir.outcome.<state> when a message
// settles. Absent values are null.
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
