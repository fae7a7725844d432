package chaos

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
)

// kinds gives what the findings are about, in order.
func (a *audit) kinds() []kind {
	var kinds []kind
	for _, f := range a.findings {
		kinds = append(kinds, f.kind)
	}
	return kinds
}

func digest(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

func TestTheAuditFindsEffectsThatWereNeverHandedOver(t *testing.T) {
	at := []time.Time{{}}
	for name, c := range map[string]struct {
		stats sandbox.Stats
		known map[string]sandbox.Key
		want  []kind
	}{
		"as handed over":              {sandbox.Stats{Requests: 1, Executed: 1}, map[string]sandbox.Key{"k": {Effects: 1, Body: digest("{}"), Arrivals: at}}, nil},
		"another body":                {sandbox.Stats{Requests: 1, Executed: 1}, map[string]sandbox.Key{"k": {Effects: 1, Body: digest("{ }"), Arrivals: at}}, []kind{isUntrue}},
		"a key of nobody":             {sandbox.Stats{Requests: 1}, map[string]sandbox.Key{"stranger": {Arrivals: at}}, []kind{isUntrue}},
		"an effect without a key":     {sandbox.Stats{Requests: 1, Executed: 1, WithoutKey: 1}, nil, []kind{isTwice, isUntrue, isUntrue}},
		"a request without a key":     {sandbox.Stats{Requests: 1}, nil, []kind{isUntrue}},
		"a body that was changed":     {sandbox.Stats{Conflicts: 1}, nil, []kind{isUntrue}},
		"a second effect":             {sandbox.Stats{Twice: 1}, nil, []kind{isTwice}},
		"what must never be sent":     {sandbox.Stats{Violations: map[string]sandbox.Violation{"too_deep": {Count: 1}}}, nil, []kind{isUntrue}},
		"an effect that no key knows": {sandbox.Stats{Executed: 1}, nil, []kind{isUntrue}},
	} {
		t.Run(name, func(t *testing.T) {
			var a audit
			a.effects(c.stats, c.known, map[string]string{"k": "{}"})
			if got := a.kinds(); !slices.Equal(got, c.want) {
				t.Errorf("found %v, want %v", a.findings, c.want)
			}
		})
	}
}

func TestTheAuditComparesTheRequestsOfEachKey(t *testing.T) {
	twice := map[string]sandbox.Key{"k": {Arrivals: make([]time.Time, 2)}}
	for name, c := range map[string]struct {
		told tally
		want []kind
	}{
		"as many":                       {tally{requests: 2}, nil},
		"one without an attempt":        {tally{requests: 1, unsure: true}, []kind{isUnwritten}},
		"one that the API did not see":  {tally{requests: 3}, []kind{isUntrue}},
		"one that may not have arrived": {tally{requests: 3, unsure: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var a audit
			a.arrivals(map[string]tally{"k": c.told}, twice)
			if got := a.kinds(); !slices.Equal(got, c.want) {
				t.Errorf("found %v, want %v", a.findings, c.want)
			}
		})
	}
}
