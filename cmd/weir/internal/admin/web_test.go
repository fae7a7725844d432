package admin_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// stranger takes the token away from a call.
const stranger = "Authorization:"

var pages = []string{"/", "/messages", "/messages/1", "/gates", "/rejected"}

func TestPagesAreShownToThoseWhoAreLoggedIn(t *testing.T) {
	d := serve(t, nil)
	for _, path := range pages {
		if a := d.call("GET", path, "", stranger); a.status != http.StatusSeeOther || a.header.Get("Location") != "/login" {
			t.Errorf("%s without a session: %d to %q", path, a.status, a.header.Get("Location"))
		}
		a := d.call("GET", path, "")
		if a.status != http.StatusOK || a.header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(a.body, "</html>") {
			t.Errorf("%s: %d, %s", path, a.status, a.header.Get("Content-Type"))
		}
	}
}

var (
	// named finds what a page or a script asks the browser to load.
	named = regexp.MustCompile(`(?:src|href)="(/assets/[^"]*)"|from '([^']*)'`)
	// elsewhere finds addresses of other servers; a namespace is none.
	elsewhere = regexp.MustCompile(`(?:https?:)?//[a-z0-9-]+\.[a-z]+[^\s'"]*`)
)

func TestPagesLoadOnlyWhatWeirServesToEverybody(t *testing.T) {
	d := serve(t, nil)
	types := map[string]string{".js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
	seen := make(map[string]bool)
	var load func(from, text string)
	load = func(from, text string) {
		for _, found := range elsewhere.FindAllString(text, -1) {
			if !strings.HasPrefix(found, "http://www.w3.org/") {
				t.Errorf("%s knows another server: %s", from, found)
			}
		}
		for _, found := range named.FindAllStringSubmatch(text, -1) {
			path := found[1] + found[2]
			if seen[path] {
				continue
			}
			seen[path] = true
			a := d.call("GET", path, "", stranger)
			if want := types[path[len(path)-3:]]; a.status != http.StatusOK || a.header.Get("Content-Type") != want {
				t.Errorf("%s wants %s: %d, %s", from, path, a.status, a.header.Get("Content-Type"))
			}
			load(path, a.body)
		}
	}
	for _, path := range append(pages, "/login") {
		load(path, d.call("GET", path, "").body)
	}
	if len(seen) < 10 {
		t.Errorf("found only %v: this test looks for the wrong things", seen)
	}
}

func TestWhatABrowserHasIsNotSentAgain(t *testing.T) {
	d := serve(t, nil)
	first := d.call("GET", "/assets/style.css", "")
	again := d.call("GET", "/assets/style.css", "", "If-None-Match: "+first.header.Get("ETag"))
	if again.status != http.StatusNotModified || again.body != "" {
		t.Errorf("%d with %d bytes", again.status, len(again.body))
	}
}
