package dispatcher

import (
	"slices"
	"testing"
	"time"

	"weir/outbox"
)

func TestAMessageThatWaitsByItselfIsExplainedUntilItIsTriedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		reply reply
		why   string
	}{
		"after a 402":        {unpaid, "the balance is too low (402 insufficient_balance)"},
		"after another page": {proxyLost, "something else answers in the API's place (404 not_api)"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 4, func(r *rig) {
				r.api.always(test.reply)
				r.add(rcs, outbox.Normal, "a")
				r.start()
				r.waitShown(rcs, Running, "a message waits by itself until then: "+test.why)
				if g := r.gauges(rcs); !g.Until.Equal(r.row("a").DueAt) {
					r.Errorf("shown until %v, but it is due at %v", g.Until, r.row("a").DueAt)
				}
				r.api.always(ok)
				r.waitAllSent(time.Minute)
				r.wait(time.Second, "no longer shown", func() bool { g := r.gauges(rcs); return g.Reason == "" && g.Until.IsZero() })
			})
		})
	}
}

func TestOfMessagesThatWaitByThemselvesTheFirstIsExplained(t *testing.T) {
	now := time.Now()
	b := &bucket{alone: map[int64]alone{
		1: {until: now, why: "over"},
		2: {until: now.Add(time.Minute), why: "later"},
		3: {until: now.Add(time.Second), why: "soon"},
	}}
	reason, until := b.waitsAlone(now)
	if want := "2 messages wait by themselves, the first until then: soon"; reason != want || !until.Equal(now.Add(time.Second)) {
		t.Errorf("%q until %v, want %q in a second", reason, until.Sub(now), want)
	}
	if reason, until := b.waitsAlone(now.Add(time.Hour)); reason != "" || !until.IsZero() {
		t.Errorf("once all were tried again: %q until %v", reason, until)
	}
}

func TestAMessageThatHasSettledDoesNotWaitByItself(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		x := &delivery{b: r.d.buckets[0]}
		j := Judgement{Verdict: NotAPI, State: outbox.Unknown}
		r.d.learn(x, "key", Answer{EndedAt: time.Now()}, &j)
		if len(x.b.alone) != 0 || !j.DueAt.IsZero() {
			r.Errorf("waits %v, due %v", x.b.alone, j.DueAt)
		}
	})
}

func TestAMessageAloneIsTriedAgainEveryQuarterOfAnHourAtTheLatest(t *testing.T) {
	for name, answer := range map[string]reply{"a page of a proxy": proxyLost, "a 402": unpaid} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 4, func(r *rig) {
				r.api.always(answer)
				r.add(rcs, outbox.Normal, "a")
				r.start()
				time.Sleep(2 * time.Hour)
				waits := gaps(r.api.requests(time.Time{}))
				want := []time.Duration{640 * time.Second, 15 * time.Minute, 15 * time.Minute}
				if len(waits) < 9 || !slices.Equal(waits[6:9], want) {
					r.Errorf("tried %v apart, want 10 s doubled to 640 s, then 15 minutes", waits)
				}
				r.api.always(ok)
				r.waitAllSent(15 * time.Minute)
			})
		})
	}
}
