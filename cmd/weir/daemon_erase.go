package main

import (
	"context"
	"time"

	"weir/queue"
)

// eraseRetry is the wait after the streams could not be cleared.
const eraseRetry = 10 * time.Second

// followErasures clears the streams of what "weir messages erase" has erased:
// nobody else can write to those of the embedded NATS.
func (d *daemon) followErasures(ctx context.Context) error {
	for {
		var again <-chan time.Time
		if err := d.clearStreams(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("erased messages may still stand in the streams; trying again", "error", err, "in", eraseRetry)
			again = time.After(eraseRetry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.erasing:
		case <-again:
		}
	}
}

func (d *daemon) clearStreams(ctx context.Context) error {
	keys, err := d.store.ErasedKeys(ctx)
	if err != nil || len(keys) == 0 {
		return err
	}
	n, err := d.queue.Erase(ctx, queue.Erased{Envelopes: keys.Refuses, Events: keys.Has})
	if err != nil {
		return err
	}
	d.log.Info("erased messages have been taken out of the streams", "entries", n)
	return d.store.ForgetErasedKeys(ctx, keys)
}
