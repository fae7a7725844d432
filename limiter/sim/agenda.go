package sim

import (
	"container/heap"
	"time"
)

// event is something that happens at a time.
type event struct {
	at  time.Duration
	seq int // keeps events of one time in the order in which they were planned
	do  func()
}

// agenda is what is still to happen, the next of it first.
type agenda struct {
	events events
	seq    int
}

func (a *agenda) plan(at time.Duration, do func()) {
	a.seq++
	heap.Push(&a.events, event{at, a.seq, do})
}

// next takes the next event. There must be one.
func (a *agenda) next() event { return heap.Pop(&a.events).(event) }

// soonest is when the next event happens. There must be one.
func (a *agenda) soonest() time.Duration { return a.events[0].at }

func (a *agenda) empty() bool { return len(a.events) == 0 }

// events is a heap.
type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{} // lets go of what it refers to
	*e = (*e)[:last]
	return x
}
