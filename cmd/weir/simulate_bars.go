package main

import (
	"time"

	"weir/limiter/sim"
)

// bars counts the requests of a run by short whiles.
type bars struct {
	width time.Duration // of each
	phase time.Duration // the end of the first
	all   []bar
}

type bar struct{ accepted, rival, refused int }

// newBars makes at most mostBars and a few. Windows end where bars do, so that
// none mixes the end of one with the beginning of the next.
func newBars(trace []sim.Arrival, window, span time.Duration) bars {
	b := bars{width: barWidth(window, span)}
	if len(trace) > 0 {
		b.phase = trace[0].Reset % b.width
	}
	b.all = make([]bar, int((span-b.phase)/b.width)+2)
	for _, a := range trace {
		at := &b.all[int((a.At-b.phase+b.width)/b.width)]
		switch {
		case a.Allowed && a.Rival:
			at.rival++
		case a.Allowed:
			at.accepted++
		case !a.Rival:
			at.refused++
		}
	}
	return b
}

// barWidth is a round part of the window, or some windows.
func barWidth(window, span time.Duration) time.Duration {
	if windows := float64(span) / float64(window); windows > mostBars {
		return window * time.Duration(windows/mostBars+1)
	}
	parts := time.Duration(1)
	for unit := time.Duration(1); unit*span <= mostBars*window; unit *= 10 {
		for _, times := range []time.Duration{1, 2, 5} {
			if times*unit*span <= mostBars*window {
				parts = times * unit
			}
		}
	}
	return max(window/parts, 1)
}

// highest is the most requests of one while, 1 at least.
func (b bars) highest() int {
	most := 1
	for _, one := range b.all {
		most = max(most, one.accepted+one.rival+one.refused)
	}
	return most
}
