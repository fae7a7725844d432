package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

const (
	victim = "+4915199988877"
	marker = "only-in-the-erased-text"
)

// bodyTo is a body with a text of so many characters more.
func bodyTo(to, text string, more int) string {
	return fmt.Sprintf(`{"agent_id":"ag_1","to":%q,"message_type":"MESSAGE","traffic_type":"TRANSACTION","content":{"text":%q}}`,
		to, text+strings.Repeat("x", more))
}

// wantNoTrace looks for texts in the bytes of every file of the data directory.
func (d *desk) wantNoTrace(texts ...string) {
	d.t.Helper()
	for path, data := range contents(d.t, d.dir) {
		for _, text := range texts {
			if n := strings.Count(data, text); n > 0 {
				d.t.Errorf("%s still holds %q, %d times", path, text, n)
			}
		}
	}
}

func TestAnErasedPersonStandsInNoFileAndTheirKeysStayRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		running bool
	}{{"beside a daemon", true}, {"while it is down", false}} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, sandbox.Config{})
			daemon := r.serve()
			var others, theirs []string
			var lines []string
			for i := range 120 {
				other, mine := fmt.Sprintf("other-%d", i), fmt.Sprintf("welcome/%s/%d", victim, i)
				others = append(others, other)
				lines = append(lines, envelope(other, bodyTo(fmt.Sprintf("+4915100%06d", i), "Hi", i*i)))
				if i%4 == 0 {
					theirs = append(theirs, mine)
					lines = append(lines, envelope(mine, bodyTo(victim, marker, i*i)))
				}
			}
			r.send(lines...)
			p := daemon.dial()
			p.publish("weir.send", "", envelope("over-nats", bodyTo(victim, marker, 0)))
			p.publish("weir.send", "", `{"idempotency_key":"junk","body":{"to":"\u002b4915199988877","note":"`+marker+`"},"odd":1}`)
			theirs = append(theirs, "over-nats")
			r.awaitState(outbox.Sent, len(others)+len(theirs))
			await(t, "the junk is rejected", func() bool { return r.ask(`SELECT count(*) FROM rejected`) == 1 })
			if !c.running {
				daemon.stop()
			}

			said := r.do("messages", "erase", "--to", victim, "--yes")
			for _, want := range []string{
				fmt.Sprintf("found %d settled messages, 0 more that wait, and 1 rejected payload\n", len(theirs)),
				fmt.Sprintf("erased %d messages, of which 0 still waited, and 1 rejected payload;", len(theirs)),
				"written anew", "WEIR_SEND and WEIR_OUTCOME hold no", "cannot reach", "backups",
			} {
				if !strings.Contains(said, want) {
					t.Errorf("it does not say %q:\n%s", want, said)
				}
			}
			r.wantNoTrace(victim, victim[1:], marker)
			if n := r.ask(`SELECT count(*) FROM erasures WHERE asked_for = 'recipient' AND messages = 31 AND rejected = 1`); n != 1 {
				t.Error("the table erasures does not tell of it")
			}
			if !c.running {
				r.serve()
			}
			if got := r.do("send", "--key", theirs[1], "--body", bodyTo(victim, marker, 16)); got != "accepted 0, already there 1, conflict 0, invalid 0\n" {
				t.Errorf("a repeat of what was erased: %q", got)
			}
			if code, got, _ := r.sendLines(envelope(theirs[1], rcsBody)); code != exitFailed || got != "accepted 0, already there 0, conflict 1, invalid 0\n" {
				t.Errorf("another message under an erased key: %q", got)
			}
			if got := r.do("messages", "show", theirs[0]); !strings.Contains(got, "is sent\n") || !strings.Contains(got, "was erased") {
				t.Errorf("an erased message is shown as\n%s", got)
			}
			r.wantTrueCounts(r.messages())
		})
	}
}

func TestNothingIsErasedWhileTheFateOfAMessageIsOpen(t *testing.T) {
	d := newDesk(t)
	d.send(envelope("waits", rcsBody), envelope("other", mailBody))
	if got := d.refuse(exitFailed, "messages", "erase", "--key", "waits", "--yes"); !strings.Contains(got, "1 message is still to be sent") || !strings.Contains(got, "--cancel") {
		t.Errorf("a message that waits: %q", got)
	}
	if got := d.do("messages", "erase", "--key", "waits", "--cancel", "--dry-run"); got != "found 0 settled messages, 1 more that wait, and 0 rejected payloads\n" {
		t.Errorf("a dry run says %q", got)
	}
	if code, _, stderr := d.run(t.Context(), strings.NewReader("y\n"), "messages", "erase", "--key", "waits", "--cancel"); code != exitUsage ||
		!strings.Contains(stderr, "erase 1 message and 0 rejected payloads: confirm it with --yes") {
		t.Errorf("without a yes: exit %d, %q", code, stderr)
	}
	if rows := d.messages(); rows["waits"].State != string(outbox.Pending) {
		t.Errorf("it is %s", rows["waits"].State)
	}
	if got := d.do("messages", "erase", "--key", "waits", "--cancel", "--yes"); !strings.Contains(got, "erased 1 message, of which 1 still waited, and 0 rejected payloads;") {
		t.Errorf("with a yes:\n%s", got)
	}
	if got := d.do("messages", "show", "waits"); !strings.HasPrefix(got, "waits is canceled\n") {
		t.Errorf("it is shown as\n%s", got)
	}
	d.wantTrueCounts(d.messages())
	d.wantNoTrace("+4915112345678")

	d.send(envelope("perhaps", rcsBody))
	d.unknown("perhaps")
	if got := d.refuse(exitFailed, "messages", "erase", "--key", "perhaps", "--cancel", "--yes"); !strings.Contains(got, "weir messages resolve") {
		t.Errorf("a message that may have been sent: %q", got)
	}
	if got := d.refuse(exitFailed, "messages", "erase", "--key", "never", "--yes"); !strings.Contains(got, "no message has the key never") {
		t.Errorf("a key that never was: %q", got)
	}
	d.refuse(exitUsage, "messages", "erase")
	d.refuse(exitUsage, "messages", "erase", "--to", "a@b")
	d.refuse(exitUsage, "messages", "erase", "--to", "somebody", "--key", "k")
}

func TestAMessageIsErasedUnderAWorkingDaemonWhoseOthersGoOn(t *testing.T) {
	t.Parallel()
	r := newRigAside(t, sandbox.Config{Limit: 50})
	r.serve()
	r.send(envelopes(keysOf("k", 400))...)
	r.do("messages", "erase", "--key", "k-400", "--cancel", "--yes")
	r.awaitState(outbox.Sent, 399)
	r.wantSent(keysOf("k", 399)...)
}

func TestWhatAProducerHasMendedIsNotLostWithTheRejectedPayloadThatIsErased(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	server := newExternalNATS(t)
	r.env["WEIR_NATS_URL"] = server.srv.ClientURL()
	daemon := r.serve()
	nc, err := nats.Connect(server.srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	publish := func(payload string) {
		t.Helper()
		if _, err := js.Publish(t.Context(), "weir.send", []byte(payload)); err != nil {
			t.Fatal(err)
		}
	}
	publish(`{"idempotency_key":"k","body":` + bodyTo(victim, marker, 0) + `,"odd":1}`)
	await(t, "it is rejected", func() bool { return r.ask(`SELECT count(*) FROM rejected`) == 1 })
	daemon.stop()
	publish(envelope("k", bodyTo(victim, marker, 0)))
	if said := r.do("messages", "erase", "--to", victim, "--yes"); !strings.Contains(said, "and 1 rejected payload;") {
		t.Errorf("it says\n%s", said)
	}
	r.serve()
	r.awaitState(outbox.Sent, 1)
	r.wantSent("k")
}
