//go:build chaos

package point

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Built tells whether this build has points.
const Built = true

const (
	killVariable  = "WEIR_CHAOS_KILL"
	clockVariable = "WEIR_CHAOS_CLOCK"
)

// What the environment says, for the life of the process. It is package state
// because the places that hit a point have nothing else in common.
var (
	armed     = os.Getenv(killVariable)
	clockFile = os.Getenv(clockVariable)
	hits      atomic.Int64
)

// Arm is what the environment of a process needs to make it die at the nth hit
// of a place.
func Arm(name Name, nth int) []string {
	return []string{fmt.Sprintf("%s=%s:%d", killVariable, name, nth)}
}

// Hit ends the process as kill -9 does, if it was armed for this hit.
func Hit(name Name) {
	place, nth, _ := strings.Cut(armed, ":")
	if place != string(name) {
		return
	}
	if n, _ := strconv.ParseInt(nth, 10, 64); hits.Add(1) == n {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the caller takes no further step while the kernel gets to it
	}
}

// Shift is what the environment of a process needs to read its wall clock
// through a file that holds a duration, which may change while it runs.
func Shift(file string) []string { return []string{clockVariable + "=" + file} }

// Now is the wall time, shifted if the environment says so.
func Now() time.Time {
	now := time.Now()
	if clockFile == "" {
		return now
	}
	text, err := os.ReadFile(clockFile)
	if err != nil {
		return now
	}
	by, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		return now
	}
	// Without its monotonic reading, which a step of the wall clock leaves alone.
	return now.Round(0).Add(by)
}
