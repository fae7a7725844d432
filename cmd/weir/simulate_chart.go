package main

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// chartStyle colours a drawing for light and for dark surroundings. Colours and
// shapes differ in brightness too, for those who cannot tell hues.
const chartStyle = `
text{font:13px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;fill:#1f2328}
.title{font-size:19px;font-weight:600}
.said{fill:#57606a}
.paper{fill:#fff}
.grid{stroke:#d8dee4;stroke-width:1}
.axis{stroke:#57606a;stroke-width:1}
.boundary{stroke:#6e7781;stroke-width:1.2;stroke-dasharray:5 4}
.left{fill:none;stroke:#0550ae;stroke-width:1.8;stroke-linejoin:round}
.under{fill:#0550ae;fill-opacity:.13}
.accepted{fill:#54a3e8}
.rival{fill:#a3abb3}
.refused{fill:#c4320a}
.tier{stroke:#1f2328;stroke-width:1.2}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}
.said{fill:#9da7b1}
.paper{fill:#0d1117}
.grid{stroke:#2a313a}
.axis{stroke:#9da7b1}
.boundary{stroke:#9da7b1}
.left{stroke:#8cc8ff}
.under{fill:#8cc8ff;fill-opacity:.16}
.accepted{fill:#3d8fd9}
.rival{fill:#6e7781}
.refused{fill:#ff8a5c}
.tier{stroke:#e6edf3}
}`

// chart is a drawing in SVG.
type chart struct{ body strings.Builder }

func (c *chart) add(format string, args ...any) { fmt.Fprintf(&c.body, format+"\n", args...) }

// text writes a line; anchor is start, middle or end.
func (c *chart) text(x, y float64, anchor, class, text string) {
	c.add(`<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class, html.EscapeString(text))
}

func (c *chart) line(x1, y1, x2, y2 float64, class string) {
	c.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`, x1, y1, x2, y2, class)
}

func (c *chart) box(x, y, width, height float64, class string) {
	c.add(`<rect x="%.2f" y="%.2f" width="%.2f" height="%.2f" class="%s"/>`, x, y, width, height, class)
}

// svg is the whole file.
func (c *chart) svg(width, height int, title, text string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">
<title>%s</title>
<desc>%s</desc>
<style>%s
</style>
<rect width="%d" height="%d" class="paper"/>
%s</svg>
`, width, height, width, height, html.EscapeString(title), html.EscapeString(text), chartStyle, width, height, c.body.String())
}

// panel is a part of a chart with axes of its own: from 0 to most on both of
// them, in pixels from left and top.
type panel struct {
	left, top, right, bottom float64
	mostX, mostY             float64
}

func (p panel) x(value float64) float64 { return p.left + (p.right-p.left)*value/p.mostX }
func (p panel) y(value float64) float64 { return p.bottom - (p.bottom-p.top)*value/p.mostY }

// axes draws the grid, the scales and what they mean; marked tells whether the
// x axis has figures.
func (p panel) axes(c *chart, name string, marked bool) {
	for _, value := range ticks(p.mostY, 5) {
		c.line(p.left, p.y(value), p.right, p.y(value), "grid")
		c.text(p.left-8, p.y(value)+4.5, "end", "said", tickText(value))
	}
	for _, value := range ticks(p.mostX, 12) {
		c.line(p.x(value), p.bottom, p.x(value), p.bottom+5, "axis")
		if marked {
			c.text(p.x(value), p.bottom+20, "middle", "said", tickText(value))
		}
	}
	c.line(p.left, p.bottom, p.right, p.bottom, "axis")
	c.line(p.left, p.top, p.left, p.bottom, "axis")
	c.text(p.left, p.top-10, "start", "", name)
}

// ticks gives round values from 0 to most, so many at most after 0.
func ticks(most float64, count int) []float64 {
	unit := math.Pow(10, math.Floor(math.Log10(most/float64(count))))
	step := unit
	for _, times := range []float64{1, 2, 5, 10} {
		if step = unit * times; most/step <= float64(count)+1e-9 {
			break
		}
	}
	var values []float64
	for i := 0; float64(i)*step <= most*(1+1e-9); i++ {
		values = append(values, float64(i)*step)
	}
	return values
}

func tickText(value float64) string {
	if value == math.Trunc(value) && value < 1e15 {
		return thousands(int(value))
	}
	return strconv.FormatFloat(value, 'g', 4, 64)
}
