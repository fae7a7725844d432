package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"weir/cmd/weir/internal/soak"
)

// passedOn are the variables of a soak's own processes that tests need: theirs is
// the binary of the tests, with the race detector.
var passedOn = []string{"WEIR_TEST_AS_PROGRAM", "GORACE"}

func newSoakCommand(a *app) *cobra.Command {
	cfg := soak.Config{Out: a.stdout}
	command := &cobra.Command{
		Use:    "soak",
		Short:  "Run a daemon for a long time through faults and restarts, and judge",
		Hidden: true,
		Long: "Runs a daemon in a process of its own against a simulated API that fails in turns,\n" +
			"hands over messages all the while, and in the first half restarts or kills the daemon\n" +
			"now and then. Then, also after Ctrl-C, it compares what it was told with the database\n" +
			"and the API's books, and tells what the last daemon let grow. Exit 0 means that nothing\n" +
			"was lost, sent twice or leaking, but for what a line with ? was too short to tell.",
		Args: cobra.NoArgs,
	}
	flags := command.Flags()
	flags.DurationVar(&cfg.For, "for", time.Hour, "how long it goes on")
	flags.IntVar(&cfg.Rate, "rate", 60, "messages handed over per second")
	flags.DurationVar(&cfg.Restarts, "restarts", time.Minute, "mean time between two restarts, in the first half")
	flags.Uint64Var(&cfg.Seed, "seed", 1, "decides when which storm and which restart comes")
	command.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		switch {
		case cfg.Rate < 1 || cfg.Rate > 1000:
			return usageErrorf("--rate must be from 1 to 1000, not %d", cfg.Rate)
		case cfg.For < 10*time.Second || cfg.Restarts < time.Second:
			return usageErrorf("--for must be 10s or more, and --restarts 1s or more")
		}
		if cfg.Dir, err = os.MkdirTemp("", "weir-soak-"); err != nil {
			return err
		}
		program, err := os.Executable()
		if err != nil {
			return err
		}
		cfg.Program = func(args ...string) *exec.Cmd {
			c := exec.Command(program, args...)
			c.Env = []string{"TMPDIR=" + os.TempDir()} // and none of the person's own settings
			for _, name := range passedOn {
				c.Env = append(c.Env, name+"="+a.getenv(name))
			}
			return c
		}
		verdict, err := soak.Run(cmd.Context(), cfg)
		if err != nil {
			return fmt.Errorf("%w; everything is kept in %s", err, cfg.Dir)
		}
		if err := verdict.Print(a.stdout); err != nil {
			return err
		}
		if !verdict.Good() {
			return fmt.Errorf("the verdict is bad; everything is kept in %s", cfg.Dir)
		}
		return os.RemoveAll(cfg.Dir)
	}
	command.AddCommand(newSoakDaemonCommand(a))
	return command
}

// newSoakDaemonCommand is weir serve that tells its gauges on standard output.
func newSoakDaemonCommand(a *app) *cobra.Command {
	command := &cobra.Command{Use: "daemon", Hidden: true, Args: cobra.NoArgs}
	serve := newServeCommand(a)
	command.Flags().AddFlagSet(serve.Flags())
	command.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := context.WithCancel(cmd.Context())
		told := make(chan struct{})
		go func() {
			defer close(told)
			soak.TellGauges(ctx, a.stdout)
		}()
		defer func() { stop(); <-told }()
		return serve.RunE(cmd, args)
	}
	return command
}
