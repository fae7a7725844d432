package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/store"
)

func TestCommandsOnADirectoryWithoutADatabaseSaySoAndCreateNothing(t *testing.T) {
	d := newDesk(t)
	for _, args := range [][]string{
		{"status"}, {"status", "--json"}, {"messages", "list"}, {"messages", "show", "k"}, {"messages", "retry", "k"},
		{"messages", "cancel", "k"}, {"messages", "resolve", "k", "--sent"}, {"gates", "list"}, {"gates", "pause", "daemon"},
		{"gates", "resume", "daemon"}, {"gates", "probe", "daemon"}, {"rejected", "list"},
	} {
		if got := d.refuse(exitFailed, args...); !strings.HasPrefix(got, "weir: no weir database in data; ") {
			t.Errorf("weir %q: %q", args, got)
		}
	}
	if _, err := os.Stat(d.dir); !os.IsNotExist(err) {
		t.Errorf("the data directory exists: %v", err)
	}
}

func TestADirectoryThatCannotBeLookedIntoIsNotCalledEmpty(t *testing.T) {
	d := newDesk(t)
	file := write(t, "file", "")
	if got := d.refuse(exitFailed, "status", "--data-dir", file); !strings.Contains(got, "not a directory") || strings.Contains(got, "no weir database") {
		t.Errorf("got %q", got)
	}
}

func TestTheStatusOfAStoppedDaemonShowsWhatWaits(t *testing.T) {
	d := newDesk(t)
	if code, _, stderr := d.sendLines(numbered(3)...); code != exitDone {
		t.Fatal(stderr)
	}
	if got := d.do("status"); !strings.HasPrefix(got, "daemon weir is stopped: no daemon has run yet") ||
		strings.Count(got, "no daemon has run yet") != 2 || !strings.Contains(got, "default/rcs is stopped") || !strings.Contains(got, "  backlog  3 waiting; 0 in flight\n") || !strings.Contains(got, "  lanes    high 0, normal 3, bulk 0\n") {
		t.Errorf("status is\n%s", got)
	}
}

func TestTheStatusAsJSONHasTheColumnsAsKeysAndNullForUnknown(t *testing.T) {
	d := newDesk(t)
	if code, _, stderr := d.sendLines(numbered(3)...); code != exitDone {
		t.Fatal(stderr)
	}
	var got struct {
		Daemon  map[string]any
		Buckets []map[string]any
	}
	if err := json.Unmarshal([]byte(d.do("status", "--json")), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Buckets) != 1 {
		t.Fatalf("got %v", got)
	}
	for _, row := range []map[string]any{got.Daemon, got.Buckets[0]} {
		if limit, there := row["rate_limit"]; row["state"] != "stopped" || row["pending"] != 3.0 || !there || limit != nil {
			t.Errorf("got %v", row)
		}
	}
	if got.Daemon["scope"] != "daemon:weir" || got.Buckets[0]["scope"] != "bucket:default/rcs" {
		t.Errorf("scopes are %v and %v", got.Daemon["scope"], got.Buckets[0]["scope"])
	}
}

func TestAStatusWithoutMessagesSaysSo(t *testing.T) {
	d := newDesk(t)
	d.sendLines("")
	if got := d.do("status"); !strings.HasSuffix(got, "no messages yet\n") {
		t.Errorf("status is %q", got)
	}
	if got := d.do("status", "--json"); !strings.Contains(got, `"buckets":[]`) {
		t.Errorf("status is %q", got)
	}
}

func TestAStartMendsCountsThatAreNotThoseOfTheRows(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	r.send(lineOf("k"))
	r.alter(`UPDATE status SET sent = 7, pending = 3`)
	daemon := r.serve()
	await(t, "counts of what is there", func() bool {
		_, buckets := r.status()
		b := buckets["bucket:default/rcs"]
		return b.Pending == 0 && b.Sent == 0 && b.Failed == 1 // the API refuses it
	})
	r.wantTrueCounts(r.messages())
	daemon.stop()
	if said := strings.Join(daemon.stderr, "\n"); !strings.Contains(said, "its counts are mended") {
		t.Errorf("the log does not say so:\n%s", said)
	}
}

// parkedReport is a situation in which much waits.
func parkedReport() situationReport {
	now := time.Date(2026, 3, 28, 14, 30, 0, 0, time.UTC)
	at := func(d time.Duration) *string {
		text := now.Add(d).Format("2006-01-02T15:04:05.000Z")
		return &text
	}
	reason, request, code, limit, remaining, window := "the limit is used up", "req_81", "rate_limited", 100, 0, int64(2000)
	return situationReport{
		at:     now,
		daemon: store.StatusView{Scope: "daemon:weir", State: "running", SinceAt: at(-2*time.Hour - 5*time.Minute), HeartbeatAt: at(-3 * time.Second)},
		buckets: []store.StatusView{{
			Scope: "bucket:default/rcs", State: "parked", Reason: &reason, SinceAt: at(-time.Second), UntilAt: at(time.Second), LastRequestID: &request,
			RateLimit: &limit, Remaining: &remaining, WindowMS: &window, Throttled: 2, LastErrorCode: &code,
			Pending: 300_000, Scheduled: 20, Retrying: 3, InFlight: 8, OldestDueAt: at(-90 * time.Second), ETAAt: at(100 * time.Minute),
			Sent: 5000, SentLastMinute: 3000, Failed: 1, HeartbeatAt: at(0),
		}},
		lanes: map[string][]store.LaneView{"bucket:default/rcs": {{Lane: "high"}, {Lane: "normal", Waiting: 10_000, More: true}, {Lane: "bulk", Waiting: 10_000, More: true}}},
	}
}

func Example_status() {
	report := parkedReport()
	if err := report.print(os.Stdout); err != nil {
		panic(err)
	}
	// Output:
	// daemon weir is running since 2026-03-28T12:25:00.000Z (2 h 5 min ago); last heartbeat 3 s ago
	//
	// default/rcs is parked since 2026-03-28T14:29:59.000Z (1 s ago) until 2026-03-28T14:30:01.000Z (in 1 s): the limit is used up; last request req_81
	//   limit    0 left of 100 per 2s; 2 answers of 429
	//   backlog  300,003 waiting (20 scheduled, 3 retrying), 3,000 a minute, done about 16:10 UTC; 8 in flight; oldest due 1 min 30 s ago
	//   lanes    high 0, normal over 10,000, bulk over 10,000
	//   settled  5,000 sent (3,000 in the last minute), 1 failed, 0 expired, 0 canceled, 0 unknown; last error rate_limited
}

func TestABucketThatRunsIsNotSaidToRunUntilItTriesAMessageAgain(t *testing.T) {
	r := parkedReport()
	b := &r.buckets[0]
	b.State, *b.Reason = "running", "a message waits by itself until then: why"
	for _, c := range []struct{ name, got, want string }{
		{"status", situation(r.at, *b), "running since 2026-03-28T14:29:59.000Z (1 s ago), next try 2026-03-28T14:30:01.000Z (in 1 s): " + *b.Reason},
		{"its watch", stateLine("", r.at, *b).text, "running since 1 s ago, next try 14:30:01 UTC (in 1 s)"},
	} {
		if c.got != c.want {
			t.Errorf("%s says %q, want %q", c.name, c.got, c.want)
		}
	}
}

func TestABacklogWhoseEndAParkDecidesIsNotSaidToHaveARate(t *testing.T) {
	r := parkedReport()
	b := &r.buckets[0]
	text := func(s string) *string { return &s }
	for _, c := range []struct{ name, until, end, want string }{
		{"all is sent by the end of the park", "2026-03-28T14:30:01.000Z", "2026-03-28T14:30:01.000Z", ", done about 14:30:01 UTC"},
		{"the park lasts for longer than a window", "2026-03-28T14:45:00.000Z", "2026-03-28T14:56:00.000Z", ", done about 14:56 UTC"},
		{"the window is about to end", "2026-03-28T14:30:01.000Z", "2026-03-28T14:40:00.000Z", ", 30,000 a minute, done about 14:40 UTC"},
	} {
		b.UntilAt, b.ETAAt = text(c.until), text(c.end)
		if got := expectation(r.at, *b); got != c.want {
			t.Errorf("%s: it says %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTheEndOfABacklogIsSaidAsATimeOfTheDay(t *testing.T) {
	now := time.Date(2026, 3, 28, 14, 30, 0, 0, time.UTC)
	for _, c := range []struct {
		in   time.Duration
		want string
	}{
		{6 * time.Second, "14:30:06 UTC"}, {2 * time.Hour, "16:30 UTC"}, {20 * time.Hour, "Sun 29 Mar 10:30 UTC"},
	} {
		if got := clockTime(now, now.Add(c.in)); got != c.want {
			t.Errorf("in %v: %s, want %s", c.in, got, c.want)
		}
	}
	for rate, want := range map[float64]string{0.3: "less than 1 a minute", 7: "7 a minute", 99.6: "100 a minute", 2987: "3,000 a minute", 1234567: "1,200,000 a minute"} {
		if got := rateText(rate); got != want {
			t.Errorf("%v a minute: %s, want %s", rate, got, want)
		}
	}
}
