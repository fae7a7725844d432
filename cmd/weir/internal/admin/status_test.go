package admin_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/admin"
)

// patience is how long anything may take that must happen.
const patience = 30 * time.Second

func TestTheStatusHasTheDaemonAndEachBucket(t *testing.T) {
	d := serve(t, nil)
	d.accept("a", "b")
	var st admin.Status
	d.call("GET", "/api/v1/status", "").into(t, &st)
	if st.Daemon.Scope != "daemon:weir" || len(st.Buckets) != 1 || st.Buckets[0].Pending != 2 {
		t.Errorf("the status is %+v", st)
	}
}

// follow opens the stream of the status.
func (d *desk) follow() *bufio.Scanner {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), "GET", d.url+"/api/v1/status/stream", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { res.Body.Close() })
	if kind := res.Header.Get("Content-Type"); res.StatusCode != 200 || kind != "text/event-stream" {
		text, _ := io.ReadAll(res.Body)
		d.t.Fatalf("%d, %s: %s", res.StatusCode, kind, text)
	}
	return bufio.NewScanner(res.Body)
}

// nextStatus reads one event.
func nextStatus(t *testing.T, events *bufio.Scanner) (st admin.Status) {
	t.Helper()
	for events.Scan() {
		if data, ok := strings.CutPrefix(events.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &st); err != nil {
				t.Fatal(err)
			}
			return st
		}
	}
	t.Fatalf("the stream has ended: %v", events.Err())
	return st
}

func TestAStreamTellsTheStatusAtOnceAndWhenItChanges(t *testing.T) {
	d := serve(t, nil)
	events := d.follow()
	if st := nextStatus(t, events); len(st.Buckets) != 0 {
		t.Errorf("the first event has %+v", st.Buckets)
	}
	d.accept("a")
	if st := nextStatus(t, events); len(st.Buckets) != 1 || st.Buckets[0].Pending != 1 {
		t.Errorf("the second event has %+v", st.Buckets)
	}
}

func TestAStopEndsStreamsAndWaitsForNone(t *testing.T) {
	d := serve(t, nil)
	events := d.follow()
	nextStatus(t, events)
	stopped := make(chan struct{})
	go func() {
		d.stop()
		close(stopped)
	}()
	for events.Scan() { // until it ends
	}
	if err := events.Err(); err != nil {
		t.Errorf("the stream was cut instead of ended: %v", err)
	}
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Fatal("the server goes on")
	}
}
