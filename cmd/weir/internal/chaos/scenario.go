package chaos

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/internal/point"
	"weir/limiter/sim"
)

const (
	// tellWithin is how soon the status has to say what is wrong, and tellSlack
	// what a busy machine may add to that.
	tellWithin = 2 * time.Second
	tellSlack  = 5 * time.Second
)

// scenario is a fault of what weir lives with: what goes wrong, what the status
// table says of it, how it ends. That all messages are sent then, each once, is
// checked after every one.
type scenario struct {
	name string
	// settings are added to those of the world.
	settings []string
	// disks are mounted before the daemon starts.
	disks []disk
	// conf changes the API.
	conf func(*sandbox.Config)
	// pointed scenarios turn the wall clock or kill at a place, which needs a build
	// with points.
	pointed bool
	// run begins with a daemon that runs and has sent a few messages. It leaves
	// one that runs, or none.
	run func(ctx context.Context, w *world) error
}

// scenarios are all faults. A new rule brings its own here.
func scenarios() []scenario {
	return slices.Concat(apiScenarios(), natsScenarios(), diskScenarios(), clockScenarios(), upkeepScenarios())
}

// Scenarios lists the names of the faults that this build can play.
func Scenarios() []string {
	var names []string
	for _, s := range scenarios() {
		if !s.pointed || point.Built {
			names = append(names, s.name)
		}
	}
	return names
}

// CheckScenario tells whether this build can play the fault.
func CheckScenario(name string) error {
	_, err := scenarioNamed(name)
	return err
}

func scenarioNamed(name string) (scenario, error) {
	all := scenarios()
	i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
	switch {
	case i < 0:
		return scenario{}, fmt.Errorf("there is no scenario %q", name)
	case all[i].pointed && !point.Built:
		return scenario{}, fmt.Errorf("scenario %q needs a build with the tag chaos", name)
	}
	return all[i], nil
}

// ErrSkipped is returned, wrapped, by RunScenario for a fault that this machine
// does not let anybody play.
var ErrSkipped = errors.New("skipped")

// RunScenario plays one fault. Its error wraps ErrFound if weir is at fault, and
// ErrSkipped if nothing was played.
func RunScenario(ctx context.Context, cfg Config, name string) (err error) {
	s, err := scenarioNamed(name)
	if err != nil {
		return err
	}
	dir := filepath.Join(cfg.Dir, strings.Map(letters, strings.ToLower(name)))
	findings, slowest, err := s.play(ctx, cfg, dir)
	if errors.Is(err, ErrSkipped) {
		return errors.Join(fmt.Errorf("%s: %w", name, err), os.RemoveAll(dir))
	}
	if err != nil {
		return fmt.Errorf("%s: %w (%s)", name, err, dir)
	}
	if len(findings) > 0 {
		return fmt.Errorf("%s: %w: %v (%s)", name, ErrFound, findings, dir)
	}
	said := ""
	if slowest > 0 {
		said = fmt.Sprintf(", the status told it after %v", slowest.Round(10*time.Millisecond))
	}
	_, err = fmt.Fprintf(cfg.Out, "%s: nothing lost, nothing twice%s\n", name, said)
	return errors.Join(err, os.RemoveAll(dir))
}

// letters makes a name fit for a directory.
func letters(r rune) rune {
	if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789", r) {
		return r
	}
	return '-'
}

// play gives what was found, and how long the status took at most to tell of the
// fault; zero if it had not to.
func (s scenario) play(ctx context.Context, cfg Config, dir string) (findings []finding, slowest time.Duration, err error) {
	conf := sandbox.Config{
		Limit: 10 * usual, Rounding: sim.Ceil, Scope: sandbox.PerChannel, Latency: 2 * time.Millisecond, Jitter: 5 * time.Millisecond,
	}
	if s.conf != nil {
		s.conf(&conf)
	}
	w, err := newWorld(ctx, cfg, dir, conf)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	w.settings = append(w.settings, s.settings...)
	for _, d := range s.disks {
		if err := w.mount(d); err != nil {
			return nil, 0, err
		}
	}
	if err := w.serve(ctx); err != nil {
		return nil, 0, err
	}
	w.makeSome()
	if err := errors.Join(w.handOver(ctx), w.awaitSettled(ctx)); err != nil {
		return nil, 0, fmt.Errorf("before the fault: %w", err)
	}
	if err := s.run(ctx, w); err != nil {
		return nil, 0, err
	}
	w.makeSome() // on every way: whatever had been struck must work again
	if err := w.peace(ctx); err != nil {
		return nil, 0, fmt.Errorf("after the fault: %w", err)
	}
	a, err := w.audit(ctx)
	if err != nil {
		return nil, 0, err
	}
	return a.findings, w.slowest, nil
}

// some is how many messages are handed over on each way at a time.
const some = 8

// makeSome makes new messages, to be handed over on every way.
func (w *world) makeSome() {
	for _, by := range ways {
		w.make(by, some)
	}
}

// feed hands over new messages by weir send, which needs neither daemon nor
// NATS, and gives their keys.
func (w *world) feed(ctx context.Context) ([]string, error) { return w.feedUntil(ctx, "") }

// feedUntil does the same with a deadline.
func (w *world) feedUntil(ctx context.Context, ttl string) ([]string, error) {
	keys := w.makeAs("", ttl, bySend, some)
	sender, count, err := w.startSend()
	if err != nil {
		return nil, err
	}
	return keys, w.finishSend(ctx, sender, count)
}

// seen is a row of the status table.
type seen struct{ state, reason string }

// is tells whether it is the state, with a reason that contains the text. No
// state but running explains itself.
func (s seen) is(state, reason string) bool {
	return s.state == state && strings.Contains(s.reason, reason) && (s.reason != "" || state == "running")
}

func (w *world) status(ctx context.Context, scope string) (s seen, err error) {
	db, err := w.database()
	if err != nil {
		return s, err
	}
	var reason sql.NullString
	err = db.QueryRowContext(ctx, `SELECT state, reason FROM status_readable WHERE scope = ?`, scope).Scan(&s.state, &reason)
	s.reason = reason.String
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return s, errors.Join(err, db.Close())
}

const rcs = "bucket:default/rcs"

// awaitStatus returns once the channel rcs is in the state, with a reason that
// contains the text, as the table has to say soon.
func (w *world) awaitStatus(ctx context.Context, state, reason string) error {
	return w.awaitTold(ctx, rcs, state, reason, func() (seen, error) { return w.status(ctx, rcs) })
}

// awaitCommand does the same for the daemon, by weir status, which knows also
// what a database that cannot be written does not.
func (w *world) awaitCommand(ctx context.Context, state, reason string) error {
	return w.awaitTold(ctx, "the daemon", state, reason, func() (seen, error) { return w.statusCommand(ctx) })
}

func (w *world) awaitTold(ctx context.Context, what, state, reason string, look func() (seen, error)) error {
	var last seen
	begun := time.Now()
	err := until(ctx, tellWithin+tellSlack, fmt.Sprintf("%s is %s: %s", what, state, reason), func() (bool, error) {
		s, err := look()
		last = s
		return s.is(state, reason), err
	})
	if err != nil {
		return fmt.Errorf("%w; it is %s: %s", err, last.state, last.reason)
	}
	w.slowest = max(w.slowest, time.Since(begun))
	return nil
}

// statusCommand asks weir status of the daemon.
func (w *world) statusCommand(ctx context.Context) (seen, error) {
	command := exec.CommandContext(ctx, w.cfg.Program, "status", "--json")
	command.Dir, command.Env = w.dir, slices.Concat(w.cfg.Env, w.settings)
	out, err := command.Output()
	if err != nil {
		return seen{}, fmt.Errorf("%w: weir status: %w", ErrFound, err)
	}
	var said struct {
		Daemon struct{ State, Reason string }
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return seen{}, fmt.Errorf("%w: weir status --json says %s", ErrFound, out)
	}
	return seen{said.Daemon.State, said.Daemon.Reason}, nil
}

// why tells why a scope is as it is, and since when.
type why struct {
	seen
	since int64
}

// says tells whether it is a reason to wait that was not there before.
func (now why) says(before why) bool {
	return now.state != "running" && now.state != "stopped" && now.reason != "" && now != before
}

// reasons are those of the scopes that can keep a message of the channel rcs. The
// view would judge the heartbeat of a daemon whose clock is turned by the real one.
func (w *world) reasons(ctx context.Context) (map[string]why, error) {
	db, err := w.database()
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }() // it only reads
	reasons := map[string]why{}
	for _, scope := range []string{rcs, "daemon:weir"} {
		var reason sql.NullString
		var since sql.NullInt64
		var now why
		err := db.QueryRowContext(ctx, `SELECT state, reason, since_at FROM status WHERE scope = ?`, scope).
			Scan(&now.state, &reason, &since)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		now.reason, now.since = reason.String, since.Int64
		reasons[scope] = now
	}
	return reasons, nil
}

// goesOnOrSays does something, hands over new messages and checks that they go
// out, or that the status table soon gives a reason why they do not which it did
// not give before.
func (w *world) goesOnOrSays(ctx context.Context, do func() error) error {
	before, err := w.reasons(ctx)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	keys, err := w.feed(ctx)
	if err != nil {
		return err
	}
	var after map[string]why
	err = until(ctx, tellWithin+tellSlack, "messages go out or the status says why not", func() (bool, error) {
		known := w.api.Keys("")
		if slices.ContainsFunc(keys, func(key string) bool { return known[key].Effects > 0 }) {
			return true, nil
		}
		after, err = w.reasons(ctx)
		for scope, now := range after {
			if now.says(before[scope]) {
				return true, nil
			}
		}
		return false, err
	})
	if err != nil {
		return fmt.Errorf("%w; it was %v, and is %v", err, before, after)
	}
	return nil
}

// faultLasts is how long a fault lasts unless Config says more: long enough for
// gates, probes and retries.
const faultLasts = 1500 * time.Millisecond

// lasts lets a fault last.
func (w *world) lasts(ctx context.Context) error {
	return pause(ctx, max(faultLasts, w.cfg.FaultLasts))
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
