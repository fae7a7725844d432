package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"weir/store"
)

// checkTimeout bounds each check: a doctor that hangs is no help.
const checkTimeout = 10 * time.Second

// Results of a check.
const (
	checkOK   = "ok"
	checkWarn = "warn" // weir works, but somebody should know
	checkFail = "fail" // weir does not work, or will not for long
)

// finding is one line of "weir doctor".
type finding struct {
	Result string `json:"result"`
	What   string `json:"what"`
	Detail string `json:"detail"`
	Do     string `json:"do,omitempty"`
}

// diagnosis collects those of one check, in order.
type diagnosis []finding

func (f *diagnosis) ok(what, format string, args ...any) {
	*f = append(*f, finding{checkOK, what, fmt.Sprintf(format, args...), ""})
}

// warn takes what to do about it first; it may be empty if the detail says it.
func (f *diagnosis) warn(do, what, format string, args ...any) {
	*f = append(*f, finding{checkWarn, what, fmt.Sprintf(format, args...), do})
}

// fail is as warn.
func (f *diagnosis) fail(do, what, format string, args ...any) {
	*f = append(*f, finding{checkFail, what, fmt.Sprintf(format, args...), do})
}

// doctor looks at everything that weir needs. It changes nothing.
type doctor struct {
	*app
	cfg    *Config
	faults *faults
}

func newDoctorCommand(a *app) *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong, and say what to do",
		Long: "Checks settings, data directory, database, daemon, NATS, and for each account name,\n" +
			"certificate, key and clock of the API. It changes nothing and sends nothing: the key is\n" +
			"tried by asking for a list of one message. Run it as the daemon's user, with its\n" +
			"settings. It fails if a check does; a warning is no failure.",
		Args: cobra.NoArgs,
	}
	flags := command.Flags()
	addSettingFlags(flags)
	flags.BoolVar(&asJSON, "json", false, "print one JSON object per line")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		d := doctor{app: a}
		d.cfg, d.faults = loadConfig(a.getenv, flags)
		d.cfg.check(d.faults)
		return d.examine(cmd.Context(), asJSON)
	}
	return command
}

// examine makes all checks at once and prints each as soon as those before it
// are there.
func (d *doctor) examine(ctx context.Context, asJSON bool) error {
	checks := []func(context.Context) diagnosis{d.settings, d.directory, d.database, d.listeners, d.nats}
	for _, a := range d.cfg.Accounts {
		checks = append(checks, func(ctx context.Context) diagnosis { return d.api(ctx, a) })
	}
	results := make([]chan diagnosis, len(checks))
	var group errgroup.Group
	for i, check := range checks {
		results[i] = make(chan diagnosis, 1)
		group.Go(func() error {
			bounded, cancel := context.WithTimeout(ctx, checkTimeout)
			defer cancel()
			results[i] <- check(bounded)
			return nil
		})
	}
	failed := 0
	for _, result := range results {
		for _, f := range <-result {
			if f.Result == checkFail {
				failed++
			}
			if err := f.print(d.stdout, asJSON); err != nil {
				return err
			}
		}
	}
	_ = group.Wait() // no check fails: what it finds is its result
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if d.cfg.NATSURL != "" && !asJSON {
		fmt.Fprint(d.stdout, externalSetup())
	}
	if failed > 0 {
		return fmt.Errorf("%s failed; see what to do in the lines with fail", plural(failed, "check"))
	}
	return nil
}

func (f finding) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(w, f)
	}
	line := fmt.Sprintf("%-4s  %s: %s", f.Result, f.What, f.Detail)
	if f.Do != "" {
		line += " — " + f.Do
	}
	_, err := fmt.Fprintln(w, printable(line))
	return err
}

// settings reports every fault of the configuration.
func (d *doctor) settings(context.Context) (found diagnosis) {
	for _, err := range d.faults.list {
		found.fail("mend it; weir serve does not start with it", "settings", "%v", err)
	}
	if len(found) > 0 && store.DaemonRuns(d.cfg.DataDir) {
		found.warn("give doctor what the daemon has: its environment, or its weir.yaml by --config", "settings",
			"a daemon runs in %s all the same, with other settings than these", d.cfg.DataDir)
	}
	for _, warning := range d.cfg.Warnings {
		found.warn("", "settings", "%s", warning)
	}
	if len(found) == 0 {
		var names []string
		for _, a := range d.cfg.Accounts {
			names = append(names, a.Name)
		}
		found.ok("settings", "they fit together; accounts: %s", strings.Join(names, ", "))
	}
	return found
}

// oneLine is an error in the line of a finding.
func oneLine(err error) string { return plain(strings.ReplaceAll(err.Error(), "\n", "; ")) }
