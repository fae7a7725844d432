package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"weir/dispatcher"
	"weir/outbox"
)

// bucket holds the series of one bucket, found once: a lookup by labels at each
// attempt would cost more than the counting.
type bucket struct {
	name        outbox.Bucket
	attempts    *prometheus.CounterVec
	settled     map[outbox.State]map[outbox.Lane]prometheus.Counter
	wait        map[outbox.Lane]prometheus.Observer
	duration    prometheus.Observer
	throttled   prometheus.Counter
	underWay    prometheus.Gauge
	failuresRow prometheus.Gauge
	refusalsRow prometheus.Gauge
	judged      func(*dispatcher.Record) // judge, as one value for all attempts

	mu      sync.Mutex
	answers map[answer]prometheus.Counter
}

// answer is what weir_attempts_total may tell apart within a bucket.
type answer struct {
	status  int // of three digits; the label has fewer values
	verdict dispatcher.Verdict
}

// of gives the series of a bucket, which begin at zero.
func (m *Metrics) of(name outbox.Bucket) *bucket {
	m.mu.RLock()
	b := m.buckets[name]
	m.mu.RUnlock()
	if b != nil {
		return b
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.buckets[name]; b != nil {
		return b
	}
	account, channel := name.Account, name.Channel
	b = &bucket{
		name:        name,
		attempts:    m.attempts,
		settled:     make(map[outbox.State]map[outbox.Lane]prometheus.Counter),
		wait:        make(map[outbox.Lane]prometheus.Observer),
		duration:    m.duration.WithLabelValues(account, channel),
		throttled:   m.throttled.WithLabelValues(account, channel),
		underWay:    m.underWay.WithLabelValues(account, channel),
		failuresRow: m.failuresRow.WithLabelValues(account, channel),
		refusalsRow: m.refusalsRow.WithLabelValues(account, channel),
		answers:     make(map[answer]prometheus.Counter),
	}
	for _, lane := range outbox.Lanes {
		b.wait[lane] = m.wait.WithLabelValues(account, channel, string(lane))
	}
	for _, state := range outbox.States {
		if !state.Settled() {
			continue
		}
		b.settled[state] = make(map[outbox.Lane]prometheus.Counter)
		for _, lane := range outbox.Lanes {
			b.settled[state][lane] = m.settled.WithLabelValues(string(state), account, channel, string(lane))
		}
	}
	b.judged = b.judge
	m.buckets[name] = b
	return b
}

// Observe implements dispatcher.Observe.
func (m *Metrics) Observe(c *dispatcher.Claim) (traceparent string, judged func(*dispatcher.Record)) {
	b := m.of(c.Bucket)
	b.underWay.Inc()
	return c.Traceparent, b.judged
}

func (b *bucket) judge(r *dispatcher.Record) {
	a, j := &r.Answer, &r.Judgement
	b.underWay.Dec()
	b.duration.Observe(a.EndedAt.Sub(a.StartedAt).Seconds())
	b.answer(answer{a.Status, j.Verdict}).Inc()
	if j.Counted {
		b.wait[r.Claim.Lane].Observe(max(0, a.StartedAt.Sub(r.Claim.DueAt).Seconds()))
	}
	if j.Throttled {
		b.throttled.Inc()
	}
	b.countRows(a, j)
}

// countRows follows what fails or is refused in a row.
func (b *bucket) countRows(a *dispatcher.Answer, j *dispatcher.Judgement) {
	switch {
	case a.Stopped, j.Verdict == dispatcher.NotAPI, a.TLSIdentity:
		// Says nothing of the API.
	case j.Verdict == dispatcher.Retry, j.Verdict == dispatcher.Ambiguous, j.Verdict == dispatcher.NeverLeft:
		b.failuresRow.Inc()
	default:
		b.failuresRow.Set(0)
	}
	switch {
	case j.State == outbox.Sent:
		b.refusalsRow.Set(0)
	case j.Verdict == dispatcher.Refused:
		b.refusalsRow.Inc()
	}
}

func (b *bucket) answer(kind answer) prometheus.Counter {
	b.mu.Lock()
	defer b.mu.Unlock()
	counter, found := b.answers[kind]
	if !found {
		counter = b.attempts.WithLabelValues(statusLabel(kind.status), string(kind.verdict), b.name.Account, b.name.Channel)
		b.answers[kind] = counter
	}
	return counter
}

// documented are the status codes that are counted apart.
var documented = []int{
	http.StatusOK, http.StatusCreated, http.StatusAccepted,
	http.StatusBadRequest, http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound,
	http.StatusRequestTimeout, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
	http.StatusUnprocessableEntity, http.StatusTooEarly, http.StatusTooManyRequests,
	http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// statusLabel bounds the label: a proxy can answer with any number.
func statusLabel(code int) string {
	switch {
	case code == 0:
		return "none"
	case slices.Contains(documented, code):
		return strconv.Itoa(code)
	case code >= 100 && code <= 599:
		return strconv.Itoa(code/100) + "xx"
	}
	return "other"
}
