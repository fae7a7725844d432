package admin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/admin"
)

// session gives the cookie that an answer sets, as a header of the next call.
func session(t *testing.T, got answer) string {
	t.Helper()
	cookies := (&http.Response{Header: got.header}).Cookies()
	if len(cookies) != 1 || cookies[0].Name != "weir_session" {
		t.Fatalf("%d sets the cookies %v", got.status, cookies)
	}
	c := cookies[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" {
		t.Errorf("the cookie is %v", c)
	}
	return "Cookie: weir_session=" + c.Value
}

const asForm = "Content-Type: application/x-www-form-urlencoded"

func (d *desk) logIn(offered string) answer {
	return d.call("POST", "/login", url.Values{"token": {offered}}.Encode(), "Authorization:", asForm)
}

func TestALoginByTheTokenOpensASession(t *testing.T) {
	d := serve(t, nil)
	got := d.logIn(token)
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "/" {
		t.Errorf("the login leads to %d %s", got.status, got.header.Get("Location"))
	}
	cookie := session(t, got)
	if got := d.call("GET", "/api/v1/status", "", "Authorization:", cookie); got.status != 200 {
		t.Errorf("with the session: %d %s", got.status, got.body)
	}
	wantRefusal(t, d.call("GET", "/api/v1/status", "", "Authorization:", cookie+"x"), 401, "unauthorized")
	wantRefusal(t, d.call("GET", "/api/v1/status", "", "Authorization:", cookie[:len(cookie)-60]), 401, "unauthorized")
	if got := d.call("POST", "/logout", "", "Authorization:", cookie, asForm); !strings.Contains(got.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("the logout leaves the cookie: %d %v", got.status, got.header)
	}
}

func TestASessionEndsWithItsTimeAndWithTheToken(t *testing.T) {
	now := time.Now()
	d := serve(t, func(c *admin.Config) { c.Now = func() time.Time { return now } })
	cookie := session(t, d.logIn(token))
	now = now.Add(12*time.Hour - time.Second)
	if got := d.call("GET", "/api/v1/status", "", "Authorization:", cookie); got.status != 200 {
		t.Errorf("just before its end: %d %s", got.status, got.body)
	}
	other := serve(t, func(c *admin.Config) { c.Token, c.Now = "another-token", func() time.Time { return now } })
	wantRefusal(t, other.call("GET", "/api/v1/status", "", "Authorization:", cookie), 401, "unauthorized")
	now = now.Add(time.Second)
	wantRefusal(t, d.call("GET", "/api/v1/status", "", "Authorization:", cookie), 401, "unauthorized")
}

func TestALinkLogsInOnceAndForFiveMinutes(t *testing.T) {
	now := time.Now()
	d := serve(t, func(c *admin.Config) { c.Now = func() time.Time { return now } })
	link := func() string {
		var made struct{ URL string }
		got := d.call("POST", "/api/v1/login-links", "{}")
		if got.into(t, &made); got.status != http.StatusCreated || !strings.HasPrefix(made.URL, d.url+"/login?once=") {
			t.Fatalf("the link is %d %s", got.status, got.body)
		}
		return strings.TrimPrefix(made.URL, d.url)
	}
	first := link()
	if got := d.call("HEAD", first, "", "Authorization:"); got.header.Get("Set-Cookie") != "" {
		t.Error("a look at the link logs in")
	}
	if got := d.call("GET", "/api/v1/status", "", "Authorization:", session(t, d.call("GET", first, "", "Authorization:"))); got.status != 200 {
		t.Errorf("with the session: %d %s", got.status, got.body)
	}
	for name, used := range map[string]string{"used": first, "made up": "/login?once=AAAA"} {
		if got := d.call("GET", used, "", "Authorization:"); got.status != 401 || got.header.Get("Set-Cookie") != "" {
			t.Errorf("a link that is %s: %d", name, got.status)
		}
	}
	old := link()
	now = now.Add(5 * time.Minute)
	if got := d.call("GET", old, "", "Authorization:"); got.status != 401 || got.header.Get("Set-Cookie") != "" {
		t.Errorf("a link that is old: %d", got.status)
	}
}

func TestAWrongTokenIsLoggedWithoutIt(t *testing.T) {
	d := serve(t, nil)
	wantRefusal(t, d.call("GET", "/api/v1/status", "", "Authorization: Bearer wr0ng"), 401, "unauthorized")
	if got := d.logIn("wr0ng"); got.status != 401 || got.header.Get("Set-Cookie") != "" {
		t.Errorf("a login with a wrong token: %d", got.status)
	}
	if said := d.log.String(); strings.Count(said, "was not let in") != 2 || strings.Contains(said, "wr0ng") || strings.Contains(said, token) {
		t.Errorf("the log says\n%s", said)
	}
}

func TestALoginFromAnotherOriginIsRefused(t *testing.T) {
	d := serve(t, nil)
	body := url.Values{"token": {token}}.Encode()
	for _, header := range []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"} {
		wantRefusal(t, d.call("POST", "/login", body, "Authorization:", asForm, header), 403, "cross_origin")
		wantRefusal(t, d.call("POST", "/api/v1/messages", `{}`, header), 403, "cross_origin")
	}
	wantRefusal(t, d.call("POST", "/login", `{"token":"`+token+`"}`), 415, "unsupported_media_type")
	wantRefusal(t, d.call("POST", "/login", strings.Repeat("a", 5000), asForm), 413, "too_large")
}
