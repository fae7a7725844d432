package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"
)

// prepareDir makes the data directory and makes sure that only its owner can
// enter it: the database and its helper files are made by SQLite with the
// umask's rights. It closes a directory that weir has made or that holds nothing;
// what a person has opened is theirs to close. A directory on a network file
// system is left as it is.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store: creating the data directory: %w", err)
	}
	if err := checkOwner(dir); err != nil {
		return err
	}
	if err := refuseNetworkFS(dir); err != nil {
		return err
	}
	// In this order: who makes files here at this moment has closed it before.
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("store: looking into the data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("store: looking at the data directory: %w", err)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if len(entries) > 0 {
		return fmt.Errorf("%w: %s has mode %04o and is not empty: chmod 700 it if it is weir's, or name another directory", ErrOpenDir, dir, info.Mode().Perm())
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("store: closing the data directory to others: %w", err)
	}
	return nil
}

// checkOwner refuses the directory of another user: what weir made there would
// be closed to its owner. Root is let in, since it may read everything.
func checkOwner(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("store: looking at the data directory: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	me := os.Geteuid()
	if !ok || me == 0 || int(stat.Uid) == me {
		return nil
	}
	owner := userName(int(stat.Uid))
	return fmt.Errorf("%w: %s belongs to %s, and this is %s: run weir as %s, or name another directory", ErrOwner, dir, owner, userName(me), owner)
}

func userName(id int) string {
	if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return "user " + u.Username
	}
	return fmt.Sprintf("the user with id %d", id)
}

// newName is the database while it is made. It gets its own name when it is
// whole, so that an empty weir.db is always a loss and never a beginning.
const newName = fileName + ".new"

// ensureDatabase makes a database where there is none. Others that do so at the
// same time wait for each other.
func ensureDatabase(ctx context.Context, dir, instance string) error {
	lock, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("store: creating the database: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := flock(ctx, lock, lockPatience); err != nil {
		return fmt.Errorf("store: creating the database: locking %s: %w", dir, err)
	}
	path := filepath.Join(dir, fileName)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if info, err := os.Stat(path + "-wal"); err == nil && info.Size() > 0 {
		return corrupt(path, "it is gone, but its -wal is still there")
	}
	if err := makeDatabase(ctx, filepath.Join(dir, newName), instance); err != nil {
		return err
	}
	if err := errors.Join(os.Rename(filepath.Join(dir, newName), path), lock.Sync()); err != nil {
		return fmt.Errorf("store: creating the database: %w", err)
	}
	return nil
}

// makeDatabase makes a whole database, over what a start that was cut short has left.
func makeDatabase(ctx context.Context, path, instance string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("store: creating the database: %w", err)
		}
	}
	// SQLite gives -wal and -shm the rights of the database file.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return fmt.Errorf("store: creating the database: %w", err)
	}
	db, err := sqlx.Open("sqlite3", dsn(path, writerPragmas))
	if err != nil {
		return fmt.Errorf("store: creating the database: %w", err)
	}
	db.SetMaxOpenConns(1)
	return errors.Join((&migrator{db: db, instance: instance}).upgrade(ctx), db.Close())
}

// Magic numbers of statfs(2): SQLite's locks and shared memory do not work
// across machines.
var networkFS = map[uint32]string{
	0x6969:     "NFS",
	0x517b:     "SMB",
	0xff534d42: "CIFS",
	0xfe534d42: "SMB2",
	0x01021997: "9P",
	0x00c36400: "Ceph",
	0x5346414f: "AFS",
	0x47504653: "GPFS",
	0x0bd00bd0: "Lustre",
}

func refuseNetworkFS(dir string) error {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("store: asking for the file system of %s: %w", dir, err)
	}
	if name, found := networkFS[uint32(stat.Type)]; found {
		return fmt.Errorf("%w: %s is on %s; choose a local disk", ErrNetworkFS, dir, name)
	}
	return nil
}

const lockName = "weir.lock"

// takeLock takes weir.lock, a file of its own that is never deleted: closing a
// descriptor of weir.db itself would drop SQLite's locks.
func takeLock(ctx context.Context, dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: opening the lock: %w", err)
	}
	if err := flock(ctx, file, dyingFor); err != nil {
		holder, _ := os.ReadFile(path)
		_ = file.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("store: locking %s: %w", path, err)
		}
		process, _, _ := strings.Cut(string(holder), "\n")
		return nil, fmt.Errorf("%w: %s belongs to the daemon with process id %s; stop it, or choose another data directory",
			ErrInUse, dir, process)
	}
	if err := errors.Join(file.Truncate(0), writeAt(file, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return nil, errors.Join(fmt.Errorf("store: writing the lock: %w", err), file.Close())
	}
	return file, nil
}

// Hold runs use while no daemon can start: it takes the lock of the data
// directory as a daemon does. It returns ErrInUse if one runs.
func Hold(ctx context.Context, dir string, use func() error) error {
	lock, err := takeLock(ctx, dir)
	if err != nil {
		return err
	}
	return errors.Join(use(), lock.Close())
}

// dyingFor is how long a daemon that was killed may still hold its lock: until
// the kernel has taken the process apart. Whoever starts the next one at once
// must not be refused.
const dyingFor = 500 * time.Millisecond

// flock locks file. It returns EWOULDBLOCK if another process keeps the lock
// for longer than patience.
func flock(ctx context.Context, file *os.File, patience time.Duration) error {
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patient.Done():
			return err
		case <-time.After(time.Millisecond):
		}
	}
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}
