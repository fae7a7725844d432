package main

import (
	"encoding"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"weir/cmd/weir/internal/sandbox"
	"weir/limiter/sim"
)

// newSandboxCommand builds "weir sandbox".
func newSandboxCommand() *cobra.Command {
	var listen string
	var cfg sandbox.Config
	var lists sandboxLists
	command := &cobra.Command{
		Use:   "sandbox",
		Short: "Run a simulated API with a rate limit and faults",
		Long: "Runs an API that takes messages as the real one does, keeps a rate limit and\n" +
			"idempotency keys, and fails as it is told to. Its first line names the settings\n" +
			"with which weir finds it. GET /stats tells what it saw and GET /stats/keys what\n" +
			"became of each key; POST /control changes it while it runs, with a body such as\n" +
			`{"limit":400,"keys":["next_key"],"faults":["503@0s..8s"]}; [] ends all faults.` + "\n\n" +
			"A fault is KIND[@[FROM]..[TO]][:OPTION,...] with the options CHANCE, first=N,\n" +
			"every=N, after=N, delay=DURATION, channel=NAME and key=PREFIX. Kinds:\n" +
			sandboxKinds(),
		Example: "  weir sandbox --limit 100 --window 2s --tier 4x@10s\n" +
			"  weir sandbox --fault 402@2s..10s --fault 500:0.05 --fault cut-after:first=3,channel=rcs",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := lists.apply(&cfg); err != nil {
				return &usageError{err}
			}
			return runSandbox(cmd, listen, cfg)
		},
	}
	flags := command.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:8080", "address to listen on; port 0 takes a free one")
	flags.StringArrayVar(&cfg.Keys, "api-key", []string{sandbox.DefaultKey}, "API key to accept; may be repeated")
	flags.IntVar(&cfg.Limit, "limit", 0, "sends allowed per window; 0 for any number")
	flags.DurationVar(&cfg.Window, "window", 0, "length of the limit's window (default 1s)")
	flags.TextVar(&cfg.Model, "model", sim.Clock, "how the limit counts: clock, first-request, log, counter or bucket")
	flags.TextVar(&cfg.Scope, "limit-scope", sandbox.PerKey, "what one limit counts: key or channel")
	flags.StringArrayVar(&lists.tiers, "tier", nil, "change the limit at a time, as 4x@10s or 400@10s; may be repeated")
	flags.TextVar(&cfg.Headers, "headers", sim.Always, "what tells about the limit: always, on-429, retry-after-only or none")
	flags.BoolVar(&lists.floor, "reset-floor", false, "round X-RateLimit-Reset down instead of up")
	flags.BoolVar(&cfg.RemainingBefore, "remaining-before", false, "let X-RateLimit-Remaining leave out the request itself")
	flags.BoolVar(&cfg.RetryAfter, "retry-after", false, "add Retry-After to each 429")
	flags.BoolVar(&cfg.NoDate, "no-date", false, "leave the Date header out")
	flags.DurationVar(&cfg.Skew, "skew", 0, "how far the server's clock is ahead")
	flags.DurationVar(&cfg.Latency, "latency", 0, "time between a request and its effect and answer")
	flags.DurationVar(&cfg.Jitter, "jitter", 0, "most that chance adds to the latency")
	flags.DurationVar(&cfg.KeyLifetime, "key-lifetime", 0, "how long an idempotency key is remembered; 0 for ever")
	flags.BoolVar(&cfg.RequireUUIDKeys, "uuid-keys", false, "refuse idempotency keys that are no UUID")
	flags.BoolVar(&cfg.Lenient, "lenient", false, "accept any JSON object as a message")
	flags.StringArrayVar(&lists.faults, "fault", nil, "let requests go wrong, as 500:0.05; may be repeated")
	return command
}

// sandboxLists are the flags that need reading once all are there.
type sandboxLists struct {
	tiers, faults []string
	floor         bool
}

// apply reads the lists into cfg and checks the whole.
func (l sandboxLists) apply(cfg *sandbox.Config) error {
	cfg.Tiers = make([]sandbox.Tier, len(l.tiers))
	cfg.Faults = make([]sandbox.Fault, len(l.faults))
	cfg.Rounding = sim.Ceil
	if l.floor {
		cfg.Rounding = sim.Floor
	}
	var bad []error
	read := func(into encoding.TextUnmarshaler, text string) {
		if err := into.UnmarshalText([]byte(text)); err != nil {
			bad = append(bad, err)
		}
	}
	for i, text := range l.tiers {
		read(&cfg.Tiers[i], text)
	}
	for i, text := range l.faults {
		read(&cfg.Faults[i], text)
	}
	if len(bad) > 0 {
		return errors.Join(bad...)
	}
	return cfg.Validate()
}

// runSandbox serves until the command's context ends.
func runSandbox(cmd *cobra.Command, listen string, cfg sandbox.Config) error {
	l, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w; choose another address with --listen", listen, err)
	}
	server := sandbox.New(cfg)
	fmt.Fprintf(cmd.OutOrStdout(), "WEIR_API_URL=http://%s WEIR_API_KEY=%s\n", l.Addr(), cfg.Keys[0])
	return server.Serve(cmd.Context(), l)
}

// sandboxKinds lists the kinds of faults, a few to a line.
func sandboxKinds() string {
	var b strings.Builder
	for i, kind := range sandbox.Kinds() {
		if i%8 == 0 {
			b.WriteString("\n ")
		}
		fmt.Fprintf(&b, " %s", kind)
	}
	return strings.TrimPrefix(b.String(), "\n")
}
