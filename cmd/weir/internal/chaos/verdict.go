package chaos

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Verdict is what a run has found.
type Verdict struct {
	Seed uint64
	// Kills counts the processes that died, by the name of the place.
	Kills map[string]int
	// Missed counts those that did not reach their place and were killed
	// somewhere else, by the name of the place.
	Missed map[string]int
	// Messages, Requests, Replays and Cut count over all episodes: rows,
	// requests that the API saw, answers that it gave again, and attempts whose
	// daemon died.
	Messages, Requests, Replays, Cut int
	// Findings are what weir is to blame for.
	Findings []string
	// Lost and Twice count the findings of these kinds.
	Lost, Twice int
	Elapsed     time.Duration
}

func newVerdict(seed uint64) *Verdict {
	return &Verdict{Seed: seed, Kills: map[string]int{}, Missed: map[string]int{}}
}

func (v *Verdict) killed(s strike) { v.Kills[s.name]++ }
func (v *Verdict) missed(s strike) { v.Missed[s.name]++ }

func (v *Verdict) add(w *world, a *audit) {
	v.Messages += a.messages
	v.Requests += a.requests
	v.Replays += a.replays
	v.Cut += a.cut
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

// Err wraps ErrFound if there are findings.
func (v *Verdict) Err() error {
	if len(v.Findings) == 0 {
		return nil
	}
	return fmt.Errorf("%w:\n%s", ErrFound, strings.Join(v.Findings, "\n"))
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
			fmt.Fprintf(&text, "; %d more were killed before they got there", n)
		}
		text.WriteByte('\n')
		total += v.Kills[name] + v.Missed[name]
	}
	fmt.Fprintf(&text, "\n%d kills, %d messages, %d requests, %d replays, %d attempts cut by a kill\n",
		total, v.Messages, v.Requests, v.Replays, v.Cut)
	fmt.Fprintf(&text, "lost %d, twice %d, findings %d, seed %d, %.0f s\n", v.Lost, v.Twice, len(v.Findings), v.Seed, v.Elapsed.Seconds())
	_, err := io.WriteString(out, text.String())
	return err
}
