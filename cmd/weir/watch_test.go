package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/store"
)

func TestAScreenShowsStateReasonEndGaugeAndBacklogOfEachBucket(t *testing.T) {
	r := parkedReport()
	reset, code, status := r.at.Add(time.Second).Format(time.RFC3339), "blocked", 422
	b := &r.buckets[0]
	b.ResetAt, *b.Remaining = &reset, 42
	failed := []store.MessageView{{Key: "order-7", State: "failed", SettledAt: b.SinceAt, HTTPStatus: &status, ErrorCode: &code}}
	want := `daemon weir  running since 2 h 5 min ago, heartbeat 3 s ago         14:30:00 UTC

default/rcs  parked since 1 s ago until 14:30:01 UTC (in 1 s)
  the limit is used up; last request req_81
  limit    █████░░░░░░░ 42 left of 100 per 2s; 2 answers of 429; resets in 1 s
  backlog  300,003 waiting (20 scheduled, 3 retrying), 3,000 a minute, done
           about 16:10 UTC; 8 in flight; oldest due 1 min 30 s ago
  lanes    high 0, normal over 10,000, bulk over 10,000
  settled  5,000 sent (3,000 in the last minute), 1 failed, 0 expired, 0
           canceled, 0 unknown; last error rate_limited

the latest that failed or are unknown
  order-7 failed 1 s ago, HTTP 422, blocked`
	if got := drawn(frame(&r, failed, 80, 40)); got != want {
		t.Errorf("drawn is\n%s\nwant\n%s", got, want)
	}
	lines := strings.Split(want, "\n")
	if got, want := drawn(frame(&r, failed, 80, 4)), strings.Join(lines[:3], "\n")+"\n… 10 more lines: make the window higher"; got != want {
		t.Errorf("on a low screen drawn is\n%s\nwant\n%s", got, want)
	}
}

func drawn(lines []screenLine) string {
	texts := make([]string, len(lines))
	for i, l := range lines {
		texts[i] = l.drawn(false)
	}
	return strings.Join(texts, "\n")
}

func TestAGaugeShowsWhatIsLeft(t *testing.T) {
	for _, c := range []struct{ left, of, full int }{{0, 100, 0}, {1, 100, 1}, {50, 100, 6}, {100, 100, 12}, {120, 100, 12}, {3, 0, 1}, {-1, 100, 0}} {
		if got := strings.Count(gauge(c.left, c.of), "█"); got != c.full {
			t.Errorf("%d of %d: %d of %d full, want %d", c.left, c.of, got, gaugeWidth, c.full)
		}
	}
}

// viewer is what stands at the other end of a running status --watch.
type viewer struct {
	mu   sync.Mutex
	seen bytes.Buffer
	more chan struct{} // of capacity 1
}

func newViewer() *viewer { return &viewer{more: make(chan struct{}, 1)} }

func (v *viewer) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case v.more <- struct{}{}:
	default:
	}
	return v.seen.Write(p)
}

// await returns all that was seen, once text is in it.
func (v *viewer) await(t *testing.T, text string) string {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		v.mu.Lock()
		seen := v.seen.String()
		v.mu.Unlock()
		if strings.Contains(seen, text) {
			return seen
		}
		select {
		case <-v.more:
		case <-deadline:
			t.Fatalf("%q was never seen, but\n%q", text, seen)
		}
	}
}

// watching starts weir status --watch and gives what ends it with its exit code.
func (d *desk) watching(stdout io.Writer, args ...string) (end func() int) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.t.Context())
	a := &app{getenv: func(name string) string { return d.env[name] }, stdin: strings.NewReader(""), stdout: stdout, stderr: os.Stderr, now: d.now}
	code := make(chan int, 1)
	go func() { code <- a.run(ctx, append([]string{"status", "--watch"}, args...)) }()
	d.t.Cleanup(cancel)
	return func() int {
		cancel()
		return <-code
	}
}

func TestAWatchAtATerminalFollowsWhatHappensAndGivesTheTerminalBack(t *testing.T) {
	d := newDesk(t)
	d.send(numbered(3)...)
	people, program := openTerminal(t, 100, 30)
	v := newViewer()
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(v, people) // until the terminal is closed
	}()
	end := d.watching(program)
	if got := v.await(t, "3 waiting"); !strings.HasPrefix(got, screenBegin) {
		t.Errorf("it begins with %q", got)
	}
	v.await(t, "\x1b[1;31mstopped\x1b[0m")
	d.do("messages", "cancel", "k-1")
	v.await(t, "2 waiting")
	resize(t, people, 100, 4)
	v.await(t, "make the window higher")
	if code := end(); code != exitDone {
		t.Errorf("exit %d, want that of a regular end", code)
	}
	v.await(t, screenEnd)
	_ = program.Close()
	<-copied
	if got := v.await(t, screenEnd); !strings.HasSuffix(got, screenEnd) {
		t.Errorf("after the end of the view came %q", got[strings.Index(got, screenEnd):])
	}
}

func TestAWatchThatIsNoTerminalsPrintsALineForEachChange(t *testing.T) {
	d := newDesk(t)
	d.send(numbered(3)...)
	v := newViewer()
	end := d.watching(v)
	v.await(t, "bucket:default/rcs stopped, 3 waiting, 0 in flight, 0 sent, 0 failed, 0 unknown: no daemon has run yet: start weir serve\n")
	d.do("messages", "cancel", "k-1")
	got := v.await(t, "bucket:default/rcs stopped, 2 waiting")
	end()
	if strings.Contains(got, "\x1b") || strings.Count(got, "bucket:default/rcs") != 2 {
		t.Errorf("printed was\n%s", got)
	}
}

func TestAWatchAsJSONPrintsAnObjectForEachChange(t *testing.T) {
	d := newDesk(t)
	d.send(numbered(3)...)
	v := newViewer()
	end := d.watching(v, "--json")
	v.await(t, `"pending":3`)
	d.do("messages", "cancel", "k-1")
	v.await(t, `"pending":2`)
	end()
	lines := 0
	for line := range strings.Lines(v.seen.String()) {
		lines++
		var row struct{ Buckets []store.StatusView }
		if err := json.Unmarshal([]byte(line), &row); err != nil || len(row.Buckets) != 1 {
			t.Errorf("%q: %v", line, err)
		}
	}
	if lines != 2 {
		t.Errorf("printed were %d objects, want one for each change", lines)
	}
}
