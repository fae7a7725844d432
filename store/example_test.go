package store_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"weir/dispatcher"
	"weir/outbox"
	"weir/store"
)

// A message on its way through the store: accepted, claimed for an attempt,
// and recorded as sent.
func Example() {
	dir, err := os.MkdirTemp("", "weir")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{
		Dir: dir, Now: time.Now, RepeatFor: 23 * time.Hour,
		OnSettled: func(settled []store.Settled) { fmt.Println("event:", *settled[0].Key, settled[0].State) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = s.Close() }()

	envelope := outbox.Envelope{Key: "order-1", Body: []byte(`{"agent_id":"ag_1","to":"+4915112345678"}`)}
	message, err := envelope.Message(time.Now(), nil)
	if err != nil {
		log.Fatal(err)
	}
	results, err := s.Accept(ctx, []outbox.Message{message, message})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(results)

	claims, err := s.Claim(ctx, "scope", []outbox.Ref{{ID: 1, Generation: 1}})
	if err != nil {
		log.Fatal(err)
	}
	began := time.Now() // here the request is made
	recorded := make(chan error)
	s.Record(dispatcher.Record{
		Claim:     claims[0],
		Answer:    dispatcher.Answer{StartedAt: began, EndedAt: time.Now(), Status: 200, MessageID: "msg_1", RequestID: "req_1"},
		Judgement: dispatcher.Judgement{Verdict: dispatcher.Sent, State: outbox.Sent, Counted: true},
	}, func(err error) { recorded <- err })
	if err := <-recorded; err != nil {
		log.Fatal(err)
	}
	stored, err := s.Message(ctx, "order-1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(stored.State, *stored.MessageID, *stored.RequestID)
	// Output:
	// [accepted already_there]
	// event: order-1 sent
	// sent msg_1 req_1
}
