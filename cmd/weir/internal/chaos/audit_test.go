package chaos

import (
	"database/sql"
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
