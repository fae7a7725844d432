package main

import (
	"fmt"
	"io"
	"time"
)

// progress keeps one line of a terminal up to date. A nil one shows nothing.
type progress struct {
	w     io.Writer
	now   func() time.Time
	drawn time.Time // zero: the line is empty
}

// progressEvery is how often the line changes: as often as an eye can follow.
const progressEvery = 100 * time.Millisecond

// newProgress returns nil if w is no terminal.
func newProgress(w io.Writer, now func() time.Time) *progress {
	if !isTerminal(w) {
		return nil
	}
	return &progress{w: w, now: now}
}

// show writes what is, unless it did so just now.
func (p *progress) show(what fmt.Stringer) {
	if p == nil || p.now().Sub(p.drawn) < progressEvery {
		return
	}
	p.drawn = p.now()
	fmt.Fprintf(p.w, "\r%v\x1b[K", what)
}

// clear empties the line, so that something else can be written.
func (p *progress) clear() {
	if p == nil || p.drawn.IsZero() {
		return
	}
	p.drawn = time.Time{}
	fmt.Fprint(p.w, "\r\x1b[K")
}
