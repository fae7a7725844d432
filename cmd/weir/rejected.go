package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"weir/store"
)

// shownPayload is how many characters of a payload a row of the list shows.
const shownPayload = 80

func newRejectedCommand(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "rejected",
		Short: "Look at what came over NATS and could not become a message",
	}
	command.AddCommand(newRejectedListCommand(a))
	return command
}

func newRejectedListCommand(a *app) *cobra.Command {
	var asJSON bool
	var limit int
	command := &cobra.Command{
		Use:   "list",
		Short: "List rejected payloads and why they were refused, newest first",
		Args:  cobra.NoArgs,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per line, with the whole payload")
	command.Flags().IntVar(&limit, "limit", 50, "list at most `N`")
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 1 {
			return usageErrorf("--limit must be 1 or more, not %d", limit)
		}
		return a.withDatabase(cmd, func(ctx context.Context, s *store.Store) error {
			return a.listRejected(ctx, s, limit, asJSON)
		})
	}
	return command
}

// rejectedPayload is a row of the list for scripts.
type rejectedPayload struct {
	store.RejectedRow
	Payload string `json:"payload"`
}

func (a *app) listRejected(ctx context.Context, s *store.Store, limit int, asJSON bool) error {
	rows, err := s.Rejected(ctx, 0, limit)
	if err != nil {
		return err
	}
	table := newTable(a.stdout, "ID", "RECEIVED", "BYTES", "REASON", "PAYLOAD")
	for _, r := range rows {
		payload, err := s.RejectedPayload(ctx, r.ID)
		switch {
		case errors.Is(err, store.ErrNotFound): // pruned since
			continue
		case err == nil && asJSON:
			err = printJSON(a.stdout, rejectedPayload{r, string(payload)})
		}
		if err != nil {
			return err
		}
		table.row(r.ID, r.ReceivedAt, r.Size, printable(r.Reason), cut(printable(string(payload)), shownPayload))
	}
	if asJSON {
		return nil
	}
	return table.Flush()
}
