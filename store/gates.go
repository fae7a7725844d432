package store

import (
	"context"
	"database/sql"
	"fmt"

	"weir/dispatcher"
	"weir/internal/point"
)

var _ dispatcher.Board = (*Store)(nil)

// PutGate stores a gate, replacing the one of the same scope, kind and setter. A
// wish for a probe that came meanwhile, and so was not taken, stays.
func (s *Store) PutGate(ctx context.Context, g dispatcher.Gate) error {
	uncommitted, committed := point.GateUncommitted, point.GateCommitted
	if g.Kind == dispatcher.Parked {
		uncommitted, committed = point.ParkUncommitted, point.ParkCommitted
	}
	err := s.writer.do(ctx, func(tx *tx) error {
		_, err := tx.query(`
			INSERT INTO gates (scope, kind, reason, since_at, until_at, request_id, set_by)
			VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (scope, kind, set_by) DO UPDATE SET
				reason = excluded.reason, since_at = excluded.since_at, request_id = excluded.request_id,
				until_at = iif(kind IN ('held', 'degraded') AND until_at = since_at AND NOT ?, excluded.since_at, excluded.until_at)`).
			Exec(g.Scope, string(g.Kind), g.Reason, millis(g.Since), millis(g.Until), text(g.RequestID), g.SetBy, g.WishTaken)
		if err != nil {
			return fmt.Errorf("store: setting a gate on %s: %w", g.Scope, err)
		}
		point.Hit(uncommitted)
		if g.Kind == dispatcher.Parked {
			return nil // a limit that buckets share parks also those that never had a message
		}
		return tx.showGates(g.Scope)
	})
	if err != nil {
		return err
	}
	point.Hit(committed)
	return nil
}

// DropGate removes the gate of that scope, kind and setter, if there is one. A
// pause goes only if its time is over: an operator may have set another since.
func (s *Store) DropGate(ctx context.Context, g dispatcher.Gate) error {
	return s.writer.do(ctx, func(tx *tx) error {
		_, err := tx.query(`
			DELETE FROM gates
			WHERE scope = ? AND kind = ? AND set_by = ? AND (kind <> 'paused' OR until_at <= ?)`).
			Exec(g.Scope, string(g.Kind), g.SetBy, tx.now)
		if err != nil {
			return fmt.Errorf("store: removing a gate from %s: %w", g.Scope, err)
		}
		if g.Kind == dispatcher.Parked {
			return nil
		}
		return tx.showGates(g.Scope)
	})
}

// Gates returns every gate, by scope.
func (s *Store) Gates(ctx context.Context) ([]dispatcher.Gate, error) {
	rows, err := s.read.QueryContext(ctx, `
		SELECT scope, kind, reason, since_at, until_at, request_id, set_by FROM gates
		ORDER BY scope, kind, set_by`)
	if err != nil {
		return nil, fmt.Errorf("store: reading the gates: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var gates []dispatcher.Gate
	for rows.Next() {
		var (
			g            dispatcher.Gate
			kind         string
			since, until nullMillis
			requestID    sql.NullString
		)
		if err := rows.Scan(&g.Scope, &kind, &g.Reason, &since, &until, &requestID, &g.SetBy); err != nil {
			return nil, fmt.Errorf("store: reading the gates: %w", err)
		}
		g.Kind, g.Since, g.Until, g.RequestID = dispatcher.GateKind(kind), since.Time, until.Time, requestID.String
		gates = append(gates, g)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("store: reading the gates: %w", err)
	}
	return gates, nil
}

// canBeProbed are the holds and degraded gates that an answer of the API cures. Of
// the others the causes lie on this machine, or in NATS.
const canBeProbed = `kind IN ('held', 'degraded') AND set_by NOT IN ('disk', 'clock', 'nats', 'wal', 'queue')`

// Probe asks for a probe of the scope's holds and degraded gates at once. It
// reports of how many: those that no answer of the API cures do not count.
func (s *Store) Probe(ctx context.Context, scope string) (asked int64, err error) {
	err = s.writer.do(ctx, func(tx *tx) error {
		asked, err = tx.changed(`
			UPDATE gates SET until_at = since_at
			WHERE scope = ? AND `+canBeProbed, scope)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("store: asking for a probe of %s: %w", scope, err)
	}
	return asked, nil
}

// ProbeAll does what Probe does to every scope, and gives those that have such a
// gate.
func (s *Store) ProbeAll(ctx context.Context) (asked []string, err error) {
	err = s.writer.do(ctx, func(tx *tx) error {
		asked, err = tx.scopes(`
			UPDATE gates SET until_at = since_at
			WHERE ` + canBeProbed + `
			RETURNING scope`)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: asking for all probes: %w", err)
	}
	return asked, nil
}
