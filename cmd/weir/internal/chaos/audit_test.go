package chaos

import (
	"database/sql"
	"errors"
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
		"sent once":                     {row{state: "sent", messageID: text("m1"), requestID: text("r"), settledAt: at}, once, ""},
		"sent twice":                    {row{state: "sent", messageID: text("m1"), requestID: text("r"), settledAt: at}, sandbox.Key{Effects: 2, MessageID: "m1"}, isTwice},
		"sent by the row alone":         {row{state: "sent", messageID: text("m1"), requestID: text("r"), settledAt: at}, sandbox.Key{}, isUntrue},
		"sent as another message":       {row{state: "sent", messageID: text("m2"), requestID: text("r"), settledAt: at}, once, isUntrue},
		"sent without a request id":     {row{state: "sent", messageID: text("m1"), settledAt: at}, once, isUnsaid},
		"failed and yet sent":           {row{state: "failed", code: text("policy"), settledAt: at}, once, isUntrue},
		"failed for no reason":          {row{state: "failed", settledAt: at}, sandbox.Key{}, isUnsaid},
		"unknown, with its reason":      {row{state: "unknown", why: text("cut"), ambiguousAt: at, settledAt: at}, once, ""},
		"unknown for no reason":         {row{state: "unknown", ambiguousAt: at, settledAt: at}, once, isUnsaid},
		"unknown without a request":     {row{state: "unknown", why: text("cut"), settledAt: at}, sandbox.Key{}, isUnsaid},
		"pending after an effect":       {row{state: "pending"}, once, isUntrue},
		"retrying after an effect":      {row{state: "retrying", ambiguousAt: at}, once, ""},
		"settled with no time of that":  {row{state: "failed", code: text("policy")}, sandbox.Key{}, isUntrue},
		"waiting and yet with its time": {row{state: "pending", settledAt: at}, sandbox.Key{}, isUntrue},
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

func TestTheAuditFindsControlCharactersWhereverWhatAnAPISaysIsKept(t *testing.T) {
	db, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1) // each would have a memory of its own
	t.Cleanup(func() { _ = db.Close() })
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
