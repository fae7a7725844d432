package queue

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"
)

const (
	// healPoll is how often a server that cannot store is looked after.
	healPoll = time.Second
	// healRoom is how much of the disk must be free for a restart to be worth
	// while: what JetStream writes at its start, and some messages.
	healRoom = 8 << 20
)

// notice hears from the server's log that a stream can no longer store. NATS
// tells nobody else: the publisher gets no answer, and the stream goes on to
// take nothing, also when there is space again, until the server is restarted.
func (l *serverLog) notice(format string, args []any) {
	text := fmt.Sprintf(format, args...)
	lower := strings.ToLower(text)
	for _, sign := range []string{"critical write error", "failed to store a msg", "will be disabled", "disabling jetstream"} {
		if strings.Contains(lower, sign) {
			select {
			case l.broken <- text:
			default:
			}
			return
		}
	}
}

// heal restarts the embedded server when it can no longer store, as soon as
// there is space for it, until ctx ends. Connections come back by themselves,
// the intake goes on with what is stored, and the feed feeds again what was in
// memory.
func (q *Queue) heal(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case text := <-q.server.log.broken:
			q.cfg.Log.Error("the embedded NATS server cannot store messages; restarting it once there is space", "error", text)
		}
		q.cfg.OnTrouble("the embedded NATS cannot store what producers hand over, who get no answer; it is restarted once there is space in " + q.cfg.StoreDir)
		if !q.restartPatiently(ctx) {
			return
		}
		q.cfg.OnTrouble("")
		q.cfg.Log.Info("the embedded NATS server was restarted and stores again")
	}
}

// restartPatiently reports false if ctx has ended first.
func (q *Queue) restartPatiently(ctx context.Context) bool {
	failing := newTrouble(q.cfg.Log, "restarting the embedded NATS server")
	for {
		if !q.awaitRoom(ctx) {
			return false
		}
		err := q.restart()
		if err == nil {
			return true
		}
		if failing.wait(ctx, err) != nil {
			return false
		}
	}
}

func (q *Queue) awaitRoom(ctx context.Context) bool {
	tick := time.NewTicker(healPoll)
	defer tick.Stop()
	for {
		var fs syscall.Statfs_t
		if err := syscall.Statfs(q.cfg.StoreDir, &fs); err != nil || int64(fs.Bavail)*fs.Bsize >= healRoom {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// restart puts a new server in the place of the one that runs, on the same
// directory and address.
func (q *Queue) restart() error {
	if addr := q.Addr(); addr != "" {
		q.cfg.Listen = addr // a port that the system chose stays
	}
	stop(q.server.running())
	select {
	case <-q.server.log.broken: // the old one's
	default:
	}
	if err := q.server.start(q.cfg); err != nil {
		return err
	}
	return q.server.listen(q.cfg)
}

// Refuse makes weir.send of the embedded server take nothing more, with a clean
// error to the publisher, or take messages again. What is stored stays.
func (q *Queue) Refuse(ctx context.Context, refuse bool) error {
	if q.server == nil {
		return nil // another machine's disk
	}
	cfg := sendConfig()
	if refuse {
		cfg.MaxBytes = 1
	}
	return q.ensureStream(ctx, cfg)
}
