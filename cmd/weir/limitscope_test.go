package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

func TestALimitThatCountsOtherwiseThanIsSetIsSaid(t *testing.T) {
	for _, c := range []struct {
		name      string
		set       string
		api       sandbox.Scope
		want      string // empty: nothing is to be said
		forbidden string
	}{
		{"set by channel, counted by key", "channel", sandbox.PerKey, "the API seems to count rcs and email together (Remaining fell by ", "apart"},
		{"set by key, counted by channel", "key", sandbox.PerChannel, "the API seems to count rcs and email apart (Remaining fell by ", "together"},
		{"counted by channel, as is set", "channel", sandbox.PerChannel, "", "seems"},
		{"counted by key, as is set", "key", sandbox.PerKey, "", "seems"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRigAside(t, sandbox.Config{Limit: 150, Window: time.Second, Scope: c.api, Latency: 5 * time.Millisecond, Jitter: 10 * time.Millisecond})
			r.env["WEIR_CONFIG"] = write(t, filepath.Join(t.TempDir(), "weir.yaml"), "accounts:\n  default:\n    limit: "+c.set+"\n")
			const each = 300
			lines := envelopes(keysOf("rcs", each))
			for _, key := range keysOf("email", each) {
				lines = append(lines, envelope(key, mailBody))
			}
			r.send(lines...)
			daemon := r.serve()
			r.awaitState(outbox.Sent, 2*each)
			for _, channel := range []string{"rcs", "email"} {
				if c.want != "" {
					r.awaitBucket(channel, "running", c.want)
				}
			}
			_, buckets := r.status()
			for scope, b := range buckets {
				if reason := shown(b.Reason); strings.Contains(reason, c.forbidden) || *b.LimitScope != c.set {
					t.Errorf("%s is set to %s and says %q", scope, *b.LimitScope, reason)
				}
			}
			daemon.stop()
			said := strings.Count(strings.Join(daemon.stderr, "\n"), "the API seems to count")
			if want := min(len(c.want), 1); said != want {
				t.Errorf("it is logged %d times, want %d", said, want)
			}
			if n := r.api.Stats().Throttled; c.want == "" && n > 20 {
				t.Errorf("%d answers of 429", n)
			}
		})
	}
}
