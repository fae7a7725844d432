package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"weir/cmd/weir/internal/steer"
	"weir/store"
)

const scopeHelp = "SCOPE is " + steer.Forms + "."

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
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeScope,
	}
	command.Flags().StringVar(&reason, "reason", steer.PausedByHand, "what others are to see")
	command.Flags().StringVar(&until, "until", "", "end it by itself at a `TIME` in RFC 3339, or after a span such as 90s or 2h")
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, args []string) error {
		end, err := steer.PauseEnd(a.now(), until)
		if err != nil {
			return &usageError{err}
		}
		if len(reason) > steer.MaxText {
			return usageErrorf("--reason has %d bytes, more than %d", len(reason), steer.MaxText)
		}
		return a.withScope(cmd, args[0], func(ctx context.Context, s *store.Store, scope string) error {
			if err := s.Pause(ctx, scope, cmp.Or(printable(reason), steer.PausedByHand), end); err != nil {
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
		Long: "Ends what pause has begun, on the very scope that was paused, or on all. On daemon it also ends the hold of a\n" +
			"start before the last time seen: you say that the clock is right, and what may have been sent becomes unknown. " + scopeHelp,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeScope,
	}
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == steer.All {
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
		Use:               "probe SCOPE",
		Short:             "Try now whether what holds a scope is cured",
		Long:              "Sends one message of a held or degraded scope now, to see whether it is cured. " + scopeHelp,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeScope,
	}
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == steer.All {
			return a.onAll(cmd, (*store.Store).ProbeAll, "will be probed now", "nothing is held or degraded")
		}
		return a.withScope(cmd, args[0], func(ctx context.Context, s *store.Store, scope string) error {
			asked, err := steer.Probe(ctx, s, scope)
			if err != nil {
				return err
			}
			text := scope + " will be probed now"
			if asked == 0 {
				text = scope + " is neither held nor degraded by what a probe can cure; weir gates list shows what is"
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

// withScope is withDatabase for a command on a scope, given in its full name.
func (a *app) withScope(cmd *cobra.Command, text string, use func(ctx context.Context, s *store.Store, scope string) error) error {
	cfg, err := a.existing(cmd)
	if err != nil {
		return err
	}
	return a.attach(cmd.Context(), cfg, func(ctx context.Context, s *store.Store) error {
		scope, err := steer.Scope(ctx, s, text, cfg.Channels())
		if wrong, ok := errors.AsType[*steer.ScopeError](err); ok && wrong.Form {
			return &usageError{err}
		}
		if err != nil {
			return err
		}
		return use(ctx, s, scope)
	})
}
