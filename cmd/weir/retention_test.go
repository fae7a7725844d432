package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

// alter changes the database as nobody but time does.
func (d *desk) alter(query string, args ...any) {
	d.t.Helper()
	alterFile(d.t, d.dir+"/weir.db", query, args...)
}

func alterFile(t testing.TB, path, query string, args ...any) {
	t.Helper()
	db, err := sqlx.Open("sqlite3", "file:"+path+"?_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query, args...); err != nil {
		t.Fatal(err)
	}
}

// passed lets so many days pass since every message settled.
func (d *desk) passed(days int) {
	d.t.Helper()
	d.alter(`UPDATE messages SET settled_at = settled_at - 86400000 * ? WHERE settled_at IS NOT NULL`, days)
}

func TestAKeyWhoseRowIsGoneIsRefusedOnEveryWayIn(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	r.send(envelope("k", rcsBody))
	daemon := r.serve()
	r.awaitState(outbox.Sent, 1)
	sent := *r.show("k").MessageID
	daemon.stop()
	r.passed(91)
	daemon = r.serve()
	await(t, "the row is gone", func() bool { return r.ask(`SELECT count(*) FROM messages`) == 0 })

	if got := r.do("send", "--key", "k", "--body", rcsBody); got != "accepted 0, already there 1, conflict 0, invalid 0\n" {
		t.Errorf("weir send says %q", got)
	}
	if code, stdout, _ := r.sendLines(envelope("k", mailBody)); code != exitFailed || stdout != "accepted 0, already there 0, conflict 1, invalid 0\n" {
		t.Errorf("weir send of another body says %q, exit %d", stdout, code)
	}

	p := daemon.dial()
	p.subscribe("_INBOX.shop.*")
	for body, result := range map[string]string{rcsBody: "already_there", mailBody: "conflict"} {
		p.publish("weir.rpc.send", "_INBOX.shop.1", envelope("k", body))
		_, payload := p.next()
		want := fmt.Sprintf(`{"result":"%s","message":{"idempotency_key":"k",`, result)
		if !strings.HasPrefix(payload, want) || !strings.Contains(payload, `"state":"sent","message_id":"`+sent+`"`) {
			t.Errorf("weir.rpc.send answers %s, want %s… and what is known", payload, want)
		}
	}

	r.env["WEIR_NATS_URL"] = "nats://" + daemon.nats
	r.do("outbox", "init", "--db", "shop.db")
	if err := trade("shop.db", []string{"k", "new"}); err != nil { // with another body than the first
		t.Fatal(err)
	}
	relay := r.start("outbox", "relay", "--db", "shop.db")
	p.publish("weir.send", "", envelope("k", mailBody))
	p.publish("weir.send", "", envelope("k", rcsBody))
	r.awaitState(outbox.Sent, 1) // the new one of the outbox
	relay.stop()
	await(t, "the conflict is rejected", func() bool {
		return r.ask(`SELECT count(*) FROM rejected WHERE reason LIKE 'conflict: key k %'`) >= 1
	})
	if effects := r.api.Keys("k")["k"].Effects; effects != 1 || r.ask(`SELECT count(*) FROM messages WHERE idempotency_key = 'k'`) != 0 {
		t.Errorf("a key whose row is gone took effect %d times", effects)
	}
}

func TestATombstoneIsShownWithWhatIsKnownAndNothingCanBeDoneWithIt(t *testing.T) {
	r := newRig(t, sandbox.Config{Faults: []sandbox.Fault{{Kind: sandbox.Kind403, KeyPrefix: "bad"}}})
	r.send(envelope("good", rcsBody), envelope("bad", rcsBody))
	daemon := r.serve()
	r.awaitState(outbox.Sent, 1)
	r.awaitState(outbox.Failed, 1)
	daemon.stop()
	sent := *r.show("good").MessageID

	r.passed(8)
	daemon = r.serve()
	await(t, "the bodies are gone", func() bool { return r.ask(`SELECT count(body) FROM messages`) == 0 })
	daemon.stop()
	if got := r.do("messages", "show", "good", "--body"); !strings.HasSuffix(got, "\nthe body is no longer kept\n") {
		t.Errorf("without its body it is shown as\n%s", got)
	}
	if got := r.refuse(exitFailed, "messages", "retry", "bad"); !strings.Contains(got, "its body is no longer kept (WEIR_KEEP_BODIES)") {
		t.Errorf("retry says %q", got)
	}

	r.passed(90)
	daemon = r.serve()
	await(t, "the rows are gone", func() bool { return r.ask(`SELECT count(*) FROM messages`) == 0 })
	daemon.stop()
	if got := r.do("messages", "show", "good"); !strings.HasPrefix(got, "good is sent\nonly this is still kept of it") || !strings.Contains(got, "sent, message "+sent) {
		t.Errorf("a tombstone is shown as\n%s", got)
	}
	var known struct{ State, Message_ID string }
	if err := json.Unmarshal([]byte(r.do("messages", "show", "good", "--json")), &known); err != nil || known.State != "sent" || known.Message_ID != sent {
		t.Errorf("as JSON it is %+v, %v", known, err)
	}
	for _, command := range []string{"retry", "cancel"} {
		if got := r.refuse(exitFailed, "messages", command, "bad"); !strings.Contains(got, "cannot "+command+" bad, which is failed") {
			t.Errorf("%s of a tombstone says %q", command, got)
		}
	}
	if got := r.refuse(exitFailed, "messages", "show", "other"); !strings.Contains(got, "no message has the key other") {
		t.Errorf("a key that never was gives %q", got)
	}
	r.wantTrueCounts(nil)
}
