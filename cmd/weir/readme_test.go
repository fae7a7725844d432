package main

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"weir/dispatcher"
	"weir/outbox"
)

// documents are what people read. Their links are relative to their folder.
var documents = []string{"../../README.md", "../../CHANGELOG.md", "../../docs/design.md", "../../docs/guarantees.md", "../../docs/performance.md"}

func readDocument(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fenced returns the README's only block of code in that language.
func fenced(t *testing.T, language string) string {
	t.Helper()
	_, block, found := strings.Cut(readDocument(t, documents[0]), "\n```"+language+"\n")
	block, rest, closed := strings.Cut(block, "\n```\n")
	if !found || !closed || strings.Contains(rest, "\n```"+language+"\n") {
		t.Fatalf("README.md must have one block of %s", language)
	}
	return block
}

func TestTheGoCodeOfTheReadmeIsThatOfATestedExample(t *testing.T) {
	example := withoutIndent(readDocument(t, "../../outbox/example_test.go"))
	if code := withoutIndent(fenced(t, "go")); !strings.Contains(example, code) {
		t.Errorf("outbox/example_test.go does not have these lines of README.md:\n%s", code)
	}
}

func withoutIndent(code string) string {
	return regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(code, "")
}

func TestTheSQLOfTheReadmePutsAMessageIntoTheOutbox(t *testing.T) {
	db, err := sql.Open("sqlite3", filepath.Join(t.TempDir(), "shop.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := outbox.Init(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), fenced(t, "sql")); err != nil {
		t.Fatal(err)
	}
	var e outbox.Envelope
	if err := db.QueryRowContext(t.Context(), `SELECT idempotency_key, body FROM weir_outbox`).Scan(&e.Key, &e.Body); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Message(time.Now(), nil); err != nil {
		t.Errorf("it could not be sent: %v", err)
	}
}

func TestTheEnvelopeOfTheReadmeIsAccepted(t *testing.T) {
	e, err := outbox.ParseEnvelope([]byte(fenced(t, "json")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Message(time.Now(), outbox.Channels{outbox.DefaultAccount: builtinChannels()}); err != nil {
		t.Error(err)
	}
}

func TestTheConfigurationFileOfTheReadmeIsAccepted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(path, []byte(fenced(t, "yaml")), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &app{getenv: func(name string) string { return map[string]string{configSetting: path}[name] }}
	cfg, err := a.config(pflag.NewFlagSet("serve", pflag.ContinueOnError))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Accounts) != 2 || cfg.DataDir != "/var/lib/weir" {
		t.Errorf("read %d accounts and the data directory %s", len(cfg.Accounts), cfg.DataDir)
	}
}

func TestTheReadmeExplainsEveryStateAndGateAndTheDashboardEachCure(t *testing.T) {
	_, rest, _ := strings.Cut(readDocument(t, documents[0]), "\n## States\n")
	ofStates, rest, _ := strings.Cut(rest, "\n## Gates")
	ofGates, _, _ := strings.Cut(rest, "\n## ")
	cures := readDocument(t, "internal/admin/web/assets/gates.js")
	unprobed := regexp.MustCompile(`\[(.*)\]\.includes\(gate\.set_by\)`).FindString(readDocument(t, "internal/admin/web/assets/actions.js"))
	for _, state := range outbox.States {
		if !strings.Contains(ofStates, "\n| `"+string(state)+"` |") {
			t.Errorf("README.md has no row for the state %s", state)
		}
	}
	for _, gate := range []dispatcher.Gate{
		{Kind: dispatcher.Parked, SetBy: dispatcher.ByLimit}, {Kind: dispatcher.Degraded, SetBy: dispatcher.ByFailures},
		{Kind: dispatcher.Held, SetBy: dispatcher.ByUnauthorized}, {Kind: dispatcher.Held, SetBy: dispatcher.ByUnpaid},
		{Kind: dispatcher.Held, SetBy: dispatcher.ByNotAPI}, {Kind: dispatcher.Paused, SetBy: dispatcher.ByOperator},
		{Kind: dispatcher.Held, SetBy: dispatcher.ByDisk}, {Kind: dispatcher.Held, SetBy: dispatcher.ByClock},
		{Kind: dispatcher.Degraded, SetBy: dispatcher.ByClock}, {Kind: dispatcher.Degraded, SetBy: dispatcher.BySource},
		{Kind: dispatcher.Degraded, SetBy: dispatcher.ByNATS}, {Kind: dispatcher.Degraded, SetBy: dispatcher.ByWAL},
	} {
		if !strings.Contains(ofGates, "\n| `"+string(gate.Kind)+"` | `"+gate.SetBy+"` |") {
			t.Errorf("README.md has no row for what %s sets as %s", gate.SetBy, gate.Kind)
		}
		if !strings.Contains(cures, "'"+string(gate.Kind)+" "+gate.SetBy+"':") {
			t.Errorf("the dashboard says nothing on what to do when %s sets %s", gate.SetBy, gate.Kind)
		}
		if strings.Contains(unprobed, "'"+gate.SetBy+"'") != (gate.AtHome() || gate.SetBy == dispatcher.BySource) {
			t.Errorf("the dashboard offers a probe, or does not, of what %s sets as %s", gate.SetBy, gate.Kind)
		}
	}
}

var (
	// commandLine is a call of weir in a block, or a code span that is one.
	commandLine = regexp.MustCompile("(?m)(?:^|`)(?:\\$ )?(?:[A-Z_]+=\\S+ )*(?:\\./|go run \\./cmd/)?weir +([^`|;>#\\n]+)")
	quotation   = regexp.MustCompile(`'[^']*'|"[^"]*"`)
	codeBlock   = regexp.MustCompile("(?ms)^```(?:sh|console)\n.*?^```$")
	codeSpan    = regexp.MustCompile("`[^`\n]+`")
)

func TestTheDocumentsNameOnlyCommandsAndFlagsThatExist(t *testing.T) {
	for _, path := range documents {
		text := readDocument(t, path)
		code := codeBlock.FindAllString(text, -1)
		code = append(code, codeSpan.FindAllString(codeBlock.ReplaceAllString(text, ""), -1)...)
		for _, said := range code {
			if strings.HasPrefix(said, "```console") {
				said = onlyTyped(said)
			}
			for _, line := range commandLine.FindAllStringSubmatch(quotation.ReplaceAllString(said, "TEXT"), -1) {
				checkCommand(t, path, strings.Fields(line[1]))
			}
		}
	}
}

// onlyTyped leaves out what a session shows as output.
func onlyTyped(session string) string {
	var typed strings.Builder
	for line := range strings.Lines(session) {
		if strings.HasPrefix(line, "$ ") {
			typed.WriteString(line)
		}
	}
	return typed.String()
}

func checkCommand(t *testing.T, path string, words []string) {
	t.Helper()
	root := (&app{stdin: strings.NewReader(""), stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)}).newRootCommand()
	command, args, err := root.Find(words)
	if err != nil || command == root || command.HasSubCommands() && len(args) > 0 {
		t.Errorf("%s: weir has no command %q", path, strings.Join(words, " "))
		return
	}
	for _, arg := range args {
		name, isFlag := strings.CutPrefix(arg, "--")
		name, _, _ = strings.Cut(name, "=")
		if isFlag && name != "help" && command.Flags().Lookup(name) == nil {
			t.Errorf("%s: %s has no flag --%s", path, command.CommandPath(), name)
		}
	}
}

func TestTheDocumentsLinkOnlyToWhatIsThere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^):#]+)(?:#[^)]*)?\)`)
	for _, path := range documents {
		for _, target := range link.FindAllStringSubmatch(readDocument(t, path), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), target[1])); err != nil {
				t.Errorf("%s links to %s: %v", path, target[1], err)
			}
		}
	}
}
