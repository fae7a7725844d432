package store

import (
	"time"

	"weir/dispatcher"
)

// maxAttemptRows is after how many rows all further attempts share the last one:
// the first ones and the latest tell the story.
const maxAttemptRows = 500

// attempt is one request on the wire, or one claim that died with its daemon.
type attempt struct {
	started      time.Time
	duration     time.Duration
	verdict      dispatcher.Verdict
	httpStatus   int
	errorCode    string
	errorMessage string
	requestID    string
	limit        dispatcher.LimitSeen
	generation   int64 // of the message, which grows between two attempts
}

// attempt adds a row, numbered over all requests of the message. Requests that
// say nothing about the message itself (throttled, and probes of a gate) share
// one row while nothing else lies between, so that a long park cannot fill the
// table: the row shows the latest and counts them all. So do all requests once
// there are 500 rows, whatever they came to.
func (t *tx) attempt(message int64, a attempt) error {
	var durationMS any
	if a.verdict != dispatcher.Lost {
		durationMS = a.duration.Milliseconds()
	}
	values := []any{
		message, a.started.UnixMilli(), durationMS, string(a.verdict), number(a.httpStatus), text(a.errorCode),
		text(a.errorMessage), text(a.requestID), a.limit.Limit, a.limit.Remaining, millis(a.limit.Reset),
	}
	crowded, err := t.crowded(message, a.generation)
	if err != nil {
		return err
	}
	if crowded || shared(a.verdict) {
		n, err := t.changed(`
			UPDATE attempts SET
				requests = requests + 1, started_at = ?2, duration_ms = ?3, verdict = ?4, http_status = ?5, error_code = ?6,
				error_message = ?7, request_id = ?8, rate_limit = ?9, remaining = ?10, reset_at = ?11
			WHERE message = ?1 AND (verdict = ?4 OR ?12)
			  AND number = (SELECT max(number) FROM attempts WHERE message = ?1)`, append(values, crowded)...)
		if err != nil || n == 1 {
			return err
		}
	}
	_, err = t.query(`
		INSERT INTO attempts (message, number, started_at, duration_ms, verdict, http_status, error_code,
		                      error_message, request_id, rate_limit, remaining, reset_at)
		VALUES (?1, 1 + coalesce((SELECT sum(requests) FROM attempts WHERE message = ?1), 0),
		        ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)`).Exec(values...)
	return err
}

// crowded tells whether a message has all the rows that it may have. Few need a
// look: each attempt has had a generation of its own.
func (t *tx) crowded(message, generation int64) (crowded bool, err error) {
	if generation <= maxAttemptRows {
		return false, nil
	}
	err = t.query(`
		SELECT count(*) >= ? FROM attempts
		WHERE message = ?`).QueryRow(maxAttemptRows, message).Scan(&crowded)
	return crowded, err
}

func shared(v dispatcher.Verdict) bool {
	switch v {
	case dispatcher.Throttled, dispatcher.Unauthorized, dispatcher.Unpaid, dispatcher.NotAPI:
		return true
	}
	return false
}
