package main

import (
	"context"
	"log/slog"

	"weir/store"
)

// announce publishes the outcomes of settled messages until ctx ends, and then
// what is left.
func (d *daemon) announce(ctx context.Context) {
	for {
		select {
		case settled := <-d.settled:
			d.publish(settled)
			continue
		case <-ctx.Done():
		}
		select {
		case settled := <-d.settled:
			d.publish(settled)
		default:
			return
		}
	}
}

func (d *daemon) publish(settled []store.Settled) {
	for i := range settled {
		s := &settled[i]
		d.logSettled(s)
		d.queue.PublishOutcome(s.Outcome)
	}
}

// logSettled writes a line for a message that has settled. Its key stays out of
// the log; the number of its row leads to it.
func (d *daemon) logSettled(s *store.Settled) {
	ctx := context.Background()
	if !d.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.Int64("message", s.ID), slog.String("state", s.State), slog.String("bucket", s.Bucket.String()),
		slog.String("lane", string(s.Lane)), slog.Int("attempts", s.Attempts),
	}
	if s.HTTPStatus != nil {
		attrs = append(attrs, slog.Int("status", *s.HTTPStatus))
	}
	if s.ErrorCode != nil {
		attrs = append(attrs, slog.String("error_code", *s.ErrorCode))
	}
	if s.RequestID != nil {
		attrs = append(attrs, slog.String("request_id", *s.RequestID))
	}
	d.log.LogAttrs(ctx, slog.LevelDebug, "settled", attrs...)
}
