package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"weir/internal/point"
	"weir/outbox"
)

const (
	// intakeBatch is how many envelopes share a commit at most. Of the largest
	// payloads so many must stay below what the server buffers for one client
	// (64 MiB), or it would cut the connection, deliver again and cut again.
	intakeBatch = 60
	// intakeAckWait is how long a delivery that was lost on the way is missing.
	intakeAckWait = 30 * time.Second

	// retryFirst and retryMost bound the pause before the next try after a failure.
	retryFirst = 50 * time.Millisecond
	retryMost  = 5 * time.Second
)

// rejectedState is the state of an outcome event for what became no message.
const rejectedState = "rejected"

// Ledger is what the intake needs of the store.
type Ledger interface {
	// Accept stores messages and gives one result for each, in their order:
	// Accepted, AlreadyThere or Conflict. All is committed when it returns, and
	// accepting the same messages again is harmless.
	Accept(ctx context.Context, messages []outbox.Message) ([]outbox.Result, error)
	// Reject keeps what could not become a message for people to look at. It is
	// committed when it returns.
	Reject(ctx context.Context, rejections []outbox.Rejection) error
	// Stored gives the columns of the message with that key, without its body.
	Stored(ctx context.Context, key string) (json.RawMessage, error)
}

// RunIntake turns what producers hand over on weir.send and weir.rpc.send into
// messages of ledger. It returns nil when ctx ends, ErrIntakeLost when another
// daemon took over, and another error when the connection to NATS has ended for
// good. While ledger fails nothing from weir.send is acked and the same is tried
// again, ever more slowly; requests are answered as unavailable. It must run once
// at a time.
func (q *Queue) RunIntake(ctx context.Context, ledger Ledger) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return q.runSend(ctx, ledger) })
	group.Go(func() error { return q.runRPC(ctx, ledger) })
	group.Go(func() error { return q.awaitClose(ctx) })
	watch := q.watchSilence
	if q.server != nil {
		watch = q.heal
	}
	group.Go(func() error { watch(ctx); return nil })
	return group.Wait()
}

// Listening is closed once RunIntake hears who asks on weir.rpc.send, or the server
// has not confirmed it for 2 s. What comes on weir.send waits in its stream.
func (q *Queue) Listening() <-chan struct{} { return q.listening }

// takeIntake makes a consumer of our own the only one of weir.send. A work queue
// has but one, so a daemon that still believes to own the intake finds its own
// gone. And what an earlier run fetched and did not ack is there again at once,
// not after its AckWait.
func (q *Queue) takeIntake(ctx context.Context) error {
	stream, err := q.js.Stream(ctx, sendStream)
	if err != nil {
		return fmt.Errorf("queue: take the intake: look up stream %s: %w", sendStream, err)
	}
	own := "intake-" + q.id
	names := stream.ConsumerNames(ctx)
	for name := range names.Name() {
		if name == own {
			continue // of a try whose answer came too late
		}
		if err := stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("queue: take the intake from consumer %s: %w", name, err)
		}
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("queue: take the intake: list the consumers of stream %s: %w", sendStream, err)
	}
	intake, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable:       own,
		Description:   "the intake of weir instance " + q.cfg.Instance,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       intakeAckWait,
		MaxAckPending: -1,
	})
	if err != nil {
		return fmt.Errorf("queue: take the intake: create a consumer: %w", err)
	}
	q.intake = intake // not before: the former one tells that it is gone, so that this is tried again
	return nil
}

func (q *Queue) runSend(ctx context.Context, ledger Ledger) error {
	failing := newTrouble(q.cfg.Log, "intake from weir.send")
	var source *puller
	for {
		if source == nil {
			source = newPuller(q.intake, q.untilCut())
		}
		msgs, err := source.next(ctx, intakeBatch)
		if err == nil {
			failing.over()
			if err := q.take(ctx, ledger, msgs); err != nil {
				return nil // only when ctx has ended
			}
			continue
		}
		source = nil
		if errors.Is(err, errCut) || q.awaitConnection(ctx) {
			continue // what is said of the connection is said elsewhere
		}
		if err := q.intakeError(ctx, err); err != nil || ctx.Err() != nil {
			return err
		}
		if q.awaitConnection(ctx) {
			continue
		}
		if failing.wait(ctx, err) != nil {
			return nil
		}
	}
}

// intakeError returns ErrIntakeLost if cause came from the consumer being gone,
// and nil if ctx has ended, the server may just be out of reach, or it is the
// embedded one, whose streams are then made anew.
func (q *Queue) intakeError(ctx context.Context, cause error) error {
	_, err := q.intake.Info(ctx)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		if q.server != nil {
			q.refound(ctx)
			return nil
		}
		return fmt.Errorf("%w: by another daemon on this NATS, or by somebody who deleted consumer or stream: see that only one daemon uses it, then start again: %w", ErrIntakeLost, cause)
	}
	return nil
}

// refound makes the streams of the embedded server and the intake anew. Nobody
// else has the right to remove them there: its store was lost when it was
// restarted. What fails here will be met again.
func (q *Queue) refound(ctx context.Context) {
	q.cfg.Log.Error("the store of the embedded NATS was lost, and with it what had not been taken in from weir.send yet; it is made anew",
		"dir", q.cfg.StoreDir)
	err := q.ensureStream(ctx, sendConfig())
	if err == nil {
		err = q.ensureStream(ctx, outcomeConfig())
	}
	if err == nil {
		err = q.takeIntake(ctx)
	}
	if err != nil && ctx.Err() == nil {
		q.cfg.Log.Error("the streams of the embedded NATS cannot be made anew; trying again", "error", err)
	}
}

// take settles one fetched batch with ledger and acks it. It tries until that
// has worked; its error is that of ctx.
func (q *Queue) take(ctx context.Context, ledger Ledger, msgs []jetstream.Msg) error {
	batch := q.judge(msgs)
	failing := newTrouble(q.cfg.Log, "storing what came on weir.send")
	for {
		rejected, err := batch.settle(ctx, ledger)
		if err == nil {
			failing.over()
			point.Hit(point.IntakeCommitted)
			q.ack(ctx, msgs)
			point.Hit(point.IntakeAcked)
			q.announce(rejected)
			return nil
		}
		if err := failing.wait(ctx, err); err != nil {
			return err
		}
	}
}

// ack removes msgs from the stream. An ack that is lost brings its message back,
// and the key tells that it is there already.
func (q *Queue) ack(ctx context.Context, msgs []jetstream.Msg) {
	for i, msg := range msgs {
		ack := msg.Ack
		if point.Built && i == len(msgs)-1 {
			// Who dies after the acks is to die when the server has them all.
			ack = func() error { return msg.DoubleAck(ctx) }
		}
		if err := ack(); err != nil {
			q.cfg.Log.Debug("intake not acked; it comes again", "error", err)
			return
		}
	}
}

// batch is a fetched batch, judged.
type batch struct {
	messages []outbox.Message
	payloads [][]byte // of messages, as they came
	junk     []rejected
}

// rejected is a payload that became no message.
type rejected struct {
	outbox.Rejection
	key    string // empty if it could not be read
	result outbox.Result
}

func (q *Queue) judge(msgs []jetstream.Msg) batch {
	var b batch
	for _, msg := range msgs {
		message, key, err := q.message(msg.Data(), q.handedOver(msg))
		if err != nil {
			b.junk = append(b.junk, rejected{
				Rejection: outbox.Rejection{Payload: msg.Data(), Reason: err.Error()},
				key:       key,
				result:    outbox.Invalid,
			})
			continue
		}
		b.messages = append(b.messages, message)
		b.payloads = append(b.payloads, msg.Data())
	}
	return b
}

// message makes a message of a payload. The key is given also beside an error,
// as far as it could be read.
func (q *Queue) message(payload []byte, handedOver time.Time) (message outbox.Message, key string, err error) {
	envelope, err := outbox.ParseEnvelope(payload)
	if err == nil {
		message, err = envelope.Message(handedOver, q.cfg.Channels)
	}
	return message, envelope.Key, err
}

// handedOver is when the stream took msg in.
func (q *Queue) handedOver(msg jetstream.Msg) time.Time {
	meta, err := msg.Metadata()
	if err != nil { // not from a stream, which our consumer never delivers
		return q.cfg.Now()
	}
	return meta.Timestamp
}

// settle commits the batch and returns what was rejected of it. After an error
// it may be called again.
func (b batch) settle(ctx context.Context, ledger Ledger) ([]rejected, error) {
	refused := b.junk
	if len(b.messages) > 0 {
		results, err := ledger.Accept(ctx, b.messages)
		if err != nil {
			return nil, err
		}
		for i, result := range results {
			if result != outbox.Conflict {
				continue
			}
			key := b.messages[i].Key
			refused = append(refused, rejected{
				Rejection: outbox.Rejection{Payload: b.payloads[i], Reason: fmt.Sprintf("conflict: key %s holds another message", key)},
				key:       key,
				result:    outbox.Conflict,
			})
		}
	}
	if len(refused) == 0 {
		return nil, nil
	}
	rejections := make([]outbox.Rejection, len(refused))
	for i, r := range refused {
		rejections[i] = r.Rejection
	}
	return refused, ledger.Reject(ctx, rejections)
}

// announce tells producers what was rejected. A rejected payload that is such
// an event itself is not announced: a producer's consumer that delivers events
// to weir.send would make weir answer itself for ever.
func (q *Queue) announce(all []rejected) {
	if len(all) == 0 {
		return
	}
	q.cfg.Log.Warn("payloads on weir.send rejected; see weir rejected list", "count", len(all))
	for _, r := range all {
		if isRejectedEvent(r.Payload) {
			continue
		}
		code := string(r.result)
		event := outbox.Outcome{State: rejectedState, ErrorCode: &code, At: q.cfg.Now()}
		if r.key != "" && len(r.key) <= outbox.MaxKey {
			event.Key = &r.key
		}
		q.PublishOutcome(event)
	}
}

func isRejectedEvent(payload []byte) bool {
	var event outbox.Outcome
	return json.Unmarshal(payload, &event) == nil && event.State == rejectedState
}
