package dispatcher

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxStored bounds every text of the API that is kept, in bytes.
const maxStored = 1 << 10

// What kept an answer from coming, as it stands in error_code.
const (
	faultDial    = "dial"
	faultDNS     = "dns"
	faultTLS     = "tls"
	faultTimeout = "timeout"
	faultCut     = "cut"
)

// Answer is what one request brought back, or what kept an answer from coming.
// It holds facts only; judge says what they mean. Its texts are fit for
// storing: valid UTF-8 without control characters, at most 1 KiB each. Header
// is as it came.
type Answer struct {
	StartedAt time.Time     // before anything was done
	EndedAt   time.Time     // after the answer was read, or given up
	Stepped   time.Duration // by how much the clock was set forward in between, as after a suspend
	Left      bool          // the complete headers of the request may have reached the server
	Stopped   bool          // the caller ended the call, so its failure says nothing of the API

	Status    int         // 0 if none came
	Header    http.Header // nil if none came
	RequestID string      // X-Request-Id
	Replayed  bool        // an earlier answer to the same idempotency key, repeated

	IsJSON         bool   // the body is one JSON object; what follows comes from it
	MessageID      string // message_id
	ErrorCode      string // error
	ErrorMessage   string // message; with a Fault, what went wrong
	RetryAfter     string // retry_after: the JSON token as it came
	RequiredAmount string // required_amount: the JSON token as it came
	TopupURL       string // topup_url

	Fault       string // dial, dns, tls, timeout or cut; empty if the answer is complete
	TLSIdentity bool   // the server could not prove by its certificate that it is the API
}

// KeyUsedAt is since when the API knows the key, if it took the request: what the
// machine slept during the call counts.
func (a *Answer) KeyUsedAt() time.Time { return a.StartedAt.Add(-a.Stepped) }

// takeHeader fills a with the status and what the header tells.
func (a *Answer) takeHeader(status int, h http.Header) {
	a.Status, a.Header = status, h
	a.RequestID = sanitize(h.Get("X-Request-Id"))
	a.Replayed = strings.EqualFold(h.Get("Idempotent-Replayed"), "true") ||
		strings.EqualFold(h.Get("Idempotency-Replayed"), "true")
}

// takeBody fills a from body, unless that is anything but one JSON object. A
// field of another type than the API's counts as absent.
func (a *Answer) takeBody(body []byte) {
	if a.Status/100 == 2 && a.takeAcceptance(body) {
		return
	}
	// A map, because struct fields match names in any case: the "Error" of a
	// proxy is not the "error" of the API.
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil || fields == nil {
		return
	}
	a.IsJSON = true
	a.MessageID = text(fields["message_id"])
	a.ErrorCode = text(fields["error"])
	a.ErrorMessage = withDetails(text(fields["message"]), fields["details"])
	a.RetryAfter = token(fields["retry_after"])
	a.RequiredAmount = token(fields["required_amount"])
	a.TopupURL = text(fields["topup_url"])
}

// takeAcceptance takes all that matters of a 2xx, if it is there. Thousands come
// each second, and a decoder takes three times as long.
func (a *Answer) takeAcceptance(body []byte) bool {
	if !json.Valid(body) {
		return false
	}
	id := text(member(body, `"message_id"`))
	if id == "" {
		return false
	}
	a.IsJSON, a.MessageID = true, id
	return true
}

// member is the string, quotes and all, that a JSON object has under a name,
// given with its quotes; nil if there is none. Of several it is the last, as for
// encoding/json. The object must be valid; a name with escapes is not found.
func member(object []byte, name string) (value []byte) {
	var last []byte
	depth, wanted := 0, false
	for i := 0; i < len(object); i++ {
		switch object[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ':':
			if wanted = depth == 1 && string(last) == name; wanted {
				value = nil
			}
		case ',':
			wanted = wanted && depth > 1
		case '"':
			last = quoted(object[i:])
			i += len(last) - 1
			if wanted && depth == 1 {
				value = last
			}
		}
	}
	return value
}

// quoted is the JSON string at the beginning of s.
func quoted(s []byte) []byte {
	for i := 1; ; i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[:i+1]
		}
	}
}

// withDetails adds to a refusal's message which fields it is about.
func withDetails(message string, raw json.RawMessage) string {
	var details []struct{ Field, Message string }
	if json.Unmarshal(raw, &details) != nil {
		return message
	}
	for _, d := range details {
		message += fmt.Sprintf("; %s: %s", d.Field, d.Message)
	}
	return sanitize(message)
}

// fail notes why no complete answer came.
func (a *Answer) fail(err error, fault string) {
	var identity *tls.CertificateVerificationError
	a.Fault = fault
	a.TLSIdentity = errors.As(err, &identity)
	a.ErrorMessage = sanitize(err.Error())
	if fault == faultTimeout {
		a.ErrorMessage = fmt.Sprintf("no complete answer within %v", a.EndedAt.Sub(a.StartedAt).Round(time.Millisecond))
	}
}

// text is the string that raw holds, empty if it holds none.
func text(raw json.RawMessage) string {
	if len(raw) == 0 || raw[0] != '"' {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return sanitize(s)
}

// token is raw as it stands, empty if it is null.
func token(raw json.RawMessage) string {
	if string(raw) == "null" {
		return ""
	}
	return sanitize(string(raw))
}

// sanitize makes foreign text fit for storing and showing: control characters
// and invalid UTF-8 are removed, and no more than maxStored bytes are kept.
func sanitize(s string) string {
	if len(s) > maxStored {
		// A rune that the cut splits is invalid UTF-8, and so removed below.
		s = s[:maxStored]
	}
	clean := utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
	if clean {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}
