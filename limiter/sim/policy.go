package sim

import (
	"time"

	"weir/limiter"
)

// Policy decides when requests are sent. A limiter.Limiter is one.
type Policy interface {
	// Grant takes up to n tokens, one for each request. If fewer are granted,
	// retryAt tells when to ask again; it is zero if only an answer can change
	// that. Urgent is for the high lane.
	Grant(now time.Time, urgent bool, n int) (granted int, retryAt time.Time)
	// Sent says that the request of a granted token leaves.
	Sent(now time.Time) limiter.Ticket
	// Answered takes the answer to a request.
	Answered(t limiter.Ticket, now time.Time, a limiter.Answer)
	// Lost says that no answer will come.
	Lost(t limiter.Ticket, now time.Time)
}

var _ Policy = (*limiter.Limiter)(nil)

// NewWeir returns weir's own limiter, set up for s.
func NewWeir(s Scenario) Policy {
	s = s.withDefaults()
	return limiter.New(limiter.Config{MaxInFlight: s.MaxInFlight, Reserve: s.Reserve})
}
