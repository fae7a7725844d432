package metrics

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weir/outbox"
	"weir/store"
)

const (
	// readAgain is how old figures may be: several scrapers read the tables once.
	readAgain = time.Second
	// readWithin bounds a scrape while the disk is slow.
	readWithin = 5 * time.Second
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	stored      = desc("weir_messages_stored", "Rows in the table messages now, by state; pending is due, scheduled is not yet.", "account", "channel", "state")
	oldestDue   = desc("weir_oldest_due_timestamp_seconds", "When the message that has waited longest was due; in the future if nothing is due, absent if nothing waits.", "account", "channel")
	eta         = desc("weir_eta_timestamp_seconds", "When all that waits now will be sent at the pace of now, not before a park ends; absent if not known.", "account", "channel")
	bucketState = desc("weir_bucket_state", "1 for the state that the bucket is in, 0 for the others.", "account", "channel", "state")
	stateSince  = desc("weir_bucket_state_since_timestamp_seconds", "Since when the bucket has been in its state.", "account", "channel")
	stateUntil  = desc("weir_bucket_state_until_timestamp_seconds", "Until when the bucket stays in its state at least; absent if no time ends it.", "account", "channel")
	limit       = desc("weir_limit", "Requests that the API allows in a window; absent if it does not tell.", "account", "channel")
	remaining   = desc("weir_limit_remaining", "Requests of these that are left.", "account", "channel")
	window      = desc("weir_limit_window_seconds", "Length of the window, or the time in which a limit is refilled.", "account", "channel")
	utilization = desc("weir_limit_utilization_ratio", "Share of the limit that is used up now, by everybody who shares it: 0 to 1.", "account", "channel")
	clockOffset = desc("weir_clock_offset_seconds", "What the API's clock shows more than ours.", "account", "channel")

	daemonState = desc("weir_daemon_state", "1 for the state that the daemon is in, 0 for the others.", "state")
	heartbeat   = desc("weir_heartbeat_timestamp_seconds", "When the daemon last wrote that it lives; every 5 s.")
	gateStands  = desc("weir_gate", "1 for each gate that stands.", "scope", "kind", "set_by")

	ready        = desc("weir_ready", "1 while new messages are taken, as /readyz says.")
	queueUp      = desc("weir_queue_up", "1 while NATS can be reached and stores.")
	writable     = desc("weir_database_writable", "0 while the database cannot be written: the disk is full, or another process locks it.")
	databaseSize = desc("weir_database_bytes", "Size of weir.db.")
	walSize      = desc("weir_wal_bytes", "Size of weir.db-wal.")
	diskFree     = desc("weir_disk_free_bytes", "Free space for the data directory.")
	diskMin      = desc("weir_disk_min_free_bytes", "WEIR_MIN_FREE: below it nothing is taken in or sent.")

	intake       = desc("weir_intake_messages_total", "Messages handed over to the daemon over NATS and HTTP, by result.", "result")
	rejected     = desc("weir_rejected_total", "Payloads on weir.send that could not become messages.")
	rejectedKept = desc("weir_rejected_stored", "Rejected payloads that are kept for people to look at.")
)

var states = []string{"running", "parked", "degraded", "held", "paused", "stopped"}

// table is a collector of what stands in the store.
type table struct {
	cfg  Config
	seen func(outbox.Bucket) // told of each bucket that has a row

	mu   sync.Mutex
	at   time.Time
	last *reading
}

// reading is one look at the store.
type reading struct {
	daemon   store.StatusView
	buckets  []store.StatusView
	gates    []store.GateView
	space    store.Space
	rejected int
	err      error
}

// Describe implements prometheus.Collector.
func (t *table) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		stored, oldestDue, eta, bucketState, stateSince, stateUntil, limit, remaining, window, utilization, clockOffset,
		daemonState, heartbeat, gateStands, ready, queueUp, writable, databaseSize, walSize, diskFree, diskMin,
		intake, rejected, rejectedKept,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (t *table) Collect(to chan<- prometheus.Metric) {
	r := t.read()
	out := sink{to}
	out.flag(ready, t.cfg.Takes())
	out.flag(queueUp, t.cfg.QueueTrouble() == "")
	out.flag(writable, t.cfg.Store.Waiting() == nil)
	in := t.cfg.Store.Intake()
	out.count(intake, in.Accepted, string(outbox.Accepted))
	out.count(intake, in.AlreadyThere, string(outbox.AlreadyThere))
	out.count(intake, in.Conflicts, string(outbox.Conflict))
	out.count(rejected, in.Rejected)
	if r.err != nil {
		to <- prometheus.NewInvalidMetric(heartbeat, r.err)
		return
	}
	out.space(r)
	out.states(daemonState, r.daemon.State)
	out.time(heartbeat, r.daemon.HeartbeatAt)
	for _, g := range r.gates {
		out.gauge(gateStands, 1, g.Scope, g.Kind, g.SetBy)
	}
	for i := range r.buckets {
		b := &r.buckets[i]
		account, channel, _ := strings.Cut(strings.TrimPrefix(b.Scope, "bucket:"), "/")
		t.seen(outbox.Bucket{Account: account, Channel: channel})
		out.bucket(b, account, channel)
	}
}

// read looks at the store, unless somebody did a moment ago.
func (t *table) read() *reading {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last != nil && time.Since(t.at) < readAgain {
		return t.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	r := new(reading)
	var errs [4]error
	r.daemon, r.buckets, errs[0] = t.cfg.Store.Status(ctx)
	r.gates, errs[1] = t.cfg.Store.GateViews(ctx)
	r.rejected, errs[2] = t.cfg.Store.RejectedKept(ctx)
	r.space, errs[3] = t.cfg.Store.Space()
	r.err = errors.Join(errs[:]...)
	t.at, t.last = time.Now(), r
	return r
}

// sink takes samples.
type sink struct{ to chan<- prometheus.Metric }

func (s sink) gauge(d *prometheus.Desc, value float64, labels ...string) {
	s.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (s sink) count(d *prometheus.Desc, value int64, labels ...string) {
	s.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

func (s sink) flag(d *prometheus.Desc, holds bool) {
	value := 0.0
	if holds {
		value = 1
	}
	s.gauge(d, value)
}

// time gives a time of the status table, which is absent if it is not known.
func (s sink) time(d *prometheus.Desc, iso *string, labels ...string) {
	if iso == nil {
		return
	}
	if at, err := time.Parse(time.RFC3339Nano, *iso); err == nil {
		s.gauge(d, float64(at.UnixMilli())/1000, labels...)
	}
}

func (s sink) states(d *prometheus.Desc, current string, labels ...string) {
	for _, state := range states {
		value := 0.0
		if state == current {
			value = 1
		}
		s.gauge(d, value, append(labels[:len(labels):len(labels)], state)...)
	}
}

func (s sink) space(r *reading) {
	s.gauge(databaseSize, float64(r.space.Database))
	s.gauge(walSize, float64(r.space.WAL))
	s.gauge(diskFree, float64(r.space.Free))
	s.gauge(diskMin, float64(r.space.MinFree))
	s.gauge(rejectedKept, float64(r.rejected))
}

func (s sink) bucket(b *store.StatusView, account, channel string) {
	for _, c := range []struct {
		state string
		count int
	}{
		{"pending", b.Pending - b.Scheduled}, {"scheduled", b.Scheduled}, {"retrying", b.Retrying}, {"sending", b.InFlight},
		{"sent", b.Sent}, {"failed", b.Failed}, {"expired", b.Expired}, {"canceled", b.Canceled}, {"unknown", b.Unknown},
	} {
		s.gauge(stored, float64(max(0, c.count)), account, channel, c.state) // scheduled is counted apart, and so may be older
	}
	s.states(bucketState, b.State, account, channel)
	s.time(stateSince, b.SinceAt, account, channel)
	if b.State != "running" { // there it is the next try of a message that waits by itself
		s.time(stateUntil, b.UntilAt, account, channel)
	}
	s.time(oldestDue, b.OldestDueAt, account, channel)
	s.time(eta, b.ETAAt, account, channel)
	if b.RateLimit != nil && b.Remaining != nil && *b.RateLimit > 0 {
		s.gauge(limit, float64(*b.RateLimit), account, channel)
		s.gauge(remaining, float64(*b.Remaining), account, channel)
		s.gauge(utilization, 1-float64(*b.Remaining)/float64(*b.RateLimit), account, channel)
	}
	if b.WindowMS != nil {
		s.gauge(window, float64(*b.WindowMS)/1000, account, channel)
	}
	if b.ClockOffsetMS != nil {
		s.gauge(clockOffset, float64(*b.ClockOffsetMS)/1000, account, channel)
	}
}
