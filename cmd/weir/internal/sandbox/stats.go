package sandbox

import (
	"maps"
	"strings"
	"time"
)

// keptSamples is how many request ids are kept of each violation.
const keptSamples = 5

// Stats is what the server has seen since it started. Requests to /stats and
// /control are not in it.
type Stats struct {
	// Requests counts every request that arrived, also those that a fault
	// kept from the API.
	Requests int `json:"requests"`
	// Executed counts effects: messages that went out.
	Executed int `json:"executed"`
	// Keys counts the idempotency keys seen.
	Keys int `json:"keys"`
	// Twice counts effects of a key that had taken effect before.
	Twice int `json:"twice"`
	// Replayed counts answers that were given again.
	Replayed int `json:"replayed"`
	// Conflicts counts requests whose key stands for another body.
	Conflicts int `json:"conflicts"`
	// InProgress counts requests whose key was being executed.
	InProgress int `json:"in_progress"`
	// WithoutKey counts sends that the API took without a key.
	WithoutKey int `json:"without_key"`
	// Throttled counts requests that the limit refused.
	Throttled int `json:"throttled"`
	// Violations counts by name what must never be sent.
	Violations map[string]Violation `json:"violations"`
	// Status counts the answers by status.
	Status map[int]int `json:"status"`
	// Faults counts how often each kind of fault struck.
	Faults map[Kind]int `json:"faults"`
	// FirstRequestAt and LastAcceptedAt are nil before there was one.
	FirstRequestAt *time.Time `json:"first_request_at"`
	LastAcceptedAt *time.Time `json:"last_accepted_at"`
	// Allowed counts the requests that the limits let pass, and Capacity
	// those that they would have let pass from the start of the first window
	// to the last one let pass: Allowed / Capacity is the share used.
	Allowed  int     `json:"allowed"`
	Capacity float64 `json:"capacity"`
	// Limits tells the same of each limit by itself.
	Limits []LimitStats `json:"limits"`
}

// Violation is how often something happened that must not.
type Violation struct {
	Count int `json:"count"`
	// Samples are the first few request ids, with method and path.
	Samples []string `json:"samples"`
}

// LimitStats is what one limit has allowed.
type LimitStats struct {
	// Key is the number of the API key, from 1 in the order of first use.
	Key int `json:"key"`
	// Channel is empty where one limit counts all channels.
	Channel   string   `json:"channel,omitempty"`
	Allowed   int      `json:"allowed"`
	Throttled int      `json:"throttled"`
	Capacity  float64  `json:"capacity"`
	Windows   []Window `json:"windows"`
}

// Window is one window of a limit, its start by the server's clock. Only the
// last hundred are kept.
type Window struct {
	Start     time.Time `json:"start"`
	Limit     int       `json:"limit"`
	Allowed   int       `json:"allowed"`
	Throttled int       `json:"throttled"`
}

// Stats tells what the server has seen.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.stats
	all.Executed, all.Twice, all.Keys = len(s.books.effects), s.books.twice, len(s.books.entries)
	all.Status, all.Faults = maps.Clone(all.Status), maps.Clone(all.Faults)
	all.Violations = maps.Clone(all.Violations)
	all.Limits = []LimitStats{}
	numbers := map[string]int{}
	for _, name := range s.limits.names {
		if numbers[name.key] == 0 {
			numbers[name.key] = len(numbers) + 1
		}
		one := s.limits.buckets[name].stats()
		one.Key, one.Channel = numbers[name.key], name.channel
		all.Limits = append(all.Limits, one)
		all.Allowed += one.Allowed
		all.Throttled += one.Throttled
		all.Capacity += one.Capacity
	}
	return all
}

// Keys tells what the server knows of every idempotency key that begins with
// prefix.
func (s *Server) Keys(prefix string) map[string]Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := map[string]Key{}
	for name, e := range s.books.entries {
		if strings.HasPrefix(name, prefix) {
			keys[name] = e.key()
		}
	}
	return keys
}

// violated counts v. It requires that s.mu is held.
func (s *Server) violated(v violation, sample string) {
	known := s.stats.Violations[string(v)]
	known.Count++
	if len(known.Samples) < keptSamples {
		known.Samples = append(known.Samples, sample)
	}
	s.stats.Violations[string(v)] = known
}
