package chaos

import (
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"

	"weir/cmd/weir/internal/sandbox"
)

func TestTheAuditFindsWhatARowAndTheBooksDoNotAgreeOn(t *testing.T) {
	text := func(s string) sql.NullString { return sql.NullString{String: s, Valid: true} }
	at := sql.NullInt64{Int64: 1, Valid: true}
	once := sandbox.Key{Effects: 1, MessageID: "m1"}
	for name, c := range map[string]struct {
		row   row
		books sandbox.Key
		want  kind
	}{
		"sent once":                          {row{state: "sent", messageID: text("m1"), requestID: text("r"), settledAt: at}, once, ""},
		"sent twice":                         {row{state: "sent", messageID: text("m1"), requestID: text("r"), settledAt: at}, sandbox.Key{Effects: 2, MessageID: "m1"}, isTwice},
		"sent by the row alone":              {row{state: "sent", messageID: text("m1"), requestID: text("r"), settledAt: at}, sandbox.Key{}, isUntrue},
		"sent as another message":            {row{state: "sent", messageID: text("m2"), requestID: text("r"), settledAt: at}, once, isUntrue},
		"sent without a request id":          {row{state: "sent", messageID: text("m1"), settledAt: at}, once, isUnsaid},
		"failed and yet sent":                {row{state: "failed", code: text("policy"), settledAt: at}, once, isUntrue},
		"failed for no reason":               {row{state: "failed", settledAt: at}, sandbox.Key{}, isUnsaid},
		"failed, only its tombstone is left": {row{state: "failed", pruned: true, settledAt: at}, sandbox.Key{}, ""},
		"expired at its deadline":            {row{state: "expired", why: text("late"), settledAt: at, expiresAt: at}, sandbox.Key{}, ""},
		"expired for no reason":              {row{state: "expired", settledAt: at, expiresAt: at}, sandbox.Key{}, isUnsaid},
		"expired before its deadline":        {row{state: "expired", why: text("late"), settledAt: at, expiresAt: sql.NullInt64{Int64: 2, Valid: true}}, sandbox.Key{}, isUntrue},
		"expired without a deadline":         {row{state: "expired", why: text("late"), settledAt: at}, sandbox.Key{}, isUntrue},
		"unknown, with its reason":           {row{state: "unknown", why: text("cut"), ambiguousAt: at, settledAt: at}, once, ""},
		"unknown for no reason":              {row{state: "unknown", ambiguousAt: at, settledAt: at}, once, isUnsaid},
		"unknown without a request":          {row{state: "unknown", why: text("cut"), settledAt: at}, sandbox.Key{}, isUnsaid},
		"pending after an effect":            {row{state: "pending"}, once, isUntrue},
		"retrying after an effect":           {row{state: "retrying", ambiguousAt: at}, once, ""},
		"settled with no time of that":       {row{state: "failed", code: text("policy")}, sandbox.Key{}, isUntrue},
		"waiting and yet with its time":      {row{state: "pending", settledAt: at}, sandbox.Key{}, isUntrue},
	} {
		t.Run(name, func(t *testing.T) {
			var a audit
			a.judge(c.row, c.books)
			switch {
			case c.want == "" && len(a.findings) > 0, c.want != "" && (len(a.findings) == 0 || a.findings[0].kind != c.want):
				t.Errorf("found %v, want %q", a.findings, c.want)
			}
		})
	}
}

// memory is a database in memory, made by statements.
func memory(t *testing.T, statements ...string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1) // each would have a memory of its own
	t.Cleanup(func() { _ = db.Close() })
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return db
}

func TestTheAuditFindsWhatAttemptsDenyEachOther(t *testing.T) {
	for name, c := range map[string]struct {
		ambiguousAt, attempts string
		want                  []kind
	}{
		"sent at the second attempt":            {"NULL", "(1, 1, 'throttled', 429), (1, 2, 'sent', 200)", nil},
		"two messages":                          {"NULL", "(1, 1, 'sent', 200), (2, 2, 'sent', 200)", nil},
		"repeated after it was sent":            {"NULL", "(1, 1, 'sent', 200), (1, 2, 'sent', 200)", []kind{isTwice}},
		"repeated after it was refused":         {"NULL", "(1, 1, 'refused', 422), (1, 2, 'throttled', 429)", []kind{isTwice}},
		"a cut that the message remembers":      {"7", "(1, 1, 'lost', NULL), (1, 2, 'sent', 200)", nil},
		"a cut that it has forgotten":           {"NULL", "(1, 1, 'lost', NULL), (1, 2, 'sent', 200)", []kind{isUntrue}},
		"a 200 of nobody that it remembers":     {"7", "(1, 1, 'not_api', 204)", nil},
		"a 200 of nobody that it has forgotten": {"NULL", "(1, 1, 'not_api', 204)", []kind{isUntrue}},
		"a redirect, which had no effect":       {"NULL", "(1, 1, 'not_api', 302)", nil},
	} {
		t.Run(name, func(t *testing.T) {
			db := memory(t, `CREATE TABLE messages (id, ambiguous_at, http_status)`,
				`CREATE TABLE attempts (message, number, verdict, http_status)`,
				`INSERT INTO messages VALUES (1, `+c.ambiguousAt+`, NULL), (2, NULL, NULL)`, `INSERT INTO attempts VALUES `+c.attempts)
			var a audit
			if err := a.history(t.Context(), db); err != nil || !slices.Equal(a.kinds(), c.want) {
				t.Errorf("found %v, %v; want %v", a.findings, err, c.want)
			}
		})
	}
}

func TestTheAuditCountsEverythingThatTheStatusShows(t *testing.T) {
	messages := []string{`CREATE TABLE messages (account, channel, state, throttles)`,
		`INSERT INTO messages VALUES ('a', 'rcs', 'sent', 2), ('a', 'rcs', 'sending', 1), ('a', 'email', 'failed', 0)`,
		`CREATE TABLE status (scope, pending DEFAULT 0, retrying DEFAULT 0, in_flight DEFAULT 0, sent DEFAULT 0, failed DEFAULT 0,
		                      expired DEFAULT 0, canceled DEFAULT 0, unknown DEFAULT 0, throttled DEFAULT 0)`,
		`INSERT INTO status (scope, in_flight, sent, failed, throttled) VALUES
		 ('daemon:weir', 1, 1, 1, 3), ('bucket:a/rcs', 1, 1, 0, 3), ('bucket:a/email', 0, 0, 1, 0)`}
	for name, c := range map[string]struct {
		change string
		want   string // in the only finding; empty: there is none
	}{
		"as it is":                     {`SELECT 1`, ""},
		"a bucket nobody writes to":    {`INSERT INTO status (scope) VALUES ('bucket:b/rcs')`, ""},
		"a state of a bucket":          {`UPDATE status SET sent = 2 WHERE scope = 'bucket:a/rcs'`, "bucket:a/rcs says 2 sent; there are 1"},
		"a state of the daemon":        {`UPDATE status SET unknown = 1 WHERE scope = 'daemon:weir'`, "daemon:weir says 1 unknown; there are 0"},
		"the throttles of a bucket":    {`UPDATE status SET throttled = 1 WHERE scope = 'bucket:a/rcs'`, "bucket:a/rcs says 1 throttled; there are 3"},
		"a bucket that is not counted": {`DELETE FROM status WHERE scope = 'bucket:a/email'`, "bucket:a/email says 0 messages, and not even a row; there are 1"},
	} {
		t.Run(name, func(t *testing.T) {
			db := memory(t, append(messages, c.change)...)
			var a audit
			err := a.counts(t.Context(), db)
			switch {
			case err != nil:
				t.Error(err)
			case c.want == "" && len(a.findings) == 0:
			case c.want == "" || len(a.findings) != 1 || a.findings[0].kind != isMiscount || !strings.HasSuffix(a.findings[0].text, c.want):
				t.Errorf("found %v, want %q", a.findings, c.want)
			}
		})
	}
}

func TestTheAuditFindsControlCharactersWhereverWhatAnAPISaysIsKept(t *testing.T) {
	db := memory(t)
	for _, f := range foreign {
		if _, err := db.Exec(`CREATE TABLE ` + f.table + ` (` + f.columns + `)`); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range foreign {
		for column := range strings.SplitSeq(f.columns, ", ") {
			for text, want := range map[string]int{"plain \u00e4": 0, "\x01": 1, "red \x1b[31m": 1, "\x7f": 1} {
				// All other columns are NULL.
				if _, err := db.Exec(`DELETE FROM `+f.table+`; INSERT INTO `+f.table+` (`+column+`) VALUES (?)`, text); err != nil {
					t.Fatal(err)
				}
				var a audit
				if err := a.escapes(t.Context(), db); err != nil || len(a.findings) != want {
					t.Errorf("%q in %s.%s: found %v, %v; want %d", text, f.table, column, a.findings, err, want)
				}
			}
		}
		if _, err := db.Exec(`DELETE FROM ` + f.table); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAMessageMayOnlyEndAsItsKeySays(t *testing.T) {
	for _, c := range []struct {
		key, state string
		want       bool
	}{
		{"send-1", "sent", true}, {"send-1", "failed", false}, {"send-1", "expired", false}, {"send-1", "unknown", false},
		{"refused-send-1", "failed", true}, {"refused-send-1", "unknown", true}, {"refused-send-1", "sent", false}, {"refused-send-1", "expired", false},
		{"brief-nats-1", "sent", true}, {"brief-nats-1", "expired", true}, {"brief-nats-1", "unknown", true}, {"brief-nats-1", "failed", false},
	} {
		if got := mayEndAs(c.key, c.state); got != c.want {
			t.Errorf("%s may end as %s: %v, want %v", c.key, c.state, got, c.want)
		}
	}
}

func TestAPlaceThatNobodyGotToFailsTheRun(t *testing.T) {
	v := newVerdict(1)
	v.missed(strike{name: "stopping"})
	if err := v.Err(); !errors.Is(err, ErrMissed) || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("never reached: %v", err)
	}
	v.killed(strike{name: "stopping"})
	if err := v.Err(); err != nil {
		t.Errorf("reached by another: %v", err)
	}
}

func TestOnlyThoseThatDiedWhereTheyShouldCountAsKilled(t *testing.T) {
	v := newVerdict(1)
	v.killed(atRandom)
	v.missed(atRandom)
	var out strings.Builder
	if err := v.Print(&out); err != nil || !strings.Contains(out.String(), "1  at random; 1 more did not die there\n") || !strings.Contains(out.String(), "\n1 kills, ") {
		t.Errorf("printed %v:\n%s", err, &out)
	}
}
