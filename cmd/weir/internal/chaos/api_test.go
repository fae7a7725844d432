package chaos

import (
	"net/http"
	"strings"
	"testing"

	"weir/cmd/weir/internal/sandbox"
	"weir/internal/point"
)

func TestATrapForWhatWasExecutedSpringsAtNothingElse(t *testing.T) {
	a, err := serveAPI(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	a.SetFaults(sandbox.Fault{Kind: sandbox.Kind503, First: 1})
	sprung := false
	a.set(&trap{stage: executed, left: 1, spring: func() { sprung = true }})
	if status := post(t, a, "k"); status != http.StatusServiceUnavailable || sprung {
		t.Errorf("at an answer of %d: sprung %v", status, sprung)
	}
	if status := post(t, a, "k"); status != http.StatusOK || !sprung {
		t.Errorf("at an answer of %d: sprung %v", status, sprung)
	}
	sprung = false
	if post(t, a, "other"); sprung {
		t.Error("it sprang twice")
	}
}

func TestATrapPassesOverRequestsThatHaveNoEffect(t *testing.T) {
	a, err := serveAPI(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	a.SetFaults()
	post(t, a, "sent")
	for _, at := range []stage{lost, arrived, executed} {
		sprung := false
		a.set(&trap{stage: at, left: 1, spring: func() { sprung = true }})
		for key, want := range map[string]int{"sent": http.StatusOK, refused + "k": http.StatusUnprocessableEntity} {
			if status := post(t, a, key); status != want || sprung {
				t.Errorf("stage %d, %s: answered %d, want %d; sprung %v", at, key, status, want, sprung)
			}
		}
	}
}

// post sends the API a message, and gives the status of its answer.
func post(t *testing.T, a *api, key string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "POST", a.url+"/v1/messages", strings.NewReader(bodies[0]))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + sandbox.DefaultKey, "Content-Type": "application/json", "Idempotency-Key": key,
	} {
		request.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

func TestOnlyANewReasonExplainsWhyNothingGoesOut(t *testing.T) {
	held := why{seen{"held", "the disk is full"}, 7}
	for name, c := range map[string]struct {
		before, now why
		want        bool
	}{
		"a new one":           {why{seen{"running", ""}, 1}, held, true},
		"the same, once more": {why{seen{"held", "the disk is full"}, 6}, held, true},
		"one of before":       {held, held, false},
		"none":                {held, why{seen{"held", ""}, 8}, false},
		"running":             {held, why{seen{"running", "as ever"}, 8}, false},
		"stopped":             {held, why{seen{"stopped", "by its operator"}, 8}, false},
	} {
		if got := c.now.says(c.before); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestAStateWithoutAReasonIsNotTold(t *testing.T) {
	for name, c := range map[string]struct {
		seen          seen
		state, reason string
		want          bool
	}{
		"with any reason":        {seen{"parked", "until 10:00"}, "parked", "", true},
		"with the reason":        {seen{"held", "its balance is used up"}, "held", "balance", true},
		"with another reason":    {seen{"held", "the disk is full"}, "held", "balance", false},
		"without a reason":       {seen{"parked", ""}, "parked", "", false},
		"another state":          {seen{"held", "until 10:00"}, "parked", "", false},
		"running, for no reason": {seen{"running", ""}, "running", "", true},
	} {
		if got := c.seen.is(c.state, c.reason); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestAScenarioThatNeedsPointsIsNotPlayedWithoutThem(t *testing.T) {
	for _, s := range scenarios() {
		if err := CheckScenario(s.name); (err == nil) != (!s.pointed || point.Built) {
			t.Errorf("%s, with points: %v: %v", s.name, point.Built, err)
		}
	}
	if err := RunScenario(t.Context(), Config{Dir: t.TempDir()}, "nothing of the sort"); err == nil || !strings.Contains(err.Error(), `no scenario "nothing of the sort"`) {
		t.Errorf("a name of nothing: %v", err)
	}
}
