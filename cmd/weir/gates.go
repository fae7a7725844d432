package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/outbox"
	"weir/store"
)

const (
	// scopeForms are what SCOPE can be.
	scopeForms = "daemon, account:NAME, ACCOUNT/CHANNEL, or all"
	scopeHelp  = "SCOPE is " + scopeForms + "."
	// everything is the SCOPE that stands for each one that there is.
	everything = "all"
	// pausedByHand is the reason of a pause for which none is given.
	pausedByHand = "paused by an operator"
	// maxText bounds in bytes what a person says, as it does all text that is stored.
	maxText = 1024
)

func newGatesCommand(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "gates",
		Short: "See and set what holds messages back",
	}
	command.AddCommand(newGatesListCommand(a), newPauseCommand(a), newResumeCommand(a), newProbeCommand(a))
	return command
}

func newGatesListCommand(a *app) *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "list",
		Short: "List every gate: why something is not sent now",
		Args:  cobra.NoArgs,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per line")
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withDatabase(cmd, func(ctx context.Context, s *store.Store) error {
			gates, err := s.GateViews(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return printLines(a.stdout, gates)
			}
			table := newTable(a.stdout, "SCOPE", "KIND", "SET BY", "SINCE", "UNTIL", "REQUEST ID", "REASON")
			for _, g := range gates {
				table.row(g.Scope, g.Kind, g.SetBy, g.SinceAt, shown(g.UntilAt), shown(g.RequestID), printable(g.Reason))
			}
			return table.Flush()
		})
	}
	return command
}

func newPauseCommand(a *app) *cobra.Command {
	var reason, until string
	command := &cobra.Command{
		Use:   "pause SCOPE",
		Short: "Send nothing from a scope until it is resumed",
		Long:  "Sends nothing from a scope until it is resumed; messages wait. " + scopeHelp,
		Example: "  weir gates pause default/email --until 2h --reason 'new template is wrong'\n" +
			"  weir gates pause all   # the daemon as a whole: what comes later waits too",
		Args: cobra.ExactArgs(1),
	}
	command.Flags().StringVar(&reason, "reason", pausedByHand, "what others are to see")
	command.Flags().StringVar(&until, "until", "", "end it by itself at a `TIME` in RFC 3339, or after a span such as 90s or 2h")
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, args []string) error {
		end, err := parseUntil(a.now(), until)
		if err != nil {
			return &usageError{err}
		}
		if len(reason) > maxText {
			return usageErrorf("--reason has %d bytes, more than %d", len(reason), maxText)
		}
		return a.withScope(cmd, args[0], func(ctx context.Context, s *store.Store, scope string) error {
			if err := s.Pause(ctx, scope, cmp.Or(printable(reason), pausedByHand), end); err != nil {
				return err
			}
			text := scope + " is paused until it is resumed"
			if !end.IsZero() {
				text = fmt.Sprintf("%s is paused until %s", scope, end.UTC().Format(time.RFC3339))
			}
			_, err := fmt.Fprintln(a.stdout, text)
			return err
		})
	}
	return command
}

func newResumeCommand(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "resume SCOPE",
		Short: "End a pause",
		Long:  "Ends what pause has begun, on the very scope that was paused, or on all. " + scopeHelp,
		Args:  cobra.ExactArgs(1),
	}
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == everything {
			return a.onAll(cmd, (*store.Store).ResumeAll, "is resumed", "nothing was paused")
		}
		return a.withScope(cmd, args[0], func(ctx context.Context, s *store.Store, scope string) error {
			resumed, err := s.Resume(ctx, scope)
			if err != nil {
				return err
			}
			text := scope + " was not paused; weir gates list shows what is"
			if resumed {
				text = scope + " is resumed"
			}
			_, err = fmt.Fprintln(a.stdout, text)
			return err
		})
	}
	return command
}

func newProbeCommand(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "probe SCOPE",
		Short: "Try now whether what holds a scope is cured",
		Long:  "Sends one message of a held or degraded scope now, to see whether it is cured. " + scopeHelp,
		Args:  cobra.ExactArgs(1),
	}
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == everything {
			return a.onAll(cmd, (*store.Store).ProbeAll, "will be probed now", "nothing is held or degraded")
		}
		return a.withScope(cmd, args[0], func(ctx context.Context, s *store.Store, scope string) error {
			asked, err := s.Probe(ctx, scope)
			if account, ok := accountOf(scope); ok && err == nil {
				var above int64
				above, err = s.Probe(ctx, account)
				asked += above
			}
			if err != nil {
				return err
			}
			text := scope + " will be probed now"
			if asked == 0 {
				text = scope + " is neither held nor degraded; weir gates list shows what is"
			}
			_, err = fmt.Fprintln(a.stdout, text)
			return err
		})
	}
	return command
}

// onAll does something to every scope and says of which it is now true.
func (a *app) onAll(cmd *cobra.Command, do func(*store.Store, context.Context) ([]string, error), is, none string) error {
	return a.withDatabase(cmd, func(ctx context.Context, s *store.Store) error {
		scopes, err := do(s, ctx)
		if err != nil {
			return err
		}
		if len(scopes) == 0 {
			_, err = fmt.Fprintln(a.stdout, none+"; weir gates list shows what stands")
		}
		for _, scope := range scopes {
			_, err = fmt.Fprintln(a.stdout, scope, is)
		}
		return err
	})
}

// accountOf gives the account whose gates hold a bucket too.
func accountOf(scope string) (string, bool) {
	bucket, ok := strings.CutPrefix(scope, "bucket:")
	account, _, _ := strings.Cut(bucket, "/")
	return outbox.AccountScope(account), ok
}

// parseUntil reads an end that lies ahead of now; the zero time if none is said.
func parseUntil(now time.Time, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	end, err := outbox.ParseTime(text)
	if err != nil {
		span, err := time.ParseDuration(text)
		if err != nil {
			return time.Time{}, fmt.Errorf("--until %q is neither a time in RFC 3339, such as 2026-03-28T14:30:00Z, nor a span, such as 90s or 2h", text)
		}
		end = now.Add(span)
	}
	if !end.After(now) {
		return time.Time{}, fmt.Errorf("--until %q is over already", text)
	}
	return end, nil
}

// withScope is withDatabase for a command on a scope, given in its full name.
func (a *app) withScope(cmd *cobra.Command, text string, use func(ctx context.Context, s *store.Store, scope string) error) error {
	cfg, err := a.existing(cmd)
	if err != nil {
		return err
	}
	return a.attach(cmd.Context(), cfg, func(ctx context.Context, s *store.Store) error {
		// The database knows the daemon's name better than this shell's settings do.
		daemon, _, err := s.Status(ctx)
		if err != nil {
			return err
		}
		scope := daemon.Scope
		if text != "daemon" && text != everything && text != scope {
			scope, err = parseScope(text, cfg.Channels())
		}
		if err != nil {
			return err
		}
		return use(ctx, s, scope)
	})
}

// parseScope reads the scope of an account or a bucket that is known.
func parseScope(text string, known outbox.Channels) (string, error) {
	if account, ok := strings.CutPrefix(text, "account:"); ok {
		if known[account] == nil {
			return "", noAccount(account, known)
		}
		return text, nil
	}
	bucket := strings.TrimPrefix(text, "bucket:")
	account, channel, ok := strings.Cut(bucket, "/")
	switch {
	case !ok:
		return "", usageErrorf("%q is no scope; SCOPE is %s", text, scopeForms)
	case known[account] == nil:
		return "", noAccount(account, known)
	case !slices.Contains(known[account], channel):
		return "", fmt.Errorf("account %s has no channel %q; it has %s", account, channel, strings.Join(known[account], ", "))
	}
	return outbox.Bucket{Account: account, Channel: channel}.Scope(), nil
}

func noAccount(account string, known outbox.Channels) error {
	return fmt.Errorf("there is no account %q; there is %s", account, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
}
