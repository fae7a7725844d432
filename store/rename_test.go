package store_test

import (
	"testing"
	"time"

	"weir/store"
)

func TestADaemonThatGetsAnotherNameStaysPaused(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), Instance: "old", Now: time.Now}
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Pause(t.Context(), "daemon:old", "maintenance", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	cfg.Instance = "new"
	if s, err = store.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	gates, err := s.Gates(t.Context())
	if err != nil || len(gates) != 1 || gates[0].Scope != "daemon:new" {
		t.Errorf("gates %v (%v), want the pause of daemon:new", gates, err)
	}
}
