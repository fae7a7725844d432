package metrics

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/dispatcher"
	"weir/outbox"
	"weir/store"
)

var (
	rcs = outbox.Bucket{Account: "default", Channel: "rcs"}
	now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

// attempt is one of a normal message that was due 2 s before, and took 30 ms.
func attempt(status int, v dispatcher.Verdict, state outbox.State) *dispatcher.Record {
	return &dispatcher.Record{
		Claim:     dispatcher.Claim{Bucket: rcs, Lane: outbox.Normal, DueAt: now.Add(-2 * time.Second), Traceparent: "parent"},
		Answer:    dispatcher.Answer{Status: status, StartedAt: now, EndedAt: now.Add(30 * time.Millisecond)},
		Judgement: dispatcher.Judgement{Verdict: v, State: state, Counted: v != dispatcher.Throttled && v != dispatcher.NotAPI, Throttled: v == dispatcher.Throttled},
	}
}

func (m *Metrics) play(records ...*dispatcher.Record) {
	for _, r := range records {
		_, judged := m.Observe(&r.Claim)
		judged(r)
	}
}

// wantLines checks that the exposition has these lines, without the labels of the bucket.
func wantLines(t *testing.T, m *Metrics, want ...string) {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	text := strings.NewReplacer(`account="default",channel="rcs",`, "", `,account="default",channel="rcs"`, "", `{account="default",channel="rcs"}`, "").
		Replace(answer.Body.String())
	lines := strings.Split(text, "\n")
	for _, line := range want {
		if !slices.Contains(lines, line) {
			t.Errorf("there is no line %s in\n%s", line, strings.Join(slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "weir_") }), "\n"))
		}
	}
}

func TestAnAttemptIsCountedByWhatItCameTo(t *testing.T) {
	m := New("test")
	m.play(attempt(200, dispatcher.Sent, outbox.Sent), attempt(429, dispatcher.Throttled, outbox.Pending),
		attempt(0, dispatcher.NeverLeft, outbox.Retrying), attempt(418, dispatcher.NotAPI, outbox.Pending), attempt(999, dispatcher.NotAPI, outbox.Pending))
	wantLines(t, m,
		`weir_attempts_total{status="200",verdict="sent"} 1`, `weir_attempts_total{status="429",verdict="throttled"} 1`,
		`weir_attempts_total{status="none",verdict="never_left"} 1`, `weir_attempts_total{status="4xx",verdict="not_api"} 1`,
		`weir_attempts_total{status="other",verdict="not_api"} 1`, `weir_throttled_total 1`, `weir_requests_in_flight 0`,
		`weir_request_duration_seconds_bucket{le="0.025"} 0`, `weir_request_duration_seconds_bucket{le="0.05"} 5`,
		`weir_build_info{version="test"} 1`)
}

func TestAWaitEndsWithTheRequestThatTellsOfTheMessage(t *testing.T) {
	m := New("test")
	m.play(attempt(429, dispatcher.Throttled, outbox.Pending), attempt(200, dispatcher.Sent, outbox.Sent))
	wantLines(t, m, `weir_queue_wait_seconds_bucket{lane="normal",le="1"} 0`, `weir_queue_wait_seconds_bucket{lane="normal",le="2.5"} 1`,
		`weir_queue_wait_seconds_count{lane="normal"} 1`, `weir_queue_wait_seconds_count{lane="high"} 0`)
}

func TestARequestUnderWayIsInFlight(t *testing.T) {
	m := New("test")
	if parent, _ := m.Observe(&attempt(200, dispatcher.Sent, outbox.Sent).Claim); parent != "parent" {
		t.Errorf("the request carries %q", parent)
	}
	wantLines(t, m, `weir_requests_in_flight 1`)
}

func TestFailuresAndRefusalsAreCountedInARow(t *testing.T) {
	sent := attempt(200, dispatcher.Sent, outbox.Sent)
	failed := attempt(503, dispatcher.Retry, outbox.Retrying)
	refused := attempt(422, dispatcher.Refused, outbox.Failed)
	throttled := attempt(429, dispatcher.Throttled, outbox.Pending)
	stranger := attempt(404, dispatcher.NotAPI, outbox.Pending)
	stopped := attempt(0, dispatcher.Ambiguous, outbox.Retrying)
	stopped.Answer.Stopped = true
	tests := []struct {
		name               string
		attempts           []*dispatcher.Record
		failures, refusals int
	}{
		{"failures add up", []*dispatcher.Record{sent, failed, failed, attempt(0, dispatcher.NeverLeft, outbox.Retrying)}, 3, 0},
		{"any answer of the API ends them", []*dispatcher.Record{failed, failed, throttled}, 0, 0},
		{"a proxy's does not", []*dispatcher.Record{failed, failed, stranger}, 2, 0},
		{"a stop is none", []*dispatcher.Record{failed, stopped}, 1, 0},
		{"refusals add up, whatever comes between", []*dispatcher.Record{refused, failed, throttled, refused}, 0, 2},
		{"an acceptance ends them", []*dispatcher.Record{refused, refused, sent}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := New("test")
			m.play(tt.attempts...)
			wantLines(t, m, fmt.Sprintf("weir_consecutive_failures %d", tt.failures), fmt.Sprintf("weir_consecutive_refusals %d", tt.refusals))
		})
	}
}

func TestSettledMessagesAreCountedByStateAndLane(t *testing.T) {
	m := New("test")
	m.Settled([]store.Settled{
		{Outcome: outbox.Outcome{State: "expired"}, Bucket: rcs, Lane: outbox.Bulk},
		{Outcome: outbox.Outcome{State: "sent"}, Bucket: rcs, Lane: outbox.High},
		{Outcome: outbox.Outcome{State: "sent"}, Bucket: rcs, Lane: outbox.High},
	})
	wantLines(t, m, `weir_messages_total{lane="bulk",state="expired"} 1`,
		`weir_messages_total{lane="high",state="sent"} 2`, `weir_messages_total{lane="normal",state="unknown"} 0`)
}

// BenchmarkAnAttempt is what each attempt pays for its metrics.
func BenchmarkAnAttempt(b *testing.B) {
	m := New("test")
	r := attempt(200, dispatcher.Sent, outbox.Sent)
	settled := []store.Settled{{Outcome: outbox.Outcome{State: "sent"}, Bucket: rcs, Lane: outbox.High}}
	b.ReportAllocs()
	for b.Loop() {
		m.play(r)
		m.Settled(settled)
	}
}
