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

// All names everything: for a pause the daemon, so that what is yet to come waits
// too, and for its end and for a probe every scope that has such a gate.
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

// Probe asks for a probe of a scope now, and reports of how many holds and
// degraded gates. What holds an account holds its buckets too.
func Probe(ctx context.Context, s *store.Store, scope string) (asked int64, err error) {
	asked, err = s.Probe(ctx, scope)
	if account, ok := accountOf(scope); ok && err == nil {
		var above int64
		above, err = s.Probe(ctx, account)
		asked += above
	}
	return asked, err
}

// accountOf gives the account whose gates hold a bucket too.
func accountOf(scope string) (string, bool) {
	bucket, ok := strings.CutPrefix(scope, "bucket:")
	account, _, _ := strings.Cut(bucket, "/")
	return outbox.AccountScope(account), ok
}
