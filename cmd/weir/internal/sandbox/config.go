package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/limiter/sim"
)

// ErrSetting is returned, wrapped, when the text of a setting cannot be read.
var ErrSetting = errors.New("sandbox: bad setting")

// DefaultKey is the API key that is accepted unless Config.Keys says otherwise.
const DefaultKey = "sandbox_key"

// Config says how the simulated API behaves. The zero value is an API without
// a limit that answers at once and finds fault only with bad requests.
type Config struct {
	// Keys are the API keys accepted. They belong to one workspace: a message
	// sent with one of them is known to all. Defaults to DefaultKey.
	Keys []string

	// Limit is how many sends are allowed per Window; 0 means any number, and
	// then no answer carries rate-limit headers.
	Limit int
	// Window is the length of the limit's window. Defaults to one second.
	Window time.Duration
	// Model is how the limit counts. Defaults to sim.Clock.
	Model sim.Model
	// Scope is what one limit counts. Defaults to PerKey.
	Scope Scope
	// Tiers change the limit while the server runs.
	Tiers []Tier

	// Headers says which answers tell about the limit. Defaults to sim.Always.
	Headers sim.Headers
	// Rounding is how X-RateLimit-Reset becomes whole seconds. The zero value
	// is sim.Floor.
	Rounding sim.Rounding
	// RemainingBefore makes X-RateLimit-Remaining leave out the request that
	// it answers.
	RemainingBefore bool
	// RetryAfter adds a Retry-After header to each 429.
	RetryAfter bool
	// NoDate leaves the Date header out.
	NoDate bool
	// Skew is how far the server's clock is ahead of Now; it shifts windows,
	// Reset and Date alike.
	Skew time.Duration

	// Latency passes between a request's arrival and its effect and answer.
	Latency time.Duration
	// Jitter is the most that chance adds to Latency.
	Jitter time.Duration

	// KeyLifetime is how long an Idempotency-Key is remembered after it took
	// effect; 0 means for ever.
	KeyLifetime time.Duration
	// RequireUUIDKeys refuses idempotency keys that are no UUID.
	RequireUUIDKeys bool
	// Lenient accepts any JSON object as a message.
	Lenient bool

	// Faults are what goes wrong.
	Faults []Fault

	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// withDefaults fills in what the zero value stands for.
func (c Config) withDefaults() Config {
	if len(c.Keys) == 0 {
		c.Keys = []string{DefaultKey}
	}
	c.Window = cmp.Or(c.Window, time.Second)
	c.Model = cmp.Or(c.Model, sim.Clock)
	c.Scope = cmp.Or(c.Scope, PerKey)
	c.Headers = cmp.Or(c.Headers, sim.Always)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Validate reports every setting that makes no sense, by its name.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrSetting}, args...)...))
		}
	}
	check(!slices.Contains(c.Keys, ""), "Keys: a key is empty")
	check(c.Limit >= 0, "Limit %d: must be 0 (none) or more", c.Limit)
	check(c.Window >= 0, "Window %v: must be positive", c.Window)
	check(c.Model == "" || slices.Contains(sim.Models(), c.Model), "Model %q: want one of %v", c.Model, sim.Models())
	check(c.Scope == "" || slices.Contains(scopes, c.Scope), "Scope %q: want one of %v", c.Scope, scopes)
	check(c.Headers == "" || slices.Contains(sim.AllHeaders(), c.Headers), "Headers %q: want one of %v", c.Headers, sim.AllHeaders())
	check(c.Latency >= 0, "Latency %v: must not be negative", c.Latency)
	check(c.Jitter >= 0, "Jitter %v: must not be negative", c.Jitter)
	check(c.KeyLifetime >= 0, "KeyLifetime %v: must not be negative", c.KeyLifetime)
	for _, t := range c.Tiers {
		check(t.valid(), "Tiers: %v: wants a limit or a factor above 0, and a time", t)
		check(t.Times == 0 || c.Limit > 0, "Tiers: %v multiplies a Limit that is not set", t)
	}
	for _, f := range c.Faults {
		if err := f.validate(); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// Scope is what one limit counts.
type Scope string

// The scopes of a limit.
const (
	// PerKey counts all sends of an API key together.
	PerKey Scope = "key"
	// PerChannel counts each channel of an API key by itself.
	PerChannel Scope = "channel"
)

var scopes = []Scope{PerKey, PerChannel}

// UnmarshalText reads a Scope's name.
func (s *Scope) UnmarshalText(text []byte) error {
	if !slices.Contains(scopes, Scope(text)) {
		return fmt.Errorf("%w: %q: want one of %v", ErrSetting, text, scopes)
	}
	*s = Scope(text)
	return nil
}

// MarshalText gives the Scope's name.
func (s Scope) MarshalText() ([]byte, error) { return []byte(s), nil }

// Tier changes the limit at a time after New: to Limit, or to
// the first limit times Times. In text: "400@10s" or "4x@10s".
type Tier struct {
	Limit int
	Times float64
	After time.Duration
}

// UnmarshalText reads a Tier's text.
func (t *Tier) UnmarshalText(text []byte) error {
	limit, after, found := strings.Cut(string(text), "@")
	var read Tier
	var err, errAfter error
	if times, isFactor := strings.CutSuffix(limit, "x"); isFactor {
		read.Times, err = strconv.ParseFloat(times, 64)
	} else {
		read.Limit, err = strconv.Atoi(limit)
	}
	read.After, errAfter = time.ParseDuration(after)
	if !found || err != nil || errAfter != nil || !read.valid() {
		return fmt.Errorf("%w: tier %q: want a limit or a factor, and when, as 400@10s or 4x@10s", ErrSetting, text)
	}
	*t = read
	return nil
}

func (t Tier) valid() bool {
	return (t.Limit > 0) != (t.Times > 0) && t.Limit >= 0 && !math.IsInf(t.Times, 1) && t.After >= 0
}

// Of is what the Tier makes of the first limit; never 0, which would lift it.
func (t Tier) Of(first int) int {
	if t.Limit > 0 {
		return t.Limit
	}
	return max(1, int(t.Times*float64(first)))
}

// MarshalText gives the Tier's text.
func (t Tier) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// String gives the Tier's text.
func (t Tier) String() string {
	if t.Times > 0 {
		return fmt.Sprintf("%gx@%v", t.Times, t.After)
	}
	return fmt.Sprintf("%d@%v", t.Limit, t.After)
}
