package sim

import (
	"fmt"
	"slices"
	"time"
)

// Model is how a limit counts.
type Model string

// The models of a limit.
const (
	// Clock counts in windows aligned to the clock.
	Clock Model = "clock"
	// FirstRequest counts in windows that a request opens once the one before is over.
	FirstRequest Model = "first-request"
	// SlidingLog counts over the last window's length, at any moment.
	SlidingLog Model = "log"
	// SlidingCounter counts in windows aligned to the clock, and on top the
	// share of the one before that a sliding window would still cover.
	SlidingCounter Model = "counter"
	// TokenBucket holds at most the limit and refills evenly over the window's length.
	TokenBucket Model = "bucket"
)

// Models gives every Model there is.
func Models() []Model {
	return []Model{Clock, FirstRequest, SlidingLog, SlidingCounter, TokenBucket}
}

// New returns a limit of that model in which nothing is used. What is no Model
// counts like Clock.
func (m Model) New(limit int, length time.Duration) Limit {
	switch m {
	case SlidingLog:
		return NewLog(limit, length)
	case SlidingCounter:
		return NewCounter(limit, length)
	case TokenBucket:
		return NewBucket(limit, length)
	}
	return NewWindow(limit, length, m != FirstRequest)
}

// Text says in a few words how the Model counts.
func (m Model) Text() string {
	switch m {
	case FirstRequest:
		return "windows that a request opens"
	case SlidingLog:
		return "a sliding log"
	case SlidingCounter:
		return "a sliding counter"
	case TokenBucket:
		return "a bucket that refills evenly"
	}
	return "windows aligned to the clock"
}

// Windowed tells whether the limit is whole again at the end of each window,
// and not little by little.
func (m Model) Windowed() bool { return m == Clock || m == FirstRequest }

// UnmarshalText reads a Model's name.
func (m *Model) UnmarshalText(text []byte) error { return unmarshal(m, text, Models()) }

// MarshalText gives the Model's name.
func (m Model) MarshalText() ([]byte, error) { return []byte(m), nil }

// Headers says which answers carry X-RateLimit-Limit, -Remaining and -Reset.
type Headers string

// The ways of telling about the limit. The body of a 429 names retry_after in
// all of them but None.
const (
	// Always puts them on every answer to a request that was counted or refused by the limit.
	Always Headers = "always"
	// On429 puts them on 429 only.
	On429 Headers = "on-429"
	// RetryAfterOnly puts a Retry-After header on 429 and no others anywhere.
	RetryAfterOnly Headers = "retry-after-only"
	// None puts none anywhere.
	None Headers = "none"
)

// AllHeaders gives every way of telling there is.
func AllHeaders() []Headers { return []Headers{Always, On429, RetryAfterOnly, None} }

// UnmarshalText reads the name of a way.
func (h *Headers) UnmarshalText(text []byte) error { return unmarshal(h, text, AllHeaders()) }

// MarshalText gives the way's name.
func (h Headers) MarshalText() ([]byte, error) { return []byte(h), nil }

func unmarshal[T ~string](dst *T, text []byte, names []T) error {
	if !slices.Contains(names, T(text)) {
		return fmt.Errorf("%q: want one of %v", text, names)
	}
	*dst = T(text)
	return nil
}
