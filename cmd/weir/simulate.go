package main

import (
	"cmp"
	"context"
	"encoding"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weir/cmd/weir/internal/sandbox"
	"weir/limiter/sim"
)

// mostSkew is how far the server's clock is off, either way, unless that is set.
const mostSkew = 5 * time.Second

// simulation is what a command line asks to be simulated.
type simulation struct {
	scenario sim.Scenario // without model, limit and seed, which vary
	limits   []limitSetting
	models   []sim.Model
	policies []sim.Contender
	high     float64 // share of the limit that messages of the high lane take
	skewed   bool    // scenario.Skew holds for all seeds
	warmed   bool    // scenario.Warm holds for all windows
	seeds    int
	seed     uint64 // the first

	messages int    // above 0: plan how long they take
	plot     string // not empty: the file into which one run is drawn
}

// limitSetting is a limit and its window.
type limitSetting struct {
	limit  int
	window time.Duration
}

// simulateFlags are the flags that need reading once all are there.
type simulateFlags struct {
	limit                   int
	window                  time.Duration
	models, policies, tiers []string
	resetCeil               bool
}

func newSimulateCommand(a *app) *cobra.Command {
	var s simulation
	var flags simulateFlags
	command := &cobra.Command{
		Use:   "simulate",
		Short: "See what weir makes of a limit, in virtual time, and what others do",
		Long: "Plays a server with a limit, the way to it and a backlog in virtual time, against weir's\n" +
			"limiter and against what other clients do, and prints how much of the limit each of\n" +
			"them used and how often it was refused. Without flags that takes the two limits 100 per\n" +
			"second and 1,000 per minute and all models of a server; flags choose among them and\n" +
			"change the rest. What happens is a matter of the seed alone: the same command line gives\n" +
			"the same figures.\n\n" +
			"With --messages it tells when so many messages would be sent and how long those of the\n" +
			"high lane would wait. With --plot it draws one run from its cold start.\n\n" +
			"Policies:\n" + policyTexts(sim.Contenders()) + "\nModels:\n" + modelTexts(sim.Models()),
		Example: "  weir simulate\n" +
			"  weir simulate --limit 300 --window 3s --model first-request --rival 0.3\n" +
			"  weir simulate --messages 1000000 --limit 1000 --window 1m --high 0.05\n" +
			"  weir simulate --limit 100 --window 2s --tier 4x@9s --plot run.svg",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.apply(cmd.Flags(), &s); err != nil {
				return &usageError{err}
			}
			return a.simulate(cmd.Context(), s)
		},
	}
	s.addFlags(command.Flags(), &flags)
	return command
}

func (s *simulation) addFlags(f *pflag.FlagSet, flags *simulateFlags) {
	c := &s.scenario
	f.IntVar(&flags.limit, "limit", 0, "requests allowed per window (default 100 and 1000)")
	f.DurationVar(&flags.window, "window", 0, "length of the limit's window (default 1s and 1m)")
	f.StringSliceVar(&flags.models, "model", nil, "how the server counts; may be repeated (default all, or clock)")
	f.StringSliceVar(&flags.policies, "policy", nil, "who sends; may be repeated (default all, or weir)")
	f.StringArrayVar(&flags.tiers, "tier", nil, "change the limit at a time, as 4x@10s or 400@10s; may be repeated")
	f.Float64Var(&c.RivalShare, "rival", 0, "share of the limit, 0 to 1, that another client asks for")

	f.TextVar(&c.Headers, "headers", sim.Always, "what tells about the limit: always, on-429, retry-after-only or none")
	f.Float64Var(&c.Missing, "missing", 0, "share of the successes, 0 to 1, whose headers are missing")
	f.BoolVar(&flags.resetCeil, "reset-ceil", false, "round X-RateLimit-Reset up instead of down")
	f.DurationVar(&c.ResetJitter, "reset-jitter", 0, "most by which Reset is off from one answer to the next, either way")
	f.BoolVar(&c.RemainingBefore, "remaining-before", false, "let X-RateLimit-Remaining leave out the request itself")
	f.BoolVar(&c.NoDate, "no-date", false, "leave the Date header out")
	f.BoolVar(&c.NoRetryAfter, "no-retry-after", false, "leave retry_after out of a 429")
	f.DurationVar(&c.Skew, "skew", 0, "how far the server's clock is ahead (default up to 5s either way, by the seed)")

	f.DurationVar(&c.Leg, "latency", 20*time.Millisecond, "median time of one way between client and server")
	f.Float64Var(&c.Tail, "tail", 0.01, "share of the requests, 0 to 1, that take a second more")
	f.Float64Var(&c.Lost, "lost", 0, "share of the requests, 0 to 1, whose answer never comes")

	f.IntVar(&c.MaxInFlight, "concurrency", 64, "requests under way at once")
	f.Float64Var(&c.Reserve, "reserve", 0.1, "share of the limit, 0 to 1, that weir keeps for the high lane")
	f.Float64Var(&s.high, "high", 0, "messages of the high lane, as a share of the limit (with --messages: of the messages)")

	f.DurationVar(&c.Warm, "warm", 0, "length of the cold start, which is not measured (default 4 windows)")
	f.DurationVar(&c.Measured, "length", 0, "length that is measured (default 12 windows, 116s at least; 8 windows with --plot)")
	f.IntVar(&s.seeds, "seeds", 3, "runs for each figure")
	f.Uint64Var(&s.seed, "seed", 0, "seed of the first run")

	f.IntVar(&s.messages, "messages", 0, "tell how long so many messages take")
	f.StringVar(&s.plot, "plot", "", "draw one run into this SVG file")
}

// apply reads the flags into s and checks the whole.
func (f simulateFlags) apply(set *pflag.FlagSet, s *simulation) error {
	single := s.messages > 0 || s.plot != ""
	s.models = sim.Models()
	s.policies = sim.Contenders()
	s.limits = []limitSetting{{100, time.Second}, {1000, time.Minute}}
	if single {
		s.models, s.policies = s.models[:1], s.policies[:1]
	}
	if set.Changed("limit") || set.Changed("window") || single {
		s.limits = []limitSetting{{cmp.Or(f.limit, 100), cmp.Or(f.window, time.Second)}}
	}
	bad := []error{f.readModels(s), f.readPolicies(s), f.readTiers(s), f.checkRanges(set, s)}
	if single && (len(s.models) > 1 || len(s.policies) > 1) {
		bad = append(bad, errors.New("--messages and --plot take one --model and one --policy"))
	}
	if s.messages > 0 && s.plot != "" {
		bad = append(bad, errors.New("--messages and --plot exclude each other"))
	}
	if s.messages > 0 && (f.limit == 0 || f.window == 0 || set.Changed("warm") || set.Changed("length")) {
		bad = append(bad, errors.New("--messages needs --limit and --window, and takes no --warm and no --length"))
	}
	if err := errors.Join(bad...); err != nil {
		return err
	}
	if s.atBest() > float64(longestPlan) {
		return errors.New("--messages: at this limit they take more than a year, which is too long for a plan")
	}
	s.skewed, s.warmed = set.Changed("skew"), set.Changed("warm")
	if f.resetCeil {
		s.scenario.Rounding = sim.Ceil
	}
	for _, share := range []*float64{&s.scenario.Tail, &s.scenario.Reserve} {
		if *share == 0 {
			*share = -1 // none, where a scenario has a default
		}
	}
	first := s.run(s.limits[0], s.models[0], s.seed)
	if s.plot != "" && first.Warm+first.Measured > mostDrawn*first.Window {
		return fmt.Errorf("--plot draws at most %d windows; choose a shorter --warm and --length", mostDrawn)
	}
	return first.Validate()
}

// checkRanges reports every figure that is out of its range, by its flag.
func (f simulateFlags) checkRanges(set *pflag.FlagSet, s *simulation) error {
	var bad []error
	check := func(ok bool, flag, want string) {
		if !ok {
			bad = append(bad, fmt.Errorf("--%s must be %s, not %s", flag, want, set.Lookup(flag).Value))
		}
	}
	c := &s.scenario
	check(f.limit > 0 || !set.Changed("limit"), "limit", "1 or more")
	check(f.window > 0 || !set.Changed("window"), "window", "above 0")
	share := func(value float64, flag string) { check(value >= 0 && value <= 1, flag, "from 0 to 1") }
	share(c.RivalShare, "rival")
	share(c.Missing, "missing")
	share(c.Tail, "tail")
	share(c.Lost, "lost")
	share(c.Reserve, "reserve")
	check(s.high >= 0 && s.high < 1, "high", "from 0 to below 1")
	check(c.ResetJitter >= 0, "reset-jitter", "0 or more")
	check(c.Warm >= 0, "warm", "0 or more")
	check(c.Leg > 0, "latency", "above 0")
	check(c.Measured > 0 || !set.Changed("length"), "length", "above 0")
	check(c.MaxInFlight > 0, "concurrency", "1 or more")
	check(s.seeds > 0, "seeds", "1 or more")
	check(s.messages > 0 && s.messages <= mostPlanned || !set.Changed("messages"), "messages", fmt.Sprintf("from 1 to %d", mostPlanned))
	return errors.Join(bad...)
}

func (f simulateFlags) readModels(s *simulation) error {
	if len(f.models) == 0 {
		return nil
	}
	s.models = make([]sim.Model, len(f.models))
	var bad []error
	for i, name := range f.models {
		bad = append(bad, readText("model", &s.models[i], name))
	}
	return errors.Join(bad...)
}

func (f simulateFlags) readPolicies(s *simulation) error {
	if len(f.policies) == 0 {
		return nil
	}
	all := sim.Contenders()
	var names []string
	for _, p := range all {
		names = append(names, p.Name)
	}
	s.policies = nil
	for _, name := range f.policies {
		i := slices.Index(names, name)
		if i < 0 {
			return fmt.Errorf("--policy %q: want one of %v", name, names)
		}
		s.policies = append(s.policies, all[i])
	}
	return nil
}

func (f simulateFlags) readTiers(s *simulation) error {
	s.scenario.Tiers = nil
	var bad []error
	for _, text := range f.tiers {
		var t sandbox.Tier
		err := readText("tier", &t, text)
		bad = append(bad, err)
		if err == nil {
			s.scenario.Tiers = append(s.scenario.Tiers, sim.Tier{After: t.After, Limit: t.Of(s.limits[0].limit)})
		}
	}
	if len(f.tiers) > 0 && len(s.limits) > 1 {
		bad = append(bad, errors.New("--tier needs --limit or --window"))
	}
	return errors.Join(bad...)
}

func readText(flag string, into encoding.TextUnmarshaler, text string) error {
	if err := into.UnmarshalText([]byte(text)); err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	return nil
}

// run is the scenario of one run.
func (s *simulation) run(l limitSetting, model sim.Model, seed uint64) sim.Scenario {
	c := s.scenario
	c.Limit, c.Window, c.Model, c.Seed = l.limit, l.window, model, seed
	if !s.skewed {
		// Multiples of the golden ratio spread few seeds as evenly as many.
		_, part := math.Modf(0.3 + float64(seed)*math.Phi)
		c.Skew = time.Duration((2*part - 1) * float64(mostSkew))
	}
	switch {
	case s.messages > 0:
		s.plan(&c)
		return c
	case s.plot != "":
		c.Measured, c.Traced = cmp.Or(c.Measured, 8*l.window), true
	default:
		// What is measured begins with a window of the server, since a part of
		// one can hold all its requests or none.
		untilNext := (l.window - c.Skew%l.window) % l.window
		if !s.warmed {
			c.Warm = 4 * l.window
		}
		c.Warm += untilNext
		c.Measured = cmp.Or(c.Measured, max(12*l.window, 116*time.Second))
	}
	if s.high > 0 {
		c.HighEvery = time.Duration(float64(l.window) / (s.high * float64(l.limit)))
	}
	return c
}

// simulate does what the command line asks for.
func (a *app) simulate(ctx context.Context, s simulation) error {
	switch {
	case s.messages > 0:
		return a.simulatePlan(ctx, s)
	case s.plot != "":
		return a.simulatePlot(ctx, s)
	}
	return a.simulateTable(ctx, s)
}

func policyTexts(policies []sim.Contender) string {
	var b strings.Builder
	for _, p := range policies {
		fmt.Fprintf(&b, "  %-14s %s\n", p.Name, p.Text)
	}
	return b.String()
}

func modelTexts(models []sim.Model) string {
	var b strings.Builder
	for _, m := range models {
		fmt.Fprintf(&b, "  %-14s %s\n", m, m.Text())
	}
	return b.String()
}
