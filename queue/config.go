package queue

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"weir/outbox"
)

// Config says which NATS a daemon uses and how.
type Config struct {
	// URL is the address of an external server, or several of one cluster with
	// commas between them, and may carry credentials. Empty means a server
	// embedded in this process.
	URL string
	// StoreDir is where the embedded server keeps its streams. Whoever calls
	// Open holds the lock on it: NATS itself takes none, and two servers on one
	// directory destroy it. Required without URL.
	StoreDir string
	// Listen is the host:port on which the embedded server takes producers; port
	// 0 is a free one. Empty or "off" means no listener. Ignored with URL.
	Listen string
	// Token is the password of the user producer on the embedded listener; with
	// it nobody gets in without. Required if Listen is not a loopback address.
	// With URL it is the password of the user weir, unless URL carries its own.
	Token string
	// Instance tells the work of several daemons apart: 1 to 32 of a-z, 0-9, _
	// and -. Defaults to "weir".
	Instance string
	// Channels are the accounts and channels that producers may name. Nil means
	// that any well-formed name passes.
	Channels outbox.Channels
	// OnWorkLost is called when what had been fed is gone, or may be: the server
	// restarted, or the connection to it was lost. It must not block. Defaults to
	// nothing.
	OnWorkLost func()
	// Now is the daemon's clock. Required.
	Now func() time.Time
	// OnTrouble, if set, is called when the embedded server can no longer store
	// what producers hand over, with the reason, and with an empty one when it can
	// again. It must not block.
	OnTrouble func(reason string)
	// Log takes what the queue has to say; never a payload, a key or a password.
	// Defaults to silence.
	Log *slog.Logger
}

// listenOff is the value of Listen that, like an empty one, means no listener.
const listenOff = "off"

var instanceName = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

func (c Config) withDefaults() Config {
	c.Instance = cmp.Or(c.Instance, "weir")
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	if c.OnWorkLost == nil {
		c.OnWorkLost = func() {}
	}
	if c.OnTrouble == nil {
		c.OnTrouble = func(string) {}
	}
	if c.Listen == listenOff {
		c.Listen = ""
	}
	return c
}

// validate reports every fault at once. It expects withDefaults.
func (c Config) validate() error {
	var faults []error
	if !instanceName.MatchString(c.Instance) {
		faults = append(faults, fmt.Errorf("queue: Instance (WEIR_INSTANCE) %q: use 1 to 32 of a-z, 0-9, _ and -", c.Instance))
	}
	if c.Now == nil {
		faults = append(faults, errors.New("queue: Now is missing"))
	}
	if c.URL != "" {
		if redacted(c.URL) == "" {
			faults = append(faults, errors.New("queue: URL (WEIR_NATS_URL) is no URL: use nats://host:port"))
		}
		return errors.Join(faults...)
	}
	if c.StoreDir == "" {
		faults = append(faults, errors.New("queue: StoreDir is missing: the embedded server needs a directory"))
	}
	if c.Listen != "" {
		faults = append(faults, c.validateListen())
	}
	return errors.Join(faults...)
}

func (c Config) validateListen() error {
	host, _, err := splitListen(c.Listen)
	if err != nil {
		return err
	}
	if !loopback(host) && c.Token == "" {
		return fmt.Errorf("queue: Listen (WEIR_NATS_LISTEN) %s reaches beyond this machine: set WEIR_NATS_TOKEN, or listen on 127.0.0.1", c.Listen)
	}
	return nil
}

// splitListen takes host:port apart.
func splitListen(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err == nil {
		var n uint64
		n, err = strconv.ParseUint(text, 10, 16)
		port = int(n)
	}
	if err != nil {
		return "", 0, fmt.Errorf("queue: Listen (WEIR_NATS_LISTEN) %q: use host:port or off: %w", listen, err)
	}
	return host, port, nil
}

// loopback reports whether only this machine reaches host. An empty host is
// every interface.
func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// redacted is a URL, or several with commas between them, without credentials
// for errors and logs; empty if it cannot be read.
func redacted(raw string) string {
	servers := strings.Split(raw, ",")
	for i, server := range servers {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil {
			return ""
		}
		u.User = nil
		servers[i] = u.String()
	}
	return strings.Join(servers, ",")
}
