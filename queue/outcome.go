package queue

import (
	"encoding/json"
	"time"

	"weir/outbox"
)

// PublishOutcome announces what became of a message on weir.outcome.<state>. It
// is best effort: it waits for no answer, and while NATS is out of reach the
// event is dropped. The time is given in UTC and whole milliseconds.
func (q *Queue) PublishOutcome(outcome outbox.Outcome) {
	outcome.At = outcome.At.UTC().Truncate(time.Millisecond)
	data, err := json.Marshal(outcome)
	if err == nil {
		err = q.nc.Publish(outcomePrefix+outcome.State, data)
	}
	if err != nil {
		q.cfg.Log.Debug("outcome event dropped", "state", outcome.State, "error", err)
	}
}
