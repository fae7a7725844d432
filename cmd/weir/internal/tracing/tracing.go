// Package tracing exports what becomes of messages as OpenTelemetry traces.
//
// It is set up by the environment that OpenTelemetry has agreed on, and does
// nothing, and starts nothing, without it. Each attempt has two spans: one for
// the message's wait until then, and one for the request, whose context the
// request carries to the API. Both continue the trace that the producer named in
// the envelope, and are sampled as it was. Spans hold no body, no recipient, no
// key and no text of the API; exporting is best effort.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// closeWithin bounds what the end of the daemon waits for the last spans.
const closeWithin = 2 * time.Second

// Wanted tells whether the environment asks for traces to be exported. Its error
// says that it asks for what weir cannot do.
func Wanted(getenv func(string) string) (bool, error) {
	endpoint := getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	exporter := getenv("OTEL_TRACES_EXPORTER")
	if !endpoint || exporter == "none" || getenv("OTEL_SDK_DISABLED") == "true" {
		return false, nil
	}
	if exporter != "" && exporter != "otlp" {
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER: must be otlp or none, not %q", exporter)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch protocol := getenv(name); protocol {
		case "":
		case "http/protobuf":
			return true, nil
		default:
			return false, fmt.Errorf("%s: must be http/protobuf, not %q: name the collector's port for that, mostly 4318", name, protocol)
		}
	}
	return true, nil
}

// Config says who exports and where the API of each account lives.
type Config struct {
	Version  string
	Instance string
	// Servers are the hosts of the accounts' base URLs, without user or path.
	Servers map[string]string
	// Log is told when spans cannot be exported.
	Log *slog.Logger
}

// Tracer makes spans of attempts until Close. It is safe for concurrent use.
type Tracer struct {
	cfg      Config
	provider *trace.TracerProvider
	spans    *spans
}

// Open reads all else from the process's environment, as the libraries of
// OpenTelemetry do: endpoint, headers, sampler, resource. It connects to nothing.
func Open(ctx context.Context, cfg Config) (*Tracer, error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_…: %w", err)
	}
	// What the environment names goes before what is known here.
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(
		attribute.String("service.name", "weir"), attribute.String("service.version", cfg.Version),
		attribute.String("service.instance.id", cfg.Instance)), resource.WithFromEnv())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err), exporter.Shutdown(ctx))
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		cfg.Log.Warn("traces cannot be exported; spans are lost", "error", err)
	}))
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(res))
	return &Tracer{cfg: cfg, provider: provider, spans: newSpans(provider, cfg.Servers)}, nil
}

// Close exports what is left, for a moment at most.
func (t *Tracer) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.cfg.Log.Warn("the last traces could not be exported", "error", err)
	}
}
