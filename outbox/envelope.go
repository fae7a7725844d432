package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Envelope is what a producer says about one send request, before it is judged:
// a line of the file that weir send takes, a payload on weir.send, a row of
// weir_outbox. Empty and zero fields are not said.
//
// Its JSON is read by ParseEnvelope and written by AppendJSON. Package
// encoding/json must not do it: it would change the bytes of the body.
type Envelope struct {
	// Key is the idempotency key, 1 to 255 visible ASCII characters: one for
	// each send request, and the same whenever it is repeated (see Key).
	Key string
	// Body is the JSON object to send, at most MaxBody bytes.
	Body []byte
	// Account names the account to send from. Defaults to "default".
	Account string
	// Channel names the channel. Defaults to what the body shows: rcs if it
	// has an agent_id, email if it has channel_id and subject, else default.
	Channel string
	// Lane is high, normal or bulk. Defaults to what the body shows: high if
	// its traffic_type is AUTHENTICATION, bulk if that is PROMOTION or its
	// message_type is NEWSLETTER, else normal.
	Lane string
	// SendAt is when to send it. Defaults to at once.
	SendAt time.Time
	// ExpiresAt is when it must not be sent any more. Defaults to never.
	ExpiresAt time.Time
	// TTL says the same as a time from the handing over on: a whole number
	// of s, m or h, such as "90s". If both are said, the earlier one holds.
	TTL string
	// Traceparent is passed on to the API, in the form of W3C Trace Context.
	Traceparent string
}

var envelopeFields = []string{
	"idempotency_key", "body", "account", "channel", "lane",
	"send_at", "expires_at", "ttl", "traceparent",
}

// ParseEnvelope reads an envelope strictly. It refuses what two readers could
// understand in two ways: duplicate names, invalid UTF-8 and lone surrogates at
// any depth, unknown names, anything after the object. A null counts as absent.
// The contents are judged by Envelope.Message, unless something is wrong
// already: then both are, so that the *InvalidError names every fault.
//
// The envelope keeps no reference to data.
func ParseEnvelope(data []byte) (Envelope, error) {
	var e Envelope
	var bad InvalidError
	if len(data) > MaxEnvelope {
		bad.add("envelope", fmt.Sprintf("has more than %d bytes", MaxEnvelope))
		return Envelope{}, &bad
	}
	_, f := scan(nil, data, maxDepth+1, func(name, value []byte) { e.set(name, value, &bad) })
	if f != nil {
		if f.path == "" {
			f.path = "envelope"
		}
		bad.add(f.path, f.reason)
		return Envelope{}, &bad
	}
	if len(bad.Details) > 0 {
		e.judge(time.Time{}, nil, &bad)
		return Envelope{}, &bad
	}
	return e, nil
}

func (e *Envelope) set(name, value []byte, bad *InvalidError) {
	switch field := string(name); field {
	case "idempotency_key":
		e.Key = readText(field, value, bad)
	case "body":
		if isSaid(value) {
			e.Body = bytes.Clone(value)
		}
	case "account":
		e.Account = readText(field, value, bad)
	case "channel":
		e.Channel = readText(field, value, bad)
	case "lane":
		e.Lane = readText(field, value, bad)
	case "send_at":
		e.SendAt = readTime(field, value, bad)
	case "expires_at":
		e.ExpiresAt = readTime(field, value, bad)
	case "ttl":
		e.TTL = readText(field, value, bad)
	case "traceparent":
		e.Traceparent = readText(field, value, bad)
	default:
		bad.add(clip(field), unknownFault(field))
	}
}

// unknownFault tells a name that is nearly ours from one that is not.
func unknownFault(field string) string {
	for _, ours := range envelopeFields {
		if strings.EqualFold(field, ours) {
			return "must be written " + ours
		}
	}
	return "is not a field of an envelope, which has " + strings.Join(envelopeFields, ", ")
}

func readText(field string, value []byte, bad *InvalidError) string {
	switch {
	case !isSaid(value):
		return ""
	case value[0] != '"':
		bad.add(field, "must be a string")
	case len(value) == len(`""`):
		bad.add(field, "must not be empty")
	}
	return textOf(value)
}

func readTime(field string, value []byte, bad *InvalidError) time.Time {
	s := readText(field, value, bad)
	if s == "" {
		return time.Time{}
	}
	t, err := ParseTime(s)
	if err != nil {
		bad.add(field, err.Error())
	}
	return t
}

// ParseTime reads a time as an envelope has it: RFC 3339, within the years 1970
// to 9999 UTC.
func ParseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	// Parse takes an hour of one digit and a decimal comma as well; RFC 3339 does not.
	if err != nil || !strings.HasPrefix(s, t.Format("2006-01-02T15:04:05")) || strings.Contains(s, ",") {
		return time.Time{}, fmt.Errorf(`"%s" is not a time in RFC 3339, such as 2026-03-28T14:30:00Z`, clip(s))
	}
	// Message sees to the range as well, but takes the first instant of the
	// year 1 for a time that is not said.
	if fault := rangeFault(t); fault != "" {
		return time.Time{}, errors.New(fault)
	}
	return t, nil
}

// AppendJSON appends e as ParseEnvelope reads it, with the bytes of the body as
// they are. It does not judge: faulty fields give what ParseEnvelope or Message
// refuses. The key comes first and the body last, so that what is cut off for
// its length still says whose it is.
func (e Envelope) AppendJSON(dst []byte) []byte {
	dst = slices.Grow(dst, len(e.Key)+len(e.Body)+256)
	dst = append(dst, `{"idempotency_key":`...)
	dst = appendText(dst, e.Key)
	dst = appendField(dst, "account", e.Account)
	dst = appendField(dst, "channel", e.Channel)
	dst = appendField(dst, "lane", e.Lane)
	dst = appendField(dst, "send_at", formatTime(e.SendAt))
	dst = appendField(dst, "expires_at", formatTime(e.ExpiresAt))
	dst = appendField(dst, "ttl", e.TTL)
	dst = appendField(dst, "traceparent", e.Traceparent)
	if len(e.Body) > 0 {
		dst = append(dst, `,"body":`...)
		dst = append(dst, e.Body...)
	}
	return append(dst, '}')
}

func appendField(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, ',')
	dst = appendText(dst, name)
	dst = append(dst, ':')
	return appendText(dst, value)
}

func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
