package admin_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir/outbox"
	"weir/store"
)

// changed is the answer to a change of one message.
type changed struct{ Message store.MessageView }

func TestOneMessageIsCanceledAndRetried(t *testing.T) {
	d := serve(t, nil)
	d.accept("k-1")
	var after changed
	if d.call("POST", "/api/v1/messages/1/cancel", `{}`).into(t, &after); after.Message.State != "canceled" {
		t.Errorf("it is %s", after.Message.State)
	}
	got := d.call("POST", "/api/v1/messages/1/cancel", ``)
	wantRefusal(t, got, http.StatusConflict, "wrong_state")
	wantRefusal(t, d.call("POST", "/api/v1/messages/1/retry", `{"ttl":"soon"}`), 422, "invalid")
	wantRefusal(t, d.call("POST", "/api/v1/messages/1/retry", `{"expires_at":"2020-01-01T00:00:00Z"}`), 422, "invalid")
	if d.call("POST", "/api/v1/messages/1/retry", `{"ttl":"2h"}`).into(t, &after); after.Message.State != "pending" || after.Message.ExpiresAt == nil {
		t.Errorf("it is %s until %v", after.Message.State, after.Message.ExpiresAt)
	}
	wantRefusal(t, d.call("POST", "/api/v1/messages/1/retry", `{}`), http.StatusConflict, "wrong_state")
	wantRefusal(t, d.call("POST", "/api/v1/messages/2/retry", `{}`), http.StatusNotFound, "not_found")
	if strings.Contains(d.log.String(), "k-1") || !strings.Contains(d.log.String(), "what=retry message=1") {
		t.Errorf("the log says\n%s", d.log)
	}
}

func TestARetryOfWhatHasExpiredNeedsANewDeadline(t *testing.T) {
	d := serve(t, nil)
	if got := d.call("POST", "/api/v1/messages", `{"idempotency_key":"late","body":{},"expires_at":"2020-01-01T00:00:00Z"}`); got.status != 202 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := d.call("POST", "/api/v1/messages/1/cancel", `{}`); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	got := d.call("POST", "/api/v1/messages/1/retry", `{}`)
	wantRefusal(t, got, 422, "invalid")
	if !strings.Contains(got.body, "expires_at") {
		t.Errorf("it does not say what is missing: %s", got.body)
	}
}

func TestOnlyAnUnknownMessageIsResolvedAndOnlyInThreeWays(t *testing.T) {
	d := serve(t, nil)
	d.accept("a")
	for body, field := range map[string]string{
		`{}`: "outcome", `{"outcome":"perhaps"}`: "outcome", `{"outcome":1}`: "outcome", `{"Outcome":"sent"}`: "Outcome",
		`{"outcome":"not_sent","message_id":"m"}`: "message_id", `{"outcome":"sent","message_id":"a\u0000"}`: "message_id",
		`{"outcome":"sent","outcome":"not_sent"}`: "outcome",
	} {
		got := d.call("POST", "/api/v1/messages/1/resolve", body)
		wantRefusal(t, got, 422, "invalid")
		if !strings.Contains(got.body, fmt.Sprintf(`"field":%q`, field)) {
			t.Errorf("%s is refused with %s", body, got.body)
		}
	}
	wantRefusal(t, d.call("POST", "/api/v1/messages/1/resolve", `{"outcome":"sent"}`), http.StatusConflict, "wrong_state")
	d.beUnknown(1)
	var after changed
	if d.call("POST", "/api/v1/messages/1/resolve", `{"outcome":"sent","message_id":"m-7"}`).into(t, &after); after.Message.State != "sent" || *after.Message.MessageID != "m-7" {
		t.Errorf("it is %+v", after.Message)
	}
}

func TestManyMessagesAreChangedByAFilterThatSaysSomething(t *testing.T) {
	d := serve(t, nil)
	d.accept("a", "b", "c")
	if got := d.call("POST", "/api/v1/messages/1/cancel", ``); got.status != 200 {
		t.Fatal(got.body)
	}
	for _, c := range []struct{ path, body, field string }{
		{"retry", `{}`, "filter"},
		{"retry", `{"filter":{}}`, "filter"},
		{"retry", `{"filter":{"state":null}}`, "filter"},
		{"retry", `{"filter":[]}`, "filter"},
		{"retry", `{"filter":{"state":"sent"}}`, "state"},
		{"cancel", `{"filter":{"state":["pending","failed"]}}`, "state"},
		{"cancel", `{"filter":{"state":"open"}}`, "state"},
		{"cancel", `{"filter":{"state":{}}}`, "state"},
		{"cancel", `{"filter":{"state":"pending","lane":"slow"}}`, "lane"},
		{"cancel", `{"filter":{"state":"pending","recipient_hash":"+4915112345678"}}`, "recipient_hash"},
		{"cancel", `{"filter":{"since":"yesterday"}}`, "since"},
		{"cancel", `{"filter":{"limit":"3"}}`, "limit"},
		{"cancel", `{"filter":{"state":"pending"},"dry_run":"yes"}`, "dry_run"},
		{"cancel", `{"filter":{"state":"pending"},"ttl":"2h"}`, "ttl"},
		{"cancel", `{"filter":{"state":"pending","state":"retrying"}}`, "filter.state"},
		{"cancel", `{"filter":{"state":"pending"},"before":"7"}`, "before"},
	} {
		got := d.call("POST", "/api/v1/messages/"+c.path, c.body)
		wantRefusal(t, got, 422, "invalid")
		if !strings.Contains(got.body, fmt.Sprintf(`"field":%q`, c.field)) {
			t.Errorf("%s is refused with %s", c.body, got.body)
		}
	}
	for _, c := range []struct {
		path, body string
		want       store.Bulk
	}{
		{"cancel", `{"filter":{"state":["pending"]},"dry_run":true}`, store.Bulk{Matched: 2}},
		{"cancel", `{"filter":{"idempotency_key":"b"}}`, store.Bulk{Matched: 1, Changed: 1}},
		{"retry", `{"filter":{"state":"canceled"},"ttl":"2h"}`, store.Bulk{Matched: 2, Changed: 2}},
		{"cancel", `{"filter":{"state":"pending,retrying","channel":"rcs"}}`, store.Bulk{Matched: 3, Changed: 3}},
	} {
		var sum store.Bulk
		if d.call("POST", "/api/v1/messages/"+c.path, c.body).into(t, &sum); sum != c.want {
			t.Errorf("%s of %s: %+v", c.path, c.body, sum)
		}
	}
}

func TestWhatCameAfterADryRunIsNotChanged(t *testing.T) {
	d := serve(t, nil)
	d.accept("a", "b")
	var expected struct {
		Matched int
		Before  string
	}
	d.call("POST", "/api/v1/messages/cancel", `{"filter":{"state":"pending"},"dry_run":true}`).into(t, &expected)
	d.accept("later")
	var sum store.Bulk
	d.call("POST", "/api/v1/messages/cancel", fmt.Sprintf(`{"filter":{"state":"pending"},"before":%q}`, expected.Before)).into(t, &sum)
	if want := (store.Bulk{Matched: 2, Changed: 2}); expected.Matched != 2 || sum != want {
		t.Errorf("expected %+v, then %+v", expected, sum)
	}
}

func TestMessagesAreListedByFilterAndPage(t *testing.T) {
	d := serve(t, nil)
	keys := make([]string, 205)
	for i := range keys {
		keys[i] = fmt.Sprintf("k-%d", i)
	}
	d.accept(keys...)
	d.beUnknown(7)
	type page struct {
		Messages   []store.MessageView
		NextCursor *string `json:"next_cursor"`
		HasMore    bool    `json:"has_more"`
	}
	seen, query := 0, "?limit=100"
	for pages := 1; ; pages++ {
		var p page
		d.call("GET", "/api/v1/messages"+query, "").into(t, &p)
		seen += len(p.Messages)
		if p.HasMore != (p.NextCursor != nil) || p.HasMore != (pages < 3) {
			t.Fatalf("page %d has more: %v", pages, p.HasMore)
		}
		if !p.HasMore {
			break
		}
		query = "?limit=100&cursor=" + *p.NextCursor
	}
	if seen != len(keys) {
		t.Errorf("%d messages are listed", seen)
	}
	for query, want := range map[string]int{
		"": 50, "?limit=200": 200, "?state=unknown": 1, "?state=unknown&state=sent": 1, "?state=pending,unknown&limit=200": 200, "?state=sent": 0,
		"?lane=bulk": 0, "?account=nobody": 0, "?channel=rcs&limit=3": 3, "?idempotency_key=k-3": 1, "?request_id=r": 0, "?error_code=dns": 0,
		"?recipient_hash=" + outbox.RecipientHash("+495"): 0, "?recipient_hash=" + outbox.RecipientHash("+49155"): 1,
		"?since=2020-01-01T00:00:00Z&limit=2": 2, "?until=2020-01-01T00:00:00Z": 0,
	} {
		var p page
		if d.call("GET", "/api/v1/messages"+query, "").into(t, &p); len(p.Messages) != want {
			t.Errorf("%s lists %d", query, len(p.Messages))
		}
	}
	if got := d.call("GET", "/api/v1/messages/7", ""); !strings.Contains(got.body, `"state":"unknown"`) || !strings.Contains(got.body, `"timeline":[`) {
		t.Errorf("one message is %s", got.body)
	}
}

// beUnknown makes a message one that may have been sent.
func (d *desk) beUnknown(id int64) {
	d.t.Helper()
	db := d.open()
	defer db.Close()
	if _, err := db.Exec(`UPDATE messages SET state = 'unknown', ambiguous_at = 1, settled_at = ?, generation = generation + 1 WHERE id = ?`,
		time.Now().UnixMilli(), id); err != nil {
		d.t.Fatal(err)
	}
}
