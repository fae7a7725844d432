package sandbox

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Kind names what goes wrong.
type Kind string

// The kinds of faults, by where they strike.
const (
	// At the door nothing of the API is reached: no request id, no limit
	// headers, nothing counted by the limit, nothing executed.

	Kind307       Kind = "307"            // a redirect that asks for the same method
	Kind302       Kind = "302"            // a redirect that asks for a GET
	Kind502       Kind = "502"            // a gateway's page: bad answer from behind
	Kind504       Kind = "504"            // a gateway's page: no answer from behind
	HTML200       Kind = "html200"        // a proxy's page in place of the API
	HTML404       Kind = "html404"        // a proxy that knows no such site
	CutBefore     Kind = "cut-before"     // connection closed, not executed
	HangBefore    Kind = "hang-before"    // never answered, not executed
	DropKeepAlive Kind = "drop-keepalive" // a connection that answered Fault.After requests is closed as the next arrives

	// At authentication: before the limit, so without limit headers.

	Kind401 Kind = "401" // the API key is not (no longer) accepted

	// At the limit: refused, so it consumes nothing.

	Kind429 Kind = "429" // refused although the limit has room

	// At the service: counted by the limit, before the idempotency books are
	// asked, so that a repeat of an executed request meets it too.

	Kind402       Kind = "402"             // insufficient balance
	Kind408       Kind = "408"             // request timeout
	Kind409       Kind = "409"             // duplicate; names message_id if the key took effect
	Kind409InWork Kind = "409-in-progress" // the same key is said to be in progress
	Kind425       Kind = "425"             // too early
	Kind500       Kind = "500"             // internal error, not executed
	Kind503       Kind = "503"             // dependency down, not executed

	// At the message: refused in place of execution; a replay never meets it.

	Kind403 Kind = "403" // policy
	Kind404 Kind = "404" // device not capable
	Kind422 Kind = "422" // suppressed address

	// At the answer: executed (or replayed) and then badly told.

	CutAfter     Kind = "cut-after"     // connection closed in place of the answer
	HangAfter    Kind = "hang-after"    // never answered
	Kind500After Kind = "500-after"     // 500 in place of the answer
	SlowBody     Kind = "slow-body"     // half of the body, the rest Fault.Delay later
	Garbage200   Kind = "garbage200"    // 200 with a body that is not JSON
	Empty200     Kind = "empty200"      // 200 without a body
	NoMessageID  Kind = "no-message-id" // 200 with JSON that lacks message_id
)

// Fault is a rule by which requests go wrong. It strikes each request that
// reaches its place, matches Channel, KeyPrefix and After, and arrives between
// From and To; of those the ones that First, Every and Chance pick. At each
// place the first rule in the list that strikes decides. Zero values leave
// their condition out.
//
// In text: KIND[@[FROM]..[TO]][:OPTION,...] with the options CHANCE (0 to 1),
// first=N, every=N, after=N, delay=DURATION, channel=NAME and key=PREFIX, as in
// "402@2s..10s", "500:0.05" or "cut-after:first=3,channel=rcs".
type Fault struct {
	Kind Kind
	// From and To bound the time since the rule was set, at New or SetFaults.
	From, To time.Duration
	// Chance is the probability in (0, 1] of striking; 0 means always.
	Chance float64
	// First is how many matching requests are struck at most, from the first on.
	First int
	// Every strikes each Every-th matching request only.
	Every int
	// After is how many answers a connection must have carried. Only
	// DropKeepAlive looks at it; 0 means 1.
	After int
	// Delay is how long SlowBody waits in mid-body; 0 means one second.
	Delay time.Duration
	// Channel and KeyPrefix select messages.
	Channel, KeyPrefix string
}

// ParseFault reads the text of a Fault. It returns ErrSetting, wrapped, for
// text that names no rule.
func ParseFault(text string) (Fault, error) {
	rule, options, _ := strings.Cut(text, ":")
	kind, span, spanned := strings.Cut(rule, "@")
	f := Fault{Kind: Kind(kind)}
	if spanned {
		if err := f.parseSpan(span); err != nil {
			return Fault{}, fmt.Errorf("%w: fault %q: %w", ErrSetting, text, err)
		}
	}
	for option := range strings.SplitSeq(options, ",") {
		if option == "" {
			continue
		}
		if err := f.parseOption(option); err != nil {
			return Fault{}, fmt.Errorf("%w: fault %q: option %q: %w", ErrSetting, text, option, err)
		}
	}
	return f, f.validate()
}

func (f *Fault) parseSpan(span string) (err error) {
	from, to, found := strings.Cut(span, "..")
	if !found {
		return fmt.Errorf("want @FROM..TO, as @2s..10s, @5s.. or @..5s")
	}
	if from != "" {
		if f.From, err = time.ParseDuration(from); err != nil {
			return err
		}
	}
	if to != "" {
		if f.To, err = time.ParseDuration(to); err != nil {
			return err
		}
		if f.To <= f.From {
			return fmt.Errorf("it ends before it begins")
		}
	}
	return nil
}

func (f *Fault) parseOption(option string) (err error) {
	name, value, named := strings.Cut(option, "=")
	if !named {
		f.Chance, err = strconv.ParseFloat(option, 64)
		if err == nil && !(f.Chance > 0) {
			return fmt.Errorf("a chance must be above 0")
		}
		return err
	}
	count := func(n *int) error {
		if *n, err = strconv.Atoi(value); err == nil && *n < 1 {
			return fmt.Errorf("must be 1 or more")
		}
		return err
	}
	switch name {
	case "first":
		return count(&f.First)
	case "every":
		return count(&f.Every)
	case "after":
		return count(&f.After)
	case "delay":
		f.Delay, err = time.ParseDuration(value)
	case "channel":
		f.Channel = value
	case "key":
		f.KeyPrefix = value
	default:
		return fmt.Errorf("unknown; want a chance, first, every, after, delay, channel or key")
	}
	return err
}

// validate names what makes no sense.
func (f Fault) validate() error {
	t, known := traits[f.Kind]
	switch {
	case !known:
		return fmt.Errorf("%w: fault %q: unknown kind, want one of %v", ErrSetting, f.Kind, Kinds())
	case !(f.Chance >= 0 && f.Chance <= 1):
		return fmt.Errorf("%w: fault %v: chance must be from 0 to 1", ErrSetting, f)
	case f.From < 0 || f.To < 0 || f.To > 0 && f.To <= f.From:
		return fmt.Errorf("%w: fault %v: the time span is empty", ErrSetting, f)
	case f.First < 0 || f.Every < 0 || f.After < 0 || f.Delay < 0:
		return fmt.Errorf("%w: fault %v: a negative number", ErrSetting, f)
	case f.After > 0 && f.Kind != DropKeepAlive, f.Delay > 0 && t.manner != slowly:
		return fmt.Errorf("%w: fault %v: after is for %s and delay for %s only", ErrSetting, f, DropKeepAlive, SlowBody)
	}
	return nil
}

// UnmarshalText reads the text of a Fault.
func (f *Fault) UnmarshalText(text []byte) (err error) {
	*f, err = ParseFault(string(text))
	return err
}

// MarshalText gives the Fault's text.
func (f Fault) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// String gives the Fault's text; ParseFault reads it back.
func (f Fault) String() string {
	text := string(f.Kind)
	if f.From > 0 || f.To > 0 {
		text += "@" + f.From.String() + ".."
		if f.To > 0 {
			text += f.To.String()
		}
	}
	var options []string
	add := func(name string, value any, set bool) {
		if set {
			options = append(options, fmt.Sprint(name, value))
		}
	}
	add("", f.Chance, f.Chance != 0)
	add("first=", f.First, f.First != 0)
	add("every=", f.Every, f.Every != 0)
	add("after=", f.After, f.After != 0)
	add("delay=", f.Delay, f.Delay != 0)
	add("channel=", f.Channel, f.Channel != "")
	add("key=", f.KeyPrefix, f.KeyPrefix != "")
	if len(options) > 0 {
		text += ":" + strings.Join(options, ",")
	}
	return text
}
