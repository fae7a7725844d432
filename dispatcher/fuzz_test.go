package dispatcher

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"weir/outbox"
)

// FuzzAnswer holds what an answer makes of a message to what the answer says,
// read slowly and strictly: only the API may settle a message, and a refusal
// after an attempt that may have been sent proves nothing.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []struct {
		status int
		body   string
	}{
		{200, accepted}, {202, `{"message_id":""}`}, {200, `{"message_id":7}`}, {200, `[]`}, {200, "null"}, {200, `<html>`}, {204, ``},
		{200, `{"Message_ID":"x","note":"message_id"}`}, {200, `{"message_id":"a","MESSAGE_ID":"b"}`}, {200, `{"me\u0073sage_id":"a"}`},
		{200, `{"meſſage_id":"x","note":"message_id"}`}, {200, `{"message_id":"` + "\xff\u0085" + `"}`},
		{400, `{"error":"a\u0000\ud800","message":"` + "\xff" + `"}`}, {422, `{"Error":"x"}`}, {404, `{"error":{}}`}, {403, `{"error":"policy"}`},
		{409, `{"error":"conflict","message_id":"m"}`}, {409, `{"error":"in_progress"}`}, {409, `{"error":"x","retry_after":1}`},
		{401, `{"error":"unauthorized"}`}, {402, `{"error":"unpaid","required_amount":"1","topup_url":"u"}`}, {429, `{"retry_after":null}`},
		{500, ``}, {503, `{"error":"x"}`}, {302, ``}, {100, ``}, {425, `{}`}, {408, `{"error":"x"}`}, {600, `{"error":"x","message_id":"m"}`},
	} {
		f.Add(seed.status, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a := Answer{StartedAt: noon, EndedAt: noon.Add(time.Second), Left: true}
		a.takeHeader(status, http.Header{})
		a.takeBody(body)
		wantStorable(t, a)
		v := judge(a)
		id, refusal := saidBy(body)
		if v == Sent && (status/100 != 2 || id == "") {
			t.Fatalf("%d %q counts as sent", status, body)
		}
		if v == Sent && a.MessageID != sanitize(id) {
			t.Fatalf("%d %q is recorded as message %q", status, body, a.MessageID)
		}
		if v == Refused && (status/100 != 4 || refusal == "") {
			t.Fatalf("%d %q counts as a refusal", status, body)
		}
		half := func() float64 { return 0.5 }
		clean := settle(Claim{Scope: "here"}, a, v, policy, half)
		if clean.State == outbox.Failed && v != Refused || clean.State == outbox.Sent && v != Sent {
			t.Fatalf("%d %q, %s, makes a message %s", status, body, v, clean.State)
		}
		before := Claim{Scope: "here", Attempts: 1, FirstAttemptAt: noon, AmbiguousAt: noon}
		after := settle(before, a, v, policy, half)
		if after.State == outbox.Failed || after.State == outbox.Sent && v != Sent && (status != http.StatusConflict || id == "") {
			t.Fatalf("%d %q, %s, makes a message %s that may have been sent before", status, body, v, after.State)
		}
	})
}

// saidBy gives the members message_id and error of a body, by exactly these
// names, where they are strings.
func saidBy(body []byte) (id, refusal string) {
	var fields map[string]any
	if json.Unmarshal(body, &fields) != nil {
		return "", ""
	}
	id, _ = fields["message_id"].(string)
	refusal, _ = fields["error"].(string)
	return id, refusal
}

// wantStorable checks that what is kept of an answer is fit for the database and
// a terminal, and came from the API.
func wantStorable(t *testing.T, a Answer) {
	t.Helper()
	for _, s := range []string{a.MessageID, a.ErrorCode, a.ErrorMessage, a.RetryAfter, a.RequiredAmount, a.TopupURL} {
		if s != "" && !a.IsJSON {
			t.Errorf("%q comes from what is not JSON", s)
		}
		if len(s) > maxStored || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			t.Errorf("%q is not fit for storing", s)
		}
	}
}
