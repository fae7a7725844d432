//go:build ops

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"weir/cmd/weir/internal/sandbox"
)

// promtool runs Prometheus' own checker in deploy.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Dir = "../../deploy"
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "FAILED") {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPrometheusFindsTheAlertRulesWellFormed(t *testing.T) {
	promtool(t, "", "check", "rules", "prometheus-rules.yml")
}

func TestEachAlertFiresWhenItShouldAndNoneWhileAllIsWell(t *testing.T) {
	promtool(t, "", "test", "rules", "prometheus-rules.test.yml")
}

// busyMetrics are those of a daemon that has all there can be: something was
// settled, something waits, and its bucket is parked.
func busyMetrics(t *testing.T) (text string) {
	t.Helper()
	r := newRigAside(t, sandbox.Config{Limit: 4, Window: 2 * time.Second})
	daemon := r.serve()
	r.send(envelopes(keysOf("k", 400))...)
	await(t, "the metrics tell of a park, and when all will be sent", func() bool {
		_, text = daemon.scrape()
		return !slices.ContainsFunc([]string{
			"eta_timestamp_seconds", "gate", "limit_window_seconds", "bucket_state_until_timestamp_seconds", "clock_offset_seconds",
		}, func(name string) bool { return !strings.Contains(text, "\nweir_"+name+"{") })
	})
	return text
}

func TestRulesAndDashboardAskForMetricsThatThereAreAndThatKeepTheConventions(t *testing.T) {
	text := busyMetrics(t)
	promtool(t, text, "check", "metrics")
	there := regexp.MustCompile(`(?m)^[a-z_]+`).FindAllString(text, -1)
	for file, expressions := range map[string][]string{
		"prometheus-rules.yml": alertExpressions(t), "grafana-dashboard.json": dashboardExpressions(t),
	} {
		for _, expression := range expressions {
			for _, name := range regexp.MustCompile(`\b(weir|process|promhttp)_[a-z_]+`).FindAllString(expression, -1) {
				if !slices.Contains(there, name) {
					t.Errorf("%s asks for %s, which weir does not have", file, name)
				}
			}
		}
	}
}

func alertExpressions(t *testing.T) (expressions []string) {
	t.Helper()
	for _, rule := range alertRules(t) {
		expressions = append(expressions, rule.Expr)
	}
	return expressions
}

func dashboardExpressions(t *testing.T) (expressions []string) {
	t.Helper()
	var board struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(deployed(t, "grafana-dashboard.json"), &board); err != nil {
		t.Fatal(err)
	}
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			expressions = append(expressions, strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"))
		}
	}
	return expressions
}

func TestGrafanaFindsTheDashboardWellFormed(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	var board dashboard.Dashboard
	// What is well-formed gives an error without text.
	if err := board.UnmarshalJSONStrict(deployed(t, "grafana-dashboard.json")); err != nil && err.Error() != "" {
		t.Error(err)
	}
	if err := board.Validate(); err != nil {
		t.Error(err)
	}
}

// TestPrometheusUnderstandsTheDashboard makes rules of the expressions, which
// promtool can check.
func TestPrometheusUnderstandsTheDashboard(t *testing.T) {
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	type group struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	}
	all := group{Name: "dashboard"}
	for _, expression := range dashboardExpressions(t) {
		all.Rules = append(all.Rules, rule{Record: "a_panel", Expr: expression})
	}
	text, err := yaml.Marshal(map[string][]group{"groups": {all}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", "--lint=none", path)
}
