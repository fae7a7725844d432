package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weir/cmd/weir/internal/steer"
	"weir/outbox"
	"weir/store"
)

// bulkCommand is a command that changes one message by its key, or all that a
// filter selects.
type bulkCommand struct {
	verb, done  string
	takes       []outbox.State
	which       filterFlags
	dryRun, yes bool
	one         func(ctx context.Context, s *store.Store, key string) (outbox.State, error)
	refusals    map[outbox.State]string // why one cannot be changed
	all         func(ctx context.Context, s *store.Store, f store.Filter, dryRun bool) (store.Bulk, error)
}

func (b *bulkCommand) add(flags *pflag.FlagSet) {
	b.which.add(flags, b.takes)
	flags.BoolVar(&b.dryRun, "dry-run", false, "only count what a filter selects")
	flags.BoolVar(&b.yes, "yes", false, "do not ask before changing what a filter selects")
	addDatabaseFlags(flags)
}

// args takes a key or a filter, and not both.
func (b *bulkCommand) args(cmd *cobra.Command, args []string) error {
	filtered := said(cmd.Flags(), filterNames)
	switch {
	case len(args) > 1:
		return fmt.Errorf("%d keys are too many: give one, or a filter such as --error-code", len(args))
	case len(args) == 1 && (filtered || b.dryRun):
		return fmt.Errorf("a key needs no filter and no --dry-run: leave out one or the other")
	case len(args) == 0 && !filtered:
		return fmt.Errorf("which messages? Give a KEY, or a filter such as --state %s", b.takes[0])
	}
	return nil
}

func (a *app) runBulk(cmd *cobra.Command, args []string, b *bulkCommand) error {
	if len(args) == 1 {
		return a.operate(cmd, args[0], b.one, b.refusals)
	}
	filter, err := b.which.read(a.now(), b.takes)
	if err != nil {
		return err
	}
	return a.withDatabase(cmd, func(ctx context.Context, s *store.Store) error {
		// What comes in while the question waits for its answer is not meant.
		if filter.Before, err = s.NextID(ctx); err != nil {
			return err
		}
		expected, err := b.all(ctx, s, filter, true)
		if err != nil {
			return err
		}
		possible := expected.Matched - expected.Skipped
		if b.dryRun {
			_, err := fmt.Fprintf(a.stdout, "%s would be %s%s\n", plural(possible, "message"), b.done, b.skipped(expected))
			return err
		}
		if possible == 0 {
			_, err := fmt.Fprintf(a.stdout, "0 messages %s%s\n", b.done, b.skipped(expected))
			return err
		}
		if err := a.confirm(b.yes, b.verb, plural(possible, "message")); err != nil {
			return err
		}
		result, err := b.all(ctx, s, filter, false)
		if result.Changed > 0 || err == nil {
			fmt.Fprintf(a.stdout, "%s %s%s\n", plural(result.Changed, "message"), b.done, b.skipped(result))
		}
		return err
	})
}

// skipped says what stays as it is, and why.
func (b *bulkCommand) skipped(n store.Bulk) string {
	if n.Skipped == 0 {
		return ""
	}
	var why []string
	if n.Purged > 0 {
		why = append(why, fmt.Sprintf("%d without their bodies, which are no longer kept (WEIR_KEEP_BODIES)", n.Purged))
	}
	if n.Overdue > 0 {
		why = append(why, fmt.Sprintf("%d whose deadlines have passed (give them a new one with --ttl or --expires-at)", n.Overdue))
	}
	if rest := n.Skipped - n.Purged - n.Overdue; rest > 0 {
		why = append(why, fmt.Sprintf("%d that have moved on meanwhile", rest))
	}
	return fmt.Sprintf("; %d skipped: %s", n.Skipped, strings.Join(why, ", "))
}

// plural counts things for people.
func plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return thousands(n) + " " + thing
}

func newRetryCommand(a *app) *cobra.Command {
	var expiresAt, ttl string
	b := &bulkCommand{
		verb: "retry", done: "retried", takes: store.Retryable,
		refusals: steer.NoRetry,
	}
	command := &cobra.Command{
		Use:   "retry {KEY | FILTER}",
		Short: "Send messages again that were surely not sent",
		Long: "Makes failed, canceled and expired messages pending again, as if they were new. One\n" +
			"whose deadline has passed needs a new one. Of a filter all flags must hold; it asks\n" +
			"before it changes anything, and can be interrupted and run again.",
		Example: `  weir messages retry order-7 --ttl 2h
  weir messages retry --error-code invalid_sender --since 1d --dry-run`,
		Args: b.args,
	}
	command.Flags().StringVar(&expiresAt, "expires-at", "", "new deadline: a `TIME` in RFC 3339")
	command.Flags().StringVar(&ttl, "ttl", "", "new deadline: a `SPAN` from now on, such as 90s, 30m or 24h")
	b.add(command.Flags())
	a.offerFilter(command, b.takes)
	command.ValidArgsFunction = a.completeKey
	command.RunE = func(cmd *cobra.Command, args []string) error {
		deadline, err := steer.Deadline(a.now(), expiresAt, ttl)
		if err != nil {
			return &usageError{err}
		}
		b.one = func(ctx context.Context, s *store.Store, key string) (outbox.State, error) {
			return s.Retry(ctx, key, deadline)
		}
		b.all = func(ctx context.Context, s *store.Store, f store.Filter, dryRun bool) (store.Bulk, error) {
			return s.RetryMatching(ctx, f, deadline, dryRun)
		}
		return a.runBulk(cmd, args, b)
	}
	return command
}

func newCancelCommand(a *app) *cobra.Command {
	b := &bulkCommand{
		verb: "cancel", done: "canceled", takes: store.Cancelable,
		refusals: steer.NoCancel,
		one: func(ctx context.Context, s *store.Store, key string) (outbox.State, error) {
			return s.Cancel(ctx, key)
		},
		all: func(ctx context.Context, s *store.Store, f store.Filter, dryRun bool) (store.Bulk, error) {
			return s.CancelMatching(ctx, f, dryRun)
		},
	}
	command := &cobra.Command{
		Use:   "cancel {KEY | FILTER}",
		Short: "Withdraw messages that wait",
		Long: "Withdraws pending and retrying messages. One that may have been sent becomes\n" +
			"unknown, the others canceled. Of a filter all flags must hold; it asks before it\n" +
			"changes anything, and can be interrupted and run again.",
		Example: `  weir messages cancel order-7
  weir messages cancel --lane bulk --channel email --older-than 2d`,
		Args: b.args,
	}
	b.add(command.Flags())
	a.offerFilter(command, b.takes)
	command.ValidArgsFunction = a.completeKey
	command.RunE = func(cmd *cobra.Command, args []string) error { return a.runBulk(cmd, args, b) }
	return command
}
