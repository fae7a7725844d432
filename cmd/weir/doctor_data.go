package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"weir/store"
)

const (
	// lookForDamage is how long the database is searched for damage.
	lookForDamage = 5 * time.Second
	// largeWAL is above what a healthy daemon keeps, see store.walKeeps.
	largeWAL = 128 << 20
)

// directory looks at the data directory and at the space on its disk.
func (d *doctor) directory(context.Context) (found diagnosis) {
	const what = "data directory"
	dir := d.cfg.DataDir
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		found.warn("weir serve makes it; or name another one with WEIR_DATA_DIR", what, "%s is not there yet", dir)
		return found
	}
	if err := store.CheckDir(dir); err != nil {
		found.fail("", what, "%s", oneLine(err))
	} else {
		found.ok(what, "%s is on a local disk, and closed to others", dir)
	}
	free, err := store.FreeSpace(dir)
	switch {
	case err != nil:
		found.fail("look at the disk", "disk", "%s", oneLine(err))
	case free < d.cfg.MinFree:
		found.fail("make space, or lower WEIR_MIN_FREE: nothing is taken in or sent", "disk", "%s are free, less than WEIR_MIN_FREE, %s", store.Size(free), store.Size(d.cfg.MinFree))
	case free < 4*d.cfg.MinFree:
		found.warn("make space before nothing is sent any more", "disk", "only %s are free; WEIR_MIN_FREE is %s", store.Size(free), store.Size(d.cfg.MinFree))
	default:
		found.ok("disk", "%s are free", store.Size(free))
	}
	return found
}

// database looks at weir.db and at the life that it shows of the daemon.
func (d *doctor) database(ctx context.Context) (found diagnosis) {
	const what = "database"
	there, err := store.Exists(d.cfg.DataDir)
	if err == nil && !there {
		found.ok(what, "there is none yet; weir serve or weir send makes it")
		return found
	}
	in, err := store.Inspect(ctx, d.cfg.DataDir, lookForDamage, d.now())
	if err != nil {
		do := "see who uses it (fuser -v weir.db), and that this is the daemon's user"
		if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrNewer) {
			do = "" // the error says it
		}
		found.fail(do, what, "%s", oneLine(err))
		return found
	}
	looked := "no damage"
	if !in.Whole {
		looked = fmt.Sprintf("no damage found in %v; sqlite3 weir.db 'PRAGMA integrity_check' looks everywhere", lookForDamage)
	}
	if in.Version < in.Known {
		found.warn("weir serve brings it up to date at its start", what, "%s, %s, has version %d, this weir knows %d", store.Size(in.Bytes), looked, in.Version, in.Known)
	} else {
		found.ok(what, "%s, %s, version %d, epoch %d", store.Size(in.Bytes), looked, in.Version, in.Epoch)
	}
	if in.WAL > largeWAL {
		found.warn("find the reader that does not end with fuser -v weir.db", "write-ahead log", "weir.db-wal has %s", store.Size(in.WAL))
	}
	return append(found, d.life(in)...)
}

// life judges whether a daemon runs, and well.
func (d *doctor) life(in store.Inspection) (found diagnosis) {
	const what = "daemon"
	reason := ""
	if in.Daemon.Reason != nil {
		reason = ": " + *in.Daemon.Reason
	}
	switch {
	case !in.Runs:
		do := "start it with weir serve"
		if strings.Contains(reason, "start weir serve") {
			do = "" // the reason says it
		}
		found.warn(do, what, "none runs%s", reason)
	case in.Daemon.State == "stopped":
		found.fail("wait if it has just been started, else see its log and start it again", what, "a process has the data directory, but shows no life%s", reason)
	case in.Daemon.State == "held":
		found.fail("cure what it names", what, "it runs, and holds everything back%s", reason)
	case in.Daemon.State != "running":
		found.warn("weir status has more", what, "it runs, and is %s%s", in.Daemon.State, reason)
	default:
		found.ok(what, "it runs; its last heartbeat was %s ago", words(in.Quiet))
	}
	return found
}

// listeners looks at the addresses on which the daemon listens, or will.
func (d *doctor) listeners(ctx context.Context) (found diagnosis) {
	running := store.DaemonRuns(d.cfg.DataDir)
	if d.cfg.Listen != "" {
		if running {
			found = append(found, d.health(ctx)...)
		} else {
			found = append(found, d.bindable("http", "WEIR_LISTEN", d.cfg.Listen)...)
		}
	}
	if d.cfg.NATSURL == "" && d.cfg.NATSListen != "" && !running {
		found = append(found, d.bindable("nats", "WEIR_NATS_LISTEN", d.cfg.NATSListen)...)
	}
	return found
}

// bindable tells whether an address is free for a daemon to come.
func (d *doctor) bindable(what, setting, address string) (found diagnosis) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		found.fail("free it, choose another address, or say off", what, "%s: cannot listen on %s: %v", setting, address, errors.Unwrap(err))
		return found
	}
	_ = l.Close() // nobody has used it
	found.ok(what, "%s is free for the daemon", address)
	return found
}

// health asks the running daemon over HTTP.
func (d *doctor) health(ctx context.Context) (found diagnosis) {
	address := reachable(d.cfg.Listen)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		found.fail("", "http", "%v", err)
		return found
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		found.fail("see that WEIR_LISTEN is the daemon's; a firewall may stand in between", "http", "%s does not answer: %v", address, errors.Unwrap(err))
		return found
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	var answer struct{ State, Reason string }
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<16)).Decode(&answer); err != nil || answer.State == "" {
		found.fail("see what listens there", "http", "something else than weir answers on %s", address)
		return found
	}
	if resp.StatusCode != http.StatusOK {
		found.fail("cure what it names", "http", "/readyz on %s says %d, %s: %s", address, resp.StatusCode, answer.State, answer.Reason)
		return found
	}
	found.ok("http", "%s answers, and is ready", address)
	return found
}

// reachable is where somebody on this machine reaches what listens on address.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host != "" && host != "0.0.0.0" && host != "::" {
		return address
	}
	return net.JoinHostPort("127.0.0.1", port)
}
