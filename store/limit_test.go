package store_test

import (
	"os/signal"
	"syscall"
	"testing"
)

// breakGrowth lets writes beyond 100 KiB of a file fail, which is no lack of
// space but an I/O error to SQLite.
func breakGrowth(t *testing.T) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: 100 << 10, Max: 100 << 10}
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
}
