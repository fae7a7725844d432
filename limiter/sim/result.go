package sim

import (
	"slices"
	"time"
)

// Tally counts what the server said to requests of ours.
type Tally struct{ Accepted, Refused int }

// Per10k is how many were refused for each 10,000 accepted; 0 if none was accepted.
func (t Tally) Per10k() float64 {
	if t.Accepted == 0 {
		return 0
	}
	return 1e4 * float64(t.Refused) / float64(t.Accepted)
}

// Result is what came of a Scenario. Times are since its start.
type Result struct {
	// Use is how many requests were accepted while measured, as a share of
	// what the limit allowed and the rival left.
	Use float64
	// Cold is what happened during the cold start, Measured from then on.
	Cold, Measured Tally
	// Times is when each request was accepted.
	Times []time.Duration
	// HighWaits and Waits are how long messages of the high and the ordinary
	// lane that came while measured waited until the request left that was
	// accepted. Those still waiting at the end count with their wait so far.
	// Of an endless backlog nothing waits.
	HighWaits, Waits []time.Duration
	// Done is when the answer to the last message of a Backlog was received;
	// 0 if that was not reached.
	Done time.Duration
	// Spins is how often the policy named a time to ask again that was not
	// ahead, though it had refused to grant more. A sound one never does.
	Spins int
	// Trace is every arrival at the server, if Scenario.Traced is set.
	Trace []Arrival
}

// Total is what happened in all.
func (r Result) Total() Tally {
	return Tally{r.Cold.Accepted + r.Measured.Accepted, r.Cold.Refused + r.Measured.Refused}
}

// Arrival is one request as the server saw it.
type Arrival struct {
	At      time.Duration
	Rival   bool // not ours
	Allowed bool
	Limit   int
	Left    int           // of Limit, after it
	Reset   time.Duration // when the limit is whole again
}

// Quantile is the shortest wait that a share of the waits, from 0 to 1, does
// not exceed; 0 if there are none.
func Quantile(waits []time.Duration, share float64) time.Duration {
	if len(waits) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(waits))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}
