package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// books remember every key and what it did, for as long as the server lives:
// also a key that the API has forgotten is known here, so that a second effect
// is seen. Their times are the local clock's.
type books struct {
	run      string // which tells message ids from those of other books
	lifetime time.Duration
	entries  map[string]*entry
	effects  []effect
	begun    int // executions, also those still running
	twice    int
}

// entry is one key.
type entry struct {
	digest   [sha256.Size]byte // of the body that runs or ran last
	arrivals []int64           // of every request, in Unix nanoseconds
	effects  int
	running  bool
	latest   effect
}

// effect is one execution: a message that went out.
type effect struct {
	id          string
	number      int
	digest      [sha256.Size]byte // of the body
	email       bool
	messageType string
	at          time.Time
}

// standing is what the books say to a request.
type standing int

const (
	fresh standing = iota
	running
	done
	conflicting
)

func newBooks(run string, lifetime time.Duration) *books {
	return &books{run: run, lifetime: lifetime, entries: map[string]*entry{}}
}

// arrive notes a request with key and gives the key's entry.
func (b *books) arrive(key string, now time.Time) *entry {
	e := b.entries[key]
	if e == nil {
		e = &entry{}
		b.entries[key] = e
	}
	e.arrivals = append(e.arrivals, now.UnixNano())
	return e
}

// standing says what becomes of a request with this body.
func (b *books) standing(e *entry, digest [sha256.Size]byte, now time.Time) standing {
	remembered := e.effects > 0 && (b.lifetime == 0 || now.Sub(e.latest.at) < b.lifetime)
	switch {
	case !e.running && !remembered:
		return fresh
	case e.digest != digest:
		return conflicting
	case e.running:
		return running
	}
	return done
}

// begin notes that an execution starts; e is nil for a request without a key.
func (b *books) begin(e *entry, digest [sha256.Size]byte) {
	b.begun++
	if e != nil {
		e.running, e.digest = true, digest
	}
}

// finish notes that an execution took effect.
func (b *books) finish(c *call, now time.Time) effect {
	e := c.entry
	made := effect{number: len(b.effects) + 1, digest: c.digest, email: c.channel == "email", messageType: c.messageType(), at: now}
	made.id = "msg_"
	if made.email {
		made.id += "email_"
	}
	made.id += b.run + "_" + strconv.Itoa(made.number)
	b.effects = append(b.effects, made)
	if e != nil {
		if e.effects > 0 {
			b.twice++
		}
		e.running, e.latest = false, made
		e.effects++
	}
	return made
}

// message gives the effect with this id.
func (b *books) message(id string) (effect, bool) {
	number, err := strconv.Atoi(id[strings.LastIndexByte(id, '_')+1:])
	if err != nil || number < 1 || number > len(b.effects) || b.effects[number-1].id != id {
		return effect{}, false
	}
	return b.effects[number-1], true
}

// Key is what the server knows of one idempotency key.
type Key struct {
	// Effects is how often the key took effect: more than once is wrong.
	Effects int `json:"effects"`
	// MessageID is the message of the last effect, empty if there was none.
	MessageID string `json:"message_id,omitempty"`
	// Body is the SHA-256 of the body that took effect last, in hex; empty if
	// none did.
	Body string `json:"body_sha256,omitempty"`
	// Arrivals are the times of all requests with the key, by Config.Now.
	Arrivals []time.Time `json:"arrivals"`
}

func (e *entry) key() Key {
	k := Key{Effects: e.effects, MessageID: e.latest.id, Arrivals: make([]time.Time, len(e.arrivals))}
	if e.effects > 0 {
		k.Body = hex.EncodeToString(e.latest.digest[:])
	}
	for i, at := range e.arrivals {
		k.Arrivals[i] = time.Unix(0, at).UTC()
	}
	return k
}
