package dispatcher

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheLogSaysWhenABucketsStateChanges(t *testing.T) {
	type step struct {
		after time.Duration
		state GateKind
		by    string
	}
	tests := []struct {
		name  string
		steps []step
		want  []string // of each line: was, state, the parks that were not told
	}{
		{"a start is no change", []step{{0, Running, ""}}, nil},
		{"the same state again is none either", []step{{0, Held, ByUnpaid}, {time.Hour, Held, ByUnpaid}}, []string{"running held"}},
		{"a hold and its end", []step{{0, Held, ByUnpaid}, {0, Running, ""}}, []string{"running held", "held running"}},
		{"the first park and its end", []step{{0, Parked, ByLimit}, {time.Second, Running, ""}}, []string{"running parked", "parked running"}},
		{
			"one park a minute, with its end, and the number of the others",
			[]step{
				{0, Parked, ByLimit}, {time.Second, Running, ""},
				{time.Second, Parked, ByLimit}, {time.Second, Running, ""},
				{time.Second, Parked, ByLimit}, {time.Second, Running, ""},
				{time.Minute, Parked, ByLimit}, {time.Second, Running, ""},
			},
			[]string{"running parked", "parked running", "running parked 2", "parked running"},
		},
		{
			"a hold that ends in a park leaves the log with the truth",
			[]step{{0, Parked, ByLimit}, {time.Second, Held, ByUnpaid}, {time.Second, Parked, ByLimit}, {time.Second, Running, ""}},
			[]string{"running parked", "parked held", "held parked", "parked running"},
		},
		{
			"a hold out of a park that was not told",
			[]step{{0, Parked, ByLimit}, {1, Running, ""}, {1, Parked, ByLimit}, {1, Held, ByUnpaid}, {1, Running, ""}},
			[]string{"running parked", "parked running", "parked held", "held running"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			to := slog.New(slog.NewTextHandler(&out, nil))
			var changes changeLog
			var before Gauges
			now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			for _, s := range tt.steps {
				now = now.Add(s.after)
				gauges := Gauges{Bucket: rcs, State: s.state}
				if s.state != Running {
					gauges.Until = now.Add(time.Minute)
				}
				changes.log(to, &before, &gauges, s.by, now)
				before = gauges
			}
			var got []string
			for line := range strings.Lines(out.String()) {
				got = append(got, changeIn(t, line))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("the log says %q, want %q", got, tt.want)
			}
		})
	}
}

// changeIn takes a line of the log apart, and checks that it says why and until when.
func changeIn(t *testing.T, line string) string {
	t.Helper()
	fields := make(map[string]string)
	for word := range strings.FieldsSeq(line) {
		name, value, _ := strings.Cut(word, "=")
		fields[name] = value
	}
	if idle := fields["state"] == string(Running); fields["bucket"] != "default/rcs" || (fields["by"] == "") != idle || (fields["until"] == "") != idle {
		t.Errorf("a line that does not say which, why or until when: %s", line)
	}
	return strings.TrimSpace(fields["was"] + " " + fields["state"] + " " + fields["parked_meanwhile"])
}
