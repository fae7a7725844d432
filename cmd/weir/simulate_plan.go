package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"weir/limiter/sim"
)

const (
	// mostPlanned is how many messages a plan is made for: they take half a
	// minute of computing and 250 MB.
	mostPlanned = 5_000_000
	// longestPlan is how long they may take at best.
	longestPlan = 365 * 24 * time.Hour
)

// plan turns c into the sending of the messages: those of the high lane come
// all the while, the others wait from the start.
func (s *simulation) plan(c *sim.Scenario) {
	high := int(s.high * float64(s.messages))
	c.Backlog, c.HighMost = s.messages-high, high
	if high > 0 {
		c.HighEvery = time.Duration(s.atBest() / float64(high))
	}
}

// atBest is how long the limit makes the messages take, in nanoseconds, which
// may be too many for a Duration.
func (s *simulation) atBest() float64 {
	return float64(s.messages) / float64(s.limits[0].limit) * float64(s.limits[0].window)
}

// simulatePlan tells when so many messages are sent, and who waits how long.
func (a *app) simulatePlan(ctx context.Context, s simulation) error {
	c := s.run(s.limits[0], s.models[0], s.seed)
	bar := newProgress(a.stderr, a.now)
	r, err := play(ctx, c, s.policies[0], func(passed time.Duration) {
		bar.show(doneShare(float64(passed) / s.atBest()))
	})
	bar.clear()
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s at %s per %s, counted in %s, sent by %s:\n\n",
		plural(s.messages, "message"), thousands(c.Limit), brief(c.Window), c.Model.Text(), s.policies[0].Name)
	if r.Done == 0 {
		_, err = fmt.Fprintf(a.stdout, "Not done after a hundred times as long as the limit makes it take: %s accepted, %s.\n",
			thousands(r.Total().Accepted), refusals(r.Total()))
		return err
	}
	end := a.now().Add(r.Done).Format("Monday, 2 January 2006 at 15:04 MST")
	t := newTable(a.stdout, "Done after", fmt.Sprintf("%s; if it starts now, on %s", brief(r.Done), end))
	t.row("Of the limit", fmt.Sprintf("%.2f %% used; %s", 100*min(r.Use, 1), refusals(r.Total()))) // parts of a window at both ends could make it more
	if c.HighMost > 0 {
		t.row("High lane", plural(c.HighMost, "message")+", which come at random all the while")
		t.row("", waits(r.HighWaits))
	}
	t.row("The others", plural(c.Backlog, "message")+", which wait from the start")
	t.row("", waits(r.Waits))
	if err := t.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprint(a.stdout, "\nA wait ends when the request leaves that is accepted.\n")
	return err
}

func refusals(t sim.Tally) string {
	if t.Refused == 0 {
		return "no answer of 429"
	}
	return plural(t.Refused, "answer") + " of 429"
}

func waits(waits []time.Duration) string {
	return fmt.Sprintf("half of them wait %s at most (p50), 99 of 100 %s (p99), the worst %s",
		brief(sim.Quantile(waits, 0.5)), brief(sim.Quantile(waits, 0.99)), brief(sim.Quantile(waits, 1)))
}

// brief says a span in one unit below a minute, else in two.
func brief(d time.Duration) string {
	switch {
	case d.Round(time.Millisecond) < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d.Round(100*time.Millisecond) < time.Minute:
		return strconv.FormatFloat(d.Round(100*time.Millisecond).Seconds(), 'f', -1, 64) + " s"
	}
	return words(d)
}
