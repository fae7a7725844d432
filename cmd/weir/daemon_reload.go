package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"

	"weir/dispatcher"
)

// liveSettings are those that a running daemon takes over, as it does the key of
// an account. All others count after a restart only.
var liveSettings = []string{"WEIR_CONCURRENCY", "WEIR_BULK_RESERVE", "WEIR_MAX_PENDING", "WEIR_LOG_LEVEL"}

// accountSettings are those of the default account, see Config.Accounts.
var accountSettings = []string{"WEIR_API_URL", "WEIR_API_KEY", "WEIR_API_KEY_FILE"}

// reloads is what a daemon needs to take over another configuration.
type reloads struct {
	asked   <-chan os.Signal        // nil: never
	read    func() (*Config, error) // its error names every fault
	present atomic.Pointer[Config]  // in force, never changed in place
	level   slog.LevelVar
}

// begin returns the daemon's log, whose level follows the configuration.
func (r *reloads) begin(cfg *Config, w io.Writer) *slog.Logger {
	r.present.Store(cfg)
	r.level.Set(cfg.LogLevel)
	return cfg.loggerFrom(w, &r.level)
}

// followReloads takes over another configuration whenever it is asked to. One
// with a fault is refused as a whole. The lines are numbered, since the log does
// not repeat within half a minute what it has said before.
func (d *daemon) followReloads(ctx context.Context) error {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-d.reloads.asked:
		}
		log := d.log.With("reload", n)
		next, err := d.reloads.read()
		if err != nil {
			log.Error("the configuration is not reloaded: it has faults, and the one before stays", "faults", strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		d.takeOver(next, log)
	}
}

func (d *daemon) takeOver(next *Config, log *slog.Logger) {
	present, taken, left := d.reloads.present.Load().adopt(next)
	d.reloads.present.Store(present)
	for _, warning := range next.Warnings {
		log.Warn(warning)
	}
	d.reloads.level.Set(min(present.LogLevel, d.reloads.level.Level())) // whichever level counts, it is said
	log.Info("configuration reloaded", "changed", strings.Join(taken, " "))
	if len(left) > 0 {
		log.Warn("some settings have changed that count after a restart only", "settings", strings.Join(left, " "))
	}
	d.reloads.level.Set(present.LogLevel)
	d.admin.SetMaxPending(present.MaxPending)
	d.dispatcher.Reconfigure(dispatcher.Tuning{Concurrency: present.Concurrency, BulkReserve: present.BulkReserve})
}

// adopt returns c with all that a running daemon can take over from next. It
// names the settings that it has taken, and those that wait for a restart.
func (c *Config) adopt(next *Config) (adopted *Config, taken, left []string) {
	adopted = new(*c)
	theirs := next.settings()
	for i, s := range adopted.settings() {
		ours, other := reflect.ValueOf(s.to).Elem(), reflect.ValueOf(theirs[i].to).Elem()
		switch {
		case ours.Interface() == other.Interface(), slices.Contains(accountSettings, s.name):
		case slices.Contains(liveSettings, s.name):
			ours.Set(other)
			taken = append(taken, s.name)
		default:
			left = append(left, s.name)
		}
	}
	adopted.Accounts = slices.Clone(c.Accounts)
	for i := range adopted.Accounts {
		t, l := adopted.Accounts[i].adopt(next.account(adopted.Accounts[i].Name))
		taken, left = append(taken, t...), append(left, l...)
	}
	for _, a := range next.Accounts {
		if c.account(a.Name) == nil {
			left = append(left, "accounts."+a.Name)
		}
	}
	return adopted, taken, left
}

// account returns the account of that name, or nil.
func (c *Config) account(name string) *Account {
	i := slices.IndexFunc(c.Accounts, func(a Account) bool { return a.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Accounts[i]
}

// adopt takes the key of next, which is the same account, unless it is for
// another URL: a key must never be shown to a server that it is not for.
func (a *Account) adopt(next *Account) (taken, left []string) {
	if next == nil {
		return nil, []string{"accounts." + a.Name}
	}
	if next.LimitScope != a.LimitScope {
		left = append(left, "accounts."+a.Name+".limit")
	}
	if !slices.Equal(next.Channels, a.Channels) {
		left = append(left, "accounts."+a.Name+".channels")
	}
	otherURL, otherKey := next.URL != a.URL, next.Key != a.Key || next.KeyFile != a.KeyFile
	switch {
	case otherURL && otherKey:
		left = append(left, next.urlFrom, next.keyFrom)
	case otherURL:
		left = append(left, next.urlFrom)
	case otherKey:
		a.Key, a.KeyFile, a.keyFrom = next.Key, next.KeyFile, next.keyFrom
		taken = append(taken, next.keyFrom)
	}
	return taken, left
}
