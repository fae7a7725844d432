package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	// maxBatch bounds the pieces of work in one commit, and so the time for
	// which another process waits for the write lock.
	maxBatch = 256
	// foreignPoll is how soon the writer looks for other processes' writes.
	foreignPoll = 20 * time.Millisecond
	// watchedPoll is how often it does so although the kernel tells of writes: not
	// every file system does.
	watchedPoll = time.Second
)

// work is one caller's share of a group commit.
type work struct {
	apply func(*tx) error // may run again when a commit has to be repeated
	done  func(error)     // called once, by the writer: must not block
}

type writerConfig struct {
	now            func() time.Time
	log            *slog.Logger
	afterCommit    func(*committed)
	onForeignWrite func()
	onWaiting      func(*Waiting)  // nil: no longer
	changed        <-chan struct{} // somebody, perhaps we, wrote to a file; nil: nobody tells
}

// writer is the only one in this process who writes. All work that waits when
// a transaction begins shares its commit, so batches form by themselves under
// load and a lone piece of work waits for nobody. The connection and what is
// prepared on it belong to the goroutine of run, before that to newWriter and
// after it to close.
type writer struct {
	cfg    writerConfig
	conn   *sqlite3.SQLiteConn
	stmts  map[string]*statement // prepared on conn, by query
	queue  chan *work
	stop   chan struct{}
	ended  chan struct{}
	failed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	err   error // why the database can no longer be written
	epoch int64 // 0: not guarded

	commits  chan struct{} // of capacity 1: full when there was a commit
	patience patience
	try      time.Duration // how long one commit asks for the write lock

	version int64 // PRAGMA data_version: moves when another connection commits; run's alone
}

func newWriter(path string, cfg writerConfig) (*writer, error) {
	conn, err := new(sqlite3.SQLiteDriver).Open(dsn(path, writerPragmas))
	if err != nil {
		return nil, fmt.Errorf("store: connecting: %w", err)
	}
	w := &writer{
		cfg: cfg, conn: conn.(*sqlite3.SQLiteConn),
		stmts:  make(map[string]*statement),
		queue:  make(chan *work, maxBatch),
		stop:   make(chan struct{}),
		ended:  make(chan struct{}),
		failed: make(chan struct{}), commits: make(chan struct{}, 1),
		patience: patience{note: cfg.onWaiting, log: cfg.log},
		try:      lockPatience,
	}
	w.patience.step()
	// Only this connection: begin asks again by itself, and RunCheckpoints copies
	// most of the log before its 4000 pages (16 MB) are full.
	for _, pragma := range []string{`PRAGMA busy_timeout = 1`, `PRAGMA wal_autocheckpoint = 4000`, fmt.Sprintf(`PRAGMA journal_size_limit = %d`, walKeeps)} {
		if err := w.exec(pragma); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	if w.version, err = w.dataVersion(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go w.run()
	return w, nil
}

// do runs apply inside the next group commit and returns once it is on disk.
// It is not interrupted by ctx once taken: a commit cannot be half awaited.
func (w *writer) do(ctx context.Context, apply func(*tx) error) error {
	done := make(chan error, 1)
	select {
	case w.queue <- &work{apply: apply, done: func(err error) { done <- err }}:
		return w.await(done)
	case <-ctx.Done():
		return ctx.Err()
	case <-w.ended:
		return w.closedError()
	}
}

// submit is do for callers who do not wait: done hears of the end instead.
func (w *writer) submit(apply func(*tx) error, done func(error)) {
	select {
	case w.queue <- &work{apply: apply, done: done}:
	case <-w.ended:
		done(w.closedError())
	}
}

// await returns what became of work that was queued, also when the writer
// ended before it got there.
func (w *writer) await(done chan error) error {
	select {
	case err := <-done:
		return err
	case <-w.ended:
	}
	select {
	case err := <-done:
		return err
	default:
		return w.closedError()
	}
}

func (w *writer) closedError() error {
	if err := w.failure(); err != nil {
		return err
	}
	return ErrClosed
}

func (w *writer) close() error {
	w.halt()
	var errs []error
	for _, s := range w.stmts {
		if s.stmt != nil {
			errs = append(errs, s.stmt.Close())
		}
	}
	return errors.Join(append(errs, w.conn.Close())...)
}

// halt ends the writer and leaves its connection open.
func (w *writer) halt() {
	w.once.Do(func() { close(w.stop) })
	<-w.ended
}

// guarded tells whether this is a daemon at work.
func (w *writer) guarded() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.epoch != 0
}

// guard makes every later commit check that the epoch is still ours.
func (w *writer) guard(epoch int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.epoch = epoch
}

func (w *writer) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		close(w.failed)
	}
}

func (w *writer) run() {
	defer close(w.ended)
	every := foreignPoll
	if w.cfg.changed != nil {
		every = watchedPoll
	}
	poll := time.NewTicker(every)
	defer poll.Stop()
	batch := make([]*work, 0, maxBatch)
	for {
		w.patience.step()
		select {
		case job := <-w.queue:
			runtime.Gosched() // whoever is about to queue its work shares this commit
			batch = w.gather(append(batch[:0], job))
			w.commitAll(batch)
		case <-w.cfg.changed:
			w.lookForForeignWrites()
		case <-poll.C:
			w.lookForForeignWrites()
		case <-w.stop:
			for batch = w.gather(batch[:0]); len(batch) > 0; batch = w.gather(batch[:0]) {
				w.commitAll(batch)
			}
			return
		}
	}
}

// gather adds what waits already, without waiting for more.
func (w *writer) gather(batch []*work) []*work {
	for len(batch) < maxBatch {
		select {
		case job := <-w.queue:
			batch = append(batch, job)
		default:
			return batch
		}
	}
	return batch
}

// commitAll commits the batch, and piece by piece if one of it fails: nobody
// pays for another's mistake.
func (w *writer) commitAll(batch []*work) {
	err := w.commitPatiently(batch)
	if err != nil && len(batch) > 1 && w.failure() == nil {
		for i := range batch {
			w.commitAll(batch[i : i+1])
		}
		return
	}
	for _, job := range batch {
		job.done(err)
	}
}

// commitPatiently repeats the same commit while the disk is full or another
// process holds the lock: nothing is lost and nobody is told of success.
func (w *writer) commitPatiently(batch []*work) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		w.patience.step()
		err := w.failure()
		if err != nil {
			return err
		}
		err = w.commit(batch)
		switch {
		case err == nil:
			w.patience.end()
			return nil
		case isFull(err) && !w.guarded():
			return fmt.Errorf("%w: make space: %w", ErrFull, err)
		case isFull(err), isLocked(err):
			w.patience.begin(waitReason(err))
		case isBroken(err):
			w.fail(err)
			return err
		default:
			return err
		}
		select {
		case <-time.After(wait):
		case <-w.stop:
			return err
		}
	}
}

// commit makes one transaction of the batch, or nothing: so its statements need
// not be undone one by one, and those that are run for every message say OR FAIL,
// which spares SQLite a copy of each page they touch.
func (w *writer) commit(batch []*work) error {
	if err := w.begin(); err != nil {
		return fmt.Errorf("store: beginning: %w", err)
	}
	t := &tx{w: w, now: w.cfg.now().UnixMilli()}
	err := w.apply(t, batch)
	if err == nil {
		if err = w.exec(`COMMIT`); err == nil {
			select {
			case w.commits <- struct{}{}:
			default:
			}
			w.cfg.afterCommit(&t.committed)
			return nil
		}
		err = fmt.Errorf("store: committing: %w", err)
	}
	// After some errors SQLite has rolled back by itself; then this one fails, harmlessly.
	_ = w.exec(`ROLLBACK`)
	return err
}

// lockPatience is how long another process may keep the write lock before that
// is worth a word in the log, or, while the database is opened, ends the start.
const lockPatience = 5 * time.Second

// begin takes the write lock. SQLite's own waiting asks ever more seldom, up to
// every 100 ms, and so hardly ever meets the millisecond that weir send leaves
// between two commits: the connection has a busy timeout of 1 ms, and this asks
// again at that pace.
func (w *writer) begin() error {
	for start := time.Now(); ; {
		err := w.exec(`BEGIN IMMEDIATE`)
		if !isCode(err, sqlite3.ErrBusy) || time.Since(start) > w.try || w.failure() != nil {
			return err
		}
		w.patience.step()
		if time.Since(start) > lockGrace {
			w.patience.begin(waitReason(err))
		}
	}
}

func (w *writer) apply(t *tx, batch []*work) error {
	if err := w.checkEpoch(t); err != nil {
		return err
	}
	for _, job := range batch {
		if err := job.apply(t); err != nil {
			return err
		}
	}
	if t.movedMessages() {
		return t.sumUp()
	}
	return nil
}

func (w *writer) checkEpoch(t *tx) error {
	w.mu.Lock()
	ours := w.epoch
	w.mu.Unlock()
	if ours == 0 {
		return nil
	}
	var epoch int64
	if err := t.query(`SELECT value FROM meta WHERE name = 'epoch'`).QueryRow().Scan(&epoch); err != nil {
		return fmt.Errorf("store: reading the epoch: %w", err)
	}
	if epoch != ours {
		return fmt.Errorf("%w: epoch %d, ours was %d", ErrEpochLost, epoch, ours)
	}
	return nil
}

func (w *writer) exec(query string) error {
	_, err := w.prepared(query).Exec()
	return err
}

// lookForForeignWrites asks on the writer's own connection, whose own commits
// do not count.
func (w *writer) lookForForeignWrites() {
	version, err := w.dataVersion()
	if err == nil && version != w.version {
		w.version = version
		w.cfg.onForeignWrite()
	}
}

func (w *writer) dataVersion() (version int64, err error) {
	err = w.prepared(`PRAGMA data_version`).QueryRow().Scan(&version)
	return version, err
}

// prepared statements live as long as the connection. A query that does not
// compile answers with its error at each use.
func (w *writer) prepared(query string) *statement {
	s, found := w.stmts[query]
	if !found {
		s = new(statement)
		stmt, err := w.conn.Prepare(query)
		if err != nil {
			return &statement{err: fmt.Errorf("store: preparing %q: %w", query, err)}
		}
		s.stmt = stmt.(*sqlite3.SQLiteStmt)
		w.stmts[query] = s
	}
	return s
}
