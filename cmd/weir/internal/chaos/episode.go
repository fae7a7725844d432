package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/internal/point"
	"weir/limiter/sim"
)

const (
	// strikePatience is how long a process may take to reach its place; then it
	// is killed where it stands.
	strikePatience = 10 * time.Second
	// drainSpan is within how many milliseconds a daemon is killed after it was
	// asked to stop.
	drainSpan = 60
	// usual is the limit of each channel per second.
	usual = 200
)

// weather is what goes wrong at the API all the time, so that messages are in
// every state when their daemon dies.
var weather = []sandbox.Fault{
	{Kind: sandbox.CutBefore, Chance: 0.02}, {Kind: sandbox.CutAfter, Chance: 0.03}, {Kind: sandbox.Kind500After, Chance: 0.03},
	{Kind: sandbox.Kind503, Chance: 0.03}, {Kind: sandbox.Kind402, Chance: 0.01}, {Kind: sandbox.Garbage200, Chance: 0.01},
	{Kind: sandbox.Kind429, Chance: 0.02}, {Kind: sandbox.Kind409InWork, Chance: 0.01},
}

// episode is one data directory and what it lives through.
type episode struct {
	plan
	verdict *Verdict
	*world
	chance   *rand.Rand
	findings int
}

func (e *episode) run(ctx context.Context, cfg Config, dir string) (err error) {
	e.world, err = newWorld(ctx, cfg, dir, sandbox.Config{
		Limit: usual, Rounding: sim.Ceil, Scope: sandbox.PerChannel, Latency: 5 * time.Millisecond, Jitter: 10 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, e.close()); err == nil && e.findings == 0 {
			err = os.RemoveAll(dir)
		}
	}()
	for i, s := range e.strikes {
		// Each its own, however much the one before has drawn.
		e.chance = rand.New(rand.NewPCG(e.seed, uint64(i)))
		before := e.verdict.Kills[s.name]
		if err = e.round(ctx, s); err == nil && e.verdict.Kills[s.name] == before {
			s.most = min(s.most, 1) // it did not get there so often; once it will
			err = e.round(ctx, s)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	unsettled := e.peace(ctx)
	if unsettled != nil && !errors.Is(unsettled, ErrFound) {
		return unsettled
	}
	if e.daemonAlive() { // what is audited would change meanwhile
		unsettled = errors.Join(unsettled, e.daemon.stop(ctx))
		e.daemon.kill()
	}
	a, err := e.audit(ctx) // also of what has not settled: it says what is missing
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		a = &audit{findings: []finding{{isDamaged, fmt.Sprintf("the audit cannot read it: %v", err)}}}
	}
	a.check(unsettled == nil, isStuck, "%v", unsettled)
	e.findings = len(a.findings)
	e.verdict.add(e.world, a)
	return nil
}

func (e *episode) summary() string {
	return fmt.Sprintf("%d kills, %d messages, %d findings", len(e.strikes), e.made, e.findings)
}

// round hands over new messages, lets a process die, and waits for its end.
func (e *episode) round(ctx context.Context, s strike) error {
	for _, w := range ways {
		e.make(w, 5+e.chance.IntN(6))
		e.makeOthers(w)
	}
	if s.role == relay && e.relay != nil {
		e.relay.kill() // it would carry at once what the next one is to die over
	}
	if err := e.trade(ctx); err != nil {
		return err
	}
	e.api.SetLimit(cmp.Or(s.limit, usual))
	e.api.SetFaults(weather...)
	if s.faults != nil {
		e.api.SetFaults(s.faults...)
	}
	victims, err := e.cast(ctx, s)
	if err != nil {
		return err
	}
	handing, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { e.publish(handing) })
	err = e.strike(ctx, s, victims)
	stop()
	group.Wait()
	if victims.sender != nil {
		err = errors.Join(err, e.finishSend(ctx, victims.sender, victims.count))
	}
	if err == nil && !e.daemonAlive() && e.chance.IntN(2) == 0 {
		// Not every time: whoever closes the database last tidies it, and
		// a daemon must also start on what a dead one left.
		err = e.inspect(ctx)
	}
	return err
}

// cast are the processes of a round.
type cast struct {
	victim *child
	sender *child
	count  int // of the messages that the sender hands over
}

// cast starts the processes, the one that is to die with the place to die at.
func (e *episode) cast(ctx context.Context, s strike) (c cast, err error) {
	env := map[role][]string{}
	if s.at != "" {
		env[s.role] = point.Arm(s.at, 1+e.chance.IntN(s.most))
	}
	if s.claims {
		if err := e.leaveClaims(ctx); err != nil {
			return c, err
		}
	}
	if e.daemonAlive() && s.role == daemon {
		if err := e.daemon.stop(ctx); err != nil {
			return c, err
		}
	}
	if alone := s.fresh && s.role == sender; !alone && !e.daemonAlive() {
		if err := e.startDaemon(env[daemon]...); err != nil {
			return c, err
		}
	}
	if s.stage != nowhere {
		e.api.set(&trap{stage: s.stage, left: 1 + e.chance.IntN(s.most), spring: e.daemon.kill})
	}
	if err := e.keepRelay(env[relay]...); err != nil {
		return c, err
	}
	if first := s.fresh && s.role == daemon; !first { // else weir send may migrate in its place
		if c.sender, c.count, err = e.startSend(env[sender]...); err != nil {
			return c, err
		}
	}
	c.victim = map[role]*child{daemon: e.daemon, sender: c.sender, relay: e.relay}[s.role]
	return c, nil
}

// leaveClaims kills the daemon while the API has a request of it.
func (e *episode) leaveClaims(ctx context.Context) error {
	if !e.daemonAlive() {
		if err := e.startDaemon(); err != nil {
			return err
		}
	}
	e.api.set(&trap{stage: lost, left: 1, spring: e.daemon.kill})
	defer e.api.set(nil)
	if _, err := e.feed(ctx); err != nil {
		return err
	}
	if err := e.daemon.awaitEnd(ctx, strikePatience); err != nil {
		return fmt.Errorf("nothing is sent: %w", err)
	}
	e.make(bySend, some) // for the one that is to die
	return e.daemon.blame()
}

// strike waits for the victim's death, or brings it.
func (e *episode) strike(ctx context.Context, s strike, c cast) error {
	defer e.api.set(nil)
	wait := strikePatience
	if s.byHand() {
		wait = time.Duration(e.chance.IntN(1000)) * time.Millisecond
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.victim.ended:
	case <-time.After(wait):
	}
	if err := e.fell(ctx, s, c.victim, time.Duration(e.chance.IntN(drainSpan))*time.Millisecond); err != nil {
		return err
	}
	if s.byHand() && e.chance.IntN(4) == 0 { // as when the machine dies
		if c.sender != nil {
			c.sender.kill()
		}
		e.relay.kill()
	}
	return nil
}

// fell kills the victim unless its place has done so, and one that is to die
// while it stops so long after it was asked to. How it ended is judged.
func (e *episode) fell(ctx context.Context, s strike, victim *child, drain time.Duration) error {
	ended := !victim.alive()
	if s.draining {
		if err := victim.ask(); err != nil {
			return err
		}
		_ = victim.awaitEnd(ctx, drain) // it need not end
	}
	victim.kill()
	if err := victim.blame(); err != nil {
		return err
	}
	if s.byHand() && victim.killed() || !s.byHand() && ended {
		e.verdict.killed(s)
	} else {
		e.verdict.missed(s) // killed elsewhere, or it had stopped before
	}
	return nil
}
