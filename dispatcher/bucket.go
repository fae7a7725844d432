package dispatcher

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"weir/limiter"
	"weir/outbox"
)

// account is an Account at work. Its fields below the blank line are guarded
// by Dispatcher.mu.
type account struct {
	cfg    Account
	client *Client
	scope  string // names base URL and account, not the key: a rotated key keeps it

	key      APIKey
	unread   string // why it cannot be read again, as keyUnread and an error; empty: it can
	buckets  []*bucket
	stranger int64       // the message that something else than the API answered last; 0: none since
	watch    *scopeWatch // nil: there is but one channel
}

func newAccount(cfg Account, d *Config) (*account, error) {
	client, err := NewClient(ClientConfig{
		BaseURL: cfg.BaseURL, Connections: MaxConcurrency, Timeout: d.Policy.RequestTimeout, UserAgent: d.UserAgent, Clock: d.Clock,
	})
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", cfg.Name, err)
	}
	key, err := cfg.Key()
	if err != nil {
		return nil, fmt.Errorf("dispatcher: %w", err)
	}
	a := &account{cfg: cfg, client: client, scope: Scope(cfg.BaseURL, cfg.Name), key: key}
	if len(cfg.Channels) > 1 {
		a.watch = newScopeWatch(cfg.Channels)
	}
	return a, nil
}

// Scope names where an idempotency key is known: the base URL and the account.
func Scope(baseURL, account string) string {
	sum := sha256.Sum256([]byte(baseURL + "\n" + account))
	return hex.EncodeToString(sum[:16])
}

// bucket is one account and channel at work. Its last block of fields is
// guarded by Dispatcher.mu.
type bucket struct {
	outbox.Bucket
	account *account
	limiter *limiter.Limiter
	scopes  [3]string        // whose gates are the bucket's: daemon, account, own
	room    [3]chan struct{} // by lane: references were taken, fetch more

	parkStored time.Time // the end of the park in the gates table; the reporter's own

	waiting  [3]waiting    // by lane
	setbacks [3]setback    // by lane
	claimed  chan struct{} // closed once the last batch that was picked has been claimed
	tally                  // seats and requests
	park     park
	ramp     ramp
	failures int             // in a row
	unpaid   int64           // the message that was answered 402 last; 0: none since
	alone    map[int64]alone // by row
	sent     lastMinute
	last     lastSeen
	shown    Gauges
	changes  changeLog
}

// lastSeen is what the latest answer left for people to look up.
type lastSeen struct {
	requestID, errorCode string
	refusals             int    // in a row
	refusal              string // the error code of the last of them
}

func newBucket(a *account, channel, instance string, l *limiter.Limiter) *bucket {
	name := outbox.Bucket{Account: a.cfg.Name, Channel: channel}
	none := make(chan struct{})
	close(none)
	return &bucket{
		Bucket:  name,
		account: a,
		limiter: l,
		scopes:  [3]string{outbox.DaemonScope(instance), outbox.AccountScope(name.Account), name.Scope()},
		room:    [3]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)},
		alone:   make(map[int64]alone),
		claimed: none,
	}
}

// setback keeps a lane in order when the limit refuses one of its messages: none
// that was behind it may go before it is back in front.
type setback struct {
	back int // messages on their way back
	turn int // of the dispatcher, the first after a refusal: what was picked before goes back too
}

// due is how many messages of a lane may be picked now.
func (b *bucket) due(lane int) int {
	if b.setbacks[lane].back > 0 {
		return 0
	}
	return b.waiting[lane].len()
}

// waiting are the references of one lane that the dispatcher holds. Those that
// came back lead, by due time: they had been in front.
type waiting struct {
	back    []returned
	fetched []outbox.Ref
}

// returned is a message that was claimed and came back unharmed.
type returned struct {
	outbox.Ref
	due time.Time
}

func (w *waiting) len() int { return len(w.back) + len(w.fetched) }

// take removes up to n references from the front.
func (w *waiting) take(n int, into []outbox.Ref) []outbox.Ref {
	for ; n > 0 && len(w.back) > 0; n-- {
		into = append(into, w.back[0].Ref)
		w.back = w.back[1:]
	}
	n = min(n, len(w.fetched))
	into = append(into, w.fetched[:n]...)
	w.fetched = w.fetched[n:]
	return into
}

// takeUntried removes the first reference whose row is not in tried.
func (w *waiting) takeUntried(tried map[int64]bool) (outbox.Ref, bool) {
	for i, r := range w.back {
		if !tried[r.ID] {
			w.back = slices.Delete(w.back, i, i+1)
			return r.Ref, true
		}
	}
	for i, ref := range w.fetched {
		if !tried[ref.ID] {
			w.fetched = slices.Delete(w.fetched, i, i+1)
			return ref, true
		}
	}
	return outbox.Ref{}, false
}

// put inserts a returned reference by due time, then row.
func (w *waiting) put(r returned) {
	at, _ := slices.BinarySearchFunc(w.back, r, func(a, b returned) int {
		return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.ID, b.ID))
	})
	w.back = slices.Insert(w.back, at, r)
}

// laneIndex is the lane's place in outbox.Lanes.
func laneIndex(l outbox.Lane) int { return slices.Index(outbox.Lanes[:], l) }

const (
	high = iota // indices of outbox.Lanes
	normal
	bulk
)

// fetchRetry is the wait after the queue could not be reached.
const fetchRetry = time.Second

// fetch keeps references of one lane at hand, about twice as many as there are
// seats: however many go at once, a lane with a backlog does not look empty, so
// that a lower one would take its turn, while the next are on their way.
// It fetches a few queue messages at a time, since each fetch is a subscription,
// a pull and an unsubscription for the server.
func (d *Dispatcher) fetch(ctx context.Context, b *bucket, lane int) error {
	for ctx.Err() == nil {
		d.mu.Lock()
		room, least := 2*d.seats-b.waiting[lane].len(), max(1, d.seats/2)
		d.mu.Unlock()
		if room < least {
			select {
			case <-b.room[lane]:
			case <-ctx.Done():
			}
			continue
		}
		refs, err := d.cfg.Source.FetchWork(ctx, b.Bucket, outbox.Lanes[lane], room)
		if err != nil {
			if ctx.Err() == nil {
				// Debug: the source says once what its trouble is, and so does the status.
				d.cfg.Log.Debug("work cannot be fetched now; trying again", "bucket", b.String(), "error", err, "in", fetchRetry)
				pause(ctx, fetchRetry)
			}
			continue
		}
		d.mu.Lock()
		w := &b.waiting[lane]
		w.fetched = append(w.fetched, refs...)
		d.mu.Unlock()
		d.poke()
	}
	return nil
}

func pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// park is a wait for the limit, as the bucket's own messages meet it: the
// limiter also refuses what would use up a reserve.
type park struct{ since, until time.Time }

// note takes what came of asking the limiter: until is when it grants more by
// time alone, zero if nothing was asked or only an answer can tell.
func (p *park) note(now time.Time, granted bool, until time.Time) {
	if granted {
		until = time.Time{}
	}
	if until.IsZero() || now.Sub(p.until) > reportEvery {
		p.since = now
	}
	p.until = until
}

// stands tells whether the bucket waits, for longer than pacing explains.
func (p *park) stands(now time.Time) bool {
	return now.Before(p.until) && now.Sub(p.since) >= reportEvery
}

// ramp opens a bucket gently after a gate: 1, 2, 4, … requests at a time.
type ramp struct {
	width     int // 0: wide open
	successes int
}

func (r *ramp) begin() { *r = ramp{width: 1} }

// success widens the ramp once as many have succeeded as it is wide.
func (r *ramp) success(widest int) {
	if r.width == 0 {
		return
	}
	if r.successes++; r.successes < r.width {
		return
	}
	r.width, r.successes = 2*r.width, 0
	if r.width >= widest {
		r.width = 0
	}
}

// lastMinute counts events of the last 60 seconds.
type lastMinute struct {
	counts [60]int
	second int64 // Unix second of the latest count
}

func (m *lastMinute) add(now time.Time, n int) {
	m.advance(now)
	m.counts[m.second%60] += n
}

func (m *lastMinute) total(now time.Time) int {
	m.advance(now)
	sum := 0
	for _, n := range m.counts {
		sum += n
	}
	return sum
}

// rateFrom is how many seconds of events tell a rate.
const rateFrom = 3

// perSecond is the rate since the first event of the last minute; 0 while it is
// too fresh to tell one, since it would promise the end of a backlog for days
// ahead.
func (m *lastMinute) perSecond(now time.Time) float64 {
	sum := m.total(now)
	for age := 59; age >= rateFrom; age-- {
		if s := m.second - int64(age); s >= 0 && m.counts[s%60] > 0 {
			return float64(sum) / float64(age+1)
		}
	}
	return 0
}

func (m *lastMinute) advance(now time.Time) {
	second := now.Unix()
	for s := max(m.second+1, second-59); s <= second; s++ {
		m.counts[s%60] = 0
	}
	m.second = max(m.second, second)
}
