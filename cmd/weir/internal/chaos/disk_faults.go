package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// diskScenarios are what can happen to the data directory.
func diskScenarios() []scenario {
	return []scenario{
		{name: "database: locked by another process", run: lockedWhileRunning},
		{name: "database: locked while the daemon starts", run: lockedAtStart},
		{name: "data directory: read-only", run: readOnly},
	}
}

// lockFor keeps the write lock of weir.db for a while, from a connection of
// this process.
func (w *world) lockFor(ctx context.Context, d time.Duration) error {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(w.dir, "data", "weir.db")+"?mode=rw&_busy_timeout=5000")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
		return err
	}
	err = lasts(ctx, d)
	_, ended := conn.ExecContext(ctx, `ROLLBACK`)
	return errors.Join(err, ended, conn.Close())
}

func lockedWhileRunning(ctx context.Context, w *world) error {
	w.makeSome()
	handing, stop := context.WithCancel(ctx)
	defer stop()
	published := make(chan struct{})
	go func() {
		defer close(published)
		w.publish(handing)
	}()
	err := w.lockFor(ctx, 7*time.Second) // longer than anybody's patience of 5 s
	stop()
	<-published
	if err == nil && !w.daemonAlive() {
		err = fmt.Errorf("%w: the daemon ended because its database was locked:\n%s", ErrFound, w.daemon.said())
	}
	return err
}

func lockedAtStart(ctx context.Context, w *world) error {
	w.daemon.kill()
	if err := w.startDaemon(); err != nil {
		return err
	}
	if err := w.lockFor(ctx, 3*time.Second); err != nil {
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
		return fmt.Errorf("%w: mounting takes other rights: %w", errSkipped, err)
	}
	defer func() { _ = syscall.Unmount(data, syscall.MNT_DETACH) }()
	if err := syscall.Mount("", data, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return err
	}
	if err := w.startDaemon(); err != nil {
		return err
	}
	if err := w.daemon.awaitEnd(ctx, startPatience); err != nil {
		return fmt.Errorf("%w: on a read-only data directory: %w", ErrFound, err)
	}
	said := w.daemon.said()
	if code := w.daemon.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(said, "read-only") || strings.Contains(said, "\n") {
		return fmt.Errorf("%w: on a read-only data directory: exit %d, %s", ErrFound, code, said)
	}
	return nil
}
