package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// natsScenarios are what can happen to NATS. What it had acknowledged and weir
// has not taken in yet goes with its store; so all is taken in before.
func natsScenarios() []scenario {
	return []scenario{
		{name: "NATS: embedded store wiped", run: damaged(os.RemoveAll)},
		{name: "NATS: embedded store truncated", run: damaged(eachFile(func(data []byte) []byte { return data[:len(data)/2] }))},
		{name: "NATS: embedded store emptied", run: damaged(eachFile(func(data []byte) []byte { return nil }))},
		{name: "NATS: embedded store with flipped bits", run: damaged(eachFile(flip))},
		{name: "NATS: embedded store full of junk", run: damaged(eachFile(func(data []byte) []byte { return []byte(strings.Repeat("junk\n", 1000)) }))},
		{name: "NATS: embedded store wiped under the running daemon", run: wipedWhileRunning},
		{name: "NATS: external server stopped and restarted", run: natsRestarted},
		{name: "NATS: external server cannot be reached for a while", run: natsUnreachable},
	}
}

// damaged kills the daemon while messages wait, spoils its NATS store, and
// starts it again.
func damaged(spoil func(dir string) error) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		w.api.SetLimit(1) // so that most of it still waits
		w.makeSome()
		if err := w.handOver(ctx); err != nil {
			return err
		}
		return w.goesOnOrSays(ctx, func() error {
			w.daemon.kill()
			if err := spoil(filepath.Join(w.dir, "data", "nats")); err != nil {
				return err
			}
			w.api.SetLimit(10 * usual)
			if err := w.serve(ctx); err != nil {
				return fmt.Errorf("%w: on a spoilt store: %w", ErrFound, err)
			}
			return nil
		})
	}
}

// wipedWhileRunning takes the NATS store from a daemon that works with it, by its
// name: removing a folder fails while somebody puts files into it.
func wipedWhileRunning(ctx context.Context, w *world) error {
	if err := os.Rename(filepath.Join(w.dir, "data", "nats"), filepath.Join(w.dir, "wiped")); err != nil {
		return err
	}
	w.makeSome()
	return errors.Join(w.handOver(ctx), w.mustLive())
}

// eachFile rewrites every file below a directory.
func eachFile(change func([]byte) []byte) func(dir string) error {
	return func(dir string) error {
		return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, change(data), 0o600)
		})
	}
}

// flip turns a bit in each of about every hundred bytes.
func flip(data []byte) []byte {
	chance := rand.New(rand.NewPCG(uint64(len(data)), 2))
	for range len(data)/100 + min(1, len(data)) {
		data[chance.IntN(len(data))] ^= 1 << chance.IntN(8)
	}
	return data
}

// natsServer is a NATS of its own, as deploy/nats.conf makes one.
func natsServer(dir, address string) (*server.Server, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	opts := &server.Options{Host: "127.0.0.1", JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true, NoLog: true}
	if _, err := fmt.Sscan(port, &opts.Port); err != nil {
		return nil, err
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(startPatience) {
		s.Shutdown()
		return nil, fmt.Errorf("the NATS server at %s is not ready", address)
	}
	return s, nil
}

// moveTo restarts the daemon on an external NATS at url, where the producers
// find it too.
func (w *world) moveTo(ctx context.Context, address string) error {
	if err := w.daemon.stop(ctx); err != nil {
		return err
	}
	w.settings = append(w.settings, "WEIR_NATS_URL=nats://"+address)
	w.relay.kill() // the next one is told the new address
	if err := w.producers.disconnect(); err != nil {
		return err
	}
	w.nats = address
	return w.serve(ctx)
}

// away hands over by weir send while NATS is away, which the status has to say.
func (w *world) away(ctx context.Context) error {
	if err := w.awaitCommand(ctx, "degraded", "NATS is out of reach"); err != nil {
		return err
	}
	if _, err := w.feed(ctx); err != nil {
		return err
	}
	return w.lasts(ctx)
}

func natsRestarted(ctx context.Context, w *world) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	store := filepath.Join(w.dir, "external")
	nats, err := natsServer(store, address)
	if err != nil {
		return err
	}
	w.atEnd(nats.Shutdown) // which does nothing the second time
	if err := w.moveTo(ctx, address); err != nil {
		return err
	}
	w.makeSome()
	if err := w.handOver(ctx); err != nil {
		return err
	}
	nats.Shutdown()
	nats.WaitForShutdown()
	failed := w.away(ctx)
	if nats, err = natsServer(store, address); err != nil {
		return err
	}
	w.atEnd(nats.Shutdown)
	return failed
}

func natsUnreachable(ctx context.Context, w *world) error {
	behind, err := freeAddress()
	if err != nil {
		return err
	}
	nats, err := natsServer(filepath.Join(w.dir, "external"), behind)
	if err != nil {
		return err
	}
	w.atEnd(nats.Shutdown)
	cable, err := lay(behind)
	if err != nil {
		return err
	}
	w.atEnd(cable.close)
	if err := w.moveTo(ctx, cable.listener.Addr().String()); err != nil {
		return err
	}
	w.makeSome()
	if err := w.handOver(ctx); err != nil {
		return err
	}
	cable.cut(true)
	err = w.away(ctx)
	cable.cut(false)
	return err
}

// cable carries connections to an address, until it is cut: then they neither
// end nor get through, as with a network that drops every packet.
type cable struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	whole *sync.Cond
	isCut bool
}

func lay(to string) (*cable, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &cable{listener: listener, to: to}
	c.whole = sync.NewCond(&c.mu)
	go c.accept()
	return c, nil
}

func (c *cable) accept() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.DialTimeout("tcp", c.to, time.Second)
		if err != nil {
			_ = conn.Close()
			continue
		}
		go c.carry(conn, far)
		go c.carry(far, conn)
	}
}

// carry copies one direction. Both ends are closed when one of them is.
func (c *cable) carry(from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		c.mu.Lock()
		for c.isCut {
			c.whole.Wait()
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (c *cable) cut(isCut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isCut = isCut
	c.whole.Broadcast()
}

func (c *cable) close() {
	_ = c.listener.Close()
	c.cut(false)
}
