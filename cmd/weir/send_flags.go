package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"weir/outbox"
)

// messageFlags describe one message on the command line. Each is named like a
// field of the envelope.
type messageFlags struct {
	key, body, account, channel, lane, ttl, traceparent string
	sendAt, expiresAt                                   string
}

func (f *messageFlags) list() []messageFlag {
	return []messageFlag{
		{"key", "idempotency_key", &f.key, "`key` that is the message's identity: 1 to 255 visible ASCII characters"},
		{"body", "body", &f.body, "what to send: `JSON`, @FILE, or - for standard input"},
		{"account", "account", &f.account, "`name` of the account to send from (default \"default\")"},
		{"channel", "channel", &f.channel, "`name` of the channel (default: by the body)"},
		{"lane", "lane", &f.lane, "`lane`: high, normal or bulk (default: by the body)"},
		{"send-at", "send_at", &f.sendAt, "`time` before which it is not sent, in RFC 3339"},
		{"expires-at", "expires_at", &f.expiresAt, "`time` from which it is not sent any more, in RFC 3339"},
		{"ttl", "ttl", &f.ttl, "the same as a `span` from now on, such as 90s, 30m or 24h"},
		{"traceparent", "traceparent", &f.traceparent, "`trace` of which the sending is a part, as in W3C Trace Context"},
	}
}

type messageFlag struct {
	name, field string
	value       *string
	doc         string
}

func (f *messageFlags) add(flags *pflag.FlagSet) {
	for _, one := range f.list() {
		flags.StringVar(one.value, one.name, "", one.doc)
	}
}

// said lists the flags that stand on the command line.
func (f *messageFlags) said(flags *pflag.FlagSet) []string {
	var names []string
	for _, one := range f.list() {
		if flags.Changed(one.name) {
			names = append(names, one.name)
		}
	}
	return names
}

// message makes a message out of the flags. An *outbox.InvalidError says why
// there is none; any other error, that its body cannot be read.
func (f *messageFlags) message(flags *pflag.FlagSet, stdin io.Reader, now func() time.Time, known outbox.Channels) (outbox.Message, error) {
	var bad outbox.InvalidError
	for _, one := range f.list() {
		// An empty text is most likely a shell variable that is not set.
		if flags.Changed(one.name) && *one.value == "" {
			bad.Details = append(bad.Details, outbox.Detail{Field: one.field, Message: "must not be empty"})
		}
	}
	readTime := func(field, text string) time.Time {
		if text == "" {
			return time.Time{}
		}
		t, err := outbox.ParseTime(text)
		if err != nil {
			bad.Details = append(bad.Details, outbox.Detail{Field: field, Message: err.Error()})
		}
		return t
	}
	e := outbox.Envelope{
		Key: f.key, Account: f.account, Channel: f.channel, Lane: f.lane, TTL: f.ttl, Traceparent: f.traceparent,
		SendAt: readTime("send_at", f.sendAt), ExpiresAt: readTime("expires_at", f.expiresAt),
	}
	if len(bad.Details) > 0 {
		return outbox.Message{}, &bad
	}
	body, err := readBody(f.body, stdin)
	if err != nil {
		return outbox.Message{}, err
	}
	e.Body = body
	return e.Message(now(), known)
}

// readBody takes a body from where text says. White space around it does not
// belong to it: files tend to end with a line feed.
func readBody(text string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if path, isFile := strings.CutPrefix(text, "@"); isFile {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		in = file
	} else if text != "-" {
		return bytes.TrimSpace([]byte(text)), nil
	}
	body, err := io.ReadAll(io.LimitReader(in, outbox.MaxEnvelope)) // enough to be refused for its length
	if err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	return bytes.TrimSpace(body), nil
}
