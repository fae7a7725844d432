package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

const testKey = "sk-Secret-4711"

// setup is one configuration as a person would give it.
type setup struct {
	yaml string // ./weir.yaml; none if empty
	env  map[string]string
	args []string // flags of "weir serve"
}

// enough are the settings that serve cannot do without.
func enough(more ...string) map[string]string {
	env := map[string]string{"WEIR_API_URL": "https://api.example.com", "WEIR_API_KEY": testKey}
	for i := 0; i < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	return env
}

func (s setup) flags(t *testing.T) (*app, *pflag.FlagSet) {
	t.Helper()
	t.Chdir(t.TempDir())
	if s.yaml != "" {
		write(t, "weir.yaml", s.yaml)
	}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	addSettingFlags(flags)
	if err := flags.Parse(s.args); err != nil {
		t.Fatal(err)
	}
	return &app{getenv: func(name string) string { return s.env[name] }}, flags
}

func (s setup) serve(t *testing.T) (*Config, error) {
	t.Helper()
	a, flags := s.flags(t)
	return a.serveConfig(flags)
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// blamed lists the settings that err finds fault with, each with its place.
func blamed(err error) []string {
	var names []string
	if f, ok := err.(*fault); ok {
		return []string{strings.TrimSuffix(f.setting+" "+f.where, " ")}
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			names = append(names, blamed(one)...)
		}
	case interface{ Unwrap() error }:
		names = blamed(e.Unwrap())
	}
	return names
}

func TestDefaultsHoldWhereNothingIsSaid(t *testing.T) {
	got, err := setup{env: enough()}.serve(t)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		DataDir: "./weir-data", File: "./weir.yaml", Instance: "weir",
		APIURL: "https://api.example.com", APIKey: testKey,
		Accounts: []Account{{
			Name: "default", URL: "https://api.example.com", Key: testKey, LimitScope: LimitByChannel,
			urlFrom: "WEIR_API_URL", keyFrom: "WEIR_API_KEY",
		}},
		NATSListen: "127.0.0.1:4222", Listen: "127.0.0.1:7070",
		Concurrency: 64, RequestTimeout: 30 * time.Second, RetryFor: 20 * time.Hour, KeyLifetime: 24 * time.Hour,
		SettleWait: 5 * time.Second, BackoffBase: 500 * time.Millisecond, BackoffMax: 5 * time.Minute,
		ProbeInterval: 30 * time.Second, DrainTimeout: 30 * time.Second, BulkReserve: 0.1, MinFree: 256 << 20,
		KeepBodies: 168 * time.Hour, KeepRows: 2160 * time.Hour, LogLevel: slog.LevelInfo, LogFormat: "text",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAFlagGoesBeforeTheEnvironmentThatBeforeTheFileThatBeforeTheDefault(t *testing.T) {
	const yaml = "concurrency: 3\n"
	env := enough("WEIR_CONCURRENCY", "4")
	for name, c := range map[string]struct {
		setup
		want int
	}{
		"the default alone":               {setup{env: enough()}, 64},
		"the file over the default":       {setup{yaml: yaml, env: enough()}, 3},
		"the environment over the file":   {setup{yaml: yaml, env: env}, 4},
		"a flag over all":                 {setup{yaml: yaml, env: env, args: []string{"--concurrency=5"}}, 5},
		"an empty variable says nothing":  {setup{yaml: yaml, env: enough("WEIR_CONCURRENCY", "")}, 3},
		"an empty file entry as little":   {setup{yaml: "concurrency:\n", env: enough()}, 64},
		"a flag over the default as well": {setup{env: enough(), args: []string{"--concurrency", "6"}}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.serve(t)
			if err != nil {
				t.Fatal(err)
			}
			if got.Concurrency != c.want {
				t.Errorf("concurrency %d, want %d", got.Concurrency, c.want)
			}
		})
	}
}

func TestAnEmptyFlagTakesBackWhatTheEnvironmentSays(t *testing.T) {
	got, err := setup{env: enough("WEIR_NATS_URL", "nats://other:4222"), args: []string{"--nats-url="}}.serve(t)
	if err != nil {
		t.Fatal(err)
	}
	if got.NATSURL != "" {
		t.Error("the NATS of the environment is still there")
	}
}

func TestEachBadValueIsRefusedByTheNameOfItsSetting(t *testing.T) {
	bad := map[string][]string{
		"WEIR_INSTANCE":        {"Weir", "a b", "a.b", strings.Repeat("x", 33)},
		"WEIR_API_URL":         {"http://api.example.com", "https://user:pw@api.example.com", "https://api.example.com?key=1", "https://api.example.com?", "https://api.example.com#", "ftp://api.example.com", "api.example.com", "https://", "https://%zz"},
		"WEIR_API_KEY":         {"with space", "with\nline", "ümlaut", "\x00"},
		"WEIR_NATS_URL":        {"http://127.0.0.1:4222", "127.0.0.1:4222", "nats://a:1,b:2"},
		"WEIR_NATS_LISTEN":     {"4222", "127.0.0.1:http", "127.0.0.1:65536", "OFF", "0.0.0.0:4222", ":4222", "weir.example.com:4222"},
		"WEIR_NATS_TOKEN":      {"with space"},
		"WEIR_LISTEN":          {"7070", "127.0.0.1:-1", "[::]:7070"},
		"WEIR_ADMIN_TOKEN":     {"with\ttab"},
		"WEIR_CONCURRENCY":     {"0", "1025", "-1", "many", "1.5"},
		"WEIR_REQUEST_TIMEOUT": {"0s", "-1s", "30", "soon", "3h59m1ms"},
		"WEIR_RETRY_FOR":       {"0s", "23h1ms", "24h", "x"},
		"WEIR_KEY_LIFETIME":    {"0", "1 day"},
		"WEIR_SETTLE_WAIT":     {"-1ms", "x"},
		"WEIR_BACKOFF_BASE":    {"0s", "6m"},
		"WEIR_BACKOFF_MAX":     {"0s", "x"},
		"WEIR_PROBE_INTERVAL":  {"0s"},
		"WEIR_DRAIN_TIMEOUT":   {"0s"},
		"WEIR_BULK_RESERVE":    {"-0.1", "0.91", "NaN", "ten"},
		"WEIR_MIN_FREE":        {"256", "256MB", "0MiB", "-1GiB", "1.5GiB", "1000000TiB"},
		"WEIR_MAX_PENDING":     {"0", "-1", "none"},
		"WEIR_KEEP_BODIES":     {"7d", "23h59m"},
		"WEIR_KEEP_ROWS":       {"0s", "167h59m"},
		"WEIR_LOG_LEVEL":       {"trace", "INFO"},
		"WEIR_LOG_FORMAT":      {"xml"},
	}
	for setting, values := range bad {
		for _, value := range values {
			t.Run(setting+"="+value, func(t *testing.T) {
				_, err := setup{env: enough(setting, value)}.serve(t)
				names := blamed(err)
				if len(names) != 1 || strings.TrimSuffix(names[0], " environment") != setting {
					t.Errorf("blamed %q, want %s alone", names, setting)
				}
			})
		}
	}
}

func TestGoodValuesAtTheEdgesAreTaken(t *testing.T) {
	for _, more := range [][]string{
		{"WEIR_API_URL", "http://localhost:8080"},
		{"WEIR_API_URL", "http://127.9.9.9:8080/base/"},
		{"WEIR_API_URL", "http://[::1]:8080"},
		{"WEIR_RETRY_FOR", "23h"},
		{"WEIR_REQUEST_TIMEOUT", "3h59m"},
		{"WEIR_BACKOFF_BASE", "5m"},
		{"WEIR_SETTLE_WAIT", "0s"},
		{"WEIR_KEEP_BODIES", "24h", "WEIR_KEEP_ROWS", "24h"},
		{"WEIR_BULK_RESERVE", "0.9"},
		{"WEIR_BULK_RESERVE", "0"},
		{"WEIR_CONCURRENCY", "1024"},
		{"WEIR_MIN_FREE", "999999TiB"},
		{"WEIR_NATS_LISTEN", "off", "WEIR_LISTEN", "off"},
		{"WEIR_NATS_LISTEN", "[::1]:0", "WEIR_LISTEN", "localhost:0"},
		{"WEIR_NATS_LISTEN", "0.0.0.0:4222", "WEIR_NATS_TOKEN", "t"},
		{"WEIR_NATS_LISTEN", "0.0.0.0:4222", "WEIR_NATS_URL", "tls://u:p@a.example.com:4222, nats://b:4222"},
		{"WEIR_LISTEN", ":7070", "WEIR_ADMIN_TOKEN", "t"},
		{"WEIR_API_KEY", " " + testKey + "\n"},
	} {
		if _, err := (setup{env: enough(more...)}).serve(t); err != nil {
			t.Errorf("%q: %v", more, err)
		}
	}
}

func TestAllFaultsAreReportedAtOnceAndWhereTheyStand(t *testing.T) {
	_, err := setup{
		yaml: "log_level: loud\nkeep_rows: 200h\nconcurency: 3\naccounts:\n  b:\n    url: http://b.example.com\n    limit: both\n    channels: [ok, NO]\n    chanels: x\n",
		env:  map[string]string{"WEIR_MIN_FREE": "lots", "WEIR_NATS_LISTEN": "0.0.0.0:1"},
		args: []string{"--retry-for=25h", "--concurrency=0"},
	}.serve(t)
	got := blamed(err)
	want := []string{
		"WEIR_CONCURRENCY --concurrency",
		"WEIR_LOG_LEVEL ./weir.yaml:1",
		"WEIR_MIN_FREE environment",
		"WEIR_NATS_LISTEN",
		"WEIR_RETRY_FOR",
		"accounts.b.chanels ./weir.yaml:9",
		"accounts.b.channels ./weir.yaml:8",
		"accounts.b.key_file",
		"accounts.b.limit ./weir.yaml:7",
		"accounts.b.url ./weir.yaml:6",
		"concurency ./weir.yaml:3",
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	if _, ok := errors.AsType[*usageError](err); !ok {
		t.Error("a bad flag is not reported as wrong usage")
	}
}

func TestServeNeedsAURLAndAKeyAndOtherCommandsNeither(t *testing.T) {
	_, err := setup{}.serve(t)
	if got := blamed(err); !slices.Equal(got, []string{"WEIR_API_URL", "WEIR_API_KEY"}) || !errors.Is(err, errNeeded) {
		t.Errorf("serve blames %q", got)
	}
	a, flags := setup{}.flags(t)
	c, err := a.config(flags)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Channels()["default"]; !slices.Equal(got, []string{"rcs", "email", "default"}) {
		t.Errorf("channels of the default account: %q", got)
	}
}

func TestTheDefaultFileMayBeAbsentAndANamedOneMayNot(t *testing.T) {
	for name, s := range map[string]setup{
		"in the environment": {env: enough("WEIR_CONFIG", "./weir.yaml")},
		"by flag":            {env: enough(), args: []string{"--config", "gone.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.serve(t)
			if got := blamed(err); len(got) != 1 || !strings.HasPrefix(got[0], "WEIR_CONFIG ") || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAFileThatCannotBeReadIsNotBlamedForWhatItMayHold(t *testing.T) {
	_, err := setup{yaml: "accounts: [\n"}.serve(t)
	if got := blamed(err); len(got) != 1 || !strings.HasPrefix(got[0], "./weir.yaml:") {
		t.Errorf("blamed %q", got)
	}
}

func TestAnEmptyConfigFlagIsOneFault(t *testing.T) {
	_, err := setup{env: enough(), args: []string{"--config="}}.serve(t)
	if got := blamed(err); !slices.Equal(got, []string{"WEIR_CONFIG --config"}) {
		t.Errorf("blamed %q", got)
	}
}

func TestAMalformedFileIsRefusedByLineWithoutQuotingIt(t *testing.T) {
	for yaml, want := range map[string]string{
		"log_level: info\nadmin_token: '" + testKey + "\n":       "./weir.yaml:2",
		"log_level: info\nlog_level: warn\n":                     "./weir.yaml:2",
		"admin_token: " + testKey + ": x\n":                      "./weir.yaml:1",
		"admin_token: >" + testKey + "\n":                        "./weir.yaml:1",
		"admin_token: |\"" + testKey + "\n":                      "./weir.yaml:1",
		"nats_token: {" + testKey + ": 1, " + testKey + ": 2}\n": "./weir.yaml:1",
		"listen: [a\n":                     "./weir.yaml:1",
		"- listen\n":                       "./weir.yaml ./weir.yaml:1",
		"listen: off\n---\nlisten: off\n":  "./weir.yaml",
		"listen: [a]\n":                    "WEIR_LISTEN ./weir.yaml:1",
		"a: &x off\n":                      "a ./weir.yaml:1",
		"config: other.yaml\n":             "config ./weir.yaml:1",
		"accounts: b\n":                    "accounts ./weir.yaml:1",
		"accounts: {B: {}}\n":              "accounts.B ./weir.yaml:1",
		"accounts: {b: {channels: x}}\n":   "accounts.b.channels ./weir.yaml:1",
		"accounts: {b: {channels: [~]}}\n": "accounts.b.channels",
	} {
		t.Run(yaml, func(t *testing.T) {
			a, flags := setup{yaml: yaml}.flags(t)
			_, err := a.config(flags)
			if got := blamed(err); !slices.Equal(got, []string{want}) {
				t.Errorf("blamed %q, want %q (%v)", got, want, err)
			}
			if err != nil && strings.Contains(err.Error(), testKey) {
				t.Errorf("the error quotes a secret: %v", err)
			}
		})
	}
}

func TestAFileOfCommentsSaysNothing(t *testing.T) {
	for _, yaml := range []string{"# listen: off\n", "---\n", "# weir\n---\nlog_level: warn\n", "accounts:\n"} {
		if _, err := (setup{yaml: yaml, env: enough()}).serve(t); err != nil {
			t.Errorf("%q: %v", yaml, err)
		}
	}
}

func TestATokenThatCanBeGuessedIsWarnedOfBeyondLoopback(t *testing.T) {
	for listen, want := range map[string]int{"127.0.0.1:1": 0, "0.0.0.0:1": 1} {
		c, err := setup{env: enough("WEIR_LISTEN", listen, "WEIR_ADMIN_TOKEN", "secret", "WEIR_NATS_LISTEN", "0.0.0.0:2", "WEIR_NATS_TOKEN", "0123456789abcdef")}.serve(t)
		if err != nil || len(c.Warnings) != want {
			t.Errorf("on %s: warnings %q, %v", listen, c.Warnings, err)
		}
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	c, err := setup{env: enough("WEIR_ADMIN_TOKEN", testKey, "WEIR_NATS_TOKEN", testKey, "WEIR_NATS_URL", "nats://u:"+testKey+"@h:1")}.serve(t)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb, *c)
	}
	fmt.Fprint(&out, c.Accounts, c.APIKey)
	if err := json.NewEncoder(&out).Encode(c); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"text", "json"} {
		c.LogFormat = format
		c.logger(&out).Info("started", "config", c, "key", c.APIKey)
	}
	for _, leak := range []string{testKey, fmt.Sprintf("%x", testKey), fmt.Sprintf("%X", testKey)} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q was printed", leak)
		}
	}
	if !strings.Contains(out.String(), redacted) {
		t.Error("nothing shows that there is a secret")
	}
}

func TestErrorsDoNotRepeatSecrets(t *testing.T) {
	spaced := testKey + " x"
	for _, setting := range []string{"WEIR_API_KEY", "WEIR_ADMIN_TOKEN", "WEIR_NATS_TOKEN", "WEIR_NATS_URL"} {
		_, err := setup{env: enough(setting, spaced)}.serve(t)
		if err == nil || strings.Contains(err.Error(), testKey) {
			t.Errorf("%s: %v", setting, err)
		}
	}
	_, err := setup{env: enough("WEIR_API_URL", "https://u:"+testKey+"@h/?k="+testKey)}.serve(t)
	if err == nil || strings.Contains(err.Error(), testKey) {
		t.Errorf("WEIR_API_URL: %v", err)
	}
}

func TestTheLogKeepsToItsLevelAndFormat(t *testing.T) {
	c, err := setup{env: enough("WEIR_LOG_LEVEL", "warn", "WEIR_LOG_FORMAT", "json")}.serve(t)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log := c.logger(&out)
	log.Info("low")
	log.Warn("high")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "high" {
		t.Errorf("logged %q", out.String())
	}
}

func TestAccountsOfTheFileStandBesideTheDefaultOne(t *testing.T) {
	c, err := setup{
		env: enough(),
		yaml: "accounts:\n" +
			"  b: {url: HTTPS://B.example.com/v/, key_file: b.key, limit: key, channels: [push, rcs, push]}\n" +
			"  default: {channels: [promo]}\n",
		args: []string{"--log-level=warn"},
	}.serveWith(t, map[string]string{"b.key": "other\n"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Account{
		{Name: "b", URL: "https://b.example.com/v", KeyFile: "b.key", LimitScope: LimitByKey, Channels: []string{"push", "rcs"},
			urlFrom: "accounts.b.url", keyFrom: "accounts.b.key_file"},
		{Name: "default", URL: "https://api.example.com", Key: testKey, LimitScope: LimitByChannel, Channels: []string{"promo"},
			urlFrom: "WEIR_API_URL", keyFrom: "WEIR_API_KEY"},
	}
	if !reflect.DeepEqual(c.Accounts, want) {
		t.Errorf("got  %+v\nwant %+v", c.Accounts, want)
	}
	channels := c.Channels()
	if got := slices.Sorted(maps.Keys(channels)); !slices.Equal(got, []string{"b", "default"}) {
		t.Errorf("accounts %q", got)
	}
	for account, channel := range map[string]string{"b": "push", "default": "promo"} {
		if !slices.Contains(channels[account], channel) || !slices.Contains(channels[account], "email") {
			t.Errorf("account %s: %q", account, channels[account])
		}
	}
}

// serveWith is serve with files beside weir.yaml.
func (s setup) serveWith(t *testing.T, files map[string]string) (*Config, error) {
	t.Helper()
	a, flags := s.flags(t)
	for path, text := range files {
		write(t, path, text)
	}
	return a.serveConfig(flags)
}

func TestWithoutAPISettingsTheAccountsOfTheFileAreAll(t *testing.T) {
	c, err := setup{yaml: "accounts: {b: {url: https://b.example.com, key_file: k}}\n"}.serveWith(t, map[string]string{"k": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Accounts) != 1 || c.Accounts[0].Name != "b" {
		t.Errorf("accounts %+v", c.Accounts)
	}
}

func TestTheFilesDefaultAccountGoesBeforeTheAPISettingsWithAWarning(t *testing.T) {
	c, err := setup{env: enough(), yaml: "accounts: {default: {url: https://d.example.com, key_file: k}}\n"}.
		serveWith(t, map[string]string{"k": "x"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := c.Accounts[0].ReadKey()
	if err != nil || key != "x" || c.Accounts[0].URL != "https://d.example.com" {
		t.Errorf("account %+v", c.Accounts[0])
	}
	if len(c.Warnings) != 2 || !strings.Contains(c.Warnings[0], "WEIR_API_URL") || !strings.Contains(c.Warnings[1], "WEIR_API_KEY") {
		t.Errorf("warnings %q", c.Warnings)
	}
}

func TestTwoAccountsWithOneURLAndKeyAreRefused(t *testing.T) {
	_, err := setup{env: enough(), yaml: "accounts: {b: {url: https://API.example.com/, key_file: k}}\n"}.
		serveWith(t, map[string]string{"k": testKey + "\n"})
	if got := blamed(err); !slices.Equal(got, []string{"accounts.default"}) {
		t.Errorf("blamed %q", got)
	}
	if err != nil && strings.Contains(err.Error(), testKey) {
		t.Errorf("the error repeats the key: %v", err)
	}
}

func TestAnAccountListsAtMostSixtyFourChannels(t *testing.T) {
	var names []string
	for i := range 65 {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	list := func(n int) string { return "accounts: {default: {channels: [" + strings.Join(names[:n], ",") + "]}}\n" }
	if _, err := (setup{env: enough(), yaml: list(64)}).serve(t); err != nil {
		t.Errorf("64: %v", err)
	}
	if _, err := (setup{env: enough(), yaml: list(65)}).serve(t); !slices.Equal(blamed(err), []string{"accounts.default.channels ./weir.yaml:1"}) {
		t.Errorf("65: %v", err)
	}
}

func TestTheKeyFileIsReadAnewEachTime(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "key"), " old\n")
	a := Account{Name: "default", KeyFile: path}
	for _, want := range []string{"old", "new"} {
		if key, err := a.ReadKey(); err != nil || key != want {
			t.Errorf("got %q, %v; want %q", key, err, want)
		}
		write(t, path, "new\n")
	}
}

func TestAKeyIsReadFromAFileOnlySinceAPipeCouldKeepItsReaderForEver(t *testing.T) {
	if _, err := (Account{Name: "default", KeyFile: os.DevNull}).ReadKey(); !errors.Is(err, errNoFile) {
		t.Errorf("got %v", err)
	}
}

func TestAKeyFileThatHoldsNoKeyIsRefusedAtStart(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  error
	}{
		"absent":            {nil, fs.ErrNotExist},
		"empty":             {map[string]string{"k": " \n"}, errEmpty},
		"two lines":         {map[string]string{"k": "a\nb\n"}, errNotVisible},
		"not visible ASCII": {map[string]string{"k": "\ufeff" + testKey}, errNotVisible},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := setup{env: map[string]string{"WEIR_API_URL": "https://a.example.com", "WEIR_API_KEY_FILE": "k"}}.serveWith(t, c.files)
			if got := blamed(err); !slices.Equal(got, []string{"WEIR_API_KEY_FILE"}) || !errors.Is(err, c.want) {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), testKey) {
				t.Errorf("the error repeats the key: %v", err)
			}
		})
	}
}

func TestKeyAndKeyFileTogetherAreRefused(t *testing.T) {
	_, err := setup{env: enough("WEIR_API_KEY_FILE", "k")}.serveWith(t, map[string]string{"k": "x"})
	if got := blamed(err); !slices.Equal(got, []string{"WEIR_API_KEY"}) {
		t.Errorf("blamed %q", got)
	}
}

func TestASecretThatEveryUserCanReadIsWarnedAbout(t *testing.T) {
	a, flags := setup{yaml: "accounts: {default: {key_file: k}}\nadmin_token: t\n", env: map[string]string{"WEIR_API_URL": "https://a.example.com"}}.flags(t)
	write(t, "k", "x")
	for _, path := range []string{"k", "weir.yaml"} {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := a.serveConfig(flags)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 2 || !strings.HasPrefix(c.Warnings[0], "./weir.yaml ") || !strings.HasPrefix(c.Warnings[1], "k ") {
		t.Errorf("warnings %q", c.Warnings)
	}
}
