package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"strconv"
	"sync"
	"time"

	"weir/outbox"
	"weir/queue"
)

// occasion is why the shop sends a message.
type occasion struct {
	name    string // what people call all messages of this kind
	event   string // what happened to the order
	lane    outbox.Lane
	traffic string // from which weir derives the lane
	text    string
}

// occasions are those of the shop, the most urgent first.
var occasions = [...]*occasion{passwords, confirmations, campaign}

var (
	passwords = &occasion{"one-time passwords", "payment", outbox.High, "AUTHENTICATION",
		"Your code to pay for order %d is 402871."}
	confirmations = &occasion{"confirmations", "confirmed", outbox.Normal, "TRANSACTION",
		"Thank you for order %d. It leaves us tomorrow."}
	campaign = &occasion{"campaign", "voucher", outbox.Bulk, "PROMOTION",
		"Thank you for order %d. This voucher takes 10 EUR off the next one."}
)

// order is one order and what its customer is to be told.
type order struct {
	id int
	*occasion
}

// key is the same whenever and wherever the message of this order is made.
func (o order) key() string {
	return outbox.Key("shop", "order", strconv.Itoa(o.id), o.event)
}

func (o order) phone() string { return fmt.Sprintf("+49151%08d", o.id) }

// envelope is the order's send request. Its lane follows from its traffic_type.
func (o order) envelope() (outbox.Envelope, error) {
	body, err := json.Marshal(map[string]any{
		"agent_id":     "ag_demo_shop",
		"to":           o.phone(),
		"message_type": "MESSAGE",
		"traffic_type": o.traffic,
		"content":      map[string]string{"text": fmt.Sprintf(o.text, o.id)},
	})
	return outbox.Envelope{Key: o.key(), Body: body}, err
}

// makeOrders makes the shop's orders, at least one for each lane if there are
// five: three of five are of last month and get the campaign, of the new ones
// every fourth is paid with a one-time password.
func makeOrders(count int) (old, fresh []order) {
	for i := range count {
		switch o := (order{id: i + 1}); {
		case i < count*3/5:
			o.occasion = campaign
			old = append(old, o)
		case len(fresh)%4 == 0:
			o.occasion = passwords
			fresh = append(fresh, o)
		default:
			o.occasion = confirmations
			fresh = append(fresh, o)
		}
	}
	return old, fresh
}

// receipt is what the shop knows of a message that it has committed.
type receipt struct {
	*occasion
	at time.Time
}

// shop is an application with a database of its own.
type shop struct {
	db  *sql.DB
	now func() time.Time

	mu        sync.Mutex
	committed map[string]receipt // by idempotency key
}

// openShop makes the shop's database.
func openShop(ctx context.Context, path string, now func() time.Time) (*shop, error) {
	db, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_journal_mode=WAL&_busy_timeout=5000&_txlock=immediate")
	if err != nil {
		return nil, fmt.Errorf("opening the shop's database: %w", err)
	}
	_, err = db.ExecContext(ctx, `
		CREATE TABLE orders (
			id          INTEGER PRIMARY KEY,
			phone       TEXT    NOT NULL,
			event       TEXT    NOT NULL,
			message_key TEXT    NOT NULL UNIQUE
		) STRICT`)
	if err == nil {
		err = outbox.Init(ctx, db)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making the shop's tables: %w", err), db.Close())
	}
	return &shop{db: db, now: now, committed: make(map[string]receipt)}, nil
}

func (s *shop) close() error { return s.db.Close() }

// place commits orders together with their send requests: all of it or nothing.
func (s *shop) place(ctx context.Context, orders ...order) error {
	ctx = context.WithoutCancel(ctx) // a commit takes milliseconds and is not torn
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("placing an order: %w", err)
	}
	defer tx.Rollback()
	for _, o := range orders {
		if err := o.write(ctx, tx); err != nil {
			return fmt.Errorf("placing order %d: %w", o.id, err)
		}
	}
	at := s.now()
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("placing an order: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range orders {
		s.committed[o.key()] = receipt{o.occasion, at}
	}
	return nil
}

func (o order) write(ctx context.Context, tx *sql.Tx) error {
	e, err := o.envelope()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO orders (id, phone, event, message_key)
		VALUES (?, ?, ?, ?)`, o.id, o.phone(), o.event, e.Key)
	if err != nil {
		return err
	}
	return outbox.Enqueue(ctx, tx, e)
}

// relay carries what is committed to weir until ctx ends.
func (s *shop) relay(ctx context.Context, nats string, log *slog.Logger) (err error) {
	publisher, err := queue.Connect(ctx, queue.PublisherConfig{URL: "nats://" + nats})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, publisher.Close()) }()
	relay, err := outbox.NewRelay(s.db, publisher, outbox.Config{Now: s.now, Log: log})
	if err != nil {
		return err
	}
	return relay.Run(ctx)
}

// receipts gives what has been committed, by idempotency key.
func (s *shop) receipts() map[string]receipt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.committed)
}

// relayed counts the orders whose message weir has taken.
func (s *shop) relayed(ctx context.Context) (count int, err error) {
	err = s.db.QueryRowContext(ctx, `
		SELECT count(*)
		FROM orders JOIN weir_outbox ON idempotency_key = message_key
		WHERE relayed_at IS NOT NULL`).Scan(&count)
	if err != nil {
		return 0, fmt.Errorf("reading the shop's outbox: %w", err)
	}
	return count, nil
}
