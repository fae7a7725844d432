package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// pkg is a package as the go command sees it.
type pkg struct{ imports, deps []string }

// packages gives every package of this module by its path, without tests.
func packages(t *testing.T) map[string]pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}|{{join .Imports " "}}|{{join .Deps " "}}`, "weir/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]pkg)
	for line := range strings.Lines(string(out)) {
		parts := strings.Split(strings.TrimSpace(line), "|")
		all[parts[0]] = pkg{imports: strings.Fields(parts[1]), deps: strings.Fields(parts[2])}
	}
	return all
}

func TestPackagesImportOnlyWhatStandsBelowThem(t *testing.T) {
	all := packages(t)
	for path, allowed := range map[string][]string{
		"weir/internal/point":            {},
		"weir/outbox":                    {},
		"weir/limiter":                   {},
		"weir/limiter/sim":               {"weir/limiter"},
		"weir/dispatcher":                {"weir/outbox", "weir/limiter"},
		"weir/queue":                     {"weir/outbox"},
		"weir/store":                     {"weir/outbox", "weir/dispatcher"},
		"weir/cmd/weir/internal/steer":   {"weir/outbox", "weir/store"},
		"weir/cmd/weir/internal/admin":   {"weir/cmd/weir/internal/steer", "weir/outbox", "weir/store"},
		"weir/cmd/weir/internal/metrics": {"weir/dispatcher", "weir/outbox", "weir/store"},
		"weir/cmd/weir/internal/tracing": {"weir/dispatcher"},
		"weir/cmd/weir/internal/sandbox": {"weir/limiter/sim"},
		"weir/cmd/weir/internal/soak":    {"weir/cmd/weir/internal/sandbox", "weir/limiter/sim", "weir/outbox", "weir/queue", "weir/store"},
		"weir/cmd/weir/internal/chaos":   {"weir/cmd/weir/internal/sandbox", "weir/limiter/sim", "weir/outbox", "weir/queue"},
	} {
		if _, found := all[path]; !found {
			t.Errorf("there is no package %s", path)
		}
		for _, imported := range all[path].imports {
			if strings.HasPrefix(imported, "weir/") && imported != "weir/internal/point" && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s; allowed are %q", path, imported, allowed)
			}
		}
	}
}

func TestPurePackagesLinkNeitherNATSNorSQLite(t *testing.T) {
	all := packages(t)
	linked := func(path, library string) bool {
		return slices.ContainsFunc(all[path].deps, func(dep string) bool { return strings.HasPrefix(dep, library) })
	}
	const nats, sqlite = "github.com/nats-io/", "github.com/mattn/go-sqlite3"
	if !linked("weir/queue", nats) || !linked("weir/store", sqlite) {
		t.Fatal("the adapters do not link what they adapt: this test looks for the wrong names")
	}
	for _, path := range []string{"weir/outbox", "weir/limiter", "weir/dispatcher"} {
		for _, library := range []string{nats, sqlite} {
			if linked(path, library) {
				t.Errorf("%s links %s", path, library)
			}
		}
	}
	if linked("weir/queue", sqlite) || linked("weir/store", nats) {
		t.Error("an adapter links what the other one adapts")
	}
}

func TestTheProgramLinksNothingOfTheTests(t *testing.T) {
	if slices.Contains(packages(t)["weir/cmd/weir"].deps, "testing") {
		t.Error("weir/cmd/weir links package testing")
	}
}
