package dispatcher

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// limitScope is what one limit of the API counts.
type limitScope string

const (
	perChannel limitScope = "channel"
	perKey     limitScope = "key"
)

const (
	// weighed is how many answers are looked at together.
	weighed = 256
	// enough is how much evidence of one kind, with none of the other between, is
	// believed. Channels that are counted apart can look woven only where others
	// leave gaps in both, and even there two see one value every few places: that
	// they do not in fifty changes from one to the other is no chance.
	enough = 50
	// enoughSteps is the same for answers that contradict each other outright.
	enoughSteps = 10
	// unlike is by how much the Resets of two windows differ at least: the servers
	// of a fleet may round apart.
	unlike = time.Second
)

// admission is what the API said of the limit as it accepted a message.
type admission struct {
	channel        int // of the account
	limit, left    int
	reset          time.Time
	sent, received time.Time
}

// scopeWatch tells from the answers whether the API counts the channels of an
// account together or each by itself, whatever the setting says.
//
// In a fixed window each request takes one value of Remaining. Channels that
// are counted together weave their values into each other, and none is seen
// twice. Channels that are counted apart see the same values, each its own
// without a gap, unless they have other Limits or Resets at all. These are
// sets: neither the order of the answers nor what is under way matters, and
// other clients only leave gaps. A limit that refills continuously proves
// neither. Only accepted messages count; what else is answered may take no value.
type scopeWatch struct {
	channels []string

	limit, most, least int       // of the window that is looked at, and Remaining in it
	reset              time.Time // its name
	heard              time.Time // when it was heard of first
	seen               [weighed]value
	n                  int // of seen

	together evidence
	apart    evidence
	recent   evidence // that they are counted apart, until the next window shows that this one was fixed
	steps    steps

	found     limitScope // empty: not known
	why       string
	concerned []bool // by channel
}

// value is a Remaining and the channel that saw it.
type value struct{ left, channel int }

// evidence is what speaks for one scope.
type evidence struct {
	points     int   // changes from one channel to another, or values seen twice
	sent, fell []int // what each channel sent and by how much its Remaining fell
	fall       int   // of Remaining as all of them saw it
}

func newEvidence(channels int) evidence {
	return evidence{sent: make([]int, channels), fell: make([]int, channels)}
}

func (e *evidence) clear() {
	e.points, e.fall = 0, 0
	clear(e.sent)
	clear(e.fell)
}

func (e *evidence) add(more *evidence) {
	e.points += more.points
	for i := range e.sent {
		e.sent[i] += more.sent[i]
		e.fell[i] += more.fell[i]
	}
}

func newScopeWatch(channels []string) *scopeWatch {
	n := len(channels)
	return &scopeWatch{
		channels: channels, concerned: make([]bool, n),
		together: newEvidence(n), apart: newEvidence(n), recent: newEvidence(n),
	}
}

// see takes an answer, in the order in which they come.
func (w *scopeWatch) see(a admission) {
	w.step(a)
	if !a.reset.Equal(w.reset) || a.limit != w.limit {
		if a.sent.Before(w.heard) {
			return // a straggler
		}
		w.weigh()
		w.begin(a)
	}
	w.most, w.least = max(w.most, a.left), min(w.least, a.left)
	w.seen[w.n] = value{a.left, a.channel}
	if w.n++; w.n == weighed {
		w.weigh()
	}
}

// begin turns to another window. If Remaining rose with it, the one before was
// fixed, else the limit refills all the time: values are seen twice then too.
func (w *scopeWatch) begin(a admission) {
	if a.limit == w.limit && a.reset.After(w.reset) {
		if a.left-w.least >= (w.most-w.least)*3/4 {
			w.apart.add(&w.recent)
		} else {
			w.apart.clear()
		}
	}
	w.recent.clear()
	w.limit, w.most, w.least, w.reset, w.heard = a.limit, a.left, a.left, a.reset, a.received
	if e := &w.apart; e.points >= enough {
		var each []string
		for i, sent := range e.sent {
			if sent > 0 {
				each = append(each, fmt.Sprintf("by %d for %s (%d sent)", e.fell[i], w.channels[i], sent))
			}
		}
		w.find(perChannel, "Remaining fell "+list(each), func(channel int) bool { return e.sent[channel] > 0 })
		e.clear()
	}
}

// weigh draws what there is from the values that have been seen. It leaves the
// outermost eighths away: others that belong there are still on their way.
func (w *scopeWatch) weigh() {
	values := w.seen[:w.n]
	w.n = 0
	slices.SortFunc(values, func(a, b value) int {
		return cmp.Or(cmp.Compare(b.left, a.left), cmp.Compare(a.channel, b.channel))
	})
	edge := len(values) / 8
	values = values[edge : len(values)-edge]
	if len(values) < 6 {
		return
	}
	changes, doubles, mixed := 0, 0, false
	for i, v := range values[1:] {
		before := values[i]
		if v.channel != before.channel {
			changes++
		}
		if v.left == before.left {
			doubles++
			mixed = mixed || v.channel == before.channel
		}
	}
	switch {
	case mixed: // no count of requests in a fixed window
		w.together.clear()
		w.apart.clear()
		w.recent.clear()
	case doubles > 0:
		w.together.clear()
		w.double(values, doubles)
	case changes > 1:
		w.weave(values, changes)
	}
}

// weave takes values that were seen once each, by several channels in turn.
func (w *scopeWatch) weave(values []value, changes int) {
	e := &w.together
	e.points += changes
	e.fall += values[0].left - values[len(values)-1].left
	total := 0
	for _, v := range values[1:] {
		e.sent[v.channel]++
	}
	for _, sent := range e.sent {
		total += sent
	}
	if e.points < enough {
		return
	}
	// Where others use most of the limit, nothing can be told.
	if 5*total >= 4*e.fall {
		var each []string
		verb := " sent"
		for i, sent := range e.sent {
			if sent > 0 {
				each = append(each, fmt.Sprintf("%s%s %d", w.channels[i], verb, sent))
				verb = ""
			}
		}
		w.find(perKey, fmt.Sprintf("Remaining fell by %d while %s", e.fall, list(each)), func(channel int) bool { return e.sent[channel] > 0 })
	}
	e.clear()
}

// double takes values of which several were seen by more than one channel. They
// count if each channel saw its own without gaps.
func (w *scopeWatch) double(values []value, doubles int) {
	e := newEvidence(len(w.channels))
	last := make([]int, len(w.channels))
	for _, v := range values {
		if e.sent[v.channel] > 0 {
			e.fell[v.channel] += last[v.channel] - v.left
		}
		e.sent[v.channel]++
		last[v.channel] = v.left
	}
	for i := range e.sent {
		if e.sent[i] > 0 {
			e.sent[i]-- // Remaining fell from the first on
		}
		if 10*e.sent[i] < 9*e.fell[i] {
			return
		}
	}
	e.points = doubles
	w.recent.add(&e)
}

// find notes a scope that has been proven, and which channels prove it.
func (w *scopeWatch) find(scope limitScope, why string, concerned func(channel int) bool) {
	if w.found == scope {
		return
	}
	var names []string
	for i, name := range w.channels {
		if w.concerned[i] = concerned(i); w.concerned[i] {
			names = append(names, name)
		}
	}
	how := "together"
	if scope == perChannel {
		how = "apart"
	}
	w.found = scope
	w.why = fmt.Sprintf("the API seems to count %s %s (%s): set limit: %s", list(names), how, why, scope)
}

// list joins words as a sentence does.
func list(words []string) string {
	if n := len(words) - 1; n > 0 {
		return strings.Join(words[:n], ", ") + " and " + words[n]
	}
	return strings.Join(words, "")
}

// steps are of an answer and one of another channel that was sent after the
// first had come. With one limit for both, Limit is the same and Reset is not
// earlier.
type steps struct {
	first admission
	jumps int // in a row, to another Limit
	backs int // to an earlier Reset, with none to the same between
}

// step compares an answer with that of another channel before.
func (w *scopeWatch) step(a admission) {
	s := &w.steps
	first := s.first
	if first.limit > 0 && (a.channel == first.channel || !a.sent.After(first.received)) {
		return
	}
	s.first = a
	if first.limit == 0 {
		return
	}
	if s.jumps++; a.limit == first.limit {
		s.jumps = 0
	}
	earlier := first.reset.Sub(a.reset)
	if earlier > unlike {
		s.backs++
	} else if earlier == 0 {
		s.backs = 0
	}
	both := func(channel int) bool { return channel == a.channel || channel == first.channel }
	switch {
	case s.jumps == enoughSteps:
		w.find(perChannel, fmt.Sprintf("Limit is %d for %s and %d for %s", first.limit, w.channels[first.channel], a.limit, w.channels[a.channel]), both)
	case s.backs == enoughSteps:
		w.find(perChannel, fmt.Sprintf("the window of %s ends %v later than that of %s", w.channels[first.channel], earlier, w.channels[a.channel]), both)
	}
}

// watchScope looks at what an answer says about the scope of its limit. It
// requires that d.mu is held.
func (d *Dispatcher) watchScope(b *bucket, a Answer, v Verdict, seen LimitSeen) {
	w := b.account.watch
	if w == nil || v != Sent || a.Replayed || seen.Limit == nil {
		return
	}
	before := w.found
	w.see(admission{
		channel: slices.Index(b.account.buckets, b), limit: *seen.Limit, left: *seen.Remaining, reset: seen.Reset,
		sent: a.StartedAt, received: a.EndedAt,
	})
	if w.found != before && w.found != b.account.limitScope() {
		d.cfg.Log.Warn("the limit counts otherwise than is set", "account", b.Account, "why", w.why)
	}
}

// misjudged says why the account's setting seems to be wrong, if the bucket is
// concerned.
func (b *bucket) misjudged() string {
	w := b.account.watch
	if w == nil || w.found == "" || w.found == b.account.limitScope() || !w.concerned[slices.Index(b.account.buckets, b)] {
		return ""
	}
	return w.why
}
