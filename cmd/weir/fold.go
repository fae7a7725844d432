package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// foldFor is for how long a warning or error that says what one before has
	// said is only counted.
	foldFor = 30 * time.Second
	// maxFolds bounds the lines that are remembered.
	maxFolds = 256
)

// folding is a log handler that writes equal warnings and errors once in a
// while, and then how many there were: what fails all the time must not fill
// the disk, which may be the very reason.
type folding struct {
	slog.Handler
	fixed string // what With has added
	seen  *folds
}

type folds struct {
	mu    sync.Mutex
	lines map[string]fold
}

type fold struct {
	written time.Time
	missed  int
}

func foldRepeats(h slog.Handler) slog.Handler {
	return &folding{Handler: h, seen: &folds{lines: make(map[string]fold)}}
}

// Handle implements slog.Handler.
func (f *folding) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return f.Handler.Handle(ctx, r)
	}
	missed, write := f.seen.count(f.line(r), r.Time)
	if !write {
		return nil
	}
	if missed > 0 {
		r.AddAttrs(slog.Int("repeated", missed))
	}
	return f.Handler.Handle(ctx, r)
}

// line is what makes two records equal: all that they say but how long the
// pause is until the next try, and which request it was. Of those that are only
// counted, the one that is written names the request for all.
func (f *folding) line(r slog.Record) string {
	var line strings.Builder
	line.WriteString(r.Level.String() + f.fixed + r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "in" && a.Key != "request_id" {
			line.WriteString("\x00" + a.String())
		}
		return true
	})
	return line.String()
}

func (s *folds) count(line string, now time.Time) (missed int, write bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, found := s.lines[line]
	if since := now.Sub(before.written); found && since >= 0 && since < foldFor {
		before.missed++
		s.lines[line] = before
		return 0, false
	}
	if len(s.lines) >= maxFolds {
		clear(s.lines)
	}
	s.lines[line] = fold{written: now}
	return before.missed, true
}

// WithAttrs implements slog.Handler.
func (f *folding) WithAttrs(attrs []slog.Attr) slog.Handler {
	fixed := f.fixed
	for _, a := range attrs {
		fixed += "\x00" + a.String()
	}
	return &folding{f.Handler.WithAttrs(attrs), fixed, f.seen}
}

// WithGroup implements slog.Handler.
func (f *folding) WithGroup(name string) slog.Handler {
	return &folding{f.Handler.WithGroup(name), f.fixed + "\x00" + name, f.seen}
}
