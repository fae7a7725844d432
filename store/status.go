package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"weir/outbox"
)

// heartbeat is how often a daemon shows that it lives; an older one than 15 s
// reads as stopped.
const heartbeat = 5 * time.Second

// Status returns the daemon's row of status_readable and the buckets', by scope.
func (s *Store) Status(ctx context.Context) (daemon StatusView, buckets []StatusView, err error) {
	return s.statusOf(ctx, s.read)
}

func (s *Store) statusOf(ctx context.Context, q sqlx.QueryerContext) (daemon StatusView, buckets []StatusView, err error) {
	rows := []StatusView{}
	if err := sqlx.SelectContext(ctx, q, &rows, `SELECT * FROM status_readable ORDER BY scope`); err != nil {
		return daemon, nil, fmt.Errorf("store: reading the status: %w", err)
	}
	if w := s.notedWaiting(); w != nil {
		w.overlay(rows)
	}
	buckets = []StatusView{}
	for i := range rows {
		if strings.HasPrefix(rows[i].Scope, outbox.DaemonScope("")) {
			daemon = rows[i]
		} else {
			buckets = append(buckets, rows[i])
		}
	}
	return daemon, buckets, nil
}

// showGates brings the status table in line with the gates of a scope: a bucket
// gets its row, as alive as its daemon, and the daemon's own row says what holds
// all of them. What holds a bucket is for the dispatcher to report.
func (t *tx) showGates(scope string) error {
	if _, err := t.query(`
		INSERT INTO status (scope, state, reason, since_at, heartbeat_at)
		SELECT ?1, state, reason, ?2, heartbeat_at FROM status
		WHERE ?1 LIKE 'bucket:%' AND scope = 'daemon:' || (SELECT value FROM meta WHERE name = 'instance')
		ON CONFLICT DO NOTHING`).Exec(scope, t.now); err != nil {
		return err
	}
	_, err := t.query(`
		UPDATE status SET (state, reason, since_at, until_at) =
			(SELECT kind, reason, since_at, until_at FROM (
				SELECT 1 AS stands, kind, reason, since_at, until_at FROM gates WHERE scope = ?1
				UNION ALL SELECT 0, 'running', NULL, ?2, NULL)
			 ORDER BY stands DESC, kind DESC, since_at LIMIT 1) -- by name, paused comes after held after degraded
		WHERE scope = ?1 AND scope LIKE 'daemon:%' AND state <> 'stopped'`).Exec(scope, t.now)
	return err
}

// ShowRunning marks the daemon as running since now.
func (s *Store) ShowRunning(ctx context.Context) error { return s.daemonState(ctx, "running", "") }

// RunHeartbeat shows every 5 s that the daemon still runs, and marks it and its
// buckets as stopped once ctx has ended, with the cause of that end unless it
// was just canceled.
func (s *Store) RunHeartbeat(ctx context.Context) error {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.daemonState(context.WithoutCancel(ctx), "stopped", whyStopped(context.Cause(ctx)))
		case <-tick.C:
		}
		if err := s.beat(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("the heartbeat could not be stored; trying again", "error", err, "in", heartbeat)
		}
	}
}

func whyStopped(cause error) string {
	if errors.Is(cause, context.Canceled) {
		return "stopped by its operator"
	}
	return "it failed: " + strings.ReplaceAll(cause.Error(), "\n", "; ")
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
		if err != nil {
			return err
		}
		// Also of a life shorter than a heartbeat the next start must know the time.
		if err := tx.reach(); err != nil {
			return err
		}
		return tx.showGates(outbox.DaemonScope(s.cfg.Instance))
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
		return tx.reach()
	})
	if err != nil {
		return fmt.Errorf("store: storing the heartbeat: %w", err)
	}
	return nil
}
