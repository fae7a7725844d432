package dispatcher

import (
	"context"
	"time"

	"weir/outbox"
)

// Source hands over references of messages that are due, in order. It blocks
// until there is at least one or ctx ends, and may return the same reference
// again: the claim decides. How many are wanted at most is a hint: a few more
// may come.
type Source interface {
	FetchWork(ctx context.Context, bucket outbox.Bucket, lane outbox.Lane, most int) ([]outbox.Ref, error)
	// Trouble is why it gives nothing now, for people; empty if nothing is in the way.
	Trouble() string
}

// Ledger is the record of every message. What its methods return from is on
// disk. An error means that the ledger can no longer be written, and ends the
// dispatcher.
type Ledger interface {
	// Claim marks the messages as being sent by this daemon and returns those
	// that it got; a reference that is stale is left out.
	Claim(ctx context.Context, scope string, refs []outbox.Ref) ([]Claim, error)
	// Record stores what an attempt made of a claim. It returns before that is
	// on disk: done is called then, and must not block. So a worker need not
	// wait, and the outcomes of one commit free their seats together.
	Record(r Record, done func(error))
	// Release gives claims back whose request was never made, as if they had
	// not been claimed, but under the next generation.
	Release(ctx context.Context, claims []Claim) error
}

// Board keeps what people watch: the gates, so that they survive a restart,
// and the gauges of each bucket.
type Board interface {
	// PutGate stores a gate, replacing the one of the same scope, kind and setter,
	// but for a wish that has not been taken.
	PutGate(ctx context.Context, g Gate) error
	// DropGate removes the gate of that scope, kind and setter.
	DropGate(ctx context.Context, g Gate) error
	// Report shows the gauges of all buckets; what has not changed need not be
	// written again.
	Report(ctx context.Context, gauges []Gauges) error
}

// Record is one attempt, as the ledger keeps it.
type Record struct {
	Claim     Claim
	Answer    Answer
	Judgement Judgement
	Limit     LimitSeen
}

// LimitSeen is what the rate-limit headers of one answer said.
type LimitSeen struct {
	Limit     *int
	Remaining *int
	Reset     time.Time // zero: absent or unusable
}

// Gauges are a bucket's figures that no count of rows gives. Nil and zero mean
// unknown, except in State.
type Gauges struct {
	Bucket         outbox.Bucket
	State          GateKind // Running: no gate stands
	Reason         string
	Since          time.Time
	Until          time.Time
	LimitScope     string
	RateLimit      *int
	Remaining      *int
	Reset          time.Time
	Window         time.Duration
	ClockOffset    *time.Duration
	Rate           float64 // messages a second that the limit lets through; 0: unknown
	SentLastMinute int
	LastRequestID  string
	LastErrorCode  string
}
