package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"weir/outbox"
	"weir/store"
)

func TestARejectedPayloadIsKeptForPeople(t *testing.T) {
	d := newDesk(t)
	const most = 320 << 10
	must(t, d.Reject(t.Context(), []outbox.Rejection{
		{Payload: []byte("junk"), Reason: "no JSON object"},
		{Payload: nil, Reason: "empty"},
		{Payload: bytes.Repeat([]byte("x"), most), Reason: "whole"},
		{Payload: bytes.Repeat([]byte("x"), most+1), Reason: "cut"},
		{Payload: []byte("a\xff\x00b"), Reason: "binary"},
	}))
	rows, err := d.Rejected(t.Context(), 0, 9)
	must(t, err)
	want := []struct {
		reason     string
		size, kept int64
	}{{"binary", 4, 4}, {"cut", most + 1, most}, {"whole", most, most}, {"empty", 0, 0}, {"no JSON object", 4, 4}}
	if len(rows) != len(want) {
		t.Fatalf("there are %d rows, want %d", len(rows), len(want))
	}
	for i, w := range want {
		kept := d.number(`SELECT length(payload) FROM rejected WHERE id = ?`, rows[i].ID)
		if r := rows[i]; r.Reason != w.reason || int64(r.Size) != w.size || kept != w.kept || r.Cut != (w.reason == "cut") || r.ReceivedAt != iso(start) {
			t.Errorf("%s, size %d, %d kept, at %s; want %+v", r.Reason, r.Size, kept, r.ReceivedAt, w)
		}
	}
	if n := d.number(`SELECT count(*) FROM rejected WHERE payload = x'61ff0062'`); n != 1 {
		t.Error("a binary payload is not kept as it came")
	}
	if payload, err := d.RejectedPayload(t.Context(), rows[0].ID); err != nil || string(payload) != "a\xff\x00b" {
		t.Errorf("the payload is %q (%v)", payload, err)
	}
	if _, err := d.RejectedPayload(t.Context(), 99); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a payload that there is not: %v", err)
	}
	if page, err := d.Rejected(t.Context(), rows[2].ID, 9); err != nil || len(page) != 2 || page[0].ID != rows[3].ID {
		t.Errorf("the page before %d is %+v (%v)", rows[2].ID, page, err)
	}
	if latest, err := d.Rejected(t.Context(), 0, 2); err != nil || len(latest) != 2 || latest[0].Reason != "binary" {
		t.Errorf("the latest two are %+v (%v)", latest, err)
	}
}

func TestTheOldestRejectedPayloadsMakeRoom(t *testing.T) {
	d := newDesk(t)
	reject := func(n int) {
		t.Helper()
		batch := make([]outbox.Rejection, n)
		for i := range batch {
			batch[i] = outbox.Rejection{Payload: []byte("junk"), Reason: fmt.Sprint(i)}
		}
		must(t, d.Reject(t.Context(), batch))
	}
	reject(10_000)
	if n := d.number(`SELECT count(*) FROM rejected WHERE id = 1`); n != 1 {
		t.Error("the oldest went before there were too many")
	}
	reject(3)
	if n, oldest := d.number(`SELECT count(*) FROM rejected`), d.number(`SELECT min(id) FROM rejected`); n != 10_000 || oldest != 4 {
		t.Errorf("%d rows are kept from the %dth on, want 10,000 from the 4th on", n, oldest)
	}

	d.exec(`DELETE FROM rejected`)
	for range 4 { // by SQL: as payloads these would have been cut
		d.exec(`INSERT INTO rejected (payload, size, reason, received_at) VALUES (zeroblob(64 << 20), 1, 'large', 1)`)
	}
	reject(0)
	if n := d.number(`SELECT count(*) FROM rejected`); n != 4 {
		t.Errorf("%d of 4 rows of 256 MiB together are left", n)
	}
	reject(1)
	if n := d.number(`SELECT count(*) FROM rejected`); n != 4 || d.number(`SELECT count(*) FROM rejected WHERE reason = 'large'`) != 3 {
		t.Errorf("%d rows are left, want the latest that fit", n)
	}
}

func TestARejectedPayloadBecomesAMessageOnceItsCauseHasGone(t *testing.T) {
	d := newDesk(t)
	known := outbox.Channels{"default": {"rcs"}}
	must(t, d.Reject(t.Context(), []outbox.Rejection{
		{Payload: []byte(`{"idempotency_key":"x","channel":"sms","ttl":"2h","body":{"to":"+49"}}`), Reason: "channel: no such channel"},
	}))
	id := d.number(`SELECT id FROM rejected`)
	d.Add(time.Hour)

	_, _, err := d.RequeueRejected(t.Context(), id, known)
	var invalid *outbox.InvalidError
	if !errors.As(err, &invalid) || invalid.Details[0].Field != "channel" || d.number(`SELECT count(*) FROM rejected`) != 1 {
		t.Errorf("while the channel is unknown: %v", err)
	}

	known["default"] = []string{"rcs", "sms"}
	m, result, err := d.RequeueRejected(t.Context(), id, known)
	if err != nil || result != outbox.Accepted || m.Key != "x" || d.number(`SELECT count(*) FROM rejected`) != 0 {
		t.Fatalf("%s of %+v (%v)", result, m, err)
	}
	if row := d.row("x"); row.State != "pending" || row.Channel != "sms" || val(row.ExpiresAt) != iso(start.Add(2*time.Hour)) {
		t.Errorf("the message is %+v, want its ttl from when the payload came", row)
	}
	if _, _, err := d.RequeueRejected(t.Context(), id, known); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("once more: %v", err)
	}
}

func TestARequeuedPayloadMeetsTheMessageThatHasItsKey(t *testing.T) {
	d := newDesk(t)
	envelope := func(text string) []byte { return []byte(`{"idempotency_key":"x","body":{"text":"` + text + `"}}`) }
	must(t, d.Reject(t.Context(), []outbox.Rejection{{Payload: envelope("a")}, {Payload: envelope("a")}, {Payload: envelope("b")}}))
	for id, want := range []struct {
		result outbox.Result
		left   int64
	}{{outbox.Accepted, 2}, {outbox.AlreadyThere, 1}, {outbox.Conflict, 1}} {
		_, result, err := d.RequeueRejected(t.Context(), int64(id+1), nil)
		if left := d.number(`SELECT count(*) FROM rejected`); err != nil || result != want.result || left != want.left {
			t.Errorf("payload %d: %s (%v), %d are left, want %+v", id+1, result, err, left, want)
		}
	}
}

func TestWhatIsNotAWholeEnvelopeCannotBeRequeued(t *testing.T) {
	d := newDesk(t)
	must(t, d.Reject(t.Context(), []outbox.Rejection{{Payload: []byte("junk")}, {}, {Payload: bytes.Repeat([]byte("x"), 320<<10+1)}}))
	var invalid *outbox.InvalidError
	for id := range int64(2) {
		if _, _, err := d.RequeueRejected(t.Context(), id+1, nil); !errors.As(err, &invalid) {
			t.Errorf("payload %d: %v, want an InvalidError", id+1, err)
		}
	}
	if _, _, err := d.RequeueRejected(t.Context(), 3, nil); !errors.Is(err, store.ErrCut) {
		t.Errorf("a cut payload: %v", err)
	}
	if n := d.number(`SELECT count(*) FROM rejected`); n != 3 {
		t.Errorf("%d of 3 are left", n)
	}
}
