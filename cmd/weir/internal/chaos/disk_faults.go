package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// diskScenarios are what can happen to the data directory.
func diskScenarios() []scenario {
	// These scenarios fill disks to the last byte: nothing may be held back before.
	brim := []string{"WEIR_MIN_FREE=1KiB"}
	return []scenario{
		{name: "disk: full under database and NATS", settings: brim, disks: []disk{{"", 64}},
			run: full("", 0, "held", "0 B are free")},
		{name: "disk: full under the database", settings: brim, disks: []disk{{"", 64}, {"nats", 64}},
			run: full("", 0, "held", "0 B are free")},
		{name: "disk: full under NATS", settings: brim, disks: []disk{{"nats", 24}},
			run: full("nats", 0, "degraded", "embedded NATS cannot store")},
		{name: "disk: less free than WEIR_MIN_FREE", settings: []string{"WEIR_MIN_FREE=16MiB"}, disks: []disk{{"", 64}},
			run: full("", 8<<20, "held", "less than WEIR_MIN_FREE")},
		{name: "database: locked by another process", run: lockedWhileRunning},
		{name: "database: locked while the daemon starts", run: lockedAtStart},
		{name: "database: replaced by another file", run: replaced},
		{name: "data directory: read-only", run: readOnly},
	}
}

// disk is one of its own, in memory, below the data directory.
type disk struct {
	path string
	mib  int
}

func (w *world) mount(d disk) error {
	path := filepath.Join(w.dir, "data", d.path)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("none", path, "tmpfs", 0, fmt.Sprintf("mode=700,size=%dm", d.mib)); err != nil {
		return fmt.Errorf("%w: mounting takes other rights: %w", ErrSkipped, err)
	}
	w.atEnd(func() { _ = syscall.Unmount(path, syscall.MNT_DETACH) })
	return nil
}

// fill takes all but so many bytes of a disk, and gives a function that gives
// them back.
func (w *world) fill(path string, leave int64) (free func() error, err error) {
	dir := filepath.Join(w.dir, "data", path)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return nil, err
	}
	ballast := filepath.Join(dir, "ballast")
	file, err := os.Create(ballast)
	if err != nil {
		return nil, err
	}
	block := make([]byte, 4096)
	for left := int64(fs.Bavail)*fs.Bsize - leave; err == nil && (leave == 0 || left > 0); left -= int64(len(block)) {
		_, err = file.Write(block)
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		return nil, errors.Join(err, file.Close())
	}
	return func() error { return os.Remove(ballast) }, file.Close()
}

// full fills a disk while producers go on, until it says so, and then makes
// space. The daemon must live through it.
func full(path string, leave int64, state, reason string) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		w.make(byNATS, 50*some) // more than NATS has set aside on its disk
		w.make(byShop, some)
		free, err := w.fill(path, leave)
		if err != nil {
			return err
		}
		stop := w.meanwhile(ctx)
		err = errors.Join(w.trade(ctx), w.keepRelay(), w.awaitCommand(ctx, state, reason))
		if err == nil {
			err = w.lasts(ctx)
		}
		if err = errors.Join(err, free()); err == nil {
			err = w.awaitCommand(ctx, "running", "")
		}
		stop()
		return errors.Join(err, w.mustLive())
	}
}

// meanwhile publishes on NATS what waits for it, until it is stopped.
func (w *world) meanwhile(ctx context.Context) (stop func()) {
	handing, end := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { w.publish(handing) })
	return func() {
		end()
		group.Wait()
	}
}

func (w *world) mustLive() error {
	if w.daemonAlive() {
		return nil
	}
	return fmt.Errorf("%w: the daemon has ended:\n%s", ErrFound, w.daemon.said())
}

// lock takes the write lock of weir.db, from a connection of this process.
func (w *world) lock(ctx context.Context) (release func() error, err error) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(w.dir, "data", "weir.db")+"?mode=rw&_busy_timeout=5000&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	tx, err := db.BeginTx(context.WithoutCancel(ctx), nil) // it ends by its release
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return func() error { return errors.Join(tx.Rollback(), db.Close()) }, nil
}

func lockedWhileRunning(ctx context.Context, w *world) error {
	w.makeSome()
	stop := w.meanwhile(ctx)
	defer stop()
	release, err := w.lock(ctx)
	if err != nil {
		return err
	}
	over := time.After(7 * time.Second) // longer than anybody's patience of 5 s
	told := w.awaitCommand(ctx, "held", "locked")
	select {
	case <-over:
	case <-ctx.Done():
	}
	return errors.Join(told, release(), w.mustLive())
}

func lockedAtStart(ctx context.Context, w *world) error {
	w.daemon.kill()
	release, err := w.lock(ctx)
	if err != nil {
		return err
	}
	err = w.startDaemon()
	if err == nil {
		err = pause(ctx, 3*time.Second)
	}
	if err == nil && closed(w.daemon.running) {
		err = fmt.Errorf("%w: the daemon runs although it can not write", ErrFound)
	}
	if err := errors.Join(err, release()); err != nil {
		return err
	}
	select {
	case <-w.daemon.running:
		return nil
	case <-w.daemon.ended:
		return fmt.Errorf("%w: the daemon did not wait for a lock:\n%s", ErrFound, w.daemon.said())
	case <-time.After(startPatience):
		return fmt.Errorf("%w: the daemon does not run after a lock", ErrFound)
	}
}

// replaced gives the name of the database to another file for a while. The daemon
// must notice, end and leave that alone.
func replaced(ctx context.Context, w *world) error {
	w.api.SetLimit(1) // so that most of it still waits
	w.makeSome()
	if err := w.handOver(ctx); err != nil {
		return err
	}
	const theirs = "what belongs to somebody else"
	path := filepath.Join(w.dir, "data", "weir.db")
	if err := errors.Join(os.Rename(path, path+".away"), os.WriteFile(path, []byte(theirs), 0o600)); err != nil {
		return err
	}
	if err := w.daemon.awaitEnd(ctx, startPatience); err != nil {
		return fmt.Errorf("its database was replaced: %w", err)
	}
	w.daemon.awaited = true // and judged here
	if code, said := w.daemon.cmd.ProcessState.ExitCode(), w.daemon.said(); code != 1 || !strings.Contains(said, "replaced or removed") {
		return fmt.Errorf("%w: its database was replaced: exit %d, %s", ErrFound, code, said)
	}
	found, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if string(found) != theirs {
		return fmt.Errorf("%w: what took the place of the database was written to: %q", ErrFound, found)
	}
	w.api.SetLimit(10 * usual)
	return os.Rename(path+".away", path)
}

// readOnly mounts the data directory read-only over itself. A start must then
// say so and leave it alone.
func readOnly(ctx context.Context, w *world) error {
	w.makeSome()
	if err := w.trade(ctx); err != nil {
		return err
	}
	if err := w.daemon.stop(ctx); err != nil {
		return err
	}
	data := filepath.Join(w.dir, "data")
	err := syscall.Mount(data, data, "", syscall.MS_BIND, "")
	if err != nil {
		return fmt.Errorf("%w: mounting takes other rights: %w", ErrSkipped, err)
	}
	defer func() { _ = syscall.Unmount(data, syscall.MNT_DETACH) }()
	if err := syscall.Mount("", data, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return err
	}
	if err := w.startDaemon(); err != nil {
		return err
	}
	if err := w.daemon.awaitEnd(ctx, startPatience); err != nil {
		return fmt.Errorf("on a read-only data directory: %w", err)
	}
	w.daemon.awaited = true // and judged here
	said := w.daemon.said()
	if code := w.daemon.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(said, "read-only") || strings.Contains(said, "\n") {
		return fmt.Errorf("%w: on a read-only data directory: exit %d, %s", ErrFound, code, said)
	}
	return nil
}
