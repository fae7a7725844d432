package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func deployed(t *testing.T, name string) []byte {
	t.Helper()
	return []byte(readDocument(t, filepath.Join("../../deploy", name)))
}

// alertRule is one of deploy/prometheus-rules.yml.
type alertRule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alertRules(t *testing.T) (rules []alertRule) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alertRule }
	}
	if err := yaml.Unmarshal(deployed(t, "prometheus-rules.yml"), &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	if len(rules) == 0 {
		t.Fatal("there are no alerts: this test looks in the wrong place")
	}
	return rules
}

func TestEachAlertHasATestThatMakesItFireAndALineInTheRunbook(t *testing.T) {
	readme := readDocument(t, documents[0])
	tests := string(deployed(t, "prometheus-rules.test.yml"))
	for _, rule := range alertRules(t) {
		if !strings.Contains(readme, "| `"+rule.Alert+"` |") {
			t.Errorf("README.md has no line for %s", rule.Alert)
		}
		if !strings.Contains(tests, `exp_samples: [{labels: '{alertname="`+rule.Alert+`"}', value: 1}]`) {
			t.Errorf("no test makes %s fire", rule.Alert)
		}
		if rule.Annotations["summary"] == "" || rule.Annotations["runbook"] == "" || rule.Labels["severity"] == "" {
			t.Errorf("%s lacks a summary, what to do or a severity", rule.Alert)
		}
	}
}
