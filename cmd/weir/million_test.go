package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"weir/outbox"
	"weir/store"
)

// aMillion fills an empty database with messages in every state, and an attempt
// for each that was tried, in the order in which they came.
const aMillion = `
	WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000),
	m AS (SELECT i, 1700000000000 + i * 1000 AS at, CASE
		WHEN i % 1000 = 0 THEN 'failed'   WHEN i % 1000 = 1 THEN 'unknown' WHEN i % 1000 = 2 THEN 'expired'
		WHEN i % 1000 = 3 THEN 'canceled' WHEN i % 1000 = 4 THEN 'retrying'
		WHEN i <= 650000 THEN 'sent' ELSE 'pending' END AS state FROM n)
	INSERT INTO messages (idempotency_key, fingerprint, account, channel, lane, state, recipient_hash, attempts, due_at,
	                      created_at, first_attempt_at, updated_at, settled_at, message_id, request_id, http_status, error_code, body)
	SELECT 'order-' || i || '-confirmed', '1:' || lower(hex(randomblob(32))), 'default', iif(i % 20 = 0, 'email', 'rcs'),
		iif(i % 3 = 0, 'bulk', iif(i % 50 = 1, 'high', 'normal')), state, lower(hex(randomblob(32))), state <> 'pending', at,
		at, iif(state = 'pending', NULL, at), at, iif(state IN ('pending', 'retrying'), NULL, at),
		iif(state = 'sent', 'msg_' || i, NULL), iif(state IN ('pending', 'canceled'), NULL, 'req_' || lower(hex(randomblob(12)))),
		iif(state = 'sent', 200, iif(state = 'failed', 422, NULL)), iif(state = 'failed', 'blocked', NULL),
		'{"agent_id":"ag_1","to":"+447700900123","message_type":"MESSAGE","traffic_type":"TRANSACTION","content":{"text":"Order ' || i ||
		' is on its way. It comes with the parcel service tomorrow between 9 and 12."}}'
	FROM m;
	INSERT INTO attempts (message, number, started_at, duration_ms, verdict, http_status, error_code, request_id)
	SELECT id, 1, first_attempt_at, 30, iif(state = 'sent', 'sent', iif(state = 'failed', 'refused', 'ambiguous')), http_status, error_code, request_id
	FROM messages WHERE first_attempt_at IS NOT NULL`

// BenchmarkAMillionMessages measures what people wait for beside a database that
// holds so many: the row of the status table, weir status as a process, and lists
// by what no index finds.
func BenchmarkAMillionMessages(b *testing.B) {
	dir := b.TempDir()
	s := attached(b, dir)
	db, err := sqlx.Open("sqlite3", "file:"+filepath.Join(dir, "weir.db")+"?_synchronous=OFF&_cache_size=-200000")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(aMillion); err != nil {
		b.Fatal(err)
	}
	measure(b, "status row", func() error {
		var state string
		return db.Get(&state, `SELECT state FROM status_readable WHERE scope = 'bucket:default/rcs'`)
	})
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	measure(b, "weir status", func() error {
		cmd := exec.Command(program, "status", "--data-dir", dir)
		cmd.Env = []string{asProgram + "=1"}
		return cmd.Run()
	})
	for _, test := range []struct {
		name   string
		filter store.Filter
	}{
		{"the newest", store.Filter{}},
		{"failed", store.Filter{States: []outbox.State{outbox.Failed}}},
		{"retrying", store.Filter{States: []outbox.State{outbox.Retrying}}},
		{"a request that is not there", store.Filter{RequestID: "req_x"}},
		{"a recipient that is not there", store.Filter{RecipientHash: "x"}},
	} {
		test.filter.Most = 50
		measure(b, "list of "+test.name, func() error {
			_, err := s.Messages(b.Context(), test.filter)
			return err
		})
	}
	measure(b, "recount", func() error {
		_, err := s.Recount(b.Context())
		return err
	})
}

// measure runs do as a benchmark that also tells how much of the processor it
// used, in this process and in those that it started: on a busy machine that says
// more than the time.
func measure(b *testing.B, name string, do func() error) {
	b.Run(name, func(b *testing.B) {
		before := processorTime(b)
		for b.Loop() {
			if err := do(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64((processorTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
	})
}

func processorTime(b *testing.B) (sum time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if err := syscall.Getrusage(who, &usage); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return sum
}

// attached is the database of a directory as commands have it.
func attached(b *testing.B, dir string) *store.Store {
	b.Helper()
	s, err := store.Attach(b.Context(), store.Config{Dir: dir, Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}
