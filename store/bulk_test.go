package store_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"weir/outbox"
	"weir/store"
)

// fails stores messages that the API has refused.
func (d *desk) fails(from, to int) {
	d.t.Helper()
	d.exec(`
		WITH RECURSIVE n (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
		INSERT INTO messages (idempotency_key, fingerprint, account, channel, lane, state, error_code, due_at, created_at, updated_at, settled_at, body)
		SELECT i, i, 'default', 'rcs', 'normal', 'failed', iif(i % 2, 'odd', 'even'), 1, 1, 1, 1, '{}' FROM n`, from, to)
}

func TestManyMessagesAreRetriedAtOnceInTheirOrder(t *testing.T) {
	d := newDesk(t)
	d.fails(1, 1000)
	filter := store.Filter{ErrorCode: "odd", Most: 3} // the bound of a page does not count
	for _, test := range []struct {
		dryRun       bool
		want         store.Bulk
		failed, wait int64
	}{
		{true, store.Bulk{Matched: 500}, 1000, 0},
		{false, store.Bulk{Matched: 500, Changed: 500}, 500, 500},
		{false, store.Bulk{}, 500, 500},
	} {
		got, err := d.RetryMatching(t.Context(), filter, time.Time{}, test.dryRun)
		must(t, err)
		failed, wait := d.number(`SELECT failed FROM status WHERE scope LIKE 'bucket:%'`), d.number(`SELECT pending FROM status WHERE scope LIKE 'bucket:%'`)
		if got != test.want || failed != test.failed || wait != test.wait {
			t.Errorf("dry run %v: %+v, now %d failed and %d waiting; want %+v", test.dryRun, got, failed, wait, test)
		}
		d.Add(time.Second)
	}
	if n := d.number(`SELECT count(*) FROM messages AS a JOIN messages AS b ON b.id > a.id AND b.due_at < a.due_at WHERE a.state = 'pending' AND b.state = 'pending'`); n != 0 {
		t.Errorf("%d pairs would be sent in another order than they were accepted in", n)
	}
}

func TestWhatCannotBeRetriedIsSkippedAndCounted(t *testing.T) {
	d := newDesk(t)
	d.every()
	d.put(message("bare"))
	d.record(d.claim("bare"), answer(422), refused)
	d.exec(`UPDATE messages SET body = NULL WHERE idempotency_key = 'bare'`)
	d.Add(time.Hour) // past the deadline of the expired one
	for _, dryRun := range []bool{true, false} {
		want := store.Bulk{Matched: 4, Changed: 2, Skipped: 2, Purged: 1, Overdue: 1}
		if dryRun {
			want.Changed = 0
		}
		if got, err := d.RetryMatching(t.Context(), store.Filter{}, time.Time{}, dryRun); err != nil || got != want {
			t.Errorf("dry run %v: %+v (%v), want %+v", dryRun, got, err, want)
		}
	}
	got, err := d.RetryMatching(t.Context(), store.Filter{States: []outbox.State{outbox.Expired}}, d.Now().Add(time.Hour), false)
	if err != nil || got.Changed != 1 || d.row("expired").State != "pending" {
		t.Errorf("with a new deadline: %+v (%v)", got, err)
	}
	for key, state := range map[string]string{"sent": "sent", "unknown": "unknown", "sending": "sending", "retrying": "retrying", "failed": "pending"} {
		if m := d.row(key); m.State != state {
			t.Errorf("%s is %s", key, m.State)
		}
	}
}

func TestManyMessagesAreCanceledAtOnce(t *testing.T) {
	d := newDesk(t)
	d.every()
	other := message("other")
	other.Lane = outbox.Bulk
	d.put(other)
	got, err := d.CancelMatching(t.Context(), store.Filter{Lane: outbox.Normal}, false)
	if want := (store.Bulk{Matched: 3, Changed: 3}); err != nil || got != want {
		t.Errorf("%+v (%v), want %+v", got, err, want)
	}
	for key, state := range map[string]string{"pending": "canceled", "retrying": "canceled", "maybe": "unknown", "sending": "sending", "other": "pending"} {
		if m := d.row(key); m.State != state {
			t.Errorf("%s is %s, want %s", key, m.State, state)
		}
	}
	if events := d.events.take(); len(events) != 3 {
		t.Errorf("told of %+v", events)
	}
}

func TestStatesThatAnActionDoesNotTakeAreRefused(t *testing.T) {
	d := newDesk(t)
	d.every()
	_, err := d.CancelMatching(t.Context(), store.Filter{States: []outbox.State{outbox.Pending, outbox.Sent}}, false)
	if !errors.Is(err, store.ErrState) || d.row("pending").State != "pending" {
		t.Errorf("cancel of sent ones: %v", err)
	}
	if _, err := d.RetryMatching(t.Context(), store.Filter{States: []outbox.State{outbox.Unknown}}, time.Time{}, true); !errors.Is(err, store.ErrState) {
		t.Errorf("retry of unknown ones: %v", err)
	}
}

// What was found may have changed before the commit.
func TestAMessageThatWasClaimedMeanwhileIsNotCanceled(t *testing.T) {
	d := newDesk(t)
	d.put(message("a"), message("b"))
	got, err := d.CancelAfter(t.Context(), store.Filter{States: store.Cancelable, Most: 9}, func() { d.claim("a") })
	if want := (store.Bulk{Matched: 2, Changed: 1, Skipped: 1}); err != nil || got != want {
		t.Errorf("%+v (%v), want %+v", got, err, want)
	}
	if m := d.row("a"); m.State != "sending" {
		t.Errorf("the claimed one is %s", m.State)
	}
}

// A message that fails again at once, and one that comes in, must not keep a
// change of many going for ever.
func TestAChangeOfManyTakesWhatWasThereWhenItBegan(t *testing.T) {
	d := newDesk(t)
	d.fails(1, 500)
	d.exec(`
		CREATE TRIGGER another AFTER UPDATE OF state ON messages WHEN NEW.state = 'pending' BEGIN
			INSERT INTO messages (idempotency_key, fingerprint, account, channel, lane, state, due_at, created_at, updated_at, settled_at, body)
			SELECT 'x' || max(id), 'x', 'default', 'rcs', 'normal', 'failed', 1, 1, 1, 1, '{}' FROM messages HAVING max(id) < 5000;
		END`)
	got, err := d.RetryMatching(t.Context(), store.Filter{}, time.Time{}, false)
	if want := (store.Bulk{Matched: 500, Changed: 500}); err != nil || got != want {
		t.Errorf("%+v (%v), want %+v", got, err, want)
	}
}

func TestAChangeOfManyLeavesAloneWhatCameAfterTheQuestion(t *testing.T) {
	d := newDesk(t)
	d.put(message("asked"))
	next, err := d.NextID(t.Context())
	must(t, err)
	d.put(message("later"))
	got, err := d.CancelMatching(t.Context(), store.Filter{Before: next}, false)
	if want := (store.Bulk{Matched: 1, Changed: 1}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if state := d.row("later").State; state != "pending" {
		t.Errorf("the later one is %s", state)
	}
}

func TestAChangeOfManyThatIsInterruptedSaysHowFarItCame(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	commits := -1 << 30
	now := func() time.Time { // the writer asks in each commit
		if commits++; commits == 3 {
			cancel()
		}
		return start
	}
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Config{Dir: dir, Now: now})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	d := &desk{Store: s, clock: &clock{now: start}, t: t, dir: dir, foreign: connect(t, dir)}
	d.fails(1, 1000)
	commits = 0
	got, err := d.RetryMatching(ctx, store.Filter{}, time.Time{}, false)
	waiting := d.number(`SELECT count(*) FROM messages WHERE state = 'pending'`)
	if !errors.Is(err, context.Canceled) || int64(got.Changed) != waiting || waiting == 0 || waiting == 1000 {
		t.Errorf("%+v (%v), and %d wait", got, err, waiting)
	}
}

func TestManyMessagesChangeInSmallCommits(t *testing.T) {
	var commits []int
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now, OnSettled: func(o []store.Settled) { commits = append(commits, len(o)) }})
	must(t, err)
	d := &desk{Store: s, t: t, dir: dir, foreign: connect(t, dir)}
	d.exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
		INSERT INTO messages (idempotency_key, fingerprint, account, channel, lane, state, due_at, created_at, updated_at, body)
		SELECT i, i, 'default', 'rcs', 'normal', 'pending', 1, 1, 1, '{}' FROM n`)
	_, err = d.CancelMatching(t.Context(), store.Filter{}, false)
	must(t, errors.Join(err, s.Close())) // and so the writer's notes are ours
	if len(commits) < 2 || slices.Max(commits) > 200 {
		t.Errorf("so many were changed in each commit: %v", commits)
	}
}
