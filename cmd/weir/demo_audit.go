package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
	"weir/store"
)

// books are what each part has written down of the messages.
type books struct {
	receipts map[string]receipt // of the shop, by idempotency key
	rows     []store.MessageView
	keys     map[string]sandbox.Key
	stats    sandbox.Stats
}

// findings is what the books of shop, weir and API say when held against each other.
type findings struct {
	orders, good        int
	requests, throttled int
	windows             int                             // with a backlog from beginning to end
	allowed, used       int                             // requests in these windows
	waits               map[outbox.Lane][]time.Duration // from commit to API, sorted
	wrong               []string
}

// audit holds the books against each other.
func (b *books) audit() *findings {
	f := &findings{
		orders: len(b.receipts), requests: b.stats.Requests, throttled: b.stats.Throttled,
		waits: make(map[outbox.Lane][]time.Duration),
	}
	recorded := make(map[string]store.MessageView, len(b.rows))
	requests := 0
	for _, row := range b.rows {
		recorded[row.Key] = row
		requests += row.Attempts + row.Throttles
	}
	for key, r := range b.receipts {
		f.judge(key, recorded[key], b.keys[key])
		if arrivals := b.keys[key].Arrivals; len(arrivals) > 0 {
			f.waits[r.lane] = append(f.waits[r.lane], arrivals[len(arrivals)-1].Sub(r.at))
		}
	}
	for _, waits := range f.waits {
		slices.Sort(waits)
	}
	f.check(len(b.rows) == f.orders, "weir.db holds %d messages, not %d", len(b.rows), f.orders)
	f.check(len(b.keys) == f.orders, "the API saw %d keys, not %d", len(b.keys), f.orders)
	f.check(f.requests == requests, "the API saw %d requests, weir.db knows of %d", f.requests, requests)
	for name, v := range b.stats.Violations {
		f.check(false, "the API was sent what it must never be sent: %s, %d times", name, v.Count)
	}
	for _, limit := range b.stats.Limits {
		f.measure(limit, b.receipts)
	}
	return f
}

// judge compares what weir.db and the API say of one key.
func (f *findings) judge(key string, row store.MessageView, at sandbox.Key) {
	before := len(f.wrong)
	f.check(row.State == string(outbox.Sent), "%s is %s in weir.db, not sent", key, cmp.Or(row.State, "missing"))
	f.check(at.Effects == 1, "%s took effect %d times at the API, not once", key, at.Effects)
	f.check(row.MessageID != nil && *row.MessageID == at.MessageID,
		"%s has message id %s in weir.db, %s at the API", key, shown(row.MessageID), at.MessageID)
	if len(f.wrong) == before {
		f.good++
	}
}

func (f *findings) check(ok bool, format string, args ...any) {
	if !ok {
		f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
	}
}

// measure finds how much of a limit was used in the windows at whose beginning
// more was committed than had been sent at their end: nothing but the limit kept
// messages waiting there.
func (f *findings) measure(limit sandbox.LimitStats, receipts map[string]receipt) {
	sent := limit.Allowed
	for _, w := range slices.Backward(limit.Windows) {
		committed := 0
		for _, r := range receipts {
			if r.at.Before(w.Start) {
				committed++
			}
		}
		if committed > sent {
			f.windows++
			f.allowed += w.Limit
			f.used += w.Allowed
		}
		sent -= w.Allowed
	}
}

// print writes the summary.
func (f *findings) print(w io.Writer) error {
	share := "there was no window with a backlog from beginning to end"
	if f.windows > 0 {
		share = fmt.Sprintf("%.1f %%: %d of %d requests, in %d windows with a backlog",
			100*float64(f.used)/float64(f.allowed), f.used, f.allowed, f.windows)
	}
	var text strings.Builder
	fmt.Fprintf(&text, `
Compared with the API's own books:

  sent once       %d of %d, with the message id that weir.db holds
  requests        %d, of which %d were answered with 429
  limit used      %s

`, f.good, f.orders, f.requests, f.throttled, share)
	waits := newTable(&text, "  from commit to API", "lane", "messages", "p50", "p99")
	for _, o := range occasions {
		all := f.waits[o.lane]
		waits.row("  "+o.name, o.lane, len(all), percentile(all, 0.50), percentile(all, 0.99))
	}
	if err := waits.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// mostShown is how many faults are worth reading.
const mostShown = 5

// err is nil if every message was sent once.
func (f *findings) err() error {
	if len(f.wrong) == 0 {
		return nil
	}
	slices.Sort(f.wrong)
	said := f.wrong[:min(len(f.wrong), mostShown)]
	if more := len(f.wrong) - len(said); more > 0 {
		said = append(said[:len(said):len(said)], fmt.Sprintf("and %d more", more))
	}
	return errors.New(strings.Join(said, "\n"))
}

// percentile is the least of the sorted values that the share p of them does
// not exceed.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := max(int(math.Ceil(p*float64(len(sorted)))), 1)
	return sorted[rank-1].Round(time.Millisecond)
}
