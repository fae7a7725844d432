package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"weir/dispatcher"
)

// setting is one row of the table that flags, environment, weir.yaml, the help
// text, deploy/weir.env.example and the README all follow.
type setting struct {
	name  string // in the environment
	value string // default
	doc   string
	textParser
}

// textParser puts the text of a setting into the Config that it was made for.
type textParser struct {
	kind  string // what the help text calls a value
	to    any    // where in the Config the value is: a pointer
	parse func(text string) error
}

// kindSecret marks settings that other users must not be able to read.
const kindSecret = "secret"

// configSetting names the file that the other settings may stand in.
const configSetting = "WEIR_CONFIG"

// settings returns the table, its parsers bound to c.
func (c *Config) settings() []setting {
	return []setting{
		{"WEIR_DATA_DIR", "./weir-data", "folder of weir.db and of all else that weir keeps", asText("path", &c.DataDir)},
		{configSetting, "./weir.yaml", "file with these settings in lower case and with accounts; the default may be absent", asText("path", &c.File)},
		{"WEIR_INSTANCE", "weir", "name of this daemon in the status table and in NATS subjects", asName(&c.Instance)},
		{"WEIR_API_URL", "", "base URL of the API for the default account, https unless loopback", asAPIURL(&c.APIURL)},
		{"WEIR_API_KEY", "", "API key of the default account; WEIR_API_KEY_FILE keeps it out of the environment", asSecret(&c.APIKey)},
		{"WEIR_API_KEY_FILE", "", "file that holds the API key; another key in it counts within a second", asText("path", &c.APIKeyFile)},
		{"WEIR_NATS_URL", "", "NATS servers to use; empty: the embedded one", asNATSURL(&c.NATSURL)},
		{"WEIR_NATS_LISTEN", "127.0.0.1:4222", "where the embedded NATS takes messages from producers, or off", asAddress(&c.NATSListen)},
		{"WEIR_NATS_TOKEN", "", "token of NATS; needed to listen beyond loopback", asSecret(&c.NATSToken)},
		{"WEIR_LISTEN", "127.0.0.1:7070", "where health, metrics and the HTTP API are served, or off", asAddress(&c.Listen)},
		{"WEIR_ADMIN_TOKEN", "", "token of the HTTP API; needed to listen beyond loopback, else made and kept in admin.token", asSecret(&c.AdminToken)},
		{"WEIR_CONCURRENCY", "64", "requests under way at once, 1 to 1024", asCount(&c.Concurrency, dispatcher.MaxConcurrency)},
		{"WEIR_REQUEST_TIMEOUT", "30s", "how long one request may take; together with WEIR_RETRY_FOR 1m or more below WEIR_KEY_LIFETIME", asDuration(&c.RequestTimeout, time.Millisecond)},
		{"WEIR_RETRY_FOR", "20h", "how long after its first attempt a message is tried again; 1h or more below WEIR_KEY_LIFETIME", asDuration(&c.RetryFor, time.Millisecond)},
		{"WEIR_KEY_LIFETIME", "24h", "how long the API remembers an idempotency key", asDuration(&c.KeyLifetime, time.Millisecond)},
		{"WEIR_SETTLE_WAIT", "5s", "least wait before repeating a request that may have had an effect", asDuration(&c.SettleWait, 0)},
		{"WEIR_BACKOFF_BASE", "500ms", "longest wait before the first retry; doubles with each one", asDuration(&c.BackoffBase, time.Millisecond)},
		{"WEIR_BACKOFF_MAX", "5m", "longest wait before any retry", asDuration(&c.BackoffMax, time.Millisecond)},
		{"WEIR_PROBE_INTERVAL", "30s", "wait between probes of what is held, and longest wait between those of what is degraded", asDuration(&c.ProbeInterval, time.Millisecond)},
		{"WEIR_DRAIN_TIMEOUT", "30s", "how long a stop waits for requests under way", asDuration(&c.DrainTimeout, time.Millisecond)},
		{"WEIR_BULK_RESERVE", "0.1", "share of the limit that is kept for the high lane, 0 to 0.9", asShare(&c.BulkReserve, 0.9)},
		{"WEIR_MIN_FREE", "256MiB", "free disk space below which nothing is taken in or sent", asSize(&c.MinFree)},
		{"WEIR_MAX_PENDING", "", "waiting messages above which the HTTP API refuses more; empty: no bound", asCount(&c.MaxPending, 1<<31-1)},
		{"WEIR_KEEP_BODIES", "168h", "how long the body of a settled message is kept; not below WEIR_KEY_LIFETIME", asDuration(&c.KeepBodies, time.Millisecond)},
		{"WEIR_KEEP_ROWS", "2160h", "how long the row of a settled message is kept; not below WEIR_KEEP_BODIES", asDuration(&c.KeepRows, time.Millisecond)},
		{"WEIR_LOG_LEVEL", "info", "least level that is logged: debug, info, warn or error", asWord(&c.LogLevel, logLevels)},
		{"WEIR_LOG_FORMAT", "text", "form of log lines: text or json", asWord(&c.LogFormat, logFormats)},
	}
}

// yamlName is the setting's name in weir.yaml: data_dir for WEIR_DATA_DIR.
func (s setting) yamlName() string {
	return strings.ToLower(strings.TrimPrefix(s.name, "WEIR_"))
}

// flagName is the setting's name on the command line: data-dir for WEIR_DATA_DIR.
func (s setting) flagName() string { return strings.ReplaceAll(s.yamlName(), "_", "-") }

// addSettingFlags gives flags the named settings, or all of them if none is named.
func addSettingFlags(flags *pflag.FlagSet, names ...string) {
	for _, s := range new(Config).settings() {
		if len(names) == 0 || slices.Contains(names, s.name) {
			flags.Var(&flagText{s.value, s.kind}, s.flagName(), fmt.Sprintf("%s [%s]", s.doc, s.name))
		}
	}
}

// flagText is a flag whose text is judged together with all other settings,
// not while the command line is read: every fault is reported at once, and
// pflag cannot put a secret into its error.
type flagText struct{ text, kind string }

func (f *flagText) String() string { return f.text }
func (f *flagText) Type() string   { return f.kind }
func (f *flagText) Set(text string) error {
	f.text = text
	return nil
}

var (
	logLevels = []option[slog.Level]{
		{"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn}, {"error", slog.LevelError},
	}
	logFormats  = []option[string]{{"text", "text"}, {"json", "json"}}
	limitScopes = []option[string]{{LimitByChannel, LimitByChannel}, {LimitByKey, LimitByKey}}
)

// option is one of the words that a setting may be.
type option[T any] struct {
	word  string
	value T
}

func asWord[T any](to *T, options []option[T]) textParser {
	return textParser{"word", to, func(text string) error {
		words := make([]string, len(options))
		for i, o := range options {
			if o.word == text {
				*to = o.value
				return nil
			}
			words[i] = o.word
		}
		return fmt.Errorf("must be one of %s, not %q", strings.Join(words, ", "), text)
	}}
}

func asText(kind string, to *string) textParser {
	return textParser{kind, to, func(text string) error {
		if text == "" {
			return errors.New("must not be empty")
		}
		*to = text
		return nil
	}}
}

var nameForm = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

func asName(to *string) textParser {
	return textParser{"name", to, func(text string) error {
		if !nameForm.MatchString(text) {
			return fmt.Errorf("must be 1 to 32 of a-z, 0-9, _ and -, not %q", text)
		}
		*to = text
		return nil
	}}
}

func asCount(to *int, most int) textParser {
	return textParser{"count", to, func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return fmt.Errorf("must be a whole number from 1 to %d, not %q", most, text)
		}
		*to = n
		return nil
	}}
}

func asShare(to *float64, most float64) textParser {
	return textParser{"share", to, func(text string) error {
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || !(x >= 0 && x <= most) { // negated, so that NaN is refused too
			return fmt.Errorf("must be a number from 0 to %v, not %q", most, text)
		}
		*to = x
		return nil
	}}
}

func asDuration(to *time.Duration, least time.Duration) textParser {
	return textParser{"duration", to, func(text string) error {
		d, err := time.ParseDuration(text)
		if err != nil || d < least {
			return fmt.Errorf("must be a duration such as 500ms, 30s or 20h and at least %v, not %q", least, text)
		}
		*to = d
		return nil
	}}
}

// Six digits keep even TiB far from overflow.
var sizeForm = regexp.MustCompile(`^([1-9][0-9]{0,5})(B|KiB|MiB|GiB|TiB)$`)

func asSize(to *int64) textParser {
	units := map[string]int64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
	return textParser{"size", to, func(text string) error {
		part := sizeForm.FindStringSubmatch(text)
		if part == nil {
			return fmt.Errorf("must be up to six digits with B, KiB, MiB, GiB or TiB, such as 256MiB, not %q", text)
		}
		n, err := strconv.ParseInt(part[1], 10, 64)
		if err != nil {
			return err
		}
		*to = n * units[part[2]]
		return nil
	}}
}

// asAddress leaves an empty address where text says off.
func asAddress(to *string) textParser {
	return textParser{"address", to, func(text string) error {
		if text == "off" {
			*to = ""
			return nil
		}
		_, port, err := net.SplitHostPort(text)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			return fmt.Errorf("must be host:port or off, not %q", text)
		}
		*to = text
		return nil
	}}
}
