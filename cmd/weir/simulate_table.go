package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"weir/limiter/sim"
)

// simulateTable compares the policies before each model, a table for each limit.
func (a *app) simulateTable(ctx context.Context, s simulation) error {
	bar := newProgress(a.stderr, a.now)
	runs, done := len(s.limits)*len(s.policies)*len(s.models)*s.seeds, 0
	step := func() {
		done++
		bar.show(doneShare(float64(done) / float64(runs)))
	}
	var grids []grid
	for _, l := range s.limits {
		g, err := s.playAll(ctx, l, step)
		if err != nil {
			bar.clear()
			return err
		}
		grids = append(grids, g)
	}
	bar.clear()
	if err := s.explain(a.stdout); err != nil {
		return err
	}
	for i, l := range s.limits {
		if err := s.printGrid(a.stdout, l, grids[i]); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(a.stdout, "\nPolicies:\n%s\nModels:\n%s", policyTexts(s.policies), modelTexts(s.models))
	return err
}

// grid holds the runs of each policy (row) before each model (column).
type grid [][]cell

// cell is what came of the runs of one policy before one model.
type cell []sim.Result

// playAll plays everything for one limit, on all processors. It calls step
// after each run, never twice at once.
func (s *simulation) playAll(ctx context.Context, l limitSetting, step func()) (grid, error) {
	g := make(grid, len(s.policies))
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for row, policy := range s.policies {
		g[row] = make([]cell, len(s.models))
		for column, model := range s.models {
			runs := make(cell, s.seeds)
			g[row][column] = runs
			for i := range runs {
				group.Go(func() error {
					r, err := play(ctx, s.run(l, model, s.seed+uint64(i)), policy, nil)
					r.Times = nil // the bulk of it, and not needed
					runs[i] = r
					mu.Lock()
					defer mu.Unlock()
					step()
					return err
				})
			}
		}
	}
	return g, group.Wait()
}

// play plays one run, unless ctx ends before, and tells watch of its course.
func play(ctx context.Context, c sim.Scenario, policy sim.Contender, watch func(time.Duration)) (sim.Result, error) {
	if ctx.Err() != nil {
		return sim.Result{}, ctx.Err()
	}
	c.Watch = func(passed time.Duration) bool {
		if watch != nil {
			watch(passed)
		}
		return ctx.Err() == nil
	}
	return sim.Run(c, policy.New(c)), ctx.Err()
}

// explain says what the figures are.
func (s *simulation) explain(w io.Writer) error {
	clock := fmt.Sprintf("up to %s off", brief(mostSkew))
	if s.skewed {
		clock = fmt.Sprintf("%v ahead", s.scenario.Skew)
	}
	_, err := fmt.Fprintf(w, "Used of the limit in percent, and answers of 429 for each 10,000 accepted.\n"+
		"Endless backlog, %d requests at once, %s each way, the server's clock %s;\n"+
		"%s each, the cold start left out.\n",
		s.scenario.MaxInFlight, brief(s.scenario.Leg), clock, plural(s.seeds, "run"))
	return err
}

// nameWidth and cellWidth are the columns of a printed grid: a name, and two
// figures for each model.
const (
	nameWidth = 17
	cellWidth = 17
)

func (s *simulation) printGrid(w io.Writer, l limitSetting, g grid) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "\n%-*s", nameWidth, fmt.Sprintf("%s per %s", thousands(l.limit), brief(l.window)))
	for _, m := range s.models {
		fmt.Fprintf(out, "%*s", cellWidth, m)
	}
	s.printCells(out, g, "use %", "429s", cell.figures)
	if s.high > 0 {
		fmt.Fprintf(out, "\n%-*s", nameWidth, "wait of the high lane")
		s.printCells(out, g, "p50", "p99", cell.highWaits)
	}
	return out.Flush()
}

// printCells prints a row of headings and one for each policy.
func (s *simulation) printCells(w io.Writer, g grid, left, right string, show func(cell) (string, string)) {
	fmt.Fprintf(w, "\n%-*s", nameWidth, "")
	for range s.models {
		fmt.Fprintf(w, "%*s%*s", cellWidth-8, left, 8, right)
	}
	fmt.Fprintln(w)
	for row, policy := range s.policies {
		fmt.Fprintf(w, "%-*s", nameWidth, policy.Name)
		for _, c := range g[row] {
			left, right := show(c)
			fmt.Fprintf(w, "%*s%*s", cellWidth-8, left, 8, right)
		}
		fmt.Fprintln(w)
	}
}

func (c cell) figures() (use, refused string) {
	mean, tally := 0.0, sim.Tally{}
	for _, r := range c {
		mean += r.Use / float64(len(c))
		tally.Accepted += r.Measured.Accepted
		tally.Refused += r.Measured.Refused
	}
	per10k, digits := tally.Per10k(), 0
	if per10k > 0 && per10k < 9.95 {
		digits = 1
	}
	return fmt.Sprintf("%.2f", 100*mean), fmt.Sprintf("%.*f", digits, per10k)
}

func (c cell) highWaits() (half, nearlyAll string) {
	var waits []time.Duration
	for _, r := range c {
		waits = append(waits, r.HighWaits...)
	}
	return inCell(sim.Quantile(waits, 0.5)), inCell(sim.Quantile(waits, 0.99))
}

// inCell is brief, but for longer spans that would not fit into a cell.
func inCell(d time.Duration) string {
	switch {
	case d < time.Minute:
		return brief(d)
	case d < time.Hour:
		return fmt.Sprintf("%.1f min", d.Minutes())
	}
	return fmt.Sprintf("%.1f h", d.Hours())
}

// doneShare is how much of a simulation is over, as a progress shows it.
type doneShare float64

func (d doneShare) String() string { return fmt.Sprintf("simulating: %.0f %%", 100*min(float64(d), 1)) }
