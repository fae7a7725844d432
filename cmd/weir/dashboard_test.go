package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"weir/cmd/weir/internal/sandbox"
)

// browse opens a link without following where it leads.
func browse(t *testing.T, link string) *http.Response {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res
}

func TestTheDashboardIsOpenedByALinkThatWorksOnce(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	daemon := r.serve()
	link := strings.TrimSpace(r.do("dashboard", "--listen", daemon.http))
	if res := browse(t, link); res.StatusCode != http.StatusSeeOther || len(res.Cookies()) != 1 {
		t.Errorf("%s leads to %d %v", link, res.StatusCode, res.Header)
	}
	if res := browse(t, link); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the second time: %d", res.StatusCode)
	}
	token, err := os.ReadFile("data/admin.token")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat("data/admin.token"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin.token has mode %v, %v", info.Mode(), err)
	}
	daemon.stop()
	if said := strings.Join(daemon.stderr, "\n"); strings.Contains(said, strings.TrimSpace(string(token))) {
		t.Errorf("the log says the token:\n%s", said)
	}
	r.serve().stop()
	if again, err := os.ReadFile("data/admin.token"); err != nil || string(again) != string(token) {
		t.Errorf("the next start has another token: %v", err)
	}
}

func TestWhyThereIsNoDashboardIsSaidInOneLine(t *testing.T) {
	r := newRig(t, sandbox.Config{})
	wants := func(want string, args ...string) {
		t.Helper()
		if line := r.refuse(exitFailed, append([]string{"dashboard"}, args...)...); !strings.Contains(line, want) {
			t.Errorf("weir dashboard %q says %q", args, line)
		}
	}
	wants("WEIR_LISTEN is off", "--listen", "off")
	wants("there is no admin.token in")
	daemon := r.serve()
	wants("has another token", "--listen", daemon.http, "--admin-token", "wrong")
	wants("is not weir", "--listen", strings.TrimPrefix(r.env["WEIR_API_URL"], "http://"))
	daemon.stop()
	wants("start weir serve", "--listen", daemon.http, "--admin-token", "some-token")
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a stranger is asked, with the token, while no daemon runs")
	}))
	defer stranger.Close()
	wants("no daemon runs in data: start weir serve", "--listen", strings.TrimPrefix(stranger.URL, "http://"))
	if err := os.WriteFile("data/admin.token", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wants("remove the file", "--listen", daemon.http)
}
