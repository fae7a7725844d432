package store_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"weir/outbox"
)

func TestEachAcceptedMessageIsToldWhatBecameOfIt(t *testing.T) {
	d := newDesk(t)
	d.put(message("before"))
	other := message("b")
	other.Fingerprint, other.Body = "1:other", []byte(`{"other":true}`)
	elsewhere := message("before")
	elsewhere.Lane, elsewhere.Channel = outbox.High, "email"

	results, err := d.Accept(t.Context(), []outbox.Message{message("a"), message("b"), message("a"), other, elsewhere, message("c")})
	must(t, err)
	want := []outbox.Result{outbox.Accepted, outbox.Accepted, outbox.AlreadyThere, outbox.Conflict, outbox.AlreadyThere, outbox.Accepted}
	if !slices.Equal(results, want) {
		t.Errorf("results are %v, want %v", results, want)
	}
	if n := d.number(`SELECT count(*) FROM messages`); n != 4 {
		t.Errorf("there are %d rows, want before, a, b and c", n)
	}
	if a, b, c := d.row("a").ID, d.row("b").ID, d.row("c").ID; a > b || b > c {
		t.Errorf("ids %d, %d, %d are not in the order of acceptance", a, b, c)
	}
	if body, err := d.Body(t.Context(), "b"); err != nil || body != string(message("b").Body) {
		t.Errorf("after a conflict the body is %s (%v), want the first one", body, err)
	}
	if m := d.row("before"); m.Lane != "normal" || m.Channel != "rcs" {
		t.Errorf("a repeat moved the message to %s %s", m.Channel, m.Lane)
	}
}

func TestAnAcceptedMessageHasAllItsFieldsAndNullForTheAbsent(t *testing.T) {
	d := newDesk(t)
	full := message("full")
	full.SendAt, full.ExpiresAt = start.Add(time.Hour), start.Add(2*time.Hour+time.Millisecond)
	full.Traceparent, full.RecipientHash = "00-1-2-01", "abc"
	d.put(full, message("bare"))

	m := d.row("full")
	if m.State != "pending" || m.Generation != 1 || m.Attempts != 0 || m.Throttles != 0 || m.Fingerprint != "1:full" ||
		m.Account != "default" || m.Channel != "rcs" || m.Lane != "normal" ||
		val(m.SendAt) != "2026-03-04T06:06:07.089Z" || m.DueAt != "2026-03-04T06:06:07.089Z" ||
		val(m.ExpiresAt) != "2026-03-04T07:06:07.090Z" || m.CreatedAt != iso(start) || m.UpdatedAt != iso(start) ||
		val(m.Traceparent) != "00-1-2-01" || val(m.RecipientHash) != "abc" {
		t.Errorf("stored as %+v", m)
	}
	if n := d.number(`
		SELECT count(*) FROM messages
		WHERE idempotency_key = 'bare' AND due_at = created_at
		  AND coalesce(epoch, scope, recipient_hash, traceparent, send_at, expires_at, first_attempt_at, ambiguous_at, settled_at,
		               message_id, request_id, http_status, error_code, error_message) IS NULL`); n != 1 {
		t.Errorf("what is absent is not NULL: %+v", d.row("bare"))
	}
}

func TestTheBodyIsKeptByteForByte(t *testing.T) {
	d := newDesk(t)
	body := "{ \"b\" : 1.0e+00,\t\"a\":\"\\u00e9 é \U0001f30a \\/ \u2028\", \"a2\":-0 ,\r\n \"n\":12345678901234567890 } "
	m := message("x")
	m.Body = []byte(body)
	d.put(m)
	if c := d.claim("x"); string(c.Body) != body {
		t.Errorf("claimed %q, want %q", c.Body, body)
	}
	if stored, err := d.Body(t.Context(), "x"); err != nil || stored != body {
		t.Errorf("stored %q (%v), want %q", stored, err, body)
	}
}

func TestABatchIsOnDiskTogetherWhenAcceptReturns(t *testing.T) {
	d := newDesk(t)
	var batch []outbox.Message
	for _, key := range []string{"a", "b", "c"} {
		batch = append(batch, message(key))
	}
	bad := message("d")
	bad.Lane = "express" // the table refuses it
	if _, err := d.Accept(t.Context(), append(batch, bad)); err == nil {
		t.Fatal("a lane that does not exist was stored")
	}
	if n := d.number(`SELECT count(*) FROM messages`); n != 0 {
		t.Errorf("%d rows of a batch that failed were stored", n)
	}
	d.put(batch...)
	if n := d.number(`SELECT count(*) FROM messages`); n != 3 {
		t.Errorf("another connection sees %d rows, want 3", n)
	}
}

func TestWhatWasNotTakenBeforeItsContextEndedIsNotStored(t *testing.T) {
	d := newDesk(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // the queue has room, so either may be chosen
		_, err := d.Accept(ended, []outbox.Message{message("x")})
		stored := d.number(`SELECT count(*) FROM messages`) == 1
		if stored != (err == nil) {
			t.Fatalf("stored: %v, but the error is %v", stored, err)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		d.exec(`DELETE FROM messages`)
	}
}

func TestARepeatUnderAnotherChannelMakesNoBucket(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	elsewhere := message("x")
	elsewhere.Channel = "email"
	if _, err := d.Accept(t.Context(), []outbox.Message{elsewhere}); err != nil {
		t.Fatal(err)
	}
	if n := d.number(`SELECT count(*) FROM status WHERE scope = 'bucket:default/email'`); n != 0 {
		t.Error("the status table shows a bucket that has no message")
	}
}
