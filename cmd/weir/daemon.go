package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"weir/cmd/weir/internal/admin"
	"weir/cmd/weir/internal/metrics"
	"weir/cmd/weir/internal/tracing"
	"weir/dispatcher"
	"weir/queue"
	"weir/store"
)

var (
	_ dispatcher.Source = (*queue.Queue)(nil)
	_ queue.Ledger      = (*store.Store)(nil)
	_ store.WorkQueue   = (*queue.Queue)(nil)
)

// sweepEvery is how often the daemon makes sure that no claim is forgotten.
const sweepEvery = 30 * time.Second

// daemon is weir at work: the parts, put together.
type daemon struct {
	cfg        *Config // as it was at the start
	log        *slog.Logger
	reloads    reloads
	clock      *dispatcher.Clock
	now        func() time.Time // the clock's
	machine    machine
	sweepEvery time.Duration
	store      *store.Store
	queue      *queue.Queue
	dispatcher *dispatcher.Dispatcher
	feed       *store.Feed
	admin      *admin.Server
	metrics    *metrics.Metrics
	tracer     *tracing.Tracer      // nil: no traces
	foreign    chan struct{}        // an operator's call or another process wrote to the database
	erasing    chan struct{}        // it may have erased something
	settled    chan []store.Settled // to be announced
}

// openDaemon opens everything that can be refused: after it, the daemon runs.
// What it had opened is closed again when it fails.
func (a *app) openDaemon(ctx context.Context, cfg *Config) (_ *daemon, err error) {
	clock := dispatcher.NewClock(a.now)
	d := &daemon{
		cfg: cfg, clock: clock, now: clock.Now, sweepEvery: sweepEvery,
		foreign: make(chan struct{}, 1), erasing: make(chan struct{}, 1), settled: make(chan []store.Settled, 1024),
		metrics: metrics.New(version()),
	}
	d.log = d.reloads.begin(cfg, a.stderr)
	d.machine.began = clock.Now()
	for _, warning := range cfg.Warnings {
		d.log.Warn(warning)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	// First, since it waits for a daemon that is just dying: then its addresses are free.
	if err := d.openStore(ctx); err != nil {
		return nil, err
	}
	if err := d.openAdmin(); err != nil {
		return nil, err
	}
	if err := d.openQueue(ctx); err != nil {
		return nil, err
	}
	if d.tracer, err = openTracer(ctx, a.getenv, cfg, d.log); err != nil {
		return nil, err
	}
	if err := d.openDispatcher(); err != nil {
		return nil, err
	}
	return d, d.recover(ctx)
}

func (d *daemon) openStore(ctx context.Context) (err error) {
	d.store, err = store.Open(ctx, store.Config{
		Dir: d.cfg.DataDir, Instance: d.cfg.Instance, Now: d.now, Log: d.log, RepeatFor: d.cfg.policy().RepeatFor(), Watch: true,
		MinFree: d.cfg.MinFree, Doubted: d.doubted,
		OnSettled: func(settled []store.Settled) {
			d.metrics.Settled(settled)
			select {
			case d.settled <- settled:
			default: // events are best effort; the writer must not wait for them
			}
		},
		OnForeignWrite: d.gatesMayHaveChanged,
	})
	return err
}

func (d *daemon) openAdmin() error {
	listener, err := admin.Listen(d.cfg.Listen)
	if err != nil || listener == nil {
		d.admin = admin.New(admin.Config{})
		return err
	}
	token, err := d.cfg.adminToken()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	host, _, err := net.SplitHostPort(d.cfg.Listen)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	d.admin = admin.New(admin.Config{
		Listener: listener, Host: host, Store: d.store, Token: string(token), Channels: d.cfg.Channels(), MaxPending: d.cfg.MaxPending,
		Takes: d.takes, OnGates: d.gatesMayHaveChanged, Metrics: d.metrics.Handler(d.log), Log: d.log, Now: d.now,
	})
	return nil
}

// gatesMayHaveChanged tells followOperators to look, without waiting for it.
func (d *daemon) gatesMayHaveChanged() {
	select {
	case d.foreign <- struct{}{}:
	default:
	}
}

func (d *daemon) openQueue(ctx context.Context) (err error) {
	d.queue, err = queue.Open(ctx, queue.Config{
		URL: string(d.cfg.NATSURL), StoreDir: filepath.Join(d.cfg.DataDir, "nats"), Listen: d.cfg.NATSListen,
		Token: string(d.cfg.NATSToken), Instance: d.cfg.Instance, Channels: d.cfg.Channels(), Now: d.now, Log: d.log,
		OnWorkLost: d.store.FeedAnew, OnTrouble: func(reason string) { d.machine.nats.Store(&reason) },
	})
	return err
}

func (d *daemon) openDispatcher() (err error) {
	c := d.cfg
	observe := d.metrics.Observe
	if d.tracer != nil {
		observe = d.tracer.Observe(observe)
	}
	d.dispatcher, err = dispatcher.New(dispatcher.Config{
		Instance: c.Instance, Accounts: d.accounts(), Source: d.queue, Ledger: d.store, Board: d.store,
		Policy: d.cfg.policy(), Concurrency: c.Concurrency, ProbeInterval: c.ProbeInterval, DrainTimeout: c.DrainTimeout,
		BulkReserve: c.BulkReserve, UserAgent: "weir/" + version(), Now: d.now, Clock: d.clock, Log: d.log,
		Observe: observe,
	})
	if err != nil {
		return err
	}
	d.metrics.Watch(metrics.Config{Store: d.store, Takes: d.takes, QueueTrouble: d.queueTrouble, Log: d.log})
	d.feed = d.store.NewFeed(store.FeedConfig{Queue: d.queue, Channels: c.Channels(), Gated: d.dispatcher.Gated})
	return nil
}

func (d *daemon) accounts() []dispatcher.Account {
	accounts := make([]dispatcher.Account, len(d.cfg.Accounts))
	for i, a := range d.cfg.Accounts {
		accounts[i] = dispatcher.Account{
			Name: a.Name, BaseURL: a.URL, Channels: d.cfg.Channels()[a.Name], SharedLimit: a.LimitScope == LimitByKey,
			Key: func() (dispatcher.APIKey, error) {
				key, err := d.reloads.present.Load().Accounts[i].ReadKey()
				return dispatcher.APIKey(key), err
			},
		}
	}
	return accounts
}

// recover judges what the daemon before left behind, and takes over its gates.
func (d *daemon) recover(ctx context.Context) error {
	// First, since what is judged by time must know whether the time is right.
	if err := d.lookAtMachine(ctx); err != nil {
		return err
	}
	left, err := d.store.Recover(ctx, d.policy())
	if err != nil {
		return err
	}
	scopes := make(map[string]string)
	for _, a := range d.cfg.Accounts {
		scopes[a.Name] = dispatcher.Scope(a.URL, a.Name)
	}
	moved, err := d.store.SettleMoved(ctx, scopes)
	if err != nil {
		return err
	}
	if left+moved > 0 {
		d.log.Info("judged what the last run left behind", "claims", left, "of_another_api", moved)
	}
	gates, err := d.store.Gates(ctx)
	if err != nil {
		return err
	}
	d.dispatcher.Restore(slices.DeleteFunc(gates, dispatcher.Gate.AtHome))
	return nil
}

// stopGrace is what the end, wished or not, may take beyond the drain timeout.
const stopGrace = 5 * time.Second

// run works until ctx ends or a part fails, drains, and closes everything.
func (d *daemon) run(ctx context.Context) error {
	// The heart beats, and events leave, until the last message has settled.
	after, stopAfter := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopAfter(nil)
	var heart errgroup.Group
	heart.Go(func() error { return d.store.RunHeartbeat(after) })
	heart.Go(func() error { d.announce(after); return nil })

	group, working := errgroup.WithContext(ctx)
	defer context.AfterFunc(working, func() { time.AfterFunc(d.cfg.DrainTimeout+stopGrace, d.store.GiveUp) })()
	group.Go(func() error { return d.dispatcher.Run(working) })
	group.Go(func() error { return d.feed.Run(working) })
	group.Go(func() error { return d.queue.RunIntake(working, d.store) })
	group.Go(func() error { return d.store.RunDeadlines(working) })
	group.Go(func() error { return d.store.RunCheckpoints(working) })
	group.Go(func() error {
		return d.store.RunRetention(working, store.Retention{Bodies: d.cfg.KeepBodies, Rows: d.cfg.KeepRows})
	})
	group.Go(func() error { return d.followOperators(working) })
	group.Go(func() error { return d.sweep(working) })
	group.Go(func() error { return d.recount(working) })
	group.Go(func() error { return d.watchDisk(working) })
	group.Go(func() error { return d.watchMachine(working) })
	group.Go(func() error { return d.store.WatchFiles(working) })
	group.Go(func() error { return d.failWithStore(working) })
	group.Go(func() error { return d.admin.Run(working) })
	group.Go(func() error { return d.followErasures(working) })
	group.Go(func() error { return d.followReloads(working) })
	group.Go(func() error { return d.sayRunning(working) })

	err := group.Wait()
	if moved := d.store.Moved(); moved != nil {
		err = moved
	}
	stopAfter(err) // nil: the operator's wish
	missed := heart.Wait()
	if d.store.Err() == nil { // else err says why it cannot beat
		err = errors.Join(err, missed)
	}
	err = errors.Join(err, d.close())
	if err == nil {
		d.log.Info("stopped")
	}
	return err
}

// sayRunning says that the daemon runs once its row says so, which buckets that
// appear take over, and it hears what producers ask. Then it keeps systemd informed
// until ctx ends.
func (d *daemon) sayRunning(ctx context.Context) error {
	if err := d.store.ShowRunning(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-d.queue.Listening():
	}
	nats := cmp.Or(d.queue.Addr(), "off")
	if d.cfg.NATSURL != "" {
		nats = "external" // its URL may hold a password
	}
	d.log.Info("running", "data_dir", d.cfg.DataDir, "nats", nats, "http", d.admin.Addr(), "epoch", d.store.Epoch())
	return d.notifySystemd(ctx)
}

func (d *daemon) close() error {
	var errs []error
	if d.queue != nil {
		errs = append(errs, d.queue.Close())
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	if d.tracer != nil {
		d.tracer.Close()
	}
	if d.admin != nil {
		errs = append(errs, d.admin.Close())
	}
	return errors.Join(errs...)
}

// followOperators takes over the gates that commands and calls of the HTTP API set.
func (d *daemon) followOperators(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.foreign:
		}
		select {
		case d.erasing <- struct{}{}:
		default:
		}
		gates, err := d.store.Gates(ctx)
		if err == nil {
			err = d.acceptClock(ctx, gates)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			d.dispatcher.Reload(gates)
		}
	}
}

// recount makes sure once that the status table shows what is there.
func (d *daemon) recount(ctx context.Context) error {
	mended, err := d.store.Recount(ctx)
	if err != nil && ctx.Err() == nil {
		return err
	}
	if len(mended) > 0 {
		d.log.Warn("the status table did not show what is there: its counts are mended", "scopes", mended)
	}
	return nil
}

func (d *daemon) sweep(ctx context.Context) error {
	tick := time.NewTicker(d.sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		swept, err := d.store.Sweep(ctx, d.policy(), d.dispatcher.Working)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if swept > 0 {
			d.log.Error("claims that nobody worked on were judged as lost", "claims", swept)
		}
	}
}

// failWithStore ends the daemon when the database can no longer be written:
// the next start judges what was under way.
func (d *daemon) failWithStore(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-d.store.Failed():
		return d.store.Err()
	}
}

// every calls f now and then until ctx ends or f fails.
func every(ctx context.Context, pause time.Duration, f func() error) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		if err := f(); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
