package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Schema creates the table weir_outbox in the application's own SQLite database
// (3.38 or later). It can be run again and again.
//
// An INSERT of idempotency_key and body is enough, from any language, in the
// transaction of the business change. What is not said is NULL; times are
// integer Unix milliseconds. Rows stay after they have been relayed; the
// application may delete those with a relayed_at whenever it likes.
//
// The table refuses what could never become a message and would be a mistake of
// the program that writes it. What passes here and breaks another rule is
// relayed all the same and shown in weir's table rejected.
const Schema = `
CREATE TABLE IF NOT EXISTS weir_outbox (
	id              INTEGER PRIMARY KEY AUTOINCREMENT,
	idempotency_key TEXT    NOT NULL UNIQUE
	                CHECK (length(idempotency_key) BETWEEN 1 AND 255
	                       AND idempotency_key NOT GLOB '*[^!-~]*'
	                       -- length and GLOB end at a NUL character, a BLOB does not
	                       AND length(CAST(idempotency_key AS BLOB)) = length(idempotency_key)),
	body            TEXT    NOT NULL
	                CHECK (json_valid(body) AND json_type(body) = 'object'),
	account         TEXT,
	channel         TEXT,
	lane            TEXT,
	send_at         INTEGER,
	expires_at      INTEGER,
	traceparent     TEXT,
	-- Unix milliseconds; unixepoch('subsec') would need SQLite 3.42
	created_at      INTEGER NOT NULL
	                DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
	relayed_at      INTEGER
) STRICT;

-- for the relay: the rows to take next
CREATE INDEX IF NOT EXISTS weir_outbox_unrelayed
	ON weir_outbox (id)
	WHERE relayed_at IS NULL;
`

// ErrConflict is returned by Enqueue when the outbox holds another message with
// the same idempotency key. That one stays.
var ErrConflict = errors.New("outbox: another message has this idempotency key")

// Execer is the part of *sql.DB, *sql.Tx and *sql.Conn that Init needs.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Tx is the part of *sql.Tx and *sqlx.Tx that Enqueue needs.
type Tx interface {
	Execer
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Init creates weir_outbox where it does not exist yet.
func Init(ctx context.Context, db Execer) error {
	if _, err := db.ExecContext(ctx, Schema); err != nil {
		return fmt.Errorf("outbox: creating the table weir_outbox: %w", err)
	}
	return nil
}

// Enqueue writes e into weir_outbox in the caller's transaction: it goes out
// when that is committed and never existed if that is rolled back. Nothing is
// sent before. A ttl, also the body's own, counts from now, by this machine's
// clock.
//
// Enqueue checks e as weir will, except whether weir knows the account and the
// channel; the error is then an *InvalidError. A key that the outbox holds
// already is no error if the message is the same, so a business transaction can
// be repeated; else the error wraps ErrConflict. In both cases the row that
// stands there stays as it is, and the transaction can go on.
//
// SQLite refuses a transaction that has read and then wants to write after
// somebody else wrote. Begin it as a writer (BEGIN IMMEDIATE; with go-sqlite3
// _txlock=immediate) to be safe from that.
func Enqueue(ctx context.Context, tx Tx, e Envelope) error {
	now := time.Now()
	m, err := e.Message(now, nil)
	if err != nil {
		return err
	}
	result, err := tx.ExecContext(ctx, `
		INSERT INTO weir_outbox
			(idempotency_key, body, account, channel, lane, send_at, expires_at, traceparent, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (idempotency_key) DO NOTHING`,
		m.Key, string(m.Body), nullText(e.Account), nullText(e.Channel), nullText(e.Lane),
		nullMillis(m.SendAt), nullMillis(m.ExpiresAt), nullText(m.Traceparent), now.UnixMilli())
	if err != nil {
		return fmt.Errorf("outbox: adding %s to weir_outbox: %w", m.Key, err)
	}
	added, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("outbox: adding %s to weir_outbox: %w", m.Key, err)
	}
	if added == 0 {
		return compare(ctx, tx, m)
	}
	return nil
}

// compare tells whether the row that has m's key is the same message.
func compare(ctx context.Context, tx Tx, m Message) error {
	var account, body string
	err := tx.QueryRowContext(ctx, `
		SELECT coalesce(nullif(account, ''), ?), body
		FROM weir_outbox
		WHERE idempotency_key = ?`,
		DefaultAccount, m.Key).Scan(&account, &body)
	if err != nil {
		return fmt.Errorf("outbox: comparing with the %s in weir_outbox: %w", m.Key, err)
	}
	// A stored body without a fingerprint came by SQL and breaks a rule that m keeps.
	fingerprint, err := Fingerprint(account, []byte(body))
	if err != nil || fingerprint != m.Fingerprint {
		return fmt.Errorf("%w: %s", ErrConflict, m.Key)
	}
	return nil
}

func nullText(s string) sql.NullString {
	return sql.NullString{String: s, Valid: s != ""}
}

func nullMillis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}
