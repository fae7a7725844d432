package store_test

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"weir/dispatcher"
	"weir/outbox"
	"weir/store"
)

// every is a message in each state, its key the state's name. "maybe" is a
// retrying one that may have been sent.
func (d *desk) every() {
	d.t.Helper()
	for _, key := range []string{"pending", "canceled", "sending", "retrying", "sent", "failed", "unknown"} {
		d.put(message(key))
	}
	expiring := message("expired")
	expiring.ExpiresAt = d.Now().Add(time.Minute)
	d.put(expiring)
	d.ambiguous(message("maybe"))
	_, err := d.Cancel(d.t.Context(), "canceled")
	must(d.t, err)
	d.claim("sending")
	d.record(d.claim("retrying"), answer(0), dispatcher.Judgement{Verdict: dispatcher.NeverLeft, State: outbox.Retrying, Counted: true, DueAt: d.Now()})
	d.record(d.claim("sent"), answer(200), accepted)
	d.record(d.claim("failed"), answer(422), refused)
	d.record(d.claim("unknown"), answer(0), lost)
	d.exec(`
		UPDATE messages SET state = 'expired', generation = 2, settled_at = expires_at
		WHERE idempotency_key = 'expired'`)
	d.events.take()
}

func TestWhatAnOperatorMayDoDependsOnTheState(t *testing.T) {
	deadline := start.Add(time.Hour)
	for verb, test := range map[string]struct {
		do   func(d *desk, key string) (outbox.State, error)
		want map[string]string // from key to state; all others are refused
	}{
		"cancel": {
			func(d *desk, key string) (outbox.State, error) { return d.Cancel(d.t.Context(), key) },
			map[string]string{"pending": "canceled", "retrying": "canceled", "maybe": "unknown"},
		},
		"retry with a new deadline": {
			func(d *desk, key string) (outbox.State, error) { return d.Retry(d.t.Context(), key, deadline) },
			map[string]string{"failed": "pending", "canceled": "pending", "expired": "pending"},
		},
		"resolve as sent": {
			func(d *desk, key string) (outbox.State, error) {
				return d.Resolve(d.t.Context(), key, store.WasSent, "msg_7")
			},
			map[string]string{"unknown": "sent"},
		},
		"resolve as not sent": {
			func(d *desk, key string) (outbox.State, error) {
				return d.Resolve(d.t.Context(), key, store.WasNotSent, "")
			},
			map[string]string{"unknown": "failed"},
		},
		"send again at the risk of a duplicate": {
			func(d *desk, key string) (outbox.State, error) {
				return d.Resolve(d.t.Context(), key, store.MayDuplicate, "")
			},
			map[string]string{"unknown": "pending"},
		},
	} {
		t.Run(verb, func(t *testing.T) {
			d := newDesk(t)
			d.every()
			for _, key := range []string{"pending", "sending", "retrying", "sent", "failed", "expired", "canceled", "unknown", "maybe"} {
				before := d.row(key)
				state, err := test.do(d, key)
				m := d.row(key)
				if string(state) != m.State {
					t.Errorf("%s: said to be %s, is %s", key, state, m.State)
				}
				want, allowed := test.want[key]
				switch {
				case !allowed && (!errors.Is(err, store.ErrState) || m.State != before.State || m.Generation != before.Generation):
					t.Errorf("%s: %v, now %+v; want ErrState and no change", key, err, m)
				case allowed && (err != nil || m.State != want || m.Generation != before.Generation+1 || (m.SettledAt != nil) != outbox.State(want).Settled()):
					t.Errorf("%s: %v, now %+v; want %s under the next generation", key, err, m, want)
				}
				if events := d.events.take(); (len(events) == 1) != (allowed && outbox.State(want).Settled()) {
					t.Errorf("%s: told %+v", key, events)
				}
			}
			if _, err := test.do(d, "nobody"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("a key that nobody has: %v", err)
			}
		})
	}
}

func TestACanceledMessageCannotBeClaimedByItsOldReference(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	ref := d.ref("x")
	_, err := d.Cancel(t.Context(), "x")
	must(t, err)
	_, err = d.Retry(t.Context(), "x", time.Time{})
	must(t, err)
	if claims := d.claims(ref); len(claims) != 0 {
		t.Errorf("claimed %+v", claims)
	}
	d.claim("x")
}

func TestARetriedMessageIsAsIfItWereNew(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	d.record(d.claim("x"), answer(429), throttled)
	d.record(d.claim("x"), answer(422), refused)
	d.Add(time.Hour)
	_, err := d.Retry(t.Context(), "x", time.Time{})
	must(t, err)
	m := d.row("x")
	if m.Attempts != 0 || m.FirstAttemptAt != nil || m.AmbiguousAt != nil || m.Scope != nil || m.SettledAt != nil ||
		m.ErrorCode != nil || m.ErrorMessage != nil || m.HTTPStatus != nil || m.DueAt != iso(d.Now()) {
		t.Errorf("the row is %+v", m)
	}
	if n := d.number(`SELECT count(*) FROM attempts`); n != 2 {
		t.Errorf("%d attempts are on record, want both", n)
	}
	d.record(d.claim("x"), answer(200), accepted)
	attempts, err := d.Attempts(t.Context(), m.ID)
	must(t, err)
	if last := attempts[len(attempts)-1]; last.Number != 3 || d.row("x").Attempts != 1 {
		t.Errorf("the new attempt is %+v of %+v", last, d.row("x"))
	}
}

func TestARetriedMessageStillWaitsForItsTime(t *testing.T) {
	d := newDesk(t)
	m := message("x")
	m.SendAt = start.Add(time.Hour)
	d.put(m)
	_, err := d.Cancel(t.Context(), "x")
	must(t, err)
	_, err = d.Retry(t.Context(), "x", time.Time{})
	must(t, err)
	if due := d.row("x").DueAt; due != iso(m.SendAt) {
		t.Errorf("due at %s, want its send_at %s", due, iso(m.SendAt))
	}
}

func TestADeadlineThatHasPassedMustBeReplaced(t *testing.T) {
	d := newDesk(t)
	d.every()
	d.Add(time.Hour)
	for name, deadline := range map[string]time.Time{"its own": {}, "another": start.Add(time.Minute), "now": d.Now()} {
		if _, err := d.Retry(t.Context(), "expired", deadline); !errors.Is(err, store.ErrDeadline) {
			t.Errorf("%s: %v, want ErrDeadline", name, err)
		}
	}
	ahead := d.Now().Add(time.Millisecond)
	_, err := d.Retry(t.Context(), "expired", ahead)
	must(t, err)
	if at := d.row("expired").ExpiresAt; val(at) != iso(ahead) {
		t.Errorf("its deadline is %v, want %s", val(at), iso(ahead))
	}
}

func TestARetriedMessageKeepsADeadlineThatIsAhead(t *testing.T) {
	d := newDesk(t)
	m := message("x")
	m.ExpiresAt = start.Add(time.Hour)
	d.put(m)
	_, err := d.Cancel(t.Context(), "x")
	must(t, err)
	_, err = d.Retry(t.Context(), "x", time.Time{})
	must(t, err)
	if at := d.row("x").ExpiresAt; val(at) != iso(m.ExpiresAt) {
		t.Errorf("its deadline is %q, want %s", val(at), iso(m.ExpiresAt))
	}
}

func TestWhatAPersonFoundOutIsStored(t *testing.T) {
	d := newDesk(t)
	d.every()
	_, err := d.Resolve(t.Context(), "unknown", store.WasSent, "msg_7")
	must(t, err)
	if m := d.row("unknown"); val(m.MessageID) != "msg_7" || m.ErrorCode != nil || m.ErrorMessage != nil {
		t.Errorf("the row is %+v, want the message id and no error", m)
	}
}

func TestAnUnknownResolutionResolvesNothing(t *testing.T) {
	d := newDesk(t)
	d.every()
	for _, r := range []store.Resolution{"", "maybe"} {
		if _, err := d.Resolve(t.Context(), "unknown", r, ""); err == nil {
			t.Errorf("%q is taken", r)
		}
	}
	if m := d.row("unknown"); m.State != "unknown" {
		t.Errorf("the message is %s", m.State)
	}
}

func TestAMessageThatWasNotSentMayBeRetried(t *testing.T) {
	d := newDesk(t)
	d.every()
	_, err := d.Resolve(t.Context(), "unknown", store.WasNotSent, "")
	must(t, err)
	_, err = d.Retry(t.Context(), "unknown", time.Time{})
	must(t, err)
	if c := d.claim("unknown"); !c.AmbiguousAt.IsZero() {
		t.Errorf("still taken as ambiguous: %+v", c)
	}
}

func TestADeadlineThatHasPassedDoesNotStopADuplicateThatIsWanted(t *testing.T) {
	for name, at := range map[string]struct {
		expires time.Time
		want    string
	}{
		"passed": {start.Add(time.Second), ""},
		"ahead":  {start.Add(time.Hour), iso(start.Add(time.Hour))},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			m := message("x")
			m.ExpiresAt = at.expires
			d.put(m)
			d.record(d.claim("x"), answer(0), lost)
			d.Add(time.Minute)
			_, err := d.Resolve(t.Context(), "x", store.MayDuplicate, "")
			must(t, err)
			if got := val(d.row("x").ExpiresAt); got != at.want {
				t.Errorf("its deadline is %q, want %q", got, at.want)
			}
			d.claim("x")
		})
	}
}

func TestWhatMayBeSentTwiceIsNeverSaidToBeSurelyUnsent(t *testing.T) {
	resolved := func(t *testing.T, expires time.Time) *desk {
		d := newDesk(t)
		m := message("x")
		m.ExpiresAt = expires
		d.put(m)
		d.record(d.claim("x"), answer(0), lost)
		d.Add(policy.KeyLifetime) // too late to repeat it, but for a person's word
		_, err := d.Resolve(t.Context(), "x", store.MayDuplicate, "")
		must(t, err)
		return d
	}
	for name, end := range map[string]func(*desk){
		"canceled": func(d *desk) {
			_, err := d.Cancel(d.t.Context(), "x")
			must(d.t, err)
		},
		"canceled after an attempt that was refused for the limit": func(d *desk) {
			d.record(d.claim("x"), answer(429), throttled)
			_, err := d.Cancel(d.t.Context(), "x")
			must(d.t, err)
		},
		"its deadline passes": func(d *desk) { d.settleOverdue(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			d := resolved(t, start.Add(policy.KeyLifetime+time.Hour))
			end(d)
			if state := d.row("x").State; state != "unknown" {
				t.Errorf("it is %s", state)
			}
		})
	}
	t.Run("its key's lifetime passes, counted from the person's word", func(t *testing.T) {
		d := resolved(t, time.Time{})
		d.settleOverdue(policy.RepeatFor() - time.Minute)
		if state := d.row("x").State; state != "pending" {
			t.Errorf("a minute before that it is %s", state)
		}
		d.settleOverdue(time.Minute)
		if state := d.row("x").State; state != "unknown" {
			t.Errorf("it is %s", state)
		}
	})
	t.Run("erased", func(t *testing.T) {
		d := resolved(t, time.Time{})
		if found, erased := d.erase(store.Whose{Key: "x"}); len(found.Unknown) != 1 || erased.Messages != 0 {
			t.Errorf("found %+v, erased %+v; want it left for a person", found, erased)
		}
	})
	t.Run("claimed", func(t *testing.T) {
		d := resolved(t, time.Time{})
		// Where its first attempt went is not in the way.
		if moved, err := d.SettleMoved(t.Context(), map[string]string{"default": "there"}); err != nil || moved != 0 {
			t.Errorf("%d messages are settled as those of another API (%v)", moved, err)
		}
		claims, err := d.Claim(t.Context(), "there", []outbox.Ref{d.ref("x")})
		must(t, err)
		if len(claims) != 1 || claims[0].Scope != "there" || !claims[0].AmbiguousAt.Equal(d.Now()) || !claims[0].FirstAttemptAt.IsZero() {
			t.Errorf("claimed %+v, want it for today's API, as possibly sent from now on", claims)
		}
	})
}

// settleOverdue lets time pass and the deadlines be looked at.
func (d *desk) settleOverdue(span time.Duration) {
	d.t.Helper()
	d.Add(span)
	must(d.t, d.SettleDeadlines(d.t.Context()))
}

func TestAnOperatorsGateStandsUntilItIsResumed(t *testing.T) {
	d := newDesk(t)
	held := dispatcher.Gate{
		Scope: "account:default", Kind: dispatcher.Held, SetBy: dispatcher.ByUnauthorized, Reason: "the key is refused",
		Since: start, Until: start.Add(time.Minute), RequestID: "req",
	}
	must(t, d.PutGate(t.Context(), held))
	must(t, d.Pause(t.Context(), "account:default", "maintenance", time.Time{}))
	must(t, d.Pause(t.Context(), "bucket:default/email", "", start.Add(time.Hour)))
	paused := dispatcher.Gate{Scope: "account:default", Kind: dispatcher.Paused, SetBy: dispatcher.ByOperator, Reason: "maintenance", Since: start}
	until := dispatcher.Gate{Scope: "bucket:default/email", Kind: dispatcher.Paused, SetBy: dispatcher.ByOperator, Since: start, Until: start.Add(time.Hour)}
	checkGates(t, d, held, paused, until)
	if n := d.number(`SELECT count(*) FROM status WHERE scope = 'bucket:default/email'`); n != 1 {
		t.Error("a bucket with a gate has no row in the status table")
	}

	paused.Reason = "longer maintenance"
	must(t, d.Pause(t.Context(), "account:default", paused.Reason, time.Time{}))
	checkGates(t, d, held, paused, until)

	for _, want := range []bool{true, false} {
		if resumed, err := d.Resume(t.Context(), "account:default"); err != nil || resumed != want {
			t.Errorf("resumed: %v (%v), want %v", resumed, err, want)
		}
	}
	checkGates(t, d, held, until)

	if asked, err := d.Probe(t.Context(), "account:default"); err != nil || asked != 1 {
		t.Errorf("asked for %d probes (%v), want 1", asked, err)
	}
	if asked, err := d.Probe(t.Context(), "bucket:default/email"); err != nil || asked != 0 {
		t.Errorf("asked for %d probes of a pause (%v), want none", asked, err)
	}
	held.Until = held.Since
	checkGates(t, d, held, until)

	must(t, d.DropGate(t.Context(), held))
	checkGates(t, d.reopen(), until)
}

func TestOnlyWhatAnAnswerOfTheAPICuresIsProbed(t *testing.T) {
	d := newDesk(t)
	probed := map[string]bool{dispatcher.ByUnauthorized: true, dispatcher.ByUnpaid: true, dispatcher.ByNotAPI: true, dispatcher.ByFailures: true}
	others := []string{dispatcher.ByDisk, dispatcher.ByClock, dispatcher.ByNATS, dispatcher.ByWAL, dispatcher.BySource}
	for _, setBy := range slices.AppendSeq(others, maps.Keys(probed)) {
		scope := "daemon:" + setBy
		must(t, d.PutGate(t.Context(), dispatcher.Gate{Scope: scope, Kind: dispatcher.Degraded, SetBy: setBy, Since: start, Until: start.Add(time.Minute)}))
		if asked, err := d.Probe(t.Context(), scope); err != nil || asked == 1 != probed[setBy] {
			t.Errorf("%s: asked for %d probes (%v)", setBy, asked, err)
		}
	}
	if asked, err := d.ProbeAll(t.Context()); err != nil || len(asked) != len(probed) {
		t.Errorf("all probes are those of %v (%v)", asked, err)
	}
	gates, err := d.Gates(t.Context())
	must(t, err)
	for _, g := range gates {
		if g.Until.Equal(g.Since) != probed[g.SetBy] {
			t.Errorf("the gate is now %+v", g)
		}
	}
}

func checkGates(t *testing.T, d *desk, want ...dispatcher.Gate) {
	t.Helper()
	gates, err := d.Gates(t.Context())
	must(t, err)
	if len(gates) != len(want) {
		t.Fatalf("the gates are %+v, want %+v", gates, want)
	}
	for i, w := range want {
		g := gates[i]
		if !g.Since.Equal(w.Since) || !g.Until.Equal(w.Until) {
			t.Errorf("gate %d is from %v to %v, want %v to %v", i, g.Since, g.Until, w.Since, w.Until)
		}
		g.Since, g.Until = w.Since, w.Until
		if g != w {
			t.Errorf("gate %d is %+v, want %+v", i, g, w)
		}
	}
}
