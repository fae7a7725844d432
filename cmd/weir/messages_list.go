package main

import (
	"context"

	"github.com/spf13/cobra"

	"weir/outbox"
	"weir/store"
)

// listPage is how many messages of a list are read at once: a page is held in
// memory, and no read stays open while a slow reader takes the output.
const listPage = 500

func newMessagesListCommand(a *app) *cobra.Command {
	var which filterFlags
	var limit int
	var asJSON bool
	command := &cobra.Command{
		Use:   "list",
		Short: "List messages, newest first",
		Example: `  weir messages list --state failed,unknown --since 2h
  weir messages list --to +447700900123 --json`,
		Args: cobra.NoArgs,
	}
	flags := command.Flags()
	which.add(flags, outbox.States[:])
	flags.IntVar(&limit, "limit", 50, "list at most `N`")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object per line, with the columns of the table messages")
	addDatabaseFlags(flags)
	a.offerFilter(command, outbox.States[:])
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := which.read(a.now(), outbox.States[:])
		if err != nil {
			return err
		}
		if limit < 1 {
			return usageErrorf("--limit must be 1 or more, not %d", limit)
		}
		return a.withDatabase(cmd, func(ctx context.Context, s *store.Store) error {
			return a.listMessages(ctx, s, filter, limit, asJSON)
		})
	}
	return command
}

func (a *app) listMessages(ctx context.Context, s *store.Store, filter store.Filter, limit int, asJSON bool) error {
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
