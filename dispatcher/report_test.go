package dispatcher

import (
	"context"
	"strings"
	"testing"
	"time"

	"weir/outbox"
)

func TestARestoredHoldThatIsOverdueIsProbedAtOnce(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		since := time.Now().Add(-time.Hour)
		r.d.Restore([]Gate{heldGate("account:default", ByUnauthorized, since, time.Now().Add(-time.Minute))})
		began := time.Now()
		r.add(rcs, outbox.Normal, keys("r", 20)...)
		r.start()
		r.waitAllSent(time.Second)
		if first := r.api.requests(began)[0]; first.at.Sub(began) > 10*time.Millisecond {
			r.Errorf("probed after %v", first.at.Sub(began))
		}
	})
}

func TestARestoredHoldWaitsForItsProbe(t *testing.T) {
	tests := []struct {
		name         string
		ahead, after time.Duration
	}{
		{"until its time", time.Minute, time.Minute},
		{"not for days", 72 * time.Hour, longestHold},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, 4, func(r *rig) {
				began := time.Now()
				r.d.Restore([]Gate{heldGate("account:default", ByUnauthorized, began, began.Add(tt.ahead))})
				r.add(rcs, outbox.Normal, "a")
				r.start()
				r.waitAllSent(time.Hour)
				if got := r.api.requests(began)[0].at.Sub(began); got != tt.after {
					r.Errorf("probed after %v, want %v", got, tt.after)
				}
			})
		})
	}
}

func TestARestoredGateFromTheFutureIsCuredAllTheSame(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		ahead := time.Now().Add(24 * time.Hour) // as the clock of the run before went
		park := Gate{Scope: rcs.Scope(), Kind: Parked, SetBy: ByLimit, Since: ahead, Until: ahead.Add(time.Minute)}
		r.d.Restore([]Gate{
			heldGate("account:default", ByUnauthorized, ahead, ahead.Add(time.Minute)),
			{Scope: rcs.Scope(), Kind: Degraded, SetBy: ByFailures, Since: ahead, Until: ahead.Add(time.Minute)},
			park,
		})
		if since := r.d.buckets[0].park.since; since.After(time.Now()) {
			r.Errorf("parked since %v", since)
		}
		r.add(rcs, outbox.Normal, keys("r", 20)...)
		r.start()
		r.waitAllSent(longestHold + time.Minute)
		r.waitNoGates(time.Second)
	})
}

func TestStoredGatesOfWhatIsNoLongerConfiguredGoButForPauses(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		since, until := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
		pause := Gate{Scope: "bucket:default/gone", Kind: Paused, SetBy: ByOperator, Since: since}
		kept := heldGate("account:default", ByUnauthorized, since, until)
		for _, g := range []Gate{
			{Scope: "bucket:default/gone", Kind: Parked, SetBy: ByLimit, Since: since, Until: until},
			{Scope: "bucket:gone/rcs", Kind: Degraded, SetBy: ByFailures, Since: since, Until: until},
			heldGate("account:gone", ByUnauthorized, since, until),
			pause, kept,
		} {
			if err := r.PutGate(r.Context(), g); err != nil {
				r.Fatal(err)
			}
		}
		r.d.Restore(r.stored())
		r.start()
		r.wait(time.Second, "three are gone", func() bool { return len(r.stored()) == 2 })
		for _, g := range r.stored() {
			if g.id() != pause.id() && g.id() != kept.id() {
				r.Errorf("%v is kept", g)
			}
		}
	})
}

func TestARestoredParkKeeps(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		began := time.Now()
		since, until := began.Add(-time.Minute), began.Add(time.Minute)
		park := Gate{Scope: "bucket:default/rcs", Kind: Parked, SetBy: ByLimit, Since: since, Until: until}
		if err := r.PutGate(r.Context(), park); err != nil {
			r.Fatal(err)
		}
		r.d.Restore(r.stored())
		r.add(rcs, outbox.High, "a")
		r.add(email, outbox.High, "b")
		r.start()
		r.waitShown(rcs, Parked, "parked before the restart")
		if g := r.gauges(rcs); !g.Since.Equal(since) || !g.Until.Equal(until) || !r.d.Gated(rcs) || r.d.Gated(email) {
			r.Errorf("parked from %v to %v, gated %v; e-mail gated %v", g.Since, g.Until, r.d.Gated(rcs), r.d.Gated(email))
		}
		r.waitAllSent(2 * time.Minute)
		requests := r.api.requests(began)
		if requests[0].key != "b" || requests[1].at.Before(until) {
			r.Errorf("requests %v, want e-mail at once and the other after the park", requests)
		}
		r.waitNoGates(time.Second)
	})
}

func TestARestoredParkIsNotShownForLongerThanItIsKept(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		began := time.Now()
		r.d.Restore([]Gate{{Scope: "bucket:default/rcs", Kind: Parked, SetBy: ByLimit, Since: began, Until: began.Add(72 * time.Hour)}})
		if most := began.Add(longestHold); r.d.buckets[0].park.until.After(most) {
			r.Errorf("parked until %v, want %v", r.d.buckets[0].park.until, most)
		}
	})
}

func TestAnIdleBucketDoesNotOpenGently(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.start()
		r.d.Reload([]Gate{pausedGate(time.Time{})})
		r.waitShown(rcs, Paused, "")
		r.d.Reload(nil)
		r.wait(time.Second, "running", func() bool { return r.gauges(rcs).State == Running })
		if g := r.gauges(rcs); g.Reason != "" {
			r.Errorf("it is running, and has nothing to send: %s", g.Reason)
		}
	})
}

func TestAWishThatComesWhileTheGateIsStoredIsNotLost(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.warm()
		r.api.always(unauthorized)
		r.add(rcs, outbox.Normal, keys("a", 50)...)
		r.waitShown(rcs, Held, "refuses the key")
		r.d.mu.Lock()
		g := r.d.gates.find(r.d.accounts[0].keyGate())
		r.d.gates.unsaved[g.id()] = true
		r.d.mu.Unlock()
		put, _ := r.d.unsavedGates()
		r.d.Reload([]Gate{{Scope: g.Scope, Kind: g.Kind, SetBy: g.SetBy, Since: g.Since, Until: g.Since}})
		if again, _ := r.d.unsavedGates(); put[0].WishTaken || !again[0].WishTaken {
			r.Error("storing what was before the wish takes it away, or storing what followed from it does not")
		}
	})
}

func TestALimitThatIsUsedUpIsShownAndStored(t *testing.T) {
	inBubble(t, 8, func(r *rig) {
		// Windows of an hour; 20 requests are allowed in each.
		r.api.limit = 20
		r.add(rcs, outbox.Normal, keys("k", 50)...)
		began := time.Now()
		r.start()
		r.waitShown(rcs, Parked, "of 20")
		g := r.gauges(rcs)
		if g.Since.Sub(began) > time.Second || !g.Until.After(time.Now()) || g.Until.Sub(began) > time.Hour+2*time.Second {
			r.Errorf("parked from %v to %v, want from about the start to at most the end of the hour", g.Since.Sub(began), g.Until.Sub(began))
		}
		if !r.d.Gated(rcs) || *g.RateLimit != 20 || g.Reset.IsZero() || g.LimitScope != "channel" || g.SentLastMinute == 0 {
			r.Errorf("gated %v, gauges %+v", r.d.Gated(rcs), g)
		}
	})
}

// slowBoard takes long to store a park.
type slowBoard struct{ Board }

func (b slowBoard) PutGate(ctx context.Context, g Gate) error {
	if g.Kind == Parked {
		time.Sleep(2 * time.Minute)
	}
	return b.Board.PutGate(ctx, g)
}

func TestAParkThatTakesLongToBeStoredIsKeptByAllBuckets(t *testing.T) {
	inBubble(t, 8, func(r *rig) {
		r.api.limit = 20 // per hour and channel
		r.add(rcs, outbox.Normal, keys("r", 50)...)
		r.add(email, outbox.Normal, keys("e", 50)...)
		r.start()
		r.wait(time.Minute, "both are parked", func() bool { return r.d.Gated(rcs) && r.d.Gated(email) })
		sent := len(r.api.requests(time.Time{}))
		time.Sleep(10 * time.Minute)
		if n := len(r.api.requests(time.Time{})) - sent; n > 0 {
			r.Errorf("%d requests while both are parked, want none", n)
		}
	}, func(c *Config) { c.Board = slowBoard{c.Board} })
}

func TestAnAPIThatPacesIsShownAsRunning(t *testing.T) {
	var p park
	now := noon
	for range 100 { // a token every 20 ms
		p.note(now, true, now.Add(20*time.Millisecond))
		p.note(now, false, now.Add(20*time.Millisecond))
		if now = now.Add(20 * time.Millisecond); p.stands(now.Add(-time.Millisecond)) {
			t.Fatal("parked while messages go all the time")
		}
	}
	began := now
	p.note(now, true, time.Time{})
	p.note(now, false, now.Add(time.Minute))
	if !p.stands(now.Add(time.Second)) || p.since != began {
		t.Errorf("%+v does not stand after a second", p)
	}
	p.note(now.Add(30*time.Second), false, now.Add(50*time.Second))
	if p.since != began || !p.until.Equal(began.Add(50*time.Second)) {
		t.Errorf("%+v, want the same park with a new end", p)
	}
	if p.stands(now.Add(50 * time.Second)) {
		t.Error("stands after its end")
	}
	p.note(now.Add(time.Hour), false, now.Add(2*time.Hour))
	if !p.since.Equal(now.Add(time.Hour)) {
		t.Errorf("%+v began before anybody waited", p)
	}
}

func pausedGate(until time.Time) Gate {
	return Gate{Scope: "bucket:default/rcs", Kind: Paused, SetBy: ByOperator, Reason: "maintenance", Since: time.Now(), Until: until}
}

func TestAnOperatorPausesAndResumes(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.warm()
		if err := r.PutGate(r.Context(), pausedGate(time.Time{})); err != nil {
			r.Fatal(err)
		}
		r.d.Reload(r.stored())
		from := time.Now()
		r.add(rcs, outbox.Normal, keys("r", 20)...)
		r.add(email, outbox.Normal, keys("e", 20)...)
		r.waitShown(rcs, Paused, "maintenance")
		time.Sleep(time.Hour)
		if got := len(r.api.requests(from)); got != 20 || r.of(outbox.Sent) != 60 || !r.d.Gated(rcs) {
			r.Errorf("%d requests during the pause, want those of the other bucket", got)
		}
		if err := r.DropGate(r.Context(), pausedGate(time.Time{})); err != nil {
			r.Fatal(err)
		}
		r.d.Reload(r.stored())
		r.waitAllSent(time.Second)
		if len(r.stored()) != 0 {
			r.Errorf("the pause was stored again: %v", r.stored())
		}
		if err := r.PutGate(r.Context(), pausedGate(time.Time{})); err != nil {
			r.Fatal(err)
		}
		time.Sleep(2 * reportEvery)
		if len(r.stored()) != 1 {
			r.Error("the next pause was dropped with the one before")
		}
	})
}

func TestAPauseWithAnEndEndsByItself(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.add(rcs, outbox.Normal, keys("r", 20)...)
		until := time.Now().Add(time.Minute)
		if err := r.PutGate(r.Context(), pausedGate(until)); err != nil {
			r.Fatal(err)
		}
		r.d.Restore(r.stored())
		r.start()
		r.waitAllSent(2 * time.Minute)
		if first := r.api.requests(time.Time{})[0].at; first.Before(until) || first.After(until.Add(lookAgain)) {
			r.Errorf("the first request came at %v, want the end of the pause, %v", first, until)
		}
		r.waitNoGates(time.Second)
	})
}

func TestAPauseGivesBackWhatWasClaimedAhead(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.api.always(ok.in(time.Second))
		r.add(rcs, outbox.Normal, keys("r", 40)...)
		r.start()
		r.wait(5*time.Second, "full seats", func() bool { return r.of(outbox.Sending) == 8 })
		from := time.Now()
		r.d.Reload([]Gate{pausedGate(time.Time{})})
		time.Sleep(2 * time.Second)
		if got := len(r.api.requests(from.Add(1))); got != 0 || r.of(outbox.Sending) != 0 || len(r.copyReleased()) != 4 {
			r.Errorf("%d requests after the pause, %d still claimed, %d given back; want 0, 0, 4", got, r.of(outbox.Sending), len(r.copyReleased()))
		}
	})
}

func TestAnOperatorAsksForAProbe(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		r.api.always(unauthorized)
		r.add(rcs, outbox.Normal, keys("r", 5)...)
		r.start()
		r.waitShown(rcs, Held, "401")
		r.api.always(ok)
		asked := time.Now()
		gates := r.stored()
		gates[0].Until = gates[0].Since
		r.d.Reload(gates)
		r.waitAllSent(time.Second)
		if got := r.api.requests(asked)[0].at.Sub(asked); got > 10*time.Millisecond {
			r.Errorf("probed after %v", got)
		}
	})
}

func TestRefusalsInARowAreShownUntilAMessageIsSent(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.warm()
		r.api.always(refused)
		r.add(rcs, outbox.Normal, keys("f", inARow-1)...)
		r.wait(time.Minute, "four refused", func() bool { return r.of(outbox.Failed) == inARow-1 })
		time.Sleep(2 * reportEvery)
		if g := r.gauges(rcs); g.Reason != "" {
			r.Errorf("fewer than five are shown: %q", g.Reason)
		}
		r.add(rcs, outbox.Normal, "fifth")
		r.waitShown(rcs, Running, "5 refusals in a row, the last: missing_consent")
		r.api.always(ok)
		r.add(rcs, outbox.Normal, "sent")
		r.waitShown(rcs, Running, "")
	})
}

func TestAConflictThatSaysSentIsNoRefusal(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.api.play(func(q request) reply {
			if q.nth <= 2*inARow {
				return reply{status: 503, body: `{"error":"unavailable"}`}
			}
			return reply{status: 409, body: `{"error":"duplicate","message_id":"msg_1"}`}
		})
		r.add(rcs, outbox.Normal, keys("k", 2*inARow)...)
		r.start()
		r.waitAllSent(time.Hour)
		time.Sleep(2 * reportEvery)
		if g := r.gauges(rcs); strings.Contains(g.Reason, "refusals") || g.SentLastMinute == 0 {
			r.Errorf("shown as %q with %d sent, though every message was", g.Reason, g.SentLastMinute)
		}
	})
}

func TestALimitThatMakesNoSenseIsShownForAnHour(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.warm()
		r.api.play(func(request) reply {
			return reply{status: 200, body: ok.body, header: map[string]string{
				"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "99", "X-RateLimit-Reset": "12345",
			}}
		})
		r.add(rcs, outbox.Normal, keys("odd", 3)...)
		r.waitShown(rcs, Running, "3 answers with a limit that makes no sense, the last: X-RateLimit-Reset lies in the past")
		if g := r.gauges(email); strings.Contains(g.Reason, "sense") {
			r.Errorf("the other bucket says %q", g.Reason)
		}
		time.Sleep(oddShown + time.Second)
		if g := r.gauges(rcs); g.Reason != "" {
			r.Errorf("an hour later it still says %q", g.Reason)
		}
	})
}

func TestAGateThatRisesRightBeforeTheStopIsStored(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.api.always(unauthorized.in(reportEvery + time.Millisecond))
		r.add(rcs, outbox.Normal, "a")
		r.start()
		r.wait(time.Second, "an answer", func() bool { return r.of(outbox.Pending) == 1 && len(r.api.requests(time.Time{})) == 1 })
		if err := r.finish(); err != nil {
			r.Fatal(err)
		}
		stored := r.stored()
		if len(stored) != 1 || stored[0].Kind != Held || stored[0].SetBy != ByUnauthorized || stored[0].RequestID != "req_1" {
			r.Errorf("gates %v, want the hold", stored)
		}
	})
}

func TestAnUnknownBucketIsGated(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		if !r.d.Gated(outbox.Bucket{Account: "default", Channel: "fax"}) {
			r.Error("a bucket that nothing fetches for may be fed again and again")
		}
	})
}

func TestWhatIsShownTellsNoTextOfTheAPI(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.api.always(reply{status: 401, body: `{"error":"invalid_api_key","message":"key sk_1 of a@example.org"}`})
		r.add(rcs, outbox.Normal, "a")
		r.start()
		r.waitShown(rcs, Held, "401")
		g := r.gauges(rcs)
		if strings.Contains(g.Reason, "sk_1") || g.LastErrorCode != "invalid_api_key" || g.LastRequestID != "req_1" {
			r.Errorf("gauges %+v", g)
		}
	})
}

func TestAWishForAProbeIsFollowedOnceHoweverOftenItIsRead(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.warm()
		r.api.always(unauthorized)
		r.add(rcs, outbox.Normal, keys("a", 50)...)
		r.waitShown(rcs, Held, "refuses the key")
		from := time.Now()
		wish := Gate{Scope: "account:default", Kind: Held, SetBy: ByUnauthorized, Since: from, Until: from}
		for range 10 {
			r.d.Reload([]Gate{wish})
			time.Sleep(20 * time.Millisecond)
		}
		if n := len(r.api.requests(from)); n != 1 {
			r.Errorf("%d probes, want 1", n)
		}
	})
}

func TestAPauseThatIsOverIsNotTakenUpAgain(t *testing.T) {
	inBubble(t, 8, func(r *rig) {
		pause := Gate{
			Scope: "account:default", Kind: Paused, SetBy: ByOperator, Since: time.Now(), Until: time.Now().Add(time.Second),
		}
		r.d.Restore([]Gate{pause})
		r.add(rcs, outbox.Normal, keys("a", 100)...)
		r.start()
		time.Sleep(1100 * time.Millisecond)
		r.d.Reload([]Gate{pause})
		if r.d.Gated(rcs) {
			r.Error("paused again")
		}
	})
}

func TestEveryWishForAProbeIsFollowed(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.warm()
		r.api.always(unauthorized)
		r.add(rcs, outbox.Normal, keys("a", 50)...)
		r.waitShown(rcs, Held, "refuses the key")
		for wish := range 3 {
			asked := time.Now()
			gates := r.stored()
			gates[0].Until = gates[0].Since
			r.d.Reload(gates)
			time.Sleep(2 * reportEvery) // the probe fails, and the gate is stored with its next one
			if n := len(r.api.requests(asked)); n != 1 {
				r.Errorf("%d probes after wish %d, want 1", n, wish+1)
			}
		}
	})
}

func TestAPauseThatIsReadWhenItEndsLeavesTheTable(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.start()
		if err := r.PutGate(r.Context(), pausedGate(time.Now().Add(time.Minute))); err != nil {
			r.Fatal(err)
		}
		for range 70 * 50 { // another process writes all the time
			r.d.Reload(r.stored())
			time.Sleep(20 * time.Millisecond)
		}
		if left := r.stored(); len(left) != 0 || r.d.Gated(rcs) {
			r.Errorf("left in the table: %v; gated: %v", left, r.d.Gated(rcs))
		}
	})
}

func TestTroubleOfTheSourceIsShownAndInNobodysWay(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		stored := Gate{Scope: "daemon:weir", Kind: Degraded, SetBy: BySource, Reason: "before", Since: time.Now().Add(-time.Hour)}
		if err := r.PutGate(r.Context(), stored); err != nil {
			r.Fatal(err)
		}
		r.d.Restore(r.stored())
		r.setTrouble("no queue")
		r.add(rcs, outbox.Normal, "a")
		r.start()
		r.waitShown(rcs, Degraded, "no queue")
		r.waitShown(email, Degraded, "no queue")
		if gates := r.stored(); len(gates) != 1 || gates[0].Reason != "no queue" || gates[0].Scope != "daemon:weir" {
			r.Errorf("stored %+v", gates)
		}
		r.waitAllSent(time.Second)
		r.setTrouble("")
		r.waitShown(rcs, Running, "")
		r.waitNoGates(time.Second)
	})
}
