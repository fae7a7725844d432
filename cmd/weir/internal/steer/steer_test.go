package steer_test

import (
	"errors"
	"testing"
	"time"

	"weir/cmd/weir/internal/steer"
	"weir/dispatcher"
	"weir/outbox"
	"weir/store"
)

func open(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Instance: "one", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestAScopeIsNamedInManyWays(t *testing.T) {
	s := open(t)
	known := outbox.Channels{"default": {"rcs", "email"}, "news": {"sms"}}
	for text, want := range map[string]string{
		"all": "daemon:one", "daemon": "daemon:one", "daemon:one": "daemon:one", "account:news": "account:news",
		"default/rcs": "bucket:default/rcs", "bucket:news/sms": "bucket:news/sms",
	} {
		if got, err := steer.Scope(t.Context(), s, text, known); err != nil || got != want {
			t.Errorf("%s is %q, %v", text, got, err)
		}
	}
	for text, form := range map[string]bool{
		"": true, "everything": true, "daemon:two": true, "account:nobody": false, "nobody/rcs": false, "news/rcs": false, "default/": false,
	} {
		_, err := steer.Scope(t.Context(), s, text, known)
		if wrong, ok := errors.AsType[*steer.ScopeError](err); !ok || wrong.Form != form {
			t.Errorf("%q is refused with %v", text, err)
		}
	}
}

func TestAProbeOfABucketAsksOfItsAccountToo(t *testing.T) {
	s := open(t)
	hold := dispatcher.Gate{Scope: outbox.AccountScope("default"), Kind: dispatcher.Held, Reason: "the key is refused", SetBy: "401", Since: time.Now()}
	if err := s.PutGate(t.Context(), hold); err != nil {
		t.Fatal(err)
	}
	for scope, want := range map[string]int64{"bucket:default/rcs": 1, "account:default": 1, "bucket:news/sms": 0, "daemon:one": 0} {
		if asked, err := steer.Probe(t.Context(), s, scope); err != nil || asked != want {
			t.Errorf("the probe of %s asks %d gates, %v", scope, asked, err)
		}
	}
}

func TestADeadlineAndTheEndOfAPauseLieAhead(t *testing.T) {
	now := time.Date(2026, 3, 28, 14, 30, 0, 0, time.UTC)
	for _, c := range []struct {
		name, expiresAt, ttl string
		after                time.Duration // 0: refused
	}{
		{"a time", "2026-03-28T16:30:00Z", "", 2 * time.Hour},
		{"a span", "", "90s", 90 * time.Second},
		{"both, of which the earlier holds", "2026-03-28T16:30:00Z", "1h", time.Hour},
		{"a time that is over", "2026-03-28T14:30:00Z", "", 0},
		{"no time", "tomorrow", "", 0},
		{"no span", "", "1.5h", 0},
	} {
		got, err := steer.Deadline(now, c.expiresAt, c.ttl)
		if _, refused := errors.AsType[*outbox.InvalidError](err); refused != (c.after == 0) || !refused && !got.Equal(now.Add(c.after)) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
	if got, err := steer.Deadline(now, "", ""); err != nil || !got.IsZero() {
		t.Errorf("no deadline: %v, %v", got, err)
	}
	if got, err := steer.PauseEnd(now, ""); err != nil || !got.IsZero() {
		t.Errorf("a pause without an end: %v, %v", got, err)
	}
	for until, after := range map[string]time.Duration{
		"2026-03-28T16:30:00Z": 2 * time.Hour, "1.5h": 90 * time.Minute,
		"2026-03-28T14:30:00Z": 0, "-2h": 0, "0s": 0, "soon": 0,
	} {
		got, err := steer.PauseEnd(now, until)
		if _, refused := errors.AsType[*outbox.InvalidError](err); refused != (after == 0) || !refused && !got.Equal(now.Add(after)) {
			t.Errorf("a pause until %q: %v, %v", until, got, err)
		}
	}
}
