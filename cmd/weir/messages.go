package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

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

// states are those that a list can be narrowed to.
var states = []outbox.State{
	outbox.Pending, outbox.Sending, outbox.Retrying, outbox.Sent, outbox.Failed, outbox.Expired, outbox.Canceled, outbox.Unknown,
}

// listPage is how many messages of a list are read at once: a page is held in
// memory, and no read stays open while a slow reader takes the output.
const listPage = 500

func newMessagesListCommand(a *app) *cobra.Command {
	var filter store.Filter
	var state, lane string
	var limit int
	var asJSON bool
	command := &cobra.Command{
		Use:   "list",
		Short: "List messages, newest first",
		Args:  cobra.NoArgs,
	}
	flags := command.Flags()
	flags.StringVar(&state, "state", "", "only those in this `STATE`: "+joined(states))
	flags.StringVar(&filter.Account, "account", "", "only those of the account `NAME`")
	flags.StringVar(&filter.Channel, "channel", "", "only those of the channel `NAME`")
	flags.StringVar(&lane, "lane", "", "only those in this `LANE`: "+joined(outbox.Lanes[:]))
	flags.IntVar(&limit, "limit", 50, "list at most `N`")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object per line, with the columns of the table messages")
	addDatabaseFlags(flags)
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		filter.State, filter.Lane = outbox.State(state), outbox.Lane(lane)
		switch {
		case state != "" && !slices.Contains(states, filter.State):
			return usageErrorf("--state must be one of %s, not %q", joined(states), state)
		case lane != "" && !slices.Contains(outbox.Lanes[:], filter.Lane):
			return usageErrorf("--lane must be one of %s, not %q", joined(outbox.Lanes[:]), lane)
		case limit < 1:
			return usageErrorf("--limit must be 1 or more, not %d", limit)
		}
		return a.withDatabase(cmd, func(ctx context.Context, s *store.Store) error {
			for left := limit; left > 0; left -= listPage {
				filter.Most = min(left, listPage)
				page, err := s.Messages(ctx, filter)
				if err != nil {
					return err
				}
				if asJSON {
					err = printLines(a.stdout, page)
				} else if len(page) > 0 || left == limit {
					err = a.printMessages(page)
				}
				if err != nil || len(page) < filter.Most {
					return err
				}
				filter.Before = page[len(page)-1].ID
			}
			return nil
		})
	}
	return command
}

func joined[T ~string](names []T) string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = string(name)
	}
	return strings.Join(texts, ", ")
}

func (a *app) printMessages(messages []store.MessageView) error {
	table := newTable(a.stdout, "KEY", "STATE", "BUCKET", "LANE", "ATTEMPTS", "DUE OR SETTLED", "MESSAGE ID", "REQUEST ID", "HTTP", "ERROR")
	for _, m := range messages {
		at := m.DueAt
		if m.SettledAt != nil {
			at = *m.SettledAt
		}
		table.row(m.Key, m.State, m.Account+"/"+m.Channel, m.Lane, m.Attempts, at,
			shown(m.MessageID), shown(m.RequestID), shown(m.HTTPStatus), shown(m.ErrorCode))
	}
	return table.Flush()
}

func newRetryCommand(a *app) *cobra.Command {
	var expiresAt, ttl string
	command := &cobra.Command{
		Use:   "retry KEY",
		Short: "Send a message again that was surely not sent",
		Long: "Makes a failed, canceled or expired message pending again, as if it were new. One\n" +
			"whose deadline has passed needs a new one.",
		Args: cobra.ExactArgs(1),
	}
	command.Flags().StringVar(&expiresAt, "expires-at", "", "new deadline: a `TIME` in RFC 3339")
	command.Flags().StringVar(&ttl, "ttl", "", "new deadline: a `SPAN` from now on, such as 90s, 30m or 24h")
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, args []string) error {
		deadline, err := newDeadline(a.now(), expiresAt, ttl)
		if err != nil {
			return &usageError{err}
		}
		return a.operate(cmd, args[0], func(ctx context.Context, s *store.Store, key string) (outbox.State, error) {
			return s.Retry(ctx, key, deadline)
		}, map[outbox.State]string{
			outbox.Pending:  "it waits for its turn already",
			outbox.Retrying: "it is tried again anyway",
			outbox.Sending:  "it is being sent",
			outbox.Sent:     "sending it again would have a second effect",
			outbox.Unknown:  "it may have been sent; find out, and use weir messages resolve",
		})
	}
	return command
}

// newDeadline reads a deadline ahead of now by the rules for envelopes; the
// zero time if none is said.
func newDeadline(now time.Time, expiresAt, ttl string) (time.Time, error) {
	e := outbox.Envelope{Key: "-", Body: []byte("{}"), TTL: ttl}
	if expiresAt != "" {
		var err error
		if e.ExpiresAt, err = outbox.ParseTime(expiresAt); err != nil {
			return time.Time{}, fmt.Errorf("--expires-at: %w", err)
		}
	}
	m, err := e.Message(now, nil)
	if err == nil && !m.ExpiresAt.IsZero() && !m.ExpiresAt.After(now) {
		err = fmt.Errorf("the deadline %s is over already", expiresAt)
	}
	return m.ExpiresAt, err
}

func newCancelCommand(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "cancel KEY",
		Short: "Withdraw a message that waits",
		Args:  cobra.ExactArgs(1),
	}
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, args []string) error {
		return a.operate(cmd, args[0], func(ctx context.Context, s *store.Store, key string) (outbox.State, error) {
			return s.Cancel(ctx, key)
		}, map[outbox.State]string{
			outbox.Sending: "it is being sent; see what comes of it with weir messages show",
		})
	}
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
		Args: cobra.RangeArgs(1, 2),
	}
	flags := command.Flags()
	flags.BoolVar(&sent, "sent", false, "it took effect: it becomes sent")
	flags.BoolVar(&notSent, "not-sent", false, "it surely did not: it becomes failed, and can be retried")
	flags.BoolVar(&mayDuplicate, "may-duplicate", false, "send it again, at the risk of a second effect")
	addDatabaseFlags(flags)
	command.MarkFlagsMutuallyExclusive("sent", "not-sent", "may-duplicate")
	command.MarkFlagsOneRequired("sent", "not-sent", "may-duplicate")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		messageID := ""
		if len(args) == 2 {
			messageID = args[1]
		}
		switch {
		case messageID != "" && !sent:
			return usageErrorf("the message id %q goes with --sent only", messageID)
		case len(messageID) > maxText || printable(messageID) != messageID:
			return usageErrorf("the message id has more than %d bytes, or characters that cannot be printed", maxText)
		}
		resolution := store.WasSent
		switch {
		case notSent:
			resolution = store.WasNotSent
		case mayDuplicate:
			resolution = store.MayDuplicate
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
