package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"weir/internal/bubble"
)

func TestEqualErrorsAreWrittenOnceInAWhileAndCounted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(foldRepeats(slog.NewTextHandler(&out, nil)))
		disk := errors.New("disk full")
		for i := range 600 { // a minute
			log.Warn("storing fails", "error", disk, "in", time.Duration(i))
			time.Sleep(100 * time.Millisecond)
		}
		log.Warn("storing fails", "error", disk)
		log.Error("storing fails", "error", disk)
		log.Warn("storing fails", "error", errors.New("another"))
		log.With("bucket", "a/b").Warn("storing fails", "error", disk)
		log.Info("equal")
		log.Info("equal")
		if n := strings.Count(out.String(), "\n"); n != 8 {
			t.Errorf("%d lines, want 8:\n%s", n, out.String())
		}
		if n := strings.Count(out.String(), "repeated=299"); n != 2 {
			t.Errorf("the count is told %d times, want 2:\n%s", n, out.String())
		}
	})
}

func TestEqualWarningsOfDifferentRequestsAreFolded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(foldRepeats(slog.NewTextHandler(&out, nil)))
		warn := func(request int) { log.Warn("gate up", "scope", "bucket:a/b", "status", 503, "request_id", request) }
		for i := range 100 {
			warn(i)
			time.Sleep(foldFor / 100)
		}
		if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), "request_id=0\n") {
			t.Errorf("%d lines, want the first:\n%s", n, out.String())
		}
		out.Reset()
		warn(100)
		if !strings.Contains(out.String(), "request_id=100 repeated=99\n") {
			t.Errorf("after a while it says\n%s", out.String())
		}
	})
}

func TestWhatTheLogRemembersIsBounded(t *testing.T) {
	f := foldRepeats(slog.DiscardHandler).(*folding)
	for i := range 10 * maxFolds {
		f.seen.count(fmt.Sprint(i), time.Now())
	}
	if n := len(f.seen.lines); n > maxFolds {
		t.Errorf("%d lines are remembered", n)
	}
}
