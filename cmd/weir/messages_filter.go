package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"weir/outbox"
	"weir/store"
)

// filterFlags are the flags that say which messages are meant.
type filterFlags struct {
	filter                        store.Filter
	states                        []string
	lane, to, since, until, older string
}

// filterNames are those flags by name.
var filterNames = []string{
	"state", "account", "channel", "lane", "error-code", "request-id", "to", "recipient-hash", "key", "since", "until", "older-than",
}

func (f *filterFlags) add(flags *pflag.FlagSet, of []outbox.State) {
	flags.StringSliceVar(&f.states, "state", nil, "only those in this `STATE`, or in one of several: "+joined(of))
	flags.StringVar(&f.filter.Account, "account", "", "only those of the account `NAME`")
	flags.StringVar(&f.filter.Channel, "channel", "", "only those of the channel `NAME`")
	flags.StringVar(&f.lane, "lane", "", "only those in this `LANE`: "+joined(outbox.Lanes[:]))
	flags.StringVar(&f.filter.ErrorCode, "error-code", "", "only those with this `CODE` of an error")
	flags.StringVar(&f.filter.RequestID, "request-id", "", "only the one that a request with this `ID` was made for")
	flags.StringVar(&f.to, "to", "", "only those to this `RECIPIENT`")
	flags.StringVar(&f.filter.RecipientHash, "recipient-hash", "", "only those to the recipient with this `HASH`")
	flags.StringVar(&f.filter.Key, "key", "", "only the one with this idempotency `KEY`")
	flags.StringVar(&f.since, "since", "", "only those handed over since a `TIME` in RFC 3339, or within a span such as 90s, 2h or 7d")
	flags.StringVar(&f.until, "until", "", "only those handed over before a `TIME` in RFC 3339, or before a span such as 2h ago")
	flags.StringVar(&f.older, "older-than", "", "only those handed over longer ago than a `SPAN` such as 2h or 7d")
}

// said tells whether any of the flags is given.
func said(flags *pflag.FlagSet, names []string) bool {
	return slices.ContainsFunc(names, flags.Changed)
}

// read gives the filter that the flags describe, if their states are among those
// that are possible.
func (f *filterFlags) read(now time.Time, possible []outbox.State) (store.Filter, error) {
	filter := f.filter
	filter.Lane = outbox.Lane(f.lane)
	for _, state := range f.states {
		if !slices.Contains(possible, outbox.State(state)) {
			return filter, usageErrorf("--state must be one of %s, not %q", joined(possible), state)
		}
		filter.States = append(filter.States, outbox.State(state))
	}
	if f.lane != "" && !slices.Contains(outbox.Lanes[:], filter.Lane) {
		return filter, usageErrorf("--lane must be one of %s, not %q", joined(outbox.Lanes[:]), f.lane)
	}
	if f.to != "" {
		if filter.RecipientHash != "" {
			return filter, usageErrorf("--to and --recipient-hash say the same; give one of them")
		}
		filter.RecipientHash = outbox.RecipientHash(f.to)
	}
	if f.until != "" && f.older != "" {
		return filter, usageErrorf("--until and --older-than say the same; give one of them")
	}
	var err error
	if filter.Since, err = parsePast(now, "--since", f.since); err != nil {
		return filter, err
	}
	if filter.Until, err = parsePast(now, "--until", f.until); err == nil && f.older != "" {
		filter.Until, err = parsePast(now, "--older-than", f.older)
	}
	return filter, err
}

// parsePast reads a time, or a span back from now; the zero time if none is said.
func parsePast(now time.Time, flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := outbox.ParseTime(text); err == nil {
		return at, nil
	}
	span, err := parseSpan(strings.TrimSpace(strings.TrimSuffix(text, "ago")))
	if err != nil || span < 0 {
		return time.Time{}, usageErrorf("%s %q is neither a time in RFC 3339, such as 2026-03-28T14:30:00Z, nor a span back, such as 90s, 2h or 7d", flag, text)
	}
	return now.Add(-span), nil
}

// parseSpan is time.ParseDuration that knows whole days too.
func parseSpan(text string) (time.Duration, error) {
	var days int
	if n, err := fmt.Sscanf(text, "%dd", &days); n == 1 && err == nil && text == fmt.Sprintf("%dd", days) {
		return time.Duration(days) * 24 * time.Hour, nil
	}
	return time.ParseDuration(text)
}

func joined[T ~string](names []T) string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = string(name)
	}
	return strings.Join(texts, ", ")
}
