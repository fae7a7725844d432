package sandbox

import (
	"net/http"
	"strconv"
	"time"

	"weir/limiter/sim"
)

// call is one request on its way through the places, and what it comes to.
type call struct {
	form
	apiKey   string
	conn     string // the client's address
	route    string // method and path
	books    *books
	entry    *entry    // of its key, or nil
	number   int       // of the request
	arrived  time.Time // by our clock
	answered int       // requests that its connection has carried
	reached  bool      // it came past the door

	decision sim.Decision
	limited  bool // decision holds
	running  bool // it is to be executed
	reads    bool // it asks for a message
	lists    bool // it asks for a list of them

	trait    // how it is answered
	struck   Kind
	delay    time.Duration
	details  []detail
	effect   effect // of an answer that tells one
	replayed bool
}

// refuse settles the call with an error.
func (c *call) refuse(t trait) { c.trait = t }

// arrive counts a request. It requires that s.mu is held.
func (s *Server) arrive(c *call) {
	c.arrived = s.cfg.Now()
	s.stats.Requests++
	c.number = s.stats.Requests
	if s.stats.FirstRequestAt == nil {
		at := c.arrived.UTC()
		s.stats.FirstRequestAt = &at
	}
	if s.rules.drops {
		c.answered = s.conns[c.conn]
	}
	if c.key != "" && c.books != nil {
		c.entry = c.books.arrive(c.key, c.arrived)
	}
}

// judge decides what becomes of a send. Each case is a place; the first that
// settles the call ends it.
func (s *Server) judge(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrive(c)
	switch {
	case s.fails(c, atDoor):
		return
	case s.unauthorized(c), s.fails(c, atAuth), s.throttled(c), s.unreadable(c), s.fails(c, atService), s.repeated(c):
	case s.fails(c, atMessage), s.invalid(c):
	default:
		c.running = true
		c.books.begin(c.entry, c.digest)
	}
	c.reached = true
	if c.running || c.replayed {
		s.fails(c, atAnswer)
	}
}

// fails lets the faults of a place strike.
func (s *Server) fails(c *call, p place) bool {
	r := s.rules.strike(p, c)
	if r == nil {
		return false
	}
	s.stats.Faults[r.Kind]++
	c.struck, c.delay = r.Kind, r.Delay
	c.refuse(r.trait)
	if r.Kind == Kind409 && c.entry != nil {
		c.effect = c.entry.latest
	}
	return true
}

func (s *Server) unauthorized(c *call) bool {
	if s.keys[c.apiKey] {
		return false
	}
	c.refuse(traits[Kind401])
	return true
}

// throttled asks the limit; the test endpoint has none but its five messages.
func (s *Server) throttled(c *call) bool {
	if c.books == s.trials {
		return false
	}
	now := s.serverTime(c)
	if s.fails(c, atLimit) {
		c.decision, c.limited = s.limits.peek(now, c.apiKey, c.channel)
		return true
	}
	c.decision, c.limited = s.limits.take(now, c.apiKey, c.channel)
	if c.decision.Allowed {
		return false
	}
	c.refuse(traits[Kind429])
	return true
}

func (s *Server) unreadable(c *call) bool {
	if c.found == "" {
		return false
	}
	s.violate(c, c.found)
	return true
}

// repeated asks the books whether this very request was made before.
func (s *Server) repeated(c *call) bool {
	if c.entry == nil {
		return false
	}
	switch c.books.standing(c.entry, c.digest, c.arrived) {
	case fresh:
		return false
	case conflicting:
		s.stats.Conflicts++
		c.refuse(trait{status: http.StatusConflict, code: "idempotency_conflict", text: "This key was used with another body."})
	case running:
		s.stats.InProgress++
		c.refuse(traits[Kind409InWork])
	case done:
		s.stats.Replayed++
		c.effect, c.replayed = c.entry.latest, true
	}
	return true
}

func (s *Server) invalid(c *call) bool {
	if !s.cfg.Lenient {
		c.details = c.validate()
	}
	switch {
	case len(c.details) > 0:
		s.violate(c, invalidMessage)
	case c.books == s.trials && c.books.begun >= testMessages:
		c.refuse(trait{status: http.StatusForbidden, code: "test_limit_reached", text: "The test endpoint takes five messages in all."})
	default:
		return false
	}
	return true
}

// violate refuses and counts what must never be sent. It requires that s.mu is held.
func (s *Server) violate(c *call, v violation) {
	status := statuses[v]
	if status == 0 {
		status = http.StatusBadRequest
	}
	c.refuse(trait{status: status, code: string(v), text: "The request can not be taken as it is."})
	s.violated(v, c.sample(s.requestID))
}

// settle lets the call take its effect and counts its answer.
func (s *Server) settle(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.running {
		now := s.cfg.Now()
		c.effect = c.books.finish(c, now)
		if c.books == s.books {
			at := now.UTC()
			s.stats.LastAcceptedAt = &at
			if c.key == "" {
				s.stats.WithoutKey++
			}
		}
	}
	if c.status == 0 {
		c.status = http.StatusOK
	}
	switch {
	case c.manner == asCut:
		delete(s.conns, c.conn)
		return
	case c.manner == asHang:
		return
	case s.rules.drops:
		s.conns[c.conn]++
	}
	s.stats.Status[c.status]++
}

// serverTime is when the call arrived, by the server's clock.
func (s *Server) serverTime(c *call) time.Time { return c.arrived.Add(s.cfg.Skew) }

// sample names a request without its body.
func (c *call) sample(requestID string) string {
	route := strconv.QuoteToASCII(c.route)
	return requestID + strconv.Itoa(c.number) + " " + route[1:min(len(route)-1, 100)]
}
