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

	"weir/internal/point"
)

// ErrExists is returned by Backup and Restore when something is in the way that
// they do not overwrite.
var ErrExists = errors.New("store: is there already")

// Backup writes a whole and compact copy of the database in dir to file, also
// beside a running daemon, which goes on meanwhile. The file appears under its
// name only once it is complete and on disk, and can be read by its owner only.
// It returns ErrExists, ErrCorrupt or ErrNewer.
func Backup(ctx context.Context, dir, file string, now time.Time) (err error) {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%w: %s; choose another name", ErrExists, file))
	}
	path := filepath.Join(dir, fileName)
	if err := checkFile(ctx, path, asCommand.look); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(file), ".weir-backup-*") // mode 0600
	if err != nil {
		return fmt.Errorf("store: making the backup: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeDatabase(temp.Name()))
		}
	}()
	if err := temp.Close(); err != nil {
		return fmt.Errorf("store: making the backup: %w", err)
	}
	// VACUUM INTO takes one read transaction; the online backup would begin anew
	// with each write of the daemon's, and never end.
	if err := withSQL(path, backupPragmas, func(db *sqlx.DB) error {
		_, err := db.ExecContext(ctx, `VACUUM INTO ?`, temp.Name())
		return err
	}); err != nil {
		return fmt.Errorf("store: copying %s: %w", path, err)
	}
	if err := withSQL(temp.Name(), copyPragmas, func(db *sqlx.DB) error {
		_, err := db.ExecContext(ctx, `INSERT OR REPLACE INTO meta (name, value) VALUES ('backup_at', ?)`, now.UnixMilli())
		return err
	}); err != nil {
		return fmt.Errorf("store: dating the backup: %w", err)
	}
	point.Hit(point.BackupCopied)
	if err := syncAs(temp.Name(), file); err != nil {
		return fmt.Errorf("store: keeping the backup: %w", err)
	}
	return nil
}

const (
	// VACUUM INTO fails on a connection that is for queries only.
	backupPragmas = "_busy_timeout=5000&_mutex=no"
	// copyPragmas leave a database that is one file.
	copyPragmas = "_journal_mode=DELETE&_synchronous=FULL&_foreign_keys=1&_txlock=immediate&_mutex=no"
)

// withSQL opens a database for as long as use takes.
func withSQL(path, pragmas string, use func(*sqlx.DB) error) error {
	db, err := sqlx.Open("sqlite3", dsn(path, pragmas))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	return errors.Join(use(db), db.Close())
}

// syncAs gives a file its final name, in place of any other, once it is on disk.
func syncAs(temp, file string) error {
	if err := syncPath(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, file); err != nil {
		return err
	}
	return syncPath(filepath.Dir(file))
}

// syncPath brings a file, or the names in a directory, to disk. It must not be
// used on a database that this process has open.
func syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// removeDatabase removes a database that is not to be, and what SQLite may have
// put beside it.
func removeDatabase(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
