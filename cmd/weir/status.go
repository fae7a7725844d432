package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/store"
)

func newStatusCommand(a *app) *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "status",
		Short: "Show what waits, what was sent and why something does not move",
		Args:  cobra.NoArgs,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object, with the columns of the status table")
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withDatabase(cmd, func(ctx context.Context, s *store.Store) error {
			daemon, buckets, err := s.Status(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, struct {
					Daemon  store.StatusView   `json:"daemon"`
					Buckets []store.StatusView `json:"buckets"`
				}{daemon, buckets})
			}
			return printStatus(a.stdout, a.now(), daemon, buckets)
		})
	}
	return command
}

// printStatus gives a line for the daemon and a block for each bucket.
func printStatus(w io.Writer, now time.Time, daemon store.StatusView, buckets []store.StatusView) error {
	line := strings.Replace(daemon.Scope, ":", " ", 1) + " is " + situation(now, daemon)
	if daemon.HeartbeatAt != nil && daemon.State != "stopped" {
		line += "; last heartbeat " + relative(now, *daemon.HeartbeatAt)
	}
	if _, err := fmt.Fprintln(w, line); err != nil {
		return err
	}
	for _, b := range buckets {
		if err := printBucket(w, now, b); err != nil {
			return err
		}
	}
	if len(buckets) == 0 {
		_, err := fmt.Fprintln(w, "no messages yet")
		return err
	}
	return nil
}

func printBucket(w io.Writer, now time.Time, b store.StatusView) error {
	scheduled, oldest, end := "", "", ""
	if b.Scheduled > 0 {
		scheduled = fmt.Sprintf(" (%d scheduled)", b.Scheduled)
	}
	if b.OldestDueAt != nil {
		oldest = "; oldest due " + relative(now, *b.OldestDueAt)
	}
	if b.ETAAt != nil {
		end = "; all sent " + relative(now, *b.ETAAt)
	}
	_, err := fmt.Fprintf(w, `
%s is %s
  limit    %s; %d answers of 429
  waiting  %d pending%s, %d retrying, %d in flight%s%s
  settled  %d sent (%d in the last minute), %d failed, %d expired, %d canceled, %d unknown
`,
		strings.TrimPrefix(b.Scope, "bucket:"), situation(now, b),
		limitLeft(b), b.Throttled,
		b.Pending, scheduled, b.Retrying, b.InFlight, oldest, end,
		b.Sent, b.SentLastMinute, b.Failed, b.Expired, b.Canceled, b.Unknown)
	return err
}

// situation says state, since, until, reason and the request that tells more.
func situation(now time.Time, s store.StatusView) string {
	text := s.State
	if s.SinceAt != nil {
		text += fmt.Sprintf(" since %s (%s)", *s.SinceAt, relative(now, *s.SinceAt))
	}
	if s.UntilAt != nil {
		text += fmt.Sprintf(" until %s (%s)", *s.UntilAt, relative(now, *s.UntilAt))
	}
	if s.Reason != nil {
		text += ": " + printable(*s.Reason)
	}
	if s.LastRequestID != nil && s.State != "running" && s.State != "stopped" {
		text += "; last request " + printable(*s.LastRequestID)
	}
	return text
}

func limitLeft(s store.StatusView) string {
	if s.RateLimit == nil {
		return "not known"
	}
	text := shown(s.Remaining) + " left of " + shown(s.RateLimit)
	if s.WindowMS != nil {
		text += fmt.Sprintf(" per %v", time.Duration(*s.WindowMS)*time.Millisecond)
	}
	return text
}
