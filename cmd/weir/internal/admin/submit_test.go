package admin_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/cmd/weir/internal/admin"
	"weir/store"
)

// taken is the answer to a message that is stored.
type taken struct {
	Result  string
	Message store.MessageView
}

const envelope = `{"idempotency_key":"k-1","body":{"agent_id":"ag_1", "to":"+4915112345678"}}`

func TestAMessageIsTakenOnceByItsKey(t *testing.T) {
	d := serve(t, nil)
	var first, second taken
	got := d.call("POST", "/api/v1/messages", envelope)
	got.into(t, &first)
	if got.status != http.StatusAccepted || first.Result != "accepted" || first.Message.Key != "k-1" || first.Message.State != "pending" {
		t.Errorf("the first: %d %s", got.status, got.body)
	}
	if location := fmt.Sprintf("/api/v1/messages/%d", first.Message.ID); got.header.Get("Location") != location {
		t.Errorf("it is at %s", got.header.Get("Location"))
	}
	got = d.call("POST", "/api/v1/messages", `{"body":{"to":"+4915112345678","agent_id":"ag_1"}}`, "Idempotency-Key: k-1")
	got.into(t, &second)
	if got.status != http.StatusAccepted || second.Result != "already_there" || second.Message.ID != first.Message.ID {
		t.Errorf("the second: %d %s", got.status, got.body)
	}
	got = d.call("POST", "/api/v1/messages", strings.Replace(envelope, "ag_1", "ag_2", 1))
	wantRefusal(t, got, http.StatusConflict, "conflict")
	if !strings.Contains(got.body, fmt.Sprintf("message %d", first.Message.ID)) {
		t.Errorf("the conflict does not name the message: %s", got.body)
	}
	if body := d.call("GET", got.header.Get("Location")+"/body", "").body; body != `{"body":{"agent_id":"ag_1", "to":"+4915112345678"}}`+"\n" {
		t.Errorf("its body is %s", body)
	}
	if !strings.Contains(d.log.String(), "a body was read") || strings.Contains(d.log.String(), "k-1") || strings.Contains(d.log.String(), "+4915") {
		t.Errorf("the log says\n%s", d.log)
	}
}

func TestWhatIsNoMessageIsRefusedWithItsFields(t *testing.T) {
	d := serve(t, nil)
	for _, c := range []struct {
		name, body string
		headers    []string
		status     int
		code       string
		field      string
	}{
		{"no JSON", `{"idempotency_key":`, nil, 400, "bad_json", ""},
		{"nothing", ``, nil, 400, "bad_json", ""},
		{"a list", `[]`, nil, 422, "invalid", "envelope"},
		{"a name said twice", `{"idempotency_key":"a","idempotency_key":"b","body":{}}`, nil, 422, "invalid", "idempotency_key"},
		{"a name said twice in the body", `{"idempotency_key":"a","body":{"to":"a","to":"b"}}`, nil, 422, "invalid", "body.to"},
		{"a name that is not known", `{"idempotency_key":"a","body":{},"priority":1}`, nil, 422, "invalid", "priority"},
		{"a name in another case", `{"Idempotency_key":"a","body":{}}`, nil, 422, "invalid", "Idempotency_key"},
		{"no key", `{"body":{}}`, nil, 422, "invalid", "idempotency_key"},
		{"a key in the header, and no body", `{"lane":"fast"}`, []string{"Idempotency-Key: a"}, 422, "invalid", "body"},
		{"a key in the header, and what cannot be read", `{"lane":1,"body":{}}`, []string{"Idempotency-Key: a"}, 422, "invalid", "lane"},
		{"two keys", `{"idempotency_key":"a","body":{}}`, []string{"Idempotency-Key: b"}, 422, "invalid", "idempotency_key"},
		{"a channel that is not known", `{"idempotency_key":"a","body":{},"channel":"sms"}`, nil, 422, "invalid", "channel"},
		{"a form", `a=b`, []string{"Content-Type: application/x-www-form-urlencoded"}, 415, "unsupported_media_type", ""},
		{"text", envelope, []string{"Content-Type: text/plain"}, 415, "unsupported_media_type", ""},
		{"no type", envelope, []string{"Content-Type:"}, 415, "unsupported_media_type", ""},
		{"another charset", envelope, []string{"Content-Type: application/json; charset=latin1"}, 415, "unsupported_media_type", ""},
		{"a large body", `{"a":"` + strings.Repeat("x", 400<<10) + `"}`, nil, 413, "too_large", ""},
		{"a huge body", `{"a":"` + strings.Repeat("x", 3<<20) + `"}`, nil, 413, "too_large", ""},
		{"a deep body", `{"idempotency_key":"a","body":` + strings.Repeat(`{"a":`, 70) + `1` + strings.Repeat(`}`, 71), nil, 422, "invalid", ""},
		{"an answer that cannot be read", envelope, []string{"Accept: text/html"}, 406, "not_acceptable", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := d.call("POST", "/api/v1/messages", c.body, c.headers...)
			wantRefusal(t, got, c.status, c.code)
			var envelope struct {
				Details []struct{ Field, Message string }
			}
			got.into(t, &envelope)
			if c.field == "" {
				return
			}
			if len(envelope.Details) == 0 || envelope.Details[0].Field != c.field {
				t.Errorf("the details are %+v", envelope.Details)
			}
			for _, detail := range envelope.Details {
				if len(c.headers) > 0 && strings.Contains(detail.Message, "is missing; give each") {
					t.Errorf("the key of the header is not seen: %+v", detail)
				}
			}
		})
	}
}

func TestNoMoreMessagesWaitThanMaxPendingAllows(t *testing.T) {
	const most = 5
	d := serve(t, func(c *admin.Config) { c.MaxPending = most })
	var group sync.WaitGroup
	for i := range 4 * most {
		group.Go(func() {
			d.call("POST", "/api/v1/messages", fmt.Sprintf(`{"idempotency_key":"k-%d","body":{}}`, i))
		})
	}
	group.Wait()
	for i := range most { // those that came together may have kept each other out
		d.call("POST", "/api/v1/messages", fmt.Sprintf(`{"idempotency_key":"l-%d","body":{}}`, i))
	}
	if got := d.call("GET", "/api/v1/status", ""); !strings.Contains(got.body, fmt.Sprintf(`"pending":%d,`, most)) {
		t.Errorf("the status is %s", got.body)
	}
	got := d.call("POST", "/api/v1/messages", `{"idempotency_key":"one-too-many","body":{}}`)
	wantRefusal(t, got, http.StatusTooManyRequests, "rate_limit_exceeded")
	var refusal struct {
		RetryAfter int `json:"retry_after"`
	}
	got.into(t, &refusal)
	for name, want := range map[string]string{
		"X-RateLimit-Limit": "5", "X-RateLimit-Remaining": "0", "Retry-After": strconv.Itoa(refusal.RetryAfter),
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s is %q, not %q", name, got.header.Get(name), want)
		}
	}
	if reset, err := strconv.Atoi(got.header.Get("X-RateLimit-Reset")); err != nil || reset < 1e9 || refusal.RetryAfter < 1 {
		t.Errorf("X-RateLimit-Reset is %q, retry_after %d", got.header.Get("X-RateLimit-Reset"), refusal.RetryAfter)
	}
	var page struct{ Messages []store.MessageView }
	d.call("GET", "/api/v1/messages", "").into(t, &page)
	repeat := d.call("POST", "/api/v1/messages", fmt.Sprintf(`{"idempotency_key":%q,"body":{}}`, page.Messages[0].Key))
	if repeat.status != http.StatusAccepted || !strings.Contains(repeat.body, "already_there") {
		t.Errorf("a repeat of what is there: %d %s", repeat.status, repeat.body)
	}
}

func TestNothingIsTakenWhileTheDiskIsLow(t *testing.T) {
	full, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Now: time.Now, MinFree: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { full.Close() })
	low := serve(t, func(c *admin.Config) { c.Store = full })
	got := low.call("POST", "/api/v1/messages", envelope)
	wantRefusal(t, got, http.StatusServiceUnavailable, "no_room")
	if got.header.Get("Retry-After") == "" {
		t.Error("it does not say when to come again")
	}
}
