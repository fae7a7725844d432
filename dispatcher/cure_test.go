package dispatcher

import (
	"slices"
	"testing"
	"time"

	"weir/outbox"
)

func TestAnAnswerTakesDownOnlyTheGatesThatItDisproves(t *testing.T) {
	rose := time.Now()
	before, after := rose.Add(-time.Second), rose.Add(time.Second)
	all := []string{ByOperator, ByDisk, ByUnauthorized, ByUnpaid, ByNotAPI, ByFailures}
	accepted := func(d *Dispatcher, x *delivery, a Answer) { d.accepted(x, x.b.account.key, a) }
	answered := func(d *Dispatcher, x *delivery, a Answer) { d.answered(x.b, a) }
	for name, c := range map[string]struct {
		learn  func(*Dispatcher, *delivery, Answer)
		answer Answer
		stay   []string
	}{
		"a message accepted":                        {accepted, Answer{StartedAt: after}, []string{ByOperator, ByDisk}},
		"a message accepted that left before":       {accepted, Answer{StartedAt: before}, all},
		"a replay":                                  {accepted, Answer{StartedAt: after, Replayed: true}, []string{ByOperator, ByDisk, ByUnauthorized, ByUnpaid}},
		"a message accepted under yesterday's key":  {func(d *Dispatcher, x *delivery, a Answer) { d.accepted(x, "yesterday's", a) }, Answer{StartedAt: after}, []string{ByOperator, ByDisk, ByUnauthorized, ByUnpaid}},
		"a refusal":                                 {answered, Answer{StartedAt: after}, []string{ByOperator, ByDisk, ByUnauthorized, ByUnpaid}},
		"a refusal of a message that left before":   {answered, Answer{StartedAt: before}, all},
		"a message accepted in the very moment":     {accepted, Answer{StartedAt: rose}, all},
		"a refusal of one that left in that moment": {answered, Answer{StartedAt: rose}, all},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(r *rig) {
				x := &delivery{b: r.d.buckets[0]}
				r.d.mu.Lock()
				defer r.d.mu.Unlock()
				for _, by := range all {
					kind := Held
					switch by {
					case ByOperator:
						kind = Paused
					case ByFailures:
						kind = Degraded
					}
					r.d.gates.add(Gate{Scope: outbox.DaemonScope("weir"), Kind: kind, SetBy: by, Since: rose}, 0)
				}
				c.learn(r.d, x, c.answer)
				var stay []string
				for _, by := range all {
					if slices.ContainsFunc(r.d.gates.all(), func(g *gate) bool { return g.SetBy == by }) {
						stay = append(stay, by)
					}
				}
				if !slices.Equal(stay, c.stay) {
					t.Errorf("what stands is set by %v, want %v", stay, c.stay)
				}
			})
		})
	}
}
