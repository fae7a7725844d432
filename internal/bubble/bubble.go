// Package bubble runs tests in virtual time.
package bubble

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// Test is synctest.Test. Under the race detector it lets goroutines run one at a
// time: the detector of Go 1.26 breaks when two processors run timers of one
// bubble at once (golang.org/issue/78156). It still sees races, which it tells
// by what orders two accesses and not by whether they meet. Tests that use it
// must not be parallel.
func Test(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if raceDetector {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	synctest.Test(t, f)
}
