package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	sendStream  = "WEIR_SEND"
	sendSubject = "weir.send"
	// sendMaxBytes bounds what producers may hand over while no daemon takes it.
	sendMaxBytes = 1 << 30

	outcomeStream   = "WEIR_OUTCOME"
	outcomePrefix   = "weir.outcome."
	outcomeMaxBytes = 256 << 20
	outcomeMaxAge   = 24 * time.Hour

	// workMaxBytes is thousands of times what the feed keeps in work.
	workMaxBytes = 64 << 20

	// shortestDuplicateWindow is the least that the server takes. The key decides
	// what is a repeat; a window would swallow a repeat with another body, which
	// is a conflict and has to be told.
	shortestDuplicateWindow = 100 * time.Millisecond
)

func sendConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        sendStream,
		Description: "envelopes on their way into a weir",
		Subjects:    []string{sendSubject},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.WorkQueuePolicy,
		Discard:     jetstream.DiscardNew, // the default drops the oldest without a word
		MaxBytes:    sendMaxBytes,
		Duplicates:  shortestDuplicateWindow,
	}
}

func outcomeConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        outcomeStream,
		Description: "what became of messages",
		Subjects:    []string{outcomePrefix + "*"},
		Storage:     jetstream.FileStorage,
		PersistMode: jetstream.AsyncPersistMode, // events are best effort: no fsync for each
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		MaxBytes:    outcomeMaxBytes,
		MaxAge:      outcomeMaxAge,
		Duplicates:  shortestDuplicateWindow,
	}
}

func workConfig(instance string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        workStream(instance),
		Description: "references of due messages; can be lost without harm",
		Subjects:    []string{workPrefix + instance + ".>"},
		Storage:     jetstream.MemoryStorage,
		Retention:   jetstream.WorkQueuePolicy,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    workMaxBytes,
		Duplicates:  shortestDuplicateWindow,
	}
}

// ensureStreams makes all streams as this version wants them. Work starts empty:
// what an earlier run of the daemon left there is stale.
func (q *Queue) ensureStreams(ctx context.Context) error {
	for _, cfg := range []jetstream.StreamConfig{sendConfig(), outcomeConfig()} {
		if err := q.ensureStream(ctx, cfg); err != nil {
			return err
		}
	}
	return q.emptyWork(ctx)
}

// emptyWork makes the work stream anew.
func (q *Queue) emptyWork(ctx context.Context) error {
	work := workConfig(q.cfg.Instance)
	if err := q.js.DeleteStream(ctx, work.Name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("queue: empty stream %s: %w", work.Name, err)
	}
	return q.ensureStream(ctx, work)
}

// ensureStream creates or updates one stream. Where it is placed and how often
// it is replicated is the operator's decision and stays.
func (q *Queue) ensureStream(ctx context.Context, cfg jetstream.StreamConfig) error {
	there, err := q.js.Stream(ctx, cfg.Name)
	if err == nil {
		now := there.CachedInfo().Config
		cfg.Replicas, cfg.Placement = now.Replicas, now.Placement
		_, err = q.js.UpdateStream(ctx, cfg)
	} else if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = q.js.CreateStream(ctx, cfg)
	}
	if err != nil {
		return fmt.Errorf("queue: set up stream %s: %w", cfg.Name, err)
	}
	return nil
}
