// Package metrics tells Prometheus what the daemon does.
//
// Counters and histograms grow with what the dispatcher and the store report:
// Observe is the dispatcher's hook, Settled the store's. Gauges are read from the
// status table when somebody asks, so that an idle daemon computes nothing. All
// labels are bounded: accounts and channels are configured, and a status code
// that the API does not document is only counted by its class.
package metrics

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"weir/outbox"
	"weir/store"
)

// Config says what gauges are read from. Every field is needed.
type Config struct {
	Store *store.Store
	// Takes tells whether new messages are taken now.
	Takes func() bool
	// QueueTrouble is why the work queue gives nothing now, empty if it does.
	QueueTrouble func() string
	// Log takes what went wrong while metrics were collected.
	Log *slog.Logger
}

// Metrics are those of one daemon. New makes them; its methods are safe for
// concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	settled     *prometheus.CounterVec
	attempts    *prometheus.CounterVec
	throttled   *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	wait        *prometheus.HistogramVec
	underWay    *prometheus.GaugeVec
	failuresRow *prometheus.GaugeVec
	refusalsRow *prometheus.GaugeVec

	mu      sync.RWMutex
	buckets map[outbox.Bucket]*bucket
}

// New prepares metrics of the given version of weir. Watch adds the gauges.
func New(version string) *Metrics {
	byBucket := []string{"account", "channel"}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		buckets:  make(map[outbox.Bucket]*bucket),
		settled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_messages_total", Help: "Messages that the daemon has settled, by their final state.",
		}, []string{"state", "account", "channel", "lane"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_attempts_total", Help: "Requests made, by HTTP status (none: no answer came) and what it meant.",
		}, []string{"status", "verdict", "account", "channel"}),
		throttled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_throttled_total", Help: "Requests that the API refused with 429.",
		}, byBucket),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "weir_request_duration_seconds", Help: "Time from the start of a request to the end of its answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, byBucket),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "weir_queue_wait_seconds",
			Help: "Time from when a message was due to the start of its request; without requests that told nothing about the message (429, 401, 402, not the API).",
			// From a few milliseconds to the day that a campaign may take.
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400},
		}, append(byBucket, "lane")),
		underWay: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "weir_requests_in_flight", Help: "Requests on the wire now.",
		}, byBucket),
		failuresRow: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "weir_consecutive_failures", Help: "Requests in a row that failed (5xx, 408, 425, time-outs, cut connections, no way to the API) since the API last answered.",
		}, byBucket),
		refusalsRow: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "weir_consecutive_refusals", Help: "Messages in a row that the API refused since it last accepted one.",
		}, byBucket),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "weir_build_info", Help: "Always 1; the label is the version of weir.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(m.settled, m.attempts, m.throttled, m.duration, m.wait, m.underWay, m.failuresRow, m.refusalsRow, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Watch adds the gauges of what stands in the store. It is called once.
func (m *Metrics) Watch(cfg Config) {
	m.registry.MustRegister(&table{cfg: cfg, seen: func(b outbox.Bucket) { m.of(b) }})
}

// Handler serves the metrics. What cannot be read is left out and logged; the
// rest is served.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		Registry:      m.registry,
		// One scraper needs one; several must not pile up behind a slow disk.
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	})
}

// Settled counts messages that have reached a final state.
func (m *Metrics) Settled(all []store.Settled) {
	for i := range all {
		s := &all[i]
		m.of(s.Bucket).settled[outbox.State(s.State)][s.Lane].Inc()
	}
}
