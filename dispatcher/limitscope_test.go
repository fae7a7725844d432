package dispatcher

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/limiter/sim"
	"weir/outbox"
)

// traffic is what goes to an API whose limit counts two channels in one way or
// the other.
type traffic struct {
	truth  limitScope
	model  func(limit int) sim.Limit
	limits [2]int             // of the channels; with perKey the first counts
	every  [2]time.Duration   // between two messages of a channel
	even   bool               // they go like clockwork, else by chance
	others [2][]time.Duration // between two requests of other clients, by channel
	rtt    time.Duration      // with a tail of seconds, unless they go like clockwork
	tiers  map[time.Duration]int
	bursts time.Duration // of as long, and three times as long nothing
	lasts  time.Duration
}

// shot is one request.
type shot struct {
	admission
	arrives time.Time
	foreign bool
}

// run gives what a watch has found in the end.
func (tr traffic) run(seed uint64) *scopeWatch {
	chance := rand.New(rand.NewPCG(seed, 1))
	began := time.Unix(1_700_000_000, chance.Int64N(1e9))
	var shots []shot
	add := func(channel int, every time.Duration, foreign bool) {
		at := began.Add(time.Duration(channel) * every / 2)
		for at.Before(began.Add(tr.lasts)) {
			out, home := tr.rtt/2, tr.rtt/2
			if !tr.even {
				out, home = leg(chance, out), leg(chance, home)
			}
			if tr.bursts == 0 || at.Sub(began)/tr.bursts%4 == 0 {
				shots = append(shots, shot{
					admission: admission{channel: channel, sent: at, received: at.Add(out + home)}, arrives: at.Add(out), foreign: foreign,
				})
			}
			gap := every
			if !tr.even {
				gap = time.Duration(chance.ExpFloat64() * float64(every))
			}
			at = at.Add(gap)
		}
	}
	for channel, every := range tr.every {
		add(channel, every, false)
		for _, other := range tr.others[channel] {
			add(channel, other, true)
		}
	}
	slices.SortStableFunc(shots, func(a, b shot) int { return a.arrives.Compare(b.arrives) })
	answered := tr.serve(shots, began)
	slices.SortStableFunc(answered, func(a, b admission) int { return a.received.Compare(b.received) })
	w := newScopeWatch([]string{"rcs", "email", "default"})
	for _, a := range answered {
		w.see(a)
	}
	return w
}

// serve decides on the requests and gives those of ours that were admitted.
func (tr traffic) serve(shots []shot, began time.Time) (answered []admission) {
	limits := [2]sim.Limit{tr.model(tr.limits[0])}
	limits[1] = limits[0]
	if tr.truth == perChannel {
		limits[1] = tr.model(tr.limits[1])
	}
	done := make(map[time.Duration]bool)
	for _, s := range shots {
		for after, limit := range tr.tiers {
			if !done[after] && s.arrives.Sub(began) > after {
				done[after] = true
				limits[0].SetLimit(limit)
				limits[1].SetLimit(limit)
			}
		}
		d := limits[s.channel].Take(s.arrives)
		if d.Allowed && !s.foreign {
			s.limit, s.left, s.reset = d.Limit, d.Remaining, d.Reset.Truncate(time.Second)
			answered = append(answered, s.admission)
		}
	}
	return answered
}

// leg is the way of a packet: about so long, and now and then a second longer.
func leg(chance *rand.Rand, usual time.Duration) time.Duration {
	d := time.Duration((0.5 + chance.ExpFloat64()) * float64(usual))
	if chance.IntN(200) == 0 {
		d += time.Second
	}
	return d
}

func clock(length time.Duration) func(int) sim.Limit {
	return func(n int) sim.Limit { return sim.NewWindow(n, length, true) }
}

func anchored(length time.Duration) func(int) sim.Limit {
	return func(n int) sim.Limit { return sim.NewWindow(n, length, false) }
}

func slidingLog(length time.Duration) func(int) sim.Limit {
	return func(n int) sim.Limit { return sim.NewLog(n, length) }
}

func refilling(length time.Duration) func(int) sim.Limit {
	return func(n int) sim.Limit { return sim.NewBucket(n, length) }
}

const (
	ms = time.Millisecond
)

func TestTheScopeOfALimitIsFound(t *testing.T) {
	for _, c := range []struct {
		name string
		traffic
		want string // in what is said
	}{
		{"together in clock windows", traffic{truth: perKey, model: clock(time.Minute), limits: [2]int{1000}, every: [2]time.Duration{100 * ms, 150 * ms}, rtt: 50 * ms}, "Remaining fell by"},
		{"together in short windows", traffic{truth: perKey, model: clock(time.Second), limits: [2]int{100}, every: [2]time.Duration{25 * ms, 25 * ms}, rtt: 50 * ms}, "Remaining fell by"},
		{"together though much is under way", traffic{truth: perKey, model: clock(time.Minute), limits: [2]int{60_000}, every: [2]time.Duration{2 * ms, 4 * ms}, rtt: 80 * ms, lasts: 20 * time.Second}, "Remaining fell by"},
		{"together though one channel sends little", traffic{truth: perKey, model: clock(time.Minute), limits: [2]int{1000}, every: [2]time.Duration{70 * ms, 2 * time.Second}, rtt: 50 * ms}, "Remaining fell by"},
		{"together in windows that a request opens", traffic{truth: perKey, model: anchored(10 * time.Second), limits: [2]int{200}, every: [2]time.Duration{100 * ms, 150 * ms}, rtt: 50 * ms}, "Remaining fell by"},
		{"together in an hour", traffic{truth: perKey, model: clock(time.Hour), limits: [2]int{100_000}, every: [2]time.Duration{200 * ms, 250 * ms}, rtt: 50 * ms}, "Remaining fell by"},
		{"together beside another client", traffic{truth: perKey, model: clock(time.Minute), limits: [2]int{1000}, every: [2]time.Duration{100 * ms, 150 * ms}, others: [2][]time.Duration{{time.Second}}, rtt: 50 * ms}, "Remaining fell by"},
		{"together before and after a change of tier", traffic{truth: perKey, model: clock(time.Minute), limits: [2]int{1000}, every: [2]time.Duration{100 * ms, 150 * ms}, tiers: map[time.Duration]int{5 * time.Second: 4000}, rtt: 50 * ms}, "Remaining fell by"},
		{"apart in clock windows", traffic{truth: perChannel, model: clock(time.Minute), limits: [2]int{1000, 1000}, every: [2]time.Duration{100 * ms, 150 * ms}, rtt: 50 * ms}, "for rcs ("},
		{"apart in short windows", traffic{truth: perChannel, model: clock(time.Second), limits: [2]int{100, 100}, every: [2]time.Duration{12 * ms, 12 * ms}, rtt: 50 * ms}, "for rcs ("},
		{"apart with limits of their own", traffic{truth: perChannel, model: clock(time.Minute), limits: [2]int{1000, 500}, every: [2]time.Duration{100 * ms, 150 * ms}, rtt: 50 * ms}, "Limit is "},
		{"apart in windows that a request opens", traffic{truth: perChannel, model: anchored(time.Minute), limits: [2]int{1000, 1000}, every: [2]time.Duration{100 * ms, 47 * time.Second}, rtt: 50 * ms, lasts: 30 * time.Minute}, "ends"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.lasts = cmp.Or(c.lasts, 3*time.Minute)
			for seed := range uint64(3) {
				w := c.run(seed)
				if w.found != c.truth || !strings.Contains(w.why, c.want) {
					t.Fatalf("with the seed %d: %q, %s; together %d, apart %d, steps %+v", seed, w.found, w.why, w.together.points, w.apart.points, w.steps)
				}
				if seed == 0 {
					t.Log(w.why)
				}
			}
		})
	}
}

func TestNoScopeIsFoundWhereItIsNot(t *testing.T) {
	minute, fast := clock(time.Minute), [2]time.Duration{60 * ms, 90 * ms}
	for _, c := range []struct {
		name string
		traffic
	}{
		{"others take as much of both channels", traffic{truth: perChannel, model: minute, limits: [2]int{2000, 2000}, every: fast, others: [2][]time.Duration{{60 * ms}, {90 * ms}}}},
		{"others take a third of both channels", traffic{truth: perChannel, model: minute, limits: [2]int{2000, 2000}, every: fast, others: [2][]time.Duration{{120 * ms}, {180 * ms}}}},
		{"others take most of both channels", traffic{truth: perChannel, model: minute, limits: [2]int{9000, 9000}, every: fast, others: [2][]time.Duration{{15 * ms}, {15 * ms}}}},
		{"others take half of one channel", traffic{truth: perChannel, model: minute, limits: [2]int{2000, 2000}, every: fast, others: [2][]time.Duration{{60 * ms}, nil}}},
		{"others take from channels with limits of their own", traffic{truth: perChannel, model: minute, limits: [2]int{2000, 1500}, every: fast, others: [2][]time.Duration{{60 * ms}, {60 * ms}}}},
		{"others take nearly all of both channels", traffic{truth: perChannel, model: minute, limits: [2]int{30_000, 30_000}, every: fast, others: [2][]time.Duration{{5 * ms}, {5 * ms}}, lasts: time.Minute}},
		{"others take half of both channels in short windows", traffic{truth: perChannel, model: clock(time.Second), limits: [2]int{20, 20}, every: [2]time.Duration{110 * ms, 110 * ms}, others: [2][]time.Duration{{110 * ms}, {110 * ms}}}},
		{"others take most of the limit of both", traffic{truth: perKey, model: minute, limits: [2]int{4000}, every: fast, others: [2][]time.Duration{{20 * ms}, {20 * ms}}}},
		{"much is under way", traffic{truth: perChannel, model: minute, limits: [2]int{60_000, 60_000}, every: [2]time.Duration{3 * ms, 3 * ms}, rtt: 500 * ms, lasts: 70 * time.Second}},
		{"much is under way, counted together", traffic{truth: perKey, model: minute, limits: [2]int{60_000}, every: [2]time.Duration{3 * ms, 3 * ms}, rtt: 500 * ms, lasts: 70 * time.Second}},
		{"both send in step", traffic{truth: perChannel, model: minute, limits: [2]int{2000, 2000}, every: [2]time.Duration{60 * ms, 60 * ms}, even: true}},
		{"the tier changes all the time", traffic{truth: perKey, model: minute, limits: [2]int{1000}, every: fast, tiers: rising(40), others: [2][]time.Duration{{time.Second}}}},
		{"the tiers of both change all the time", traffic{truth: perChannel, model: minute, limits: [2]int{1000, 1000}, every: fast, tiers: rising(40), others: [2][]time.Duration{{time.Second}}}},
		{"a sliding log", traffic{truth: perKey, model: slidingLog(10 * time.Second), limits: [2]int{250}, every: fast}},
		{"a sliding log by channel", traffic{truth: perChannel, model: slidingLog(10 * time.Second), limits: [2]int{150, 150}, every: fast}},
		{"a limit that refills", traffic{truth: perKey, model: refilling(time.Minute), limits: [2]int{1000}, every: fast}},
		{"a limit that refills, by channel", traffic{truth: perChannel, model: refilling(time.Minute), limits: [2]int{800, 800}, every: fast}},
		{"a limit that refills half as fast, like clockwork", traffic{truth: perKey, model: refilling(time.Minute), limits: [2]int{1000}, every: [2]time.Duration{60 * ms, 60 * ms}, even: true}},
		{"a limit that refills a third as fast, like clockwork", traffic{truth: perKey, model: refilling(time.Minute), limits: [2]int{1000}, every: [2]time.Duration{40 * ms, 40 * ms}, even: true}},
		{"a limit that refills half as fast, in bursts", traffic{truth: perKey, model: refilling(time.Minute), limits: [2]int{1000}, every: [2]time.Duration{60 * ms, 60 * ms}, even: true, bursts: 3 * time.Second}},
		{"a limit that refills a third as fast, in bursts", traffic{truth: perKey, model: refilling(time.Minute), limits: [2]int{1000}, every: [2]time.Duration{40 * ms, 40 * ms}, even: true, bursts: time.Second}},
		{"a limit that refills a third as fast, in short bursts", traffic{truth: perKey, model: refilling(time.Minute), limits: [2]int{1000}, every: [2]time.Duration{40 * ms, 40 * ms}, even: true, bursts: 300 * ms}},
		{"few in each window", traffic{truth: perChannel, model: clock(time.Second), limits: [2]int{10, 10}, every: [2]time.Duration{110 * ms, 120 * ms}, others: [2][]time.Duration{{300 * ms}, {300 * ms}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.lasts, c.rtt = cmp.Or(c.lasts, 5*time.Minute), cmp.Or(c.rtt, 50*ms)
			for seed := range uint64(3) {
				if w := c.run(seed); w.found != "" && w.found != c.truth {
					t.Fatalf("with the seed %d: %s", seed, w.why)
				}
			}
		})
	}
}

// rising gives a new tier every half minute.
func rising(n int) map[time.Duration]int {
	tiers := make(map[time.Duration]int)
	for i := range n {
		tiers[time.Duration(i)*30*time.Second+7*time.Second] = 1000 + 500*(i%3)
	}
	return tiers
}

func TestAScopeThatChangesIsFoundAnew(t *testing.T) {
	w := newScopeWatch([]string{"rcs", "email"})
	at := time.Unix(1_700_000_000, 0)
	left := [2]int{1000, 1000}
	tell := func(n int, scope limitScope) {
		for i := range n {
			channel := i % 2
			if left[channel]--; scope == perKey {
				left[1-channel] = left[channel]
			}
			at = at.Add(10 * ms)
			w.see(admission{channel: channel, limit: 1000, left: left[channel], reset: at.Truncate(time.Minute).Add(time.Minute), sent: at.Add(-5 * ms), received: at})
			if at.Add(10*ms).Truncate(time.Minute) != at.Truncate(time.Minute) {
				left = [2]int{1000, 1000}
			}
		}
	}
	tell(300, perKey)
	if want := "the API seems to count rcs and email together (Remaining fell by 191 while rcs sent 95 and email 96): set limit: key"; w.why != want {
		t.Errorf("it says %q, want %q", w.why, want)
	}
	at, left = at.Truncate(time.Minute).Add(time.Minute), [2]int{1000, 1000}
	tell(300, perChannel)
	at, left = at.Truncate(time.Minute).Add(time.Minute), [2]int{1000, 1000}
	tell(1, perChannel)
	if w.found != perChannel || !w.concerned[0] || !w.concerned[1] {
		t.Errorf("after a change it says %q", w.why)
	}
}

// told feeds a watch with answers, mostly of the two channels in turn, each sent
// once the one before had come.
func told(n int, tell func(i int) admission) *scopeWatch {
	w := newScopeWatch([]string{"rcs", "email"})
	for i := range n {
		a := tell(i)
		a.received = hour.Add(time.Duration(i) * time.Second)
		if a.sent.IsZero() {
			a.sent = a.received.Add(-ms)
		}
		w.see(a)
	}
	return w
}

var hour = time.Unix(1_700_000_000, 0)

// inWindow is an answer of the channels in turn, in the nth window.
func inWindow(n, i, left int) admission {
	return admission{channel: i % 2, limit: 1000, left: left, reset: hour.Add(time.Duration(n) * time.Minute)}
}

func TestAnswersProveNothingWhere(t *testing.T) {
	for _, c := range []struct {
		name string
		tell func(i int) admission
	}{
		{"two windows were under way together", func(i int) admission {
			a := inWindow(i%2, i, 900-i)
			a.limit, a.sent = 1000+1000*(i%2), hour.Add(-time.Hour)
			return a
		}},
		{"the servers of a fleet round apart", func(i int) admission {
			a := inWindow(0, i, 900-i)
			a.reset = a.reset.Add(time.Duration(i%2) * time.Second)
			return a
		}},
		{"the server's clock is set back now and then", func(i int) admission { return inWindow(-i/4, i, 900-i) }},
		{"the tier changes now and then", func(i int) admission {
			a := inWindow(0, i, 900-i)
			a.limit += i / 3
			return a
		}},
		{"others take nine of ten", func(i int) admission { return inWindow(0, i, 100_000-10*i) }},
		{"others take nine of ten, while a channel that was alone saw none of them", func(i int) admission {
			if i/20%60 == 0 {
				return inWindow(i/20, i, 1000-10*(i%20))
			}
			return inWindow(i/20, 0, 1000-i%20)
		}},
		{"no value is seen twice, but in every other window", func(i int) admission {
			left := 1000 - i%20
			if i%40 >= 10 && i%40 < 20 {
				left++
			}
			return inWindow(i/20, i, left)
		}},
		{"values are seen twice, and others not at all", func(i int) admission { return inWindow(i/20, i, 1000-i%20*2/3) }},
		{"values are seen twice, but Remaining does not always rise with Reset", func(i int) admission { return inWindow(i/20, i, 1000-i%40/2) }},
		{"two messages a window see the same value", func(i int) admission { return inWindow(i/2, i, 999) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if w := told(6000, c.tell); w.found != "" {
				t.Error(w.why)
			}
		})
	}
}

func TestStragglersOfTheWindowBeforeTakeNoEvidenceAway(t *testing.T) {
	w := told(400, func(i int) admission {
		if i%20 == 1 {
			a := inWindow(i/20-1, i, 1000)
			a.sent = hour.Add(time.Duration(i-10) * time.Second)
			return a
		}
		return inWindow(i/20, i, 1000-i%20/2)
	})
	if w.found != perChannel {
		t.Errorf("found %q", w.found)
	}
}

func TestAWrongScopeIsSaidOfTheBucketsConcerned(t *testing.T) {
	inBubble(t, 4, func(r *rig) {
		limit := sim.NewWindow(1000, time.Hour, true)
		r.api.play(func(q request) reply {
			replayed := q.nth%10 == 0 // it takes no value
			d := limit.Peek(time.Now())
			if !replayed {
				d = limit.Take(time.Now())
			}
			answer := tell(d)
			if replayed {
				answer.header["Idempotent-Replayed"] = "true"
			}
			return answer
		})
		r.add(rcs, outbox.Normal, keys("r", 250)...)
		r.add(email, outbox.Normal, keys("e", 250)...)
		r.start()
		r.waitAllSent(time.Minute)
		for _, b := range []outbox.Bucket{rcs, email} {
			r.waitShown(b, Running, "the API seems to count rcs and email together (Remaining fell by ")
		}
		if g := r.gauges(outbox.Bucket{Account: "default", Channel: "default"}); g.Reason != "" {
			r.Errorf("a channel that sent nothing says %q", g.Reason)
		}
	}, func(c *Config) { c.Accounts[0].Channels = append(c.Accounts[0].Channels, "default") })
}
