package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"weir/outbox"
)

// recountRows is how many rows are grouped at once: few enough to sort in the
// processor's cache, which takes half of the time that sorting them all does.
const recountRows = 10_000

// countColumns are the counts of the status table in the order of counts.
var countColumns = []string{
	"pending", "retrying", "in_flight", "sent", "failed", "expired", "canceled", "unknown", "throttled",
}

// counts are the values of countColumns.
type counts [9]int64

func (c *counts) add(state outbox.State, rows, throttles int64) {
	column := string(state)
	if state == outbox.Sending {
		column = "in_flight"
	}
	c[slices.Index(countColumns, column)] += rows
	c[len(c)-1] += throttles
}

// Recount counts all messages and mends what the status table shows otherwise:
// triggers keep its counts, but nothing keeps other programs from it. It returns
// the scopes of the buckets that were mended. Counts go on changing meanwhile.
// A million messages take a processor three quarters of a second.
func (s *Store) Recount(ctx context.Context) (mended []string, err error) {
	wrong, rowless, err := s.miscounts(ctx)
	if err == nil && len(rowless) > 0 {
		// What changed since would not have been counted anywhere.
		if err = s.writer.do(ctx, func(tx *tx) error { return tx.giveRows(rowless) }); err == nil {
			wrong, _, err = s.miscounts(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("store: counting all messages: %w", err)
	}
	if len(wrong) == 0 {
		return nil, nil
	}
	if err := s.writer.do(ctx, func(tx *tx) error { return tx.correct(wrong) }); err != nil {
		return nil, fmt.Errorf("store: mending counts: %w", err)
	}
	return slices.Sorted(maps.Keys(wrong)), nil
}

// miscounts gives by how much the counts of each bucket are too low, and the
// buckets that have no row. All is read from one moment, so that the difference
// holds whatever is written since.
func (s *Store) miscounts(ctx context.Context) (wrong map[string]counts, rowless []string, err error) {
	tx, err := s.search.BeginTxx(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = tx.Rollback() }()
	wrong, err = countRows(ctx, tx)
	if err != nil {
		return nil, nil, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT scope, `+strings.Join(countColumns, ", ")+` FROM status WHERE scope LIKE 'bucket:%'`)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }()
	unseen := maps.Clone(wrong)
	for rows.Next() {
		var scope string
		var c counts
		if err := rows.Scan(&scope, &c[0], &c[1], &c[2], &c[3], &c[4], &c[5], &c[6], &c[7], &c[8]); err != nil {
			return nil, nil, err
		}
		by := wrong[scope]
		for i := range by {
			by[i] -= c[i]
		}
		wrong[scope] = by
		delete(unseen, scope)
	}
	maps.DeleteFunc(wrong, func(_ string, by counts) bool { return by == counts{} })
	return wrong, slices.Collect(maps.Keys(unseen)), rows.Err()
}

// countRows counts the messages of each bucket, by its scope.
func countRows(ctx context.Context, tx *sqlx.Tx) (map[string]counts, error) {
	all := make(map[string]counts)
	for from := int64(1); ; from += recountRows {
		// Where old rows have gone there may be a billion ids without one.
		var next sql.NullInt64
		if err := tx.GetContext(ctx, &next, `SELECT min(id) FROM messages WHERE id >= ?`, from); err != nil || !next.Valid {
			return all, err
		}
		from = next.Int64
		var groups []struct {
			Account, Channel, State string
			Rows, Throttles         int64
		}
		if err := tx.SelectContext(ctx, &groups, `
			SELECT account, channel, state, count(*) AS rows, sum(throttles) AS throttles FROM messages
			WHERE id >= ? AND id < ?
			GROUP BY account, channel, state`, from, from+recountRows); err != nil {
			return nil, err
		}
		for _, g := range groups {
			scope := outbox.Bucket{Account: g.Account, Channel: g.Channel}.Scope()
			c := all[scope]
			c.add(outbox.State(g.State), g.Rows, g.Throttles)
			all[scope] = c
		}
	}
}

func (t *tx) giveRows(scopes []string) error {
	for _, scope := range scopes {
		if _, err := t.query(`INSERT INTO status (scope) VALUES (?) ON CONFLICT DO NOTHING`).Exec(scope); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) correct(wrong map[string]counts) error {
	var set []string
	for i, column := range countColumns {
		set = append(set, fmt.Sprintf(`%s = %s + ?%d`, column, column, i+2))
	}
	for scope, by := range wrong {
		args := []any{scope}
		for _, n := range by {
			args = append(args, n)
		}
		if _, err := t.query(`UPDATE status SET ` + strings.Join(set, ", ") + ` WHERE scope = ?1`).Exec(args...); err != nil {
			return err
		}
	}
	return t.sumUp()
}
