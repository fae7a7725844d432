package main

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"weir/outbox"
)

// gcPercent lets the heap, a few megabytes, grow further between collections
// than Go's default: at thousands of requests a second that saves a tenth of
// the CPU.
const gcPercent = 400

// ownMemory is what Go's part of the daemon may take before collections come
// sooner than gcPercent says, beside one body of the largest size for each
// request on the wire. Both together keep a fast drain below 90 MB, however much
// waits.
const ownMemory = 28 << 20

func setMemory(getenv func(string) string, concurrency int) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(ownMemory + int64(concurrency)*outbox.MaxBody)
	}
}

func newServeCommand(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: "Runs the daemon until SIGTERM or SIGINT, which let requests under way finish\n" +
			"(WEIR_DRAIN_TIMEOUT); a second signal ends it at once. Every setting is a flag, an\n" +
			"environment variable or a line of weir.yaml, in this order. SIGHUP reads them again\n" +
			"and takes over keys, limits and log level.",
		Args: cobra.NoArgs,
	}
	addSettingFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		// From the beginning: before, SIGHUP would end the program.
		hangups := make(chan os.Signal, 1)
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
		read := func() (*Config, error) {
			cfg, err := a.serveConfig(cmd.Flags())
			if err == nil {
				setMemory(a.getenv, cfg.Concurrency)
			}
			return cfg, err
		}
		cfg, err := read()
		if err != nil {
			return err
		}
		d, err := a.openDaemon(cmd.Context(), cfg)
		if err != nil && cmd.Context().Err() != nil {
			cfg.logger(a.stderr).Info("stopped while it was starting")
			return nil // what failed, failed because it was told to stop
		}
		if err != nil {
			return err
		}
		d.reloads.asked, d.reloads.read = hangups, read
		return d.run(cmd.Context())
	}
	return command
}
