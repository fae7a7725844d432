package outbox

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"weir/internal/point"
)

// Publisher stores payloads where weir takes them in.
type Publisher interface {
	// Publish stores payloads in their order and returns how many of them,
	// from the first on, are surely stored; if not all are, also why. Others
	// may be stored too: what it does not count comes again.
	Publish(ctx context.Context, payloads [][]byte) (acked int, err error)
}

// ErrSharedConnection is returned by NewRelay for a database handle that is
// limited to one connection. The relay would keep it from everybody else, and
// SQLite does not tell a connection of its own changes: open the file a second
// time for the relay.
var ErrSharedConnection = errors.New("outbox: the relay needs a connection of its own; open the database a second time for it")

// ErrShortPublish means that a Publisher stored less than it was given and did
// not say why.
var ErrShortPublish = errors.New("outbox: the publisher stored less than it was given and gave no error")

// Config tunes a Relay. Its zero value is ready to use.
type Config struct {
	// Batch is how many rows are published at once and then marked in one
	// transaction. Zero or less means the default. Defaults to 256.
	Batch int
	// Poll is how often the relay looks whether the database has changed,
	// which costs microseconds. Zero or less means the default. Defaults to
	// 20 milliseconds.
	Poll time.Duration
	// Now gives the time for relayed_at. Defaults to time.Now.
	Now func() time.Time
	// Log gets one line when the relay cannot go on and whenever the
	// reason changes, and one when it can again; never a key or a body. Defaults to
	// no log.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Batch <= 0 {
		c.Batch = 256
	}
	if c.Poll <= 0 {
		c.Poll = 20 * time.Millisecond
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return c
}

const (
	// maxBatchBytes ends a batch early, so that large bodies do not fill the memory.
	maxBatchBytes = 4 << 20
	// After a failure the relay waits, twice as long each time.
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// Relay carries the rows of weir_outbox to weir, in the order of their ids, and
// marks a row once it is stored there. It may be killed at any moment: a row that
// was stored and not yet marked is published again, and its key absorbs that.
// Two relays on one database do no harm either, but do not keep the order.
//
// A row that cannot become a message is published like the others, so that weir
// can show it as rejected, and holds up nobody.
type Relay struct {
	db        *sql.DB
	publisher Publisher
	config    Config
}

// NewRelay returns a relay from db, where Init has been run, to publisher. The
// handle needs a busy timeout (go-sqlite3 sets one of 5 seconds), because the
// application writes at the same time. The error is ErrSharedConnection.
func NewRelay(db *sql.DB, publisher Publisher, config Config) (*Relay, error) {
	if db.Stats().MaxOpenConnections == 1 {
		return nil, ErrSharedConnection
	}
	return &Relay{db: db, publisher: publisher, config: config.withDefaults()}, nil
}

// Run relays until ctx ends and then returns nil. Whatever goes wrong, a database
// that is busy or a weir that is away, is logged and tried again.
func (r *Relay) Run(ctx context.Context) error {
	t := trouble{log: r.config.Log}
	for {
		err := r.follow(ctx, &t)
		if ctx.Err() != nil {
			return nil
		}
		pause := time.NewTimer(t.met(err))
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// Drain relays what is there now, until nothing is left or something goes wrong,
// and returns how many rows it marked.
func (r *Relay) Drain(ctx context.Context) (int, error) {
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return 0, fmt.Errorf("outbox: connecting to the database: %w", err)
	}
	defer conn.Close()
	return r.drain(ctx, conn)
}

// follow relays what is there and what comes, until something goes wrong. It
// stays on one connection, since data_version compares what that connection saw.
func (r *Relay) follow(ctx context.Context, t *trouble) error {
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("outbox: connecting to the database: %w", err)
	}
	defer conn.Close()
	version, err := conn.PrepareContext(ctx, `PRAGMA data_version`)
	if err != nil {
		return fmt.Errorf("outbox: watching the database: %w", err)
	}
	defer version.Close()
	ticker := time.NewTicker(r.config.Poll)
	defer ticker.Stop()
	var seen int64 // never 0 once read
	for {
		var current int64
		if err := version.QueryRowContext(ctx).Scan(&current); err != nil {
			return fmt.Errorf("outbox: watching the database: %w", err)
		}
		if current != seen {
			// Read before the rows, so that what is committed meanwhile shows as a change.
			seen = current
			n, err := r.drain(ctx, conn)
			if n > 0 || err == nil {
				t.passed(err == nil)
			}
			if err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// drain publishes and marks batch after batch until no row is left.
func (r *Relay) drain(ctx context.Context, conn *sql.Conn) (int, error) {
	total := 0
	for {
		ids, payloads, err := r.batch(ctx, conn)
		if err != nil || len(ids) == 0 {
			return total, err
		}
		point.Hit(point.RelayRead)
		acked, err := r.publisher.Publish(ctx, payloads)
		if acked > 0 {
			point.Hit(point.RelayPublished)
		}
		if err != nil {
			err = fmt.Errorf("outbox: publishing rows: %w", err)
		} else if acked < len(ids) {
			err = ErrShortPublish
		}
		if acked > 0 {
			// Also when ctx has ended: what is stored must not be published again.
			if err := r.mark(context.WithoutCancel(ctx), conn, ids[:acked]); err != nil {
				return total, err
			}
			point.Hit(point.RelayMarked)
			total += acked
		}
		if err != nil {
			return total, err
		}
	}
}

// batch reads the next rows. They are all read before anything is published,
// because an open read would keep SQLite from tidying its log.
func (r *Relay) batch(ctx context.Context, conn *sql.Conn) (ids []int64, payloads [][]byte, err error) {
	rows, err := conn.QueryContext(ctx, `
		SELECT id, idempotency_key, body, account, channel, lane, send_at, expires_at, traceparent, created_at
		FROM weir_outbox
		WHERE relayed_at IS NULL
		ORDER BY id
		LIMIT ?`, r.config.Batch)
	if err != nil {
		return nil, nil, fmt.Errorf("outbox: reading rows: %w", err)
	}
	defer rows.Close()
	for size := 0; size < maxBatchBytes && rows.Next(); {
		id, payload, err := readRow(rows)
		if err != nil {
			return nil, nil, fmt.Errorf("outbox: reading rows: %w", err)
		}
		ids = append(ids, id)
		payloads = append(payloads, payload)
		size += len(payload)
	}
	if err := rows.Err(); err != nil {
		return nil, nil, fmt.Errorf("outbox: reading rows: %w", err)
	}
	return ids, payloads, nil
}

// readRow gives the payload for one row.
func readRow(rows *sql.Rows) (id int64, payload []byte, err error) {
	var key string
	var body sql.RawBytes
	var account, channel, lane, traceparent sql.NullString
	var sendAt, expiresAt sql.NullInt64
	var createdAt int64
	err = rows.Scan(&id, &key, &body, &account, &channel, &lane, &sendAt, &expiresAt, &traceparent, &createdAt)
	if err != nil {
		return 0, nil, err
	}
	e := Envelope{
		Key: key, Body: body,
		Account: account.String, Channel: channel.String, Lane: lane.String,
		SendAt: fromMillis(sendAt), ExpiresAt: fromMillis(expiresAt),
		Traceparent: traceparent.String,
	}
	// The body's own ttl counts from when the row was written, which only the row knows.
	if m, err := e.Message(time.UnixMilli(createdAt), nil); err == nil {
		e.ExpiresAt = m.ExpiresAt
	}
	payload = e.AppendJSON(nil)
	if len(payload) > MaxEnvelope {
		// It is refused for its length. What lies behind that would only
		// make it too long for a queue as well, and hold up the rest.
		payload = bytes.Clone(payload[:MaxEnvelope+1])
	}
	return id, payload, nil
}

func fromMillis(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return time.UnixMilli(ms.Int64)
}

// mark notes in one transaction that the rows ids are stored at weir. It names
// each: a range could hold a row that an operator has just set free again.
func (r *Relay) mark(ctx context.Context, conn *sql.Conn, ids []int64) error {
	list, err := json.Marshal(ids)
	if err != nil {
		return fmt.Errorf("outbox: marking rows: %w", err)
	}
	_, err = conn.ExecContext(ctx, `
		UPDATE weir_outbox
		SET relayed_at = ?
		WHERE id IN (SELECT value FROM json_each(?))`,
		r.config.Now().UnixMilli(), string(list))
	if err != nil {
		return fmt.Errorf("outbox: marking rows: %w", err)
	}
	return nil
}

// trouble says each reason once and grows the pauses between tries.
type trouble struct {
	log    *slog.Logger
	reason string // the last one said; empty: all is well
	pause  time.Duration
}

// met notes a failure and gives the time to wait before the next try.
func (t *trouble) met(err error) time.Duration {
	if err.Error() != t.reason {
		t.reason = err.Error()
		t.log.Warn("the outbox relay cannot go on and will try again", "error", err)
	}
	t.pause = min(max(2*t.pause, firstPause), maxPause)
	return t.pause
}

// passed notes that rows got through; healed, that all of them did.
func (t *trouble) passed(healed bool) {
	t.pause = 0
	if healed && t.reason != "" {
		t.reason = ""
		t.log.Info("the outbox relay goes on")
	}
}
