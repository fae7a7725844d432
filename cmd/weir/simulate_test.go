package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"weir/limiter/sim"
)

// simulated gives what a command line that must succeed prints, at a fixed time.
func simulated(t *testing.T, args ...string) string {
	t.Helper()
	var out, complaints bytes.Buffer
	a := &app{
		getenv: func(string) string { return "" }, stdin: strings.NewReader(""), stdout: &out, stderr: &complaints,
		now: func() time.Time { return time.Date(2026, 3, 28, 14, 30, 0, 0, time.UTC) },
	}
	if code := a.run(t.Context(), append([]string{"simulate"}, args...)); code != exitDone || complaints.Len() > 0 {
		t.Fatalf("weir simulate %q: exit %d, errors %q", args, code, complaints.String())
	}
	return out.String()
}

// brieflySimulated is a scenario that is played quickly.
var brieflySimulated = []string{"--limit", "50", "--window", "1s", "--seeds", "1", "--warm", "4s", "--length", "6s"}

// rowOf gives the figures of a policy's first row.
func rowOf(t *testing.T, table, policy string) []float64 {
	t.Helper()
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != policy {
			continue
		}
		var row []float64
		for _, field := range fields[1:] {
			value, err := strconv.ParseFloat(field, 64)
			if err != nil {
				t.Fatalf("row %q: %v", line, err)
			}
			row = append(row, value)
		}
		return row
	}
	t.Fatalf("there is no row for %s in\n%s", policy, table)
	return nil
}

func TestTheTableComparesEveryPolicyBeforeEveryModel(t *testing.T) {
	table := simulated(t, brieflySimulated...)
	if !strings.Contains(table, "\n50 per 1 s ") || strings.Contains(table, "1,000 per 1 min") {
		t.Errorf("the table is not for the limit that was asked for:\n%s", table)
	}
	for _, m := range sim.Models() {
		if !strings.Contains(table, " "+string(m)) || !strings.Contains(table, m.Text()) {
			t.Errorf("the table does not have or explain the model %s", m)
		}
	}
	for _, p := range sim.Contenders() {
		row := rowOf(t, table, p.Name)
		if len(row) != 2*len(sim.Models()) || !strings.Contains(table, p.Text) {
			t.Errorf("the row of %s has %d figures, want two for each model, and an explanation", p.Name, len(row))
		}
	}
	weir, greedy := rowOf(t, table, "weir"), rowOf(t, table, "greedy")
	if weir[0] < 95 || weir[1] > 100 || greedy[1] < 1000 {
		t.Errorf("before a clock weir uses %v %% with %v 429s, greedy has %v; want nearly all with hardly any, and a storm", weir[0], weir[1], greedy[1])
	}
}

func TestTheSameCommandLineGivesTheSameFigures(t *testing.T) {
	args := append(slices.Clone(brieflySimulated), "--policy", "weir,backoff", "--seeds", "3")
	if one, two := simulated(t, args...), simulated(t, args...); one != two {
		t.Errorf("first\n%s\nthen\n%s", one, two)
	}
}

func TestWithAHighLaneTheTableTellsItsWaits(t *testing.T) {
	table := simulated(t, append(slices.Clone(brieflySimulated), "--policy", "weir", "--model", "clock", "--high", "0.1")...)
	_, waits, found := strings.Cut(table, "\nwait of the high lane\n")
	if !found || !strings.Contains(waits, "p99") || !strings.Contains(waits, " ms") {
		t.Errorf("no waits in\n%s", table)
	}
}

func TestEveryFlagReachesTheScenario(t *testing.T) {
	second := limitSetting{100, time.Second}
	for _, c := range []struct {
		args []string
		of   func(sim.Scenario) any
		want any
	}{
		{[]string{"--tier", "4x@5s"}, func(s sim.Scenario) any { return s.Tiers[0] }, sim.Tier{After: 5 * time.Second, Limit: 400}},
		{[]string{"--rival", "0.4"}, func(s sim.Scenario) any { return s.RivalShare }, 0.4},
		{[]string{"--headers", "on-429"}, func(s sim.Scenario) any { return s.Headers }, sim.On429},
		{[]string{"--missing", "0.5"}, func(s sim.Scenario) any { return s.Missing }, 0.5},
		{nil, func(s sim.Scenario) any { return s.Rounding }, sim.Floor},
		{[]string{"--reset-ceil"}, func(s sim.Scenario) any { return s.Rounding }, sim.Ceil},
		{[]string{"--reset-jitter", "300ms"}, func(s sim.Scenario) any { return s.ResetJitter }, 300 * time.Millisecond},
		{[]string{"--remaining-before"}, func(s sim.Scenario) any { return s.RemainingBefore }, true},
		{[]string{"--no-date"}, func(s sim.Scenario) any { return s.NoDate }, true},
		{[]string{"--no-retry-after"}, func(s sim.Scenario) any { return s.NoRetryAfter }, true},
		{[]string{"--skew", "-3s"}, func(s sim.Scenario) any { return s.Skew }, -3 * time.Second},
		{[]string{"--skew", "0s"}, func(s sim.Scenario) any { return s.Skew }, time.Duration(0)},
		{nil, func(s sim.Scenario) any { return s.Skew != 0 && s.Skew.Abs() <= mostSkew }, true},
		{[]string{"--latency", "80ms"}, func(s sim.Scenario) any { return s.Leg }, 80 * time.Millisecond},
		{[]string{"--tail", "0"}, func(s sim.Scenario) any { return s.Tail < 0 }, true},
		{[]string{"--reserve", "0"}, func(s sim.Scenario) any { return s.Reserve < 0 }, true},
		{[]string{"--lost", "0.1"}, func(s sim.Scenario) any { return s.Lost }, 0.1},
		{[]string{"--concurrency", "2"}, func(s sim.Scenario) any { return s.MaxInFlight }, 2},
		{[]string{"--high", "0.1"}, func(s sim.Scenario) any { return s.HighEvery }, 100 * time.Millisecond},
		{[]string{"--seed", "7"}, func(s sim.Scenario) any { return s.Seed }, uint64(7)},
		{[]string{"--length", "9s"}, func(s sim.Scenario) any { return s.Measured }, 9 * time.Second},
		{nil, func(s sim.Scenario) any { return s.Measured }, 116 * time.Second},
		{[]string{"--warm", "0s", "--skew", "250ms"}, func(s sim.Scenario) any { return s.Warm }, 750 * time.Millisecond},
		{[]string{"--warm", "9s", "--skew", "250ms"}, func(s sim.Scenario) any { return s.Warm }, 9750 * time.Millisecond},
	} {
		var s simulation
		var flags simulateFlags
		set := pflag.NewFlagSet("simulate", pflag.ContinueOnError)
		s.addFlags(set, &flags)
		if err := errors.Join(set.Parse(append([]string{"--limit", "100"}, c.args...)), flags.apply(set, &s)); err != nil {
			t.Errorf("%v: %v", c.args, err)
			continue
		}
		if got := c.of(s.run(second, sim.Clock, s.seed)); got != c.want {
			t.Errorf("%v makes it %v, want %v", c.args, got, c.want)
		}
	}
}

func TestAPlanTellsWhenAllIsSentAndHowLongTheHighLaneWaits(t *testing.T) {
	got := simulated(t, "--messages", "6000", "--limit", "100", "--window", "1s", "--high", "0.05")
	for _, want := range []string{
		"6,000 messages at 100 per 1 s, counted in windows aligned to the clock, sent by weir:\n",
		"; if it starts now, on Saturday, 28 March 2026 at 14:3",
		"High lane     300 messages, which come at random all the while\n", "(p50), 99 of 100 ", "(p99), the worst ",
		"The others    5,700 messages, which wait from the start\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the plan does not say %q:\n%s", want, got)
		}
	}
	for _, want := range []string{`half of them wait \d+ ms at most \(p50\), 99 of 100 \d+ ms`, `half of them wait (29|30|31)(\.\d)? s at most`} {
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("the plan does not match %s:\n%s", want, got)
		}
	}
}

func TestAPictureShowsTheRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.svg")
	said := simulated(t, "--limit", "100", "--window", "2s", "--rival", "0.2", "--tier", "2x@9s", "--policy", "greedy", "--skew", "-500ms", "--plot", path)
	if !strings.HasPrefix(said, path+" is drawn: ") {
		t.Errorf("it says %q", said)
	}
	picture, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	decoder := xml.NewDecoder(bytes.NewReader(picture))
	var text strings.Builder
	count := map[string]int{}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("it is no XML: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			for _, attr := range token.Attr {
				if attr.Name.Local == "class" {
					count[attr.Value]++
				}
			}
		case xml.CharData:
			text.Write(token)
		}
	}
	for _, want := range []string{
		"Greedy before windows aligned to the clock: 100 requests per 2 s", "Requests left, as the server counts",
		"Requests per 100ms", "Time since the start, in seconds", "requests left", "another client's", "refused with 429", "window ends",
		"limit 200", "prefers-color-scheme:dark",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
	// Eight windows end within 16 s in each of two panels, and the legend has one more line.
	if count["boundary"] != 17 || count["tier"] != 1 || count["left"] != 2 || count["accepted"] < 9 || count["refused"] < 20 || count["rival"] < 3 {
		t.Errorf("the picture has %v", count)
	}
}

func TestASimulationRefusesWhatMakesNoSense(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--limit", "0"}, "--limit must be 1 or more, not 0"},
		{[]string{"--window", "-1s"}, "--window must be above 0, not -1s"},
		{[]string{"--rival", "2"}, "--rival must be from 0 to 1, not 2"},
		{[]string{"--seeds", "0"}, "--seeds must be 1 or more, not 0"},
		{[]string{"--concurrency", "0"}, "--concurrency must be 1 or more, not 0"},
		{[]string{"--latency", "-1s"}, "--latency must be above 0, not -1s"},
		{[]string{"--model", "guess"}, `--model: "guess": want one of [clock `},
		{[]string{"--policy", "guess"}, `--policy "guess": want one of [weir `},
		{[]string{"--tier", "fast", "--limit", "1"}, `--tier: `},
		{[]string{"--tier", "2x@1s"}, "--tier needs --limit or --window"},
		{[]string{"--messages", "10"}, "--messages needs --limit and --window"},
		{[]string{"--messages", "10", "--limit", "1", "--window", "1s", "--plot", "x.svg"}, "exclude each other"},
		{[]string{"--messages", "99999999", "--limit", "1", "--window", "1s"}, "--messages must be from 1 to 5000000"},
		{[]string{"--messages", "5000000", "--limit", "1", "--window", "1h"}, "more than a year"},
		{[]string{"--plot", "x.svg", "--policy", "weir,greedy"}, "take one --model and one --policy"},
		{[]string{"--plot", "x.svg", "--length", "1h"}, "--plot draws at most 200 windows"},
		{[]string{"--headers", "guess"}, "--headers"},
	} {
		code, stdout, stderr := execute(t.Context(), append([]string{"simulate"}, c.args...)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("weir simulate %q: exit %d, output %q, errors %q; want %q", c.args, code, stdout, stderr, c.want)
		}
	}
}

func TestASimulationCanBeInterrupted(t *testing.T) {
	for _, args := range [][]string{{}, {"--messages", "5000000", "--limit", "1000", "--window", "1s"}} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		code, _, stderr := execute(ctx, append([]string{"simulate"}, args...)...)
		cancel()
		if code != exitFailed || stderr == "" {
			t.Errorf("weir simulate %q: exit %d, errors %q; want a failure", args, code, stderr)
		}
	}
}

func TestAPictureThatCannotBeWrittenIsAFailure(t *testing.T) {
	code, _, stderr := execute(t.Context(), "simulate", "--plot", filepath.Join(t.TempDir(), "none", "run.svg"))
	if code != exitFailed || !strings.Contains(stderr, "writing the picture") {
		t.Errorf("exit %d, errors %q", code, stderr)
	}
}

func TestTicksAreRoundAndFew(t *testing.T) {
	for _, c := range []struct {
		most  float64
		count int
		want  []float64
	}{
		{104, 5, []float64{0, 50, 100}},
		{8, 12, []float64{0, 1, 2, 3, 4, 5, 6, 7, 8}},
		{1, 5, []float64{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1}},
		{1040, 5, []float64{0, 500, 1000}},
	} {
		if got := ticks(c.most, c.count); !slices.Equal(got, c.want) {
			t.Errorf("ticks(%v, %d) = %v, want %v", c.most, c.count, got, c.want)
		}
	}
}

func TestBarsEndWhereWindowsDo(t *testing.T) {
	for _, c := range []struct{ window, span, want time.Duration }{
		{time.Second, 8 * time.Second, 50 * time.Millisecond},
		{time.Minute, 8 * time.Minute, 3 * time.Second},
		{time.Minute, 10 * time.Second, 120 * time.Millisecond},
		{time.Second, 1000 * time.Second, 7 * time.Second},
	} {
		got := barWidth(c.window, c.span)
		if got != c.want || c.window%got != 0 && got%c.window != 0 {
			t.Errorf("bars of %v for windows of %v within %v, want %v", got, c.window, c.span, c.want)
		}
	}
}

func TestSpansAndNumbersAreWrittenForPeople(t *testing.T) {
	for span, want := range map[time.Duration]string{
		0: "0 ms", 1400 * time.Microsecond: "1 ms", 885 * time.Millisecond: "885 ms", time.Second: "1 s",
		999600 * time.Microsecond: "1 s", 12340 * time.Millisecond: "12.3 s", 59960 * time.Millisecond: "1 min", 60 * time.Second: "1 min", 16*time.Hour + 40*time.Minute: "16 h 40 min",
	} {
		if got := brief(span); got != want {
			t.Errorf("brief(%v) = %q, want %q", span, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}
