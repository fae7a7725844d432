package admin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"weir/dispatcher"
	"weir/outbox"
	"weir/store"
)

// steered is the answer to a change of gates.
type steered struct {
	Changed int
	Gates   []store.GateView
}

func (d *desk) wantTold(times int) {
	d.t.Helper()
	if len(d.changed) != times {
		d.t.Errorf("the dispatcher was told %d times, not %d", len(d.changed), times)
	}
	for range len(d.changed) {
		<-d.changed
	}
}

func TestAScopeIsPausedAndResumed(t *testing.T) {
	d := serve(t, nil)
	d.accept("a")
	var now steered
	d.call("POST", "/api/v1/gates/pause", `{"scope":"default/rcs","reason":"a new template","until":"2h"}`).into(t, &now)
	if len(now.Gates) != 1 || now.Gates[0].Scope != "bucket:default/rcs" || now.Gates[0].Reason != "a new template" || now.Gates[0].UntilAt == nil {
		t.Errorf("the gates are %+v", now.Gates)
	}
	d.call("POST", "/api/v1/gates/pause", `{"scope":"all"}`).into(t, &now)
	if len(now.Gates) != 2 || now.Gates[1].Scope != "daemon:weir" || now.Gates[1].Reason != "paused by an operator" {
		t.Errorf("the gates are %+v", now.Gates)
	}
	d.wantTold(2)
	if d.call("POST", "/api/v1/gates/resume", `{"scope":"account:default"}`).into(t, &now); now.Changed != 0 || len(now.Gates) != 2 {
		t.Errorf("after the resume of what was not paused: %+v", now)
	}
	d.wantTold(0)
	if d.call("POST", "/api/v1/gates/resume", `{"scope":"all"}`).into(t, &now); now.Changed != 2 || len(now.Gates) != 0 {
		t.Errorf("after the resume of all: %+v", now)
	}
	d.wantTold(1)
}

func TestAProbeOfABucketProbesWhatHoldsItsAccountToo(t *testing.T) {
	d := serve(t, nil)
	d.accept("a")
	hold := dispatcher.Gate{
		Scope: outbox.AccountScope("default"), Kind: dispatcher.Held, Reason: "the key is refused", SetBy: "401",
		Since: time.Now(), Until: time.Now().Add(time.Hour),
	}
	if err := d.store.PutGate(t.Context(), hold); err != nil {
		t.Fatal(err)
	}
	for _, scope := range []string{"default/rcs", "account:default", "all"} {
		var now steered
		if d.call("POST", "/api/v1/gates/probe", `{"scope":"`+scope+`"}`).into(t, &now); now.Changed != 1 || *now.Gates[0].UntilAt != now.Gates[0].SinceAt {
			t.Errorf("the probe of %s: %+v", scope, now)
		}
	}
	d.wantTold(3)
}

func TestAScopeThatDoesNotExistIsRefused(t *testing.T) {
	d := serve(t, nil)
	for _, body := range []string{
		`{}`, `{"scope":"everything"}`, `{"scope":"account:nobody"}`, `{"scope":"nobody/rcs"}`, `{"scope":"default/fax"}`, `{"scope":7}`,
		`{"scope":"all","reason":"\u001b[2J","until":""}`, `{"scope":"all","until":"yesterday"}`, `{"scope":"all","until":"-3h"}`,
		`{"scope":"all","until":"2020-01-01T00:00:00Z"}`, `{"scope":"all","reason":"` + strings.Repeat("x", 1025) + `"}`,
	} {
		wantRefusal(t, d.call("POST", "/api/v1/gates/pause", body), http.StatusUnprocessableEntity, "invalid")
	}
	if gates, err := d.store.GateViews(t.Context()); err != nil || len(gates) != 0 {
		t.Errorf("the gates are %v, %v", gates, err)
	}
}

func TestWhatWasRejectedIsShownAndRequeued(t *testing.T) {
	d := serve(t, nil)
	if err := d.store.Reject(t.Context(), []outbox.Rejection{
		{Payload: []byte(`<script>`), Reason: "envelope: must be a JSON object"},
		{Payload: []byte(`{"idempotency_key":"k","body":{"to":"+4915"}}`), Reason: "channel: was not known"},
	}); err != nil {
		t.Fatal(err)
	}
	var page struct{ Rejected []store.RejectedRow }
	got := d.call("GET", "/api/v1/rejected?limit=1", "")
	if got.into(t, &page); len(page.Rejected) != 1 || page.Rejected[0].ID != 2 || strings.Contains(got.body, "+4915") || !strings.Contains(got.body, `"has_more":true`) {
		t.Errorf("the list is %s", got.body)
	}
	if got := d.call("GET", "/api/v1/rejected/1/payload", ""); got.body != `{"payload":"<script>"}`+"\n" {
		t.Errorf("the payload is %s", got.body)
	}
	if got := d.call("POST", "/api/v1/rejected/2/requeue", `{}`); got.status != http.StatusAccepted || !strings.Contains(got.body, `"result":"accepted"`) {
		t.Errorf("requeued: %d %s", got.status, got.body)
	}
	wantRefusal(t, d.call("POST", "/api/v1/rejected/2/requeue", `{}`), 404, "not_found")
	wantRefusal(t, d.call("GET", "/api/v1/rejected/2/payload", ``), 404, "not_found")
	wantRefusal(t, d.call("POST", "/api/v1/rejected/1/requeue", `{}`), 422, "invalid")
	wantRefusal(t, d.call("GET", "/api/v1/rejected?limit=1000000", ``), 422, "invalid")
}
