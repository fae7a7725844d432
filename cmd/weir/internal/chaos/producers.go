package chaos

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"weir/outbox"
	"weir/queue"
)

// way is how a message is handed over.
type way string

const (
	bySend way = "send"
	byNATS way = "nats" // weir.send
	byRPC  way = "rpc"  // weir.rpc.send
	byShop way = "shop"
)

var ways = []way{bySend, byNATS, byRPC, byShop}

// What the keys of messages begin with that may end other than sent.
const (
	refused = "refused-" // by the API, for good
	brief   = "brief-"   // with a deadline that is near
)

// otherEnds are the states in which they may end: unknown, if an attempt before
// may have been sent.
var otherEnds = map[string][]string{
	refused: {"failed", "unknown"},
	brief:   {"sent", "expired", "unknown"},
}

// bodies are what is handed over in turn: every lane, two channels.
var bodies = []string{
	`{"agent_id":"ag_1","to":"+4915112345678","message_type":"MESSAGE","traffic_type":"TRANSACTION","content":{"text":"Hi"}}`,
	`{"agent_id":"ag_1","to":"+4915112345678","message_type":"MESSAGE","traffic_type":"AUTHENTICATION","content":{"text":"4711"}}`,
	`{"agent_id":"ag_1","to":"+4915112345678","message_type":"MESSAGE","traffic_type":"PROMOTION","content":{"text":"Sale"}}`,
	`{"channel_id":"ch_1","to":"a@example.org","subject":"Hi","message_type":"MESSAGE","content":{"text":"Hi"}}`,
}

// producers are those who hand over. As real ones do, they hand over again what
// was not confirmed.
type producers struct {
	world *world
	shop  *sql.DB
	relay *child

	mu       sync.Mutex
	made     int
	bodies   map[string]string
	ttls     map[string]string
	waiting  map[way][]string // not confirmed
	accepted map[string]way   // confirmed: from here on weir is responsible

	publisher *queue.Publisher
}

func openProducers(ctx context.Context, w *world) (*producers, error) {
	p := &producers{world: w, bodies: map[string]string{}, ttls: map[string]string{}, waiting: map[way][]string{}, accepted: map[string]way{}}
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(w.dir, "shop.db")+"?_busy_timeout=5000&_txlock=immediate&_journal_mode=WAL")
	if err != nil {
		return nil, err
	}
	p.shop = db
	return p, outbox.Init(ctx, db)
}

func (p *producers) close() error { return errors.Join(p.disconnect(), p.shop.Close()) }

// disconnect makes the next publish connect anew.
func (p *producers) disconnect() error {
	if p.publisher == nil {
		return nil
	}
	err := p.publisher.Close()
	p.publisher = nil
	return err
}

// make makes count messages to be handed over, and gives their keys.
func (p *producers) make(w way, count int) []string { return p.makeAs("", "", w, count) }

// makeOthers makes one message that the API refuses, and one whose deadline is
// near.
func (p *producers) makeOthers(w way) {
	p.makeAs(refused, "", w, 1)
	p.makeAs(brief, fmt.Sprint(1+p.made%3, "s"), w, 1)
}

// makeAs makes messages whose keys begin as said, with that ttl unless it is empty.
func (p *producers) makeAs(prefix, ttl string, w way, count int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	keys := make([]string, count)
	for i := range keys {
		p.made++
		keys[i] = fmt.Sprintf("%s%s-%d", prefix, w, p.made)
		p.bodies[keys[i]] = bodies[p.made%len(bodies)]
		if ttl != "" {
			p.ttls[keys[i]] = ttl
		}
	}
	p.waiting[w] = append(p.waiting[w], keys...)
	return keys
}

// take gives what is waiting, as envelopes.
func (p *producers) take(w way) (keys []string, envelopes [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keys = append(keys, p.waiting[w]...)
	for _, key := range keys {
		ttl := ""
		if p.ttls[key] != "" {
			ttl = fmt.Sprintf(`,"ttl":%q`, p.ttls[key])
		}
		envelopes = append(envelopes, fmt.Appendf(nil, `{"idempotency_key":%q,"body":%s%s}`, key, p.bodies[key], ttl))
	}
	return keys, envelopes
}

// confirm notes that the first n of what was taken are accepted.
func (p *producers) confirm(w way, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range p.waiting[w][:n] {
		p.accepted[key] = w
	}
	p.waiting[w] = p.waiting[w][n:]
}

// again makes everything be handed over once more, as by producers who are not
// sure of anything.
func (p *producers) again() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, by := range p.accepted {
		if by == byShop { // its outbox knows that the key has been relayed
			by = byNATS
		}
		p.waiting[by] = append(p.waiting[by], key)
	}
}

// left is how many messages are not confirmed.
func (p *producers) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, keys := range p.waiting {
		n += len(keys)
	}
	return n
}

// startSend begins to hand over by weir send; finishSend hears of its end.
func (p *producers) startSend(env ...string) (*child, int, error) {
	keys, envelopes := p.take(bySend)
	var lines strings.Builder
	for _, e := range envelopes {
		lines.Write(e)
		lines.WriteByte('\n')
	}
	c, err := p.world.start(env, lines.String(), "send", "-f", "-")
	return c, len(keys), err
}

// finishSend waits for weir send, which may have been killed but not refused.
func (p *producers) finishSend(ctx context.Context, c *child, count int) error {
	if err := c.awaitEnd(ctx, stopPatience); err != nil {
		return err
	}
	if c.killed() {
		return nil
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%w: weir send ended with %v:\n%s", ErrFound, c.cmd.ProcessState, c.said())
	}
	p.confirm(bySend, count)
	return nil
}

// publish hands over on NATS, on both ways, until all is stored or ctx ends.
func (p *producers) publish(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { persist(ctx, p.publishOnce) })
	group.Go(func() { persist(ctx, p.requestOnce) })
	group.Wait()
}

// persist tries until all is done or ctx ends.
func persist(ctx context.Context, try func(context.Context) (done bool)) {
	for ctx.Err() == nil {
		if try(ctx) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *producers) publishOnce(ctx context.Context) (done bool) {
	if p.publisher == nil {
		connected, err := queue.Connect(ctx, queue.PublisherConfig{URL: "nats://" + p.world.nats})
		if err != nil {
			return false
		}
		p.publisher = connected
	}
	keys, envelopes := p.take(byNATS)
	acked, _ := p.publisher.Publish(ctx, envelopes) // what is not acked is published again
	p.confirm(byNATS, acked)
	return acked == len(keys)
}

// requestOnce asks weir, one message after the other, to take what waits. Only
// its answer confirms: nothing else keeps the message until it has a row.
func (p *producers) requestOnce(ctx context.Context) (done bool) {
	_, envelopes := p.take(byRPC)
	if len(envelopes) == 0 {
		return true
	}
	nc, err := nats.Connect("nats://"+p.world.nats, nats.NoReconnect(), nats.Timeout(time.Second))
	if err != nil {
		return false
	}
	defer nc.Close()
	for _, envelope := range envelopes {
		patient, cancel := context.WithTimeout(ctx, 5*time.Second)
		answer, err := nc.RequestWithContext(patient, "weir.rpc.send", envelope)
		cancel()
		var said struct{ Result outbox.Result }
		if err != nil || json.Unmarshal(answer.Data, &said) != nil || said.Result != outbox.Accepted && said.Result != outbox.AlreadyThere {
			return false // all the same is asked again
		}
		p.confirm(byRPC, 1)
	}
	return true
}

// trade commits what is waiting for the shop in its database: from then on the
// relay and weir are responsible.
func (p *producers) trade(ctx context.Context) error {
	keys, _ := p.take(byShop)
	for i, key := range keys {
		tx, err := p.shop.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		err = outbox.Enqueue(ctx, tx, outbox.Envelope{Key: key, Body: []byte(p.bodies[key]), TTL: p.ttls[key]})
		if err = errors.Join(err, tx.Commit()); err != nil {
			return fmt.Errorf("message %d of the shop: %w", i, err)
		}
		p.confirm(byShop, 1)
	}
	return nil
}

// keepRelay starts the relay unless it runs.
func (p *producers) keepRelay(env ...string) (err error) {
	if p.relay != nil && p.relay.alive() {
		return nil
	}
	if err := p.relay.blame(); err != nil {
		return err
	}
	p.relay, err = p.world.start(append(env, "WEIR_NATS_URL=nats://"+p.world.nats), "", "outbox", "relay", "--db", "shop.db")
	return err
}

// awaitRelayed returns once the relay has carried everything.
func (p *producers) awaitRelayed(ctx context.Context) error {
	return until(ctx, settlePatience, "the relay has carried everything", func() (bool, error) {
		var n int
		err := p.shop.QueryRowContext(ctx, `SELECT count(*) FROM weir_outbox WHERE relayed_at IS NULL`).Scan(&n)
		return n == 0, err
	})
}

// handOver hands over all that is waiting, and returns once weir has it as rows.
func (p *producers) handOver(ctx context.Context) error {
	sender, count, err := p.startSend()
	if err != nil {
		return err
	}
	patient, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	p.publish(patient)
	err = errors.Join(p.finishSend(ctx, sender, count), p.trade(ctx), p.keepRelay())
	if err != nil {
		return err
	}
	if n := p.left(); n > 0 {
		return fmt.Errorf("%w: %d messages could not be handed over within %v", ErrFound, n, settlePatience)
	}
	if err := p.awaitRelayed(ctx); err != nil {
		return err
	}
	return until(ctx, settlePatience, "every message that was handed over has a row", func() (bool, error) {
		n, err := p.world.ask(ctx, `SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM tombstones)`)
		return n >= p.made, err
	})
}
