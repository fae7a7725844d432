package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/jmoiron/sqlx"
)

// CheckDir looks at a data directory that is there, without changing it. It
// returns ErrOwner, ErrNetworkFS or ErrOpenDir for one that weir would refuse.
func CheckDir(dir string) error {
	if err := checkOwner(dir); err != nil {
		return err
	}
	if err := refuseNetworkFS(dir); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = openDir(dir, info)
	}
	return err
}

// Inspection is what Inspect sees of a database.
type Inspection struct {
	Version, Known int // of the schema: the file's, and the one of this weir
	Epoch          int64
	Bytes          int64         // of weir.db
	WAL            int64         // bytes of weir.db-wal
	Whole          bool          // quick_check came to its end; else nothing was found in its time
	Daemon         StatusView    // its row
	Runs           bool          // a process holds the lock
	Quiet          time.Duration // since its last heartbeat
}

// Inspect looks at the database in dir, also beside a daemon, whose commits go on
// meanwhile: for damage at most as long as look. It changes nothing. It returns
// ErrCorrupt or ErrNewer.
func Inspect(ctx context.Context, dir string, look time.Duration, now time.Time) (Inspection, error) {
	in := Inspection{Known: latest()}
	path := filepath.Join(dir, fileName)
	sizes := map[string]*int64{path: &in.Bytes, path + "-wal": &in.WAL}
	for name, size := range sizes {
		info, err := os.Stat(name)
		if err == nil {
			*size = info.Size()
		} else if name == path || !errors.Is(err, fs.ErrNotExist) {
			return in, fmt.Errorf("store: looking at the database: %w", err)
		}
	}
	began := time.Now()
	if err := checkFile(ctx, path, look); err != nil {
		return in, err
	}
	in.Whole = time.Since(began) < look
	in.Runs = DaemonRuns(dir)
	// Unlike a read-only one, this connection removes on closing the helper files
	// that nobody else needs.
	err := withSQL(path, readerPragmas, func(db *sqlx.DB) error {
		if err := db.GetContext(ctx, &in.Version, `PRAGMA user_version`); err != nil {
			return err
		}
		if err := db.GetContext(ctx, &in.Epoch, `SELECT value FROM meta WHERE name = 'epoch'`); err != nil {
			return err
		}
		return db.GetContext(ctx, &in.Daemon, `SELECT * FROM status_readable WHERE scope LIKE 'daemon:%' LIMIT 1`)
	})
	if err != nil {
		return in, fmt.Errorf("store: looking at the database: %w", err)
	}
	if in.Daemon.HeartbeatAt != nil {
		if at, err := time.Parse(time.RFC3339, *in.Daemon.HeartbeatAt); err == nil {
			in.Quiet = now.Sub(at)
		}
	}
	if w := notedWaiting(dir); w != nil {
		in.Daemon.State, in.Daemon.Reason = "held", &w.Reason
	}
	return in, nil
}
