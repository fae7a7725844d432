package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"weir/cmd/weir/internal/sandbox"
	"weir/limiter/sim"
	"weir/store"
)

// demoGrace is how much longer than at the full rate a demo may take: even one
// that goes wrong ends within a minute.
const demoGrace = 30 * time.Second

// demoPlan is how much a demo sends, and how fast its API may be called.
type demoPlan struct {
	orders int
	limit  int
	window time.Duration
	keep   bool
}

func newDemoCommand(a *app) *cobra.Command {
	plan := demoPlan{}
	command := &cobra.Command{
		Use:   "demo",
		Short: "Watch a small shop's messages go through weir, in half a minute",
		Long: "Runs a shop, weir and a simulated API with a rate limit in one process, on free ports\n" +
			"and in a temporary directory. The shop commits each order together with the message\n" +
			"that it calls for; weir sends them all. At the end the API's own books are compared\n" +
			"with weir's: exit 0 means that every message was sent once.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := plan.validate(); err != nil {
				return err
			}
			return a.demo(cmd.Context(), plan)
		},
	}
	flags := command.Flags()
	flags.IntVar(&plan.orders, "orders", 1000, "orders of the shop, one message each")
	flags.IntVar(&plan.limit, "limit", 80, "sends that the API allows per window")
	flags.DurationVar(&plan.window, "window", 2*time.Second, "length of the limit's window")
	flags.BoolVar(&plan.keep, "keep", false, "keep the directory with the databases and the log")
	return command
}

func (p demoPlan) validate() error {
	switch {
	case p.orders < 10 || p.orders > 10_000:
		return usageErrorf("--orders must be from 10 to 10000, not %d", p.orders)
	case p.limit < 1:
		return usageErrorf("--limit must be 1 or more, not %d", p.limit)
	case p.window < 100*time.Millisecond || p.window > time.Minute:
		return usageErrorf("--window must be from 100ms to 1m, not %v", p.window)
	}
	return nil
}

// atBest is how long the limit makes all orders take.
func (p demoPlan) atBest() time.Duration {
	return time.Duration(p.orders) * p.window / time.Duration(p.limit)
}

// demo runs a demo in a directory of its own, which stays if a person wants it
// to or has to look into it.
func (a *app) demo(ctx context.Context, plan demoPlan) error {
	dir, err := os.MkdirTemp("", "weir-demo-")
	if err != nil {
		return fmt.Errorf("making a directory for the demo: %w; set TMPDIR to another place", err)
	}
	err = a.demoIn(ctx, dir, plan)
	switch {
	case err != nil && ctx.Err() == nil:
		return fmt.Errorf("%w\nthe daemon's log is %s, the databases are beside it", err, filepath.Join(dir, "weir.log"))
	case err != nil:
		err = ctx.Err() // and not what else broke because of it
	}
	if !plan.keep {
		return errors.Join(err, os.RemoveAll(dir))
	}
	_, unsaid := fmt.Fprintf(a.stdout, "\nKept in %s: shop.db, data/weir.db and weir.log.\n", dir)
	return errors.Join(err, unsaid)
}

// demo is a shop, weir and a simulated API at work.
type demo struct {
	demoPlan
	out     io.Writer
	now     func() time.Time
	dir     string
	shop    *shop
	daemon  *daemon
	api     *sandbox.Server
	apiAddr net.Addr
}

// demoIn opens the parts, runs them until the demo is over or one of them
// fails, and closes them.
func (a *app) demoIn(ctx context.Context, dir string, plan demoPlan) (err error) {
	d := &demo{demoPlan: plan, out: a.stdout, now: a.now, dir: dir}
	log, err := os.Create(filepath.Join(dir, "weir.log"))
	if err != nil {
		return fmt.Errorf("making the daemon's log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if d.shop, err = openShop(ctx, filepath.Join(dir, "shop.db"), a.now); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.shop.close()) }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for the simulated API: %w", err)
	}
	d.apiAddr = listener.Addr()
	d.api = sandbox.New(sandbox.Config{
		Limit: plan.limit, Window: plan.window, Rounding: sim.Ceil, Scope: sandbox.PerChannel,
		Latency: 20 * time.Millisecond, Jitter: 20 * time.Millisecond, Now: a.now,
	})
	if d.daemon, err = a.openDemoDaemon(ctx, dir, d.apiAddr, log); err != nil {
		return errors.Join(err, listener.Close())
	}

	group, working := errgroup.WithContext(ctx)
	working, stop := context.WithCancel(working)
	defer stop()
	group.Go(func() error { return d.api.Serve(working, listener) })
	group.Go(func() error { return d.daemon.run(working) })
	group.Go(func() error { return d.shop.relay(working, d.daemon.queue.Addr(), d.daemon.log) })
	group.Go(func() error { return d.trade(working) })
	group.Go(func() error {
		defer stop()
		return d.show(working)
	})
	return group.Wait()
}

// openDemoDaemon opens a daemon with the default settings but for its places.
// The person's own settings must not lead it to a real API.
func (a *app) openDemoDaemon(ctx context.Context, dir string, api net.Addr, log io.Writer) (*daemon, error) {
	settings := map[string]string{
		configSetting:      os.DevNull,
		"WEIR_DATA_DIR":    filepath.Join(dir, "data"),
		"WEIR_API_URL":     "http://" + api.String(),
		"WEIR_API_KEY":     sandbox.DefaultKey,
		"WEIR_NATS_LISTEN": "127.0.0.1:0",
		"WEIR_LISTEN":      "127.0.0.1:0",
	}
	inner := &app{getenv: func(name string) string { return settings[name] }, stderr: log, now: a.now}
	cfg, err := inner.serveConfig(pflag.NewFlagSet("demo", pflag.ContinueOnError))
	if err != nil {
		return nil, err
	}
	return inner.openDaemon(ctx, cfg)
}

// show tells what happens until every message has settled, and then whether
// all is as it should be.
func (d *demo) show(ctx context.Context) error {
	if err := d.introduce(); err != nil {
		return err
	}
	if err := d.follow(ctx); err != nil {
		return err
	}
	rows, err := d.daemon.store.Messages(ctx, store.Filter{Most: d.orders + 1})
	if err != nil {
		return err
	}
	b := books{receipts: d.shop.receipts(), rows: rows, keys: d.api.Keys(""), stats: d.api.Stats()}
	found := b.audit()
	if err := found.print(d.out); err != nil {
		return err
	}
	return found.err()
}

// trade commits the campaign at once and the new orders one by one, so that
// there is something urgent as long as the campaign lasts.
func (d *demo) trade(ctx context.Context) error {
	old, fresh := makeOrders(d.orders)
	if err := d.shop.place(ctx, old...); err != nil {
		return err
	}
	span := d.atBest() * 9 / 10
	tick := time.NewTicker(max(span/time.Duration(len(fresh)), time.Millisecond))
	defer tick.Stop()
	for _, o := range fresh {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := d.shop.place(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// follow prints a line each second until every message has been relayed and
// has settled.
func (d *demo) follow(ctx context.Context) error {
	start := d.now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		relayed, err := d.shop.relayed(ctx)
		if err != nil {
			return err
		}
		_, buckets, err := d.daemon.store.Status(ctx)
		if err != nil {
			return err
		}
		passed := d.now().Sub(start)
		if err := d.progress(passed, buckets); err != nil {
			return err
		}
		settled := 0
		for _, b := range buckets {
			settled += b.Sent + b.Failed + b.Expired + b.Canceled + b.Unknown
		}
		switch {
		case relayed >= d.orders && settled >= d.orders:
			return nil
		case passed > d.atBest()+demoGrace:
			return fmt.Errorf("after %v only %d of %d messages have reached weir, and %d have settled",
				passed.Round(time.Second), relayed, d.orders, settled)
		}
	}
}
