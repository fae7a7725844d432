package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"weir/cmd/weir/internal/steer"
	"weir/outbox"
	"weir/store"
)

func newMessagesCommand(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "messages",
		Short: "Look at single messages and decide about them",
	}
	command.AddCommand(newMessagesListCommand(a), newShowCommand(a), newRetryCommand(a), newCancelCommand(a), newResolveCommand(a), newEraseCommand(a))
	return command
}

func newResolveCommand(a *app) *cobra.Command {
	var sent, notSent, mayDuplicate bool
	command := &cobra.Command{
		Use:   "resolve KEY {--sent [ID] | --not-sent | --may-duplicate}",
		Short: "Say what became of an unknown message",
		Long: "Says what a person found out about a message that may have been sent: that it was\n" +
			"(with the message id of the API, if known), that it was not, or that sending it\n" +
			"twice is better than not at all.",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeKey,
	}
	flags := command.Flags()
	flags.BoolVar(&sent, "sent", false, "it took effect: it becomes sent")
	flags.BoolVar(&notSent, "not-sent", false, "it surely did not: it becomes failed, and can be retried")
	flags.BoolVar(&mayDuplicate, "may-duplicate", false, "send it again, at the risk of a second effect")
	addDatabaseFlags(flags)
	command.RunE = func(cmd *cobra.Command, args []string) error {
		messageID := ""
		if len(args) == 2 {
			messageID = args[1]
		}
		var resolution store.Resolution
		switch {
		case sent && !notSent && !mayDuplicate:
			resolution = store.WasSent
		case notSent && !sent && !mayDuplicate:
			resolution = store.WasNotSent
		case mayDuplicate && !sent && !notSent:
			resolution = store.MayDuplicate
		default:
			return usageErrorf("say what you have found out, by one of --sent [ID], --not-sent and --may-duplicate")
		}
		switch {
		case messageID != "" && !sent:
			return usageErrorf("the message id %q goes with --sent only", messageID)
		case len(messageID) > steer.MaxText || printable(messageID) != messageID:
			return usageErrorf("the message id has more than %d bytes, or characters that cannot be printed", steer.MaxText)
		}
		return a.operate(cmd, args[0], func(ctx context.Context, s *store.Store, key string) (outbox.State, error) {
			return s.Resolve(ctx, key, resolution, messageID)
		}, nil)
	}
	return command
}

// operate changes one message and says which state it has now. If the state
// forbids it, refusals may say for each state why, or what to do instead.
func (a *app) operate(
	cmd *cobra.Command, key string,
	change func(ctx context.Context, s *store.Store, key string) (outbox.State, error),
	refusals map[outbox.State]string,
) error {
	return a.withDatabase(cmd, func(ctx context.Context, s *store.Store) error {
		state, err := change(ctx, s, key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return noMessage(key)
		case errors.Is(err, store.ErrState):
			text := fmt.Sprintf("cannot %s %s, which is %s", cmd.Name(), printable(key), state)
			if why := refusals[state]; why != "" {
				text += ": " + why
			}
			return errors.New(text)
		case errors.Is(err, store.ErrPurged):
			return fmt.Errorf("cannot %s %s, which is %s: its body is no longer kept (WEIR_KEEP_BODIES); if it is still wanted, send it under a new key",
				cmd.Name(), printable(key), state)
		case errors.Is(err, store.ErrDeadline):
			return fmt.Errorf("cannot %s %s, whose deadline has passed: give it a new one with --ttl or --expires-at", cmd.Name(), printable(key))
		case err != nil:
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%s is %s\n", key, state)
		return err
	})
}

func noMessage(key string) error {
	return fmt.Errorf("no message has the key %s", printable(key))
}
