package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weir/store"
)

// addDatabaseFlags gives a command the settings that say where weir.db is and
// what can be in it.
func addDatabaseFlags(flags *pflag.FlagSet) {
	addSettingFlags(flags, "WEIR_DATA_DIR", configSetting)
}

// withDatabase opens an existing database beside the daemon, or without one, and
// hands it to use.
func (a *app) withDatabase(cmd *cobra.Command, use func(ctx context.Context, s *store.Store) error) error {
	cfg, err := a.existing(cmd)
	if err != nil {
		return err
	}
	return a.attach(cmd.Context(), cfg, use)
}

// existing reads the configuration of a command that needs a database. None is
// created: a mistyped directory is to be noticed.
func (a *app) existing(cmd *cobra.Command) (*Config, error) {
	cfg, err := a.config(cmd.Flags())
	if err != nil {
		return nil, err
	}
	found, err := store.Exists(cfg.DataDir)
	if errors.Is(err, store.ErrOwner) {
		return nil, err // it says what to do
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the database: %w; --data-dir names its directory, and weir runs as the owner of that", err)
	}
	if !found {
		return nil, fmt.Errorf("no weir database in %s; start weir serve or send something, or name another directory with --data-dir", cfg.DataDir)
	}
	return cfg, nil
}

// attach opens the database, a new one if there is none, for as long as use takes.
func (a *app) attach(ctx context.Context, cfg *Config, use func(ctx context.Context, s *store.Store) error) error {
	s, err := store.Attach(ctx, store.Config{Dir: cfg.DataDir, Instance: cfg.Instance, Now: a.now, Log: cfg.logger(a.stderr), MinFree: cfg.MinFree})
	if err != nil {
		return err
	}
	return errors.Join(use(ctx, s), s.Close())
}
