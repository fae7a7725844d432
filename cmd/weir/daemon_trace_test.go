package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

const (
	producersTrace = "0af7651916cd43dd8448eb211c80319c"
	producersSpan  = "b7ad6b7169203331"
	sampled        = "00-" + producersTrace + "-" + producersSpan + "-01"
	notSampled     = "00-" + producersTrace + "-" + producersSpan + "-00"
)

// collected is a receiver of traces, and what the API was told of them.
type collected struct {
	*rig
	mu      sync.Mutex
	spans   []*otlp.Span
	raw     []byte
	parents []string // the traceparent of each request at the API
}

// collect serves both until the test ends. The daemon is told of the receiver
// only where it is to export.
func collect(t *testing.T, export bool, cfg sandbox.Config) *collected {
	t.Helper()
	c := &collected{rig: newRig(t, cfg)}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s is no export of traces: %v", r.Method, r.URL, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw = append(c.raw, body...)
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(receiver.Close)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.parents = append(c.parents, r.Header.Get("Traceparent"))
		c.mu.Unlock()
		c.api.ServeHTTP(w, r)
	}))
	t.Cleanup(api.Close)
	c.env["WEIR_API_URL"] = api.URL
	if export {
		c.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.URL
	}
	return c
}

// trace sends one message under the traceparent and gives the spans that came
// of it once the daemon has ended.
func (c *collected) trace(parent string) []*otlp.Span {
	c.t.Helper()
	daemon := c.serve()
	envelope := fmt.Sprintf(`{"idempotency_key":"secret-key","body":%s}`, rcsBody)
	if parent != "" {
		envelope = fmt.Sprintf(`{"idempotency_key":"secret-key","body":%s,"traceparent":%q}`, rcsBody, parent)
	}
	c.send(envelope)
	c.awaitState(outbox.Sent, 1)
	daemon.stop()
	return c.spans
}

// carried is the traceparent that the request of this span must have carried.
func carried(s *otlp.Span) string {
	return fmt.Sprintf("00-%s-%s-01", hex.EncodeToString(s.TraceId), hex.EncodeToString(s.SpanId))
}

func TestEachAttemptIsTracedUnderItsProducersSpan(t *testing.T) {
	c := collect(t, true, sandbox.Config{Faults: []sandbox.Fault{{Kind: sandbox.Kind503, First: 1}}})
	spans := c.trace(sampled)
	if len(spans) != 4 || len(c.parents) != 2 {
		t.Fatalf("%d spans of %d requests, want two of each: %v", len(spans), len(c.parents), spans)
	}
	var requests []*otlp.Span
	for _, s := range spans {
		if hex.EncodeToString(s.TraceId) != producersTrace || hex.EncodeToString(s.ParentSpanId) != producersSpan {
			t.Errorf("span %s is of trace %x under %x, not the producer's", s.Name, s.TraceId, s.ParentSpanId)
		}
		if s.EndTimeUnixNano < s.StartTimeUnixNano {
			t.Errorf("span %s ends before it begins", s.Name)
		}
		if s.Kind == otlp.Span_SPAN_KIND_CLIENT {
			requests = append(requests, s)
		}
	}
	want := []map[string]string{
		{"http.response.status_code": "503", "weir.verdict": "retry", "http.request.method": "POST", "weir.channel": "rcs", "server.address": "127.0.0.1"},
		{"http.response.status_code": "200", "weir.verdict": "sent", "http.request.resend_count": "1", "weir.state": "sent", "weir.lane": "normal"},
	}
	for i, s := range requests {
		if c.parents[i] != carried(s) {
			t.Errorf("request %d carries %s, its span is %s", i+1, c.parents[i], carried(s))
		}
		has := make(map[string]string)
		for _, a := range s.Attributes {
			if n := a.Value.GetIntValue(); n != 0 {
				has[a.Key] = fmt.Sprint(n)
			} else {
				has[a.Key] = a.Value.GetStringValue()
			}
		}
		for name, value := range want[i] {
			if has[name] != value {
				t.Errorf("of request %d, %s is %q, want %q", i+1, name, has[name], value)
			}
		}
	}
	for _, secret := range []string{"secret-key", "+4915112345678", sandbox.DefaultKey, `"Hi"`} {
		if strings.Contains(string(c.raw), secret) {
			t.Errorf("a trace holds %s", secret)
		}
	}
}

func TestAMessageWithoutATraceBeginsOneWithItsWait(t *testing.T) {
	c := collect(t, true, sandbox.Config{})
	spans := c.trace("")
	if len(spans) != 2 || len(c.parents) != 1 {
		t.Fatalf("%d spans of %d requests: %v", len(spans), len(c.parents), spans)
	}
	wait, request := spans[0], spans[1]
	if wait.Name != "wait" || len(wait.ParentSpanId) != 0 || string(request.ParentSpanId) != string(wait.SpanId) || c.parents[0] != carried(request) {
		t.Errorf("the spans are %v and %v; the request carries %s", wait, request, c.parents[0])
	}
}

func TestATraceThatItsProducerDoesNotSampleIsPassedOnButNotExported(t *testing.T) {
	c := collect(t, true, sandbox.Config{})
	if spans := c.trace(notSampled); len(spans) != 0 {
		t.Errorf("%d spans are exported", len(spans))
	}
	if parent := c.parents[0]; !strings.HasPrefix(parent, "00-"+producersTrace+"-") || !strings.HasSuffix(parent, "-00") {
		t.Errorf("the request carries %s", parent)
	}
}

func TestWithoutAReceiverTheProducersTraceIsPassedOnAsItIs(t *testing.T) {
	c := collect(t, false, sandbox.Config{})
	if spans := c.trace(sampled); len(spans) != 0 || c.parents[0] != sampled {
		t.Errorf("%d spans are exported; the request carries %s", len(spans), c.parents[0])
	}
}

func TestAReceiverThatIsDownStopsNothing(t *testing.T) {
	c := collect(t, true, sandbox.Config{})
	c.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"
	c.trace(sampled)
}

func TestAProtocolThatTracesCannotTakeRefusesTheStart(t *testing.T) {
	c := collect(t, true, sandbox.Config{})
	c.env["OTEL_EXPORTER_OTLP_PROTOCOL"] = "grpc"
	if text := c.refuse(exitFailed, "serve"); !strings.Contains(text, "OTEL_EXPORTER_OTLP_PROTOCOL: must be http/protobuf") {
		t.Errorf("the refusal is: %s", text)
	}
}
