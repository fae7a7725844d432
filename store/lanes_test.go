package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"weir/outbox"
	"weir/store"
)

// waits stores so many messages of the lane by SQL.
func (d *desk) waits(lane outbox.Lane, n int) {
	d.t.Helper()
	d.exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
		INSERT INTO messages (idempotency_key, fingerprint, account, channel, lane, state, due_at, created_at, updated_at, body)
		SELECT ?1 || i, i, 'default', 'rcs', ?1, iif(i % 3, 'pending', 'retrying'), 1, 1, 1, '{}' FROM n`, string(lane), n)
}

func TestTheStatusSaysHowManyWaitInEachLane(t *testing.T) {
	d := newDesk(t)
	settled := message("settled")
	settled.Channel = "email"
	d.put(settled)
	_, err := d.Cancel(t.Context(), "settled")
	must(t, err)
	for _, step := range []struct {
		lane outbox.Lane
		more int
		want string
	}{
		{outbox.High, 5, "high 5, normal 0, bulk 0"},
		{outbox.Normal, 12_000, "high 5, normal 12000, bulk 0"}, // too many to count, but the only ones
		{outbox.Bulk, 11_000, "high 5, normal 10000+, bulk 10000+"},
	} {
		d.waits(step.lane, step.more)
		_, buckets, lanes, err := d.StatusByLane(t.Context())
		must(t, err)
		var got []string
		for _, l := range lanes["bucket:default/rcs"] {
			got = append(got, fmt.Sprintf("%s %d%s", l.Lane, l.Waiting, map[bool]string{true: "+"}[l.More]))
		}
		if text := strings.Join(got, ", "); text != step.want {
			t.Errorf("after %d more of lane %s: %s, want %s", step.more, step.lane, text, step.want)
		}
		if _, there := lanes["bucket:default/email"]; there || !slices.ContainsFunc(buckets, func(b store.StatusView) bool { return b.Scope == "bucket:default/email" }) {
			t.Errorf("a bucket in which nothing waits has lanes: %v", lanes)
		}
	}
}
