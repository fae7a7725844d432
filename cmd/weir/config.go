package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"weir/dispatcher"
	"weir/outbox"
)

// Config is the whole configuration of weir, defaults filled in.
type Config struct {
	DataDir  string
	File     string // weir.yaml, whether it exists or not
	Instance string

	APIURL     string // of the default account, as are the next two; see Accounts
	APIKey     Secret
	APIKeyFile string
	Accounts   []Account // sorted by name

	NATSURL    Secret // may hold a password; empty: the embedded server
	NATSListen string // empty: no listener
	NATSToken  Secret
	Listen     string // empty: no listener
	AdminToken Secret // empty: the one in admin.token

	Concurrency    int
	RequestTimeout time.Duration
	RetryFor       time.Duration
	KeyLifetime    time.Duration
	SettleWait     time.Duration
	BackoffBase    time.Duration
	BackoffMax     time.Duration
	ProbeInterval  time.Duration
	DrainTimeout   time.Duration
	BulkReserve    float64
	MinFree        int64 // bytes
	MaxPending     int   // 0: no bound
	KeepBodies     time.Duration
	KeepRows       time.Duration

	LogLevel  slog.Level
	LogFormat string // text or json

	Warnings []string // for the log: what is allowed but hardly meant
}

// config reads the configuration for commands that work on the data directory
// only. They need no account: each value must be well-formed, nothing more.
func (a *app) config(flags *pflag.FlagSet) (*Config, error) {
	c, wrong := loadConfig(a.getenv, flags)
	if err := wrong.join(); err != nil {
		return nil, err
	}
	return c, nil
}

// serveConfig reads the configuration for the daemon: values must also fit
// together, and every account must have a URL and a readable key.
func (a *app) serveConfig(flags *pflag.FlagSet) (*Config, error) {
	c, wrong := loadConfig(a.getenv, flags)
	c.check(wrong)
	if err := wrong.join(); err != nil {
		return nil, err
	}
	return c, nil
}

// check finds what keeps the daemon from starting.
func (c *Config) check(wrong *faults) {
	c.checkAccounts(wrong)
	c.checkListeners(wrong)
	c.checkDurations(wrong)
}

// loadConfig takes each setting from the first place that has it: flag,
// environment, weir.yaml, default. An empty text counts as absent, except in a
// flag, where it takes back what the other places say.
func loadConfig(getenv func(string) string, flags *pflag.FlagSet) (*Config, *faults) {
	c, wrong := new(Config), new(faults)
	settings := c.settings()
	var file configFile
	find := func(s setting) sourced {
		if f := flags.Lookup(s.flagName()); f != nil && f.Changed {
			return sourced{f.Value.String(), "--" + s.flagName()}
		}
		if text := getenv(s.name); text != "" {
			return sourced{text, "environment"}
		}
		if found := file.values[s.name]; found.text != "" {
			return found
		}
		return sourced{text: s.value}
	}
	path := find(settings[slices.IndexFunc(settings, func(s setting) bool { return s.name == configSetting })])
	file = readConfigFile(path, settings, wrong)
	for _, s := range settings {
		value := find(s)
		if value.text == "" && s.value == "" {
			continue
		}
		if err := s.parse(value.text); err != nil {
			wrong.add(s.name, value.where, err)
		}
	}
	if slices.ContainsFunc(settings, func(s setting) bool { return s.kind == kindSecret && file.values[s.name].text != "" }) {
		c.warnIfOpen(path.text)
	}
	c.setAccounts(file.accounts, wrong)
	return c, wrong
}

// shortToken is below what cannot be guessed: 16 characters of base64 have 96 bits.
const shortToken = 16

// checkListeners refuses to listen beyond loopback without a token, and warns of
// one that can be guessed.
func (c *Config) checkListeners(wrong *faults) {
	if c.NATSURL == "" && beyondLoopback(c.NATSListen) && c.NATSToken == "" && !wrong.on("WEIR_NATS_TOKEN") {
		wrong.add("WEIR_NATS_LISTEN", "", errors.New("is not loopback, which needs WEIR_NATS_TOKEN"))
	}
	if beyondLoopback(c.Listen) && c.AdminToken == "" && !wrong.on("WEIR_ADMIN_TOKEN") {
		wrong.add("WEIR_LISTEN", "", errors.New("is not loopback, which needs WEIR_ADMIN_TOKEN"))
	}
	c.warnIfShort("WEIR_NATS_TOKEN", c.NATSListen, c.NATSToken)
	c.warnIfShort("WEIR_ADMIN_TOKEN", c.Listen, c.AdminToken)
}

func (c *Config) warnIfShort(name, address string, token Secret) {
	if beyondLoopback(address) && token != "" && len(token) < shortToken {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s can be guessed: beyond loopback it should have %d characters or more", name, shortToken))
	}
}

func beyondLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && !isLoopback(host)
}

// checkDurations compares settings with each other where both could be read.
func (c *Config) checkDurations(wrong *faults) {
	if !wrong.on("WEIR_RETRY_FOR") && !wrong.on("WEIR_KEY_LIFETIME") && c.RetryFor > c.KeyLifetime-time.Hour {
		wrong.add("WEIR_RETRY_FOR", "", fmt.Errorf("must be 1h or more below WEIR_KEY_LIFETIME, which is %v, not %v: "+
			"a retry that the API no longer knows as one would send twice", c.KeyLifetime, c.RetryFor))
	}
	if longest := c.policy().RepeatFor() + c.RequestTimeout - c.RetryFor; !wrong.on("WEIR_REQUEST_TIMEOUT") &&
		!wrong.on("WEIR_RETRY_FOR") && !wrong.on("WEIR_KEY_LIFETIME") && c.RequestTimeout > longest {
		wrong.add("WEIR_REQUEST_TIMEOUT", "", fmt.Errorf("must be at most %v, not %v: the API must still know a message's key, "+
			"WEIR_KEY_LIFETIME of %v, when its last retry, after WEIR_RETRY_FOR of %v, ends", longest, c.RequestTimeout, c.KeyLifetime, c.RetryFor))
	}
	if !wrong.on("WEIR_KEEP_BODIES") && !wrong.on("WEIR_KEY_LIFETIME") && c.KeepBodies < c.KeyLifetime {
		wrong.add("WEIR_KEEP_BODIES", "", fmt.Errorf("must not be below WEIR_KEY_LIFETIME, which is %v: "+
			"a message may be wanted again for as long", c.KeyLifetime))
	}
	if !wrong.on("WEIR_KEEP_ROWS") && !wrong.on("WEIR_KEEP_BODIES") && c.KeepRows < c.KeepBodies {
		wrong.add("WEIR_KEEP_ROWS", "", fmt.Errorf("must not be below WEIR_KEEP_BODIES, which is %v: a body goes with its row", c.KeepBodies))
	}
	if !wrong.on("WEIR_BACKOFF_BASE") && !wrong.on("WEIR_BACKOFF_MAX") && c.BackoffBase > c.BackoffMax {
		wrong.add("WEIR_BACKOFF_BASE", "", fmt.Errorf("must not be above WEIR_BACKOFF_MAX, which is %v", c.BackoffMax))
	}
}

// policy is how long and how often a message is tried.
func (c *Config) policy() dispatcher.Policy {
	return dispatcher.Policy{
		RetryFor: c.RetryFor, KeyLifetime: c.KeyLifetime, SettleWait: c.SettleWait,
		BackoffBase: c.BackoffBase, BackoffMax: c.BackoffMax, RequestTimeout: c.RequestTimeout,
	}
}

// Channels returns the channels of each account. The default account is always
// among them: a producer's shell seldom has the API settings of the daemon.
func (c *Config) Channels() outbox.Channels {
	channels := outbox.Channels{outbox.DefaultAccount: builtinChannels()}
	for _, a := range c.Accounts {
		channels[a.Name] = append(builtinChannels(), a.Channels...)
	}
	return channels
}

// builtinChannels are those that a message's body can choose by itself.
func builtinChannels() []string { return []string{"rcs", "email", "default"} }

// logger returns a log as LogLevel and LogFormat ask for.
func (c *Config) logger(w io.Writer) *slog.Logger { return c.loggerFrom(w, c.LogLevel) }

// loggerFrom is logger with a level that may change.
func (c *Config) loggerFrom(w io.Writer, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(foldRepeats(slog.NewJSONHandler(w, options)))
	}
	return slog.New(foldRepeats(slog.NewTextHandler(w, options)))
}

// fault is one thing that is wrong with the configuration.
type fault struct {
	setting string
	where   string // found; empty for a default, or where several places are involved
	err     error
}

func (f *fault) Error() string {
	name := cmp.Or(printable(f.setting), `""`) // a file can have any name in it
	if f.where == "" {
		return fmt.Sprintf("%s: %v", name, f.err)
	}
	return fmt.Sprintf("%s (%s): %v", name, f.where, f.err)
}

func (f *fault) Unwrap() error { return f.err }

// faults collects what is wrong, so that a person can mend it all in one go.
type faults struct {
	list   []error
	unread bool // weir.yaml is there and could not be read: what seems to be missing may stand in it
}

func (f *faults) add(setting, where string, err error) {
	f.list = append(f.list, &fault{setting, where, err})
}

// on reports whether setting is known to be wrong, and so not worth comparing.
func (f *faults) on(setting string) bool {
	for _, err := range f.list {
		if known, ok := errors.AsType[*fault](err); ok && known.setting == setting {
			return true
		}
	}
	return false
}

// join returns one error for all faults, nil if there are none. It is wrong
// usage if a flag is to blame for one of them.
func (f *faults) join() error {
	err := errors.Join(f.list...)
	for _, one := range f.list {
		if known, ok := errors.AsType[*fault](one); ok && strings.HasPrefix(known.where, "--") {
			return &usageError{err}
		}
	}
	return err
}
