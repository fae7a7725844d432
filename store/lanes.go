package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"

	"weir/outbox"
)

// LaneView is how many messages of a bucket wait in a lane.
type LaneView struct {
	Lane    outbox.Lane
	Waiting int
	More    bool // there are more than Waiting, so many that nobody counts them each time
}

// laneCount bounds how many messages of a lane are counted: a few hundred microseconds.
const laneCount = 10_000

// StatusByLane is Status and, of one moment with it, what waits in the lanes of
// each bucket, by its scope; the highest lane first. A bucket in which nothing
// waits has none.
func (s *Store) StatusByLane(ctx context.Context) (daemon StatusView, buckets []StatusView, lanes map[string][]LaneView, err error) {
	tx, err := s.read.BeginTxx(ctx, nil)
	if err != nil {
		return daemon, nil, nil, fmt.Errorf("store: reading the status: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	if daemon, buckets, err = s.statusOf(ctx, tx); err != nil {
		return daemon, nil, nil, err
	}
	lanes = make(map[string][]LaneView)
	for _, b := range buckets {
		if b.Pending+b.Retrying == 0 {
			continue
		}
		if lanes[b.Scope], err = lanesOf(ctx, tx, b); err != nil {
			return daemon, nil, nil, fmt.Errorf("store: counting the lanes of %s: %w", b.Scope, err)
		}
	}
	return daemon, buckets, lanes, nil
}

// lanesOf counts what waits in each lane of a bucket. If only one is too long to
// be counted, it has what the others leave of the bucket's own count.
func lanesOf(ctx context.Context, tx *sqlx.Tx, b StatusView) ([]LaneView, error) {
	account, channel, _ := strings.Cut(strings.TrimPrefix(b.Scope, "bucket:"), "/")
	lanes := make([]LaneView, len(outbox.Lanes))
	var long []*LaneView
	rest := b.Pending + b.Retrying
	for i, lane := range outbox.Lanes {
		l := &lanes[i]
		l.Lane = lane
		if err := tx.GetContext(ctx, &l.Waiting, `
			SELECT (SELECT count(*) FROM (SELECT 1 FROM messages WHERE state = 'pending'  AND account = ?1 AND channel = ?2 AND lane = ?3 LIMIT ?4))
			     + (SELECT count(*) FROM (SELECT 1 FROM messages WHERE state = 'retrying' AND account = ?1 AND channel = ?2 AND lane = ?3 LIMIT ?4))`,
			account, channel, string(lane), laneCount); err != nil {
			return nil, err
		}
		if l.More = l.Waiting >= laneCount; l.More {
			l.Waiting = laneCount
			long = append(long, l)
		} else {
			rest -= l.Waiting
		}
	}
	if len(long) == 1 {
		long[0].Waiting, long[0].More = rest, false
	}
	return lanes, nil
}
