package soak

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"weir/cmd/weir/internal/sandbox"
)

// storms are what the API does at a time. None of them refuses a message, so
// that in the end every one must be sent.
var storms = []string{
	"", "", "",
	"500:0.2 503:0.1", "cut-after:0.05 cut-before:0.05", "500-after:0.1 garbage200:0.02 empty200:0.02",
	"402@0s..4s", "401@0s..3s", "html200:0.5", "302:0.3 html404:0.3", "hang-after:first=5 hang-before:first=5",
	"429:0.3", "slow-body:0.1 no-message-id:0.02", "409-in-progress:0.2 425:0.1 408:0.1", "drop-keepalive:after=3", "504:1",
}

const (
	shortestStorm = 5 * time.Second
	longestStorm  = 20 * time.Second
)

// weather changes what the API does, until ctx ends.
func (s *soak) weather(ctx context.Context, r *rand.Rand) error {
	for {
		storm := storms[r.IntN(len(storms))]
		faults := make([]sandbox.Fault, 0, 3)
		for text := range strings.FieldsSeq(storm) {
			f, err := sandbox.ParseFault(text)
			if err != nil {
				return err
			}
			faults = append(faults, f)
		}
		s.api.SetFaults(faults...)
		if !pause(ctx, shortestStorm+time.Duration(r.Int64N(int64(longestStorm-shortestStorm)))) {
			return nil
		}
	}
}

// restart ends the daemon now and then, every other time by kill -9, and starts
// the next one, until half of the time is over. One that ends by itself ends the soak.
func (s *soak) restart(ctx context.Context, r *rand.Rand) error {
	for half := s.start.Add(s.For / 2); ; {
		wait := s.Restarts/2 + time.Duration(r.Int64N(int64(s.Restarts)))
		if time.Now().Add(wait).After(half) || !pause(ctx, wait) {
			return nil
		}
		if _, _, err := s.daemon.alive(); err != nil {
			return err
		}
		how := "killed"
		if r.IntN(2) == 0 {
			s.daemon.kill()
		} else {
			how = "stopped"
			if err := s.daemon.stop(stopWithin); err != nil {
				return err
			}
		}
		begin := time.Now()
		if err := s.daemon.run(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		s.samples.restarted()
		s.say("%s; the next one runs after %v; %d messages have taken effect", how, time.Since(begin).Round(time.Millisecond), s.api.Stats().Executed)
	}
}
