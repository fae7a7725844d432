package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/mattn/go-sqlite3"

	"weir/internal/point"
)

// dueMargin is how much later than the restore a message must be due to count as
// surely unsent: clocks differ.
const dueMargin = time.Hour

// Restored says what a restore found and made.
type Restored struct {
	// AsOf is when the backup was made.
	AsOf time.Time
	// Messages is how many there are, Marked how many of them may have been sent
	// since, and Later how many are due so much later that they surely were not.
	Messages, Marked, Later int64
	// Replaced is where the database is that was there; empty if there was none.
	Replaced string
}

// Restore puts a backup in the place of the database in dir, while no daemon
// runs. What waited in the backup may have been sent since: it is marked as
// such, judged by the rules for attempts that may have had an effect, and due no
// sooner than settle from now: a request of the daemon that was lost may still
// run. A database that is there is set aside, and only if replace says so. The
// backup itself is not written to, and until the last step neither is the
// directory's database. It returns ErrInUse, ErrExists, ErrCorrupt or ErrNewer,
// or what Open returns for a directory that it does not take.
func Restore(ctx context.Context, dir, file string, now time.Time, settle time.Duration, replace bool) (r Restored, err error) {
	if err := checkBackup(ctx, file); err != nil {
		return r, err
	}
	if err := prepareDir(dir); err != nil {
		return r, err
	}
	lock, err := takeLock(ctx, dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	path := filepath.Join(dir, fileName)
	there, err := Exists(dir)
	if err != nil {
		return r, err
	}
	if there && !replace {
		return r, fmt.Errorf("%w: a database in %s", ErrExists, dir)
	}
	fresh := path + ".restoring"
	defer func() {
		if err != nil {
			err = errors.Join(err, removeDatabase(fresh))
		}
	}()
	if err := copyFile(file, fresh); err != nil {
		return r, fmt.Errorf("store: copying the backup: %w", err)
	}
	// Late, so that hardly a moment is left for a command to open what is replaced.
	epoch, err := closeOff(ctx, path, there)
	if err != nil {
		return r, err
	}
	if err := r.mark(ctx, fresh, epoch, now, settle); err != nil {
		return r, fmt.Errorf("store: preparing the backup: %w", err)
	}
	point.Hit(point.RestoreMarked)
	if r.Replaced, err = setAside(path, there, now); err != nil {
		return r, fmt.Errorf("store: setting the old database aside: %w", err)
	}
	point.Hit(point.RestoreAside)
	if err := syncAs(fresh, path); err != nil {
		return r, fmt.Errorf("store: putting the backup in place: %w", err)
	}
	return r, nil
}

// checkBackup reads the whole file. What it opens cannot write.
func checkBackup(ctx context.Context, file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("store: reading the backup: %w", err)
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s %s", ErrCorrupt, file, fmt.Sprintf(format, args...))
	}
	if info.Size() == 0 {
		return bad("is empty")
	}
	if wal, err := os.Stat(file + "-wal"); err == nil && wal.Size() > 0 {
		return bad("is a database in use, not a backup: the latest messages stand in the -wal beside it; weir backup makes one")
	}
	return withSQL(file, "mode=ro&immutable=1&_query_only=1", func(db *sqlx.DB) error {
		var app, version int
		err := db.QueryRowContext(ctx, `
			SELECT application_id, user_version
			FROM pragma_application_id, pragma_user_version, (SELECT count(*) FROM sqlite_schema)`).Scan(&app, &version)
		switch {
		case isCode(err, sqlite3.ErrNotADB, sqlite3.ErrCorrupt, sqlite3.ErrFormat):
			return bad("is damaged: %v", err)
		case err != nil:
			return fmt.Errorf("store: reading %s: %w", file, err)
		case app != applicationID || version == 0:
			return bad("is no backup of weir")
		case version > latest():
			return fmt.Errorf("%w: %s has version %d, this weir knows %d; use a newer weir", ErrNewer, file, version, latest())
		}
		var finding string
		err = db.GetContext(ctx, &finding, `PRAGMA integrity_check(1)`)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return bad("is damaged: %v", err)
		case finding != "ok":
			return bad("is damaged: %s", finding)
		}
		return nil
	})
}

// closeOff makes the database that is there one file, which also shows that no
// other process has it open: commands take no lock. One that cannot be read is
// left as it is. It gives the epoch of the last daemon, 0 if that is not known.
func closeOff(ctx context.Context, path string, there bool) (epoch int64, err error) {
	if !there {
		return 0, nil
	}
	err = withSQL(path, "_busy_timeout=1000&_mutex=no", func(db *sqlx.DB) error {
		_ = db.GetContext(ctx, &epoch, `SELECT value FROM meta WHERE name = 'epoch'`) // it may be damaged
		var mode string
		return db.GetContext(ctx, &mode, `PRAGMA journal_mode = DELETE`)
	})
	if isCode(err, sqlite3.ErrBusy, sqlite3.ErrLocked) {
		return 0, fmt.Errorf("%w: a weir command, or another program, has %s open; let it end first", ErrInUse, path)
	}
	return epoch, ctx.Err()
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if err := removeDatabase(to); err != nil { // of a restore that was killed
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// setAside keeps the old database under another name. Its own name stays until
// the new one takes it, so that at no time a start would find none and make an
// empty one. A -wal without its database must go: SQLite would take it for the
// new one's.
func setAside(path string, there bool, now time.Time) (aside string, err error) {
	aside = asideName(path, now)
	for from, to := range map[string]string{path + "-wal": aside + "-wal", path + "-shm": aside + "-shm"} {
		if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if !there {
		return "", nil
	}
	if err := os.Link(path, aside); !errors.Is(err, fs.ErrExist) {
		return aside, err
	}
	return aside, nil // by a restore that was killed after this step
}

// asideName is a name that nothing else has than perhaps the file at path itself.
func asideName(path string, now time.Time) string {
	name := path + ".replaced-" + now.UTC().Format("20060102T150405Z")
	for n, free := 2, name; ; n++ {
		other, err := os.Lstat(free)
		if err != nil { // there is none, or what is wrong will be told by whoever uses the name
			return free
		}
		if own, err := os.Lstat(path); err == nil && os.SameFile(own, other) {
			return free
		}
		free = fmt.Sprintf("%s-%d", name, n)
	}
}

// mark brings a copy of the backup up to date and notes what may have happened
// since the backup was made.
func (r *Restored) mark(ctx context.Context, path string, oldEpoch int64, now time.Time, settle time.Duration) error {
	return withSQL(path, copyPragmas, func(db *sqlx.DB) error {
		if err := (&migrator{db: db}).upgrade(ctx); err != nil {
			return err
		}
		tx, err := db.BeginTxx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		var asOf int64
		// Any time that is not later than the copy is on the safe side.
		if err := tx.GetContext(ctx, &asOf, `
			SELECT coalesce((SELECT value FROM meta WHERE name = 'backup_at'),
			                max(coalesce((SELECT value FROM meta WHERE name = 'last_seen_at'), 0),
			                    coalesce((SELECT max(updated_at) FROM messages), 0)))`); err != nil {
			return err
		}
		r.AsOf = time.UnixMilli(asOf)
		if err := r.markUnsettled(ctx, tx, now, settle); err != nil {
			return err
		}
		for _, step := range []func(context.Context, *sqlx.Tx) error{r.takeScopes, r.count} {
			if err := step(ctx, tx); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `
			UPDATE meta SET value = max(value, ?) + 1
			WHERE name = 'epoch'`, oldEpoch); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `
			INSERT OR REPLACE INTO meta (name, value) VALUES ('restored_at', ?), ('restored_as_of', ?)`, now.UnixMilli(), asOf); err != nil {
			return err
		}
		return tx.Commit()
	})
}

// markUnsettled notes that an attempt may have been made from the backup on; for
// what was claimed by then, from its claim on, which the next start judges. What
// is not due yet cannot have been sent.
func (r *Restored) markUnsettled(ctx context.Context, tx *sqlx.Tx, now time.Time, settle time.Duration) error {
	result, err := tx.ExecContext(ctx, `
		UPDATE messages SET
			ambiguous_at = coalesce(ambiguous_at, iif(state = 'sending', updated_at, ?1)),
			due_at       = max(due_at, ?3)
		WHERE settled_at IS NULL AND (state = 'sending' OR due_at <= ?2)`,
		r.AsOf.UnixMilli(), now.Add(dueMargin).UnixMilli(), now.Add(settle).UnixMilli())
	if err != nil {
		return err
	}
	r.Marked, err = result.RowsAffected()
	return err
}

// takeScopes notes where those attempts would have gone: where the account's
// latest one did. Where it had none, its API is taken to be today's.
func (r *Restored) takeScopes(ctx context.Context, tx *sqlx.Tx) error {
	var accounts []string
	if err := tx.SelectContext(ctx, &accounts, `
		SELECT DISTINCT account FROM messages
		WHERE settled_at IS NULL AND ambiguous_at IS NOT NULL AND scope IS NULL`); err != nil {
		return err
	}
	for _, account := range accounts {
		var scope string
		err := tx.GetContext(ctx, &scope, `
			SELECT scope FROM messages
			WHERE account = ? AND scope IS NOT NULL
			ORDER BY id DESC
			LIMIT 1`, account)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `
			UPDATE messages SET scope = ?
			WHERE settled_at IS NULL AND ambiguous_at IS NOT NULL AND scope IS NULL AND account = ?`, scope, account); err != nil {
			return err
		}
	}
	return nil
}

func (r *Restored) count(ctx context.Context, tx *sqlx.Tx) error {
	if err := tx.GetContext(ctx, &r.Messages, `SELECT count(*) FROM messages`); err != nil {
		return err
	}
	return tx.GetContext(ctx, &r.Later, `SELECT count(*) FROM messages WHERE settled_at IS NULL AND ambiguous_at IS NULL`)
}
