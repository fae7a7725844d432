package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

// producer speaks to the daemon's NATS as any program in any language can:
// lines over TCP.
type producer struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

// dial connects a producer, which has patience for the whole test.
func (s *served) dial() *producer {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.nats)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	p := &producer{s.t, conn, bufio.NewReader(conn)}
	if line := p.line(); !strings.HasPrefix(line, "INFO ") {
		s.t.Fatalf("NATS says %q", line)
	}
	p.write("CONNECT {\"verbose\":false}\r\n")
	return p
}

func (p *producer) write(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.conn, format, args...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *producer) line() string {
	p.t.Helper()
	line, err := textproto.NewReader(p.in).ReadLine()
	if err != nil {
		p.t.Fatalf("NATS: %v", err)
	}
	return line
}

func (p *producer) subscribe(subject string) { p.write("SUB %s 1\r\n", subject) }

// publish sends a payload, and says where an answer is wanted if reply is not empty.
func (p *producer) publish(subject, reply, payload string) {
	p.t.Helper()
	p.write("PUB %s %s %d\r\n%s\r\n", subject, reply, len(payload), payload)
}

// flush returns once the server has taken everything.
func (p *producer) flush() {
	p.t.Helper()
	p.write("PING\r\n")
	if line := p.line(); line != "PONG" {
		p.t.Fatalf("NATS says %q", line)
	}
}

// next gives the next message that comes for a subscription.
func (p *producer) next() (subject, payload string) {
	p.t.Helper()
	line := p.line()
	for ; line == "PING"; line = p.line() {
		p.write("PONG\r\n")
	}
	words := strings.Fields(line)
	size, err := strconv.Atoi(words[len(words)-1])
	if err != nil || words[0] != "MSG" {
		p.t.Fatalf("NATS says %q", line)
	}
	data := make([]byte, size+len("\r\n"))
	if _, err := io.ReadFull(p.in, data); err != nil {
		p.t.Fatal(err)
	}
	return words[1], string(data[:size])
}

func TestPlainPublishesAreSentOnceForEachKeyAndJunkIsNeverSent(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	p := r.serve().dial()
	keys := keysOf("k", 60)
	junk := []string{
		"", "hello", "\x00\xff", "[]", `{"body":{}}`, `{"idempotency_key":"junk-1"}`,
		`{"idempotency_key":"junk-2","body":{},"lane":"fast"}`, `{"idempotency_key":"junk-3","body":{"a":1,"a":2}}`,
	}
	for round := range 2 {
		for i, line := range envelopes(keys) {
			p.publish("weir.send", "", line)
			if i%10 == 0 && round == 0 && len(junk) > i/10 {
				p.publish("weir.send", "", junk[i/10])
			}
		}
	}
	for _, text := range junk[6:] {
		p.publish("weir.send", "", text)
	}
	p.publish("weir.send", "", envelope(keys[0], mailBody)) // a conflict
	p.flush()
	r.awaitState(outbox.Sent, len(keys))
	await(t, "all junk is rejected", func() bool { return r.ask(`SELECT count(*) FROM rejected`) == len(junk)+1 })
	r.wantSent(keys...)
	if n := r.api.Stats().Requests; n != len(keys) {
		t.Errorf("%d requests for %d messages", n, len(keys))
	}
	rejected := r.do("rejected", "list", "--json")
	for _, want := range []string{`"payload":"hello"`, "junk-1", "lane: ", "body.a: ", keys[0]} {
		if !strings.Contains(rejected, want) {
			t.Errorf("the rejected lack %s:\n%s", want, rejected)
		}
	}
}

func TestARequestOverNATSIsAnsweredWithWhatIsStored(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	daemon := r.serve()
	p := daemon.dial()
	p.subscribe("_INBOX.shop.*")
	r.do("gates", "pause", "daemon")
	later := fmt.Sprintf(`{"idempotency_key":"k","send_at":"2099-01-01T00:00:00Z","body":%s}`, rcsBody)
	for i, c := range []struct{ payload, result, key string }{
		{later, "accepted", "k"},
		{later, "already_there", "k"},
		{envelope("k", mailBody), "conflict", "k"},
		{`{"idempotency_key":"j","body":{},"lane":"fast"}`, "invalid", ""},
	} {
		inbox := fmt.Sprintf("_INBOX.shop.%d", i)
		p.publish("weir.rpc.send", inbox, c.payload)
		subject, payload := p.next()
		var got struct {
			Result  string
			Message json.RawMessage
			Details []struct{ Field string }
		}
		if err := json.Unmarshal([]byte(payload), &got); err != nil || subject != inbox || got.Result != c.result {
			t.Errorf("%s: the answer on %s is %s, %v; want %s", c.payload, subject, payload, err, c.result)
			continue
		}
		if c.key == "" {
			if len(got.Details) != 1 || got.Details[0].Field != "lane" {
				t.Errorf("the answer names no field: %s", payload)
			}
			continue
		}
		var stored map[string]any
		if err := json.Unmarshal(got.Message, &stored); err != nil {
			t.Fatal(err)
		}
		if _, there := stored["body"]; stored["idempotency_key"] != "k" || stored["channel"] != "rcs" || stored["send_at"] != "2099-01-01T00:00:00.000Z" || there {
			t.Errorf("the stored message is shown as %s", got.Message)
		}
	}
}

func TestEveryOutcomeIsToldOverNATS(t *testing.T) {
	r := newRig(t, sandbox.Config{Faults: []sandbox.Fault{{Kind: sandbox.Kind403, KeyPrefix: "bad"}}})
	p := r.serve().dial()
	p.subscribe("weir.outcome.*")
	p.flush()
	for _, c := range []struct{ key, state string }{{"good", "sent"}, {"bad", "failed"}} {
		p.publish("weir.send", "", envelope(c.key, rcsBody))
		subject, payload := p.next()
		var event map[string]any
		if err := json.Unmarshal([]byte(payload), &event); err != nil || subject != "weir.outcome."+c.state {
			t.Fatalf("on %s: %s, %v", subject, payload, err)
		}
		row := r.messages()[c.key]
		want := fmt.Sprint(c.key, c.state, orNil(row.MessageID), orNil(row.RequestID), *row.HTTPStatus, orNil(row.ErrorCode), 1)
		got := fmt.Sprint(event["idempotency_key"], event["state"], event["message_id"], event["request_id"], event["http_status"], event["error_code"], event["attempts"])
		if got != want || event["at"] != *row.SettledAt {
			t.Errorf("the event says %s\nthe row is      %s", payload, want)
		}
	}
}

// orNil is an optional text as JSON has it.
func orNil(text *string) any {
	if text == nil {
		return nil
	}
	return *text
}
