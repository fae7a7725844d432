package queue_test

import (
	"fmt"
	"testing"
	"time"

	"weir/outbox"
)

func BenchmarkIntakeOfABacklog(b *testing.B) {
	q := open(b, embedded(b.TempDir()))
	p := connect(b, q)
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
	run(b, q, l)
	l.keys(b, b.N)
	b.ReportMetric(float64(b.N)/published.Seconds(), "published/s")
}

// BenchmarkAMessageAlone is how long a message takes to the ledger if no other
// comes: it must wait for none.
func BenchmarkAMessageAlone(b *testing.B) {
	q := open(b, embedded(b.TempDir()))
	p := connect(b, q)
	l := newLedger()
	run(b, q, l)
	for i := 0; b.Loop(); i++ {
		if _, err := p.Publish(b.Context(), [][]byte{envelope(fmt.Sprint("k", i))}); err != nil {
			b.Fatal(err)
		}
		l.keys(b, 1)
	}
}

func BenchmarkWorkThroughOneLane(b *testing.B) {
	q := open(b, embedded(b.TempDir()))
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
