package soak

import (
	"crypto/sha256"
	"database/sql"
	"fmt"
	"math"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/store"
)

// bad gives the names of what a verdict finds bad.
func bad(v *Verdict) []string {
	var names []string
	for _, f := range v.findings {
		if !f.good {
			names = append(names, f.name)
		}
	}
	return names
}

func TestAnAcceptedMessageThatIsMissingOrUnsentMakesABadVerdict(t *testing.T) {
	s := &soak{api: sandbox.New(sandbox.Config{Limit: 1})}
	s.told.keys = map[string]bool{"gone": true, "nowhere": true}
	id := "msg_1"
	v := &Verdict{}
	s.judgeMessages(v, map[string]store.MessageView{
		"waits":   {Key: "waits", State: "pending"},                // although nobody was told that it is there
		"nowhere": {Key: "nowhere", State: "sent", MessageID: &id}, // the API knows nothing of it
	})
	if got := bad(v); !slices.Equal(got, []string{"lost", "unsent", "wrong"}) || v.Good() {
		t.Errorf("found bad: %v", got)
	}
	var out strings.Builder
	if err := v.Print(&out); err != nil || !strings.Contains(out.String(), "BAD  lost         1 accepted messages have no row: [gone]\n") {
		t.Errorf("printed %v:\n%s", err, &out)
	}
}

func TestWhatTookEffectIsComparedWithWhatWasHandedOver(t *testing.T) {
	const body = `{"agent_id":"ag_1","to":"+4915112345678","message_type":"MESSAGE","traffic_type":"TRANSACTION","content":{"text":"Hi"}}`
	for name, c := range map[string]struct {
		key, made, sent string // sent by key in place of what was made
		row             bool
		want            []string
	}{
		"as handed over":          {"k", body, body, true, nil},
		"another body":            {"k", body + " ", body, true, []string{"changed"}},
		"a key of nobody":         {"stranger", body, body, true, []string{"changed"}},
		"an effect without a row": {"k", body, body, false, []string{"wrong"}},
		"an effect without a key": {"", body, body, false, []string{"keyless"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &soak{api: sandbox.New(sandbox.Config{})}
			s.told.keys = map[string]bool{"k": c.row}
			if !c.row {
				delete(s.told.keys, "k")
			}
			s.told.bodies = map[string][sha256.Size]byte{"k": sha256.Sum256([]byte(c.made))}
			r := httptest.NewRequest("POST", "/v1/messages", strings.NewReader(c.sent))
			r.Header.Set("Authorization", "Bearer "+sandbox.DefaultKey)
			r.Header.Set("Content-Type", "application/json")
			if c.key != "" {
				r.Header.Set("Idempotency-Key", c.key)
			}
			answer := httptest.NewRecorder()
			s.api.ServeHTTP(answer, r)
			if answer.Code != 200 {
				t.Fatalf("the API answers %d: %s", answer.Code, answer.Body)
			}
			states := map[string]store.MessageView{}
			if c.row {
				id := s.api.Keys("")[c.key].MessageID
				states[c.key] = store.MessageView{Key: c.key, State: "sent", MessageID: &id}
				s.told.keys = map[string]bool{c.key: true}
			}
			v := &Verdict{}
			s.judgeMessages(v, states)
			v.findings = v.findings[1:] // accepted
			if got := bad(v); !slices.Equal(got, c.want) {
				t.Errorf("found bad: %v, want %v", got, c.want)
			}
		})
	}
}

// steady is a look at a daemon that has enough of all, and no more, but for what
// is said.
func steady(one sample) sample {
	for _, figure := range []struct {
		of     *int64
		enough int64
	}{{&one.memory, 60 << 20}, {&one.heap, 30 << 20}, {&one.goroutines, 200}, {&one.descriptors, 50}} {
		if *figure.of == 0 {
			*figure.of = figure.enough
		}
	}
	return one
}

func TestWhatWasNotMeasuredMakesABadVerdict(t *testing.T) {
	figures := []string{"memory", "heap", "goroutines", "descriptors"}
	for name, c := range map[string]struct {
		went  time.Duration
		looks int
		of    func(i int) sample
		want  []string
	}{
		"all of it":                {time.Hour, 1000, func(int) sample { return steady(sample{}) }, nil},
		"the daemon tells nothing": {time.Hour, 1000, func(int) sample { return sample{memory: 60 << 20, descriptors: 50} }, []string{"heap", "goroutines"}},
		"the daemon falls silent": {time.Hour, 1000, func(i int) sample {
			return sample{memory: 60 << 20, descriptors: 50, heap: int64(max(0, 700-i)), goroutines: int64(max(0, 700-i))}
		}, []string{"heap", "goroutines"}},
		"nobody looked for half an hour": {time.Hour, 0, nil, figures},
		"it was interrupted early":       {31 * time.Minute, 60, func(int) sample { return steady(sample{}) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := &soak{Config: Config{For: time.Hour, Restarts: time.Minute}, went: c.went}
			s.samples.restarted()
			for i := range c.looks {
				s.samples.add(c.of(i))
			}
			v := &Verdict{}
			s.judgeGrowth(v)
			if got := bad(v); !slices.Equal(got, c.want) {
				t.Errorf("found bad: %v, want %v", got, c.want)
			}
		})
	}
}

func TestADaemonThatTellsNothingOfItselfAnyMoreIsNotTakenToBeAsBefore(t *testing.T) {
	for name, falls := range map[string]string{"it tells nonsense": `echo what`, "it tells no more": `exec >&-`} {
		t.Run(name, func(t *testing.T) {
			d := &daemon{program: func(...string) *exec.Cmd {
				return exec.Command("/bin/sh", "-c", `trap "`+falls+`" USR1; echo '{"goroutines":7,"heap":9}'; `+
					`echo '{"msg":"running"}' >&2; while :; do sleep 0.01; done`)
			}}
			t.Cleanup(d.kill)
			if err := d.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			await := func(goroutines int) {
				t.Helper()
				for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
					_, g, err := d.alive()
					if err == nil && g.Goroutines == goroutines {
						return
					}
					if err != nil || time.Now().After(end) {
						t.Fatalf("the gauges are %+v, %v; want %d goroutines", g, err, goroutines)
					}
				}
			}
			await(7)
			if err := d.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			await(0)
		})
	}
}

func TestARequestAfterAFinalAnswerIsSeenInItsAttempt(t *testing.T) {
	s := &soak{Config: Config{Dir: t.TempDir()}}
	db, err := store.Open(t.Context(), store.Config{Dir: s.dataDir(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := sql.Open("sqlite3", filepath.Join(s.dataDir(), "weir.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	for want, attempt := range []string{`(1, 1, 0, 'throttled')`, `(1, 2, 0, 'sent'), (2, 3, 0, 'sent')`, `(1, 3, 0, 'sent')`} {
		if _, err := file.Exec(`INSERT INTO attempts (message, number, started_at, verdict) VALUES ` + attempt); err != nil {
			t.Fatal(err)
		}
		if got, err := s.repeats(t.Context()); err != nil || got != max(0, want-1) {
			t.Errorf("after %s: %d, %v; want %d", attempt, got, err, max(0, want-1))
		}
	}
}

func TestHalfOfEveryRateIsPublishedAndHalfSent(t *testing.T) {
	for rate := 1; rate <= 1000; rate++ {
		for _, batch := range []int{sendBatch, publishBatch, max(publishBatch, rate/20)} {
			if got := float64(batch) / every(batch, rate).Seconds(); math.Abs(got-float64(rate)/2) > 1e-3 {
				t.Errorf("at a rate of %d, batches of %d make %g a second", rate, batch, got)
			}
		}
	}
}

func TestWhatEachDaemonLeaksIsSeenInTheLastOne(t *testing.T) {
	s := &soak{}
	for i := range 1000 {
		if i < 500 && i%100 == 99 {
			s.samples.restarted() // which takes away what had leaked
		}
		s.samples.add(steady(sample{goroutines: int64(i%500) + 1}))
	}
	v := &Verdict{}
	s.judgeGrowth(v)
	if got := bad(v); !slices.Equal(got, []string{"goroutines"}) {
		t.Errorf("found bad: %v", got)
	}
}

func TestAShortLifeTellsNothingOfGrowth(t *testing.T) {
	s := &soak{}
	for i := range 1000 {
		if i == 1000-leastSamples+1 {
			s.samples.restarted()
		}
		s.samples.add(sample{goroutines: int64(i)})
	}
	v := &Verdict{}
	s.judgeGrowth(v)
	var out strings.Builder
	if err := v.Print(&out); err != nil || !v.Good() || !strings.Contains(out.String(), "?    goroutines   too short to tell: 999 at most\n") {
		t.Errorf("printed %v:\n%s", err, &out)
	}
}

func TestALongSoakWithoutARestartIsBad(t *testing.T) {
	for restarts, want := range [][]string{{"restarts"}, nil} {
		s := &soak{Config: Config{For: time.Hour, Restarts: time.Minute}, went: time.Hour}
		for range restarts {
			s.samples.restarted()
		}
		for range 1000 {
			s.samples.add(steady(sample{}))
		}
		v := &Verdict{}
		s.judgeGrowth(v)
		if got := bad(v); !slices.Equal(got, want) {
			t.Errorf("%d restarts: found bad: %v, want %v", restarts, got, want)
		}
	}
}

func TestADaemonThatHangsWhileItStopsIsKilledAndReported(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"it hangs":       {`trap "" TERM; echo '{"msg":"running"}' >&2; while :; do sleep 0.01; done`, "did not stop within 50ms and was killed"},
		"it stops badly": {`trap "exit 3" TERM; echo '{"msg":"running"}' >&2; while :; do sleep 0.01; done`, "stopped badly: exit status 3"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &daemon{program: func(...string) *exec.Cmd { return exec.Command("/bin/sh", "-c", c.script) }}
			t.Cleanup(d.kill)
			if err := d.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			within := time.Minute
			if name == "it hangs" {
				within = 50 * time.Millisecond
			}
			if err := d.stop(within); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("stopped with %v, want %q", err, c.want)
			}
		})
	}
}

func TestWhatGrowsAllTheTimeMakesABadVerdictAndWhatStaysDoesNot(t *testing.T) {
	for _, test := range []struct {
		name string
		of   func(i int) sample
		want []string
	}{
		{"steady", func(int) sample { return sample{} }, nil},
		{"memory grows", func(i int) sample { return sample{memory: int64(i) << 18} }, []string{"memory"}},
		{"goroutines leak", func(i int) sample { return sample{goroutines: int64(i)} }, []string{"goroutines"}},
		{"descriptors leak", func(i int) sample { return sample{descriptors: int64(i)} }, []string{"descriptors"}},
		{"the log is never begun anew", func(i int) sample { return sample{wal: int64(i) << 18} }, []string{"WAL"}},
	} {
		s := &soak{}
		for i := range 1000 {
			s.samples.add(steady(test.of(i)))
		}
		v := &Verdict{}
		s.judgeGrowth(v)
		if got := bad(v); fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: found bad: %v, want %v", test.name, got, test.want)
		}
	}
}
