package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	_ "github.com/mattn/go-sqlite3"

	"weir/internal/bubble"
	"weir/outbox"
)

const dsnOptions = "?_journal_mode=WAL&_synchronous=NORMAL&_txlock=immediate"

// openShop gives an application's database with its own table and the outbox.
func openShop(t *testing.T) *sql.DB {
	t.Helper()
	return openFile(t, filepath.Join(t.TempDir(), "shop.db"))
}

func openFile(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+file+dsnOptions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := outbox.Init(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	execute(t, db, `CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY) STRICT`)
	return db
}

func execute(t *testing.T, db outbox.Execer, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(context.WithoutCancel(t.Context()), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// number asks for one number; NULL is -1.
func number(t *testing.T, db *sql.DB, query string, args ...any) int64 {
	t.Helper()
	var n sql.NullInt64
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	if !n.Valid {
		return -1
	}
	return n.Int64
}

func begin(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback() })
	return tx
}

func TestABusinessChangeAndItsRequestAreCommittedTogetherOrNotAtAll(t *testing.T) {
	type finisher interface {
		outbox.Tx
		Commit() error
		Rollback() error
	}
	for _, row := range []struct {
		name  string
		begin func(t *testing.T, db *sql.DB) finisher
	}{
		{"database/sql", func(t *testing.T, db *sql.DB) finisher { return begin(t, db) }},
		{"sqlx", func(t *testing.T, db *sql.DB) finisher {
			return sqlx.NewDb(db, "sqlite3").MustBeginTx(t.Context(), nil)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			db := openShop(t)
			for _, commit := range []bool{false, true} {
				tx := row.begin(t, db)
				execute(t, tx, `INSERT INTO orders DEFAULT VALUES`)
				if err := outbox.Enqueue(t.Context(), tx, outbox.Envelope{Key: "k", Body: []byte(`{}`)}); err != nil {
					t.Fatal(err)
				}
				finish, want := tx.Rollback, int64(0)
				if commit {
					finish, want = tx.Commit, 1
				}
				if err := finish(); err != nil {
					t.Fatal(err)
				}
				orders, requests := number(t, db, `SELECT count(*) FROM orders`), number(t, db, `SELECT count(*) FROM weir_outbox`)
				if orders != want || requests != want {
					t.Errorf("commit %v left %d orders and %d requests, want %d of each", commit, orders, requests, want)
				}
			}
		})
	}
}

func TestEnqueueWritesWhatIsSaidAndNullForTheRest(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		db := openShop(t)
		defer db.Close()
		now := time.Now().UnixMilli()
		for _, e := range []outbox.Envelope{
			{Key: "plain", Body: []byte(`{"agent_id":"a"}`)},
			{Key: "full", Body: []byte(`{"ttl":"2h"}`), Account: "shop", Channel: "rcs", Lane: "high",
				SendAt: time.UnixMilli(now).Add(time.Nanosecond), TTL: "1h", ExpiresAt: time.UnixMilli(now).Add(3 * time.Hour)},
		} {
			if err := outbox.Enqueue(t.Context(), db, e); err != nil {
				t.Fatal(err)
			}
		}
		if n := number(t, db, `
			SELECT count(*) FROM weir_outbox
			WHERE idempotency_key = 'plain' AND body = '{"agent_id":"a"}' AND created_at = ? AND relayed_at IS NULL
				AND account IS NULL AND channel IS NULL AND lane IS NULL
				AND send_at IS NULL AND expires_at IS NULL AND traceparent IS NULL`, now); n != 1 {
			t.Error("the plain row is not as it should be")
		}
		if n := number(t, db, `
			SELECT count(*) FROM weir_outbox
			WHERE idempotency_key = 'full' AND account = 'shop' AND channel = 'rcs' AND lane = 'high'
				AND send_at = ? AND expires_at = ?`, now+1, now+3_600_000); n != 1 {
			t.Error("the full row is not as it should be")
		}
	})
}

func TestEnqueueOfAnExistingKey(t *testing.T) {
	for _, row := range []struct {
		name     string
		e        outbox.Envelope
		conflict bool
	}{
		{"the same again is fine", outbox.Envelope{Key: "k", Body: []byte(`{"a":1,"b":"x"}`)}, false},
		{"so is the same in another spelling", outbox.Envelope{Key: "k", Body: []byte(`{"b":"\u0078", "a":1}`), Account: "default"}, false},
		{"lane and time do not count", outbox.Envelope{Key: "k", Body: []byte(`{"a":1,"b":"x"}`), Lane: "bulk", SendAt: noon}, false},
		{"another body is a conflict", outbox.Envelope{Key: "k", Body: []byte(`{"a":2,"b":"x"}`)}, true},
		{"another account is a conflict", outbox.Envelope{Key: "k", Body: []byte(`{"a":1,"b":"x"}`), Account: "shop"}, true},
		{"an empty account is the default one, as for the relay", outbox.Envelope{Key: "empty", Body: []byte(`{"a":1,"b":"x"}`)}, false},
		{"what SQL wrote against the rules is another message", outbox.Envelope{Key: "by-sql", Body: []byte(`{"a":1}`)}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			db := openShop(t)
			execute(t, db, `INSERT INTO weir_outbox (idempotency_key, body) VALUES ('k', '{"a":1,"b":"x"}'), ('by-sql', '{"a":1,"a":1}')`)
			execute(t, db, `INSERT INTO weir_outbox (idempotency_key, body, account) VALUES ('empty', '{"a":1,"b":"x"}', '')`)
			tx := begin(t, db)
			err := outbox.Enqueue(t.Context(), tx, row.e)
			if errors.Is(err, outbox.ErrConflict) != row.conflict || (err == nil) == row.conflict {
				t.Errorf("got %v", err)
			}
			if row.conflict && !strings.Contains(err.Error(), row.e.Key) {
				t.Errorf("%q does not name the key", err)
			}
			if err := outbox.Enqueue(t.Context(), tx, outbox.Envelope{Key: "next", Body: []byte(`{}`)}); err != nil {
				t.Errorf("the transaction cannot go on: %v", err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			if n := number(t, db, `SELECT count(*) FROM weir_outbox WHERE body IN ('{"a":1,"b":"x"}', '{"a":1,"a":1}') AND lane IS NULL`); n != 3 {
				t.Error("a row that stood there has changed")
			}
		})
	}
}

func TestEnqueueRefusesWhatWeirWouldRefuse(t *testing.T) {
	db := openShop(t)
	err := outbox.Enqueue(t.Context(), db, outbox.Envelope{Key: "k", Body: []byte(`{"a":1,"a":2}`), Lane: "urgent"})
	var invalid *outbox.InvalidError
	if !errors.As(err, &invalid) || len(invalid.Details) != 2 || invalid.Details[0].Field != "body.a" || invalid.Details[1].Field != "lane" {
		t.Errorf("got %v", err)
	}
	if n := number(t, db, `SELECT count(*) FROM weir_outbox`); n != 0 {
		t.Error("a row was written all the same")
	}
}

func TestEnqueueWithoutTheTableSaysSo(t *testing.T) {
	db := openShop(t)
	execute(t, db, `DROP TABLE weir_outbox`)
	err := outbox.Enqueue(t.Context(), db, outbox.Envelope{Key: "k", Body: []byte(`{}`)})
	if err == nil || !strings.Contains(err.Error(), "no such table: weir_outbox") {
		t.Errorf("got %v", err)
	}
}

func TestAnInsertOfKeyAndBodyIsEnough(t *testing.T) {
	db := openShop(t)
	before := time.Now().UnixMilli()
	execute(t, db, `INSERT INTO weir_outbox (idempotency_key, body) VALUES ('k', ' {"a" : 1}')`)
	after := time.Now().UnixMilli()
	created := number(t, db, `SELECT created_at FROM weir_outbox WHERE relayed_at IS NULL`)
	// SQLite rounds to the millisecond where UnixMilli cuts.
	if created < before || created > after+1 {
		t.Errorf("created_at is %d, not within %d and %d", created, before, after)
	}
}

func TestTheTableRefusesWhatIsNoKeyOrNoObject(t *testing.T) {
	db := openShop(t)
	for _, row := range []struct {
		name, key, body string
		ok              bool
	}{
		{"every visible character", `!"#$%&'()*+,-./09:;<=>?@AZ[\]^_` + "`az{|}~", `{}`, true},
		{"255 characters", strings.Repeat("k", 255), `{}`, true},
		{"256 characters", strings.Repeat("k", 256), `{}`, false},
		{"no character", ``, `{}`, false},
		{"a space", `a b`, `{}`, false},
		{"a tab at the end", "a\t", `{}`, false},
		{"DEL", "a\x7f", `{}`, false},
		{"a letter beyond ASCII", `ä`, `{}`, false},
		{"a NUL and what is behind it", "a\x00b", `{}`, false},
		{"a body that is no JSON", `k`, `{a:1}`, false},
		{"an array", `k`, `[]`, false},
		{"a string", `k`, `"{}"`, false},
		{"an empty body", `k`, ``, false},
	} {
		_, err := db.ExecContext(t.Context(), `INSERT INTO weir_outbox (idempotency_key, body) VALUES (?, ?)`, row.key, row.body)
		if (err == nil) != row.ok {
			t.Errorf("%s: got %v", row.name, err)
		}
	}
	for _, query := range []string{
		`INSERT INTO weir_outbox (idempotency_key, body) VALUES (NULL, '{}')`,
		`INSERT INTO weir_outbox (idempotency_key, body) VALUES ('n', NULL)`,
		`INSERT INTO weir_outbox (idempotency_key, body, send_at) VALUES ('n', '{}', '2026-03-28T14:30:00Z')`,
	} {
		if _, err := db.ExecContext(t.Context(), query); err == nil {
			t.Errorf("%s was taken", query)
		}
	}
}

func TestInitCanBeRepeated(t *testing.T) {
	db := openShop(t)
	execute(t, db, `INSERT INTO weir_outbox (idempotency_key, body) VALUES ('k', '{}')`)
	if err := outbox.Init(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if n := number(t, db, `SELECT count(*) FROM weir_outbox`); n != 1 {
		t.Errorf("%d rows are left", n)
	}
}
