package main

import (
	"github.com/spf13/cobra"
)

func newServeCommand(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: "Runs the daemon until SIGTERM or SIGINT, which let requests under way finish\n" +
			"(WEIR_DRAIN_TIMEOUT); a second signal ends it at once. Every setting is a flag, an\n" +
			"environment variable or a line of weir.yaml, in this order.",
		Args: cobra.NoArgs,
	}
	addSettingFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.serveConfig(cmd.Flags())
		if err != nil {
			return err
		}
		d, err := a.openDaemon(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		return d.run(cmd.Context())
	}
	return command
}
