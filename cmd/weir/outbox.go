package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/mattn/go-sqlite3"
	"github.com/spf13/cobra"

	"weir/outbox"
	"weir/queue"
)

func newOutboxCommand(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "outbox",
		Short: "Relay messages out of an application's own database",
	}
	command.AddCommand(newOutboxInitCommand(a), newOutboxRelayCommand(a))
	return command
}

func newOutboxInitCommand(a *app) *cobra.Command {
	var path string
	command := &cobra.Command{
		Use:   "init --db FILE",
		Short: "Create the table weir_outbox in an application's SQLite file",
		Long: "Creates the table weir_outbox, and the file if there is none. The application then\n" +
			"INSERTs idempotency_key and body in the transaction of its business change. What is\n" +
			"there already is left as it is.",
		Args: cobra.NoArgs,
	}
	addApplicationDatabase(command, &path)
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		db, err := openApplicationDatabase(path, "rwc")
		if err != nil {
			return err
		}
		if err := errors.Join(outbox.Init(cmd.Context(), db), db.Close()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		_, err = fmt.Fprintf(a.stdout, "weir_outbox is ready in %s\n", path)
		return err
	}
	return command
}

func newOutboxRelayCommand(a *app) *cobra.Command {
	var path string
	var once bool
	command := &cobra.Command{
		Use:   "relay --db FILE",
		Short: "Hand over what an application writes into its weir_outbox",
		Long: "Publishes the rows of weir_outbox in their order to the daemon's NATS and marks each\n" +
			"once it is stored there. It runs until it is stopped, waits while the daemon is\n" +
			"down, and may be killed at any moment.",
		Args: cobra.NoArgs,
	}
	addApplicationDatabase(command, &path)
	command.Flags().BoolVar(&once, "once", false, "hand over what is there now, and end")
	addSettingFlags(command.Flags(), "WEIR_NATS_URL", "WEIR_LOG_LEVEL", "WEIR_LOG_FORMAT", configSetting)
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.config(cmd.Flags())
		if err != nil {
			return err
		}
		return a.relay(cmd.Context(), cfg, path, once)
	}
	return command
}

// relay carries rows until ctx ends, or once.
func (a *app) relay(ctx context.Context, cfg *Config, path string, once bool) (err error) {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("no database to relay from: %w", err)
	}
	db, err := openApplicationDatabase(path, "rw")
	if err != nil {
		return err
	}
	publisher := &latePublisher{cfg: publisherConfig(cfg)}
	defer func() { err = errors.Join(err, publisher.close(), db.Close()) }()
	relay, err := outbox.NewRelay(db, publisher, outbox.Config{Now: a.now, Log: cfg.logger(a.stderr)})
	if err != nil {
		return err
	}
	// First once: a file without the table is an error, not something to wait for.
	relayed, err := relay.Drain(ctx)
	if refused(err) {
		return fmt.Errorf("%s: %w; does it have the table of 'weir outbox init'?", path, err)
	}
	if once {
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "relayed %d\n", relayed)
		return err
	}
	return relay.Run(ctx) // which says what is in the way, and waits
}

// refused reports whether SQLite itself rejects the file or its tables, which no
// waiting cures.
func refused(err error) bool {
	failure, ok := errors.AsType[sqlite3.Error](err)
	return ok && failure.Code != sqlite3.ErrBusy && failure.Code != sqlite3.ErrLocked && failure.Code != sqlite3.ErrFull
}

func addApplicationDatabase(command *cobra.Command, path *string) {
	command.Flags().StringVar(path, "db", "", "the application's SQLite `FILE`")
	if err := command.MarkFlagRequired("db"); err != nil {
		panic(err) // the flag was defined one line above
	}
}

// openApplicationDatabase opens a file that belongs to the application, whose
// journal mode stays as it is.
func openApplicationDatabase(path, mode string) (*sql.DB, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	return sql.Open("sqlite3", "file:"+(&url.URL{Path: absolute}).EscapedPath()+"?mode="+mode+"&_busy_timeout=5000")
}

// publisherConfig finds the daemon: by its URL, or where it listens by itself.
func publisherConfig(cfg *Config) queue.PublisherConfig {
	server := string(cfg.NATSURL)
	if server == "" && cfg.NATSListen != "" {
		server = "nats://" + cfg.NATSListen
	}
	return queue.PublisherConfig{URL: server, Token: string(cfg.NATSToken)}
}

// latePublisher connects when there is something to publish, so that a relay can
// be started before its daemon.
type latePublisher struct {
	cfg       queue.PublisherConfig
	connected *queue.Publisher
}

var _ outbox.Publisher = (*latePublisher)(nil)

// Publish implements outbox.Publisher.
func (p *latePublisher) Publish(ctx context.Context, payloads [][]byte) (int, error) {
	if p.connected == nil {
		connected, err := queue.Connect(ctx, p.cfg)
		if err != nil {
			return 0, err
		}
		p.connected = connected
	}
	return p.connected.Publish(ctx, payloads)
}

func (p *latePublisher) close() error {
	if p.connected == nil {
		return nil
	}
	return p.connected.Close()
}
