package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"weir/limiter/sim"
)

const (
	plotWidth, plotHeight = 1000, 620
	// mostBars is into how many bars the requests of a run are put together.
	mostBars = 160
	// mostDrawn is how many windows a picture may have, which then are no more
	// than a texture; up to mostBoundaries their ends can be told apart.
	mostDrawn, mostBoundaries = 200, 60
)

// simulatePlot draws one run.
func (a *app) simulatePlot(ctx context.Context, s simulation) error {
	c := s.run(s.limits[0], s.models[0], s.seed)
	r, err := play(ctx, c, s.policies[0], nil)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.plot, []byte(newPlot(c, s.policies[0], r).draw()), 0o644); err != nil {
		return fmt.Errorf("writing the picture: %w", err)
	}
	_, err = fmt.Fprintf(a.stdout, "%s is drawn: %s accepted, %s.\n", s.plot, thousands(r.Total().Accepted), refusals(r.Total()))
	return err
}

// plot is the picture of one run: above what is left of the limit, below who
// asked for it.
type plot struct {
	chart
	scenario    sim.Scenario
	policy      sim.Contender
	result      sim.Result
	span        time.Duration // from the start to the end of the axis
	unit        time.Duration // of the time axis
	bars        bars
	left, calls panel
}

func newPlot(c sim.Scenario, policy sim.Contender, r sim.Result) *plot {
	p := &plot{scenario: c, policy: policy, result: r, span: c.Warm + c.Measured, unit: time.Second}
	if p.span > 5*time.Minute {
		p.unit = time.Minute
	}
	p.bars = newBars(r.Trace, c.Window, p.span)
	mostLeft := c.Limit
	for _, a := range r.Trace {
		mostLeft = max(mostLeft, a.Limit)
	}
	p.left = panel{76, 148, plotWidth - 30, 342, p.at(p.span), float64(mostLeft) * 1.04}
	p.calls = panel{76, 404, plotWidth - 30, 554, p.at(p.span), float64(p.bars.highest()) * 1.06}
	return p
}

// at is a time on the axis.
func (p *plot) at(t time.Duration) float64 { return float64(t) / float64(p.unit) }

func (p *plot) draw() string {
	c := p.scenario
	title := fmt.Sprintf("%s before %s: %s requests per %s", p.policy.Name, c.Model.Text(), thousands(c.Limit), brief(c.Window))
	total := p.result.Total()
	text := fmt.Sprintf("One run from its cold start: %s accepted, %s.", thousands(total.Accepted), refusals(total))
	p.text(p.left.left, 34, "start", "title", strings.ToUpper(title[:1])+title[1:])
	p.text(p.left.left, 58, "start", "said", text)
	p.text(p.left.left, 77, "start", "said", p.manner())
	p.legend()

	p.left.axes(&p.chart, "Requests left, as the server counts", false)
	p.calls.axes(&p.chart, fmt.Sprintf("Requests per %s", p.bars.width), true)
	p.drawBoundaries()
	p.drawLeft()
	p.drawCalls()
	p.drawRefusals()
	p.drawTiers()
	name := map[time.Duration]string{time.Second: "seconds", time.Minute: "minutes"}[p.unit]
	p.text((p.left.left+p.left.right)/2, plotHeight-18, "middle", "", "Time since the start, in "+name)
	return p.svg(plotWidth, plotHeight, title, text)
}

// manner is what explains the course of the run.
func (p *plot) manner() string {
	if p.policy.Name == "weir" && p.scenario.Reserve > 0 && p.scenario.Model.Windowed() {
		return fmt.Sprintf("Of each window %.3g %% are kept for the high lane, less and less towards its end.", 100*p.scenario.Reserve)
	}
	return strings.ToUpper(p.policy.Text[:1]) + p.policy.Text[1:] + "."
}

// legend names what the run has.
func (p *plot) legend() {
	x, y := p.left.left, 102.0
	entry := func(class, text string) {
		switch class {
		case "left":
			p.line(x, y, x+22, y, class)
		case "boundary":
			p.line(x+11, y-9, x+11, y+9, class)
		default:
			p.box(x+4, y-6, 14, 12, class)
		}
		p.text(x+29, y+4.5, "start", "", text)
		x += 29 + 7.4*float64(len(text)) + 22
	}
	entry("left", "requests left")
	entry("accepted", "accepted")
	if p.scenario.RivalRate+p.scenario.RivalShare > 0 {
		entry("rival", "another client's")
	}
	if p.result.Total().Refused > 0 {
		entry("refused", "refused with 429")
	}
	if len(p.boundaries()) > 0 {
		entry("boundary", "window ends")
	}
}

// drawLeft draws how many requests are left. A window is whole again when it
// ends; anything else is drawn from one arrival to the next.
func (p *plot) drawLeft() {
	var path strings.Builder
	lastX, lastY := math.Inf(-1), 0.0
	to := func(t time.Duration, left int) {
		x, y := p.left.x(p.at(t)), p.left.y(float64(left))
		if math.Abs(x-lastX) < 0.3 && math.Abs(y-lastY) < 0.3 {
			return // too little to be seen
		}
		fmt.Fprintf(&path, "L%.1f %.1f", x, y)
		lastX, lastY = x, y
	}
	level, whole := p.scenario.Limit, time.Duration(0)
	for _, a := range p.result.Trace {
		if p.scenario.Model.Windowed() {
			if whole > 0 && whole <= a.At {
				to(whole, level)
				level = a.Limit
				to(whole, level)
			}
			to(a.At, level)
		}
		level, whole = a.Left, a.Reset
		to(a.At, level)
	}
	to(p.span, level)
	start := fmt.Sprintf("M%.1f %.1f", p.left.x(0), p.left.y(float64(p.scenario.Limit)))
	p.add(`<path d="%s%sV%.1fH%.1fZ" class="under"/>`, start, path.String(), p.left.bottom, p.left.left)
	p.add(`<path d="%s%s" class="left"/>`, start, path.String())
}

func (p *plot) drawCalls() {
	for i, b := range p.bars.all {
		x, width := p.bar(i)
		from := 0
		for _, part := range []struct {
			count int
			class string
		}{{b.accepted, "accepted"}, {b.rival, "rival"}, {b.refused, "refused"}} {
			if part.count > 0 {
				top := p.calls.y(float64(from + part.count))
				p.box(x, top, width, p.calls.y(float64(from))-top, part.class)
				from += part.count
			}
		}
	}
}

// drawRefusals marks between the panels when requests were refused, since one
// among hundreds has no height.
func (p *plot) drawRefusals() {
	if p.result.Total().Refused == 0 {
		return
	}
	y := p.left.bottom + 12
	p.text(p.left.left-8, y+10, "end", "said", "429")
	for i, b := range p.bars.all {
		if b.refused > 0 {
			x, width := p.bar(i)
			p.box(x, y, width, 12, "refused")
		}
	}
}

// bar is where a bar stands and how wide it is.
func (p *plot) bar(i int) (x, width float64) {
	from := p.bars.phase + time.Duration(i-1)*p.bars.width
	x = p.calls.x(p.at(max(from, 0)))
	return x + 0.4, p.calls.x(p.at(min(from+p.bars.width, p.span))) - x - 0.8
}

// drawTiers says when the limit changes.
func (p *plot) drawTiers() {
	for _, t := range p.scenario.Tiers {
		if t.After >= p.span {
			continue
		}
		x := p.left.x(p.at(t.After))
		p.line(x, p.left.top-6, x, p.calls.bottom, "tier")
		p.text(x-4, p.left.top-10, "end", "", "limit "+thousands(t.Limit))
	}
}

func (p *plot) drawBoundaries() {
	for _, at := range p.boundaries() {
		for _, panel := range []panel{p.left, p.calls} {
			p.line(panel.x(p.at(at)), panel.top, panel.x(p.at(at)), panel.bottom, "boundary")
		}
	}
}

// boundaries are the ends of the windows, if there are any and they can be told apart.
func (p *plot) boundaries() []time.Duration {
	if !p.scenario.Model.Windowed() && p.scenario.Model != sim.SlidingCounter {
		return nil
	}
	var ends []time.Duration
	for _, a := range p.result.Trace {
		if a.Reset < p.span && (len(ends) == 0 || a.Reset > ends[len(ends)-1]) {
			ends = append(ends, a.Reset)
		}
	}
	if len(ends) > mostBoundaries {
		return nil
	}
	return ends
}
