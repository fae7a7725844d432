package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/bubble"
	"weir/outbox"
)

var (
	rcs   = outbox.Bucket{Account: "default", Channel: "rcs"}
	email = outbox.Bucket{Account: "default", Channel: "email"}
)

const testProbeInterval = 10 * time.Second

// rig is a dispatcher at work in a bubble of virtual time.
type rig struct {
	*testing.T
	*ledger
	*board
	api *api
	d   *Dispatcher
	key secret

	stop  context.CancelFunc
	ended chan error
}

// secret is an API key that can be changed.
type secret struct {
	mu  sync.Mutex
	key APIKey
	err error // of reading it
}

func (s *secret) read() (APIKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key, s.err
}

func (s *secret) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *secret) set(key APIKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = key
}

// inBubble gives test a rig that has not started.
func inBubble(t *testing.T, concurrency int, test func(r *rig), changes ...func(*Config)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		r := &rig{T: t, ledger: newLedger(t), board: newBoard(), key: secret{key: "old"}, ended: make(chan error, 1)}
		r.api = newAPI(t, r.ledger)
		cfg := Config{
			Instance: "weir", Source: r.ledger, Ledger: r.ledger, Board: r.board, Policy: policy, Concurrency: concurrency,
			Accounts:      []Account{{Name: "default", BaseURL: "http://127.0.0.1:1", Channels: []string{"rcs", "email"}, Key: r.key.read}},
			ProbeInterval: testProbeInterval, DrainTimeout: 30 * time.Second, BulkReserve: 0.1, UserAgent: "weir/test", Now: time.Now,
		}
		for _, change := range changes {
			change(&cfg)
		}
		d, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		d.accounts[0].client.transport.DialContext = r.api.dial
		r.d = d
		test(r)
	})
}

// start lets the dispatcher run until the test ends.
func (r *rig) start() {
	ctx, cancel := context.WithCancel(r.Context())
	r.stop = cancel
	go func() { r.ended <- r.d.Run(ctx) }()
	r.Cleanup(func() {
		cancel()
		<-r.ended
	})
}

// finish stops the dispatcher and returns what Run did.
func (r *rig) finish() error {
	r.stop()
	err := <-r.ended
	r.ended <- err // for the cleanup
	return err
}

// wait lets time pass until cond holds. It looks more seldom as time goes on.
func (r *rig) wait(within time.Duration, what string, cond func() bool) {
	r.Helper()
	for began := time.Now(); !cond(); {
		waited := time.Since(began)
		if waited > within {
			r.Fatalf("after %v still not: %s", within, what)
		}
		time.Sleep(max(time.Millisecond, waited/50))
	}
}

// waitAllSent waits until every message is sent.
func (r *rig) waitAllSent(within time.Duration) {
	r.Helper()
	r.wait(within, "all messages sent", func() bool { return r.of(outbox.Sent) == len(r.rows) })
}

// keys makes n keys with a common beginning.
func keys(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s%03d", prefix, i)
	}
	return all
}

func TestEachMessageIsOneRequest(t *testing.T) {
	inBubble(t, 8, func(r *rig) {
		r.recordTakes, r.claimTakes = 5*time.Millisecond, 5*time.Millisecond
		for _, lane := range outbox.Lanes {
			r.add(rcs, lane, keys("rcs-"+string(lane), 100)...)
			r.add(email, lane, keys("email-"+string(lane), 100)...)
		}
		r.start()
		r.waitAllSent(time.Minute)
		if err := r.finish(); err != nil {
			r.Errorf("Run: %v", err)
		}
		if got := len(r.api.requests(time.Time{})); got != 600 || r.counted() != 600 {
			r.Errorf("%d requests, %d attempts, want 600 of each", got, r.counted())
		}
		if most, _ := r.api.peaks(); most != 8 {
			r.Errorf("at most %d requests on the wire, want 8", most)
		}
		if r.most <= 8 || r.most > 16 {
			r.Errorf("at most %d claims at once, want more than 8, up to 16", r.most)
		}
	})
}

func TestAttemptsAndThrottlesAreAllTheRequests(t *testing.T) {
	inBubble(t, 8, func(r *rig) {
		r.api.limit = 0
		r.api.play(func(q request) reply {
			switch {
			case q.nth%10 == 3:
				return reply{status: 429, body: `{"error":"rate_limit_exceeded","retry_after":1}`}
			case q.nth%10 == 6:
				return unavailable
			case q.nth%10 == 9:
				return cutOff
			}
			return ok.in(10 * time.Millisecond)
		})
		r.add(rcs, outbox.Normal, keys("k", 100)...)
		r.start()
		r.waitAllSent(time.Hour)
		if got := len(r.api.requests(time.Time{})); got != r.counted() || got <= 100 {
			r.Errorf("%d requests, but %d attempts and throttles", got, r.counted())
		}
	})
}

func TestASeatIsFreeOnlyAfterItsOutcomeIsOnDisk(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.recordTakes = time.Hour
		r.add(rcs, outbox.Normal, keys("k", 50)...)
		r.start()
		time.Sleep(time.Minute)
		if got := len(r.api.requests(time.Time{})); got != 8 {
			r.Errorf("%d requests while no outcome is on disk, want as many as there are seats", got)
		}
	})
}

func TestALedgerThatCannotBeWrittenEndsTheRun(t *testing.T) {
	for _, method := range []string{"Claim", "Record", "Release"} {
		t.Run(method, func(t *testing.T) {
			inBubble(t, 2, func(r *rig) {
				r.fail = method
				if method == "Release" {
					r.claimTakes = staleClaim + time.Second
				}
				r.add(rcs, outbox.Normal, keys("k", 20)...)
				r.start()
				err := <-r.ended
				r.ended <- err
				if !errors.Is(err, errLedger) {
					r.Errorf("Run: %v, want the error of the ledger", err)
				}
				if got := len(r.api.requests(time.Time{})); got > 4 {
					r.Errorf("%d requests, more than there are seats", got)
				}
			})
		})
	}
}

func TestStoppingFinishesWhatIsOnTheWireAndReturnsTheRest(t *testing.T) {
	inBubble(t, 2, func(r *rig) {
		r.add(rcs, outbox.Normal, keys("k", 20)...)
		r.start()
		r.wait(time.Second, "the first answers", func() bool { return r.of(outbox.Sent) > 3 })
		r.api.always(ok.in(5 * time.Second))
		r.wait(time.Second, "full seats", func() bool { return r.api.onWire() == 2 && r.of(outbox.Sending) == 4 })
		before := r.of(outbox.Sent)
		began := time.Now()
		if err := r.finish(); err != nil {
			r.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took > 6*time.Second {
			r.Errorf("the stop took %v", took)
		}
		if sent := r.of(outbox.Sent) - before; sent != 2 || r.of(outbox.Sending) != 0 || len(r.released) != 2 {
			r.Errorf("%d sent after the stop, %d still claimed, %q released; want 2, 0 and 2", sent, r.of(outbox.Sending), r.released)
		}
		if got := len(r.api.requests(began)); got != 0 {
			r.Errorf("%d requests after the stop", got)
		}
	})
}

func TestStoppingReturnsWhatIsBeingClaimed(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.warm()
		r.api.always(ok.in(5 * time.Second))
		r.ledger.setClaimTakes(time.Second)
		r.add(rcs, outbox.Normal, "a")
		r.wait(5*time.Second, "a request", func() bool { return r.api.onWire() == 1 })
		r.add(rcs, outbox.Normal, "b")
		time.Sleep(500 * time.Millisecond) // half of b's claim
		if err := r.finish(); err != nil {
			r.Errorf("Run: %v", err)
		}
		if b := r.row("b"); r.of(outbox.Sent) != 41 || b.state != outbox.Pending || b.Generation != 1 {
			r.Errorf("%d sent, the one that was being claimed is %s in generation %d; want 41, pending, 1", r.of(outbox.Sent), b.state, b.Generation)
		}
	})
}

func TestTheDrainTimeoutAbandonsWhatDoesNotEnd(t *testing.T) {
	inBubble(t, 2*inARow, func(r *rig) {
		r.d.cfg.DrainTimeout = 3 * time.Second
		r.warm()
		r.api.always(ok.in(20 * time.Second))
		r.add(rcs, outbox.Normal, append(keys("k", 2*inARow-1), "k")...)
		r.wait(time.Second, "requests", func() bool { return r.api.onWire() == 2*inARow })
		began := time.Now()
		if err := r.finish(); err != nil {
			r.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took != 3*time.Second {
			r.Errorf("the stop took %v, want the drain timeout", took)
		}
		k := r.row("k")
		if k.state != outbox.Pending && k.state != outbox.Retrying || k.Attempts != 0 || k.AmbiguousAt.IsZero() {
			r.Errorf("the message is %s with %d attempts, ambiguous at %v; want it waiting, ambiguous, not counted", k.state, k.Attempts, k.AmbiguousAt)
		}
		if len(r.stored()) != 0 {
			r.Errorf("gates %v after a stop", r.stored())
		}
	})
}

func TestWorkingFollowsARowFromBeforeItsClaimToAfterItsOutcome(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.claimTakes, r.recordTakes = time.Second, time.Second
		r.add(rcs, outbox.Normal, "k")
		if r.d.Working(1) {
			r.Error("working before the start")
		}
		r.start()
		for range 4 {
			time.Sleep(500 * time.Millisecond)
			if state := r.row("k").state; !r.d.Working(1) {
				r.Errorf("not working on a row that is %s", state)
			}
		}
		r.waitAllSent(time.Second)
		synctest.Wait()
		if r.d.Working(1) {
			r.Error("still working after the end")
		}
	})
}

func TestNewRefusesAConfigurationThatCannotWork(t *testing.T) {
	l := newLedger(t)
	key := func() (APIKey, error) { return "k", nil }
	valid := Config{
		Instance: "weir",
		Accounts: []Account{{Name: "default", BaseURL: "https://api.example", Channels: []string{"rcs"}, Key: key}},
		Source:   l, Ledger: l, Board: newBoard(), Policy: policy, Concurrency: 1, ProbeInterval: time.Second,
		UserAgent: "weir/test", Now: time.Now,
	}
	if _, err := New(valid); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*Config)
	}{
		{"without a name", func(c *Config) { c.Instance = "" }},
		{"without accounts", func(c *Config) { c.Accounts = nil }},
		{"without workers", func(c *Config) { c.Concurrency = 0 }},
		{"without a pause between probes", func(c *Config) { c.ProbeInterval = 0 }},
		{"without a time-out", func(c *Config) { c.Policy.RequestTimeout = 0 }},
		{"with retries near the end of a key", func(c *Config) { c.Policy.RetryFor = c.Policy.KeyLifetime - time.Hour + 1 }},
		{"with requests that outlive their key", func(c *Config) { c.Policy.RequestTimeout = c.Policy.KeyLifetime - c.Policy.RetryFor }},
		{"without a ledger", func(c *Config) { c.Ledger = nil }},
		{"without a clock", func(c *Config) { c.Now = nil }},
		{"with a URL that would show the key", func(c *Config) {
			c.Accounts = []Account{{Name: "default", BaseURL: "http://api.example", Key: key}}
		}},
		{"with a key that cannot be read", func(c *Config) {
			c.Accounts = []Account{{
				Name: "default", BaseURL: "https://api.example",
				Key: func() (APIKey, error) { return "", errors.New("no such file") },
			}}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := valid
			tt.change(&cfg)
			if _, err := New(cfg); err == nil {
				t.Error("no error")
			}
		})
	}
}
