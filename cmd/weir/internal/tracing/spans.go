package tracing

import (
	"context"
	"net"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"weir/dispatcher"
)

const traceparent = "traceparent" // the header of W3C Trace Context

// spans makes those of each attempt.
type spans struct {
	tracer  trace.Tracer
	servers map[string][]attribute.KeyValue // by account
}

func newSpans(p trace.TracerProvider, servers map[string]string) *spans {
	s := &spans{tracer: p.Tracer("weir"), servers: make(map[string][]attribute.KeyValue)}
	for account, server := range servers {
		host, port, err := net.SplitHostPort(server)
		if err != nil {
			s.servers[account] = []attribute.KeyValue{attribute.String("server.address", server)}
			continue
		}
		number, _ := strconv.Atoi(port) // the base URL has been parsed before
		s.servers[account] = []attribute.KeyValue{attribute.String("server.address", host), attribute.Int("server.port", number)}
	}
	return s
}

// Observe makes the spans of an attempt, and lets next, which is told all the
// same, see it too.
func (t *Tracer) Observe(next dispatcher.Observe) dispatcher.Observe {
	return func(c *dispatcher.Claim) (string, func(*dispatcher.Record)) {
		_, judged := next(c)
		parent, request := t.spans.begin(c)
		return parent, func(r *dispatcher.Record) {
			judged(r)
			end(request, r)
		}
	}
}

// begin starts the span of the request, after that of the wait before it. Without
// a trace of the producer's the wait begins one, so that both are in it. It
// returns what the request carries.
func (s *spans) begin(c *dispatcher.Claim) (parent string, request trace.Span) {
	ctx := context.Background()
	if c.Traceparent != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceparent: c.Traceparent})
	}
	about := []attribute.KeyValue{
		attribute.Int64("weir.message", c.ID), attribute.String("weir.account", c.Bucket.Account),
		attribute.String("weir.channel", c.Bucket.Channel), attribute.String("weir.lane", string(c.Lane)),
	}
	begun := c.DueAt
	if c.Attempts == 0 && c.Throttles == 0 && c.AmbiguousAt.IsZero() {
		begun = c.CreatedAt
	}
	waiting, wait := s.tracer.Start(ctx, "wait", trace.WithTimestamp(begun), trace.WithAttributes(about...))
	if c.DueAt.After(begun) {
		wait.AddEvent("due", trace.WithTimestamp(c.DueAt))
	}
	wait.AddEvent("claimed", trace.WithTimestamp(c.ClaimedAt))
	wait.End()
	if !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = waiting
	}
	about = append(about, attribute.String("http.request.method", http.MethodPost))
	if c.Attempts > 0 {
		about = append(about, attribute.Int("http.request.resend_count", c.Attempts))
	}
	ctx, request = s.tracer.Start(ctx, http.MethodPost, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(append(about, s.servers[c.Bucket.Account]...)...))
	carrier := make(propagation.MapCarrier, 1)
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceparent], request
}

// end tells what became of the request.
func end(request trace.Span, r *dispatcher.Record) {
	a, j := &r.Answer, &r.Judgement
	if request.IsRecording() {
		request.SetAttributes(attribute.String("weir.verdict", string(j.Verdict)), attribute.String("weir.state", string(j.State)))
		if a.Status != 0 {
			request.SetAttributes(attribute.Int("http.response.status_code", a.Status))
		}
		if a.RequestID != "" {
			request.SetAttributes(attribute.String("weir.request_id", a.RequestID))
		}
		if j.Verdict != dispatcher.Sent {
			request.SetAttributes(attribute.String("error.type", j.ErrorCode))
			request.SetStatus(codes.Error, string(j.Verdict))
		}
	}
	request.End()
}
