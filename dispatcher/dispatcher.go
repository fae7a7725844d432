// Package dispatcher sends messages: it takes references of due messages,
// claims each for one attempt, makes one request, judges the answer and
// records it.
//
// Its place is between the work queue (Source) and the database (Ledger). A
// request is made only after its claim is on disk, while no gate of its bucket
// stands and with a token of its limiter; a worker's seat is free again only
// after the outcome is on disk. What an answer means is decided here and
// nowhere else: verdict.go is the table, learn.go what it does to gates. The
// package does not promise order between messages that are under way together.
package dispatcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"weir/limiter"
	"weir/outbox"
)

// Account is one API key at one base URL.
type Account struct {
	// Name is what messages call the account.
	Name string
	// BaseURL is where the API lives, as in ClientConfig.
	BaseURL string
	// Channels are those of the account: each is a bucket.
	Channels []string
	// SharedLimit says that the API counts all channels of the account as one.
	SharedLimit bool
	// Key reads the API key. It is called again twice a second, so that another
	// key counts as soon as it is there; while it fails, the one at hand stays.
	// Its errors should name the account.
	Key func() (APIKey, error)
}

// MaxConcurrency is the most that Config.Concurrency may be.
const MaxConcurrency = 1024

// Config says what is sent how. Every field is needed unless it names a default.
type Config struct {
	// Instance names the daemon in the scope of gates that hold all of it.
	Instance string
	// Accounts are those that messages may be sent through, at least one.
	Accounts []Account
	// Source gives what is due.
	Source Source
	// Ledger is where claims and outcomes are kept.
	Ledger Ledger
	// Board is where gates and gauges are kept.
	Board Board
	// Policy says how long and how often a message is tried.
	Policy Policy
	// Concurrency is the most requests on the wire at once. Twice as many
	// messages are claimed or under way, so that no worker waits for a commit.
	// From 1 to MaxConcurrency.
	Concurrency int
	// ProbeInterval is the wait before the first probe of a hold, the longest
	// between probes of a degraded bucket, and the first wait of a message that
	// is alone with a 402 or with an answer that is not the API's.
	ProbeInterval time.Duration
	// DrainTimeout is how long requests may still run once Run has been told to
	// stop. Zero abandons them at once.
	DrainTimeout time.Duration
	// BulkReserve is the share of a limit that only the high lane may use, as
	// limiter.Config.Reserve. Zero is none.
	BulkReserve float64
	// UserAgent names the program to the API.
	UserAgent string
	// Now is the one clock of the process.
	Now func() time.Time
	// Clock tells when the time may be wrong, and is told the API's. Defaults to
	// one that only compares Now with the API's.
	Clock *Clock
	// Observe, if set, follows each attempt, for metrics and traces.
	Observe Observe
	// Log takes what operators should know, without keys, bodies and recipients.
	// Defaults to discarding.
	Log *slog.Logger
}

func (c *Config) validate() error {
	faults := []error{c.Policy.validate()}
	if c.Instance == "" {
		faults = append(faults, errors.New("field Instance is empty"))
	}
	if len(c.Accounts) == 0 {
		faults = append(faults, errors.New("field Accounts is empty"))
	}
	if c.Concurrency < 1 || c.Concurrency > MaxConcurrency {
		faults = append(faults, fmt.Errorf("field Concurrency is %d, needs to be from 1 to %d", c.Concurrency, MaxConcurrency))
	}
	if c.ProbeInterval <= 0 {
		faults = append(faults, fmt.Errorf("field ProbeInterval is %v, needs to be positive", c.ProbeInterval))
	}
	if c.Source == nil || c.Ledger == nil || c.Board == nil || c.Now == nil {
		faults = append(faults, errors.New("fields Source, Ledger, Board and Now are needed"))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("dispatcher: configuration: %w", err)
	}
	return nil
}

// Dispatcher sends the messages of all buckets. Its methods are safe for
// concurrent use.
type Dispatcher struct {
	cfg      Config
	accounts []*account
	buckets  []*bucket
	pools    []*pool
	wake     chan struct{}  // something changed that may let a message go
	start    chan *delivery // for the workers; closed once nothing is left

	mu       sync.Mutex
	workers  int // requests on the wire at most
	hired    int // workers that have been started: some are idle once there are to be fewer
	seats    int // claimed or under way at most
	gates    gates
	turn     int            // counts the rounds of scheduling
	ready    [2][]*delivery // claimed, waiting for a worker: the high lane's, and the others' as they were claimed
	inHand   map[int64]int  // claims of each row, from before they are on disk to after their end
	posting  int
	bulk     tally // of the bulk lane, over all buckets
	stopping bool
	failure  error // of the ledger: nothing more can be sent
	trouble  Gate  // of the source, as it is stored; without a reason: none

	work sync.WaitGroup // claims and deliveries under way
	crew sync.WaitGroup // workers
}

// tally counts what a lane or bucket occupies.
type tally struct {
	seats   int // claimed or under way
	posting int // requests on the wire
}

// New prepares a dispatcher. It reads the API keys and connects to nothing.
func New(cfg Config) (*Dispatcher, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	if cfg.Clock == nil {
		cfg.Clock = NewClock(cfg.Now)
	}
	if cfg.Observe == nil {
		cfg.Observe = unobserved
	}
	d := &Dispatcher{
		cfg:     cfg,
		workers: cfg.Concurrency,
		seats:   2 * cfg.Concurrency,
		wake:    make(chan struct{}, 1),
		start:   make(chan *delivery, MaxConcurrency),
		gates:   newGates(),
		inHand:  make(map[int64]int),
	}
	for _, a := range cfg.Accounts {
		if err := d.addAccount(a); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *Dispatcher) addAccount(cfg Account) error {
	a, err := newAccount(cfg, &d.cfg)
	if err != nil {
		return err
	}
	d.accounts = append(d.accounts, a)
	var p *pool
	for _, channel := range cfg.Channels {
		if p == nil || !cfg.SharedLimit {
			p = &pool{limiter: limiter.New(limiter.Config{MaxInFlight: d.seats, Reserve: d.cfg.BulkReserve})}
			d.pools = append(d.pools, p)
		}
		b := newBucket(a, channel, d.cfg.Instance, p.limiter)
		p.buckets = append(p.buckets, b)
		a.buckets = append(a.buckets, b)
		d.buckets = append(d.buckets, b)
	}
	return nil
}

// Run sends until ctx ends, then lets requests under way finish within the
// drain timeout and records them. It returns early, with the reason, when the
// ledger can no longer be written.
func (d *Dispatcher) Run(ctx context.Context) error {
	// Work outlives ctx by the drain timeout; fetching does not.
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	group, fetching := errgroup.WithContext(ctx)
	for _, b := range d.buckets {
		for lane := range outbox.Lanes {
			group.Go(func() error { return d.fetch(fetching, b, lane) })
		}
	}
	group.Go(func() error { return d.schedule(fetching, work) })
	group.Go(func() error { return d.report(fetching) })
	err := group.Wait()
	d.drain(work, abandon)
	d.crew.Wait()
	for _, a := range d.accounts {
		a.client.Close()
	}
	last := d.publish(context.WithoutCancel(ctx))
	d.mu.Lock()
	defer d.mu.Unlock()
	return cmp.Or(d.failure, err, last)
}

// drain hands back what was claimed and not begun, and waits for the rest.
func (d *Dispatcher) drain(work context.Context, abandon func()) {
	d.mu.Lock()
	d.stopping = true
	for rank := range d.ready {
		for _, x := range d.ready[rank] {
			d.work.Go(func() { d.handBack(work, x) })
		}
		d.ready[rank] = nil
	}
	d.mu.Unlock()
	late := time.AfterFunc(d.cfg.DrainTimeout, abandon)
	defer late.Stop()
	d.work.Wait()
	close(d.start)
}

// schedule lets messages go whenever something has changed or a time has come.
func (d *Dispatcher) schedule(ctx, work context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		case <-timer.C:
		}
		next, err := d.letGo(work)
		if err != nil {
			return err
		}
		timer.Reset(next)
	}
}

// Working tells whether the row is claimed or under way.
func (d *Dispatcher) Working(id int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inHand[id] > 0
}

// release ends one claim of a row. It requires that d.mu is held.
func (d *Dispatcher) release(id int64) {
	if d.inHand[id]--; d.inHand[id] == 0 {
		delete(d.inHand, id)
	}
}

// Gated tells whether the bucket has a reason not to send now: a gate, or its limit.
func (d *Dispatcher) Gated(bucket outbox.Bucket) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Now()
	for _, b := range d.buckets {
		if b.Bucket == bucket {
			return d.gates.strongest(b) != nil || b.limiter.Parked(now) || b.park.stands(now)
		}
	}
	return true // not configured: nothing fetches for it
}

// poke makes the scheduler look again.
func (d *Dispatcher) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// fail ends the dispatcher: without a ledger nothing may be sent.
func (d *Dispatcher) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failure == nil {
		d.failure = err
	}
	d.stopping = true
	d.poke()
}
