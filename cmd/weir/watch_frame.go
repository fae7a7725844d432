package main

import (
	"fmt"
	"strings"
	"time"

	"weir/outbox"
	"weir/store"
)

// lastErrors are the messages at the foot of the view.
var lastErrors = store.Filter{States: []outbox.State{outbox.Failed, outbox.Unknown}, Most: 5}

// screenLine is a line of the view, and the word of it that stands out.
type screenLine struct {
	text string
	word string
	ink  string // the parameters of an ANSI colour
}

// inks are the colours of states; the word itself is always there too.
var inks = map[string]string{"running": "32", "parked": "33", "degraded": "33", "held": "31", "paused": "35", "stopped": "31"}

func (l screenLine) drawn(coloured bool) string {
	if !coloured || l.word == "" {
		return l.text
	}
	return strings.Replace(l.text, l.word, "\x1b[1;"+l.ink+"m"+l.word+"\x1b[0m", 1)
}

// frame lays out a situation for a screen of so many columns and rows. What does
// not fit is counted on the last line.
func frame(r *situationReport, failed []store.MessageView, columns, rows int) []screenLine {
	lines := headLines(r, columns)
	for _, b := range r.buckets {
		lines = append(lines, screenLine{})
		lines = append(lines, bucketLines(r, b, columns)...)
	}
	if len(r.buckets) == 0 {
		lines = append(lines, screenLine{}, screenLine{text: "no messages yet"})
	}
	if len(failed) > 0 {
		lines = append(lines, screenLine{}, screenLine{text: "the latest that failed or are unknown"})
		for _, m := range failed {
			lines = append(lines, screenLine{text: "  " + failureText(r.at, m)})
		}
	}
	if rows > 1 && len(lines) > rows {
		hidden := len(lines) - rows + 1
		lines = append(lines[:rows-1], screenLine{text: fmt.Sprintf("… %d more lines: make the window higher", hidden)})
	}
	return lines
}

func headLines(r *situationReport, columns int) []screenLine {
	head := stateLine(strings.Replace(r.daemon.Scope, ":", " ", 1)+"  ", r.at, r.daemon)
	if r.daemon.HeartbeatAt != nil && r.daemon.State != "stopped" {
		head.text += ", heartbeat " + relative(r.at, *r.daemon.HeartbeatAt)
	}
	clock := r.at.UTC().Format("15:04:05 UTC")
	if gap := columns - len([]rune(head.text)) - len(clock); gap > 1 {
		head.text += strings.Repeat(" ", gap) + clock
	}
	return append([]screenLine{head}, reasonLines(r.daemon, columns)...)
}

func bucketLines(r *situationReport, b store.StatusView, columns int) []screenLine {
	lines := append([]screenLine{stateLine(bucketName(b)+"  ", r.at, b)}, reasonLines(b, columns)...)
	for _, l := range r.lines(b) {
		if l.name == "limit" {
			if b.RateLimit != nil && b.Remaining != nil {
				l.text = gauge(*b.Remaining, *b.RateLimit) + " " + l.text
			}
			if b.ResetAt != nil {
				l.text += "; resets " + relative(r.at, *b.ResetAt)
			}
		}
		for i, part := range wrapped(l.text, columns-11) {
			name := l.name
			if i > 0 {
				name = ""
			}
			lines = append(lines, screenLine{text: fmt.Sprintf("  %-8s %s", name, part)})
		}
	}
	return lines
}

// stateLine says state, since and until behind a name, in words.
func stateLine(name string, now time.Time, s store.StatusView) screenLine {
	line := screenLine{text: name + s.State, word: s.State, ink: inks[s.State]}
	if s.SinceAt != nil {
		line.text += " since " + relative(now, *s.SinceAt)
	}
	if s.UntilAt != nil {
		line.text += untilWord(s) + untilText(now, *s.UntilAt)
	}
	return line
}

// untilText says a time of the day and how far away it is.
func untilText(now time.Time, at string) string {
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return at
	}
	return clockTime(now, t) + " (" + relative(now, at) + ")"
}

func reasonLines(s store.StatusView, columns int) []screenLine {
	var lines []screenLine
	if why := strings.TrimPrefix(whyText(s), ": "); why != "" {
		for _, part := range wrapped(why, columns-2) {
			lines = append(lines, screenLine{text: "  " + part})
		}
	}
	return lines
}

// gaugeWidth is how many characters show the whole limit.
const gaugeWidth = 12

// gauge draws how much of a limit is left.
func gauge(left, of int) string {
	full := 0
	if of > 0 {
		full = min(gaugeWidth, max(0, left*gaugeWidth/of))
	}
	if left > 0 {
		full = max(full, 1) // what is left is seen
	}
	return strings.Repeat("█", full) + strings.Repeat("░", gaugeWidth-full)
}

func failureText(now time.Time, m store.MessageView) string {
	text := m.Key + " " + m.State
	if m.SettledAt != nil {
		text += " " + relative(now, *m.SettledAt)
	}
	return text + printable(details(labeled("HTTP", m.HTTPStatus), labeled("", m.ErrorCode), labeled("request", m.RequestID)))
}

// wrapped breaks text between words into lines of at most so many characters, or
// of one longer word.
func wrapped(text string, most int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > most {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
