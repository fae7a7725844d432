package store_test

import (
	"testing"

	"weir/dispatcher"
	"weir/outbox"
)

func TestAMessageThatFailsForeverHasABoundedNumberOfAttemptRows(t *testing.T) {
	retried := dispatcher.Judgement{Verdict: dispatcher.Retry, State: outbox.Retrying, Counted: true, ErrorCode: "unavailable"}
	notAPI := dispatcher.Judgement{Verdict: dispatcher.NotAPI, State: outbox.Pending, ErrorCode: "not_api"}
	for name, test := range map[string]struct {
		by      [2]dispatcher.Judgement // no two in a row are alike
		counted int                     // of the two
	}{
		"counted":          {[2]dispatcher.Judgement{retried, cutAt(start)}, 2},
		"not counted":      {[2]dispatcher.Judgement{unpaid, notAPI}, 0},
		"some of them are": {[2]dispatcher.Judgement{retried, throttled}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.put(message("x"))
			const requests = 1200
			for i := range requests {
				d.record(d.claim("x"), dispatcher.Answer{}, test.by[i%2])
			}
			if rows := d.number(`SELECT count(*) FROM attempts`); rows > 500 {
				t.Errorf("%d rows", rows)
			}
			if n, want := d.number(`SELECT sum(requests) FROM attempts`), test.counted*requests/2; n != requests || d.row("x").Attempts != want {
				t.Errorf("the rows tell of %d requests, the message of %d attempts, want %d and %d", n, d.row("x").Attempts, requests, want)
			}
			if n := d.number(`SELECT count(*) FROM attempts WHERE verdict = ? AND number = (SELECT max(number) FROM attempts)`, string(test.by[1].Verdict)); n != 1 {
				t.Error("the last row does not show the latest")
			}
		})
	}
}
