package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"weir/outbox"
)

const (
	// feedDepth is how many references of a place are fed at once; the rest of
	// the backlog stays in SQL.
	feedDepth = 1024
	// feedStalled is how long a fed reference may lie unclaimed before it counts
	// as lost and is fed again; see takeStalled.
	feedStalled = 60 * time.Second
	// feedLook is the longest that the feed sleeps.
	feedLook = feedStalled / 4
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
	lost    bool               // the queue has forgotten what it was fed

	open     time.Duration // for how long no gate has been in the way, up to lookedAt
	lookedAt time.Time
	gated    bool      // when it was looked at
	turn     time.Time // what was fed before has had its turn: later ones have been claimed
	checkAt  time.Time // when fed references may count as lost
}

// fedSince is what was fed or handed to the dispatcher, and when.
type fedSince struct {
	generation int64
	at         time.Time
	open       time.Duration // the place's open time then
	held       bool          // it never was in the queue, and leads its lane
}

// openAt is for how long no gate has been in the way, up to now.
func (l *laneFeed) openAt(now time.Time) time.Duration {
	if l.gated {
		return l.open
	}
	return l.open + now.Sub(l.lookedAt)
}

// NewFeed prepares the feed of s. It must be called before the first message is claimed.
func (s *Store) NewFeed(cfg FeedConfig) *Feed {
	f := &Feed{store: s, cfg: cfg, wake: make(chan struct{}, 1), lanes: make(map[place]*laneFeed)}
	for account, channels := range cfg.Channels {
		for _, channel := range channels {
			for _, lane := range outbox.Lanes {
				p := place{outbox.Bucket{Account: account, Channel: channel}, lane}
				f.places = append(f.places, p)
				f.lanes[p] = &laneFeed{out: make(map[int64]fedSince), look: true, lookedAt: s.cfg.Now()}
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
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		case <-timer.C:
		}
		wait, err := f.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if failing = f.complain(err, failing); failing {
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

// complain says when feeding begins to fail, and when it works again.
func (f *Feed) complain(err error, failing bool) (fails bool) {
	switch {
	case err != nil && !failing:
		f.store.cfg.Log.Warn("the work queue cannot be fed now; trying again", "error", err, "every", feedRetry)
	case err == nil && failing:
		f.store.cfg.Log.Info("the work queue is fed again")
	}
	return err != nil
}

// round looks wherever rows may wait and says how long nothing will happen by
// time alone.
func (f *Feed) round(ctx context.Context) (wait time.Duration, err error) {
	now := f.store.cfg.Now()
	next := now.Add(feedLook)
	for _, p := range f.places {
		if f.takeStalled(p, now) {
			err = errors.Join(err, f.cfg.Queue.PurgeWork(ctx, p.Bucket, p.Lane))
		}
		if f.needsLook(p, now) {
			err = errors.Join(err, f.topUp(ctx, p, now))
		}
		f.mu.Lock()
		l := f.lanes[p]
		for _, at := range []time.Time{l.nextDue, l.checkAt} {
			if at.After(now) && at.Before(next) {
				next = at
			}
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

// takeStalled forgets what was fed to a place and has been lost, so that it is
// fed again. It reports whether the queue must be purged first.
//
// A reference lies unclaimed for one of three reasons besides loss: a gate, a
// limit, or those that lie before it. So it counts as lost in two cases. Its
// place was open, all in all, for feedStalled since: a gate stops that time, and
// never begins it anew, or a bucket that meets its limit again and again would
// wait for ever. Or it had its turn: the lane keeps its order, so once a
// reference that was fed later has been claimed, only feedStalled of wall time
// is left to those that are on their way. This finds what was lost of a bucket
// that is almost always parked; the others of its place are in the queue still.
func (f *Feed) takeStalled(p place, now time.Time) (purge bool) {
	gated := f.cfg.Gated(p.Bucket)
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lanes[p]
	if !gated { // else it is not known since when
		l.open = l.openAt(now)
	}
	l.lookedAt, l.gated = now, gated
	if l.lost {
		l.lost, l.look = false, true
		clear(l.out)
		return true
	}
	if now.Before(l.checkAt) {
		return false
	}
	l.checkAt = now.Add(feedLook)
	for id, fed := range l.out {
		left := feedStalled - (l.open - fed.open)
		switch {
		case left <= 0:
			clear(l.out)
			l.look = true
			return true
		case fed.at.Before(l.turn) && now.Sub(fed.at) >= feedStalled:
			delete(l.out, id)
			l.look = true
		case now.Add(left).Before(l.checkAt):
			l.checkAt = now.Add(left)
		}
	}
	return false
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
			l.out[r.ID] = fedSince{generation: r.Generation, at: now, open: l.openAt(now), held: true}
		}
	}
	for _, r := range c.claimed {
		if l, found := f.lanes[r.place]; found {
			if fed := l.out[r.ID]; !fed.held && fed.at.After(l.turn) {
				l.turn = fed.at
			}
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

// forgetAll forgets what has been fed anywhere.
func (f *Feed) forgetAll() {
	f.mu.Lock()
	for _, l := range f.lanes {
		l.lost = true
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
