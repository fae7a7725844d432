package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// privateDir makes the data directory and closes it to others. One on a network
// file system is left as it is.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store: creating the data directory: %w", err)
	}
	if err := refuseNetworkFS(dir); err != nil {
		return err
	}
	// The database and its helper files are made by SQLite with the umask's
	// rights; a directory that only its owner may enter keeps them private.
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("store: closing the data directory to others: %w; weir runs as the owner of its data directory", err)
	}
	return nil
}

// prepareDir makes the data directory and puts an empty database file into it.
func prepareDir(dir string) error {
	if err := privateDir(dir); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(dir, fileName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		// SQLite gives -wal and -shm the rights of the database file.
		err = file.Close()
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("store: creating the database: %w", err)
	}
	return nil
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
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("store: asking for the file system of %s: %w", dir, err)
	}
	if name, found := networkFS[uint32(fs.Type)]; found {
		return fmt.Errorf("%w: %s is on %s; choose a local disk", ErrNetworkFS, dir, name)
	}
	return nil
}

// takeLock takes weir.lock, a file of its own that is never deleted: closing a
// descriptor of weir.db itself would drop SQLite's locks.
func takeLock(ctx context.Context, dir string) (*os.File, error) {
	path := filepath.Join(dir, "weir.lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: opening the lock: %w", err)
	}
	if err := flock(ctx, file); err != nil {
		holder, _ := os.ReadFile(path)
		_ = file.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("store: locking %s: %w", path, err)
		}
		return nil, fmt.Errorf("%w: %s belongs to the daemon with process id %s; stop it, or choose another data directory",
			ErrInUse, dir, strings.TrimSpace(string(holder)))
	}
	if err := errors.Join(file.Truncate(0), writeAt(file, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return nil, errors.Join(fmt.Errorf("store: writing the lock: %w", err), file.Close())
	}
	return file, nil
}

// dyingFor is how long a daemon that was killed may still hold its lock: until
// the kernel has taken the process apart. Whoever starts the next one at once
// must not be refused.
const dyingFor = 500 * time.Millisecond

// flock locks file. It returns EWOULDBLOCK if another process keeps the lock.
func flock(ctx context.Context, file *os.File) error {
	patient, cancel := context.WithTimeout(ctx, dyingFor)
	defer cancel()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
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
