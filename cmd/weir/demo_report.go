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

// introduce says what there is to see.
func (d *demo) introduce() error {
	old, fresh := orders(d.orders)
	_, err := fmt.Fprintf(d.out, `A small shop sends %d messages through an API that allows %d in each %v.

  simulated API  http://%s
  weir           NATS %s, http://%s/healthz
  databases      %s
  look inside    weir status --data-dir %s

Last month's %d customers get a campaign (lane bulk), committed at once. Meanwhile %d new
orders come in, each committed together with its message: a confirmation (lane normal), or
the one-time password that pays for it (lane high). At best this takes %v.

       one-time passwords   confirmations      campaign       left of
        sent   waiting      sent   waiting   sent   waiting    %5d   weir is
`,
		d.orders, d.limit, d.window, d.apiAddr, d.daemon.queue.Addr(), d.daemon.health.addr(), d.dir, d.daemon.cfg.DataDir,
		len(old), len(fresh), d.atBest().Round(time.Second), d.limit)
	return err
}

// progress prints how far each lane is, by the API's books, and what weir says
// of the limit.
func (d *demo) progress(passed time.Duration, buckets []store.StatusView) error {
	var sent, waiting [len(occasions)]int
	keys := d.api.Keys("")
	for key, r := range d.shop.receipts() {
		i := slices.Index(occasions[:], r.occasion)
		if keys[key].Effects > 0 {
			sent[i]++
		} else {
			waiting[i]++
		}
	}
	left, state := "-", "waiting for messages"
	for _, b := range buckets {
		left, state = shown(b.Remaining), standing(b)
	}
	_, err := fmt.Fprintf(d.out, "%3.0f s  %5d   %7d     %5d   %7d  %5d   %7d    %5s   %s\n", passed.Seconds(),
		sent[0], waiting[0], sent[1], waiting[1], sent[2], waiting[2], left, state)
	return err
}

// standing is the state of a bucket in a few words.
func standing(b store.StatusView) string {
	text := b.State
	if b.UntilAt != nil {
		// The clock is enough: 2026-03-28T14:30:00.123Z.
		_, clock, _ := strings.Cut(strings.TrimSuffix(*b.UntilAt, "Z"), "T")
		text += " until " + clock
	}
	return text
}

// findings is what the books of shop, weir and API say when held against each other.
type findings struct {
	orders, relayed, good int
	requests, throttled   int
	windows               int                             // with a backlog from beginning to end
	allowed, used         int                             // requests in these windows
	waits                 map[outbox.Lane][]time.Duration // from commit to API, sorted
	wrong                 []string
}

// audit holds the API's books against those of the shop and of weir.
func audit(receipts map[string]receipt, relayed int, rows []store.MessageView, keys map[string]sandbox.Key, stats sandbox.Stats) *findings {
	f := &findings{
		orders: len(receipts), relayed: relayed, requests: stats.Requests, throttled: stats.Throttled,
		waits: make(map[outbox.Lane][]time.Duration),
	}
	recorded := make(map[string]store.MessageView, len(rows))
	requests := 0
	for _, row := range rows {
		recorded[row.Key] = row
		requests += row.Attempts + row.Throttles
	}
	for key, r := range receipts {
		f.judge(key, recorded[key], keys[key])
		if arrivals := keys[key].Arrivals; len(arrivals) > 0 {
			f.waits[r.lane] = append(f.waits[r.lane], arrivals[len(arrivals)-1].Sub(r.at))
		}
	}
	for _, waits := range f.waits {
		slices.Sort(waits)
	}
	f.check(relayed == len(receipts), "weir took the messages of %d orders, not of %d", relayed, len(receipts))
	f.check(len(rows) == len(receipts), "weir.db holds %d messages, not %d", len(rows), len(receipts))
	f.check(len(keys) == len(receipts), "the API saw %d keys, not %d", len(keys), len(receipts))
	f.check(stats.Requests == requests, "the API saw %d requests, weir.db knows of %d", stats.Requests, requests)
	for name, v := range stats.Violations {
		f.check(false, "the API was sent what it must never be sent: %s, %d times", name, v.Count)
	}
	f.measure(receipts, stats)
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

// measure finds how much of the limit was used while it was all that kept
// messages from being sent: in the windows at whose beginning more was committed
// than had been sent at their end.
func (f *findings) measure(receipts map[string]receipt, stats sandbox.Stats) {
	for _, limit := range stats.Limits {
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
