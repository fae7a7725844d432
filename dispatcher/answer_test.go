package dispatcher

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestSanitizedTextIsFitForStoring(t *testing.T) {
	tests := []struct {
		name, in, want string
	}{
		{"plain text stays", "no device, größer", "no device, größer"},
		{"control characters go", "a\x00b\r\nc\x1b[0m\u0085d\x7f", "abc[0md"},
		{"invalid UTF-8 goes", "a\xff\xc3", "a"},
		{"long text is cut", strings.Repeat("x", maxStored+1), strings.Repeat("x", maxStored)},
		{"no character is cut in two", "x" + strings.Repeat("é", maxStored), "x" + strings.Repeat("é", maxStored/2-1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := sanitize(tt.in); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzMember holds member to what encoding/json reads.
func FuzzMember(f *testing.F) {
	for _, seed := range []string{
		accepted, `{"a":"b","message_id":"msg_1"}`, `{"message_id":"x","message_id":"msg_1"}`, `{"message_id":"x","message_id":null}`,
		`{"a":{"message_id":"x"}}`, `{"a":["message_id","x"]}`, `["message_id","x"]`, `{"a":"message_id","b":"x"}`, `{"message_id":["x"]}`,
		`{"message_id":{"message_id":"x"}}`, `{ "message_id" : "msg\"\\" , "b" : 1 }`, `{"a":"\"message_id\":","b":"x"}`, `"message_id"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) || strings.Contains(string(body), `\u`) {
			return
		}
		var fields map[string]json.RawMessage
		_ = json.Unmarshal(body, &fields) // what is no object has no fields
		want := ""
		if raw := fields["message_id"]; len(raw) > 0 && raw[0] == '"' {
			want = string(raw)
		}
		if got := member(body, `"message_id"`); string(got) != want {
			t.Errorf("of %s: %s, want %s", body, got, want)
		}
	})
}
