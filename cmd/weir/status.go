package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/store"
)

func newStatusCommand(a *app) *cobra.Command {
	var asJSON, watch bool
	command := &cobra.Command{
		Use:   "status",
		Short: "Show what waits, what was sent and why something does not move",
		Long: "Shows for each bucket its state, since when and why, what is left of the limit, what\n" +
			"waits and when it will be sent. With --watch it goes on: at a terminal as a view\n" +
			"that is always true, else as a line (with --json, an object) whenever something\n" +
			"changes. Ctrl-C ends it.",
		Args: cobra.NoArgs,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object, with the columns of the status table")
	command.Flags().BoolVar(&watch, "watch", false, "go on showing it")
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withDatabase(cmd, func(ctx context.Context, s *store.Store) error {
			if watch {
				return a.watch(ctx, s, asJSON)
			}
			now, err := readSituation(ctx, s, a.now())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, now.asJSON())
			}
			return now.print(a.stdout)
		})
	}
	return command
}

// situationReport is what status shows, of one moment.
type situationReport struct {
	at      time.Time
	daemon  store.StatusView
	buckets []store.StatusView
	lanes   map[string][]store.LaneView // by the scopes of buckets in which something waits
}

func readSituation(ctx context.Context, s *store.Store, at time.Time) (r situationReport, err error) {
	r.at = at
	r.daemon, r.buckets, r.lanes, err = s.StatusByLane(ctx)
	return r, err
}

// asJSON is the form that scripts rely on.
func (r *situationReport) asJSON() any {
	return struct {
		Daemon  store.StatusView   `json:"daemon"`
		Buckets []store.StatusView `json:"buckets"`
	}{r.daemon, r.buckets}
}

// print gives a line for the daemon and a block for each bucket.
func (r *situationReport) print(w io.Writer) error {
	line := strings.Replace(r.daemon.Scope, ":", " ", 1) + " is " + situation(r.at, r.daemon)
	if r.daemon.HeartbeatAt != nil && r.daemon.State != "stopped" {
		line += "; last heartbeat " + relative(r.at, *r.daemon.HeartbeatAt)
	}
	if _, err := fmt.Fprintln(w, line); err != nil {
		return err
	}
	for _, b := range r.buckets {
		if _, err := fmt.Fprintf(w, "\n%s is %s\n", bucketName(b), situation(r.at, b)); err != nil {
			return err
		}
		for _, l := range r.lines(b) {
			if _, err := fmt.Fprintf(w, "  %-8s %s\n", l.name, l.text); err != nil {
				return err
			}
		}
	}
	if len(r.buckets) == 0 {
		_, err := fmt.Fprintln(w, "no messages yet")
		return err
	}
	return nil
}

// statusLine is one line of a bucket's block.
type statusLine struct{ name, text string }

// lines are those of a bucket beneath its state.
func (r *situationReport) lines(b store.StatusView) []statusLine {
	lines := []statusLine{
		{"limit", fmt.Sprintf("%s; %s of 429", limitLeft(b), plural(b.Throttled, "answer"))},
		{"backlog", backlogText(r.at, b)},
	}
	if lanes := r.lanes[b.Scope]; len(lanes) > 0 {
		lines = append(lines, statusLine{"lanes", lanesText(lanes)})
	}
	settled := fmt.Sprintf("%s sent (%s in the last minute), %s failed, %s expired, %s canceled, %s unknown",
		thousands(b.Sent), thousands(b.SentLastMinute), thousands(b.Failed), thousands(b.Expired), thousands(b.Canceled), thousands(b.Unknown))
	if b.LastErrorCode != nil {
		settled += "; last error " + printable(*b.LastErrorCode)
	}
	return append(lines, statusLine{"settled", settled})
}

func bucketName(b store.StatusView) string { return strings.TrimPrefix(b.Scope, "bucket:") }

// backlogText says what waits, how fast it is sent and when it will be through.
func backlogText(now time.Time, b store.StatusView) string {
	text := thousands(b.Pending+b.Retrying) + " waiting"
	var kinds []string
	if b.Scheduled > 0 {
		kinds = append(kinds, thousands(b.Scheduled)+" scheduled")
	}
	if b.Retrying > 0 {
		kinds = append(kinds, thousands(b.Retrying)+" retrying")
	}
	if len(kinds) > 0 {
		text += " (" + strings.Join(kinds, ", ") + ")"
	}
	text += expectation(now, b) + fmt.Sprintf("; %s in flight", thousands(b.InFlight))
	if b.OldestDueAt != nil {
		text += "; oldest due " + relative(now, *b.OldestDueAt)
	}
	return text
}

// expectation says at which rate a bucket is emptied, and until when: empty while
// nobody can tell. The rate is left out where a park decides about the end.
func expectation(now time.Time, b store.StatusView) string {
	if b.ETAAt == nil || b.HeartbeatAt == nil {
		return ""
	}
	end, err := time.Parse(time.RFC3339, *b.ETAAt)
	reported, err2 := time.Parse(time.RFC3339, *b.HeartbeatAt)
	if cmp.Or(err, err2) != nil {
		return ""
	}
	text := ""
	if span := end.Sub(reported); span > 0 && !awaitsPark(b, reported) {
		text = ", " + rateText(float64(b.Pending+b.Retrying-b.Scheduled)/span.Minutes())
	}
	return text + ", done about " + clockTime(now, end)
}

// awaitsPark tells whether the end was not reckoned from the rate alone: all is sent
// by when a park ends, or it lasts for longer than a window.
func awaitsPark(b store.StatusView, reported time.Time) bool {
	if b.State != "parked" || b.UntilAt == nil {
		return false
	}
	until, err := time.Parse(time.RFC3339, *b.UntilAt)
	longest := time.Second // by so much a window's end is rounded
	if b.WindowMS != nil {
		longest += time.Duration(*b.WindowMS) * time.Millisecond
	}
	return err == nil && (*b.UntilAt == *b.ETAAt || until.Sub(reported) > longest)
}

// rateText rounds a rate to two digits: it is a forecast.
func rateText(perMinute float64) string {
	if perMinute < 1 {
		return "less than 1 a minute"
	}
	unit := math.Pow(10, max(0, math.Floor(math.Log10(perMinute))-1))
	return thousands(int(math.Round(perMinute/unit)*unit)) + " a minute"
}

// clockTime says when, as people do who are asked the time: with the second if it
// is soon, and with the day if it is another one.
func clockTime(now, at time.Time) string {
	now, at = now.UTC(), at.UTC()
	switch {
	case at.Sub(now) < 5*time.Minute:
		return at.Format("15:04:05 UTC")
	case at.Format(time.DateOnly) == now.Format(time.DateOnly):
		return at.Format("15:04 UTC")
	}
	return at.Format("Mon 2 Jan 15:04 UTC")
}

func lanesText(lanes []store.LaneView) string {
	parts := make([]string, len(lanes))
	for i, l := range lanes {
		parts[i] = string(l.Lane) + " " + thousands(l.Waiting)
		if l.More {
			parts[i] = fmt.Sprintf("%s over %s", l.Lane, thousands(l.Waiting))
		}
	}
	return strings.Join(parts, ", ")
}

// situation says state, since, until, reason and the request that tells more.
func situation(now time.Time, s store.StatusView) string {
	text := s.State
	if s.SinceAt != nil {
		text += fmt.Sprintf(" since %s (%s)", *s.SinceAt, relative(now, *s.SinceAt))
	}
	if s.UntilAt != nil {
		text += untilWord(s) + fmt.Sprintf("%s (%s)", *s.UntilAt, relative(now, *s.UntilAt))
	}
	return text + whyText(s)
}

// untilWord goes before until_at: what runs goes on then, and only a message that
// waits by itself is tried again.
func untilWord(s store.StatusView) string {
	if s.State == "running" {
		return ", next try "
	}
	return " until "
}

// whyText is the reason of a state, and the request that tells more.
func whyText(s store.StatusView) string {
	text := ""
	if s.Reason != nil {
		text = ": " + printable(*s.Reason)
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
