package queue

import (
	"context"
	"errors"
	"time"
)

const (
	// answerEvery is the pause between two questions whether an external server
	// answers, and answerWithin how long it may take: together short enough that
	// people hear of a silent network within two seconds.
	answerEvery  = 400 * time.Millisecond
	answerWithin = time.Second
)

// watchSilence keeps silent equal to whether an external server leaves weir
// without an answer, until ctx ends. It tells, and cuts nothing: a server that is
// slow for a second keeps its connection, which only pings end.
func (q *Queue) watchSilence(ctx context.Context) {
	tick := time.NewTicker(answerEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		patient, cancel := context.WithTimeout(ctx, answerWithin)
		err := q.nc.FlushWithContext(patient)
		cancel()
		q.silent.Store(errors.Is(err, context.DeadlineExceeded))
	}
}
