package queue_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"weir/outbox"
	"weir/queue"
)

var rcs = outbox.Bucket{Account: "default", Channel: "rcs"}

// refs are references of the ids from first to last.
func refs(first, last int64) []outbox.Ref {
	var all []outbox.Ref
	for id := first; id <= last; id++ {
		all = append(all, outbox.Ref{ID: id, Generation: id % 3})
	}
	return all
}

func feed(t *testing.T, q *queue.Queue, bucket outbox.Bucket, lane outbox.Lane, refs []outbox.Ref) {
	t.Helper()
	if err := q.PublishWork(deadline(t), bucket, lane, refs); err != nil {
		t.Fatal(err)
	}
}

// fetch takes work of one lane until there are n references.
func fetch(t *testing.T, q *queue.Queue, bucket outbox.Bucket, lane outbox.Lane, n int) []outbox.Ref {
	t.Helper()
	var all []outbox.Ref
	for len(all) < n {
		got, err := q.FetchWork(deadline(t), bucket, lane, n-len(all))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, got...)
	}
	return all
}

// wantNothing looks whether a lane is empty.
func wantNothing(t *testing.T, q *queue.Queue, bucket outbox.Bucket, lane outbox.Lane) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	got, err := q.FetchWork(ctx, bucket, lane, 1)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s, lane %s: got %v, %v, want nothing", bucket, lane, got, err)
	}
}

func TestALaneKeepsItsOrderAndEveryReferenceComesOnce(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	feed(t, q, rcs, outbox.Normal, refs(1, 1000))
	feed(t, q, rcs, outbox.Normal, refs(1001, 1001))
	if got, want := fetch(t, q, rcs, outbox.Normal, 1001), refs(1, 1001); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	wantNothing(t, q, rcs, outbox.Normal)
}

func TestLanesAndBucketsAreApart(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	// Joined without care, the last two would share a name.
	buckets := []outbox.Bucket{rcs, {Account: "default", Channel: "email"}, {Account: "a_b", Channel: "c"}, {Account: "a", Channel: "b_c"}}
	var id int64
	for _, bucket := range buckets {
		for _, lane := range outbox.Lanes {
			id++
			feed(t, q, bucket, lane, refs(id, id))
		}
	}
	id = 0
	for _, bucket := range buckets {
		for _, lane := range outbox.Lanes {
			id++
			if got := fetch(t, q, bucket, lane, 1); !slices.Equal(got, refs(id, id)) {
				t.Errorf("%s, lane %s: got %v, want id %d", bucket, lane, got, id)
			}
		}
	}
}

func TestAFetchTakesNoMoreQueueMessagesThanItNeeds(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	feed(t, q, rcs, outbox.Bulk, refs(1, 320))
	for _, row := range []struct{ most, want int }{{1, 32}, {32, 32}, {33, 64}, {64, 64}, {1000, 128}} {
		got, err := q.FetchWork(deadline(t), rcs, outbox.Bulk, row.most)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != row.want {
			t.Errorf("most %d: got %d references, want %d", row.most, len(got), row.want)
		}
	}
}

func TestAWaitingFetchWakesForTheOneMessage(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	got := make(chan []outbox.Ref)
	go func() {
		for range 50 {
			refs, err := q.FetchWork(deadline(t), rcs, outbox.High, 128)
			if err != nil {
				t.Error(err)
			}
			got <- refs
		}
	}()
	for id := range int64(50) {
		feed(t, q, rcs, outbox.High, refs(id, id))
		if woken := next(t, got); !slices.Equal(woken, refs(id, id)) {
			t.Fatalf("got %v, want id %d", woken, id)
		}
	}
}

func TestACanceledFetchLosesNothing(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	feed(t, q, rcs, outbox.High, refs(1000, 1000))
	fetch(t, q, rcs, outbox.High, 1) // a lane whose making is canceled may answer with an error once more
	for id := range int64(100) {
		ctx, cancel := context.WithCancel(t.Context())
		type result struct {
			refs []outbox.Ref
			err  error
		}
		done := make(chan result, 1)
		go func() {
			refs, err := q.FetchWork(ctx, rcs, outbox.High, 1)
			done <- result{refs, err}
		}()
		go cancel() // races with what is fed
		feed(t, q, rcs, outbox.High, refs(id, id))
		r := next(t, done)
		if r.err != nil {
			r.refs = fetch(t, q, rcs, outbox.High, 1)
		}
		if !slices.Equal(r.refs, refs(id, id)) {
			t.Fatalf("got %v, want id %d", r.refs, id)
		}
	}
}

func TestAPurgeEmptiesOneLaneOnly(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	feed(t, q, rcs, outbox.High, refs(1, 100))
	feed(t, q, rcs, outbox.Bulk, refs(200, 200))
	if err := q.PurgeWork(deadline(t), rcs, outbox.High); err != nil {
		t.Fatal(err)
	}
	wantNothing(t, q, rcs, outbox.High)
	if got := fetch(t, q, rcs, outbox.Bulk, 1); !slices.Equal(got, refs(200, 200)) {
		t.Errorf("got %v", got)
	}
}

func TestWorkOfAnEarlierRunIsGone(t *testing.T) {
	cfg := queue.Config{URL: external(t), Now: time.Now}
	q := open(t, cfg)
	feed(t, q, rcs, outbox.High, refs(1, 1))
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	wantNothing(t, open(t, cfg), rcs, outbox.High)
}

func TestWorkGoesOnAfterItsStreamWasLost(t *testing.T) {
	url := external(t)
	lost := make(chan struct{}, 10)
	q := open(t, queue.Config{URL: url, Now: time.Now, OnWorkLost: func() { lost <- struct{}{} }})
	feed(t, q, rcs, outbox.High, refs(1, 1))
	fetch(t, q, rcs, outbox.High, 1)
	deleteStream(t, url, "WEIR_WORK_weir")
	ctx := deadline(t)
	if _, err := q.FetchWork(ctx, rcs, outbox.High, 1); err == nil {
		t.Fatal("the loss is not told")
	}
	got := make(chan []outbox.Ref, 1)
	go func() {
		refs, err := q.FetchWork(ctx, rcs, outbox.High, 1)
		if err != nil {
			t.Error(err)
		}
		got <- refs
	}()
	next(t, lost) // and the stream is there again
	feed(t, q, rcs, outbox.High, refs(2, 2))
	if fetched := next(t, got); !slices.Equal(fetched, refs(2, 2)) {
		t.Errorf("got %v", fetched)
	}
	if len(lost) > 0 {
		t.Error("the loss was told more than once")
	}
}

func TestADeadServerIsAnErrorAndNoHang(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if err := q.PublishWork(deadline(t), rcs, outbox.High, refs(1, 1)); err == nil {
		t.Error("PublishWork has no error")
	}
	if err := q.PurgeWork(deadline(t), rcs, outbox.High); err == nil {
		t.Error("PurgeWork has no error")
	}
	if _, err := q.FetchWork(deadline(t), rcs, outbox.High, 1); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("FetchWork: got %v", err)
	}
	q.PublishOutcome(outbox.Outcome{State: "sent"})
}
