package main

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"weir/cmd/weir/internal/steer"
	"weir/outbox"
	"weir/store"
)

// completedKeys is how many keys a shell offers: more nobody reads.
const completedKeys = 50

// completion gives what can stand where a shell asks. What cannot be found out
// is not offered; nobody wants to read an error while typing.
type completion = func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective)

// offer completes a flag, which the command has.
func offer(command *cobra.Command, flag string, what completion) {
	if err := command.RegisterFlagCompletionFunc(flag, what); err != nil {
		panic(err) // there is no such flag
	}
}

func oneOf[T ~string](names []T) completion {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = string(name)
	}
	return cobra.FixedCompletions(texts, cobra.ShellCompDirectiveNoFileComp)
}

// offerFilter completes the flags of a filter for messages.
func (a *app) offerFilter(command *cobra.Command, of []outbox.State) {
	offer(command, "state", oneOf(of))
	a.offerPlace(command)
	offer(command, "key", a.completeKeys)
	for _, flag := range []string{"error-code", "request-id", "to", "recipient-hash", "since", "until", "older-than"} {
		offer(command, flag, cobra.NoFileCompletions)
	}
}

// offerPlace completes the flags that say where messages belong.
func (a *app) offerPlace(command *cobra.Command) {
	offer(command, "lane", oneOf(outbox.Lanes[:]))
	offer(command, "account", a.completeNames(func(known outbox.Channels) []string { return slices.Collect(maps.Keys(known)) }))
	offer(command, "channel", a.completeNames(func(known outbox.Channels) []string {
		return slices.Concat(slices.Collect(maps.Values(known))...)
	}))
}

// completeNames completes by what weir.yaml and the settings know.
func (a *app) completeNames(names func(known outbox.Channels) []string) completion {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		cfg, err := a.config(cmd.Flags())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.Compact(slices.Sorted(slices.Values(names(cfg.Channels())))), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeScope completes the one SCOPE of a command on gates.
func (a *app) completeScope(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeNames(func(known outbox.Channels) []string {
		scopes := []string{steer.All, "daemon"}
		for account, channels := range known {
			scopes = append(scopes, outbox.AccountScope(account))
			for _, channel := range channels {
				scopes = append(scopes, account+"/"+channel)
			}
		}
		return scopes
	})(cmd, args, typed)
}

// completeKeys completes keys of messages: those that begin as typed or, while
// nothing is typed, the newest.
func (a *app) completeKeys(cmd *cobra.Command, _ []string, typed string) (keys []cobra.Completion, _ cobra.ShellCompDirective) {
	_ = a.withDatabase(cmd, func(ctx context.Context, s *store.Store) (err error) {
		keys, err = s.Keys(ctx, typed, completedKeys)
		return err
	})
	return keys, cobra.ShellCompDirectiveNoFileComp
}

// completeKey completes the one KEY of a command.
func (a *app) completeKey(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeKeys(cmd, args, typed)
}

// completeRejected completes IDs of rejected payloads, with their reasons.
func (a *app) completeRejected(cmd *cobra.Command, _ []string, _ string) (ids []cobra.Completion, _ cobra.ShellCompDirective) {
	_ = a.withDatabase(cmd, func(ctx context.Context, s *store.Store) error {
		rows, err := s.Rejected(ctx, 0, completedKeys)
		for _, r := range rows {
			ids = append(ids, cobra.CompletionWithDesc(strconv.FormatInt(r.ID, 10), cut(printable(r.Reason), shownPayload)))
		}
		return err
	})
	return ids, cobra.ShellCompDirectiveNoFileComp
}
