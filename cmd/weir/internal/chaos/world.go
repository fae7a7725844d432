package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	_ "github.com/mattn/go-sqlite3" // the audit reads weir.db by itself

	"weir/cmd/weir/internal/sandbox"
)

const (
	// startPatience and stopPatience are how long weir may take for that on a
	// machine that is busy.
	startPatience = 20 * time.Second
	stopPatience  = 20 * time.Second
	// settlePatience is how long messages may take to settle once nothing is in
	// their way any more.
	settlePatience = 60 * time.Second
)

// settings make waits short and leave no doubt about where things are.
var settings = []string{
	"WEIR_DATA_DIR=data", "WEIR_CONFIG=" + os.DevNull, "WEIR_API_KEY=" + sandbox.DefaultKey, "WEIR_LISTEN=off",
	"WEIR_CONCURRENCY=8", "WEIR_PROBE_INTERVAL=200ms", "WEIR_SETTLE_WAIT=100ms",
	"WEIR_BACKOFF_BASE=50ms", "WEIR_BACKOFF_MAX=500ms", "WEIR_DRAIN_TIMEOUT=5s",
}

// world is one data directory, its API, its processes and its producers.
type world struct {
	cfg      Config
	dir      string
	settings []string
	api      *api
	nats     string // where producers find NATS
	children []*child
	daemon   *child
	ends     []func()      // what else is closed at the end
	forgets  bool          // attempts may be missing: rows were pruned, or a backup was restored
	slowest  time.Duration // that the status has been to tell of a fault
	*producers
}

// newWorld makes a directory and serves an API.
func newWorld(ctx context.Context, cfg Config, dir string, conf sandbox.Config) (*world, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err // one that is there holds the messages of another run
	}
	w := &world{cfg: cfg, dir: dir}
	var err error
	if w.api, err = serveAPI(conf); err != nil {
		return nil, err
	}
	if w.nats, err = freeAddress(); err != nil {
		return nil, err
	}
	w.settings = append(w.settings, settings...)
	w.settings = append(w.settings, "TMPDIR="+os.TempDir(), "WEIR_API_URL="+w.api.url, "WEIR_NATS_LISTEN="+w.nats)
	w.producers, err = openProducers(ctx, w)
	return w, err
}

// freeAddress is one that nobody listens on and that stays the same over
// restarts. It lies below the ports that the system gives to connections, one of
// which could take it while the daemon is down.
func freeAddress() (string, error) {
	for {
		address := fmt.Sprint("127.0.0.1:", 10_000+rand.N(20_000))
		listener, err := net.Listen("tcp", address)
		if err == nil {
			return address, listener.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return "", err
		}
	}
}

// close ends every process and the API.
func (w *world) close() error {
	for _, c := range w.children {
		c.kill()
	}
	w.api.close()
	for _, end := range w.ends {
		end()
	}
	if w.producers == nil {
		return nil
	}
	return w.producers.close()
}

// atEnd closes something of a scenario when the world ends.
func (w *world) atEnd(end func()) { w.ends = append(w.ends, end) }

// serve starts the daemon and returns once it runs.
func (w *world) serve(ctx context.Context, env ...string) error {
	if err := w.startDaemon(env...); err != nil {
		return err
	}
	select {
	case <-w.daemon.running:
		return nil
	case <-w.daemon.ended:
		return fmt.Errorf("weir serve ended with %v:\n%s", w.daemon.cmd.ProcessState, w.daemon.said())
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(startPatience):
		return fmt.Errorf("weir serve does not run after %v:\n%s", startPatience, w.daemon.said())
	}
}

func (w *world) startDaemon(env ...string) (err error) {
	if err := w.daemon.blame(); err != nil {
		return err
	}
	w.daemon, err = w.start(env, "", "serve")
	return err
}

// database opens weir.db to be read, as any script may.
func (w *world) database() (*sql.DB, error) {
	path := (&url.URL{Path: filepath.Join(w.dir, "data", "weir.db")}).EscapedPath()
	return sql.Open("sqlite3", "file:"+path+"?mode=rw&_query_only=1&_busy_timeout=5000")
}

// ask asks the database for one number.
func (w *world) ask(ctx context.Context, query string, args ...any) (n int, err error) {
	db, err := w.database()
	if err != nil {
		return 0, err
	}
	err = db.QueryRowContext(ctx, query, args...).Scan(&n)
	return n, errors.Join(err, db.Close())
}

// awaitSettled returns once every message has reached a final state.
func (w *world) awaitSettled(ctx context.Context) error {
	return until(ctx, settlePatience, "every message settles", func() (bool, error) {
		n, err := w.ask(ctx, `SELECT count(*) FROM messages WHERE settled_at IS NULL`)
		return n == 0, err
	})
}

// until asks again and again.
func until(ctx context.Context, patience time.Duration, what string, holds func() (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; {
		yes, err := holds()
		if yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			if now.After(end) {
				return fmt.Errorf("%w: waited %v in vain until %s", ErrFound, patience, what)
			}
		}
	}
}

func (w *world) daemonAlive() bool { return w.daemon != nil && w.daemon.alive() }

// peace lets everything be handed over and settle, and stops the processes.
func (w *world) peace(ctx context.Context) error {
	w.api.SetLimit(0)
	w.api.SetFaults()
	if !w.daemonAlive() {
		if err := w.serve(ctx); err != nil {
			return err
		}
	}
	if err := w.handOver(ctx); err != nil {
		return err
	}
	if err := w.awaitSettled(ctx); err != nil {
		return err
	}
	// A daemon that has stopped says so in the place of its reasons.
	if err := w.inspect(ctx); err != nil {
		return err
	}
	return errors.Join(w.relay.stop(ctx), w.daemon.stop(ctx))
}
