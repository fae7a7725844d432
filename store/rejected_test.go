package store_test

import (
	"bytes"
	"fmt"
	"testing"

	"weir/outbox"
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
	rows, err := d.Rejected(t.Context(), 9)
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
		if r := rows[i]; r.Reason != w.reason || int64(r.Size) != w.size || kept != w.kept || r.ReceivedAt != iso(start) {
			t.Errorf("%s, size %d, %d kept, at %s; want %+v", r.Reason, r.Size, kept, r.ReceivedAt, w)
		}
	}
	if n := d.number(`SELECT count(*) FROM rejected WHERE payload = x'61ff0062'`); n != 1 {
		t.Error("a binary payload is not kept as it came")
	}
	if latest, err := d.Rejected(t.Context(), 2); err != nil || len(latest) != 2 || latest[0].Reason != "binary" {
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
