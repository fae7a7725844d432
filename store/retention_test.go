package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/dispatcher"
	"weir/internal/bubble"
	"weir/outbox"
	"weir/store"
)

const day = 24 * time.Hour

var keep = store.Retention{Bodies: 7 * day, Rows: 90 * day}

// prunes lets the daemon's retention look once, now.
func (d *desk) prunes() {
	d.t.Helper()
	ctx, stop := context.WithCancel(d.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.RunRetention(ctx, keep) }()
	time.Sleep(30 * time.Second) // in the bubble, whose months would take an hour; the store has a clock of its own
	stop()
	must(d.t, <-ended)
}

// oneOfEach stores a message in each state, named for it.
func (d *desk) oneOfEach() {
	d.t.Helper()
	for _, state := range []outbox.State{
		outbox.Pending, outbox.Sending, outbox.Retrying, outbox.Sent, outbox.Failed, outbox.Expired, outbox.Canceled, outbox.Unknown,
	} {
		m := message(string(state))
		if state == outbox.Pending || state == outbox.Retrying {
			m.SendAt = d.Now().Add(1000 * day)
		}
		d.put(m)
		switch state {
		case outbox.Sending:
			d.claim(m.Key)
		case outbox.Sent:
			d.record(d.claim(m.Key), dispatcher.Answer{MessageID: "msg_1", RequestID: "req_1"}, accepted)
		case outbox.Failed:
			d.record(d.claim(m.Key), dispatcher.Answer{}, refused)
		case outbox.Canceled:
			_, err := d.Cancel(d.t.Context(), m.Key)
			must(d.t, err)
		case outbox.Unknown:
			d.record(d.claim(m.Key), dispatcher.Answer{}, lost)
		case outbox.Expired, outbox.Retrying:
			d.exec(`UPDATE messages SET state = ?1, settled_at = iif(?1 = 'expired', created_at, NULL) WHERE idempotency_key = ?1`, string(state))
		}
	}
}

func TestWhatHasSettledLosesItsBodyThenItsRowAndTheRestIsNeverPruned(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.oneOfEach()
		const names = `coalesce(group_concat(idempotency_key, ' ' ORDER BY idempotency_key), '')`
		for _, step := range []struct {
			name         string
			wait         time.Duration
			rows, bodies string
		}{
			{"before a week is over nothing goes", 7*day - time.Minute,
				"canceled expired failed pending retrying sending sent unknown", "canceled expired failed pending retrying sending sent unknown"},
			{"after a week the bodies of what has settled go", time.Minute,
				"canceled expired failed pending retrying sending sent unknown", "pending retrying sending unknown"},
			{"before 90 days are over all rows stay", 83*day - 2*time.Minute,
				"canceled expired failed pending retrying sending sent unknown", "pending retrying sending unknown"},
			{"after 90 days rows without a body go", 2 * time.Minute,
				"pending retrying sending unknown", "pending retrying sending unknown"},
			{"what is left stays for ever", 5000 * day,
				"pending retrying sending unknown", "pending retrying sending unknown"},
		} {
			d.Add(step.wait)
			d.prunes()
			if got := d.text(`SELECT ` + names + ` FROM messages`); got != step.rows {
				t.Errorf("%s: there are rows of %s, want %s", step.name, got, step.rows)
			}
			if got := d.text(`SELECT ` + names + ` FROM messages WHERE body IS NOT NULL`); got != step.bodies {
				t.Errorf("%s: there are bodies of %s, want %s", step.name, got, step.bodies)
			}
			want := d.text(`SELECT ` + counted + ` FROM messages`)
			if got := d.text(`SELECT ` + shown + ` FROM status WHERE scope = 'daemon:weir'`); got != want {
				t.Errorf("%s: the status counts %s, there are %s", step.name, got, want)
			}
		}
		if n := d.number(`SELECT count(*) FROM tombstones`); n != 4 {
			t.Errorf("there are %d tombstones, want those of sent, failed, expired and canceled", n)
		}
		if n := d.number(`SELECT count(*) FROM attempts WHERE message NOT IN (SELECT id FROM messages)`); n != 0 {
			t.Errorf("%d attempts outlived their message", n)
		}
	})
}

func TestAPurgedKeyIsRefusedForEverAndToldWithWhatIsKnown(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.put(message("x"))
		d.record(d.claim("x"), dispatcher.Answer{MessageID: "msg_7"}, accepted)
		settled := d.Now()
		d.Add(91 * day)
		d.prunes()

		other := message("x")
		other.Fingerprint, other.Channel = "1:other", "email"
		results, err := d.Accept(t.Context(), []outbox.Message{message("x"), other, message("y")})
		must(t, err)
		if want := []outbox.Result{outbox.AlreadyThere, outbox.Conflict, outbox.Accepted}; !slices.Equal(results, want) {
			t.Errorf("the same, another and a new message are %v, want %v", results, want)
		}
		if n := d.number(`SELECT count(*) FROM messages`); n != 1 {
			t.Errorf("there are %d rows, want that of the new message", n)
		}
		if n := d.number(`SELECT count(*) FROM status WHERE scope = 'bucket:default/email'`); n != 0 {
			t.Error("a refused message made a bucket")
		}
		stored, err := d.Stored(t.Context(), "x")
		must(t, err)
		var kept store.Tombstone
		must(t, json.Unmarshal(stored, &kept))
		if kept.Key != "x" || kept.State != "sent" || val(kept.MessageID) != "msg_7" || kept.SettledAt != iso(settled) || kept.Fingerprint != "1:x" {
			t.Errorf("what is known is %s", stored)
		}
		if _, err := d.Stored(t.Context(), "z"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a key that never was gives %v", err)
		}
		if d.text(`SELECT group_concat(key_hash || fingerprint || state) FROM tombstones_readable`) !=
			"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a48811:xsent" {
			t.Error("the readable view does not show the SHA-256 of the key")
		}
	})
}

func TestAMessageWithoutItsBodyCannotBeSentAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.put(message("x"))
		d.record(d.claim("x"), dispatcher.Answer{}, refused)
		d.Add(8 * day)
		d.prunes()
		state, err := d.Retry(t.Context(), "x", time.Time{})
		if !errors.Is(err, store.ErrPurged) || state != outbox.Failed {
			t.Errorf("retry without a body gives %s, %v", state, err)
		}
		if _, err := d.db.Exec(`UPDATE messages SET state = 'pending', settled_at = NULL`); err == nil {
			t.Error("by SQL a message without a body became pending")
		}
		d.Add(90 * day)
		d.prunes()
		if state, err := d.Retry(t.Context(), "x", time.Time{}); !errors.Is(err, store.ErrPurged) || state != outbox.Failed {
			t.Errorf("retry of a tombstone gives %s, %v", state, err)
		}
	})
}

func TestPruningTakesSmallCommitsAndLeavesTheWriterToOthersMeanwhile(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := newDesk(t)
		const rows = 1000
		batch := make([]outbox.Message, rows)
		for i := range batch {
			batch[i] = message(fmt.Sprint(i))
		}
		d.put(batch...)
		d.exec(`UPDATE messages SET state = 'sent', settled_at = 1`)
		// weir sums up once in each commit that moves messages.
		d.exec(`CREATE TABLE log (bodies INTEGER, rows INTEGER)`)
		d.exec(`CREATE TRIGGER log AFTER UPDATE OF pending ON status WHEN NEW.scope = 'daemon:weir' BEGIN
			INSERT INTO log SELECT count(body), count(*) FROM messages;
		END`)
		d.prunes()
		if n := d.number(`SELECT count(*) FROM messages`); n != 0 {
			t.Fatalf("%d rows were not pruned", n)
		}
		most := d.number(`SELECT max(max(before - bodies, was - rows)) FROM
			(SELECT bodies, rows, lag(bodies, 1, 1000) OVER (ORDER BY rowid) AS before, lag(rows, 1, 1000) OVER (ORDER BY rowid) AS was FROM log)`)
		if most > 200 {
			t.Errorf("one commit pruned %d rows", most)
		}
	})
}

func TestARejectedPayloadIsKeptForAWeek(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := newDesk(t)
		reject := func(payload string) {
			must(t, d.Reject(t.Context(), []outbox.Rejection{{Payload: []byte(payload), Reason: "invalid"}}))
		}
		reject("old")
		d.Add(day)
		reject("young")
		d.Add(6*day + time.Hour)
		d.prunes()
		rows, err := d.Rejected(t.Context(), 0, 10)
		must(t, err)
		if len(rows) != 1 || rows[0].Size != len("young") {
			t.Errorf("after a week there are %+v, want the young one", rows)
		}
	})
}

func TestLaterMessagesUseThePagesThatPruningFreed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := newDesk(t)
		var sizes []int64
		for round := range 4 {
			batch := make([]outbox.Message, 300)
			for i := range batch {
				batch[i] = message(fmt.Sprintf("%d-%d", round, i))
				batch[i].Body = []byte(`{"text":"` + strings.Repeat("x", 10_000) + `"}`)
			}
			d.put(batch...)
			d.exec(`UPDATE messages SET state = 'sent', settled_at = updated_at WHERE settled_at IS NULL`)
			d.Add(91 * day)
			d.prunes()
			sizes = append(sizes, d.number(`PRAGMA page_count`))
		}
		if sizes[3] > sizes[0]*12/10 {
			t.Errorf("the file has %v pages after each round; what is gone should make room", sizes)
		}
	})
}

func TestWhatWasPurgedCannotBeReadFromTheFile(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := newDesk(t)
		small, large := message("small"), message("large")
		small.Body = []byte(`{"text":"a-secret-that-must-go"}`)
		large.Body = []byte(`{"text":"` + strings.Repeat("a-secret-that-must-go ", 2000) + `"}`)
		d.put(small, large)
		for _, key := range []string{"small", "large"} {
			d.record(d.claim(key), dispatcher.Answer{}, accepted)
		}
		d.Add(8 * day)
		d.prunes()
		must(t, d.Close())
		d.exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
		for name, content := range contents(t, d.dir) {
			if n := strings.Count(content, "a-secret-that-must-go"); n > 0 {
				t.Errorf("%s still has %d copies of a purged body's text", name, n)
			}
		}
	})
}
