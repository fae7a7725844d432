package dispatcher

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"weir/outbox"
)

func TestAKeyFileThatCannotBeReadIsSaidOnceAndStandsBesideTheHold(t *testing.T) {
	var log bytes.Buffer
	inBubble(t, 4, func(r *rig) {
		r.api.always(unauthorized)
		r.add(rcs, outbox.Normal, keys("k", 20)...)
		r.start()
		const refused = "the API refuses the key (401 invalid_api_key)"
		r.waitShown(rcs, Held, refused)
		r.key.fail(errors.New("open key: permission denied"))
		r.waitShown(rcs, Held, refused+"; the key cannot be read again: open key: permission denied")
		time.Sleep(10 * testProbeInterval) // probes are refused meanwhile
		if g := r.gauges(rcs); !strings.HasSuffix(g.Reason, "denied") || strings.Count(g.Reason, "denied") != 1 {
			r.Errorf("after more refusals the reason is %q", g.Reason)
		}
		if g := r.stored(); len(g) != 1 || !strings.HasSuffix(g[0].Reason, "permission denied") {
			r.Errorf("stored is %v", g)
		}
		r.key.fail(nil)
		r.wait(time.Second, "no longer said", func() bool { return r.gauges(rcs).Reason == refused })
		r.key.set("new")
		r.api.always(ok)
		r.waitAllSent(time.Minute)
		_ = r.finish()
	}, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	if n := strings.Count(log.String(), "cannot be read again"); n != 1 {
		t.Errorf("said %d times, want once:\n%s", n, &log)
	}
	if !strings.Contains(log.String(), "can be read again") {
		t.Errorf("it does not say that it can be read again:\n%s", &log)
	}
}

func TestAStoredReasonThatTheKeyCannotBeReadDoesNotOutliveItsCause(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		g := heldGate("account:default", ByUnauthorized, time.Now(), time.Now().Add(time.Hour))
		g.Reason = "the API refuses the key" + keyUnread + "gone"
		r.d.Restore([]Gate{g})
		r.start()
		r.wait(time.Second, "the reason is mended", func() bool { return r.gauges(rcs).Reason == "the API refuses the key" })
	})
}
