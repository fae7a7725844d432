package main

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

// scrape gives every sample of the daemon's metrics, by name and labels as
// Prometheus writes them, and its text.
func (s *served) scrape() (samples map[string]float64, text string) {
	s.t.Helper()
	res, err := http.Get("http://" + s.http + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("/metrics answers %d, %v:\n%s", res.StatusCode, err, body)
	}
	families := expfmt.NewDecoder(strings.NewReader(string(body)), expfmt.NewFormat(expfmt.TypeTextPlain))
	decoder := expfmt.SampleDecoder{Dec: families, Opts: &expfmt.DecodeOptions{}}
	samples = make(map[string]float64)
	for {
		var vector model.Vector
		if err := decoder.Decode(&vector); err == io.EOF {
			return samples, string(body)
		} else if err != nil {
			s.t.Fatal(err)
		}
		for _, sample := range vector {
			samples[sample.Metric.String()] = float64(sample.Value)
		}
	}
}

// awaitSamples returns once the metrics have these values.
func (s *served) awaitSamples(want map[string]float64) {
	s.t.Helper()
	var samples map[string]float64
	defer func() {
		if s.t.Failed() {
			for _, name := range slices.Sorted(maps.Keys(want)) {
				s.t.Logf("%s is %v, want %v", name, samples[name], want[name])
			}
		}
	}()
	await(s.t, "the metrics say what has happened", func() bool {
		samples, _ = s.scrape()
		for name, value := range want {
			if got, there := samples[name]; !there || got != value {
				return false
			}
		}
		return true
	})
}

func TestMetricsCountWhatBecameOfMessagesAndRequests(t *testing.T) {
	r := newRig(t, sandbox.Config{Faults: []sandbox.Fault{{Kind: sandbox.Kind422, KeyPrefix: "bad"}}})
	daemon := r.serve()
	r.send(envelopes(keysOf("good", 3))...)
	r.awaitState(outbox.Sent, 3)
	r.send(envelopes(keysOf("bad", 2))...)
	r.send(`{"idempotency_key":"late","body":`+mailBody+`,"send_at":"2090-01-01T00:00:00Z"}`,
		`{"idempotency_key":"over","body":`+mailBody+`,"expires_at":"2020-01-01T00:00:00Z"}`)
	r.awaitState(outbox.Failed, 2)
	r.awaitState(outbox.Expired, 1)
	daemon.awaitSamples(map[string]float64{
		`weir_messages_total{account="default", channel="rcs", lane="normal", state="sent"}`:      3,
		`weir_messages_total{account="default", channel="rcs", lane="normal", state="failed"}`:    2,
		`weir_messages_total{account="default", channel="rcs", lane="high", state="sent"}`:        0,
		`weir_messages_total{account="default", channel="email", lane="normal", state="expired"}`: 1,
		`weir_attempts_total{account="default", channel="rcs", status="200", verdict="sent"}`:     3,
		`weir_attempts_total{account="default", channel="rcs", status="422", verdict="refused"}`:  2,
		`weir_throttled_total{account="default", channel="rcs"}`:                                  0,
		`weir_requests_in_flight{account="default", channel="rcs"}`:                               0,
		`weir_consecutive_refusals{account="default", channel="rcs"}`:                             2,
		`weir_consecutive_failures{account="default", channel="rcs"}`:                             0,
		`weir_request_duration_seconds_count{account="default", channel="rcs"}`:                   5,
		`weir_queue_wait_seconds_count{account="default", channel="rcs", lane="normal"}`:          5,
		`weir_messages_stored{account="default", channel="rcs", state="sent"}`:                    3,
		`weir_messages_stored{account="default", channel="rcs", state="failed"}`:                  2,
		`weir_messages_stored{account="default", channel="email", state="scheduled"}`:             1,
		`weir_messages_stored{account="default", channel="email", state="pending"}`:               0,
		`weir_bucket_state{account="default", channel="rcs", state="running"}`:                    1,
		`weir_bucket_state{account="default", channel="rcs", state="held"}`:                       0,
		`weir_daemon_state{state="running"}`:                                                      1,
		`weir_limit{account="default", channel="rcs"}`:                                            10_000,
		`weir_ready`:             1,
		`weir_queue_up`:          1,
		`weir_database_writable`: 1,
		`weir_rejected_stored`:   0,
	})
}
