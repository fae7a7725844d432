package queue_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"weir/outbox"
	"weir/queue"
)

// shelf is a Ledger that shows what comes in.
type shelf chan string

func (s shelf) Accept(_ context.Context, messages []outbox.Message) ([]outbox.Result, error) {
	results := make([]outbox.Result, len(messages))
	for i, m := range messages {
		results[i] = outbox.Accepted
		s <- fmt.Sprintf("accepted %s for %s, lane %s", m.Key, m.Bucket(), m.Lane)
	}
	return results, nil
}

func (s shelf) Reject(_ context.Context, rejections []outbox.Rejection) error {
	for _, r := range rejections {
		s <- "rejected: " + r.Reason
	}
	return nil
}

func (s shelf) Stored(context.Context, string) (json.RawMessage, error) { return nil, nil }

func Example() {
	dir, err := os.MkdirTemp("", "weir")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(context.Background())

	q, err := queue.Open(ctx, queue.Config{StoreDir: dir, Listen: "127.0.0.1:0", Now: time.Now})
	if err != nil {
		log.Fatal(err)
	}
	ledger := make(shelf)
	ended := make(chan error)
	go func() { ended <- q.RunIntake(ctx, ledger) }()

	producer, err := queue.Connect(ctx, queue.PublisherConfig{URL: "nats://" + q.Addr()})
	if err != nil {
		log.Fatal(err)
	}
	_, err = producer.Publish(ctx, [][]byte{
		[]byte(`{"idempotency_key":"order-17","body":{"agent_id":"ag_live_1","to":"+491511234567","traffic_type":"AUTHENTICATION"}}`),
		[]byte(`{"idempotency_key":"order-18"}`),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-ledger)
	fmt.Println(<-ledger)

	_ = producer.Close()
	cancel()
	fmt.Println("intake:", <-ended)
	fmt.Println("close:", q.Close())
	// Output:
	// accepted order-17 for default/rcs, lane high
	// rejected: body: is missing
	// intake: <nil>
	// close: <nil>
}
