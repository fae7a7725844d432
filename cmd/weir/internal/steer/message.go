// Package steer provides what the commands and the HTTP API have in common when
// an operator steers, beyond package store: how a scope is named, and why
// something cannot be done to a message, in words.
package steer

import (
	"time"

	"weir/outbox"
)

const (
	// MaxText bounds in bytes what a person says, as it does all text that is stored.
	MaxText = 1024
	// PausedByHand is the reason of a pause for which none is given.
	PausedByHand = "paused by an operator"
)

// NoRetry says by state why a message cannot be retried, or what to do instead.
var NoRetry = map[outbox.State]string{
	outbox.Pending:  "it waits for its turn already",
	outbox.Retrying: "it is tried again anyway",
	outbox.Sending:  "it is being sent",
	outbox.Sent:     "sending it again would have a second effect",
	outbox.Unknown:  "it may have been sent; find out, and resolve it (weir messages resolve)",
}

// NoCancel is NoRetry for canceling.
var NoCancel = map[outbox.State]string{
	outbox.Sending: "it is being sent; see what comes of it (weir messages show)",
}

// Deadline reads a new deadline for a message by the rules for envelopes, as a
// time or a span from now on; zero if none is said. It must lie ahead. The error
// is an *outbox.InvalidError.
func Deadline(now time.Time, expiresAt, ttl string) (time.Time, error) {
	e := outbox.Envelope{Key: "-", Body: []byte("{}"), TTL: ttl}
	if expiresAt != "" {
		var err error
		if e.ExpiresAt, err = outbox.ParseTime(expiresAt); err != nil {
			return time.Time{}, wrong("expires_at", err.Error())
		}
	}
	m, err := e.Message(now, nil)
	if err == nil && !m.ExpiresAt.IsZero() && !m.ExpiresAt.After(now) {
		err = wrong("expires_at", "is over already")
	}
	return m.ExpiresAt, err
}

// PauseEnd reads when a pause is to end by itself: a time in RFC 3339 or a span
// such as 90s or 2h; zero if none is said. It must lie ahead. The error is an
// *outbox.InvalidError.
func PauseEnd(now time.Time, until string) (time.Time, error) {
	if until == "" {
		return time.Time{}, nil
	}
	end, err := outbox.ParseTime(until)
	if err != nil {
		span, err := time.ParseDuration(until)
		if err != nil {
			return time.Time{}, wrong("until", "is neither a time in RFC 3339, such as 2026-03-28T14:30:00Z, nor a span, such as 90s or 2h")
		}
		end = now.Add(span)
	}
	if !end.After(now) {
		return time.Time{}, wrong("until", "is over already")
	}
	return end, nil
}

func wrong(field, message string) error {
	return &outbox.InvalidError{Details: []outbox.Detail{{Field: field, Message: message}}}
}
