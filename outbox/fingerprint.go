package outbox

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// fingerprintVersion stands before the hash, so that another canonical form can
// be told from this one.
const fingerprintVersion = "1:"

// Fingerprint tells whether two messages that share a key are the same. It is
// "1:" and, in hex, the SHA-256 of the account's name, a line feed and the body
// in canonical form:
//
//   - no white space outside strings;
//   - the members of every object sorted by the bytes of their names as written
//     here, quotes aside;
//   - in strings and names, `"` and `\` written with a backslash before them,
//     the characters below U+0020 as \u and four hexadecimal digits in lower
//     case, all others as themselves in UTF-8;
//   - numbers as the producer wrote them: 1.0 and 1 differ, because a loud
//     conflict is better than a silent mix-up.
//
// Lane, channel and times do not count. The error is an *InvalidError.
func Fingerprint(account string, body []byte) (string, error) {
	var bad InvalidError
	c := readContent(account, body, &bad)
	return c.fingerprint, bad.err()
}

// content is what the body says that matters to us: its fingerprint, and the
// values of some of its members as they stand there, nil if they do not.
type content struct {
	fingerprint              string
	agent, channelID         []byte
	subject, to, ttl, key    []byte
	trafficType, messageType []byte
}

// readContent reads body in one pass and notes in bad what is wrong with it.
func readContent(account string, body []byte, bad *InvalidError) content {
	switch {
	case len(body) == 0:
		bad.add("body", "is missing")
		return content{}
	case len(body) > MaxBody:
		bad.add("body", fmt.Sprintf("has %d bytes, more than %d", len(body), MaxBody))
		return content{}
	}
	var c content
	canonical, f := scan([]byte(account+"\n"), body, maxDepth, c.set)
	if f != nil {
		f = f.inBody()
		bad.add(f.path, f.reason)
		return content{}
	}
	hash := sha256.Sum256(canonical)
	c.fingerprint = fingerprintVersion + hex.EncodeToString(hash[:])
	return c
}

// inBody gives f, found in a body, as seen from the envelope.
func (f *flaw) inBody() *flaw {
	if f.path == "" {
		return &flaw{path: "body", reason: f.reason}
	}
	return f.within("body")
}

func (c *content) set(name, value []byte) {
	switch string(name) {
	case "agent_id":
		c.agent = value
	case "channel_id":
		c.channelID = value
	case "subject":
		c.subject = value
	case "to":
		c.to = value
	case "ttl":
		c.ttl = value
	case "idempotency_key":
		c.key = value
	case "traffic_type":
		c.trafficType = value
	case "message_type":
		c.messageType = value
	}
}

// channel derives the channel from what the body is made of.
func (c content) channel() string {
	switch {
	case isSaid(c.agent):
		return RCS
	case isSaid(c.channelID) && isSaid(c.subject):
		return Email
	}
	return DefaultChannel
}

// lane derives the lane from what the body is for.
func (c content) lane() Lane {
	switch {
	case textOf(c.trafficType) == "AUTHENTICATION":
		return High
	case textOf(c.trafficType) == "PROMOTION", textOf(c.messageType) == "NEWSLETTER":
		return Bulk
	}
	return Normal
}

// isSaid reports whether a value stands there and is not null.
func isSaid(value []byte) bool {
	return value != nil && string(value) != "null"
}

// textOf gives the string that value is, or "" if it is something else. The
// scanner has read value before.
func textOf(value []byte) string {
	if len(value) == 0 || value[0] != '"' {
		return ""
	}
	inner := string(value[1 : len(value)-1])
	if !strings.Contains(inner, `\`) {
		return inner
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return ""
	}
	return s
}
