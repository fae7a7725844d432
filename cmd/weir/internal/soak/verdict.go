package soak

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	_ "github.com/mattn/go-sqlite3" // attempts are counted in weir.db itself

	"weir/outbox"
	"weir/store"
)

// Verdict is what a soak came to: findings, each with what was found.
type Verdict struct {
	findings []finding
}

// leastSamples is how many looks at one daemon it takes to tell growth from a
// storm. A soak whose last daemon had time for twice as many is not too short.
const leastSamples = 240

// finding is one line of it.
type finding struct {
	good       bool
	open       bool // there was too little to tell
	name, text string
}

// Good reports whether nothing was wrong.
func (v *Verdict) Good() bool {
	return !slices.ContainsFunc(v.findings, func(f finding) bool { return !f.good })
}

// Print writes the verdict for people.
func (v *Verdict) Print(w io.Writer) error {
	for _, f := range v.findings {
		mark := "ok "
		switch {
		case !f.good:
			mark = "BAD"
		case f.open:
			mark = "?  "
		}
		if _, err := fmt.Fprintf(w, "%s  %-12s %s\n", mark, f.name, f.text); err != nil {
			return err
		}
	}
	return nil
}

func (v *Verdict) find(good bool, name, format string, args ...any) {
	v.findings = append(v.findings, finding{good: good, name: name, text: fmt.Sprintf(format, args...)})
}

// drain waits until nothing waits any more.
func (s *soak) drain(ctx context.Context) error {
	for end := time.Now().Add(drainWithin); pause(ctx, time.Second); {
		if _, _, err := s.daemon.alive(); err != nil {
			return err
		}
		waiting, err := s.waiting(ctx)
		if err != nil || waiting == 0 {
			return err
		}
		if time.Now().After(end) {
			return nil // the verdict names what is left
		}
	}
	return ctx.Err()
}

func (s *soak) waiting(ctx context.Context) (n int, err error) {
	err = s.database(ctx, func(db *store.Store) error {
		daemon, _, err := db.Status(ctx)
		n = daemon.Pending + daemon.Retrying + daemon.InFlight
		return err
	})
	if n == 0 && err == nil {
		effects := s.api.Keys("")
		for key := range s.told.keys {
			if effects[key].Effects == 0 {
				n++ // on its way from NATS
			}
		}
	}
	return n, err
}

func (s *soak) database(ctx context.Context, use func(*store.Store) error) error {
	db, err := store.Attach(ctx, store.Config{Dir: s.dataDir(), Now: time.Now})
	if err != nil {
		return fmt.Errorf("soak: %w", err)
	}
	return errors.Join(use(db), db.Close())
}

// judge compares what producers were told with the database and the API's books.
func (s *soak) judge(ctx context.Context) (*Verdict, error) {
	v := &Verdict{}
	err := s.database(ctx, func(db *store.Store) error {
		states, err := s.states(ctx, db)
		if err != nil {
			return err
		}
		s.judgeMessages(v, states)
		daemon, _, err := db.Status(ctx)
		if err != nil {
			return err
		}
		counted := map[outbox.State]int{}
		for _, m := range states {
			counted[outbox.State(m.State)]++
		}
		good := daemon.Sent == counted[outbox.Sent] && daemon.Failed == counted[outbox.Failed] && daemon.Unknown == counted[outbox.Unknown] &&
			daemon.Pending == counted[outbox.Pending] && daemon.Retrying == counted[outbox.Retrying] && daemon.InFlight == counted[outbox.Sending]
		v.find(good, "counts", "the status shows %d sent, %d failed, %d unknown; there are %v", daemon.Sent, daemon.Failed, daemon.Unknown, counted)
		return nil
	})
	if err != nil {
		return nil, err
	}
	again, err := s.repeats(ctx)
	v.find(again == 0, "repeated", "%d requests were made after the API had answered for good", again)
	s.judgeGrowth(v)
	return v, err
}

// repeats counts the requests for messages that the API had answered for good.
// It remembers their keys, so that only the attempts tell of them.
func (s *soak) repeats(ctx context.Context) (n int, err error) {
	path := (&url.URL{Path: filepath.Join(s.dataDir(), "weir.db")}).EscapedPath()
	db, err := sql.Open("sqlite3", "file:"+path+"?mode=rw&_query_only=1&_busy_timeout=5000")
	if err != nil {
		return 0, fmt.Errorf("soak: %w", err)
	}
	err = db.QueryRowContext(ctx, `
		SELECT count(*) FROM attempts AS final JOIN attempts AS later USING (message)
		WHERE final.verdict IN ('sent', 'refused') AND later.number > final.number`).Scan(&n)
	if err = errors.Join(err, db.Close()); err != nil {
		err = fmt.Errorf("soak: reading the attempts: %w", err)
	}
	return n, err
}

// states gives every message by its key.
func (s *soak) states(ctx context.Context, db *store.Store) (map[string]store.MessageView, error) {
	all := make(map[string]store.MessageView)
	for filter := (store.Filter{Most: 1000}); ; {
		page, err := db.Messages(ctx, filter)
		if err != nil || len(page) == 0 {
			return all, err
		}
		for _, m := range page {
			all[m.Key] = m
		}
		filter.Before = page[len(page)-1].ID
	}
}

func (s *soak) judgeMessages(v *Verdict, states map[string]store.MessageView) {
	var lost, unsent, twice, wrong, changed []string
	effects := s.api.Keys("")
	for key := range s.told.keys {
		if _, there := states[key]; !there {
			lost = append(lost, key)
		}
	}
	// Also what nobody was told of: its answer may have been lost.
	for key, m := range states {
		switch effect := effects[key]; {
		case m.State != string(outbox.Sent):
			unsent = append(unsent, key+" "+m.State)
		case effect.Effects == 0 || m.MessageID == nil || *m.MessageID != effect.MessageID:
			wrong = append(wrong, key)
		}
	}
	executed := 0
	for key, effect := range effects {
		executed += effect.Effects
		if effect.Effects > 1 {
			twice = append(twice, key)
		}
		if _, there := states[key]; !there {
			wrong = append(wrong, key)
		}
		if body, made := s.told.bodies[key]; !made || effect.Effects > 0 && effect.Body != hex.EncodeToString(body[:]) {
			changed = append(changed, key)
		}
	}
	stats := s.api.Stats()
	v.find(len(s.told.keys) > 0, "accepted", "%d messages; the API had %d requests, executed %d, replayed %d, throttled %d", len(s.told.keys), stats.Requests, stats.Executed, stats.Replayed, stats.Throttled)
	v.find(len(lost) == 0, "lost", "%d accepted messages have no row%s", len(lost), examples(lost))
	v.find(len(unsent) == 0, "unsent", "%d are not sent%s", len(unsent), examples(unsent))
	v.find(len(wrong) == 0, "wrong", "%d are recorded otherwise than the API has them%s", len(wrong), examples(wrong))
	v.find(len(twice) == 0 && stats.Twice == 0, "twice", "%d took effect twice%s", max(len(twice), stats.Twice), examples(twice))
	v.find(len(changed) == 0 && stats.Conflicts == 0, "changed", "%d reached the API with another body than was handed over, %d with another than before%s", len(changed), stats.Conflicts, examples(changed))
	v.find(stats.WithoutKey == 0 && stats.Executed == executed, "keyless", "%d took effect without a key; %d effects, %d of them by a key", stats.WithoutKey, stats.Executed, executed)
	v.find(true, "faults", "%v", stats.Faults)
	v.find(len(stats.Violations) == 0, "violations", "%d kinds of what must never be sent: %v", len(stats.Violations), stats.Violations)
}

func examples(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	slices.Sort(keys)
	return fmt.Sprintf(": %v", keys[:min(5, len(keys))])
}

// judgeGrowth allows a third and a little more: the database's caches fill, and
// load differs.
func (s *soak) judgeGrowth(v *Verdict) {
	last := s.samples.last()
	due := s.went > s.For/2 && s.For/2 > s.Restarts*3/2 // one was by then
	v.find(s.samples.restarts > 0 || !due, "restarts", "%d, and %d looks at the daemons, %d of them at the last one", s.samples.restarts, len(s.samples.all), len(last))
	blind := s.went-s.For/2 >= 2*leastSamples*sampleEvery && len(last) < leastSamples
	const mib = 1 << 20
	for _, g := range []struct {
		name   string
		of     func(sample) int64
		spare  int64 // that may be added without meaning anything
		unit   int64
		suffix string
	}{
		{"memory", func(one sample) int64 { return one.memory }, 24 * mib, mib, " MiB"},
		{"heap", func(one sample) int64 { return one.heap }, 16 * mib, mib, " MiB"},
		{"goroutines", func(one sample) int64 { return one.goroutines }, 40, 1, ""},
		{"descriptors", func(one sample) int64 { return one.descriptors }, 40, 1, ""},
	} {
		most := s.samples.most(g.of)
		if blind {
			v.find(false, g.name, "%d looks at the last daemon are too few to tell", len(last))
			continue
		}
		if len(last) < leastSamples {
			v.findings = append(v.findings, finding{good: true, open: true, name: g.name, text: fmt.Sprintf("too short to tell: %d%s at most", most/g.unit, g.suffix)})
			continue
		}
		early, late := growth(last, g.of)
		// A daemon that lives has some of each: zero was not measured.
		v.find(late > 0 && late <= early*4/3+g.spare, g.name, "%d%s early, %d%s late, %d%s at most", early/g.unit, g.suffix, late/g.unit, g.suffix, most/g.unit, g.suffix)
	}
	wal := s.samples.most(func(one sample) int64 { return one.wal })
	v.find(wal < 64*mib, "WAL", "%d MiB at most", wal/mib)
}
