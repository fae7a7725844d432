package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	// lockGrace is how long another process may hold the write lock before
	// people are told: shorter waits are everyday.
	lockGrace = time.Second
	// remindEvery is how often the log repeats that the database still cannot be written.
	remindEvery = time.Minute
	// writerHangs is how long the writer may take over one step before it counts as dead.
	writerHangs = 15 * time.Second
)

// ErrFull is returned by commands, and by a start, for which the disk is full.
// A daemon at work waits instead.
var ErrFull = errors.New("store: the disk is full")

// Waiting is what keeps the database from being written. It passes by itself
// once its cause has: the same commit is tried again, and nothing counts as
// stored until then.
type Waiting struct {
	Since  time.Time
	Reason string
}

// Waiting returns nil while the database can be written.
func (s *Store) Waiting() *Waiting { return s.writer.patience.waiting.Load() }

// Alive tells that the writer is at work, or waits as designed for a database
// that cannot be written. It does not tell of an idle writer's disk.
func (s *Store) Alive() bool {
	return s.Err() == nil && time.Since(time.Unix(0, s.writer.patience.tick.Load())) < writerHangs
}

// patience is what the writer tells others while it cannot write.
type patience struct {
	waiting  atomic.Pointer[Waiting]
	tick     atomic.Int64 // when the writer last took a step
	note     func(*Waiting)
	log      *slog.Logger
	reminded time.Time // the writer's own
}

func (p *patience) step() { p.tick.Store(time.Now().UnixNano()) }

// begin notes that the database cannot be written. Its times are of the
// operating system's clock: they are for people.
func (p *patience) begin(reason string) {
	now := time.Now()
	w := p.waiting.Load()
	if w == nil || w.Reason != reason {
		since := now
		if w != nil {
			since = w.Since
		}
		w = &Waiting{Since: since, Reason: reason}
		p.waiting.Store(w)
		p.note(w)
		p.reminded = time.Time{}
	}
	if now.Sub(p.reminded) >= remindEvery {
		p.reminded = now
		p.log.Warn("the database cannot be written now; trying again", "reason", reason, "since", w.Since.UTC())
	}
}

func (p *patience) end() {
	w := p.waiting.Load()
	if w == nil {
		return
	}
	p.waiting.Store(nil)
	p.note(nil)
	p.log.Info("the database can be written again", "after", time.Since(w.Since).Round(time.Millisecond))
}

// isFull tells whether err came from a disk, or a quota, that is full. Growing
// the -shm file on a full disk is an I/O error to SQLite.
func isFull(err error) bool {
	var failure sqlite3.Error
	return errors.As(err, &failure) && (failure.Code == sqlite3.ErrFull ||
		failure.Code == sqlite3.ErrIoErr && (failure.SystemErrno == syscall.ENOSPC || failure.SystemErrno == syscall.EDQUOT))
}

func isLocked(err error) bool { return isCode(err, sqlite3.ErrBusy, sqlite3.ErrLocked) }

// isBroken tells whether err leaves no way to go on: what is on the disk is
// then for the next start to judge.
func isBroken(err error) bool {
	return errors.Is(err, ErrEpochLost) || isCode(err, sqlite3.ErrIoErr, sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrReadonly)
}

func waitReason(err error) string {
	if isFull(err) {
		return "the disk is full: nothing can be stored until there is space, then weir goes on by itself"
	}
	return "another process keeps the database locked: weir goes on once it lets go (fuser weir.db names it)"
}

// noteWaiting writes behind the process id in weir.lock what the database
// itself cannot say, for weir status. The file is so short that its block is
// there already, so a full disk mostly does not matter; where it does, nobody
// is told this way.
func (s *Store) noteWaiting(w *Waiting) {
	if s.lock == nil {
		return
	}
	text := strconv.Itoa(os.Getpid()) + "\n"
	if w != nil {
		text += fmt.Sprintf("%d %s\n", w.Since.UnixMilli(), w.Reason)
	}
	_ = writeAt(s.lock, text)
	_ = s.lock.Truncate(int64(len(text)))
}

// notedWaiting reads what noteWaiting of a running daemon has written.
func (s *Store) notedWaiting() *Waiting {
	if s.lock != nil {
		return s.Waiting()
	}
	data, err := os.ReadFile(filepath.Join(s.cfg.Dir, lockName))
	if err != nil {
		return nil
	}
	_, note, _ := strings.Cut(string(data), "\n")
	at, reason, found := strings.Cut(strings.TrimSpace(note), " ")
	ms, err := strconv.ParseInt(at, 10, 64)
	if !found || err != nil || !s.DaemonRuns() {
		return nil
	}
	return &Waiting{Since: time.UnixMilli(ms), Reason: reason}
}

// DaemonRuns tells whether a process holds the lock of the data directory.
func (s *Store) DaemonRuns() bool {
	file, err := os.Open(filepath.Join(s.cfg.Dir, lockName))
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	return errors.Is(syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// overlay shows on every row what keeps the database itself from saying so.
func (w *Waiting) overlay(rows []StatusView) {
	since := w.Since.UTC().Format("2006-01-02T15:04:05.000Z")
	for i := range rows {
		rows[i].State, rows[i].Reason, rows[i].SinceAt, rows[i].UntilAt = "held", &w.Reason, &since, nil
	}
}
