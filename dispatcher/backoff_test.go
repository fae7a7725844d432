package dispatcher

import (
	"net/http"
	"testing"
	"time"
)

func TestWhenAMessageMayBeSentAgain(t *testing.T) {
	// The last moment is 90 s (request timeout and margin) before the key is forgotten.
	last := noon.Add(-24*time.Hour + 90*time.Second)
	tests := []struct {
		name        string
		ambiguousAt time.Time
		scope       string
		want        bool
	}{
		{"always while no attempt was ambiguous", time.Time{}, "s", true},
		{"under another scope while no attempt was ambiguous", time.Time{}, "other", true},
		{"while the key is surely known", last.Add(time.Millisecond), "s", true},
		{"not from the last moment on", last, "s", false},
		{"not later", last.Add(-time.Hour), "s", false},
		{"not under another scope", noon, "other", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Claim{Scope: "s", AmbiguousAt: tt.ambiguousAt}
			if got := mayRepeat(c, tt.scope, policy, noon); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestBackoffDoublesUpToItsMaximum(t *testing.T) {
	most := func() float64 { return 1 }
	for earlier, want := range map[int]time.Duration{
		0:    500 * time.Millisecond,
		1:    time.Second,
		9:    256 * time.Second,
		10:   5 * time.Minute,
		5000: 5 * time.Minute,
	} {
		if got := policy.backoff(earlier, most); got != want {
			t.Errorf("after %d attempts at most %v, want %v", earlier, got, want)
		}
		if got := policy.backoff(earlier, func() float64 { return 0 }); got != 0 {
			t.Errorf("after %d attempts at least %v, want 0: the jitter is full", earlier, got)
		}
	}
}

func TestARequestThatStillRunsIsNotAskedForWithoutAPause(t *testing.T) {
	eager := policy
	eager.SettleWait = 0
	least := func() float64 { return 0 }
	if got := eager.wait(Claim{AmbiguousAt: noon}, Answer{}, InProgress, least); got != policy.BackoffBase {
		t.Errorf("asked again after %v, want %v", got, policy.BackoffBase)
	}
}

func TestAMessageRunsOutOfTimeOnlyAfterRetryFor(t *testing.T) {
	tests := []struct {
		name  string
		first time.Time
		want  bool
	}{
		{"never before its first attempt", time.Time{}, false},
		{"not at the very end", noon.Add(-policy.RetryFor), false},
		{"right after it", noon.Add(-policy.RetryFor - time.Millisecond), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := policy.outOfTime(Claim{FirstAttemptAt: tt.first}, noon); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestTheWaitThatAnAnswerNames(t *testing.T) {
	date := func(d time.Duration) string { return noon.Add(d).Format(http.TimeFormat) }
	tests := []struct {
		name               string
		header, date, body string
		want               time.Duration
	}{
		{"none", "", "", "", 0},
		{"seconds in the header", "7", "", "", 7 * time.Second},
		{"seconds in the body", "", "", "1.5", 1500 * time.Millisecond},
		{"seconds as a string in the body", "", "", `"30"`, 30 * time.Second},
		{"the longer one of two", "7", "", "30", 30 * time.Second},
		{"a date by the server's clock", date(time.Hour + 9*time.Second), date(time.Hour), "", 9 * time.Second},
		{"a date by our clock where the server tells no time", date(9 * time.Second), "", "", 9 * time.Second},
		{"a date in the past", date(-time.Hour), "", "", 0},
		{"a negative number", "-5", "", "-5", 0},
		{"no number", "soon", "", `{"s":1}`, 0},
		{"not a number", "NaN", "", "NaN", 0},
		{"more than a day", "1e300", "", "Inf", 24 * time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := Answer{Header: http.Header{}, RetryAfter: tt.body, EndedAt: noon}
			a.Header.Set("Retry-After", tt.header)
			a.Header.Set("Date", tt.date)
			if got := retryAfter(a); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
