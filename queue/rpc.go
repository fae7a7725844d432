package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"weir/outbox"
)

const (
	rpcSubjects    = "weir.rpc.>"
	rpcSendSubject = "weir.rpc.send"

	// rpcBatch is how many requests share a commit at most.
	rpcBatch = 256
	// rpcServers is how many batches are served at once: one is answered while
	// the next is committed.
	rpcServers = 2
	// rpcWaiting and rpcWaitingBytes bound the requests that wait to be served;
	// those beyond are answered as unavailable.
	rpcWaiting      = 4096
	rpcWaitingBytes = 64 << 20
)

// request is one request on weir.rpc.send.
type request struct {
	*nats.Msg
	received time.Time
}

// reply is the answer to a request that became a message or met one.
type reply struct {
	Result  outbox.Result   `json:"result"`
	Message json.RawMessage `json:"message,omitempty"`
}

// refusal is the answer to a request that did not. Without a result nothing is
// known to be stored, and the same request may be made again.
type refusal struct {
	Result  outbox.Result   `json:"result,omitempty"`
	Error   string          `json:"error"`
	Message string          `json:"message"`
	Details []outbox.Detail `json:"details,omitempty"`
}

var unavailable = refusal{
	Error:   "unavailable",
	Message: "weir cannot take messages now: make the same request again later",
}

// rpc is the intake by request.
type rpc struct {
	*Queue
	ledger  Ledger
	waiting chan request
	bytes   atomic.Int64  // of payloads in waiting
	turn    chan struct{} // held by the server that commits
}

// result is what became of one request.
type result struct {
	outbox.Result
	asker *nats.Msg
	key   string
}

func (q *Queue) runRPC(ctx context.Context, ledger Ledger) error {
	r := &rpc{Queue: q, ledger: ledger, waiting: make(chan request, rpcWaiting), turn: make(chan struct{}, 1)}
	sub, err := q.nc.Subscribe(rpcSendSubject, r.enqueue)
	if err != nil {
		return fmt.Errorf("queue: subscribe to %s: %w", rpcSendSubject, err)
	}
	if err := q.arrived(ctx); err != nil && ctx.Err() == nil {
		q.cfg.Log.Warn("NATS has not confirmed that it passes requests on weir.rpc.send to weir", "error", err)
	}
	if ctx.Err() == nil {
		q.listens.Do(func() { close(q.listening) })
	}
	var group errgroup.Group
	for range rpcServers {
		group.Go(func() error {
			r.serve(ctx)
			return nil
		})
	}
	<-ctx.Done()
	err = sub.Unsubscribe()
	_ = group.Wait() // serve has no error
	r.turnAway()
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("queue: end %s: %w", rpcSendSubject, err)
	}
	return nil
}

// arrived waits until the server has what was sent to it, for a bounded time: a
// subscription that is lost with its connection is made anew on the next.
func (q *Queue) arrived(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return q.nc.FlushWithContext(ctx)
}

// enqueue never waits.
func (r *rpc) enqueue(msg *nats.Msg) {
	size := int64(len(msg.Data))
	if r.bytes.Add(size) <= rpcWaitingBytes {
		select {
		case r.waiting <- request{msg, r.cfg.Now()}:
			return
		default:
		}
	}
	r.bytes.Add(-size)
	r.answer(msg, unavailable)
}

// serve answers batches until ctx ends.
func (r *rpc) serve(ctx context.Context) {
	for ctx.Err() == nil {
		r.reply(ctx, r.commit(ctx))
	}
}

// commit stores the next batch. One server at a time does it, so that of two
// requests with one key the earlier stays.
func (r *rpc) commit(ctx context.Context) []result {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil
	}
	select {
	case first := <-r.waiting:
		return r.accept(ctx, r.gather(first))
	case <-ctx.Done():
		return nil
	}
}

// gather adds to first what waits already.
func (r *rpc) gather(first request) []request {
	batch := []request{first}
	for len(batch) < rpcBatch {
		select {
		case next := <-r.waiting:
			batch = append(batch, next)
			continue
		default:
		}
		break
	}
	for _, request := range batch {
		r.bytes.Add(-int64(len(request.Data)))
	}
	return batch
}

// accept stores what it can of a batch, and answers the rest.
func (r *rpc) accept(ctx context.Context, batch []request) []result {
	var messages []outbox.Message
	var results []result // of messages
	for _, request := range batch {
		message, key, err := r.message(request.Data, request.received)
		if err != nil {
			r.answer(request.Msg, invalid(err))
			continue
		}
		messages = append(messages, message)
		results = append(results, result{asker: request.Msg, key: key})
	}
	if len(messages) == 0 {
		return nil
	}
	accepted, err := r.ledger.Accept(ctx, messages)
	if err != nil {
		r.cfg.Log.Error("storing what came on weir.rpc.send fails", "error", err)
		for _, result := range results {
			r.answer(result.asker, unavailable)
		}
		return nil
	}
	for i := range results {
		results[i].Result = accepted[i]
	}
	return results
}

func (r *rpc) reply(ctx context.Context, results []result) {
	for _, result := range results {
		stored, err := r.ledger.Stored(ctx, result.key)
		if err != nil { // the result holds all the same
			r.cfg.Log.Warn("answer on weir.rpc.send without the stored message", "error", err)
		}
		r.answer(result.asker, reply{Result: result.Result, Message: stored})
	}
}

// turnAway answers what waits when nobody serves any more.
func (r *rpc) turnAway() {
	for {
		select {
		case request := <-r.waiting:
			r.answer(request.Msg, unavailable)
		default:
			return
		}
	}
}

func invalid(err error) refusal {
	answer := refusal{Result: outbox.Invalid, Error: string(outbox.Invalid), Message: err.Error()}
	var faults *outbox.InvalidError
	if errors.As(err, &faults) {
		answer.Details = faults.Details
	}
	return answer
}

// answer replies to a request. The asker chooses the subject, but the daemon has
// rights that the asker has not: nothing goes to a subject of ours or the server's.
func (r *rpc) answer(msg *nats.Msg, content any) {
	if msg.Reply == "" || strings.HasPrefix(msg.Reply, "weir.") || strings.HasPrefix(msg.Reply, "$") || strings.HasPrefix(msg.Reply, inboxPrefix) {
		return
	}
	data, err := json.Marshal(content)
	if err == nil {
		err = msg.Respond(data)
	}
	if err != nil {
		r.cfg.Log.Debug("answer on weir.rpc.send lost", "error", err)
	}
}
