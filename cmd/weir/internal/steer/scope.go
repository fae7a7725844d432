package steer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weir/outbox"
	"weir/store"
)

// Forms are what a scope can be called by a person.
const Forms = "daemon, account:NAME, ACCOUNT/CHANNEL or all"

// All names everything: the daemon for a pause, which then holds what is yet to
// come too, and every scope with a gate for its end or a probe.
const All = "all"

// ScopeError says why a text names no scope.
type ScopeError struct {
	Reason string
	// Form tells that the text has none of the Forms; else it names what does not exist.
	Form bool
}

// Error implements error.
func (e *ScopeError) Error() string { return e.Reason }

// Scope gives the full name of the one scope that a text names, among the
// accounts and channels that are known. All is the daemon. It returns a
// *ScopeError if it names none.
func Scope(ctx context.Context, s *store.Store, text string, known outbox.Channels) (string, error) {
	// The database knows the daemon's name better than a shell's settings do.
	daemon, _, err := s.Status(ctx)
	if err != nil {
		return "", err
	}
	if text == "daemon" || text == All || text == daemon.Scope {
		return daemon.Scope, nil
	}
	if account, ok := strings.CutPrefix(text, "account:"); ok {
		if known[account] == nil {
			return "", noAccount(account, known)
		}
		return text, nil
	}
	account, channel, ok := strings.Cut(strings.TrimPrefix(text, "bucket:"), "/")
	switch {
	case !ok:
		return "", &ScopeError{fmt.Sprintf("%q is no scope; it can be %s", text, Forms), true}
	case known[account] == nil:
		return "", noAccount(account, known)
	case !slices.Contains(known[account], channel):
		return "", &ScopeError{Reason: fmt.Sprintf("account %s has no channel %q; it has %s", account, channel, strings.Join(known[account], ", "))}
	}
	return outbox.Bucket{Account: account, Channel: channel}.Scope(), nil
}

func noAccount(account string, known outbox.Channels) error {
	return &ScopeError{Reason: fmt.Sprintf("there is no account %q; there is %s", account, strings.Join(slices.Sorted(maps.Keys(known)), ", "))}
}

// Resume ends the pause of what a text names, and reports how many there were.
func Resume(ctx context.Context, s *store.Store, text string, known outbox.Channels) (resumed int, err error) {
	scopes, err := gated(ctx, s, text, known)
	for _, scope := range scopes {
		one, err := s.Resume(ctx, scope)
		if err != nil {
			return resumed, err
		}
		if one {
			resumed++
		}
	}
	return resumed, err
}

// Probe asks for a probe of what a text names now, and reports of how many holds
// and degraded gates. What holds an account holds its buckets too.
func Probe(ctx context.Context, s *store.Store, text string, known outbox.Channels) (asked int64, err error) {
	scopes, err := gated(ctx, s, text, known)
	if err == nil && len(scopes) == 1 {
		if account, ok := accountOf(scopes[0]); ok {
			scopes = append(scopes, account)
		}
	}
	for _, scope := range scopes {
		n, err := s.Probe(ctx, scope)
		if err != nil {
			return asked, err
		}
		asked += n
	}
	return asked, err
}

// gated are the scopes that a text names: of All those that have a gate.
func gated(ctx context.Context, s *store.Store, text string, known outbox.Channels) ([]string, error) {
	if text != All {
		scope, err := Scope(ctx, s, text, known)
		if err != nil {
			return nil, err
		}
		return []string{scope}, nil
	}
	gates, err := s.GateViews(ctx) // by scope
	if err != nil {
		return nil, err
	}
	var scopes []string
	for _, g := range gates {
		scopes = append(scopes, g.Scope)
	}
	return slices.Compact(scopes), nil
}

// accountOf gives the account whose gates hold a bucket too.
func accountOf(scope string) (string, bool) {
	bucket, ok := strings.CutPrefix(scope, "bucket:")
	account, _, _ := strings.Cut(bucket, "/")
	return outbox.AccountScope(account), ok
}
