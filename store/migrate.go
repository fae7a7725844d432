package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/mattn/go-sqlite3"

	"weir/internal/point"
)

//go:embed migrations/*.sql
var migrations embed.FS

// applicationID marks a SQLite file as weir's: "weir" in ASCII.
const applicationID = 0x77656972

// checkFile looks at the file through read-only connections, so that a foreign
// or newer one, or one that is damaged as far as the look reaches, is never
// written to.
func checkFile(ctx context.Context, path string, look time.Duration) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("store: looking at the database: %w", err)
	}
	if info.Size() == 0 {
		return corrupt(path, "it is empty, as weir never leaves it, and the keys of all messages are lost with it")
	}
	// What the file itself says spares a newer one the helper files of a real look.
	if err := checkVersion(ctx, path, headerPragmas); errors.Is(err, ErrNewer) {
		return err
	}
	if err := checkVersion(ctx, path, checkPragmas); err != nil {
		return err
	}
	return checkIntegrity(ctx, path, look)
}

func checkVersion(ctx context.Context, path, pragmas string) error {
	db, err := sqlx.Open("sqlite3", dsn(path, pragmas))
	if err != nil {
		return fmt.Errorf("store: opening %s: %w", path, err)
	}
	defer func() { _ = db.Close() }()
	var app, version int
	// One statement, so that a broken file gives one error.
	err = db.QueryRowContext(ctx, `
		SELECT application_id, user_version
		FROM pragma_application_id, pragma_user_version, (SELECT count(*) FROM sqlite_schema)`).Scan(&app, &version)
	switch {
	case isCode(err, sqlite3.ErrNotADB, sqlite3.ErrCorrupt, sqlite3.ErrFormat):
		return corrupt(path, err.Error())
	case err != nil:
		return fmt.Errorf("store: reading %s: %w", path, err)
	case app != applicationID:
		return corrupt(path, "it is another program's database")
	case version > latest():
		return fmt.Errorf("%w: %s has version %d, this weir knows %d; use a newer weir", ErrNewer, path, version, latest())
	}
	return nil
}

func checkIntegrity(ctx context.Context, path string, look time.Duration) error {
	db, err := sqlx.Open("sqlite3", dsn(path, checkPragmas))
	if err != nil {
		return fmt.Errorf("store: opening %s: %w", path, err)
	}
	defer func() { _ = db.Close() }()
	bounded, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	var finding string
	err = db.GetContext(bounded, &finding, `PRAGMA quick_check(1)`)
	switch {
	case bounded.Err() != nil:
		return ctx.Err() // nothing found in the time there was
	case isCode(err, sqlite3.ErrNotADB, sqlite3.ErrCorrupt):
		return corrupt(path, err.Error())
	case err != nil:
		return fmt.Errorf("store: checking %s: %w", path, err)
	case finding != "ok":
		return corrupt(path, strings.ReplaceAll(finding, "\n", " "))
	}
	return nil
}

func corrupt(path, why string) error {
	return fmt.Errorf("%w: %s: %s; nothing was written to it: restore a backup, or move it away and start anew", ErrCorrupt, path, why)
}

func isCode(err error, codes ...sqlite3.ErrNo) bool {
	var failure sqlite3.Error
	if !errors.As(err, &failure) {
		return false
	}
	for _, code := range codes {
		if failure.Code == code {
			return true
		}
	}
	return false
}

// migrator brings the schema up to date, one transaction per file.
type migrator struct {
	db       *sqlx.DB
	instance string
}

func scripts() []string {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	return names // Glob sorts
}

func latest() int { return len(scripts()) }

// upgrade applies every migration that is missing.
func (m *migrator) upgrade(ctx context.Context) error {
	for {
		done, err := m.step(ctx, func(int) error { return nil })
		if done || err != nil {
			return err
		}
	}
}

// refuseOlder refuses to change an older database.
func (m *migrator) refuseOlder(ctx context.Context) error {
	_, err := m.step(ctx, func(version int) error {
		return fmt.Errorf("%w: it has version %d, this weir needs %d; run weir serve once", ErrOlder, version, latest())
	})
	return err
}

// step applies the next missing migration, if allowed. The version is read
// under the write lock: of two processes that start at once, one migrates.
func (m *migrator) step(ctx context.Context, allow func(version int) error) (done bool, err error) {
	// Mostly nothing is missing, and a command must also run while another process keeps the lock.
	var found int
	if err := m.db.GetContext(ctx, &found, `PRAGMA user_version`); err == nil && found >= latest() {
		return true, nil
	}
	tx, err := m.begin(ctx)
	if err != nil {
		return false, fmt.Errorf("store: migrating: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	var version int
	if err := tx.GetContext(ctx, &version, `PRAGMA user_version`); err != nil {
		return false, fmt.Errorf("store: reading the schema version: %w", err)
	}
	if version >= latest() {
		return true, nil
	}
	if err := allow(version); err != nil {
		return false, err
	}
	script, err := migrations.ReadFile(scripts()[version])
	if err != nil {
		return false, fmt.Errorf("store: migrating: %w", err)
	}
	steps := []string{string(script), fmt.Sprintf(`PRAGMA user_version = %d`, version+1)}
	if version == 0 {
		steps = append(steps, fmt.Sprintf(`PRAGMA application_id = %d`, applicationID))
	}
	for _, step := range steps {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return false, fmt.Errorf("store: migration %s: %w", scripts()[version], err)
		}
	}
	if version == 0 {
		if err := seed(ctx, tx, m.instance); err != nil {
			return false, err
		}
	}
	point.Hit(point.MigrationUncommitted)
	if err := tx.Commit(); err != nil {
		return false, err
	}
	point.Hit(point.MigrationCommitted)
	return false, nil
}

// begin takes the write lock. Turning a new file to WAL, which the connection
// does first, fails at once while another process does the same: no busy
// timeout covers it.
func (m *migrator) begin(ctx context.Context) (*sqlx.Tx, error) {
	for start := time.Now(); ; {
		tx, err := m.db.BeginTxx(ctx, nil)
		if !isCode(err, sqlite3.ErrBusy) || time.Since(start) > lockPatience {
			return tx, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// seed writes the rows that every database starts with.
func seed(ctx context.Context, tx *sqlx.Tx, instance string) error {
	for _, row := range []struct {
		query string
		args  []any
	}{
		{`INSERT INTO meta (name, value) VALUES ('epoch', 0), ('instance', ?)`, []any{instance}},
		{`INSERT INTO status (scope) VALUES ('daemon:' || ?)`, []any{instance}},
	} {
		if _, err := tx.ExecContext(ctx, row.query, row.args...); err != nil {
			return fmt.Errorf("store: first rows: %w", err)
		}
	}
	return nil
}
