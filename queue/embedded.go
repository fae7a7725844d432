package queue

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// daemonUser owns everything; on the embedded server it exists in process only.
	daemonUser = "weir"
	// producerUser is everybody else.
	producerUser = "producer"

	// inProcess is the server's name for connections that no network reaches.
	inProcess = "IN_PROCESS"

	// startTimeout bounds how long the embedded server may take to be ready.
	startTimeout = 30 * time.Second
	// storeSlack is what JetStream may use above the bounds of its streams, so
	// that a full stream refuses by its own limit, which names it.
	storeSlack = 64 << 20
	// maxConnections bounds what producers can make the daemon hold open.
	maxConnections = 4096
	// memoryLimit bounds the streams held in memory.
	memoryLimit = 2 * workMaxBytes
)

// producerPermissions is all that a producer may do: hand over messages, ask,
// and follow outcomes. The daemon's own replies do not go to _INBOX (see
// inboxPrefix), so that listening there shows producers' traffic only.
func producerPermissions() *server.Permissions {
	const (
		stream = outcomeStream
		api    = "$JS.API."
	)
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			sendSubject,
			rpcSubjects,
			api + "STREAM.INFO." + stream,
			api + "CONSUMER.CREATE." + stream, // of older clients, as is the next
			api + "CONSUMER.DURABLE.CREATE." + stream + ".*",
			api + "CONSUMER.CREATE." + stream + ".>",
			api + "CONSUMER.INFO." + stream + ".*",
			api + "CONSUMER.MSG.NEXT." + stream + ".*",
			"$JS.ACK." + stream + ".>",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>", outcomePrefix + ">"}},
	}
}

// embedded is a NATS server in this process. It can be restarted, see heal.go:
// connections in process then reach the next one.
type embedded struct {
	password string // of its daemon user, which nobody else knows
	log      *serverLog

	mu sync.Mutex
	*server.Server
}

// InProcessConn implements nats.InProcessConnProvider.
func (e *embedded) InProcessConn() (net.Conn, error) { return e.running().InProcessConn() }

// running is the server of now.
func (e *embedded) running() *server.Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.Server
}

// startEmbedded runs a server that only this process can reach; see listen.
func startEmbedded(cfg Config) (*embedded, error) {
	e := &embedded{password: rand.Text(), log: &serverLog{log: cfg.Log, broken: make(chan string, 1)}}
	return e, e.start(cfg)
}

func (e *embedded) start(cfg Config) error {
	opts, err := embeddedOptions(cfg, e.password)
	if err != nil {
		return err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("queue: start the embedded NATS server: %w", err)
	}
	e.log.forget()
	srv.SetLogger(e.log, false, false)
	srv.Start()
	if err := e.log.fatal(); err != nil {
		stop(srv)
		return fmt.Errorf("queue: start the embedded NATS server in %s: %w", cfg.StoreDir, err)
	}
	if !srv.ReadyForConnections(startTimeout) {
		stop(srv)
		return fmt.Errorf("queue: the embedded NATS server in %s is not ready after %v", cfg.StoreDir, startTimeout)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.Server = srv
	return nil
}

// listen lets producers in. That must wait until the streams are there: what
// is published before is lost without a word.
func (e *embedded) listen(cfg Config) error {
	if cfg.Listen == "" {
		return nil
	}
	e.running().AcceptLoop(make(chan struct{})) // closed when it is done, which is before it returns
	if err := e.log.fatal(); err != nil {
		return fmt.Errorf("queue: listen on %s for producers: %w: stop what uses this port, or set WEIR_NATS_LISTEN to another address or to off", cfg.Listen, err)
	}
	return nil
}

func embeddedOptions(cfg Config, password string) (*server.Options, error) {
	opts := &server.Options{
		ServerName:         "weir-" + cfg.Instance,
		DontListen:         true, // see listen
		NoSigs:             true, // signals are the daemon's
		JetStream:          true,
		StoreDir:           cfg.StoreDir,
		SyncAlways:         true, // a PubAck means that the message is on the disk
		JetStreamMaxStore:  sendMaxBytes + outcomeMaxBytes + storeSlack,
		JetStreamMaxMemory: memoryLimit,
		MaxConn:            maxConnections,
		Users: []*server.User{
			{Username: daemonUser, Password: password, AllowedConnectionTypes: map[string]struct{}{inProcess: {}}},
			{Username: producerUser, Password: cfg.Token, Permissions: producerPermissions()},
		},
	}
	if cfg.Token == "" {
		opts.NoAuthUser = producerUser
	}
	if cfg.Listen == "" {
		return opts, nil
	}
	host, port, err := splitListen(cfg.Listen)
	if err != nil {
		return nil, err
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	opts.Host, opts.Port = host, port
	return opts, nil
}

// stop ends a server and waits until its files are closed.
func stop(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

// serverLog passes the server's log on at debug: its lines are about single
// clients, whom nothing keeps from causing many. What keeps the server from
// starting is kept as an error, where the server's own log would exit.
type serverLog struct {
	log    *slog.Logger
	broken chan string // what a stream could not store, of capacity 1

	mu    sync.Mutex
	first error
}

var _ server.Logger = (*serverLog)(nil)

func (l *serverLog) print(format string, args []any) {
	l.log.Debug("nats-server: " + fmt.Sprintf(format, args...))
}

// Noticef implements server.Logger.
func (l *serverLog) Noticef(format string, args ...any) { l.print(format, args) }

// Warnf implements server.Logger.
func (l *serverLog) Warnf(format string, args ...any) {
	l.print(format, args)
	l.notice(format, args)
}

// Errorf implements server.Logger.
func (l *serverLog) Errorf(format string, args ...any) {
	l.print(format, args)
	l.notice(format, args)
}

// Debugf implements server.Logger.
func (l *serverLog) Debugf(format string, args ...any) { l.print(format, args) }

// Tracef implements server.Logger. Traces carry payloads: they go nowhere.
func (l *serverLog) Tracef(string, ...any) {}

// Fatalf implements server.Logger by remembering the first call's error.
func (l *serverLog) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first != nil {
		return
	}
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			l.first = err
			return
		}
	}
	l.first = fmt.Errorf(format, args...)
}

// forget begins anew, for another server.
func (l *serverLog) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first = nil
}

func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}
