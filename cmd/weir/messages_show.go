package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weir/outbox"
	"weir/store"
)

// messageReport is all that is known of one message: its columns, its attempts
// and, only if asked for, its body.
type messageReport struct {
	store.MessageView
	Timeline []store.AttemptView `json:"timeline"`
	Body     *string             `json:"body,omitempty"`
}

func newShowCommand(a *app) *cobra.Command {
	var asJSON, withBody bool
	var requestID string
	command := &cobra.Command{
		Use:   "show {KEY | --request-id ID}",
		Short: "Show what happened to a message, with every attempt",
		Example: `  weir messages show order-7
  weir messages show --request-id req_8f2a   # the X-Request-Id of any of its requests`,
		Args: func(_ *cobra.Command, args []string) error {
			if (len(args) == 1) == (requestID != "") || len(args) > 1 {
				return errors.New("give the KEY of a message, or the --request-id of one of its requests")
			}
			return nil
		},
		ValidArgsFunction: a.completeKey,
	}
	command.Flags().StringVar(&requestID, "request-id", "", "show the message that a request with this `ID` was made for")
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object: the columns, and the attempts as timeline")
	command.Flags().BoolVar(&withBody, "body", false, "show the body too, and with it who receives it")
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withDatabase(cmd, func(ctx context.Context, s *store.Store) error {
			key, err := keyOf(ctx, s, args, requestID)
			if err != nil {
				return err
			}
			report, err := readReport(ctx, s, key, withBody)
			if errors.Is(err, store.ErrNotFound) {
				return a.showTombstone(ctx, s, key, asJSON)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, report)
			}
			return report.print(a.stdout)
		})
	}
	return command
}

// keyOf gives the key that is said, or that of the message of a request. A
// request id names one request; of several that an API gave one name, the latest.
func keyOf(ctx context.Context, s *store.Store, args []string, requestID string) (string, error) {
	if requestID == "" {
		return args[0], nil
	}
	found, err := s.Messages(ctx, store.Filter{RequestID: requestID, Most: 1})
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("no request with the id %s is on record; of tries that were throttled only the last is kept", printable(requestID))
	}
	return found[0].Key, nil
}

// showTombstone says what is known of a message whose row is no longer kept.
func (a *app) showTombstone(ctx context.Context, s *store.Store, key string, asJSON bool) error {
	kept, err := s.Tombstone(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return noMessage(key)
	case err != nil:
		return err
	case asJSON:
		return printJSON(a.stdout, kept)
	}
	why := "(WEIR_KEEP_ROWS)"
	if kept.ErasedAt != nil {
		why = "(it was erased at " + *kept.ErasedAt + ")"
	}
	_, err = fmt.Fprintf(a.stdout, "%s is %s\nonly this is still kept of it, and that no other message may have its key %s\n\n%s  %s%s\n",
		key, kept.State, why, kept.SettledAt, kept.State, printable(details(labeled("message", kept.MessageID))))
	return err
}

func readReport(ctx context.Context, s *store.Store, key string, withBody bool) (r messageReport, err error) {
	if r.MessageView, err = s.Message(ctx, key); err != nil {
		return r, err
	}
	if r.Timeline, err = s.Attempts(ctx, r.ID); err != nil || !withBody {
		return r, err
	}
	body, err := s.Body(ctx, key)
	r.Body = &body
	return r, err
}

func (r *messageReport) print(w io.Writer) error {
	fmt.Fprintf(w, "%s is %s\n%s/%s, lane %s, attempts %d, throttled %d\n\n", r.Key, r.State, r.Account, r.Channel, r.Lane, r.Attempts, r.Throttles)
	for _, e := range r.events() {
		if _, err := fmt.Fprintf(w, "%s  %s\n", e.at, printable(e.what)); err != nil {
			return err
		}
	}
	if r.Body == nil {
		return nil
	}
	fmt.Fprintln(w)
	for line := range strings.Lines(cmp.Or(*r.Body, "the body is no longer kept")) {
		if _, err := fmt.Fprintln(w, printable(strings.TrimSuffix(line, "\n"))); err != nil {
			return err
		}
	}
	return nil
}

// event is one line of the story of a message.
type event struct{ at, what string }

// events tells the story in the order of time. Times of a readable view order as text.
func (r *messageReport) events() []event {
	events := []event{{r.CreatedAt, "handed over"}}
	for _, a := range r.Timeline {
		events = append(events, event{a.StartedAt, attemptText(a)})
	}
	if r.SettledAt != nil {
		events = append(events, event{*r.SettledAt, r.outcomeText()})
	} else {
		if r.State != string(outbox.Sending) {
			events = append(events, event{r.DueAt, "due"})
		}
		if r.ExpiresAt != nil {
			events = append(events, event{*r.ExpiresAt, "deadline"})
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return events
}

func (r *messageReport) outcomeText() string {
	return r.State + details(
		labeled("message", r.MessageID), labeled("request", r.RequestID), labeled("HTTP", r.HTTPStatus), labeled("", r.ErrorCode), labeled("", r.ErrorMessage))
}

func attemptText(a store.AttemptView) string {
	text := fmt.Sprintf("attempt %d", a.Number)
	if a.Requests > 1 {
		text = fmt.Sprintf("attempts %d to %d, of which this is the last", a.Number, a.Number+a.Requests-1)
	}
	duration := ""
	if a.DurationMS != nil {
		duration = fmt.Sprintf("%d ms", *a.DurationMS)
	}
	return text + ": " + a.Verdict + details(
		duration, labeled("HTTP", a.HTTPStatus), labeled("request", a.RequestID), labeled("", a.ErrorCode), labeled("", a.ErrorMessage))
}

// labeled is an optional value behind its name; empty if there is none.
func labeled[T any](name string, value *T) string {
	if value == nil {
		return ""
	}
	return strings.TrimSpace(fmt.Sprint(name, " ", *value))
}

// details joins what there is, with a comma before each.
func details(parts ...string) string {
	var text strings.Builder
	for _, part := range parts {
		if part != "" {
			text.WriteString(", " + part)
		}
	}
	return text.String()
}
