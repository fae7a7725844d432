package main

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/limiter/sim"
	"weir/outbox"
)

// handOver writes lines to a running weir send -f -.
func (p *process) handOver(lines []string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, strings.Join(lines, "\n")+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

func TestADaemonThatIsKilledAgainAndAgainLosesNothingAndSendsNothingTwice(t *testing.T) {
	r := newRig(t, sandbox.Config{
		Limit: 120, Window: time.Second, Rounding: sim.Ceil, Latency: 10 * time.Millisecond, Jitter: 10 * time.Millisecond,
	})
	const rounds, each = 6, 60
	var all, again []string
	for round := range rounds {
		keys := keysOf(fmt.Sprint("round-", round), each)
		all = append(all, keys...)
		lines := envelopes(keys)

		daemon := r.serve()
		r.send(again...)
		executed := r.api.Stats().Executed
		sender := r.start("send", "-f", "-")
		sender.handOver(lines[:each*2/3])
		await(t, "some are sent", func() bool { return r.api.Stats().Executed >= executed+each/3 })
		daemon.kill()

		// Every other time the sender dies too, so that the next daemon finds the
		// files as they were left. Its file is then handed over once more.
		if round%2 == 0 {
			sender.kill()
			again = lines
			continue
		}
		again = nil
		sender.handOver(lines[each*2/3:])
		sender.stdin.Close()
		if code := sender.exit(); code != exitDone {
			t.Fatalf("weir send beside a dead daemon: exit %d", code)
		}
	}
	daemon := r.serve()
	r.send(again...)
	r.awaitState(outbox.Sent, len(all))
	daemon.stop()
	r.wantSent(all...)
	stats := r.api.Stats()
	if n := r.ask(`SELECT sum(requests) FROM attempts`); n < stats.Requests {
		t.Errorf("the API saw %d requests; the table of attempts has %d", stats.Requests, n)
	}
	t.Logf("%d attempts were cut by a kill, %d requests were answered again, %d with 429",
		r.ask(`SELECT count(*) FROM attempts WHERE verdict = 'lost'`), stats.Replayed, stats.Throttled)
}

func TestARelayThatIsKilledAgainAndAgainLosesNothingAndSendsNothingTwice(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	r.env["WEIR_NATS_URL"] = "nats://" + r.serve().nats
	r.do("outbox", "init", "--db", "shop.db")
	const rounds, each = 5, 60
	var all []string
	for round := range rounds {
		keys := keysOf(fmt.Sprint("order-", round), each)
		all = append(all, keys...)
		relay := r.start("outbox", "relay", "--db", "shop.db")
		traded := make(chan error, 1)
		go func() { traded <- trade("shop.db", keys) }()
		if round < rounds-1 { // the last relay lives
			await(t, "some are relayed", func() bool {
				return figure(t, "shop.db", `SELECT count(*) FROM weir_outbox WHERE relayed_at IS NOT NULL`) >= round*each+each/4
			})
			relay.kill()
		}
		if err := <-traded; err != nil {
			t.Fatal(err)
		}
	}
	r.awaitState(outbox.Sent, len(all))
	r.wantSent(all...)
	if n := r.api.Stats().Requests; n != len(all) {
		t.Errorf("%d requests for %d messages", n, len(all))
	}
}

// trade is an application that commits an order and its message together.
func trade(path string, keys []string) error {
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=5000&_txlock=immediate")
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE IF NOT EXISTS orders (name TEXT)`); err != nil {
		return err
	}
	for _, key := range keys {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		_, order := tx.Exec(`INSERT INTO orders VALUES (?)`, key)
		_, message := tx.Exec(`INSERT INTO weir_outbox (idempotency_key, body) VALUES (?, ?)`, key, rcsBody)
		if err := errors.Join(order, message, tx.Commit()); err != nil {
			return err
		}
	}
	return nil
}
