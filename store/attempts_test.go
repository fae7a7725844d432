package store_test

import (
	"testing"

	"weir/dispatcher"
	"weir/outbox"
)

func TestAMessageThatFailsForeverHasABoundedNumberOfAttemptRows(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	const requests = 1200
	for i := range requests {
		j := cutAt(d.Now())
		if i%2 == 0 { // no two in a row are alike
			j = dispatcher.Judgement{Verdict: dispatcher.Retry, State: outbox.Retrying, Counted: true, DueAt: d.Now(), ErrorCode: "unavailable"}
		}
		d.record(d.claim("x"), dispatcher.Answer{}, j)
	}
	if rows := d.number(`SELECT count(*) FROM attempts`); rows > 500 {
		t.Errorf("%d rows", rows)
	}
	if n := d.number(`SELECT sum(requests) FROM attempts`); n != requests || d.row("x").Attempts != requests {
		t.Errorf("the rows tell of %d requests, the message of %d attempts, want %d", n, d.row("x").Attempts, requests)
	}
	if n := d.number(`SELECT count(*) FROM attempts WHERE verdict = 'ambiguous' AND number = (SELECT max(number) FROM attempts)`); n != 1 {
		t.Error("the last row does not show the latest")
	}
}
