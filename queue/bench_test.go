package queue_test

import (
	"fmt"
	"testing"
	"time"

	"weir/outbox"
	"weir/queue"
)

func BenchmarkIntakeOfABacklog(b *testing.B) {
	q, err := queue.Open(b.Context(), embedded(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	p, err := queue.Connect(b.Context(), queue.PublisherConfig{URL: "nats://" + q.Addr()})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	payloads := make([][]byte, b.N)
	for i := range payloads {
		payloads[i] = envelope(fmt.Sprint("k", i))
	}
	start := time.Now()
	if _, err := p.Publish(b.Context(), payloads); err != nil {
		b.Fatal(err)
	}
	published := time.Since(start)
	l := newLedger()
	b.ResetTimer()
	go func() { _ = q.RunIntake(b.Context(), l) }()
	for n := 0; n < b.N; {
		n += len(<-l.accept)
	}
	b.ReportMetric(float64(b.N)/published.Seconds(), "published/s")
}

// BenchmarkAMessageAlone is how long one takes to the ledger if no other comes.
func BenchmarkAMessageAlone(b *testing.B) {
	q, err := queue.Open(b.Context(), embedded(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	p, err := queue.Connect(b.Context(), queue.PublisherConfig{URL: "nats://" + q.Addr()})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	l := newLedger()
	go func() { _ = q.RunIntake(b.Context(), l) }()
	for i := range b.N {
		if _, err := p.Publish(b.Context(), [][]byte{envelope(fmt.Sprint("k", i))}); err != nil {
			b.Fatal(err)
		}
		<-l.accept
	}
}

func BenchmarkWorkThroughOneLane(b *testing.B) {
	q, err := queue.Open(b.Context(), embedded(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	const round = 512
	for fed := 0; fed < b.N; fed += round {
		if err := q.PublishWork(b.Context(), rcs, outbox.Normal, refs(int64(fed), int64(fed+round-1))); err != nil {
			b.Fatal(err)
		}
		for fetched := 0; fetched < round; {
			got, err := q.FetchWork(b.Context(), rcs, outbox.Normal, 128)
			if err != nil {
				b.Fatal(err)
			}
			fetched += len(got)
		}
	}
}
