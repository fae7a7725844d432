package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"weir/dispatcher"
	"weir/outbox"
)

// heartbeat is how often a daemon shows that it lives; an older one than 15 s
// reads as stopped.
const heartbeat = 5 * time.Second

// showScope makes sure that the status table has the scope's row.
func (t *tx) showScope(scope string) error {
	_, err := t.query(`
		INSERT INTO status (scope)
		SELECT ?1 WHERE ?1 LIKE 'bucket:%'
		ON CONFLICT DO NOTHING`).Exec(scope)
	return err
}

// RunHeartbeat marks the daemon as running, shows every 5 s that it still is,
// and marks it and its buckets as stopped once ctx has ended.
func (s *Store) RunHeartbeat(ctx context.Context) error {
	if err := s.daemonState(ctx, "running", ""); err != nil {
		return err
	}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.daemonState(context.WithoutCancel(ctx), "stopped", "stopped by its operator")
		case <-tick.C:
		}
		if err := s.beat(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func (s *Store) daemonState(ctx context.Context, state, reason string) error {
	err := s.writer.do(ctx, func(tx *tx) error {
		scopes := `scope = 'daemon:' || ?4`
		if state == "stopped" {
			scopes = `(scope LIKE 'bucket:%' OR scope = 'daemon:' || ?4)`
		}
		_, err := tx.query(`
			UPDATE status SET
				state = ?1, reason = ?2, since_at = ?3, heartbeat_at = ?3,
				until_at = NULL, eta_at = NULL, sent_last_minute = 0
			WHERE `+scopes).Exec(state, text(reason), tx.now, s.cfg.Instance)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: showing the daemon as %s: %w", state, err)
	}
	return nil
}

func (s *Store) beat(ctx context.Context) error {
	err := s.writer.do(ctx, func(tx *tx) error {
		if _, err := tx.query(`UPDATE status SET heartbeat_at = ?`).Exec(tx.now); err != nil {
			return err
		}
		_, err := tx.query(`
			INSERT INTO meta (name, value) VALUES ('last_seen_at', ?)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`).Exec(tx.now)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: heartbeat: %w", err)
	}
	return nil
}

// Report stores the gauges of buckets, with those that the rows give: what is
// scheduled, the oldest due message and, from the rate, when all will be sent.
func (s *Store) Report(ctx context.Context, gauges []dispatcher.Gauges) error {
	rows := make([]rowGauges, len(gauges))
	for i := range gauges {
		var err error
		if rows[i], err = s.rowGauges(ctx, gauges[i].Bucket); err != nil {
			return fmt.Errorf("store: reading the gauges of %s: %w", gauges[i].Bucket, err)
		}
	}
	return s.writer.do(ctx, func(tx *tx) error {
		for i := range gauges {
			if err := tx.report(&gauges[i], rows[i]); err != nil {
				return fmt.Errorf("store: reporting %s: %w", gauges[i].Bucket, err)
			}
		}
		return nil
	})
}

// rowGauges are the gauges that the messages of a bucket give.
type rowGauges struct {
	scheduled int
	oldestDue sql.NullInt64
}

func (s *Store) rowGauges(ctx context.Context, b outbox.Bucket) (rowGauges, error) {
	var g rowGauges
	now := s.cfg.Now().UnixMilli()
	for _, lane := range outbox.Lanes {
		var scheduled int
		var pending, retrying sql.NullInt64
		row := s.read.QueryRowContext(ctx, `
			SELECT
				(SELECT count(*)    FROM messages WHERE state = 'pending'  AND account = ?1 AND channel = ?2 AND lane = ?3 AND due_at > ?4),
				(SELECT min(due_at) FROM messages WHERE state = 'pending'  AND account = ?1 AND channel = ?2 AND lane = ?3),
				(SELECT min(due_at) FROM messages WHERE state = 'retrying' AND account = ?1 AND channel = ?2 AND lane = ?3)`,
			b.Account, b.Channel, string(lane), now)
		if err := row.Scan(&scheduled, &pending, &retrying); err != nil {
			return g, err
		}
		g.scheduled += scheduled
		for _, due := range []sql.NullInt64{pending, retrying} {
			if due.Valid && (!g.oldestDue.Valid || due.Int64 < g.oldestDue.Int64) {
				g.oldestDue = due
			}
		}
	}
	return g, nil
}

func (t *tx) report(g *dispatcher.Gauges, rows rowGauges) error {
	var window, offset any
	if g.Window > 0 {
		window = g.Window.Milliseconds()
	}
	if g.ClockOffset != nil {
		offset = g.ClockOffset.Milliseconds()
	}
	_, err := t.query(`
		UPDATE status SET
			state = ?2, reason = ?3, since_at = ?4, until_at = ?5, limit_scope = ?6, rate_limit = ?7, remaining = ?8,
			reset_at = ?9, window_ms = ?10, clock_offset_ms = ?11, scheduled = ?12, oldest_due_at = ?13,
			eta_at = iif(?14 > 0 AND pending + retrying > 0, ?15 + CAST((pending + retrying) * 1000 / ?14 AS INTEGER), NULL),
			sent_last_minute = ?16, last_request_id = coalesce(?17, last_request_id),
			last_error_code = coalesce(?18, last_error_code), heartbeat_at = ?15
		WHERE scope = ?1`).Exec(
		"bucket:"+g.Bucket.String(), string(g.State), text(g.Reason), millis(g.Since), millis(g.Until), text(g.LimitScope),
		g.RateLimit, g.Remaining, millis(g.Reset), window, offset, rows.scheduled, rows.oldestDue,
		g.Rate, t.now, g.SentLastMinute, text(g.LastRequestID), text(g.LastErrorCode))
	return err
}
