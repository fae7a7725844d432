package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"weir/cmd/weir/internal/chaos"
	"weir/internal/point"
)

// newChaosCommand builds "weir chaos", which is for those who doubt weir and not
// for those who use it: the help does not list it.
func newChaosCommand(a *app) *cobra.Command {
	cfg := chaos.Config{}
	command := &cobra.Command{
		Use:    "chaos",
		Short:  "Kill weir again and again, and compare its books with the API's",
		Hidden: true,
		Long: "Runs this program as child processes against a simulated API, kills them with\n" +
			"SIGKILL while producers go on, and compares the API's books with the database:\n" +
			"exit 0 means that nothing was lost, nothing sent twice and everything explained.\n" +
			"Named places to die at need a build for it: go build -tags chaos ./cmd/weir.",
		Example: "  weir chaos --kills 1000 --seed 7",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Out = a.stdout
			if !cmd.Flags().Changed("seed") {
				cfg.Seed = uint64(time.Now().UnixNano())
			}
			return a.chaos(cmd, cfg)
		},
	}
	flags := command.Flags()
	flags.IntVar(&cfg.Kills, "kills", 100, "processes to kill")
	flags.Uint64Var(&cfg.Seed, "seed", 0, "what decides about everything that is left to chance (default: the time)")
	flags.StringVar(&cfg.Dir, "dir", "", "where the data directories go (default: a temporary directory)")
	return command
}

func (a *app) chaos(cmd *cobra.Command, cfg chaos.Config) (err error) {
	if cfg.Program, err = os.Executable(); err != nil {
		return err
	}
	if cfg.Dir == "" {
		if cfg.Dir, err = os.MkdirTemp("", "weir-chaos-"); err != nil {
			return fmt.Errorf("making a directory: %w; set --dir", err)
		}
	}
	if !point.Built {
		fmt.Fprintln(a.stderr, "This build has no named places: all kills are at random or from the API's side.")
	}
	verdict, err := chaos.Run(cmd.Context(), cfg)
	if err == nil {
		err = os.Remove(cfg.Dir)
	}
	return errors.Join(err, verdict.Print(a.stdout))
}
