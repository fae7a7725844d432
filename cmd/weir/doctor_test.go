package main

import (
	"encoding/json"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

// doctor runs weir doctor and gives its exit code and lines.
func (d *desk) doctor() (code int, said string) {
	d.t.Helper()
	code, stdout, stderr := d.run(d.t.Context(), strings.NewReader(""), "doctor")
	if (code == exitDone) != (stderr == "") {
		d.t.Errorf("exit %d, errors %q", code, stderr)
	}
	return code, stdout
}

// wantLine looks for a line of the result that has all the parts.
func wantLine(t *testing.T, said, result string, parts ...string) {
	t.Helper()
	for line := range strings.Lines(said) {
		found := strings.HasPrefix(line, result+" ")
		for _, part := range parts {
			found = found && strings.Contains(line, part)
		}
		if found {
			return
		}
	}
	t.Errorf("there is no line of %s with %q in\n%s", result, parts, said)
}

func TestTheDoctorFindsNothingBesideAHealthyDaemonAndTakesNothingOfTheLimit(t *testing.T) {
	r := newRig(t, sandbox.Config{Keys: []string{sandbox.DefaultKey}, Limit: 5, Window: time.Hour})
	r.env["WEIR_NATS_LISTEN"], r.env["WEIR_LISTEN"] = freeAddress(t), freeAddress(t)
	r.serve()
	for range 6 {
		code, said := r.doctor()
		if code != exitDone || strings.Contains(said, "fail ") || strings.Contains(said, "warn ") {
			t.Fatalf("exit %d:\n%s", code, said)
		}
		for _, parts := range [][]string{
			{"settings:"}, {"data directory:"}, {"disk:"}, {"database:", "no damage"}, {"daemon:", "heartbeat"}, {"http:", "is ready"},
			{"nats:", "lets producers in"}, {"account default:", "takes the key"}, {"account default:", "clock agrees"},
		} {
			wantLine(t, said, "ok", parts...)
		}
		if strings.Contains(said, sandbox.DefaultKey) {
			t.Fatal("the key is printed")
		}
	}
	r.send(envelopes(keysOf("k", 5))...)
	r.awaitState(outbox.Sent, 5)
	if stats := r.api.Stats(); stats.Throttled > 0 || len(stats.Violations) > 0 {
		t.Errorf("%d answers of 429, violations %v", stats.Throttled, stats.Violations)
	}
	delete(r.env, "WEIR_API_KEY")
	_, said := r.doctor()
	wantLine(t, said, "fail", "settings: WEIR_API_KEY")
	wantLine(t, said, "warn", "settings: a daemon runs", "with other settings")
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestTheDoctorChangesNothing(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	r.send(envelopes(keysOf("k", 20))...)
	before := contents(t, ".")
	if code, said := r.doctor(); code != exitDone {
		t.Errorf("exit %d\n%s", code, said)
	} else {
		wantLine(t, said, "warn", "daemon: none runs", "weir serve")
	}
	if after := contents(t, "."); !maps.Equal(before, after) {
		t.Errorf("files before %v, after %v", len(before), len(after))
	}
	if n := r.api.Stats().Executed; n > 0 {
		t.Errorf("%d messages were sent", n)
	}
}

func TestTheDoctorNamesWhatIsWrongWithTheAPI(t *testing.T) {
	const key = "sk_doctor_4711"
	answers := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, c := range map[string]struct {
		api    http.HandlerFunc // nil: nobody listens
		tls    bool
		result string
		parts  []string
	}{
		"a refused key":           {answers(401, "application/json", `{"error":"invalid_api_key","message":"no `+key+`"}`), false, "fail", []string{"refuses the key (401 invalid_api_key)", "into WEIR_API_KEY"}},
		"a key that may not list": {answers(403, "application/json", `{"error":"forbidden"}`), false, "warn", []string{"lets it not list"}},
		"no list":                 {answers(405, "application/json", `{"error":"method_not_allowed"}`), false, "warn", []string{"no list"}},
		"no room":                 {answers(429, "application/json", `{"error":"rate_limit_exceeded"}`), false, "warn", []string{"the key is not tried"}},
		"a failing API":           {answers(503, "text/html", `oops`), false, "warn", []string{"fails (503"}},
		"a portal":                {answers(200, "text/html", `<html>sign in</html>`), false, "fail", []string{"something else answers", "a portal"}},
		"a redirect":              {answers(302, "text/html", ``), false, "fail", []string{"something else answers"}},
		"a foreign certificate":   {answers(200, "application/json", `{}`), true, "fail", []string{"cannot prove to be the API"}},
		"nobody there":            {nil, false, "fail", []string{"is not reached (dial)"}},
		"a clock years away": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(-49*time.Hour-30*time.Minute).UTC().Format(http.TimeFormat))
			_, _ = w.Write([]byte(`{}`))
		}, false, "fail", []string{"clock is 2 d 1 h ahead of the API's", "NTP"}},
		"a clock that is late": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(20*time.Second).UTC().Format(http.TimeFormat))
			_, _ = w.Write([]byte(`{}`))
		}, false, "warn", []string{"s behind the API's"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.env["WEIR_NATS_LISTEN"], d.env["WEIR_LISTEN"], d.env["WEIR_API_KEY"] = "off", "off", key
			d.env["WEIR_API_URL"] = "http://" + freeAddress(t)
			if c.api != nil {
				api := httptest.NewUnstartedServer(c.api)
				api.Config.ErrorLog = log.New(io.Discard, "", 0)
				if c.tls {
					api.StartTLS()
				} else {
					api.Start()
				}
				defer api.Close()
				d.env["WEIR_API_URL"] = api.URL
			}
			code, said := d.doctor()
			if (code == exitFailed) != (c.result == "fail") {
				t.Errorf("exit %d", code)
			}
			wantLine(t, said, c.result, append(c.parts, "account default: ")...)
			if strings.Contains(said, key) {
				t.Error("the key is printed")
			}
		})
	}
}

func TestTheDoctorNamesWhatIsWrongWithTheMachine(t *testing.T) {
	for name, c := range map[string]struct {
		harm   func(d *desk)
		result string
		parts  []string
	}{
		"settings":       {func(d *desk) { d.env["WEIR_BULK_RESERVE"] = "7" }, "fail", []string{"settings: WEIR_BULK_RESERVE (environment)"}},
		"an open folder": {func(d *desk) { d.chmod(0o755) }, "fail", []string{"data directory:", "chmod 700"}},
		"no space":       {func(d *desk) { d.env["WEIR_MIN_FREE"] = "900000TiB" }, "fail", []string{"disk:", "make space"}},
		"damage": {func(d *desk) {
			write(d.t, filepath.Join(d.dir, "weir.db"), strings.Repeat("x", 9000))
		}, "fail", []string{"database:", "restore a backup"}},
		"an empty file":       {func(d *desk) { write(d.t, filepath.Join(d.dir, "weir.db"), "") }, "fail", []string{"database:", "it is empty"}},
		"a newer file":        {func(d *desk) { d.alter(`PRAGMA user_version = 999`) }, "fail", []string{"database:", "use a newer weir"}},
		"an address":          {func(d *desk) { d.env["WEIR_LISTEN"] = taken(t) }, "fail", []string{"http: WEIR_LISTEN", "address already in use"}},
		"a NATS that is down": {func(d *desk) { d.env["WEIR_NATS_URL"] = "nats://u:hidden@" + freeAddress(t) }, "fail", []string{"nats:", "WEIR_NATS_URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newRig(t, sandbox.Config{}).desk
			d.send(envelope("k", rcsBody))
			c.harm(d)
			code, said := d.doctor()
			if code != exitFailed {
				t.Errorf("exit %d", code)
			}
			wantLine(t, said, c.result, c.parts...)
			if strings.Contains(said, "hidden") {
				t.Error("a password is printed")
			}
		})
	}
}

func (d *desk) chmod(mode os.FileMode) {
	d.t.Helper()
	if err := os.Chmod(d.dir, mode); err != nil {
		d.t.Fatal(err)
	}
}

func TestTheDoctorExaminesAnExternalNATSAndPrintsItsSetup(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	nats := newExternalNATS(t)
	r.env["WEIR_NATS_URL"] = nats.srv.ClientURL()
	code, said := r.doctor()
	wantLine(t, said, "ok", "nats: version "+server.VERSION)
	wantLine(t, said, "ok", "nats: WEIR_SEND is made at the first start")
	if code != exitDone || !strings.Contains(said, "sync_interval: always") || !strings.Contains(said, `publish: { allow: ["weir.send", "weir.rpc.>", `) {
		t.Errorf("exit %d\n%s", code, said)
	}
	r.env["WEIR_LISTEN"] = freeAddress(t)
	r.serve()
	if code, said := r.doctor(); code != exitDone || strings.Contains(said, "first start") {
		t.Errorf("beside a daemon: exit %d\n%s", code, said)
	}
	r.env["WEIR_DATA_DIR"] = "elsewhere"
	code, said = r.doctor()
	wantLine(t, said, "fail", "instance weir, has the intake")
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
}

func TestTheDoctorSpeaksJSON(t *testing.T) {
	d := newRig(t, sandbox.Config{}).desk
	for line := range strings.Lines(d.do("doctor", "--json")) {
		var f struct{ Result, What, Detail, Do string }
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.Result == "" || f.What == "" || f.Detail == "" {
			t.Errorf("%s: %v", line, err)
		}
	}
}
