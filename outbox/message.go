// Package outbox provides what a producer needs to hand a send request to weir:
// the envelope and its rules, stable idempotency keys, and a transactional
// outbox for applications that keep their data in SQLite.
//
// It is where every message starts. An application calls Enqueue in the same
// transaction as its business change, so that both are committed or neither is;
// a Relay carries the committed rows to weir. Everything that weir takes, by
// whatever way, becomes a Message through ParseEnvelope and Envelope.Message,
// so one set of rules holds everywhere.
//
// Guarantees: what was committed is relayed at least once, in the order of the
// rows, also if application and relay are killed at any moment; a body reaches
// the API as the exact bytes that were given; one key never stands for two
// different messages.
//
// Not promised here: that a relayed message is accepted (weir judges it again
// and keeps refused ones in its table rejected), nor that it is published once
// only. A repeat is absorbed by its key, not prevented.
//
// The package imports no driver and nothing else of weir.
package outbox

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// MaxBody is how many bytes a body may have.
	MaxBody = 256 << 10
	// MaxEnvelope is how many bytes an encoded envelope may have: the largest
	// body and room for the rest.
	MaxEnvelope = 320 << 10
	// MaxKey is how many characters an idempotency key may have.
	MaxKey = 255
)

// maxDepth is how deep objects and arrays may be nested, the body being level one.
const maxDepth = 64

// The channels that every account has, unless it says otherwise.
const (
	RCS            = "rcs"
	Email          = "email"
	DefaultChannel = "default"
)

// Message is a send request that keeps all rules; Envelope.Message makes it.
type Message struct {
	Key     string // the idempotency key, its identity
	Body    []byte // exactly as the producer wrote it
	Account string
	Channel string
	Lane    Lane
	// SendAt is when to send it, rounded up to the millisecond; zero: now.
	SendAt time.Time
	// ExpiresAt is when not to send it any more, rounded down to the
	// millisecond; zero: never. It may be in the past.
	ExpiresAt     time.Time
	Traceparent   string // empty: none
	Fingerprint   string // see Fingerprint
	RecipientHash string // see RecipientHash; empty: its body has no "to"
}

// RecipientHash gives the SHA-256, in hex, of a body's "to": it finds the
// messages to somebody where the address itself must not stand.
func RecipientHash(to string) string {
	hash := sha256.Sum256([]byte(to))
	return hex.EncodeToString(hash[:])
}

// Bucket gives the bucket that m belongs to.
func (m Message) Bucket() Bucket {
	return Bucket{Account: m.Account, Channel: m.Channel}
}

// Channels says which channels each account has. Nil means that they are not
// known here and that every well-formed name passes.
type Channels map[string][]string

// Message judges e and completes it: the account if none is said, channel and
// lane from the body, the deadline. A ttl counts from handedOver; of expires_at,
// ttl and the body's own ttl the earliest holds. A body's ttl of another form
// than ours is left to the API. The error is an *InvalidError.
//
// The message shares e's Body.
func (e Envelope) Message(handedOver time.Time, known Channels) (Message, error) {
	var bad InvalidError
	m := e.judge(handedOver, known, &bad)
	if err := bad.err(); err != nil {
		return Message{}, err
	}
	return m, nil
}

// judge does the work of Message; what it gives is a message only if nothing
// was added to bad.
func (e Envelope) judge(handedOver time.Time, known Channels, bad *InvalidError) Message {
	bad.add("idempotency_key", keyFault(e.Key))
	account := cmp.Or(e.Account, DefaultAccount)
	c := readContent(account, e.Body, bad)
	if c.key != nil && textOf(c.key) != e.Key {
		bad.add("body.idempotency_key", "differs from the envelope's idempotency_key; make them equal or leave it out of the body")
	}
	m := Message{
		Key:         e.Key,
		Body:        e.Body,
		Account:     account,
		Channel:     cmp.Or(e.Channel, c.channel()),
		Lane:        cmp.Or(Lane(e.Lane), c.lane()),
		Traceparent: e.Traceparent,
		Fingerprint: c.fingerprint,
	}
	if to := textOf(c.to); to != "" {
		m.RecipientHash = RecipientHash(to)
	}
	if !slices.Contains(Lanes[:], m.Lane) {
		bad.add("lane", fmt.Sprintf(`"%s" is not one of high, normal, bulk`, clip(e.Lane)))
	}
	known.check(m.Bucket(), bad)
	bad.add("traceparent", traceparentFault(e.Traceparent))
	m.SendAt, m.ExpiresAt = e.times(handedOver, textOf(c.ttl), bad)
	return m
}

// check refuses a bucket that is malformed or not known.
func (known Channels) check(b Bucket, bad *InvalidError) {
	if !isName(b.Account) {
		bad.add("account", nameFault(b.Account))
		return
	}
	if !isName(b.Channel) {
		bad.add("channel", nameFault(b.Channel))
		return
	}
	if known == nil {
		return
	}
	channels, ok := known[b.Account]
	if !ok {
		bad.add("account", fmt.Sprintf("there is no account %q; there is %s",
			b.Account, strings.Join(slices.Sorted(maps.Keys(known)), ", ")))
		return
	}
	if !slices.Contains(channels, b.Channel) {
		bad.add("channel", fmt.Sprintf("account %q has no channel %q; it has %s",
			b.Account, b.Channel, strings.Join(channels, ", ")))
	}
}

// times gives when to send e and until when.
func (e Envelope) times(handedOver time.Time, bodyTTL string, bad *InvalidError) (sendAt, expiresAt time.Time) {
	if !e.SendAt.IsZero() {
		bad.add("send_at", rangeFault(e.SendAt))
		// Never early: a part of a millisecond counts as a whole one.
		sendAt = wholeMillis(e.SendAt.Add(time.Millisecond - time.Nanosecond))
	}
	if !e.ExpiresAt.IsZero() {
		bad.add("expires_at", rangeFault(e.ExpiresAt))
		expiresAt = wholeMillis(e.ExpiresAt)
	}
	ttl, ok := parseTTL(e.TTL)
	if e.TTL != "" && !ok {
		bad.add("ttl", fmt.Sprintf(`"%s" is not a whole number of s, m or h, such as 90s or 24h`, clip(e.TTL)))
	}
	expiresAt = earliest(expiresAt, handedOver, ttl)
	ttl, _ = parseTTL(bodyTTL)
	return sendAt, earliest(expiresAt, handedOver, ttl)
}

// earliest gives the earlier of deadline, which may be zero, and from plus ttl
// milliseconds, unless ttl is zero.
func earliest(deadline, from time.Time, ttl int64) time.Time {
	if ttl == 0 {
		return deadline
	}
	end := time.UnixMilli(min(from.UnixMilli()+ttl, maxMillis)).UTC()
	if deadline.IsZero() || end.Before(deadline) {
		return end
	}
	return deadline
}

// parseTTL reads a whole number of s, m or h as milliseconds. Its longest ones
// are beyond a time.Duration.
func parseTTL(s string) (millis int64, ok bool) {
	if len(s) < 2 || len(s) > 10 || s[0] == '0' {
		return 0, false
	}
	for _, c := range []byte(s[:len(s)-1]) {
		if !isDigit(c) {
			return 0, false
		}
		millis = millis*10 + int64(c-'0')
	}
	switch s[len(s)-1] {
	case 's':
		return millis * 1000, true
	case 'm':
		return millis * 60_000, true
	case 'h':
		return millis * 3_600_000, true
	}
	return 0, false
}

// maxMillis is the last millisecond of the year 9999, where RFC 3339 ends.
const maxMillis = 253402300799999

// rangeFault refuses times that other parts of the way could not write down.
func rangeFault(t time.Time) string {
	if year := t.UTC().Year(); year < 1970 || year > 9999 {
		return "is not within the years 1970 to 9999 UTC"
	}
	return ""
}

func wholeMillis(t time.Time) time.Time {
	return time.UnixMilli(min(t.UnixMilli(), maxMillis)).UTC()
}

func keyFault(key string) string {
	if key == "" {
		return "is missing; give each send request a key of its own"
	}
	if len(key) > MaxKey {
		return fmt.Sprintf("has %d bytes, more than %d", len(key), MaxKey)
	}
	for i := range len(key) {
		if key[i] < '!' || key[i] > '~' {
			return fmt.Sprintf("has a character that is not visible ASCII at byte %d", i+1)
		}
	}
	return ""
}

// isName reports whether s can name an account or a channel.
func isName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && !isDigit(c) && c != '_' && c != '-' {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 32
}

func nameFault(s string) string {
	return fmt.Sprintf(`"%s" is not a name of 1 to 32 of a-z, 0-9, _ and -`, clip(s))
}

// traceparentFault checks the form of version 00 of W3C Trace Context, which
// later versions keep to be understood.
func traceparentFault(s string) string {
	if s == "" {
		return ""
	}
	const form = "00-00000000000000000000000000000000-0000000000000000-00"
	ok := len(s) == len(form)
	for i := 0; ok && i < len(s); i++ {
		isHex := isDigit(s[i]) || 'a' <= s[i] && s[i] <= 'f'
		ok = (form[i] == '-' && s[i] == '-') || (form[i] == '0' && isHex)
	}
	if !ok || s[:2] == "ff" || s[3:35] == form[3:35] || s[36:52] == form[36:52] {
		return "is not a W3C traceparent in lower case, such as 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	}
	return ""
}
