package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"weir/internal/point"
	"weir/outbox"
)

const (
	workPrefix = "weir.work."
	// refsPerMessage is how many references one queue message carries. One by one
	// costs five times the CPU and adds no safety, since the claim decides.
	refsPerMessage = 32
	// workAckWait is longer than any park: a queue message that an open pull
	// holds meanwhile must not be delivered a second time. Lost ones return
	// sooner, when the store feeds their references again.
	workAckWait = time.Hour
)

func workStream(instance string) string { return "WEIR_WORK_" + instance }

func (q *Queue) workSubject(bucket outbox.Bucket, lane outbox.Lane) string {
	return workPrefix + q.cfg.Instance + "." + bucket.Account + "." + bucket.Channel + "." + string(lane)
}

// PublishWork feeds references to a lane, in order, and returns when NATS holds
// them all. After an error some of them may be there.
func (q *Queue) PublishWork(ctx context.Context, bucket outbox.Bucket, lane outbox.Lane, refs []outbox.Ref) error {
	payloads := make([][]byte, 0, (len(refs)+refsPerMessage-1)/refsPerMessage)
	for chunk := range slices.Chunk(refs, refsPerMessage) {
		payloads = append(payloads, appendRefs(nil, chunk))
	}
	if _, err := publishInOrder(ctx, q.js, q.workSubject(bucket, lane), payloads); err != nil {
		return fmt.Errorf("queue: feed %d references to %s, lane %s: %w", len(refs), bucket, lane, err)
	}
	point.Hit(point.WorkFed)
	return nil
}

// PurgeWork drops what was fed to a lane and not fetched. Up to 32 references
// that a pull already holds still come out of the next FetchWork.
func (q *Queue) PurgeWork(ctx context.Context, bucket outbox.Bucket, lane outbox.Lane) error {
	stream, err := q.js.Stream(ctx, workStream(q.cfg.Instance))
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(q.workSubject(bucket, lane)))
	}
	if err != nil {
		return fmt.Errorf("queue: purge %s, lane %s: %w", bucket, lane, err)
	}
	return nil
}

// FetchWork returns references of a lane, oldest first. It waits until there is
// one, also while NATS is out of reach, and returns at once with what is at hand
// then. The number most is a hint: it takes whole queue messages, up to
// ceil(most/32) of them. What it returns is gone from NATS. When ctx ends first
// it returns the error of ctx and takes nothing.
func (q *Queue) FetchWork(ctx context.Context, bucket outbox.Bucket, lane outbox.Lane, most int) ([]outbox.Ref, error) {
	subject := q.workSubject(bucket, lane)
	for {
		refs, err := q.fetchWork(ctx, subject, most)
		switch {
		case err == nil && len(refs) > 0:
			return refs, nil
		case err == nil, errors.Is(err, errCut):
			continue
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		q.forgetLane(subject)
		if !q.awaitConnection(ctx) {
			return nil, fmt.Errorf("queue: fetch from %s, lane %s: %w", bucket, lane, err)
		}
	}
}

// fetchWork returns no references if all that came was junk.
func (q *Queue) fetchWork(ctx context.Context, subject string, most int) ([]outbox.Ref, error) {
	lane, err := q.lane(ctx, subject)
	if err != nil {
		return nil, err
	}
	msgs, err := lane.next(ctx, (most+refsPerMessage-1)/refsPerMessage)
	if err != nil {
		return nil, err
	}
	refs := make([]outbox.Ref, 0, len(msgs)*refsPerMessage)
	for _, msg := range msgs {
		if refs, err = parseRefs(refs, msg.Data()); err != nil {
			q.cfg.Log.Warn("junk on the work subject dropped", "subject", subject, "error", err)
		}
		point.Hit(point.WorkFetched)
		if err := msg.Ack(); err != nil {
			q.cfg.Log.Debug("work not acked; its references may come twice", "subject", subject, "error", err)
		}
	}
	return refs, nil
}

// lane returns the puller of a work subject, made when it is first asked for.
func (q *Queue) lane(ctx context.Context, subject string) (*puller, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if lane, ok := q.lanes[subject]; ok {
		return lane, nil
	}
	consumer, err := q.freshConsumer(ctx, subject)
	if ctx.Err() == nil && !q.nc.IsReconnecting() {
		q.note(err)
	}
	if err != nil {
		return nil, err
	}
	lane := newPuller(consumer, q.cut)
	q.lanes[subject] = lane
	return lane, nil
}

// freshConsumer makes the work stream anew first if it is stale or gone: an
// external server that restarted has lost what it held in memory. It requires
// that q.mu is held.
func (q *Queue) freshConsumer(ctx context.Context, subject string) (jetstream.Consumer, error) {
	if !q.stale {
		consumer, err := q.laneConsumer(ctx, subject)
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return consumer, err
		}
		q.stale = true
	}
	if err := q.emptyWork(ctx); err != nil {
		return nil, err
	}
	q.stale = false
	q.cfg.OnWorkLost()
	return q.laneConsumer(ctx, subject)
}

func (q *Queue) laneConsumer(ctx context.Context, subject string) (jetstream.Consumer, error) {
	return q.js.CreateOrUpdateConsumer(ctx, workStream(q.cfg.Instance), jetstream.ConsumerConfig{
		Durable:       strings.ReplaceAll(subject, ".", "+"), // in no name, so no two lanes share one
		FilterSubject: subject,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       workAckWait,
		MaxAckPending: -1,
		MemoryStorage: true,
	})
}

// forgetLane makes the next fetch ask the server for the consumer again.
func (q *Queue) forgetLane(subject string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.lanes, subject)
}
