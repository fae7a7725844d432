package dispatcher

import (
	"bytes"
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
	StartedAt time.Time // before anything was done
	EndedAt   time.Time // after the answer was read, or given up
	Left      bool      // the complete headers of the request may have reached the server
	Stopped   bool      // the caller ended the call, so its failure says nothing of the API

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
	if a.Status/100 == 2 {
		a.takeAcceptance(body)
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

// takeAcceptance takes all that matters of a 2xx. Thousands come each second,
// and a struct is decoded in half the time of a map; but it would also take the
// name in another case, which is not the API's, where there can be one.
func (a *Answer) takeAcceptance(body []byte) {
	if !namesOnce(body, "message_id") {
		var fields map[string]json.RawMessage
		if json.Unmarshal(body, &fields) == nil && fields != nil {
			a.IsJSON, a.MessageID = true, text(fields["message_id"])
		}
		return
	}
	var accepted *struct {
		MessageID string `json:"message_id"`
	}
	if json.Unmarshal(body, &accepted) != nil || accepted == nil {
		return
	}
	a.IsJSON = true
	a.MessageID = sanitize(accepted.MessageID)
}

// namesOnce tells whether name stands in body just once, and no other spelling
// of it can: in another case, with escapes, with letters that fold to ASCII.
func namesOnce(body []byte, name string) bool {
	found := 0
	for i, c := range body {
		switch {
		case c == '\\' || c >= utf8.RuneSelf:
			return false
		case c|0x20 == name[0] && len(body)-i >= len(name) && strings.EqualFold(string(body[i:i+len(name)]), name):
			found++
		}
	}
	return found == 1 && bytes.Contains(body, []byte(name))
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
