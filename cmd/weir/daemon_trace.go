package main

import (
	"context"
	"log/slog"
	"net/url"

	"weir/cmd/weir/internal/tracing"
)

// openTracer returns nil if the environment asks for no traces.
func openTracer(ctx context.Context, getenv func(string) string, cfg *Config, log *slog.Logger) (*tracing.Tracer, error) {
	if wanted, err := tracing.Wanted(getenv); err != nil || !wanted {
		return nil, err
	}
	servers := make(map[string]string)
	for _, a := range cfg.Accounts {
		if u, err := url.Parse(a.URL); err == nil {
			servers[a.Name] = u.Host
		}
	}
	return tracing.Open(ctx, tracing.Config{Version: version(), Instance: cfg.Instance, Servers: servers, Log: log})
}
