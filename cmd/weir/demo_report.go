package main

import (
	"fmt"
	"slices"
	"time"

	"weir/store"
)

// introduce says what there is to see.
func (d *demo) introduce() error {
	old, fresh := makeOrders(d.orders)
	_, err := fmt.Fprintf(d.out, `A small shop sends %d messages through an API that allows %d in each %v.

  simulated API  http://%s
  weir           NATS %s, http://%s/healthz
  databases      %s
  look inside    weir status --data-dir %s

Last month's %d customers get a campaign (lane bulk), committed at once. Meanwhile %d new
orders come in, each committed together with its message: a confirmation (lane normal), or
the one-time password that pays for it (lane high). Of each window weir keeps a little for
the high lane, less and less towards the end. At the limit's pace all of it takes %v.

       one-time passwords   confirmations      campaign       left of
        sent   waiting      sent   waiting   sent   waiting    %5d   weir is
`,
		d.orders, d.limit, d.window, d.apiAddr, d.daemon.queue.Addr(), d.daemon.admin.Addr(), d.dir, d.daemon.cfg.DataDir,
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
	for _, b := range buckets { // only one: all messages are of one channel
		left, state = shown(b.Remaining), standing(d.now(), b)
	}
	_, err := fmt.Fprintf(d.out, "%3.0f s  %5d   %7d     %5d   %7d  %5d   %7d    %5s   %s\n", passed.Seconds(),
		sent[0], waiting[0], sent[1], waiting[1], sent[2], waiting[2], left, state)
	return err
}

// standing is the state of a bucket in a few words.
func standing(now time.Time, b store.StatusView) string {
	text := b.State
	if b.UntilAt != nil {
		if until, err := time.Parse(time.RFC3339, *b.UntilAt); err == nil && until.After(now) {
			text += fmt.Sprintf(" for %.1f s", until.Sub(now).Seconds())
		}
	}
	if b.Reason != nil {
		text += ": " + printable(*b.Reason)
	}
	return text
}
