package chaos

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Verdict is what a run has found.
type Verdict struct {
	Seed uint64
	// Kills counts the processes that died, by the name of the place.
	Kills map[string]int
	// Missed counts those that were dealt a place and did not die there, but
	// were killed somewhere else or ended by themselves first.
	Missed map[string]int
	// Messages, Requests, Replays and Cut count over all episodes: rows,
	// requests that the API saw, answers that it gave again, and attempts whose
	// daemon died.
	Messages, Requests, Replays, Cut int
	// Ended counts the messages by their state in the end.
	Ended map[string]int
	// Findings are what weir is to blame for.
	Findings []string
	// Lost and Twice count the findings of these kinds.
	Lost, Twice int
	Elapsed     time.Duration
}

func newVerdict(seed uint64) *Verdict {
	return &Verdict{Seed: seed, Kills: map[string]int{}, Missed: map[string]int{}, Ended: map[string]int{}}
}

func (v *Verdict) killed(s strike) { v.Kills[s.name]++ }
func (v *Verdict) missed(s strike) { v.Missed[s.name]++ }

func (v *Verdict) add(w *world, a *audit) {
	v.Messages += a.messages
	v.Requests += a.requests
	v.Replays += a.replays
	v.Cut += a.cut
	for state, n := range a.ended {
		v.Ended[state] += n
	}
	for _, f := range a.findings {
		switch f.kind {
		case isLost:
			v.Lost++
		case isTwice:
			v.Twice++
		}
		v.Findings = append(v.Findings, fmt.Sprintf("%v (%s)", f, w.dir))
	}
}

// Err wraps ErrFound if there are findings, and ErrMissed if a place was dealt
// and nobody has died there.
func (v *Verdict) Err() error {
	var all []error
	if len(v.Findings) > 0 {
		all = append(all, fmt.Errorf("%w:\n%s", ErrFound, strings.Join(v.Findings, "\n")))
	}
	for _, name := range slices.Sorted(maps.Keys(v.Missed)) {
		if v.Kills[name] == 0 {
			all = append(all, fmt.Errorf("%w: %s", ErrMissed, name))
		}
	}
	return errors.Join(all...)
}

// Places lists the names of all places at which this build can kill.
func Places() []string {
	anywhere, fresh := usable()
	var names []string
	for _, s := range append(fresh, anywhere...) {
		names = append(names, s.name)
	}
	return names
}

// Print writes the verdict for people.
func (v *Verdict) Print(out io.Writer) error {
	var text strings.Builder
	total := 0
	for _, name := range Places() {
		fmt.Fprintf(&text, "%5d  %s", v.Kills[name], name)
		if n := v.Missed[name]; n > 0 {
			fmt.Fprintf(&text, "; %d more did not die there", n)
		}
		text.WriteByte('\n')
		total += v.Kills[name]
	}
	fmt.Fprintf(&text, "\n%d kills, %d messages, %d requests, %d replays, %d attempts cut by a kill\n",
		total, v.Messages, v.Requests, v.Replays, v.Cut)
	for _, state := range slices.Sorted(maps.Keys(v.Ended)) {
		fmt.Fprintf(&text, "%s %d, ", state, v.Ended[state])
	}
	fmt.Fprintf(&text, "lost %d, twice %d, findings %d, seed %d, %.0f s\n", v.Lost, v.Twice, len(v.Findings), v.Seed, v.Elapsed.Seconds())
	_, err := io.WriteString(out, text.String())
	return err
}
