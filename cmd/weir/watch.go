package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"weir/store"
)

const (
	// screenEvery is how often a screen is drawn: as often as the daemon writes
	// what changes.
	screenEvery = 500 * time.Millisecond
	// lineEvery is how often lines are printed at most.
	lineEvery = time.Second
)

// watcher shows one situation after the other.
type watcher interface {
	show(context.Context, situationReport) error
}

// watch shows the status until ctx ends, which is its regular end.
func (a *app) watch(ctx context.Context, s *store.Store, asJSON bool) error {
	var view watcher = &plainView{w: a.stdout}
	every := lineEvery
	resized := make(chan os.Signal, 1)
	switch {
	case asJSON:
		view = &jsonView{w: a.stdout}
	case isTerminal(a.stdout) && a.getenv("TERM") != "dumb":
		screen := &screenView{out: a.stdout.(*os.File), store: s, coloured: a.getenv("NO_COLOR") == ""}
		if err := screen.begin(); err != nil {
			return err
		}
		defer screen.end()
		signal.Notify(resized, syscall.SIGWINCH)
		defer signal.Stop(resized)
		view, every = screen, screenEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		now, err := readSituation(ctx, s, a.now())
		if err == nil {
			err = view.show(ctx, now)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-resized:
		}
	}
}

// jsonView prints an object whenever something has changed.
type jsonView struct {
	w    io.Writer
	last string
}

func (v *jsonView) show(_ context.Context, r situationReport) error {
	var line strings.Builder
	if err := printJSON(&line, r.asJSON()); err != nil || line.String() == v.last {
		return err
	}
	v.last = line.String()
	_, err := io.WriteString(v.w, v.last)
	return err
}

// plainView prints a line for each scope whose line has changed: for logs, pipes
// and terminals that can do no more.
type plainView struct {
	w    io.Writer
	last map[string]string
}

func (v *plainView) show(_ context.Context, r situationReport) error {
	if v.last == nil {
		v.last = make(map[string]string)
	}
	at := r.at.UTC().Format(time.RFC3339)
	for _, s := range append([]store.StatusView{r.daemon}, r.buckets...) {
		line := plainLine(r.at, s)
		if v.last[s.Scope] == line {
			continue
		}
		v.last[s.Scope] = line
		if _, err := fmt.Fprintln(v.w, at, line); err != nil {
			return err
		}
	}
	return nil
}

// plainLine says of a scope what may change, without what changes by time alone.
func plainLine(now time.Time, s store.StatusView) string {
	line := s.Scope + " " + s.State
	if s.UntilAt != nil {
		line += " until " + *s.UntilAt
	}
	line += fmt.Sprintf(", %d waiting, %d in flight, %d sent, %d failed, %d unknown",
		s.Pending+s.Retrying, s.InFlight, s.Sent, s.Failed, s.Unknown)
	if s.RateLimit != nil {
		line += ", " + limitLeft(s)
	}
	return line + whyText(s)
}

// screenView draws over a terminal, which it gives back as it was.
type screenView struct {
	out      *os.File
	store    *store.Store
	coloured bool
}

// The other screen, without a cursor and without wrapping lines; and back.
const (
	screenBegin = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
	screenEnd   = "\x1b[?7h\x1b[?25h\x1b[?1049l"
)

func (v *screenView) begin() error {
	_, err := v.out.WriteString(screenBegin)
	return err
}

func (v *screenView) end() { _, _ = v.out.WriteString(screenEnd) }

func (v *screenView) show(ctx context.Context, r situationReport) error {
	failed, err := v.store.Messages(ctx, lastErrors)
	if err != nil {
		return err
	}
	columns, rows, err := term.GetSize(int(v.out.Fd()))
	if err != nil {
		return fmt.Errorf("asking for the size of the terminal: %w", err)
	}
	lines := frame(&r, failed, columns, rows)
	var drawing strings.Builder
	drawing.WriteString("\x1b[H")
	for i, line := range lines {
		if i > 0 {
			drawing.WriteString("\r\n")
		}
		// Cleared before, since after a full line the cursor stands on its last character.
		drawing.WriteString("\x1b[2K" + line.drawn(v.coloured))
	}
	if len(lines) < rows {
		drawing.WriteString("\r\n\x1b[J")
	}
	_, err = v.out.WriteString(drawing.String())
	return err
}
