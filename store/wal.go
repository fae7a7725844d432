package store

import (
	"fmt"
	"sync/atomic"
	"time"
)

const (
	pageSize = 4096 // SQLite's default, which no migration changes
	// walPinned is how much of the write-ahead log must be waiting to be copied
	// into the database before people are told: several times what a load that
	// is well gathers between two looks.
	walPinned = 64 << 20
	// walPatience is for how long: a long query or a backup is no reason yet.
	walPatience = 10 * time.Second
	// walKeeps is the size to which the log shrinks once it can begin anew.
	walKeeps = 64 << 20
)

// walWatch notices that a reader, who sees the database as it was when it began
// to read, keeps the write-ahead log from being emptied.
type walWatch struct {
	patience time.Duration
	since    time.Time // the checkpointer's own, as is patience
	pinned   atomic.Int64
}

// note takes how many bytes could not be copied into the database.
func (w *walWatch) note(waiting int64, now time.Time) {
	switch {
	case waiting < walPinned:
		w.since = time.Time{}
		w.pinned.Store(0)
	case w.since.IsZero():
		w.since = now
	case now.Sub(w.since) >= w.patience:
		w.pinned.Store(waiting)
	}
}

// Pinned says that a reader lets the write-ahead log grow, and what to do; empty
// if none does.
func (s *Store) Pinned() string {
	waiting := s.wal.pinned.Load()
	if waiting == 0 {
		return ""
	}
	return fmt.Sprintf("a reader of weir.db has not ended for long: weir.db-wal holds %d MiB or more that cannot be cleared away, and grows; find it with fuser -v %s and end it",
		waiting>>25<<5, s.path())
}
