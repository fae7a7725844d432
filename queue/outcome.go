package queue

import (
	"weir/outbox"
)

// PublishOutcome announces what became of a message on weir.outcome.<state>. It
// is best effort: it waits for no answer, and while NATS is out of reach the
// event is dropped.
func (q *Queue) PublishOutcome(outcome outbox.Outcome) {
	data, err := outcome.MarshalJSON() // json.Marshal would check and compact what it gives
	if err == nil {
		err = q.nc.Publish(outcomePrefix+outcome.State, data)
	}
	if err != nil {
		q.cfg.Log.Debug("outcome event dropped", "state", outcome.State, "error", err)
	}
}
