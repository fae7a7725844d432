package limiter

import "time"

// trust tells how well the windows open when they should.
type trust struct {
	good   int  // orderly openings since the last that came too early
	need   int  // orderly openings that make up for those
	early  int  // too early in a row
	floors int  // too early in all
	floor  bool // Reset is rounded down
}

// full tells whether the next window may be met by several requests at once.
func (t *trust) full() bool { return t.good >= 3+t.need }

func (t *trust) betrayed() {
	t.early++
	t.floors++
	t.floor = t.floors >= floorsProven
	t.good, t.need = 0, min(2*t.need+4, 1<<10)
}

// patience is how long to wait when nothing else tells.
func (t *trust) patience() time.Duration {
	return 50 * time.Millisecond << min(t.early, 16)
}

// rivals estimates how fast other clients use up the same limit.
type rivals struct {
	own     int  // our requests that this window has admitted
	watched bool // the window was seen from its beginning
	perSec  float64
	quiet   int // windows in a row without them
}

// none tells whether all that the server counts is ours.
func (r *rivals) none() bool { return r.quiet >= 3 && r.watched }

// end takes how many were used by all when the window ended, and how many of
// ours were still under way or got no answer.
func (r *rivals) end(used, out int) {
	if r.quiet++; !r.watched || used > r.own+out {
		r.quiet = 0
	}
}

func (r *rivals) begin(watched bool) { r.own, r.watched = 0, watched }

// measure takes how many were used by all since the window began. It is exact
// only while nothing of ours is under way.
func (r *rivals) measure(used int, since time.Duration) {
	if r.watched {
		r.perSec = (r.perSec + max(0, float64(used-r.own))/since.Seconds()) / 2
	}
}

// charge is what they are likely to have used in that time.
func (r *rivals) charge(d time.Duration) int {
	if r.perSec < 0.01 {
		return 0
	}
	return int(r.perSec*d.Seconds() + 1)
}

// checks spaces out the requests that verify, when a window was predicted and
// counted to its end, that the server agrees: only a refusal can tell.
type checks struct {
	skipped int // windows predicted since the last report
	due     int // predicted windows until the next check
	step    int
}

func (k *checks) passed() {
	k.step = min(max(2*k.step, 1), 64)
	k.due = k.step
}

// kind gathers evidence on whether the server keeps a fixed window at all.
type kind struct {
	doubt  int
	moving bool          // it does not
	silent int           // successes in a row without a report
	span   time.Duration // longest time from an answer to its Reset
}

// silence is how many successes without a report show that none will come.
const silence = 32

// suspect adds evidence against a fixed window.
func (k *kind) suspect(weight int) {
	k.doubt = min(k.doubt+weight, 2*doubtful)
	k.moving = k.moving || k.doubt >= doubtful
}

func (k *kind) orderly() {
	k.doubt = max(k.doubt-1, 0)
	k.moving = k.moving && k.doubt > 0
}

// heard takes a success, with or without a report.
func (k *kind) heard(reported bool) {
	k.silent++
	if reported {
		k.silent = 0
	}
}
