package dispatcher

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"weir/outbox"
)

var errLedger = errors.New("disk on fire")

// ledger is Source and Ledger in memory. It keeps to their contract, and fails
// the test where the dispatcher does not.
type ledger struct {
	t  *testing.T
	mu sync.Mutex

	claimTakes  time.Duration // how long commits take
	recordTakes time.Duration
	fail        string // the method that returns errLedger
	trouble     string // that the source has

	rows     []*row // row n has the id n+1
	changed  chan struct{}
	sending  int
	most     int // rows that were sending at once
	claimed  []string
	released []string
	records  []Record
}

// row is a message; its Claim is what the next one to claim it gets.
type row struct {
	Claim
	state outbox.State
	fed   int64 // the generation that the dispatcher has a reference to
}

func newLedger(t *testing.T) *ledger {
	return &ledger{t: t, changed: make(chan struct{})}
}

// add stores a message for each key, due now.
func (l *ledger) add(b outbox.Bucket, lane outbox.Lane, keys ...string) {
	l.addClaims(b, lane, func(*Claim) {}, keys...)
}

func (l *ledger) addClaims(b outbox.Bucket, lane outbox.Lane, change func(*Claim), keys ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		r := &row{state: outbox.Pending, fed: -1, Claim: Claim{
			Ref: outbox.Ref{ID: int64(len(l.rows) + 1)}, Bucket: b, Lane: lane, Key: key, Body: []byte(`{"to":"x"}`), DueAt: time.Now(),
		}}
		change(&r.Claim)
		l.rows = append(l.rows, r)
	}
	l.notify()
}

// notify wakes those who wait for references. It requires that l.mu is held.
func (l *ledger) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *ledger) FetchWork(ctx context.Context, b outbox.Bucket, lane outbox.Lane, most int) ([]outbox.Ref, error) {
	for {
		refs, next, changed := l.due(b, lane, most)
		if len(refs) > 0 {
			return refs, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		case <-time.After(next):
		}
	}
}

func (l *ledger) Trouble() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trouble
}

func (l *ledger) setTrouble(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trouble = reason
}

// due takes references of due rows, or tells after which time to look again.
func (l *ledger) due(b outbox.Bucket, lane outbox.Lane, most int) ([]outbox.Ref, time.Duration, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var due []*row
	next := time.Hour
	for _, r := range l.rows {
		waits := r.state == outbox.Pending || r.state == outbox.Retrying
		switch wait := time.Until(r.DueAt); {
		case !waits || r.Bucket != b || r.Lane != lane || r.fed >= r.Generation || !r.alive(time.Now()):
		case wait > 0:
			next = min(next, wait)
		default:
			due = append(due, r)
		}
	}
	slices.SortFunc(due, func(a, b *row) int { return cmp.Or(a.DueAt.Compare(b.DueAt), cmp.Compare(a.ID, b.ID)) })
	var refs []outbox.Ref
	for _, r := range due[:min(most, len(due))] {
		r.fed = r.Generation
		refs = append(refs, r.Ref)
	}
	return refs, next, l.changed
}

func (r *row) alive(now time.Time) bool {
	return (r.ExpiresAt.IsZero() || now.Before(r.ExpiresAt)) && mayRepeat(r.Claim, r.Scope, policy, now)
}

func (l *ledger) Claim(_ context.Context, scope string, refs []outbox.Ref) ([]Claim, error) {
	now := time.Now()
	l.mu.Lock()
	takes := l.claimTakes
	l.mu.Unlock()
	time.Sleep(takes)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail == "Claim" {
		return nil, errLedger
	}
	var claims []Claim
	for _, ref := range refs {
		r := l.rows[ref.ID-1]
		if r.Generation != ref.Generation || r.state != outbox.Pending && r.state != outbox.Retrying || !r.alive(now) {
			continue
		}
		r.state, r.ClaimedAt = outbox.Sending, now
		if r.AmbiguousAt.IsZero() {
			r.Scope = scope
		}
		claims = append(claims, r.Claim)
		l.claimed = append(l.claimed, r.Key)
		l.sending++
		l.most = max(l.most, l.sending)
	}
	return claims, nil
}

func (l *ledger) Record(record Record, done func(error)) {
	go func() {
		time.Sleep(l.recordTakes)
		done(l.record(record))
	}()
}

func (l *ledger) record(record Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail == "Record" {
		return errLedger
	}
	r, j := l.end(record.Claim), record.Judgement
	l.records = append(l.records, record)
	if j.Counted {
		r.Attempts++
		if r.FirstAttemptAt.IsZero() {
			r.FirstAttemptAt = record.Answer.StartedAt
		}
	}
	if j.Throttled {
		r.Throttles++
	}
	if j.Ambiguous && r.AmbiguousAt.IsZero() {
		r.AmbiguousAt = record.Answer.KeyUsedAt()
	}
	r.state = j.State
	if !j.State.Settled() {
		l.giveBack(r, j.DueAt)
	}
	return nil
}

func (l *ledger) Release(_ context.Context, claims []Claim) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail == "Release" {
		return errLedger
	}
	for _, c := range claims {
		r := l.end(c)
		l.released = append(l.released, r.Key)
		r.state = outbox.Pending
		if r.Attempts > 0 {
			r.state = outbox.Retrying
		}
		l.giveBack(r, time.Time{})
	}
	return nil
}

// end finds the row of a claim that is over. It requires that l.mu is held.
func (l *ledger) end(c Claim) *row {
	r := l.rows[c.ID-1]
	if r.state != outbox.Sending || r.Generation != c.Generation {
		l.t.Errorf("message %s ends a claim of generation %d, but is %s in generation %d", c.Key, c.Generation, r.state, r.Generation)
	}
	l.sending--
	return r
}

// giveBack makes r wait again: at once, known to the dispatcher, or until due.
func (l *ledger) giveBack(r *row, due time.Time) {
	r.Generation++
	if due.IsZero() {
		r.fed = r.Generation
		return
	}
	r.DueAt = due
	l.notify()
}

// of counts the rows in a state.
func (l *ledger) of(s outbox.State) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, r := range l.rows {
		if r.state == s {
			n++
		}
	}
	return n
}

// row returns the row as it is now.
func (l *ledger) row(key string) row {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.rows {
		if r.Key == key {
			return *r
		}
	}
	l.t.Fatalf("no message %s", key)
	return row{}
}

// counted sums attempts and throttles of all rows.
func (l *ledger) counted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, r := range l.rows {
		n += r.Attempts + r.Throttles
	}
	return n
}

// board is a Board in memory.
type board struct {
	mu    sync.Mutex
	gates map[gateID]Gate
	shown map[outbox.Bucket]Gauges
}

func newBoard() *board {
	return &board{gates: make(map[gateID]Gate), shown: make(map[outbox.Bucket]Gauges)}
}

func (b *board) PutGate(_ context.Context, g Gate) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gates[g.id()] = g
	return nil
}

func (b *board) DropGate(_ context.Context, g Gate) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.gates, g.id())
	return nil
}

func (b *board) Report(_ context.Context, gauges []Gauges) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range gauges {
		b.shown[g.Bucket] = g
	}
	return nil
}

func (b *board) gauges(bucket outbox.Bucket) Gauges {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shown[bucket]
}

func (b *board) stored() []Gate {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Gate
	for _, g := range b.gates {
		all = append(all, g)
	}
	return all
}

func (l *ledger) copyReleased() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.released)
}

func (l *ledger) setClaimTakes(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claimTakes = d
}
