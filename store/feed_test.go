package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/dispatcher"
	"weir/internal/bubble"
	"weir/outbox"
	"weir/store"
)

// tray is a work queue that keeps what it is fed until a test takes it.
type tray struct {
	mu     sync.Mutex
	lanes  map[string][]outbox.Ref
	purges int
	calls  int
	broken bool
}

func (w *tray) PublishWork(_ context.Context, b outbox.Bucket, lane outbox.Lane, refs []outbox.Ref) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	if w.broken {
		return errors.New("no queue")
	}
	subject := b.String() + " " + string(lane)
	w.lanes[subject] = append(w.lanes[subject], refs...)
	return nil
}

func (w *tray) PurgeWork(_ context.Context, b outbox.Bucket, lane outbox.Lane) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.purges++
	delete(w.lanes, b.String()+" "+string(lane))
	return nil
}

// count reads one of the counters.
func (w *tray) count(of *int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *of
}

func (w *tray) breakDown(broken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = broken
}

// fedDesk is a store with its feed at work, in a bubble.
type fedDesk struct {
	*desk
	*tray
	gated atomic.Bool
}

// feeding runs the feed of a store in which prepare has put messages.
func feeding(t *testing.T, prepare func(*desk), test func(*testing.T, *fedDesk)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		d := &fedDesk{desk: bubbleDesk(t), tray: &tray{lanes: make(map[string][]outbox.Ref)}}
		prepare(d.desk)
		feed := d.NewFeed(store.FeedConfig{
			Queue: d.tray, Channels: outbox.Channels{"default": {"rcs", "email"}},
			Gated: func(outbox.Bucket) bool { return d.gated.Load() },
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- feed.Run(ctx) }()
		defer func() {
			stop()
			must(t, <-ended)
		}()
		test(t, d)
	})
}

// fed takes from a lane of default/rcs what has been fed by now.
func (d *fedDesk) fed(lane outbox.Lane) []outbox.Ref {
	d.t.Helper()
	synctest.Wait()
	d.tray.mu.Lock()
	defer d.tray.mu.Unlock()
	subject := "default/rcs " + string(lane)
	refs := d.lanes[subject]
	delete(d.lanes, subject)
	return refs
}

// keys are the messages that references name.
func (d *fedDesk) keys(refs []outbox.Ref) []string {
	var keys []string
	for _, r := range refs {
		keys = append(keys, d.text(`SELECT idempotency_key FROM messages WHERE id = ?`, r.ID))
	}
	return keys
}

// expect checks what has been fed to the normal lane since the last time.
func (d *fedDesk) expect(when string, want ...string) []outbox.Ref {
	d.t.Helper()
	refs := d.fed(outbox.Normal)
	if got := d.keys(refs); !slices.Equal(got, want) {
		d.t.Errorf("%s: fed %v, want %v", when, got, want)
	}
	return refs
}

func nothing(*desk) {}

// waiting puts n messages that are called by their numbers.
func waiting(n int) func(*desk) {
	return func(d *desk) {
		batch := make([]outbox.Message, n)
		for i := range batch {
			batch[i] = message(fmt.Sprint(i))
		}
		d.put(batch...)
	}
}

func TestDueMessagesAreFedInTheirOrder(t *testing.T) {
	feeding(t, func(d *desk) {
		urgent, elsewhere, foreign := message("urgent"), message("elsewhere"), message("foreign")
		urgent.Lane, elsewhere.Channel, foreign.Channel = outbox.High, "email", "fax"
		early, later := message("early"), message("later")
		early.SendAt, later.SendAt = d.Now().Add(-time.Minute), d.Now().Add(2*time.Minute)
		d.put(message("a"), message("b"), early, later, urgent, elsewhere, foreign, message("retry late"), message("retry early"), message("retry later"))
		for key, due := range map[string]time.Duration{"retry late": -time.Second, "retry early": -2 * time.Second, "retry later": time.Minute} {
			d.exec(`UPDATE messages SET state = 'retrying', due_at = ? WHERE idempotency_key = ?`, d.Now().Add(due).UnixMilli(), key)
		}
	}, func(t *testing.T, d *fedDesk) {
		d.expect("at the start", "retry early", "retry late", "early", "a", "b")
		if got := d.keys(d.fed(outbox.High)); !slices.Equal(got, []string{"urgent"}) {
			t.Errorf("the high lane was fed %v", got)
		}
		if len(d.lanes) != 1 || len(d.lanes["default/email normal"]) != 1 {
			t.Errorf("other lanes were fed %v, want the email only", d.lanes)
		}
		d.claims(d.ref("retry early"), d.ref("retry late"), d.ref("early"), d.ref("a"), d.ref("b"), d.ref("urgent"), d.ref("elsewhere"))
		time.Sleep(time.Minute - time.Millisecond)
		d.expect("a millisecond before the retry")
		time.Sleep(2 * time.Millisecond)
		d.expect("when the retry is due", "retry later")
		d.claims(d.ref("retry later"))
		time.Sleep(time.Minute)
		d.expect("when send_at has come", "later")
	})
}

func TestANewMessageIsFedAtOnce(t *testing.T) {
	feeding(t, nothing, func(t *testing.T, d *fedDesk) {
		d.expect("at the start")
		d.put(message("a"))
		d.expect("after an acceptance", "a")
		c := d.claim("a")
		d.record(c, answer(0), cutAt(d.Now().Add(3*time.Second)))
		d.expect("while the retry waits")
		time.Sleep(3 * time.Second)
		d.expect("when the retry is due", "a")
		_, err := d.Cancel(t.Context(), "a")
		must(t, err)
		d.put(message("b"))
		_, err = d.Cancel(t.Context(), "b")
		must(t, err)
		d.fed(outbox.Normal)
		_, err = d.Retry(t.Context(), "b", time.Time{})
		must(t, err)
		if refs := d.expect("under its next generation", "b"); len(d.claims(refs...)) != 1 {
			t.Error("what was fed cannot be claimed")
		}
	})
}

func TestAMessageOfAnotherProcessIsFed(t *testing.T) {
	feeding(t, nothing, func(t *testing.T, d *fedDesk) {
		d.expect("at the start")
		command, err := store.Attach(t.Context(), store.Config{Dir: d.dir, Now: time.Now})
		must(t, err)
		_, err = command.Accept(t.Context(), []outbox.Message{message("a")})
		must(t, errors.Join(err, command.Close()))
		time.Sleep(25 * time.Millisecond)
		d.expect("25 ms later", "a")
	})
}

// While the watch reads from the kernel, the bubble's time stands still: the store
// does not ask by itself, and would never hear if nobody told it.
func TestAWatchedStoreHearsOfAnotherProcessSoonerThanItAsks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		dir := closedDir(t)
		heard := make(chan struct{}, 100)
		s, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now, Watch: true, OnForeignWrite: func() { heard <- struct{}{} }})
		must(t, err)
		defer func() { must(t, s.Close()) }()
		command, err := store.Attach(t.Context(), store.Config{Dir: dir, Now: time.Now})
		must(t, err)
		defer func() { must(t, command.Close()) }()
		for i := range 20 {
			_, err := command.Accept(t.Context(), []outbox.Message{message(fmt.Sprint(i))})
			must(t, err)
			<-heard
		}
	})
}

func TestWhatTheDispatcherHoldsIsNotFedAgain(t *testing.T) {
	feeding(t, nothing, func(t *testing.T, d *fedDesk) {
		d.put(message("throttled"), message("released"), message("other"))
		refs := d.fed(outbox.Normal)
		claims := d.claims(refs...)
		d.record(claims[0], answer(429), throttled)
		must(t, d.Release(t.Context(), claims[1:2]))
		d.put(message("new"))
		d.expect("while the dispatcher holds the next generations", "new")
		if again := d.claims(claims[0].Next(), claims[1].Next()); len(again) != 2 {
			t.Errorf("the dispatcher could claim %d of 2", len(again))
		}
	})
}

func TestTheQueueIsKeptShallowAndToppedUp(t *testing.T) {
	const messages, depth, most = 4000, 1024, 100
	feeding(t, waiting(messages), func(t *testing.T, d *fedDesk) {
		d.exec(`UPDATE messages SET state = 'retrying' WHERE id % 2 = 0`)
		var queue []outbox.Ref
		seen := make(map[outbox.Ref]bool)
		for len(seen) < messages {
			for _, r := range d.fed(outbox.Normal) {
				if seen[r] {
					t.Fatalf("%v was fed twice", r)
				}
				seen[r] = true
				queue = append(queue, r)
			}
			if len(queue) > depth || (len(queue) <= depth/2 && len(seen) < messages) {
				t.Fatalf("after %d messages %d references are fed", len(seen), len(queue))
			}
			n := min(most, len(queue))
			if claims := d.claims(queue[:n]...); len(claims) != n {
				t.Fatalf("%d of %d were claimed", len(claims), n)
			}
			queue = queue[n:]
		}
	})
}

func TestStaleReferencesMakeRoomAtOnce(t *testing.T) {
	feeding(t, waiting(2000), func(t *testing.T, d *fedDesk) {
		refs := d.fed(outbox.Normal)
		d.exec(`UPDATE messages SET state = 'canceled', settled_at = 1, generation = 2 WHERE id <= ?`, refs[len(refs)-1].ID)
		time.Sleep(time.Second)
		d.expect("while they are not known to be stale")
		if claims := d.claims(refs...); len(claims) != 0 {
			t.Fatalf("claimed %d canceled messages", len(claims))
		}
		if got := d.fed(outbox.Normal); len(got) != 2000-len(refs) {
			t.Errorf("fed %d more at once, want the %d that are left", len(got), 2000-len(refs))
		}
	})
}

func TestWhatIsOverIsNotFed(t *testing.T) {
	feeding(t, func(d *desk) {
		expired := message("expired")
		expired.ExpiresAt = d.Now()
		d.put(expired, message("too late"), message("in time"))
		d.exec(`UPDATE messages SET ambiguous_at = ?, state = 'retrying' WHERE idempotency_key = 'too late'`, d.Now().Add(-policy.RepeatFor()).UnixMilli())
		d.exec(`UPDATE messages SET ambiguous_at = ?, state = 'retrying' WHERE idempotency_key = 'in time'`, d.Now().Add(time.Second-policy.RepeatFor()).UnixMilli())
	}, func(t *testing.T, d *fedDesk) {
		d.expect("at the start", "in time")
	})
}

func TestWhatTheQueueLostIsFedAgain(t *testing.T) {
	feeding(t, waiting(3), func(t *testing.T, d *fedDesk) {
		d.expect("at the start", "0", "1", "2")
		time.Sleep(59 * time.Second)
		d.expect("within a minute")
		if d.count(&d.purges) != 0 {
			t.Error("purged within a minute")
		}
		time.Sleep(20 * time.Second)
		d.expect("after a minute without a claim", "0", "1", "2")
		if n := d.count(&d.purges); n != 1 {
			t.Errorf("purged %d times, want once, before", n)
		}
	})
}

func TestWhatWaitsBehindAGateIsNotLost(t *testing.T) {
	feeding(t, waiting(3), func(t *testing.T, d *fedDesk) {
		refs := d.expect("at the start", "0", "1", "2")
		d.gated.Store(true)
		time.Sleep(10 * time.Minute)
		d.expect("behind a gate")
		d.gated.Store(false)
		time.Sleep(40 * time.Second)
		d.expect("soon after the gate")
		d.claims(refs[0])
		time.Sleep(40 * time.Second)
		d.expect("a minute after the gate", "1", "2")
	})
}

func TestAParkDoesNotBeginTheMinuteAnew(t *testing.T) {
	feeding(t, nothing, func(t *testing.T, d *fedDesk) {
		d.put(message("a"))
		d.expect("at once", "a")
		gate := func(stands bool) {
			d.gated.Store(stands)
			elsewhere := message(d.Now().String()) // makes the feed look
			elsewhere.Channel = "email"
			d.put(elsewhere)
			synctest.Wait()
		}
		for range 3 { // open for 20 s each time, of which the feed sees 5 to 20
			time.Sleep(20 * time.Second)
			gate(true)
			time.Sleep(30 * time.Second)
			gate(false)
		}
		d.expect("before it was open for a minute")
		time.Sleep(50 * time.Second)
		d.expect("a minute of open time later", "a")
	})
}

func TestALostReferenceIsFedAgainAfterAMinute(t *testing.T) {
	feeding(t, nothing, func(t *testing.T, d *fedDesk) {
		synctest.Wait()
		time.Sleep(10 * time.Second) // not in step with the feed's own looks
		d.put(message("a"))
		d.expect("at once", "a")
		time.Sleep(60*time.Second - time.Millisecond)
		d.expect("within a minute")
		time.Sleep(2 * time.Millisecond)
		d.expect("after a minute", "a")
	})
}

func TestWhatWasPassedOverIsFedAgainAlthoughTheBucketIsMostlyParked(t *testing.T) {
	feeding(t, nothing, func(t *testing.T, d *fedDesk) {
		d.put(message("lost"))
		d.expect("at once", "lost")
		d.gated.Store(true)
		time.Sleep(time.Second)
		d.put(message("later"), message("last"))
		d.expect("behind the gate", "later", "last")
		time.Sleep(50 * time.Second)
		d.claim("later")
		d.expect("within a minute")
		time.Sleep(30 * time.Second)
		d.expect("what had its turn a minute ago", "lost")
		if d.count(&d.purges) != 0 {
			t.Error("what is not lost was purged")
		}
		time.Sleep(10 * time.Minute)
		d.expect("what still has its turn before it")
	})
}

func TestWhatTheQueueForgotIsFedAnewAtOnce(t *testing.T) {
	feeding(t, waiting(3), func(t *testing.T, d *fedDesk) {
		d.expect("at the start", "0", "1", "2")
		d.claim("1")
		d.FeedAnew()
		d.expect("anew", "0", "2")
		if d.count(&d.purges) == 0 {
			t.Error("the queue was not purged before")
		}
	})
}

func TestASingleReferenceThatWasLostIsFedAgainUnderTraffic(t *testing.T) {
	feeding(t, waiting(1), func(t *testing.T, d *fedDesk) {
		d.expect("at the start", "0")
		var again []string
		for i := range 30 {
			key := fmt.Sprint("traffic ", i)
			d.put(message(key))
			again = append(again, d.keys(d.fed(outbox.Normal))...)
			d.claim(key)
			time.Sleep(5 * time.Second)
		}
		if !slices.Contains(again, "0") {
			t.Error("it was not fed again within 150 s, because others were claimed")
		}
	})
}

func TestAQueueThatCannotBeReachedIsTriedEachSecond(t *testing.T) {
	feeding(t, nothing, func(t *testing.T, d *fedDesk) {
		synctest.Wait()
		d.breakDown(true)
		var keys []string
		for i := range 100 { // what arrives meanwhile is no reason to try more often
			keys = append(keys, fmt.Sprint(i))
			d.put(message(keys[i]))
			time.Sleep(100 * time.Millisecond)
		}
		if n := d.count(&d.calls); n < 9 || n > 11 {
			t.Errorf("tried %d times in 10 s, want about one a second", n)
		}
		d.breakDown(false)
		time.Sleep(time.Second)
		refs := d.expect("when the queue is back", keys...)
		if len(d.claims(refs...)) != len(keys) {
			t.Error("what was fed cannot be claimed")
		}
	})
}

func TestTheFeedMayBeginWhileOthersWrite(t *testing.T) {
	d := newDesk(t)
	var all sync.WaitGroup
	all.Go(func() {
		for i := range 20 {
			d.exec(`UPDATE status SET reason = ?`, fmt.Sprint(i))
			must(t, d.PutGate(t.Context(), dispatcher.Gate{Scope: "daemon:weir", Kind: dispatcher.Paused, SetBy: dispatcher.ByOperator, Since: d.Now()}))
		}
	})
	d.NewFeed(store.FeedConfig{Queue: &tray{}, Gated: func(outbox.Bucket) bool { return false }})
	all.Wait()
}

func TestTheFeedDoesNotWaitForWhoeverLooksThroughAllRows(t *testing.T) {
	feeding(t, nothing, func(t *testing.T, d *fedDesk) {
		searching, stop := context.WithCancel(t.Context())
		must(t, d.KeepSearching(searching))
		d.put(message("k"))
		d.expect("while others search", "k")
		patient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := d.Messages(patient, store.Filter{Most: 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one search too many: %v", err)
		}
		stop()
		_, err := d.Messages(t.Context(), store.Filter{Most: 1})
		must(t, err)
	})
}
