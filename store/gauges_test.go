package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/dispatcher"
	"weir/internal/bubble"
)

// shown are columns of the scope's row of the status table.
func (d *desk) shown(scope, columns string) string {
	d.t.Helper()
	return d.text(`SELECT concat_ws(' ', `+columns+`) FROM status WHERE scope = ?`, scope)
}

func TestTheGaugesOfABucketAreStored(t *testing.T) {
	d := newDesk(t)
	scheduled := message("scheduled")
	scheduled.SendAt = start.Add(time.Hour)
	d.put(message("a"), message("b"), scheduled)
	d.ambiguous(message("retry"))
	d.exec(`UPDATE messages SET due_at = due_at - 5 WHERE idempotency_key = 'retry'`)
	d.Add(time.Second)
	limit, left, offset := 100, 0, -250*time.Millisecond
	g := dispatcher.Gauges{
		Bucket: rcs, State: dispatcher.Parked, Reason: "the limit is used up", Since: start, Until: start.Add(2 * time.Second),
		LimitScope: "channel", RateLimit: &limit, Remaining: &left, Reset: start.Add(3 * time.Second), Window: 2 * time.Second,
		ClockOffset: &offset, Rate: 0.5, SentLastMinute: 7, LastRequestID: "req", LastErrorCode: "rate_limited",
	}
	must(t, d.Report(t.Context(), []dispatcher.Gauges{g}))
	shown := d.shown("bucket:default/rcs", `state, reason, limit_scope, rate_limit, remaining, window_ms, clock_offset_ms,
		scheduled, sent_last_minute, last_request_id, last_error_code`)
	if want := "parked the limit is used up channel 100 0 2000 -250 1 7 req rate_limited"; shown != want {
		t.Errorf("shown as %q, want %q", shown, want)
	}
	if shown := d.shown("daemon:weir", `pending, scheduled, retrying, sent_last_minute`); shown != "3 1 1 7" {
		t.Errorf("the daemon is shown with %q", shown)
	}
	ms := start.UnixMilli()
	times := d.number(`
		SELECT count(*) FROM status
		WHERE since_at = ? AND until_at = ? AND reset_at = ? AND oldest_due_at = ? AND eta_at = ? AND heartbeat_at = ?`,
		ms, ms+2000, ms+3000, ms-5, ms+1000+3*2000, ms+1000) // three are due, one goes each 2 s
	if times != 1 {
		t.Errorf("the times are %s", d.shown("bucket:default/rcs", `since_at, until_at, reset_at, oldest_due_at, eta_at, heartbeat_at`))
	}
	if d.number(`SELECT oldest_due_at FROM status WHERE scope = 'daemon:weir'`) != ms-5 {
		t.Error("the oldest due message is not that of the daemon too")
	}

	parkEnd := start.Add(time.Hour)
	for _, c := range []struct {
		state  dispatcher.GateKind
		window time.Duration
		eta    time.Time
	}{
		{dispatcher.Parked, 2 * time.Second, parkEnd.Add(4 * time.Second)}, // the park's last window can be used
		{dispatcher.Parked, 2 * time.Hour, parkEnd},                        // by its rate all would be gone before
		{dispatcher.Running, 2 * time.Second, start.Add(7 * time.Second)},  // until is only when it tries a message again
	} {
		g.State, g.Window, g.Until = c.state, c.window, parkEnd
		must(t, d.Report(t.Context(), []dispatcher.Gauges{g}))
		if n := d.number(`SELECT count(*) FROM status WHERE eta_at = ?`, c.eta.UnixMilli()); n != 1 {
			t.Errorf("%s for an hour, in windows of %v: all is sent at %s, want %d", c.state, c.window,
				d.shown("bucket:default/rcs", `eta_at`), c.eta.UnixMilli())
		}
	}

	must(t, d.Report(t.Context(), []dispatcher.Gauges{{Bucket: rcs, State: dispatcher.Running}}))
	if n := d.number(`
		SELECT count(*) FROM status
		WHERE state = 'running' AND last_request_id = 'req' AND last_error_code = 'rate_limited'
		  AND coalesce(reason, until_at, limit_scope, rate_limit, remaining, reset_at, window_ms, clock_offset_ms, eta_at) IS NULL`); n != 1 {
		t.Error("what is no longer known is still shown, or the last request is not")
	}
}

func TestGaugesThatHaveNotChangedAreNotWritten(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	gauges := []dispatcher.Gauges{{Bucket: rcs, State: dispatcher.Running}}
	must(t, d.Report(t.Context(), gauges))
	version := d.number(`PRAGMA data_version`)
	must(t, d.Report(t.Context(), gauges))
	if d.number(`PRAGMA data_version`) != version {
		t.Error("the same gauges were written again")
	}
	gauges[0].SentLastMinute = 1
	must(t, d.Report(t.Context(), gauges))
	if d.number(`PRAGMA data_version`) == version {
		t.Error("changed gauges were not written")
	}
}

func TestWhatIsOnlyScheduledIsNoReasonToWrite(t *testing.T) {
	d := newDesk(t)
	scheduled := message("scheduled")
	scheduled.SendAt = start.Add(24 * time.Hour)
	d.put(scheduled)
	gauges := []dispatcher.Gauges{{Bucket: rcs, State: dispatcher.Running, Rate: 50}}
	must(t, d.Report(t.Context(), gauges))
	for _, change := range []struct {
		name  string
		make  func()
		wrote bool
	}{
		{"nothing but time", func() {}, false},
		{"a message that waits", func() { d.put(message("x")) }, true},
		{"its estimated end", func() {}, true},
	} {
		change.make()
		d.Add(time.Second)
		version := d.number(`PRAGMA data_version`)
		must(t, d.Report(t.Context(), gauges))
		if wrote := d.number(`PRAGMA data_version`) != version; wrote != change.wrote {
			t.Errorf("%s has changed: written %v, want %v", change.name, wrote, change.wrote)
		}
	}
}

func TestARowThatAppearsLaterGetsItsGauges(t *testing.T) {
	d := newDesk(t)
	gauges := []dispatcher.Gauges{{Bucket: rcs, State: dispatcher.Running, Since: start, LimitScope: "channel"}}
	must(t, d.Report(t.Context(), gauges)) // there is no row yet
	must(t, d.Pause(t.Context(), rcs.Scope(), "a moment", time.Time{}))
	_, err := d.Resume(t.Context(), rcs.Scope())
	must(t, err)
	must(t, d.Report(t.Context(), gauges))
	if shown := d.shown(rcs.Scope(), `state, limit_scope`); shown != "running channel" {
		t.Errorf("shown as %q", shown)
	}
}

func TestABucketThatNobodyServesSaysSo(t *testing.T) {
	d := newDesk(t)
	gone := message("x")
	gone.Channel = "gone"
	d.put(message("y"), gone)
	must(t, d.Report(t.Context(), []dispatcher.Gauges{{Bucket: rcs, State: dispatcher.Running}}))
	if shown := d.shown("bucket:default/gone", `state, reason`); !strings.HasPrefix(shown, "held ") || !strings.Contains(shown, "weir.yaml") {
		t.Errorf("shown as %q", shown)
	}
	if shown := d.shown("bucket:default/rcs", `state, reason`); shown != "running" {
		t.Errorf("the one that is served is shown as %q", shown)
	}
}

func TestTheLogIsCopiedIntoTheDatabaseBesideTheWriter(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := bubbleDesk(t)
		size := func() int64 {
			info, err := os.Stat(filepath.Join(d.dir, "weir.db"))
			must(t, err)
			return info.Size()
		}
		go func() { _ = d.RunCheckpoints(t.Context()) }()
		time.Sleep(time.Second)
		before := size()
		waiting(300)(d)
		time.Sleep(time.Second)
		if after := size(); after <= before {
			t.Errorf("a second after 300 messages the database has still %d bytes", after)
		}
	})
}
