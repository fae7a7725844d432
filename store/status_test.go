package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/dispatcher"
	"weir/internal/bubble"
	"weir/outbox"
	"weir/store"
)

// walker changes messages at random, by weir and by SQL, through all states.
type walker struct {
	*desk
	*rand.Rand
	claimed []dispatcher.Claim
	next    int
}

// ours changes something through the store, if it can.
func (w *walker) ours() {
	key := fmt.Sprint(w.IntN(w.next + 1))
	ctx := w.t.Context()
	switch w.IntN(8) {
	case 0, 1, 2:
		batch := make([]outbox.Message, 1+w.IntN(3))
		for i := range batch {
			w.next++
			batch[i] = message(fmt.Sprint(w.next - w.IntN(2))) // now and then a repeat
			batch[i].Account = []string{"default", "second"}[w.IntN(2)]
			batch[i].Channel = []string{"rcs", "email"}[w.IntN(2)]
			batch[i].Lane = outbox.Lanes[w.IntN(3)]
		}
		_, err := w.Accept(ctx, batch)
		must(w.t, err)
	case 3, 4:
		var refs []outbox.Ref
		for range 4 {
			refs = append(refs, outbox.Ref{ID: 1 + w.Int64N(int64(w.next+1)), Generation: 1 + w.Int64N(3)})
		}
		w.claimed = append(w.claimed, w.claims(refs...)...)
	case 5:
		w.settle(ctx)
	case 6:
		_, _ = w.Cancel(ctx, key)
	case 7:
		_, _ = w.Retry(ctx, key, time.Time{})
		_, _ = w.Resolve(ctx, key, []store.Resolution{store.WasSent, store.WasNotSent, store.MayDuplicate}[w.IntN(3)], "")
	}
}

// settle gives the claims at hand back, in one way or another.
func (w *walker) settle(ctx context.Context) {
	for _, c := range w.claimed {
		judgements := []dispatcher.Judgement{accepted, refused, throttled, unpaid, lost, cutAt(w.Now())}
		if i := w.IntN(len(judgements) + 1); i < len(judgements) {
			w.record(c, dispatcher.Answer{}, judgements[i])
			continue
		}
		must(w.t, w.Release(ctx, []dispatcher.Claim{c}))
	}
	w.claimed = nil
}

// theirs changes something by SQL, as another program may.
func (w *walker) theirs() {
	some := fmt.Sprintf(`(abs(id * 7919 + %d) %% 11 = 0)`, w.IntN(1000))
	settled := w.IntN(2) == 0
	switch {
	case w.IntN(3) == 0:
		w.exec(`DELETE FROM messages WHERE ` + some)
	case w.IntN(2) == 0:
		w.exec(`UPDATE messages SET throttles = throttles + 3 WHERE ` + some)
	case settled:
		state := []string{"sent", "failed", "expired", "canceled", "unknown"}[w.IntN(5)]
		w.exec(`UPDATE messages SET state = ?, settled_at = 1 WHERE `+some, state)
	default:
		state := []string{"pending", "sending", "retrying"}[w.IntN(3)]
		w.exec(`UPDATE messages SET state = ?, settled_at = NULL WHERE `+some, state)
	}
}

const (
	counted = `count(*) FILTER (WHERE state = 'pending')  || ' ' || count(*) FILTER (WHERE state = 'retrying') || ' ' ||
	           count(*) FILTER (WHERE state = 'sending')  || ' ' || count(*) FILTER (WHERE state = 'sent')     || ' ' ||
	           count(*) FILTER (WHERE state = 'failed')   || ' ' || count(*) FILTER (WHERE state = 'expired')  || ' ' ||
	           count(*) FILTER (WHERE state = 'canceled') || ' ' || count(*) FILTER (WHERE state = 'unknown')  || ' ' ||
	           coalesce(sum(throttles), 0)`
	shown = `pending || ' ' || retrying || ' ' || in_flight || ' ' || sent || ' ' || failed || ' ' ||
	         expired || ' ' || canceled || ' ' || unknown || ' ' || throttled`
)

func (f foreign) text(query string, args ...any) (s string) {
	f.t.Helper()
	if err := f.db.Get(&s, query, args...); err != nil {
		f.t.Fatalf("%s: %v", query, err)
	}
	return s
}

func TestTheCountsOfTheStatusTableAreThoseOfItsRows(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &walker{desk: newDesk(t), Rand: rand.New(rand.NewPCG(seed, 0))}
	for step := range 400 {
		ours := w.IntN(4) > 0
		if ours {
			w.ours()
		} else {
			w.theirs()
		}
		for _, b := range []string{"default/rcs", "default/email", "second/rcs", "second/email"} {
			if w.number(`SELECT count(*) FROM status WHERE scope = ?`, "bucket:"+b) == 0 {
				if n := w.number(`SELECT count(*) FROM messages WHERE account || '/' || channel = ?`, b); n != 0 {
					t.Fatalf("step %d: %s has %d messages and no row", step, b, n)
				}
				continue
			}
			want := w.text(`SELECT `+counted+` FROM messages WHERE account || '/' || channel = ?`, b)
			if got := w.text(`SELECT `+shown+` FROM status WHERE scope = ?`, "bucket:"+b); got != want {
				t.Fatalf("step %d: %s shows %s, its rows are %s", step, b, got, want)
			}
		}
		if step%10 != 0 {
			continue
		}
		w.next++
		w.put(message(fmt.Sprintf("of ours %d", w.next))) // the daemon's row follows with weir's next commit
		want := w.text(`SELECT ` + counted + ` FROM messages`)
		if got := w.text(`SELECT ` + shown + ` FROM status WHERE scope = 'daemon:weir'`); got != want {
			t.Fatalf("step %d: the daemon shows %s, the rows are %s", step, got, want)
		}
	}
}

func TestTheDaemonsCountsFollowEachOfItsCommits(t *testing.T) {
	d := newDesk(t)
	check := func(after string) {
		t.Helper()
		want := d.text(`SELECT ` + counted + ` FROM messages`)
		if got := d.text(`SELECT ` + shown + ` FROM status WHERE scope = 'daemon:weir'`); got != want {
			t.Errorf("after %s the daemon shows %s, the rows are %s", after, got, want)
		}
	}
	d.put(message("x"), message("y"), message("z"))
	check("an acceptance")
	x, y := d.claim("x"), d.claim("y")
	check("claims")
	d.record(x, answer(429), throttled)
	check("a throttled attempt")
	must(t, d.Release(t.Context(), []dispatcher.Claim{y}))
	check("a release")
	_, err := d.Cancel(t.Context(), "z")
	must(t, err)
	check("a cancel")
	_, err = d.Retry(t.Context(), "z", time.Time{})
	must(t, err)
	check("a retry")
	d.record(d.claim("z"), answer(0), lost)
	check("an unknown outcome")
	_, err = d.Resolve(t.Context(), "z", store.WasSent, "")
	must(t, err)
	check("a resolution")
	d.claim("x")
	d = d.reopen()
	_, err = d.Recover(t.Context(), policy)
	must(t, err)
	check("a recovery")
}

func TestTheStatusShowsTheDaemonFirstAndEachBucket(t *testing.T) {
	d := newDesk(t)
	second := message("y")
	second.Account = "second"
	d.put(message("x"), second)
	daemon, buckets, err := d.Status(t.Context())
	must(t, err)
	var scopes []string
	for _, b := range buckets {
		scopes = append(scopes, b.Scope)
	}
	if daemon.Scope != "daemon:weir" || daemon.Pending != 2 || !slices.Equal(scopes, []string{"bucket:default/rcs", "bucket:second/rcs"}) {
		t.Errorf("the daemon is %+v, the buckets %v", daemon, scopes)
	}
}

func TestADaemonWithoutAHeartbeatReadsAsStopped(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	for _, test := range []struct {
		name  string
		state string
		age   time.Duration
		want  string
	}{
		{"alive", "running", 13 * time.Second, "running"},
		{"silent for too long", "running", 16 * time.Second, "stopped"},
		{"held and alive", "held", 0, "held"},
		{"held and silent", "held", time.Hour, "stopped"},
		{"stopped by its operator", "stopped", 0, "stopped"},
	} {
		t.Run(test.name, func(t *testing.T) {
			beat := time.Now().Add(-test.age)
			d.exec(`UPDATE status SET state = ?, reason = 'its own', since_at = 1000, until_at = 2000, heartbeat_at = ?`, test.state, beat.UnixMilli())
			daemon, buckets, err := d.Status(t.Context())
			must(t, err)
			for _, s := range append(buckets, daemon) {
				if s.State != test.want || val(s.HeartbeatAt) != iso(beat) {
					t.Errorf("%s is %s with a heartbeat at %s, want %s", s.Scope, s.State, val(s.HeartbeatAt), test.want)
				}
				own := val(s.Reason) == "its own" && val(s.SinceAt) == "1970-01-01T00:00:01.000Z"
				silent := strings.Contains(val(s.Reason), "weir serve") && val(s.SinceAt) == iso(beat)
				if died := test.state != test.want; own == died || silent != died {
					t.Errorf("%s: reason %q since %s", s.Scope, val(s.Reason), val(s.SinceAt))
				}
				if (s.UntilAt == nil) != (test.want == "stopped") {
					t.Errorf("%s: until %q", s.Scope, val(s.UntilAt))
				}
			}
		})
	}
}

func TestTheHeartbeatShowsThatTheDaemonLives(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := bubbleDesk(t)
		d.put(message("x"))
		begin := d.Now()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		must(t, d.ShowRunning(ctx))
		go func() { ended <- d.RunHeartbeat(ctx) }()
		synctest.Wait()
		since := `SELECT count(*) FROM status WHERE scope = 'daemon:weir' AND state = 'running' AND since_at = ? AND heartbeat_at = ?`
		if d.number(since, begin.UnixMilli(), begin.UnixMilli()) != 1 {
			t.Error("the daemon does not show that it has begun")
		}
		seen := `SELECT coalesce(max(value), 0) FROM meta WHERE name = 'last_seen_at'`
		if d.number(seen) != begin.UnixMilli() {
			t.Error("a daemon that dies now has not told the next one what time it was")
		}
		time.Sleep(12 * time.Second)
		beat := begin.Add(10 * time.Second).UnixMilli()
		if d.number(since, begin.UnixMilli(), beat) != 1 || d.number(`SELECT count(*) FROM status WHERE heartbeat_at = ?`, beat) != 2 ||
			d.number(seen) != beat {
			t.Error("12 s later the last heartbeat is not 2 s old, for the daemon, its bucket and meta")
		}
		late := message("late")
		late.Channel = "email"
		d.put(late)
		must(t, d.Pause(t.Context(), "bucket:default/default", "no message yet", time.Time{}))
		if d.number(`SELECT count(*) FROM status WHERE scope LIKE 'bucket:%' AND heartbeat_at = ? AND state = 'running'`, beat) != 2 {
			t.Error("a new bucket does not begin as alive as its daemon")
		}
		stop()
		must(t, <-ended)
		if d.number(seen) != d.Now().UnixMilli() {
			t.Error("the end of the daemon is not the last time seen")
		}
		if d.number(`SELECT count(*) FROM status WHERE state = 'stopped' AND reason IS NOT NULL AND since_at = ?`, d.Now().UnixMilli()) != 4 {
			t.Error("the end of the daemon is not shown in each row")
		}
		later := message("later")
		later.Account = "second"
		d.put(later)
		if got, want := d.shown("bucket:second/rcs", `state, reason`), d.shown("daemon:weir", `state, reason`); got != want {
			t.Errorf("a bucket that appears after that is shown as %q, the daemon as %q", got, want)
		}
	})
}

func TestTheEndOfTheDaemonIsShownWithItsCause(t *testing.T) {
	for name, test := range map[string]struct {
		cause error
		want  string
	}{
		"its operator":  {nil, "stopped stopped by its operator"},
		"what it met":   {errors.New("the intake was taken away"), "stopped it failed: the intake was taken away"},
		"more than one": {errors.Join(errors.New("one"), errors.New("two")), "stopped it failed: one; two"},
	} {
		bubble.Test(t, func(t *testing.T) {
			d := bubbleDesk(t)
			ctx, stop := context.WithCancelCause(t.Context())
			ended := make(chan error)
			must(t, d.ShowRunning(ctx))
			go func() { ended <- d.RunHeartbeat(ctx) }()
			stop(test.cause)
			must(t, <-ended)
			if shown := d.shown("daemon:weir", `state, reason`); shown != test.want {
				t.Errorf("%s: shown as %q, want %q", name, shown, test.want)
			}
		})
	}
}

func TestTheDaemonsRowSaysThatItIsPaused(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := bubbleDesk(t)
		must(t, d.Pause(t.Context(), "daemon:weir", "before the start", time.Time{}))
		must(t, d.ShowRunning(t.Context()))
		go func() { _ = d.RunHeartbeat(t.Context()) }()
		for _, want := range []string{"paused before the start", "running", "paused migration", "running"} {
			synctest.Wait()
			if shown := d.shown("daemon:weir", `state, reason`); shown != want {
				t.Errorf("shown as %q, want %q", shown, want)
			}
			time.Sleep(6 * time.Second) // a heartbeat changes nothing of it
			if shown := d.shown("daemon:weir", `state, reason`); shown != want {
				t.Errorf("after a heartbeat shown as %q, want %q", shown, want)
			}
			if want == "running" {
				must(t, d.Pause(t.Context(), "daemon:weir", "migration", d.Now().Add(time.Hour)))
			} else if _, err := d.Resume(t.Context(), "daemon:weir"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestViewsWriteTimesInISO8601(t *testing.T) {
	d := newDesk(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	times := []time.Time{
		time.UnixMilli(0), time.Date(2026, 12, 31, 23, 59, 59, 999_000_000, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2028, 2, 29, 12, 59, 59, 1_000_000, time.UTC),
	}
	for range 300 {
		times = append(times, time.UnixMilli(rnd.Int64N(4_000_000_000_000)))
	}
	for i, at := range times {
		d.exec(`INSERT INTO attempts (message, number, started_at, verdict, reset_at) VALUES (?, ?, ?, 'sent', ?)`,
			d.anyone(), i, at.UnixMilli(), at.UnixMilli())
	}
	attempts, err := d.Attempts(t.Context(), d.anyone())
	must(t, err)
	for i, at := range times {
		if attempts[i].StartedAt != iso(at) || val(attempts[i].ResetAt) != iso(at) {
			t.Errorf("%d ms reads as %s, want %s", at.UnixMilli(), attempts[i].StartedAt, iso(at))
		}
	}
}

// anyone is the row of some message.
func (d *desk) anyone() int64 {
	d.t.Helper()
	if d.number(`SELECT count(*) FROM messages`) == 0 {
		d.put(message("anyone"))
	}
	return d.number(`SELECT min(id) FROM messages`)
}

func TestAWishForAProbeStaysUntilItIsTaken(t *testing.T) {
	d := newDesk(t)
	g := dispatcher.Gate{Scope: "account:default", Kind: dispatcher.Held, Reason: "401", Since: start, Until: start.Add(time.Minute), SetBy: "401"}
	must(t, d.PutGate(t.Context(), g))
	_, err := d.Probe(t.Context(), g.Scope)
	must(t, err)
	for _, taken := range []bool{false, true} {
		g.WishTaken = taken
		must(t, d.PutGate(t.Context(), g))
		gates, err := d.Gates(t.Context())
		must(t, err)
		if wished := gates[0].Until.Equal(gates[0].Since); wished == taken {
			t.Errorf("stored with the wish taken %v: it stands %v", taken, wished)
		}
	}
}
