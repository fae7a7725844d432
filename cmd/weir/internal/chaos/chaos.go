// Package chaos proves that weir loses nothing and sends nothing twice: it runs
// the program as a child process against the simulated API, kills it with
// SIGKILL at named places and at random, lets producers go on meanwhile, and
// holds the API's own books against the database.
//
// A run consists of episodes, each with a data directory, an API and producers
// of its own: kill after kill, then peace until all has settled, then the
// audit. Scenarios are a fault each of what weir lives with: the fault, what the
// status table has to say of it, its end, the audit. Some let weir die in it.
//
// A seed decides what is handed over and who dies where and when; not which
// requests the API fails nor how the processes are scheduled, so that a failing
// run is likely to fail again and not certain to. Named places need a program
// built with the tag chaos (see package point); without it the kills are at random.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"time"

	"weir/internal/point"
)

// ErrFound is returned, wrapped, when a run found weir at fault.
var ErrFound = errors.New("chaos: weir is at fault")

// ErrMissed is returned, wrapped, when a process was to die at a place that none
// has reached: the run proves nothing about it.
var ErrMissed = errors.New("chaos: nobody got to where it was to die")

// killsPerEpisode is how often one data directory sees its processes die.
const killsPerEpisode = 12

// Config says what is run.
type Config struct {
	// Program is the weir to run, and Env what its environment needs beyond the
	// settings that chaos makes. Program is needed.
	Program string
	Env     []string
	// Kills is how many there are in all.
	Kills int
	// Seed decides what is handed over and who dies where and when.
	Seed uint64
	// FaultLasts is the least time that a fault of a scenario lasts. Zero is a
	// second and a half.
	FaultLasts time.Duration
	// Dir takes the data directories; those of episodes that ended without a
	// finding are removed. Needed.
	Dir string
	// Out is told of each episode. Needed.
	Out io.Writer
}

// Run kills and audits. Its error wraps ErrFound if there are findings, and
// ErrMissed if a place that was dealt was never reached.
func Run(ctx context.Context, cfg Config) (*Verdict, error) {
	v := newVerdict(cfg.Seed)
	start := time.Now()
	for number, plan := range plans(cfg.Seed, cfg.Kills) {
		e := &episode{plan: plan, verdict: v}
		dir := filepath.Join(cfg.Dir, fmt.Sprintf("episode-%d", number+1))
		err := e.run(ctx, cfg, dir)
		v.Elapsed = time.Since(start)
		if err != nil {
			return v, fmt.Errorf("chaos: episode %d: %w (%s)", number+1, err, dir)
		}
		if _, err := fmt.Fprintf(cfg.Out, "episode %d: %s\n", number+1, e.summary()); err != nil {
			return v, err
		}
	}
	return v, v.Err()
}

// plan is what one episode does.
type plan struct {
	seed    uint64
	strikes []strike
}

// plans deals the kills out to episodes: every place in turn, shuffled, with a
// kill at random after every few.
func plans(seed uint64, kills int) []plan {
	chance := rand.New(rand.NewPCG(seed, 0))
	var all []plan
	var deck, fresh []strike
	draw := func(from *[]strike, full []strike) strike {
		if len(*from) == 0 {
			*from = append(*from, full...)
			chance.Shuffle(len(*from), func(i, j int) { (*from)[i], (*from)[j] = (*from)[j], (*from)[i] })
		}
		next := (*from)[0]
		*from = (*from)[1:]
		return next
	}
	anywhere, onlyFresh := usable()
	for kills > 0 {
		p := plan{seed: chance.Uint64()}
		for n := range min(kills, killsPerEpisode) {
			switch {
			case n == 0 && len(onlyFresh) > 0:
				p.strikes = append(p.strikes, draw(&fresh, onlyFresh))
			case n%5 == 4:
				p.strikes = append(p.strikes, atRandom)
			default:
				p.strikes = append(p.strikes, draw(&deck, anywhere))
			}
		}
		kills -= len(p.strikes)
		all = append(all, p)
	}
	return all
}

// usable are the strikes that this build can make: on a data directory in use,
// and on one that is still empty.
func usable() (anywhere, fresh []strike) {
	for _, s := range strikes {
		switch {
		case s.at != "" && !point.Built:
		case s.fresh:
			fresh = append(fresh, s)
		default:
			anywhere = append(anywhere, s)
		}
	}
	return anywhere, fresh
}
