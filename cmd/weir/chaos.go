package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/cmd/weir/internal/chaos"
	"weir/internal/point"
)

// newChaosCommand builds "weir chaos", which is for those who doubt weir and not
// for those who use it: the help does not list it.
func newChaosCommand(a *app) *cobra.Command {
	cfg := chaos.Config{}
	var scenarios []string
	command := &cobra.Command{
		Use:    "chaos",
		Short:  "Kill weir again and again, and compare its books with the API's",
		Hidden: true,
		Long: "Runs this program as child processes against a simulated API, kills them with\n" +
			"SIGKILL while producers go on, and compares the API's books with the database:\n" +
			"exit 0 means that nothing was lost, nothing sent twice and everything explained.\n" +
			"Named places to die at need a build for it: go build -tags chaos ./cmd/weir.\n\n" +
			"Scenarios:\n  " + strings.Join(chaos.Scenarios(), "\n  "),
		Example: "  weir chaos --kills 1000 --seed 7\n" +
			"  weir chaos --scenario all\n" +
			"  weir chaos --fault-lasts 3m --scenario 'NATS: external server cannot be reached for a while'",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Out = a.stdout
			if !cmd.Flags().Changed("seed") {
				cfg.Seed = uint64(time.Now().UnixNano())
			}
			if cfg.Kills < 1 {
				return usageErrorf("--kills must be 1 or more, not %d", cfg.Kills)
			}
			if slices.Contains(scenarios, "all") {
				scenarios = chaos.Scenarios()
			}
			for _, name := range scenarios { // all, before the first has taken its time
				if err := chaos.CheckScenario(name); err != nil {
					return usageErrorf("%w", err)
				}
			}
			return a.chaos(cmd, cfg, scenarios)
		},
	}
	flags := command.Flags()
	flags.IntVar(&cfg.Kills, "kills", 100, "processes to kill")
	flags.Uint64Var(&cfg.Seed, "seed", 0, "decides what is handed over and who dies where and when (default: the time)")
	flags.StringArrayVar(&scenarios, "scenario", nil, "play the named fault, or all, in place of kills; may be repeated")
	flags.DurationVar(&cfg.FaultLasts, "fault-lasts", 0, "the least time that a fault of a scenario lasts (default: 1.5s)")
	flags.StringVar(&cfg.Dir, "dir", "", "where the data directories go (default: a temporary directory)")
	return command
}

// chaos kills, or plays the scenarios if there are any.
func (a *app) chaos(cmd *cobra.Command, cfg chaos.Config, scenarios []string) (err error) {
	if cfg.Program, err = os.Executable(); err != nil {
		return err
	}
	if cfg.Dir == "" {
		if cfg.Dir, err = os.MkdirTemp("", "weir-chaos-"); err != nil {
			return fmt.Errorf("making a directory: %w; set --dir", err)
		}
		defer func() { _ = os.Remove(cfg.Dir) }() // unless something was kept in it
	}
	if !point.Built {
		fmt.Fprintln(a.stderr, "This build has no named places: all kills are at random or from the API's side.")
	}
	if len(scenarios) > 0 {
		var failed []error
		skipped := 0
		for _, name := range scenarios {
			err := chaos.RunScenario(cmd.Context(), cfg, name)
			if errors.Is(err, chaos.ErrSkipped) {
				skipped++
				_, err = fmt.Fprintln(a.stdout, err)
			}
			failed = append(failed, err)
		}
		if skipped == len(scenarios) {
			failed = append(failed, errors.New("nothing was played"))
		}
		return errors.Join(failed...)
	}
	verdict, err := chaos.Run(cmd.Context(), cfg)
	return errors.Join(verdict.Print(a.stdout), err)
}
