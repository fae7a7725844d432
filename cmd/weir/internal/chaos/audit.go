package chaos

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"weir/cmd/weir/internal/sandbox"
)

// kind is what a finding is about.
type kind string

const (
	isLost      kind = "lost"
	isTwice     kind = "twice"
	isUntrue    kind = "untrue"      // the row says what the API's books deny
	isUnsaid    kind = "unexplained" // a state without its reason
	isMiscount  kind = "miscounted"
	isDamaged   kind = "damaged"
	isStuck     kind = "stuck"
	isUnwritten kind = "unrecorded" // a request of which no attempt tells
)

type finding struct {
	kind kind
	text string
}

// String names a finding for those who read it.
func (f finding) String() string { return fmt.Sprintf("%s: %s", f.kind, f.text) }

// audit is what the books of the API and the database say together.
type audit struct {
	findings []finding
	messages int
	requests int
	replays  int
	cut      int            // attempts whose daemon died
	ended    map[string]int // messages, by state
}

func (a *audit) check(ok bool, k kind, format string, args ...any) {
	if !ok {
		a.findings = append(a.findings, finding{k, fmt.Sprintf(format, args...)})
	}
}

// row is what the database says of one key.
type row struct {
	key, state                        string
	messageID, requestID, code, why   sql.NullString
	ambiguousAt, settledAt, expiresAt sql.NullInt64
	pruned                            bool // only its tombstone is there
}

// audit holds the books against each other when all has settled.
func (w *world) audit(ctx context.Context) (*audit, error) {
	db, err := w.database()
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }() // it only reads
	a := &audit{ended: map[string]int{}}
	if err := a.inspect(ctx, db); err != nil {
		return nil, err
	}
	rows, err := readRows(ctx, db)
	if err != nil {
		return nil, err
	}
	a.messages = len(rows)
	if err := w.readTombstones(ctx, db, rows); err != nil {
		return nil, err
	}
	known := w.api.Keys("")
	for key, r := range rows {
		a.judge(r, known[key])
		a.ended[r.state]++
		a.check(mayEndAs(key, r.state), isUntrue, "%s is %s in the end: %s", key, r.state, r.why.String)
	}
	for key := range known {
		_, found := rows[key]
		a.check(found, isLost, "%s reached the API and is in no row", key)
	}
	for key, by := range w.accepted {
		_, found := rows[key]
		a.check(found, isLost, "%s was accepted (%s) and is in no row", key, by)
	}
	stats := w.api.Stats()
	a.requests, a.replays = stats.Requests, stats.Replayed
	a.effects(stats, known, w.bodies)
	if w.forgets {
		return a, nil
	}
	return a, a.attempts(ctx, db, known)
}

// judge compares what the database and the API say of one key.
func (a *audit) judge(r row, at sandbox.Key) {
	a.check(at.Effects <= 1, isTwice, "%s took effect %d times", r.key, at.Effects)
	settled := true
	switch r.state {
	case "sent":
		a.check(at.Effects == 1 && r.messageID.String == at.MessageID, isUntrue,
			"%s is sent as %s; at the API it took effect %d times, as %s", r.key, r.messageID.String, at.Effects, at.MessageID)
		a.check(r.pruned || r.requestID.String != "", isUnsaid, "%s is sent without a request id", r.key)
	case "failed", "expired", "canceled":
		a.check(at.Effects == 0, isUntrue, "%s is %s and took effect", r.key, r.state)
		a.check(r.pruned || r.code.String+r.why.String != "", isUnsaid, "%s is %s without a reason", r.key, r.state)
		a.check(r.pruned || r.state != "expired" || r.expiresAt.Valid && r.settledAt.Int64 >= r.expiresAt.Int64, isUntrue,
			"%s is expired before its deadline", r.key)
	case "unknown":
		a.check(r.ambiguousAt.Valid, isUnsaid, "%s is unknown without an attempt that may have been sent", r.key)
		a.check(r.code.String+r.why.String != "", isUnsaid, "%s is unknown without a reason", r.key)
	default:
		settled = false
		a.check(at.Effects == 0 || r.ambiguousAt.Valid || r.state == "sending", isUntrue,
			"%s took effect and is %s as if nothing had been sent", r.key, r.state)
	}
	a.check(r.settledAt.Valid == settled, isUntrue, "%s is %s; settled_at says otherwise", r.key, r.state)
}

// attempts checks that every request on the wire is told by an attempt, and
// that a message remembers that one of them may have had an effect.
func (a *audit) attempts(ctx context.Context, db *sql.DB, known map[string]sandbox.Key) error {
	all, err := readAttempts(ctx, db)
	if err != nil {
		return err
	}
	a.arrivals(all, known)
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM attempts WHERE verdict = 'lost'`).Scan(&a.cut); err != nil {
		return err
	}
	return a.history(ctx, db)
}

// history checks what the attempts of a message say of each other and of its row.
// An API that never forgets a key answers a repeat without a second effect, so
// that only the attempts tell of it.
func (a *audit) history(ctx context.Context, db *sql.DB) error {
	for _, never := range []struct {
		query string
		kind  kind
		text  string
	}{
		{`SELECT count(*) FROM attempts AS final JOIN attempts AS later USING (message)
		  WHERE final.verdict IN ('sent', 'refused') AND later.number > final.number`,
			isTwice, "%d requests were made after the API had answered for good"},
		{`SELECT count(DISTINCT message) FROM attempts JOIN messages ON id = message
		  WHERE ambiguous_at IS NULL
		    AND (verdict IN ('lost', 'ambiguous', 'retry', 'in_progress') OR verdict = 'not_api' AND attempts.http_status / 100 = 2)`,
			isUntrue, "%d messages have forgotten an attempt that may have had an effect"},
	} {
		var found int
		if err := db.QueryRowContext(ctx, never.query).Scan(&found); err != nil {
			return err
		}
		a.check(found == 0, never.kind, never.text, found)
	}
	return nil
}

func readRows(ctx context.Context, db *sql.DB) (map[string]row, error) {
	found, err := db.QueryContext(ctx, `
		SELECT idempotency_key, state, message_id, request_id, error_code, error_message, ambiguous_at, settled_at, expires_at
		FROM messages`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = found.Close() }()
	rows := map[string]row{}
	for found.Next() {
		var r row
		if err := found.Scan(&r.key, &r.state, &r.messageID, &r.requestID, &r.code, &r.why,
			&r.ambiguousAt, &r.settledAt, &r.expiresAt); err != nil {
			return nil, err
		}
		rows[r.key] = r
	}
	return rows, found.Err()
}

// readTombstones adds those messages of which only a tombstone is left.
func (w *world) readTombstones(ctx context.Context, db *sql.DB, rows map[string]row) error {
	for key := range w.bodies {
		if _, found := rows[key]; found {
			continue
		}
		hash := sha256.Sum256([]byte(key))
		r := row{key: key, pruned: true}
		err := db.QueryRowContext(ctx, `SELECT state, message_id, settled_at FROM tombstones WHERE key_hash = ?`, hash[:]).
			Scan(&r.state, &r.messageID, &r.settledAt)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		rows[key] = r
	}
	return nil
}

// inspect checks between two lives of a daemon what must hold at every moment.
func (w *world) inspect(ctx context.Context) error {
	if info, err := os.Stat(filepath.Join(w.dir, "data", "weir.db")); err != nil || info.Size() == 0 {
		return nil // nobody has got so far
	}
	db, err := w.database()
	if err != nil {
		return err
	}
	var a audit
	err = errors.Join(a.inspect(ctx, db), db.Close())
	if err == nil && len(a.findings) > 0 {
		err = fmt.Errorf("%w: %v", ErrFound, a.findings)
	}
	return err
}

// inspect checks that the file is whole, that the counts are true, and that a
// state never lacks its reason.
func (a *audit) inspect(ctx context.Context, db *sql.DB) error {
	var whole string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&whole); err != nil {
		return err
	}
	a.check(whole == "ok", isDamaged, "weir.db: %s", whole)
	var tables int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE name = 'status'`).Scan(&tables); err != nil || tables == 0 {
		return err // before its first migration
	}
	if err := a.counts(ctx, db); err != nil {
		return err
	}
	var silent int
	err := db.QueryRowContext(ctx, `
		SELECT count(*) FROM status_readable
		WHERE state <> 'running' AND coalesce(reason, '') = ''`).Scan(&silent)
	if err != nil {
		return err
	}
	a.check(silent == 0, isUnsaid, "%d rows of status have a state without a reason", silent)
	return a.escapes(ctx, db)
}

// foreign are the columns that hold what an API has said, by table.
var foreign = []struct{ table, columns string }{
	{"messages", "message_id, request_id, error_code, error_message"},
	{"attempts", "request_id, error_code, error_message"},
	{"status", "reason, last_request_id, last_error_code"},
	{"gates", "reason, request_id"},
}

// escapes checks that nothing of it could color a terminal.
func (a *audit) escapes(ctx context.Context, db *sql.DB) error {
	for _, f := range foreign {
		var found int
		err := db.QueryRowContext(ctx, `
			SELECT count(*) FROM `+f.table+`
			WHERE concat_ws(' ', `+f.columns+`) GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*'`).Scan(&found)
		if err != nil {
			return err
		}
		a.check(found == 0, isUntrue, "%d rows of %s hold control characters", found, f.table)
	}
	return nil
}

// counted pairs a column of status with what it counts of the messages.
var counted = []struct{ column, of string }{
	{"pending", "state = 'pending'"}, {"retrying", "state = 'retrying'"}, {"in_flight", "state = 'sending'"},
	{"sent", "state = 'sent'"}, {"failed", "state = 'failed'"}, {"expired", "state = 'expired'"},
	{"canceled", "state = 'canceled'"}, {"unknown", "state = 'unknown'"}, {"throttled", "throttles"},
}

// counts compares the counts in status with a full count, for each bucket and
// for the daemon.
func (a *audit) counts(ctx context.Context, db *sql.DB) error {
	var columns []string
	for _, c := range counted {
		columns = append(columns, fmt.Sprintf(`
			SELECT scope, '%[1]s' AS of, %[1]s AS said,
			       (SELECT coalesce(sum(%[2]s), 0) FROM messages
			        WHERE status.scope LIKE 'daemon:%%' OR status.scope = 'bucket:' || account || '/' || channel) AS there
			FROM status`, c.column, c.of))
	}
	columns = append(columns, `
			SELECT 'bucket:' || account || '/' || channel AS place, 'messages, and not even a row', 0, count(*) FROM messages
			WHERE place NOT IN (SELECT scope FROM status)
			GROUP BY place`)
	rows, err := db.QueryContext(ctx, `SELECT scope, of, said, there FROM (`+strings.Join(columns, " UNION ALL ")+`) WHERE said <> there`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var scope, of string
		var said, there int
		if err := rows.Scan(&scope, &of, &said, &there); err != nil {
			return err
		}
		a.check(false, isMiscount, "the status of %s says %d %s; there are %d", scope, said, of, there)
	}
	return rows.Err()
}

// mayEndAs tells whether the message may end in the state: as sent, unless its
// key says otherwise.
func mayEndAs(key, state string) bool {
	for prefix, states := range otherEnds {
		if strings.HasPrefix(key, prefix) {
			return slices.Contains(states, state)
		}
	}
	return state == "sent"
}
