package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// envExample is what deploy/weir.env.example must hold.
func envExample() string {
	var text strings.Builder
	text.WriteString(`# Every setting of weir with its default. weir.service reads this file as
# /etc/weir/weir.env, which only root should be able to read. Uncomment what is
# to differ. An environment variable goes before the same setting in weir.yaml
# and after a flag of "weir serve".
`)
	for _, s := range new(Config).settings() {
		fmt.Fprintf(&text, "\n# %s\n#%s=%s\n", s.doc, s.name, s.value)
	}
	return text.String()
}

// readmeTable is the table of settings that README.md must hold.
func readmeTable() string {
	var text strings.Builder
	text.WriteString("| Setting | Default | Meaning |\n|---|---|---|\n")
	for _, s := range new(Config).settings() {
		value := ""
		if s.value != "" {
			value = "`" + s.value + "`"
		}
		fmt.Fprintf(&text, "| `%s` | %s | %s |\n", s.name, value, s.doc)
	}
	return text.String()
}

func TestTheExampleEnvironmentListsEverySettingWithItsDefault(t *testing.T) {
	got, err := os.ReadFile("../../deploy/weir.env.example")
	if err != nil {
		t.Fatal(err)
	}
	if want := envExample(); string(got) != want {
		t.Errorf("deploy/weir.env.example differs from the table of settings; it must be:\n%s", want)
	}
}

func TestTheReadmeListsEverySettingWithItsDefault(t *testing.T) {
	got, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := readmeTable(); !strings.Contains(string(got), want) {
		t.Errorf("README.md lacks this table of settings:\n%s", want)
	}
}

func TestEveryDefaultIsAValueThatItsSettingAccepts(t *testing.T) {
	for _, s := range new(Config).settings() {
		if s.value == "" {
			continue
		}
		if err := s.parse(s.value); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}

func TestEverySettingIsAFlagThatNamesItsEnvironmentVariable(t *testing.T) {
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	addSettingFlags(flags)
	for _, s := range new(Config).settings() {
		f := flags.Lookup(s.flagName())
		if f == nil {
			t.Errorf("%s has no flag --%s", s.name, s.flagName())
			continue
		}
		if !strings.Contains(f.Usage, "["+s.name+"]") || f.DefValue != s.value {
			t.Errorf("--%s: usage %q, default %q; want %s named and default %q", f.Name, f.Usage, f.DefValue, s.name, s.value)
		}
	}
}

func TestACommandGetsOnlyTheFlagsThatItNames(t *testing.T) {
	flags := pflag.NewFlagSet("send", pflag.ContinueOnError)
	addSettingFlags(flags, "WEIR_DATA_DIR", "WEIR_CONFIG")
	if !flags.HasFlags() || flags.Lookup("data-dir") == nil || flags.Lookup("config") == nil {
		t.Error("--data-dir and --config are missing")
	}
	if flags.Lookup("concurrency") != nil {
		t.Error("--concurrency was not asked for")
	}
}

func TestAMistypedNameIsLedToTheNearestKnownOne(t *testing.T) {
	known := []string{"data_dir", "api_url", "api_key", "listen", "accounts"}
	for typed, want := range map[string]string{
		"data-dir":      "data_dir",
		"WEIR_DATA_DIR": "data_dir",
		"datadir":       "data_dir",
		"acounts":       "accounts",
		"lisetn":        "listen",
		"api_kye":       "api_key",
		"colour":        "",
		"":              "",
	} {
		if got := nearest(typed, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", typed, got, want)
		}
	}
}
