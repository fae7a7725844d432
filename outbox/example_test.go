package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"weir/outbox"
)

func ExampleKey() {
	fmt.Println(outbox.Key("order", "10023", "shipped"))
	fmt.Println(outbox.Key("order", "10023", "shipped"))
	fmt.Println(outbox.Key("order", "10023", "returned"))
	// Output:
	// ab4bf484-08e7-51ca-83f1-fe595c388608
	// ab4bf484-08e7-51ca-83f1-fe595c388608
	// 344359d6-0687-56be-9c81-c57d4f7117e4
}

func ExampleEnqueue() {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite3", filepath.Join(dir, "shop.db")+"?_journal_mode=WAL&_txlock=immediate")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	if err := outbox.Init(ctx, db); err != nil {
		log.Fatal(err)
	}
	if _, err := db.Exec(`CREATE TABLE orders (id INTEGER PRIMARY KEY, total TEXT NOT NULL)`); err != nil {
		log.Fatal(err)
	}

	// The order and its message are committed together, or neither is.
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `INSERT INTO orders (id, total) VALUES (10023, '49.90')`); err != nil {
		log.Fatal(err)
	}
	err = outbox.Enqueue(ctx, tx, outbox.Envelope{
		Key:  outbox.Key("order", "10023", "confirmed"),
		Body: []byte(`{"agent_id":"ag_live_1","to":"+4915112345678","message_type":"MESSAGE","traffic_type":"TRANSACTION","content":{"text":"Thank you for order 10023."}}`),
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}

	// A relay carries it on; here to standard output.
	relay, err := outbox.NewRelay(db, printer{}, outbox.Config{})
	if err != nil {
		log.Fatal(err)
	}
	n, err := relay.Drain(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("relayed:", n)
	// Output:
	// {"idempotency_key":"0cdbb98d-5d39-5bf1-81a5-3ed4456aa720","body":{"agent_id":"ag_live_1","to":"+4915112345678","message_type":"MESSAGE","traffic_type":"TRANSACTION","content":{"text":"Thank you for order 10023."}}}
	// relayed: 1
}

type printer struct{}

func (printer) Publish(_ context.Context, payloads [][]byte) (int, error) {
	for _, p := range payloads {
		fmt.Printf("%s\n", p)
	}
	return len(payloads), nil
}

func ExampleParseEnvelope() {
	for _, line := range []string{
		`{"idempotency_key":"otp-7","body":{"agent_id":"ag_live_1","traffic_type":"AUTHENTICATION","ttl":"60s"}}`,
		`{"idempotency_key":"otp 8","lane":"urgent","body":[]}`,
	} {
		handedOver := time.Date(2026, 3, 28, 14, 30, 0, 0, time.UTC)
		e, err := outbox.ParseEnvelope([]byte(line))
		if err != nil {
			fmt.Println(err)
			continue
		}
		m, err := e.Message(handedOver, nil)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(m.Key, m.Bucket(), m.Lane, m.ExpiresAt)
	}
	// Output:
	// otp-7 default/rcs high 2026-03-28 14:31:00 +0000 UTC
	// idempotency_key: has a character that is not visible ASCII at byte 4; body: must be a JSON object; lane: "urgent" is not one of high, normal, bulk
}
