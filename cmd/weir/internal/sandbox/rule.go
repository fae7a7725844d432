package sandbox

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

// place is where in the order of judging a fault strikes.
type place int

const (
	atDoor place = iota
	atAuth
	atLimit
	atService
	atMessage
	atAnswer
	places
)

// manner is how an answer goes out.
type manner int

const (
	asJSON manner = iota
	asPage
	asRedirect
	asCut
	asHang
	slowly
	asGarbage
	asEmpty
	anonymously // without message_id
)

// trait is what a kind of fault does. A status of 0 leaves the answer's own.
type trait struct {
	place  place
	manner manner
	status int
	code   string
	text   string
}

var traits = map[Kind]trait{
	Kind307:       {place: atDoor, manner: asRedirect, status: http.StatusTemporaryRedirect},
	Kind302:       {place: atDoor, manner: asRedirect, status: http.StatusFound},
	Kind502:       {place: atDoor, manner: asPage, status: http.StatusBadGateway},
	Kind504:       {place: atDoor, manner: asPage, status: http.StatusGatewayTimeout},
	HTML200:       {place: atDoor, manner: asPage, status: http.StatusOK},
	HTML404:       {place: atDoor, manner: asPage, status: http.StatusNotFound},
	CutBefore:     {place: atDoor, manner: asCut},
	HangBefore:    {place: atDoor, manner: asHang},
	DropKeepAlive: {place: atDoor, manner: asCut},

	Kind401: {place: atAuth, status: http.StatusUnauthorized, code: "unauthorized", text: "The API key is missing or invalid."},
	Kind429: {place: atLimit, status: http.StatusTooManyRequests, code: "rate_limit_exceeded", text: "Too many requests."},

	Kind402:       {place: atService, status: http.StatusPaymentRequired, code: "insufficient_balance", text: "The balance does not cover this message."},
	Kind408:       {place: atService, status: http.StatusRequestTimeout, code: "request_timeout", text: "The request took too long."},
	Kind409:       {place: atService, status: http.StatusConflict, code: "duplicate", text: "This operation was done before."},
	Kind409InWork: {place: atService, status: http.StatusConflict, code: "idempotency_in_progress", text: "A request with this key is still running."},
	Kind425:       {place: atService, status: http.StatusTooEarly, code: "too_early", text: "Send the request again."},
	Kind500:       {place: atService, status: http.StatusInternalServerError, code: "internal_error", text: "Something went wrong on our side."},
	Kind503:       {place: atService, status: http.StatusServiceUnavailable, code: "service_unavailable", text: "A dependency is down."},

	Kind403: {place: atMessage, status: http.StatusForbidden, code: "policy_violation", text: "The agent may not send this."},
	Kind404: {place: atMessage, status: http.StatusNotFound, code: "device_not_capable", text: "The device does not support RCS."},
	Kind422: {place: atMessage, status: http.StatusUnprocessableEntity, code: "suppressed_address", text: "The address is suppressed."},

	CutAfter:     {place: atAnswer, manner: asCut},
	HangAfter:    {place: atAnswer, manner: asHang},
	Kind500After: {place: atAnswer, status: http.StatusInternalServerError, code: "internal_error", text: "Something went wrong on our side."},
	SlowBody:     {place: atAnswer, manner: slowly},
	Garbage200:   {place: atAnswer, manner: asGarbage},
	Empty200:     {place: atAnswer, manner: asEmpty},
	NoMessageID:  {place: atAnswer, manner: anonymously},
}

// Kinds lists every kind of fault in the order of their names.
func Kinds() []Kind { return slices.Sorted(maps.Keys(traits)) }

// rule is a Fault at work.
type rule struct {
	Fault
	trait
	set time.Time
	met int // requests that matched so far
}

// rulebook holds the rules by the place where they strike.
type rulebook struct {
	at    [places][]*rule
	drops bool // a rule asks what each connection has carried
}

func newRulebook(faults []Fault, now time.Time) *rulebook {
	var b rulebook
	for _, f := range faults {
		t := traits[f.Kind]
		b.at[t.place] = append(b.at[t.place], &rule{Fault: f, trait: t, set: now})
		b.drops = b.drops || f.Kind == DropKeepAlive
	}
	return &b
}

// strike gives the first rule at p that strikes c, or nil.
func (b *rulebook) strike(p place, c *call) *rule {
	for _, r := range b.at[p] {
		if r.matches(c) && r.picks() {
			return r
		}
	}
	return nil
}

func (r *rule) matches(c *call) bool {
	age := c.arrived.Sub(r.set)
	switch {
	case age < r.From, r.To > 0 && age >= r.To:
		return false
	case r.Channel != "" && r.Channel != c.channel, !strings.HasPrefix(c.key, r.KeyPrefix):
		return false
	}
	return r.Kind != DropKeepAlive || c.answered >= max(r.After, 1)
}

// picks counts a request that matches and says whether it is one to strike.
func (r *rule) picks() bool {
	r.met++
	switch {
	case r.First > 0 && r.met > r.First, r.Every > 0 && r.met%r.Every != 0:
		return false
	}
	return r.Chance == 0 || rand.Float64() < r.Chance
}
