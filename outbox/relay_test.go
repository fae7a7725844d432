package outbox_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/bubble"
	"weir/outbox"
)

// weir stands for the place where payloads are stored.
type weir struct {
	stored []string
	// before, if set, says what happens to a call: how many payloads are
	// stored, how many of these are confirmed, and the error.
	before func(payloads [][]byte) (store, acked int, err error)
}

func (w *weir) Publish(_ context.Context, payloads [][]byte) (int, error) {
	store, acked, err := len(payloads), len(payloads), error(nil)
	if w.before != nil {
		store, acked, err = w.before(payloads)
	}
	for _, p := range payloads[:store] {
		w.stored = append(w.stored, string(p))
	}
	return acked, err
}

// keys gives the keys stored, in the order in which each was stored first.
func (w *weir) keys(t *testing.T) []string {
	t.Helper()
	var keys []string
	for _, p := range w.stored {
		e, err := outbox.ParseEnvelope([]byte(p))
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if !slices.Contains(keys, e.Key) {
			keys = append(keys, e.Key)
		}
	}
	return keys
}

func newRelay(t *testing.T, db *sql.DB, p outbox.Publisher, config outbox.Config) *outbox.Relay {
	t.Helper()
	r, err := outbox.NewRelay(db, p, config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// insert adds n rows with the keys k00001, k00002, …
func insert(t *testing.T, db *sql.DB, n int) (keys []string) {
	t.Helper()
	tx := begin(t, db)
	for i := range n {
		keys = append(keys, fmt.Sprintf("k%05d", i+1))
		execute(t, tx, `INSERT INTO weir_outbox (idempotency_key, body) VALUES (?, '{}')`, keys[i])
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return keys
}

const countWaiting = `SELECT count(*) FROM weir_outbox WHERE relayed_at IS NULL`

func TestRowsGoOutInOrderAndAreMarked(t *testing.T) {
	db := openShop(t)
	keys := insert(t, db, 600)
	var w weir
	relay := newRelay(t, db, &w, outbox.Config{Now: func() time.Time { return noon }})
	if n, err := relay.Drain(t.Context()); n != 600 || err != nil {
		t.Fatalf("relayed %d, %v", n, err)
	}
	if got := w.keys(t); !slices.Equal(got, keys) || len(w.stored) != 600 {
		t.Errorf("%d payloads were stored, in the order %v", len(w.stored), got)
	}
	if n := number(t, db, `SELECT count(*) FROM weir_outbox WHERE relayed_at = ?`, noon.UnixMilli()); n != 600 {
		t.Errorf("%d rows are marked", n)
	}
	if n, err := relay.Drain(t.Context()); n != 0 || err != nil || len(w.stored) != 600 {
		t.Errorf("a second time %d went out, %v", n, err)
	}
}

func TestARowBecomesTheEnvelopeThatItSays(t *testing.T) {
	db := openShop(t)
	execute(t, db, `INSERT INTO weir_outbox (idempotency_key, body, account, channel, lane, send_at, expires_at, traceparent, created_at)
		VALUES ('k', '{ "a":1.0, "ttl":"1h" }', 'shop', 'rcs', 'bulk', 1774699200001, 1774785600000,
			'00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 1774699200000)`)
	var w weir
	if _, err := newRelay(t, db, &w, outbox.Config{}).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The body's ttl counts from created_at, however late the row goes out.
	want := `{"idempotency_key":"k","account":"shop","channel":"rcs","lane":"bulk",` +
		`"send_at":"2026-03-28T12:00:00.001Z","expires_at":"2026-03-28T13:00:00Z",` +
		`"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","body":{ "a":1.0, "ttl":"1h" }}`
	if !slices.Equal(w.stored, []string{want}) {
		t.Errorf("got  %s\nwant %s", w.stored, want)
	}
}

func TestARowThatCannotBecomeAMessageIsPublishedAndHoldsUpNobody(t *testing.T) {
	db := openShop(t)
	execute(t, db, `INSERT INTO weir_outbox (idempotency_key, body, lane, send_at) VALUES
		('good-1', '{}', NULL, NULL),
		('bad-lane', '{}', 'urgent', NULL),
		('bad-time', '{}', NULL, 1774699200000000),
		('bad-body', '{"a":1,"a":2}', NULL, NULL),
		('too-large', '{"a":"' || hex(zeroblob(1000000)) || '"}', NULL, NULL),
		('good-2', '{}', NULL, NULL)`)
	var w weir
	if n, err := newRelay(t, db, &w, outbox.Config{}).Drain(t.Context()); n != 6 || err != nil {
		t.Fatalf("relayed %d, %v", n, err)
	}
	for i, row := range []struct{ key, fault string }{
		{"good-1", ""}, {"bad-lane", "lane: "}, {"bad-time", "send_at: "}, {"bad-body", "body.a: "}, {"too-large", "envelope: "}, {"good-2", ""},
	} {
		fault := ""
		if _, err := read(w.stored[i]); err != nil {
			fault = err.Error()
		}
		if !strings.Contains(w.stored[i], row.key) || (fault == "") != (row.fault == "") || !strings.HasPrefix(fault, row.fault) {
			t.Errorf("payload %d of %s is refused with %q, want %q", i, row.key, fault, row.fault)
		}
		if len(w.stored[i]) > outbox.MaxEnvelope+1 {
			t.Errorf("the payload of %s has %d bytes", row.key, len(w.stored[i]))
		}
	}
}

func TestOnlyWhatIsConfirmedIsMarked(t *testing.T) {
	db := openShop(t)
	keys := insert(t, db, 10)
	lost := errors.New("connection lost")
	w := weir{before: func([][]byte) (int, int, error) { return 7, 4, lost }}
	relay := newRelay(t, db, &w, outbox.Config{})
	if n, err := relay.Drain(t.Context()); n != 4 || !errors.Is(err, lost) {
		t.Errorf("relayed %d, %v", n, err)
	}
	if n := number(t, db, `SELECT min(id) FROM weir_outbox WHERE relayed_at IS NULL`); n != 5 {
		t.Errorf("the first row left is %d", n)
	}
	w.before = nil
	if n, err := relay.Drain(t.Context()); n != 6 || err != nil {
		t.Errorf("relayed %d, %v", n, err)
	}
	if got := w.keys(t); !slices.Equal(got, keys) || len(w.stored) != 13 {
		t.Errorf("stored %d in the order %v", len(w.stored), got)
	}
}

func TestAPublisherThatStoresLessWithoutAReasonIsNotTrusted(t *testing.T) {
	db := openShop(t)
	insert(t, db, 3)
	w := weir{before: func([][]byte) (int, int, error) { return 2, 2, nil }}
	if n, err := newRelay(t, db, &w, outbox.Config{}).Drain(t.Context()); n != 2 || !errors.Is(err, outbox.ErrShortPublish) {
		t.Errorf("relayed %d, %v", n, err)
	}
}

func TestWhatIsStoredWhileTheRelayIsStoppedIsStillMarked(t *testing.T) {
	db := openShop(t)
	insert(t, db, 3)
	ctx, cancel := context.WithCancel(t.Context())
	w := weir{before: func([][]byte) (int, int, error) {
		// The stop comes while the mark waits for the application's transaction.
		tx := begin(t, db)
		time.AfterFunc(50*time.Millisecond, func() {
			cancel()
			tx.Rollback()
		})
		return 2, 2, errors.New("connection lost")
	}}
	if err := newRelay(t, db, &w, outbox.Config{}).Run(ctx); err != nil {
		t.Errorf("a stop gave %v", err)
	}
	if n := number(t, db, countWaiting); n != 1 {
		t.Errorf("%d rows wait, want 1", n)
	}
}

func TestARowSetFreeDuringAPublishGoesOutAgain(t *testing.T) {
	db := openShop(t)
	insert(t, db, 3)
	execute(t, db, `UPDATE weir_outbox SET relayed_at = 1 WHERE id = 2`)
	var w weir
	w.before = func(p [][]byte) (int, int, error) {
		w.before = nil
		execute(t, db, `UPDATE weir_outbox SET relayed_at = NULL WHERE id = 2`)
		return len(p), len(p), nil
	}
	if _, err := newRelay(t, db, &w, outbox.Config{}).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := w.keys(t), []string{"k00001", "k00003", "k00002"}; !slices.Equal(got, want) {
		t.Errorf("stored %v, want %v", got, want)
	}
}

func TestLargeBodiesGoInSmallerBatches(t *testing.T) {
	db := openShop(t)
	for i := range 40 {
		execute(t, db, `INSERT INTO weir_outbox (idempotency_key, body) VALUES (?, '{"a":"' || hex(zeroblob(130000)) || '"}')`, i)
	}
	largest := 0
	w := weir{before: func(p [][]byte) (int, int, error) {
		largest = max(largest, len(bytes.Join(p, nil)))
		return len(p), len(p), nil
	}}
	if n, err := newRelay(t, db, &w, outbox.Config{}).Drain(t.Context()); n != 40 || err != nil {
		t.Errorf("relayed %d, %v", n, err)
	}
	if limit := 4<<20 + outbox.MaxEnvelope; largest > limit {
		t.Errorf("a batch had %d bytes, more than %d", largest, limit)
	}
}

// signals is a publisher that tells of each payload as it is stored.
type signals chan string

func (s signals) Publish(_ context.Context, payloads [][]byte) (int, error) {
	for _, p := range payloads {
		s <- string(p)
	}
	return len(payloads), nil
}

// start runs relay until the returned function is called.
func start(t *testing.T, relay *outbox.Relay) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- relay.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	}
}

func TestARunningRelayHearsOfRowsThatOthersWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shop.db")
	application, db := openFile(t, file), openFile(t, file)
	stored := make(signals)
	stop := start(t, newRelay(t, db, stored, outbox.Config{}))
	for i := range 5 {
		if err := outbox.Enqueue(t.Context(), application, outbox.Envelope{Key: fmt.Sprint(i), Body: []byte(`{}`)}); err != nil {
			t.Fatal(err)
		}
		if got, want := <-stored, fmt.Sprintf(`{"idempotency_key":"%d","body":{}}`, i); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	stop()
}

func TestARelayInTheApplicationsOwnPoolHearsOfItsRows(t *testing.T) {
	db := openShop(t)
	stored := make(signals)
	stop := start(t, newRelay(t, db, stored, outbox.Config{}))
	insert(t, db, 1)
	<-stored
	stop()
}

// lines is a log that can be waited for.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func (l lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestATroubleIsLoggedOnceAndPausesGrow(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		db := openShop(t)
		defer db.Close()
		insert(t, db, 1)
		log := make(lines, 100)
		began := time.Now()
		var tries []time.Duration
		healed := make(chan bool)
		w := weir{before: func([][]byte) (int, int, error) {
			tries = append(tries, time.Since(began))
			if len(tries) <= 8 {
				return 0, 0, errors.New("nobody there")
			}
			close(healed)
			return 1, 1, nil
		}}
		stop := start(t, newRelay(t, db, &w, outbox.Config{Log: log.logger()}))
		<-healed
		synctest.Wait()
		stop()
		want := []time.Duration{0, 100, 300, 700, 1500, 3100, 6300, 11300, 16300}
		for i := range want {
			want[i] *= time.Millisecond
		}
		if !slices.Equal(tries, want) {
			t.Errorf("tried at %v, want %v", tries, want)
		}
		close(log)
		var got []string
		for line := range log {
			got = append(got, line)
		}
		if !slices.Equal(got, []string{
			"level=WARN msg=\"the outbox relay cannot go on and will try again\" error=\"outbox: publishing rows: nobody there\"\n",
			"level=INFO msg=\"the outbox relay goes on\"\n",
		}) {
			t.Errorf("logged %q", got)
		}
	})
}

func TestARelaySurvivesADatabaseThatIsBusy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shop.db")
	application := openFile(t, file)
	insert(t, application, 1)
	impatient, err := sql.Open("sqlite3", "file:"+file+dsnOptions+"&_busy_timeout=1")
	if err != nil {
		t.Fatal(err)
	}
	defer impatient.Close()
	tx := begin(t, application)
	log := make(lines, 100)
	stored := make(signals, 100)
	stop := start(t, newRelay(t, impatient, stored, outbox.Config{Log: log.logger()}))
	if line := <-log; !strings.Contains(line, "outbox: marking rows: database is locked") {
		t.Errorf("logged %s", line)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if line := <-log; !strings.Contains(line, "the outbox relay goes on") {
		t.Errorf("logged %s", line)
	}
	stop()
	if n := number(t, application, countWaiting); n != 0 {
		t.Errorf("%d rows wait", n)
	}
}

func TestARelayWithoutAConnectionOfItsOwnIsRefused(t *testing.T) {
	db := openShop(t)
	db.SetMaxOpenConns(1)
	if _, err := outbox.NewRelay(db, &weir{}, outbox.Config{}); !errors.Is(err, outbox.ErrSharedConnection) {
		t.Errorf("got %v", err)
	}
}

func TestTheRelayFindsItsRowsWithoutLookingAtTheOthers(t *testing.T) {
	db := openShop(t)
	var id, parent, unused int
	var plan string
	err := db.QueryRowContext(t.Context(), `
		EXPLAIN QUERY PLAN
		SELECT id, body FROM weir_outbox WHERE relayed_at IS NULL ORDER BY id LIMIT 256`).Scan(&id, &parent, &unused, &plan)
	if err != nil || !strings.Contains(plan, "weir_outbox_unrelayed") {
		t.Errorf("the plan is %q, %v", plan, err)
	}
}
