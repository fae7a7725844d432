package store

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// watch hears from the kernel when a file of a directory is written to. It opens
// none of them: see the package's rule about weir.db.
type watch struct {
	inotify *os.File
	changed chan struct{} // of capacity 1
	stop    chan struct{}
	ended   chan struct{}
}

// newWatch watches until close.
func newWatch(dir string) (*watch, error) {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("store: watching %s: %w", dir, err)
	}
	w := &watch{inotify: os.NewFile(uintptr(fd), "inotify"), changed: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
	if _, err := syscall.InotifyAddWatch(fd, dir, syscall.IN_MODIFY); err != nil {
		_ = w.inotify.Close()
		return nil, fmt.Errorf("store: watching %s: %w", dir, err)
	}
	go w.run()
	return w, nil
}

// slowCommit is how long after the last write to a file its commit may be seen:
// an fsync lies between, and what then makes the commit valid is written to
// shared memory, of which the kernel does not tell.
const slowCommit = 250 * time.Millisecond

// run tells of changes, whatever they are, until they must be visible.
func (w *watch) run() {
	defer close(w.ended)
	events := make([]byte, 64<<10)
	for {
		if _, err := w.inotify.Read(events); err != nil {
			return // closed
		}
		for range slowCommit / foreignPoll {
			select {
			case w.changed <- struct{}{}:
			default:
			}
			select {
			case <-w.stop:
				return
			case <-time.After(foreignPoll):
			}
		}
	}
}

// close ends the watch, if there is one.
func (w *watch) close() error {
	if w == nil {
		return nil
	}
	close(w.stop)
	err := w.inotify.Close()
	<-w.ended
	return err
}
