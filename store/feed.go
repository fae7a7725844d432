package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"weir/outbox"
)

const (
	// feedDepth is how many references of a place are fed at once; the rest of
	// the backlog stays in SQL.
	feedDepth = 1024
	// feedStalled is how long a fed reference of an open bucket may lie
	// unclaimed before it counts as lost and is fed again.
	feedStalled = 60 * time.Second
	// feedRetry is the wait after the queue could not be reached.
	feedRetry = time.Second
)

// WorkQueue carries references to the dispatcher. What it loses is fed again.
type WorkQueue interface {
	PublishWork(ctx context.Context, bucket outbox.Bucket, lane outbox.Lane, refs []outbox.Ref) error
	PurgeWork(ctx context.Context, bucket outbox.Bucket, lane outbox.Lane) error
}

// FeedConfig says what is fed where.
type FeedConfig struct {
	Queue WorkQueue
	// Channels are the accounts and channels that are fed; messages of others wait.
	Channels outbox.Channels
	// Gated tells whether a gate keeps the bucket from sending: its references
	// then lie unclaimed for a good reason.
	Gated func(outbox.Bucket) bool
}

// Feed keeps the work queue topped up with references of due rows: retries
// first, then fresh messages, by due time. It scans from the head each time,
// never by a cursor, because rows may commit late.
type Feed struct {
	store  *Store
	cfg    FeedConfig
	wake   chan struct{}
	places []place

	mu    sync.Mutex
	lanes map[place]*laneFeed
}

// place is where a message waits: one lane of one bucket.
type place struct {
	outbox.Bucket
	outbox.Lane
}

// placedRef is a reference and where it waits.
type placedRef struct {
	place
	outbox.Ref
}

// laneFeed is what is known of one place. Its fields are guarded by Feed.mu.
type laneFeed struct {
	out     map[int64]fedSince // by row: in the queue or the dispatcher's hands
	look    bool               // rows may wait that are not fed
	more    bool               // the last scan may not have reached the end of the due rows
	nextDue time.Time          // the first row that was not due yet; zero: none
	checked time.Time          // when the fed references were last looked through, or had a reason to lie
}

// fedSince is the generation that was fed, and when.
type fedSince struct {
	generation int64
	at         time.Time
}

// NewFeed prepares the feed of s. It must be called before the first message is claimed.
func (s *Store) NewFeed(cfg FeedConfig) *Feed {
	f := &Feed{store: s, cfg: cfg, wake: make(chan struct{}, 1), lanes: make(map[place]*laneFeed)}
	for account, channels := range cfg.Channels {
		for _, channel := range channels {
			for _, lane := range outbox.Lanes {
				p := place{outbox.Bucket{Account: account, Channel: channel}, lane}
				f.places = append(f.places, p)
				f.lanes[p] = &laneFeed{out: make(map[int64]fedSince), look: true, checked: s.cfg.Now()}
			}
		}
	}
	s.feed.Store(f)
	return f
}

// Run feeds until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		case <-timer.C:
		}
		wait, err := f.round(ctx)
		if err != nil && ctx.Err() == nil {
			f.store.cfg.Log.Warn("the work queue cannot be fed now; trying again", "error", err, "in", feedRetry)
			// What arrives meanwhile is no reason to try earlier.
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(feedRetry):
			}
			f.lookEverywhere()
		}
		timer.Reset(wait)
	}
}

// round looks wherever rows may wait and says how long nothing will happen by
// time alone.
func (f *Feed) round(ctx context.Context) (wait time.Duration, err error) {
	now := f.store.cfg.Now()
	next := now.Add(feedStalled / 4)
	for _, p := range f.places {
		if f.takeStalled(p, now) {
			err = errors.Join(err, f.cfg.Queue.PurgeWork(ctx, p.Bucket, p.Lane))
		}
		if f.needsLook(p, now) {
			err = errors.Join(err, f.topUp(ctx, p, now))
		}
		f.mu.Lock()
		if due := f.lanes[p].nextDue; !due.IsZero() && due.Before(next) {
			next = due
		}
		f.mu.Unlock()
	}
	return max(next.Sub(now), time.Millisecond), err
}

func (f *Feed) needsLook(p place, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lanes[p]
	if !l.nextDue.IsZero() && !now.Before(l.nextDue) {
		l.look, l.nextDue = true, time.Time{} // if there is no room now, a claim will wake the feed
	}
	if !l.look || len(l.out) > feedDepth/2 {
		return false
	}
	l.look, l.nextDue = false, time.Time{}
	return true
}

// takeStalled forgets what was fed to a place if some of it has lain there for
// too long although no gate is in the way. It looks so seldom that what it
// finds has been fed for feedStalled at least.
func (f *Feed) takeStalled(p place, now time.Time) bool {
	gated := f.cfg.Gated(p.Bucket)
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lanes[p]
	if gated || len(l.out) == 0 {
		l.checked = now
		return false
	}
	if now.Sub(l.checked) < feedStalled {
		return false
	}
	before := l.checked
	l.checked = now
	for _, fed := range l.out {
		if !fed.at.After(before) {
			clear(l.out)
			l.look = true
			return true
		}
	}
	return false
}

// topUp feeds the first due rows of a place that are not fed already.
func (f *Feed) topUp(ctx context.Context, p place, now time.Time) error {
	due, err := f.scan(ctx, p, now)
	if err == nil && len(due) > 0 {
		err = f.cfg.Queue.PublishWork(ctx, p.Bucket, p.Lane, due)
	}
	if err == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ref := range due {
		delete(f.lanes[p].out, ref.ID)
	}
	return fmt.Errorf("store: feeding %s %s: %w", p.Bucket, p.Lane, err)
}

// scan reads the head of a place and marks what it returns as fed: before it
// is published, since it may be claimed before the publish returns. After an
// error too, what it returns has been marked.
func (f *Feed) scan(ctx context.Context, p place, now time.Time) ([]outbox.Ref, error) {
	var due []outbox.Ref
	f.mu.Lock()
	f.lanes[p].more = false
	f.mu.Unlock()
	for _, query := range []string{dueRetries, dueFresh} {
		rows, err := f.store.read.QueryxContext(ctx, query, p.Account, p.Channel, string(p.Lane),
			now.UnixMilli(), now.Add(-f.store.cfg.RepeatFor).UnixMilli(), feedDepth)
		if err != nil {
			return due, err
		}
		if due, err = f.collect(p, rows, now, due); err != nil {
			return due, err
		}
	}
	return due, nil
}

// The two scans differ in the state only, so that each meets its own partial index.
const (
	dueRetries = `
		SELECT id, generation, due_at FROM messages
		WHERE state = 'retrying' AND account = ? AND channel = ? AND lane = ?
		  AND (expires_at IS NULL OR expires_at > ?) AND (ambiguous_at IS NULL OR ambiguous_at > ?)
		ORDER BY due_at, id
		LIMIT ?`
	dueFresh = `
		SELECT id, generation, due_at FROM messages
		WHERE state = 'pending' AND account = ? AND channel = ? AND lane = ?
		  AND (expires_at IS NULL OR expires_at > ?) AND (ambiguous_at IS NULL OR ambiguous_at > ?)
		ORDER BY due_at, id
		LIMIT ?`
)

func (f *Feed) collect(p place, rows *sqlx.Rows, now time.Time, due []outbox.Ref) ([]outbox.Ref, error) {
	defer func() { _ = rows.Close() }()
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lanes[p]
	for seen := 1; rows.Next(); seen++ {
		var ref outbox.Ref
		var dueAt int64
		if err := rows.Scan(&ref.ID, &ref.Generation, &dueAt); err != nil {
			return due, err
		}
		if at := time.UnixMilli(dueAt); at.After(now) {
			if l.nextDue.IsZero() || at.Before(l.nextDue) {
				l.nextDue = at
			}
			break
		}
		l.more = l.more || seen == feedDepth
		if fed, found := l.out[ref.ID]; found && fed.generation >= ref.Generation {
			continue
		}
		if len(l.out) >= feedDepth {
			l.more = true
			break
		}
		l.out[ref.ID] = fedSince{ref.Generation, now}
		due = append(due, ref)
	}
	return due, rows.Err()
}

// committed follows what a commit did to the rows.
func (f *Feed) committed(c *committed) {
	now := f.store.cfg.Now()
	f.mu.Lock()
	wake := false
	for _, p := range c.arrived {
		wake = f.mark(p) || wake
	}
	for _, r := range c.held {
		if l, found := f.lanes[r.place]; found {
			l.out[r.ID] = fedSince{r.Generation, now}
		}
	}
	for _, r := range c.claimed {
		if l, found := f.lanes[r.place]; found {
			delete(l.out, r.ID)
			wake = ((l.more || l.look) && f.mark(r.place)) || wake
		}
	}
	for _, ref := range c.stale {
		wake = f.forget(ref) || wake
	}
	f.mu.Unlock()
	if wake {
		f.poke()
	}
}

// mark notes that a place is worth a look, and reports whether there is room
// to feed it now. It requires that f.mu is held.
func (f *Feed) mark(p place) bool {
	l, found := f.lanes[p]
	if !found {
		return false
	}
	l.look = true
	return len(l.out) <= feedDepth/2
}

// forget makes room for a reference that claimed nothing: canceled, expired or
// fed twice. Its place is not known, and it is rare. It reports whether there is
// room to feed now. It requires that f.mu is held.
func (f *Feed) forget(ref outbox.Ref) (room bool) {
	for p, l := range f.lanes {
		if fed, found := l.out[ref.ID]; found && fed.generation <= ref.Generation {
			delete(l.out, ref.ID)
			room = f.mark(p) || room
		}
	}
	return room
}

// lookEverywhere notes that rows may wait in every place.
func (f *Feed) lookEverywhere() {
	f.mu.Lock()
	for _, l := range f.lanes {
		l.look = true
	}
	f.mu.Unlock()
	f.poke()
}

func (f *Feed) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}
