package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// table writes rows for people, in columns as wide as they need to be.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer, head ...any) table {
	t := table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.row(head...)
	return t
}

func (t table) row(cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(t, "\t")
		}
		fmt.Fprint(t, cell)
	}
	fmt.Fprintln(t)
}

// shown is an optional value in a table.
func shown[T any](value *T) string {
	if value == nil {
		return "-"
	}
	return fmt.Sprint(*value)
}

// printJSON writes one value on one line, as NDJSON has it.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// printLines writes values as NDJSON.
func printLines[T any](w io.Writer, values []T) error {
	for _, value := range values {
		if err := printJSON(w, value); err != nil {
			return err
		}
	}
	return nil
}

// printable gives text from outside so that a terminal shows it and obeys
// none of it, on one line.
func printable(text string) string {
	var out strings.Builder
	for i, r := range text {
		if r == unicode.ReplacementChar && !strings.HasPrefix(text[i:], "\uFFFD") {
			fmt.Fprintf(&out, `\x%02x`, text[i]) // a byte that is no UTF-8
			continue
		}
		if strconv.IsPrint(r) {
			out.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		out.WriteString(quoted[1 : len(quoted)-1])
	}
	return out.String()
}

// cut shortens text to at most so many characters.
func cut(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most-1]) + "…"
}

// plural counts things for people.
func plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return thousands(n) + " " + thing
}

// thousands writes a number with a comma between groups of three digits.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// words says a span of time the way people do, in its two largest units.
func words(d time.Duration) string {
	seconds := int(d.Round(time.Second) / time.Second)
	for _, unit := range []struct {
		seconds, part int
		name, partly  string
	}{{86400, 3600, "d", "h"}, {3600, 60, "h", "min"}, {60, 1, "min", "s"}} {
		if seconds < unit.seconds {
			continue
		}
		text := fmt.Sprintf("%d %s", seconds/unit.seconds, unit.name)
		if rest := seconds % unit.seconds / unit.part; rest > 0 {
			text += fmt.Sprintf(" %d %s", rest, unit.partly)
		}
		return text
	}
	return fmt.Sprintf("%d s", seconds)
}

// relative says where a time of a readable view lies, seen from now.
func relative(now time.Time, at string) string {
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return at
	}
	if t.After(now) {
		return "in " + words(t.Sub(now))
	}
	return words(now.Sub(t)) + " ago"
}
