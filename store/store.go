// Package store keeps every message, attempt, gate and count in one SQLite
// file, the only truth of weir.
//
// Messages come in through Accept, leave towards the dispatcher through the
// Feed, and are claimed and recorded through one group-commit writer: a claim
// is committed before its request may leave, an outcome before its worker is
// free. What a commit returned has been fsynced. One daemon owns a data
// directory (Open takes its lock and a new epoch); commands work beside it
// (Attach) through the same file. The package does not decide what an answer
// means: the dispatcher does.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	_ "github.com/mattn/go-sqlite3" // the driver behind every connection here

	"weir/internal/point"
	"weir/outbox"
)

var (
	// ErrInUse is returned by Open when another daemon holds the data directory.
	ErrInUse = errors.New("store: data directory in use")
	// ErrNewer is returned when the database was written by a newer weir; nothing was changed.
	ErrNewer = errors.New("store: database is newer than this weir")
	// ErrOlder is returned by Attach when the database waits for a migration, which only the daemon does.
	ErrOlder = errors.New("store: database is older than this weir")
	// ErrCorrupt is returned when the file is no intact weir database; nothing was changed.
	ErrCorrupt = errors.New("store: not an intact weir database")
	// ErrNetworkFS is returned when the data directory lies on a network file system.
	ErrNetworkFS = errors.New("store: data directory is on a network file system")
	// ErrOwner is returned when the data directory is another user's.
	ErrOwner = errors.New("store: data directory of another user")
	// ErrOpenDir is returned when others than its owner can enter the data directory, and it is not for weir to close.
	ErrOpenDir = errors.New("store: data directory open to others")
	// ErrEpochLost is the end of a daemon whose database another daemon has taken over.
	ErrEpochLost = errors.New("store: another daemon has taken over this database")
	// ErrNotFound is returned when no message has the key.
	ErrNotFound = errors.New("store: no such message")
	// ErrState is returned when a message's state does not allow what was asked.
	ErrState = errors.New("store: not possible in this state")
	// ErrPurged is returned when what an action needs of a message is no longer kept.
	ErrPurged = errors.New("store: no longer kept")
	// ErrDeadline is returned by Retry when the message would have no time left.
	ErrDeadline = errors.New("store: the message's deadline has passed")
	// ErrGivenUp is the end of writes that a stopping daemon could not wait for.
	ErrGivenUp = errors.New("store: stopped before everything could be written")
	// ErrClosed is returned by writes after Close.
	ErrClosed = errors.New("store: closed")
)

// Config says where the database is and who writes it.
type Config struct {
	// Dir is the data directory; created with mode 0700 if missing, and closed to
	// others if empty.
	Dir string
	// Instance names the daemon's row in the status table. Defaults to "weir".
	Instance string
	// Now is the one clock of the process. Required.
	Now func() time.Time
	// MinFree is how much of its disk must be free, in bytes, for something new
	// to be stored. Zero is no bound.
	MinFree int64
	// Doubted, if set, tells that the time may be wrong now: no deadline is
	// settled meanwhile.
	Doubted func() bool
	// RepeatFor is how long after its first ambiguous attempt a message may
	// be sent again; then it becomes unknown. Only the daemon needs it.
	RepeatFor time.Duration
	// Log takes what no caller can be told. Defaults to discarding.
	Log *slog.Logger
	// OnSettled, if set, is called after the commit in which messages settled,
	// by the writer: it must not block.
	OnSettled func([]Settled)
	// Watch makes the kernel say when files of Dir are written to, so that SQLite
	// is asked each 20 ms only then, and else once a second. Commands that end soon,
	// and tests in bubbles of virtual time, do without.
	Watch bool
	// OnForeignWrite, if set, is called within about 20 ms after another
	// process has written to the database, by the writer: it must not block.
	OnForeignWrite func()
}

// Settled is a message that has reached a final state: its event, and what
// the event does not tell.
type Settled struct {
	outbox.Outcome
	ID     int64 // of its row
	Bucket outbox.Bucket
	Lane   outbox.Lane
}

// Store is an open database. It is safe for concurrent use.
type Store struct {
	cfg    Config
	lock   *os.File // nil beside a daemon
	read   *sqlx.DB
	search *sqlx.DB // for what may go through all rows: the feed must not wait for it
	writer *writer
	watch  *watch               // nil without Config.Watch
	epoch  int64                // 0 beside a daemon
	feed   atomic.Pointer[Feed] // nil until NewFeed
	shown  gaugeBoard
	wal    walWatch
	intake intakeCounts
	files  map[string]file // of the database, as they were opened; nil beside a daemon

	commits atomic.Int64 // that are known, of this process and others
}

// Open opens the data directory as its one daemon: it takes the lock, checks
// and migrates the database and begins a new epoch. It returns ErrInUse,
// ErrNetworkFS, ErrOwner, ErrOpenDir, ErrCorrupt or ErrNewer without having
// changed a database.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := prepareDir(cfg.Dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(ctx, cfg.Dir)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, cfg, asDaemon)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	err = s.beginEpoch(ctx)
	if err == nil {
		err = s.rememberFiles()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Attach opens the data directory for a command, beside a daemon or without
// one. An empty directory gets a new database; one that waits for a migration
// is refused with ErrOlder, since a running daemon may be of that older version.
// It also returns ErrNetworkFS, ErrOwner, ErrOpenDir, ErrCorrupt or ErrNewer.
func Attach(ctx context.Context, cfg Config) (*Store, error) {
	if err := prepareDir(cfg.Dir); err != nil {
		return nil, err
	}
	return open(ctx, cfg, asCommand)
}

// Exists reports whether the data directory holds a database. The error says
// that one cannot look, and is ErrOwner if it is another user's.
func Exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, fileName))
	if errors.Is(err, fs.ErrPermission) {
		err = cmp.Or(checkOwner(dir), err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

const fileName = "weir.db"

// opener is what a kind of process does to a database before it uses it.
type opener struct {
	look    time.Duration // for damage, at most so long: a small file is checked wholly
	migrate func(*migrator, context.Context) error
}

var (
	asDaemon  = opener{look: 250 * time.Millisecond, migrate: (*migrator).upgrade}
	asCommand = opener{look: 25 * time.Millisecond, migrate: (*migrator).refuseOlder}
)

func open(ctx context.Context, cfg Config, as opener) (_ *Store, err error) {
	if cfg.Instance == "" {
		cfg.Instance = "weir"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	defer func() {
		if isFull(err) {
			err = fmt.Errorf("%w: make space in %s: %w", ErrFull, cfg.Dir, err)
		}
	}()
	if err := ensureDatabase(ctx, cfg.Dir, cfg.Instance); err != nil {
		return nil, err
	}
	path := filepath.Join(cfg.Dir, fileName)
	if err := checkFile(ctx, path, as.look); err != nil {
		return nil, err
	}
	db, err := sqlx.Open("sqlite3", dsn(path, writerPragmas))
	if err != nil {
		return nil, fmt.Errorf("store: opening %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	// Last, since the last connection that closes deletes the write-ahead log.
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := as.migrate(&migrator{db: db, instance: cfg.Instance}, ctx); err != nil {
		return nil, err
	}
	read, err := openReaders(path, 4)
	if err != nil {
		return nil, err
	}
	search, err := openReaders(path, searches)
	if err != nil {
		return nil, errors.Join(err, read.Close())
	}
	s := &Store{cfg: cfg, read: read, search: search, wal: walWatch{patience: walPatience}}
	w := writerConfig{
		now: cfg.Now, log: cfg.Log, afterCommit: s.afterCommit, onForeignWrite: s.onForeignWrite, onWaiting: s.noteWaiting,
	}
	if cfg.Watch {
		if s.watch, err = newWatch(cfg.Dir); err != nil {
			cfg.Log.Info("writes of other processes are looked for by asking", "why", err)
		} else {
			w.changed = s.watch.changed
		}
	}
	if s.writer, err = newWriter(path, w); err != nil {
		return nil, errors.Join(err, read.Close(), search.Close(), s.watch.close())
	}
	return s, nil
}

// searches is how many people can look through all rows at once: each takes a
// processor for as long as that lasts. More of them wait.
const searches = 2

// openReaders gives up to most connections that only read.
func openReaders(path string, most int) (*sqlx.DB, error) {
	db, err := sqlx.Open("sqlite3", dsn(path, readerPragmas))
	if err != nil {
		return nil, fmt.Errorf("store: opening %s: %w", path, err)
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	return db, nil
}

// PRAGMAs stand in the DSN, so that every connection of a pool has them. None of
// them makes a file: one that is gone is a loss, see WatchFiles.
const (
	writerPragmas     = "mode=rw&_journal_mode=WAL&_synchronous=FULL&_busy_timeout=5000&_foreign_keys=1&_txlock=immediate&_cache_size=-8000&_secure_delete=1&_mutex=no"
	readerPragmas     = "mode=rw&_busy_timeout=5000&_query_only=1&_cache_size=-2000&_mutex=no"
	checkpointPragmas = "mode=rw&_busy_timeout=0&_synchronous=FULL&_mutex=no"
	checkPragmas      = "mode=ro&_busy_timeout=5000&_query_only=1"
	headerPragmas     = "mode=ro&immutable=1" // without -wal: SQLite makes no file
)

func dsn(path, pragmas string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + pragmas
}

// Close ends the writer after what it has taken and releases the lock.
func (s *Store) Close() error {
	err := s.watch.close()
	if s.Moved() != nil {
		// The last connection to close would remove -wal and -shm by their names,
		// and those may belong to another database now.
		s.writer.halt()
	} else {
		err = errors.Join(err, s.writer.close(), s.read.Close(), s.search.Close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// Failed is closed when the database can no longer be written; Err then says why.
func (s *Store) Failed() <-chan struct{} { return s.writer.failed }

// GiveUp ends every write that is still being tried, with ErrGivenUp: a database
// that cannot be written must not keep a stopping daemon for ever. What was
// under way is judged at the next start.
func (s *Store) GiveUp() { s.writer.fail(ErrGivenUp) }

// Err is why the database can no longer be written: ErrEpochLost, an I/O
// error, or nil as long as it can.
func (s *Store) Err() error { return s.writer.failure() }

func (s *Store) path() string { return filepath.Join(s.cfg.Dir, fileName) }

// Ping returns once the writer has committed something: it can write.
func (s *Store) Ping(ctx context.Context) error {
	return s.writer.do(ctx, func(*tx) error { return nil })
}

// Epoch is the number of this daemon's run, growing by one with each.
func (s *Store) Epoch() int64 { return s.epoch }

// beginEpoch makes every earlier daemon's claims and writes void.
func (s *Store) beginEpoch(ctx context.Context) error {
	err := s.writer.do(ctx, func(tx *tx) error {
		for _, rename := range []string{
			`UPDATE meta SET value = ? WHERE name = 'instance'`,
			`UPDATE status SET scope = 'daemon:' || ? WHERE scope LIKE 'daemon:%'`,
			`UPDATE gates  SET scope = 'daemon:' || ? WHERE scope LIKE 'daemon:%'`,
		} {
			if _, err := tx.query(rename).Exec(s.cfg.Instance); err != nil {
				return err
			}
		}
		return tx.query(`
			UPDATE meta SET value = value + 1
			WHERE name = 'epoch'
			RETURNING value`).QueryRow().Scan(&s.epoch)
	})
	if err != nil {
		return fmt.Errorf("store: beginning an epoch: %w", err)
	}
	s.writer.guard(s.epoch)
	point.Hit(point.EpochBegun)
	return nil
}

func (s *Store) afterCommit(c *committed) {
	s.commits.Add(1)
	if f := s.feed.Load(); f != nil {
		f.committed(c)
	}
	if s.cfg.OnSettled != nil && len(c.settled) > 0 {
		s.cfg.OnSettled(c.settled)
	}
}

// FeedAnew makes the feed, if there is one, feed everything again: the work
// queue has lost what it held.
func (s *Store) FeedAnew() {
	if f := s.feed.Load(); f != nil {
		f.forgetAll()
	}
}

func (s *Store) onForeignWrite() {
	s.commits.Add(1)
	if f := s.feed.Load(); f != nil {
		f.lookEverywhere()
	}
	if s.cfg.OnForeignWrite != nil {
		s.cfg.OnForeignWrite()
	}
}
