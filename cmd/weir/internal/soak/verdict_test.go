package soak

import (
	"fmt"
	"slices"
	"strings"
	"testing"

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
	s.told.keys = map[string]bool{"gone": true, "waits": true, "nowhere": true}
	id := "msg_1"
	v := &Verdict{}
	s.judgeMessages(v, map[string]store.MessageView{
		"waits":   {Key: "waits", State: "pending"},
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

func TestWhatGrowsAllTheTimeMakesABadVerdictAndWhatStaysDoesNot(t *testing.T) {
	for _, test := range []struct {
		name string
		of   func(i int) sample
		want []string
	}{
		{"steady", func(int) sample { return sample{memory: 60 << 20, goroutines: 200, descriptors: 50} }, nil},
		{"memory grows", func(i int) sample { return sample{memory: int64(i) << 18} }, []string{"memory"}},
		{"goroutines leak", func(i int) sample { return sample{goroutines: int64(i)} }, []string{"goroutines"}},
		{"descriptors leak", func(i int) sample { return sample{descriptors: int64(i)} }, []string{"descriptors"}},
		{"the log is never begun anew", func(i int) sample { return sample{wal: int64(i) << 18} }, []string{"WAL"}},
	} {
		s := &soak{}
		for i := range 1000 {
			s.samples.add(test.of(i))
		}
		v := &Verdict{}
		s.judgeGrowth(v)
		if got := bad(v); fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: found bad: %v, want %v", test.name, got, test.want)
		}
	}
}
