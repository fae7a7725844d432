package main

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

// replaceFile gives a file another content in one step, as those who rotate
// keys should.
func replaceFile(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestSIGHUPTakesOverKeyLimitsAndLogLevelAndNamesWhatNeedsARestart(t *testing.T) {
	r := newRig(t, sandbox.Config{Keys: []string{"new_key"}})
	delete(r.env, "WEIR_API_KEY")
	delete(r.env, "WEIR_CONCURRENCY")
	r.env["WEIR_PROBE_INTERVAL"], r.env["WEIR_ADMIN_TOKEN"] = "1h", "admin_token"
	write(t, "weir.yaml", "concurrency: 4\napi_key: old_key\n")
	daemon := r.serve()
	keys := keysOf("k", 20)
	r.send(envelopes(keys)...)
	r.awaitBucket("rcs", "held", "the API refuses the key")

	write(t, "weir.yaml", "concurrency: 32\napi_key: new_key\nlog_level: warn\nbulk_reserve: 0.5\nmax_pending: 7\nretry_for: 10h\n")
	daemon.signal(syscall.SIGHUP)
	daemon.awaitLine("configuration reloaded", "WEIR_CONCURRENCY WEIR_BULK_RESERVE WEIR_MAX_PENDING WEIR_LOG_LEVEL WEIR_API_KEY")
	daemon.awaitLine("after a restart only", "WEIR_RETRY_FOR")
	r.awaitState(outbox.Sent, len(keys))
	r.wantSent(keys...)
	if most := daemon.post(t, envelope(keys[0], rcsBody)).Get("X-RateLimit-Limit"); most != "7" {
		t.Errorf("%q messages may wait, want 7", most)
	}
	daemon.signal(syscall.SIGHUP)
	daemon.awaitLine("after a restart only", `"reload":2`)
	daemon.stop()
	if said := strings.Join(daemon.stderr, "\n"); strings.Contains(said, `"msg":"stopped"`) {
		t.Error("the log goes on below its level")
	}
}

// post hands a message over by HTTP and gives the answer's header.
func (s *served) post(t *testing.T, envelope string) http.Header {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.http+"/api/v1/messages", strings.NewReader(envelope))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer admin_token")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("it is answered with %d", resp.StatusCode)
	}
	return resp.Header
}

func TestAConfigurationWithAFaultIsRefusedAsAWhole(t *testing.T) {
	r := newRig(t, sandbox.Config{Keys: []string{sandbox.DefaultKey}})
	delete(r.env, "WEIR_API_KEY")
	write(t, "weir.yaml", "api_key: "+sandbox.DefaultKey+"\n")
	daemon := r.serve()
	write(t, "weir.yaml", "api_key: secret_other\nbulk_reserve: 7\nlog_levle: debug\n")
	daemon.signal(syscall.SIGHUP)
	daemon.awaitLine("not reloaded", "WEIR_BULK_RESERVE (./weir.yaml:2)", "log_levle (./weir.yaml:3)", "did you mean log_level?")
	if err := os.Remove("weir.yaml"); err != nil { // which no other command would take either
		t.Fatal(err)
	}
	r.send(envelope("k", rcsBody))
	r.awaitState(outbox.Sent, 1)
	r.wantSent("k")
	daemon.stop()
	if said := strings.Join(daemon.stderr, "\n"); strings.Contains(said, "secret_other") {
		t.Error("the log has a key")
	}
}

func TestAKeyThatIsRotatedBeforeTheOldOneEndsCostsNoMessageAnything(t *testing.T) {
	r := newRig(t, sandbox.Config{Keys: []string{"old_key", "new_key"}})
	delete(r.env, "WEIR_API_KEY")
	r.env["WEIR_API_KEY_FILE"] = write(t, "api.key", "old_key\n")
	daemon := r.serve()
	r.send(envelope("before", rcsBody))
	r.awaitState(outbox.Sent, 1)
	replaceFile(t, "api.key", "new_key\n")
	daemon.awaitLine("the API key has changed")
	r.api.SetKeys("new_key")
	keys := keysOf("k", 20)
	r.send(envelopes(keys)...)
	r.awaitState(outbox.Sent, 21)
	r.wantSent(append(keys, "before")...)
	if n := r.api.Stats().Status[401]; n > 0 {
		t.Errorf("%d requests were refused", n)
	}
}

func TestWhatARunningDaemonTakesOver(t *testing.T) {
	const two = "accounts:\n  a: {url: https://a.example, key_file: a.key}\n  b: {url: https://b.example, key_file: b.key}\n"
	before, err := setup{env: enough(), yaml: two}.load(t)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		yaml        string
		env         map[string]string
		taken, left []string
	}{
		"nothing changes":        {yaml: two, env: enough()},
		"the same said anew":     {yaml: two, env: enough("WEIR_RETRY_FOR", "1200m")},
		"another concurrency":    {yaml: two, env: enough("WEIR_CONCURRENCY", "9"), taken: []string{"WEIR_CONCURRENCY"}},
		"another folder":         {yaml: two, env: enough("WEIR_DATA_DIR", "d"), left: []string{"WEIR_DATA_DIR"}},
		"another key":            {yaml: two, env: enough("WEIR_API_KEY", "k"), taken: []string{"WEIR_API_KEY"}},
		"a key in a file":        {yaml: strings.Replace(two, "a.key", "c.key", 1), env: enough(), taken: []string{"accounts.a.key_file"}},
		"another API":            {yaml: strings.Replace(two, "a.example", "c.example", 1), env: enough(), left: []string{"accounts.a.url"}},
		"another API and key":    {yaml: strings.Replace(two, "a.example, key_file: a", "c.example, key_file: c", 1), env: enough(), left: []string{"accounts.a.url", "accounts.a.key_file"}},
		"another scope":          {yaml: strings.Replace(two, "a.key", "a.key, limit: key", 1), env: enough(), left: []string{"accounts.a.limit"}},
		"another channel":        {yaml: strings.Replace(two, "a.key", "a.key, channels: [x]", 1), env: enough(), left: []string{"accounts.a.channels"}},
		"an account goes, a new": {yaml: strings.Replace(two, " b:", " c:", 1), env: enough(), left: []string{"accounts.b", "accounts.c"}},
	} {
		t.Run(name, func(t *testing.T) {
			next, err := setup{env: c.env, yaml: c.yaml}.load(t)
			if err != nil {
				t.Fatal(err)
			}
			adopted, taken, left := before.adopt(next)
			if !slices.Equal(taken, c.taken) || !slices.Equal(left, c.left) {
				t.Errorf("taken %v, left %v; want %v and %v", taken, left, c.taken, c.left)
			}
			if len(left) > 0 && adopted.account("a").KeyFile != "a.key" {
				t.Error("the key of another API is taken")
			}
			if _, again, _ := adopted.adopt(next); len(again) > 0 {
				t.Errorf("taken twice: %v", again)
			}
		})
	}
}

// load is serve for a configuration whose key files are not there.
func (s setup) load(t *testing.T) (*Config, error) {
	t.Helper()
	a, flags := s.flags(t)
	return a.config(flags)
}
