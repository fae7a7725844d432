package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"weir/outbox"
	"weir/store"
)

// shownPayload is how many characters of a payload a row of the list shows.
const shownPayload = 80

func newRejectedCommand(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "rejected",
		Short: "Look at what came over NATS and could not become a message, and try again",
	}
	command.AddCommand(newRejectedListCommand(a), newRequeueCommand(a))
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

func newRequeueCommand(a *app) *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use:   "requeue {ID... | --all}",
		Short: "Judge rejected payloads again, now that what was wrong is mended",
		Long: "Judges payloads again as they came, by what weir.yaml says now: one whose channel\n" +
			"was missing then becomes a message, and leaves the list. What is wrong with the\n" +
			"payload itself stays wrong: send a mended one with weir send. A ttl still counts\n" +
			"from when the payload came.",
		Args: func(_ *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return errors.New("give the IDs that weir rejected list shows, or --all")
			}
			return nil
		},
		ValidArgsFunction: a.completeRejected,
	}
	command.Flags().BoolVar(&all, "all", false, "judge every rejected payload again")
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, args []string) error {
		ids := make([]int64, len(args))
		for i, text := range args {
			var err error
			if ids[i], err = strconv.ParseInt(text, 10, 64); err != nil || ids[i] < 1 {
				return usageErrorf("%q is no ID of a rejected payload, which is a number", text)
			}
		}
		cfg, err := a.existing(cmd)
		if err != nil {
			return err
		}
		return a.attach(cmd.Context(), cfg, func(ctx context.Context, s *store.Store) error {
			if all {
				if ids, err = rejectedIDs(ctx, s); err != nil {
					return err
				}
			}
			return a.requeue(ctx, s, ids, cfg.Channels())
		})
	}
	return command
}

// rejectedIDs are those of all that is rejected, oldest first.
func rejectedIDs(ctx context.Context, s *store.Store) ([]int64, error) {
	var ids []int64
	for before := int64(0); ; before = ids[len(ids)-1] {
		page, err := s.Rejected(ctx, before, listPage)
		if err != nil || len(page) == 0 {
			slices.Reverse(ids)
			return ids, err
		}
		for _, r := range page {
			ids = append(ids, r.ID)
		}
	}
}

// requeue says of each payload what became of it. It fails if any stays rejected.
func (a *app) requeue(ctx context.Context, s *store.Store, ids []int64, known outbox.Channels) error {
	var stay []error
	for _, id := range ids {
		m, result, err := s.RequeueRejected(ctx, id, known)
		var invalid *outbox.InvalidError
		switch {
		case errors.As(err, &invalid):
			stay = append(stay, fmt.Errorf("%d stays rejected: %s", id, printable(err.Error())))
		case errors.Is(err, store.ErrCut):
			stay = append(stay, fmt.Errorf("%d stays rejected: it was larger than weir keeps, and only its beginning is here", id))
		case errors.Is(err, store.ErrNotFound):
			stay = append(stay, fmt.Errorf("nothing rejected has the ID %d", id))
		case err != nil:
			return errors.Join(append(stay, err)...)
		case result == outbox.Conflict:
			stay = append(stay, fmt.Errorf("%d stays rejected: key %s holds another message", id, m.Key))
		default:
			if _, err := fmt.Fprintf(a.stdout, "%d is %s as %s\n", id, strings.ReplaceAll(string(result), "_", " "), m.Key); err != nil {
				return err
			}
		}
	}
	return errors.Join(stay...)
}
