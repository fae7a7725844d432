package store_test

import (
	"testing"

	"weir/store"
)

func TestSizesAreWrittenAsSettingsAre(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 256 << 20: "256 MiB", 1<<30 - 1: "1024 MiB", 58<<30 + 1<<29: "58.5 GiB", 5 << 50: "5120 TiB",
	} {
		if got := store.Size(n); got != want {
			t.Errorf("%d bytes are %q, want %q", n, got, want)
		}
	}
}
