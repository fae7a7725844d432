package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"weir/dispatcher"
	"weir/outbox"
)

// countPause bounds the share of time that goes into counting what is
// scheduled: after a count, as many times as long as it took.
const countPause = 50

// gaugeBoard remembers what the status table shows, so that an idle daemon
// writes nothing.
type gaugeBoard struct {
	mu      sync.Mutex
	buckets map[outbox.Bucket]shownGauges
	states  map[string]string // of the buckets that have a row, by scope
	asOf    int64             // the commits when states was read
}

// shownGauges are a bucket's columns as they were last written, and what was
// last read for them.
type shownGauges struct {
	columns    []any
	rows       rowGauges
	asOf       int64 // the commits when rows was read; 0: it changes by time alone
	countAgain time.Time
}

// rowGauges are the gauges that the messages of a bucket give.
type rowGauges struct {
	scheduled int
	oldestDue sql.NullInt64 // not valid: nothing waits
	waiting   bool          // something waits that is not scheduled
}

// Report stores the gauges of all buckets that are served, with those that the
// rows give: what is scheduled, the oldest due message and, from the rate, when
// all will be sent, which is not before a park ends. A bucket with messages that is
// not served is shown as held.
func (s *Store) Report(ctx context.Context, gauges []dispatcher.Gauges) error {
	s.shown.mu.Lock()
	defer s.shown.mu.Unlock()
	if s.shown.buckets == nil {
		s.shown.buckets = make(map[outbox.Bucket]shownGauges)
	}
	if err := s.readStates(ctx); err != nil {
		return err
	}
	changed := make(map[outbox.Bucket][]any)
	unserved := maps.Clone(s.shown.states)
	for i := range gauges {
		g := &gauges[i]
		if _, there := unserved[g.Bucket.Scope()]; !there {
			delete(s.shown.buckets, g.Bucket) // when its row appears, it shows nothing yet
			continue
		}
		delete(unserved, g.Bucket.Scope())
		rows, err := s.rowGauges(ctx, g.Bucket)
		if err != nil {
			return fmt.Errorf("store: reading the gauges of %s: %w", g.Bucket, err)
		}
		columns := gaugeColumns(g, rows)
		moving := g.Rate > 0 && rows.waiting // its ETA moves with time
		if moving || !slices.Equal(columns, s.shown.buckets[g.Bucket].columns) {
			changed[g.Bucket] = columns
		}
	}
	maps.DeleteFunc(unserved, func(_, state string) bool { return state == string(dispatcher.Held) })
	if len(changed) == 0 && len(unserved) == 0 {
		return nil
	}
	if err := s.writeGauges(ctx, changed, unserved); err != nil {
		return err
	}
	for bucket, columns := range changed {
		shown := s.shown.buckets[bucket]
		shown.columns = columns
		s.shown.buckets[bucket] = shown
	}
	return nil
}

func (s *Store) writeGauges(ctx context.Context, changed map[outbox.Bucket][]any, unserved map[string]string) error {
	err := s.writer.do(ctx, func(tx *tx) error {
		for bucket, columns := range changed {
			if err := tx.showGauges(bucket, columns); err != nil {
				return err
			}
		}
		for scope := range unserved {
			if err := tx.showUnserved(scope); err != nil {
				return err
			}
		}
		return tx.sumUp()
	})
	if err != nil {
		return fmt.Errorf("store: reporting the gauges: %w", err)
	}
	return nil
}

// rowGauges reads what the rows of a bucket give, unless nothing can have
// changed: an idle daemon must cost next to nothing. It requires that s.shown.mu
// is held.
func (s *Store) rowGauges(ctx context.Context, b outbox.Bucket) (rowGauges, error) {
	commits := s.commits.Load()
	shown := s.shown.buckets[b]
	if shown.asOf == commits {
		return shown.rows, nil
	}
	now := s.cfg.Now()
	rows := rowGauges{scheduled: shown.rows.scheduled}
	for _, lane := range outbox.Lanes {
		var pending, retrying sql.NullInt64
		err := s.read.QueryRowContext(ctx, `
			SELECT
				(SELECT min(due_at) FROM messages WHERE state = 'pending'  AND account = ?1 AND channel = ?2 AND lane = ?3),
				(SELECT min(due_at) FROM messages WHERE state = 'retrying' AND account = ?1 AND channel = ?2 AND lane = ?3)`,
			b.Account, b.Channel, string(lane)).Scan(&pending, &retrying)
		if err != nil {
			return rows, err
		}
		rows.waiting = rows.waiting || retrying.Valid || (pending.Valid && pending.Int64 <= now.UnixMilli())
		for _, due := range []sql.NullInt64{pending, retrying} {
			if due.Valid && (!rows.oldestDue.Valid || due.Int64 < rows.oldestDue.Int64) {
				rows.oldestDue = due
			}
		}
	}
	shown.asOf = 0
	if !now.Before(shown.countAgain) {
		var err error
		if rows.scheduled, err = s.countScheduled(ctx, b, now); err != nil {
			return rows, err
		}
		shown.countAgain = now.Add(countPause * s.cfg.Now().Sub(now))
		if rows.scheduled == 0 {
			shown.asOf = commits
		}
	}
	shown.rows = rows
	s.shown.buckets[b] = shown
	return rows, nil
}

// countScheduled counts the pending rows that are not due yet.
func (s *Store) countScheduled(ctx context.Context, b outbox.Bucket, now time.Time) (scheduled int, err error) {
	for _, lane := range outbox.Lanes {
		var n int
		if err := s.read.GetContext(ctx, &n, `
			SELECT count(*) FROM messages
			WHERE state = 'pending' AND account = ? AND channel = ? AND lane = ? AND due_at > ?`,
			b.Account, b.Channel, string(lane), now.UnixMilli()); err != nil {
			return 0, err
		}
		scheduled += n
	}
	return scheduled, nil
}

// gaugeColumns are the parameters of showGauges, comparable with each other.
func gaugeColumns(g *dispatcher.Gauges, rows rowGauges) []any {
	var window, offset any
	var parkEnd int64 // 0: it is not parked
	if g.State == dispatcher.Parked && !g.Until.IsZero() {
		parkEnd = g.Until.UnixMilli()
	}
	if g.Window > 0 {
		window = g.Window.Milliseconds()
	}
	if g.ClockOffset != nil {
		offset = g.ClockOffset.Milliseconds()
	}
	return []any{
		string(g.State), text(g.Reason), millis(g.Since), millis(g.Until), text(g.LimitScope),
		integer(g.RateLimit), integer(g.Remaining), millis(g.Reset), window, offset, rows.scheduled, rows.oldestDue,
		g.Rate, g.SentLastMinute, text(g.LastRequestID), text(g.LastErrorCode), parkEnd,
	}
}

// showGauges reckons when all will be sent: at the rate from now on or, where a
// park lasts for longer than a window, as if the last window of it could be used.
func (t *tx) showGauges(b outbox.Bucket, columns []any) error {
	_, err := t.query(`
		UPDATE status SET
			state = ?3, reason = ?4, since_at = ?5, until_at = ?6, limit_scope = ?7, rate_limit = ?8, remaining = ?9,
			reset_at = ?10, window_ms = ?11, clock_offset_ms = ?12, scheduled = ?13, oldest_due_at = ?14,
			eta_at = iif(?15 > 0 AND pending + retrying > ?13,
				max(?19, CAST((pending + retrying - ?13) * 1000 / ?15 AS INTEGER) + max(?2, ?19 - coalesce(?11, 0))), NULL),
			sent_last_minute = ?16, last_request_id = coalesce(?17, last_request_id),
			last_error_code = coalesce(?18, last_error_code), heartbeat_at = ?2
		WHERE scope = ?1`).Exec(append([]any{b.Scope(), t.now}, columns...)...)
	return err
}

// readStates reads which buckets have a row, unless nothing can have changed. It
// requires that s.shown.mu is held.
func (s *Store) readStates(ctx context.Context) error {
	commits := s.commits.Load()
	if commits == s.shown.asOf {
		return nil
	}
	rows := []struct{ Scope, State string }{}
	if err := s.read.SelectContext(ctx, &rows, `SELECT scope, state FROM status WHERE scope LIKE 'bucket:%'`); err != nil {
		return fmt.Errorf("store: looking which buckets are shown: %w", err)
	}
	s.shown.states, s.shown.asOf = make(map[string]string, len(rows)), commits
	for _, row := range rows {
		s.shown.states[row.Scope] = row.State
	}
	return nil
}

func (t *tx) showUnserved(scope string) error {
	_, err := t.query(`
		UPDATE status SET
			state = 'held', since_at = ?2, until_at = NULL, heartbeat_at = ?2,
			reason = 'this daemon has no such account or channel: add it to weir.yaml and restart'
		WHERE scope = ?1`).Exec(scope, t.now)
	return err
}

// integer binds an optional int.
func integer(n *int) any {
	if n == nil {
		return nil
	}
	return *n
}
