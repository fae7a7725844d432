// Package queue provides weir's side of NATS JetStream: the server that runs
// inside the daemon (or a connection to an external one), the streams, and what
// flows through them.
//
// It stands at both ends of the store. Producers publish envelopes on weir.send
// or ask on weir.rpc.send; the intake turns them into messages that a Ledger
// commits. The feed publishes references of due messages on weir.work, and the
// dispatcher fetches them lane by lane. Settled messages are announced on
// weir.outcome.
//
// It guarantees that a PubAck on weir.send means stored (on the embedded server:
// on the disk), that what is stored there is acked only after the Ledger has
// committed it as a message or as a rejection, that one daemon at a time takes
// the intake of a NATS, and that producers can do nothing but produce and follow
// outcomes.
//
// It does not promise that a message comes through the intake once (the key
// decides what is the same), that a work reference survives (the store feeds it
// again), or that an outcome event arrives. A publisher that does not wait for
// the PubAck loses what does not fit into weir.send.
//
// Errors about the configuration name the daemon's settings (WEIR_NATS_URL), as
// those who read them are its operators.
//
// An external server needs JetStream with sync_interval always, the default
// max_payload of 1MB, a user for the daemon that may do everything in its
// account, and one for producers with the rights that deploy/nats.conf shows.
package queue

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrOwned is returned by Open when another daemon already takes the intake
	// of the external NATS.
	ErrOwned = errors.New("queue: another daemon owns the intake of this NATS")
	// ErrIntakeLost is returned by RunIntake when its consumer is gone: another
	// daemon has taken the intake over, or somebody deleted consumer or stream.
	ErrIntakeLost = errors.New("queue: the intake was taken away")
)

const (
	// inboxPrefix keeps what is delivered to the daemon out of _INBOX, to which
	// every producer may subscribe.
	inboxPrefix = "_WEIR"
	// apiTimeout bounds every call to JetStream and every wait for a PubAck.
	apiTimeout = 5 * time.Second
	// setUpTimeout is for how long the embedded server is asked again at the start.
	setUpTimeout = time.Minute
	// writeTimeout bounds how long a publish may block on a server that has
	// stopped reading.
	writeTimeout = 2 * time.Second
	// reconnectWait is the pause between two tries to reach a lost server.
	reconnectWait = 250 * time.Millisecond
	// pingEvery ends a connection that has gone silent after two or three pings, so
	// that weir looks for another way. The library would take six minutes.
	pingEvery = 2 * time.Second
	// noBuffer makes a publish fail at once while there is no connection:
	// buffered ones would come out of order and after their caller gave up.
	noBuffer = -1
)

// Queue is a daemon's connection to its NATS. It is safe for concurrent use.
type Queue struct {
	cfg    Config
	id     string    // of this Open, unique among all daemons
	server *embedded // nil if external
	nc     *nats.Conn
	js     jetstream.JetStream
	intake jetstream.Consumer // of weir.send, ours alone

	trouble atomic.Pointer[string] // why work cannot be fetched although there is a connection; nil: it can

	silent atomic.Bool // an external server leaves weir without an answer

	closed chan struct{} // closed when the connection has ended for good

	listens   sync.Once
	listening chan struct{} // closed once requests on weir.rpc.send are heard

	mu    sync.Mutex
	lanes map[string]*puller // by work subject
	cut   chan struct{}      // closed when there is another connection, and replaced
	stale bool               // the work stream has to be made anew
}

// Open starts the embedded server or connects to the external one, makes sure
// that the streams exist, with an empty one for work, and takes the intake. It
// returns ErrOwned if another daemon has it. The caller must Close the queue.
func Open(ctx context.Context, cfg Config) (*Queue, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	q := newQueue(cfg)
	if err := q.open(ctx); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

func newQueue(cfg Config) *Queue {
	return &Queue{
		cfg: cfg, id: rand.Text(),
		lanes: make(map[string]*puller), cut: make(chan struct{}), closed: make(chan struct{}), listening: make(chan struct{}),
	}
}

func (q *Queue) open(ctx context.Context) error {
	if err := q.connect(); err != nil {
		return err
	}
	if err := checkMaxPayload(q.nc); err != nil {
		return err
	}
	var err error
	if q.js, err = newJetStream(q.nc); err != nil {
		return err
	}
	if q.server == nil {
		if err := q.claimOwnership(ctx); err != nil {
			return err
		}
	}
	if err := q.setUp(ctx); err != nil || q.server == nil {
		return err
	}
	return q.server.listen(q.cfg)
}

// setUp makes the streams and takes the intake. An embedded server that gives no
// answer has a slow disk, and there is no other to ask: it is asked again for a while.
func (q *Queue) setUp(ctx context.Context) error {
	slow := newTrouble(q.cfg.Log, "setting up the embedded NATS server")
	for began := time.Now(); ; {
		err := q.ensureStreams(ctx)
		if err == nil {
			err = q.takeIntake(ctx)
		}
		switch {
		case err == nil:
			slow.over()
			return nil
		case q.server == nil, !errors.Is(err, context.DeadlineExceeded):
			return err
		}
		err = fmt.Errorf("the embedded NATS server in %s gives no answer; see that its disk does: %w", q.cfg.StoreDir, err)
		if time.Since(began) >= setUpTimeout {
			return err
		}
		if err := slow.wait(ctx, err); err != nil {
			return err
		}
	}
}

// checkMaxPayload refuses a server that would not take every envelope.
func checkMaxPayload(nc *nats.Conn) error {
	if nc.MaxPayload() < cutPayload {
		return fmt.Errorf("queue: %s takes payloads of %d bytes only: set its max_payload to 1MB", nc.ConnectedUrlRedacted(), nc.MaxPayload())
	}
	return nil
}

// connect sets server and nc.
func (q *Queue) connect() error {
	if q.cfg.URL != "" {
		nc, err := nats.Connect(q.cfg.URL, q.options(q.cfg.Token)...)
		if err != nil {
			return fmt.Errorf("queue: connect to %s: %w; start it, or mend WEIR_NATS_URL and WEIR_NATS_TOKEN", redacted(q.cfg.URL), err)
		}
		q.nc = nc
		return nil
	}
	srv, err := startEmbedded(q.cfg)
	if err != nil {
		return err
	}
	q.server = srv
	q.nc, err = nats.Connect("", append(q.options(srv.password), nats.InProcessServer(srv), nats.Timeout(apiTimeout))...)
	if err != nil {
		return fmt.Errorf("queue: connect to the embedded NATS server: %w", err)
	}
	return nil
}

func (q *Queue) options(password string) []nats.Option {
	log := q.cfg.Log
	opts := append(connectionOptions(),
		nats.Name("weir "+q.cfg.Instance),
		nats.CustomInboxPrefix(inboxPrefix),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Error("NATS is out of reach: nothing comes in over it, and only what is at hand is sent, until it is back", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			log.Info("NATS is back")
			q.reconnected()
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(q.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("NATS reports an error", "error", err)
		}),
	)
	if q.cfg.URL != "" {
		opts = append(opts, nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(1))
	}
	if password != "" {
		opts = append(opts, nats.UserInfo(daemonUser, password))
	}
	return opts
}

// connectionOptions are those of every connection, the daemon's and a producer's.
func connectionOptions() []nats.Option {
	return []nats.Option{
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // a server that comes back with other rights is mended by its operator
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectBufSize(noBuffer),
		nats.FlusherTimeout(writeTimeout),
	}
}

// reconnected lets go of what belongs to the connection before. A pull that was
// open there may never be answered, and what was on its way has been delivered
// to nobody: work begins anew.
func (q *Queue) reconnected() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.cut)
	q.cut = make(chan struct{})
	clear(q.lanes)
	q.stale = true
}

// awaitClose returns why the connection has ended for good, which the client
// library does to it on a complaint of the server that it does not know, and nil
// once ctx ends.
func (q *Queue) awaitClose(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-q.closed:
		return fmt.Errorf("queue: the connection to NATS cannot be used any more, see the log of the NATS server; start weir again: %w",
			cmp.Or(q.nc.LastError(), nats.ErrConnectionClosed))
	}
}

// awaitConnection waits, if there is no connection now, until there is one or
// ctx ends. It reports whether it had to.
func (q *Queue) awaitConnection(ctx context.Context) (waited bool) {
	cut := q.untilCut()
	if !q.nc.IsReconnecting() {
		return false
	}
	select {
	case <-cut:
	case <-ctx.Done():
	}
	return true
}

// untilCut is closed once there is another connection than now.
func (q *Queue) untilCut() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cut
}

// Trouble is why nothing can be fetched now, for people; empty if nothing is in
// the way.
func (q *Queue) Trouble() string {
	if q.nc.IsClosed() {
		return "the connection to NATS cannot be used any more: weir ends"
	}
	if !q.nc.IsConnected() || q.silent.Load() {
		return "NATS is out of reach; weir tries to reach it again all the time"
	}
	if reason := q.trouble.Load(); reason != nil {
		return *reason
	}
	return ""
}

// note keeps for Trouble what came of asking for work, and logs each change.
func (q *Queue) note(err error) {
	if err == nil {
		if q.trouble.Swap(nil) != nil {
			q.cfg.Log.Info("NATS gives work again")
		}
		return
	}
	reason := "NATS gives no work: " + err.Error()
	if before := q.trouble.Swap(&reason); before == nil || *before != reason {
		q.cfg.Log.Error("NATS gives no work; trying again", "error", err)
	}
}

func newJetStream(nc *nats.Conn) (jetstream.JetStream, error) {
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(apiTimeout), jetstream.WithPublishAsyncTimeout(apiTimeout))
	if err != nil {
		return nil, fmt.Errorf("queue: set up JetStream: %w", err)
	}
	return js, nil
}

// Addr is the host:port on which the embedded server takes producers, empty if
// it does not listen.
func (q *Queue) Addr() string {
	if q.server == nil {
		return ""
	}
	addr := q.server.running().Addr()
	if addr == nil {
		return ""
	}
	return addr.String()
}

// Close sends what is still buffered, ends the connection and stops the embedded
// server; when it returns, the server's files are closed. RunIntake and all
// fetches must have ended.
func (q *Queue) Close() error {
	var err error
	if q.nc != nil {
		if q.nc.IsConnected() {
			err = q.nc.FlushTimeout(writeTimeout)
		}
		q.nc.Close()
	}
	if q.server != nil {
		stop(q.server.running())
	}
	if err != nil {
		return fmt.Errorf("queue: close: last acks and events may be lost: %w", err)
	}
	return nil
}
