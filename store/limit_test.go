package store_test

import (
	"os/signal"
	"syscall"
	"testing"
)

// breakGrowth lets writes beyond so many bytes of a file fail, which is no lack
// of space but an I/O error to SQLite.
func breakGrowth(t *testing.T, size uint64) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: size, Max: size}
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
}
