package dispatcher

import (
	"time"

	"weir/outbox"
)

// Claim is a message that this daemon holds for one attempt: its row says
// "sending" until the attempt is recorded. Zero times mean "none".
type Claim struct {
	outbox.Ref
	Bucket         outbox.Bucket
	Lane           outbox.Lane
	Key            string
	Body           []byte
	Traceparent    string
	Attempts       int // counted ones before this
	Throttles      int
	CreatedAt      time.Time // when the message was stored
	DueAt          time.Time
	ExpiresAt      time.Time
	FirstAttemptAt time.Time // start of the first counted attempt
	AmbiguousAt    time.Time // start of the first ambiguous attempt
	Scope          string    // of the first ambiguous attempt, else of this claim
	ClaimedAt      time.Time
}

// Next is the reference to the message once this claim has been given back.
func (c *Claim) Next() outbox.Ref {
	return outbox.Ref{ID: c.ID, Generation: c.Generation + 1}
}
