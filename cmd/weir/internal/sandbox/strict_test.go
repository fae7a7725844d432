package sandbox_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"weir/cmd/weir/internal/sandbox"
)

func TestWhatMustNeverBeSentIsRefusedAndCounted(t *testing.T) {
	with := func(member string) string { return strings.Replace(rcsBody, "{", "{"+member+",", 1) }
	for name, row := range map[string]struct {
		method, path, body string
		header             []string
		status             int
		violation          string
	}{
		"a path that is not there":     {path: "/v1/message", status: 404, violation: "wrong_path"},
		"a DELETE of the list":         {method: "DELETE", status: 405, violation: "wrong_method"},
		"a PUT":                        {method: "PUT", status: 405, violation: "wrong_method"},
		"an Accept without JSON":       {header: []string{"Accept", "text/html"}, status: 406, violation: "not_acceptable"},
		"a body that is called text":   {header: []string{"Content-Type", "text/plain"}, status: 415, violation: "content_type"},
		"a body in another charset":    {header: []string{"Content-Type", "application/json; charset=latin1"}, status: 415, violation: "content_type"},
		"a packed body":                {header: []string{"Content-Encoding", "gzip"}, status: 415, violation: "content_type"},
		"a body above 256 KiB":         {body: with(`"x":"` + strings.Repeat("x", 256<<10) + `"`), status: 413, violation: "body_too_large"},
		"no body":                      {body: " ", status: 400, violation: "not_json_object"},
		"an array":                     {body: "[]", status: 400, violation: "not_json_object"},
		"cut JSON":                     {body: rcsBody[:50], status: 400, violation: "not_json_object"},
		"two JSON values":              {body: rcsBody + rcsBody, status: 400, violation: "not_json_object"},
		"invalid UTF-8":                {body: with("\"x\":\"\xff\""), status: 400, violation: "invalid_utf8"},
		"a name twice":                 {body: with(`"to":"+491701234567"`), status: 400, violation: "duplicate_name"},
		"a name twice, once escaped":   {body: with(`"t\u006f":"+491701234567"`), status: 400, violation: "duplicate_name"},
		"a name twice, deep":           {body: with(`"x":[1,{"y":{"a":1,"b":2,"a":3}}]`), status: 400, violation: "duplicate_name"},
		"half a surrogate pair":        {body: with(`"x":"\ud83d"`), status: 400, violation: "lone_surrogate"},
		"the wrong half first":         {body: with(`"x":"\ude00\ud83d"`), status: 400, violation: "lone_surrogate"},
		"half a pair in a name":        {body: with(`"\ud83dx":1`), status: 400, violation: "lone_surrogate"},
		"a depth of 65":                {body: with(`"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64)), status: 400, violation: "too_deep"},
		"a key with a space":           {header: []string{"Idempotency-Key", "a b"}, status: 400, violation: "invalid_idempotency_key"},
		"an empty key":                 {header: []string{"Idempotency-Key", ""}, status: 400, violation: "invalid_idempotency_key"},
		"a key of 256 characters":      {header: []string{"Idempotency-Key", strings.Repeat("k", 256)}, status: 400, violation: "invalid_idempotency_key"},
		"a key in the body, no string": {body: with(`"idempotency_key":7`), status: 400, violation: "invalid_idempotency_key"},
		"an object of nothing we know": {body: `{"a":1}`, status: 400, violation: "validation_error"},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, sandbox.Config{})
			orElse := func(s, otherwise string) string {
				if s == "" {
					return otherwise
				}
				return s
			}
			r, err := a.do(t.Context(), orElse(row.method, "POST"), orElse(row.path, "/v1/messages"), orElse(row.body, rcsBody), row.header...)
			if err != nil || r.status != row.status || r.text("error") != row.violation || r.header.Get("X-Request-Id") == "" {
				t.Errorf("answer = %d %s, %v; want %d %s with a request id", r.status, r.raw, err, row.status, row.violation)
			}
			s := a.Stats()
			if got := s.Violations[row.violation]; got.Count != 1 || len(s.Violations) != 1 || !strings.HasPrefix(got.Samples[0], r.header.Get("X-Request-Id")+" ") {
				t.Errorf("violations = %v; want one %s with its request id", s.Violations, row.violation)
			}
			if s.Executed != 0 {
				t.Error("it was executed")
			}
		})
	}
}

func TestWhatIsUnusualButRightIsTaken(t *testing.T) {
	with := func(member string) string { return strings.Replace(rcsBody, "{", "{"+member+",", 1) }
	for name, row := range map[string]struct {
		body   string
		header []string
	}{
		"an e-mail":                     {body: emailBody},
		"a whole surrogate pair":        {body: with(`"x":"\ud83d\ude00 \\ud83d \\\\ \" "`)},
		"one name in different objects": {body: with(`"x":{"to":1,"y":[{"to":2},{"to":3}]}`)},
		"a depth of 64":                 {body: with(`"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63))},
		"odd spacing":                   {body: " \n{ \"ttl\" : \"24h\" ,\t" + rcsBody[1:] + "\r\n"},
		"numbers and literals":          {body: with(`"x":[ 1e5 , -0.5,true ,null,false ,{ } , [ ] ]`)},
		"a charset that is UTF-8":       {body: rcsBody, header: []string{"Content-Type", "application/json; charset=UTF-8"}},
		"an Accept among others":        {body: rcsBody, header: []string{"Accept", "text/html, application/json"}},
	} {
		a := start(t, sandbox.Config{})
		if r, err := a.do(t.Context(), "POST", "/v1/messages", row.body, row.header...); err != nil || r.status != 200 {
			t.Errorf("%s: answer = %d %s, %v; want 200", name, r.status, r.raw, err)
		}
	}
}

func TestEveryWrongFieldIsNamedInTheDetails(t *testing.T) {
	for body, want := range map[string][]string{
		`{"agent_id":"ag_"}`:                             {"agent_id", "to", "message_type", "traffic_type", "content"},
		`{"channel_id":"x","to":"a@b@c","ttl":"1 hour"}`: {"channel_id", "to", "subject", "message_type", "content", "ttl"},
		`{}`: {"agent_id"},
		`{"agent_id":"ag_1","channel_id":"ch_1"}`:                                     {"channel_id"},
		strings.Replace(rcsBody, "+49", "0049", 1):                                    {"to"},
		strings.Replace(rcsBody, `{"text":"hi"}`, `{}`, 1):                            {"content"},
		strings.Replace(rcsBody, "TRANSACTION", "transaction", 1):                     {"traffic_type"},
		strings.Replace(emailBody, "NEWSLETTER", "CONVERSATION", 1):                   {"message_type"},
		strings.Replace(emailBody, `"template_id":"t_1"`, `"content":"<p>hi</p>"`, 1): {"content"},
	} {
		a := start(t, sandbox.Config{})
		r, err := a.do(t.Context(), http.MethodPost, "/v1/messages", body)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		details, _ := r.body["details"].([]any)
		for _, d := range details {
			named, _ := d.(map[string]any)
			field, _ := named["field"].(string)
			got = append(got, field)
		}
		if r.status != 400 || !slices.Equal(got, want) {
			t.Errorf("%s: answer = %d, fields %v; want 400 and %v", body, r.status, got, want)
		}
	}
}

func TestALenientServerTakesAnyObjectWithAnyKey(t *testing.T) {
	a := start(t, sandbox.Config{Lenient: true})
	r, err := a.do(t.Context(), http.MethodPost, "/v1/messages", `{"a":1}`, "Idempotency-Key", "no uuid"[3:])
	if err != nil || r.status != 200 {
		t.Errorf("answer = %d %s, %v; want 200", r.status, r.raw, err)
	}
}

func TestAKeyThatIsNoUUIDIsRefusedWhereUUIDsAreAsked(t *testing.T) {
	a := start(t, sandbox.Config{RequireUUIDKeys: true})
	for key, want := range map[string]int{
		"550e8400-e29b-41d4-a716-446655440000":   200,
		"{550e8400-e29b-41d4-a716-446655440000}": 400,
		"order-17":                               400,
	} {
		if got := a.mustSend(key).status; got != want {
			t.Errorf("key %s = %d; want %d", key, got, want)
		}
	}
}
