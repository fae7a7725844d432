package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"weir/dispatcher"
	"weir/outbox"
	"weir/store"
)

// erase erases what there is of a person, as the command does.
func (d *desk) erase(w store.Whose) (store.Traces, store.Erasure) {
	d.t.Helper()
	found, err := d.FindTraces(d.t.Context(), w)
	must(d.t, err)
	erased, err := d.Erase(d.t.Context(), w, found, "tester")
	must(d.t, err)
	must(d.t, d.Rewrite(d.t.Context()))
	return found, erased
}

func TestErasingLeavesATombstoneAndTrueCounts(t *testing.T) {
	d := newDesk(t)
	m, other := message("k"), message("k2")
	d.put(m, other)
	d.record(d.claim("k"), dispatcher.Answer{MessageID: "msg_1"}, accepted)
	found, erased := d.erase(store.Whose{Key: "k"})
	if len(found.Settled) != 1 || found.Messages() != 1 || erased != (store.Erasure{Messages: 1}) {
		t.Errorf("found %+v, erased %+v", found, erased)
	}
	if left := d.number(`SELECT count(*) FROM attempts`) + d.number(`SELECT count(*) FROM messages WHERE idempotency_key = 'k'`); left != 0 {
		t.Errorf("%d rows are left of it", left)
	}
	kept, err := d.Tombstone(t.Context(), "k")
	must(t, err)
	if kept.State != "sent" || *kept.MessageID != "msg_1" || kept.ErasedAt == nil {
		t.Errorf("kept %+v", kept)
	}
	results, err := d.Accept(t.Context(), []outbox.Message{m})
	must(t, err)
	if results[0] != outbox.AlreadyThere {
		t.Errorf("a repeat is %s", results[0])
	}
	if n := d.number(`SELECT sent + 10 * pending FROM status WHERE scope LIKE 'daemon:%'`); n != 10 {
		t.Errorf("the daemon's row counts %d, want 10: one pending, none sent", n)
	}
	again, erased := d.erase(store.Whose{Key: "k"})
	if !again.Gone || erased != (store.Erasure{}) {
		t.Errorf("the second time %+v, %+v", again, erased)
	}
}

func TestWhatMayBeUnderWayIsToldApartAndNotErased(t *testing.T) {
	d := newDesk(t)
	d.oneOfEach()
	d.exec(`UPDATE messages SET ambiguous_at = 1 WHERE state = 'retrying'`)
	whose := store.Whose{Recipient: "+4915112345678"}
	d.exec(`UPDATE messages SET body = '{"to":"+4915112345678"}'`)
	found, erased := d.erase(whose)
	if len(found.Sending) != 1 || len(found.Unknown) != 2 || len(found.Waiting) != 1 || len(found.Settled) != 4 {
		t.Errorf("found %+v", found)
	}
	if erased != (store.Erasure{Messages: 5, Canceled: 1}) {
		t.Errorf("erased %+v", erased)
	}
	if n := d.number(`SELECT count(*) FROM messages WHERE state IN ('sending', 'unknown', 'retrying')`); n != 3 {
		t.Errorf("%d of 3 are left", n)
	}
	// What has changed since it was found.
	found.Settled, found.Rejected = found.Sending, []int64{99}
	erased, err := d.Erase(t.Context(), whose, store.Traces{Settled: found.Sending, Rejected: []int64{99}}, "tester")
	must(t, err)
	if erased != (store.Erasure{Left: 1}) {
		t.Errorf("a message that is being sent: %+v", erased)
	}
}

func TestWhoIsMeant(t *testing.T) {
	const number, mail = "+4915112345678", "a@example.org"
	for _, c := range []struct {
		name string
		body string
		want bool
	}{
		{"the recipient", `{"to":"+4915112345678"}`, true},
		{"written in another way", `{"to":"\u002b49151\u00312345678"}`, true},
		{"inside a text", `{"to":"x","text":"call\n+4915112345678."}`, true},
		{"a longer number", `{"to":"+49151123456789"}`, false},
		{"a shorter number", `{"to":"+491511234567"}`, false},
		{"a mail address", `{"to":"a@example.org"}`, true},
		{"in capitals", `{"to":"A@Example.ORG"}`, true},
		{"with an escaped solidus beside", `{"to":"\/a@example.org\/"}`, true},
		{"a longer name", `{"to":"ba@example.org"}`, false},
		{"a longer domain", `{"to":"a@example.organic"}`, false},
		{"beside a surrogate pair", `{"to":"\ud83d\ude00a@example.org"}`, true},
		{"broken JSON", `{"to":"a@example.org`, true},
		{"an escape that is cut off", `{"to":"a@example.org\u00`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			must(t, d.Reject(t.Context(), []outbox.Rejection{{Payload: []byte(c.body), Reason: "x"}}))
			got := 0
			for _, who := range []string{number, mail} {
				found, err := d.FindTraces(t.Context(), store.Whose{Recipient: who})
				must(t, err)
				got += len(found.Rejected)
			}
			if (got > 0) != c.want {
				t.Errorf("found %d times", got)
			}
		})
	}
}

func TestARecipientIsFoundByItsHashWhenTheBodyIsGone(t *testing.T) {
	d := newDesk(t)
	m := message("k")
	m.RecipientHash = outbox.RecipientHash("+4915112345678")
	d.put(m)
	d.record(d.claim("k"), dispatcher.Answer{}, accepted)
	d.exec(`UPDATE messages SET body = NULL`)
	if found, _ := d.erase(store.Whose{Recipient: "+4915112345678"}); len(found.Settled) != 1 {
		t.Errorf("found %+v", found)
	}
}

func TestAKeyFindsItsRejectedPayloadsAndNotThoseOfALongerOne(t *testing.T) {
	d := newDesk(t)
	d.put(message("order-1"), message("order-10"))
	must(t, d.Reject(t.Context(), []outbox.Rejection{
		{Payload: []byte(`{"idempotency_key":"order-1","body":{}}`)}, {Payload: []byte(`{"idempotency_key":"order-10","body":{}}`)},
	}))
	found, err := d.FindTraces(t.Context(), store.Whose{Key: "order-1"})
	must(t, err)
	if len(found.Waiting) != 1 || len(found.Rejected) != 1 {
		t.Errorf("found %+v", found)
	}
	_, erased := d.erase(store.Whose{Key: "order-1"})
	if erased != (store.Erasure{Messages: 1, Canceled: 1, Rejected: 1}) {
		t.Errorf("erased %+v", erased)
	}
	keys, err := d.ErasedKeys(t.Context())
	must(t, err)
	if !keys.Has("order-1") || !keys.Refuses("order-1") || keys.Has("order-10") || keys.Refuses("order-10") {
		t.Errorf("the streams are to be cleared of %v", keys)
	}
	must(t, d.ForgetErasedKeys(t.Context(), keys))
	if keys, err = d.ErasedKeys(t.Context()); err != nil || len(keys) > 0 {
		t.Errorf("%d keys are left, %v", len(keys), err)
	}
}

func TestRewritingLeavesNothingInThePagesThatWereRearranged(t *testing.T) {
	d := newDesk(t)
	d.exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
		INSERT INTO messages (idempotency_key, fingerprint, account, channel, lane, state, due_at, created_at, updated_at, settled_at, body)
		SELECT printf('%d-%x', i * 7919 % 3001, i), 'f', 'default', 'rcs', 'normal', 'sent', i, i, i, i,
		       printf('{"to":"%s%05d","text":"%s"}', iif(i % 20, 'other', 'victim'), i, hex(zeroblob(i * 7919 % 400)))
		FROM n`)
	for n := range 12 {
		d.exec(`UPDATE messages SET error_message = hex(zeroblob((id * 31 + ?1 * 17) % 120)) WHERE id * 7 % 13 = ?1`, n)
	}
	var found store.Traces
	for i := int64(20); i <= 3000; i += 20 {
		found.Settled = append(found.Settled, i)
	}
	_, err := d.Erase(t.Context(), store.Whose{Recipient: "victim"}, found, "tester")
	must(t, err)
	must(t, d.Rewrite(t.Context()))
	must(t, d.Close())
	for _, name := range []string{"weir.db", "weir.db-wal"} {
		data, err := os.ReadFile(filepath.Join(d.dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if n := bytes.Count(data, []byte("victim")); n > 0 {
			t.Errorf("%s holds %d traces", name, n)
		}
	}
}
