package admin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"time"

	"weir/outbox"
)

// web holds the dashboard: pages are frames without data, which their scripts
// fill by the API. So a page appears at once, whatever the database holds.
//
//go:embed web
var web embed.FS

// page is one page of the dashboard.
type page struct {
	pattern string // where it is served
	file    string // what stands in the frame
	Title   string
	Script  string // in assets; empty for a page before the login
	Path    string // that of its link in the navigation; empty without one
}

var dashboard = []page{
	{pattern: "/{$}", file: "overview.html", Title: "Overview", Script: "overview.js", Path: "/"},
	{pattern: "/messages", file: "messages.html", Title: "Messages", Script: "messages.js", Path: "/messages"},
	{pattern: "/messages/{id}", file: "message.html", Title: "Message", Script: "message.js"},
	{pattern: "/gates", file: "gates.html", Title: "Gates", Script: "gates.js", Path: "/gates"},
	{pattern: "/rejected", file: "rejected.html", Title: "Rejected", Script: "rejected.js", Path: "/rejected"},
}

// frame is what the templates of a page are given.
type frame struct {
	page
	Failure string // on the login page: why it is shown again
}

// Nav are the pages that every page links to.
func (f frame) Nav() []link {
	var links []link
	for _, p := range dashboard {
		if p.Path != "" {
			links = append(links, link{p.Path, p.Title, p.Path == f.Path})
		}
	}
	return links
}

// States are those a message can be in, for the filter.
func (f frame) States() []outbox.State { return outbox.States[:] }

type link struct {
	Path, Name string
	Here       bool
}

// render makes a page. What fails here fails in every run.
func render(f frame) []byte {
	t := template.Must(template.ParseFS(web, "web/pages/layout.html", "web/pages/"+f.file))
	var out bytes.Buffer
	if err := t.Execute(&out, f); err != nil {
		panic(fmt.Errorf("admin: page %s: %w", f.file, err))
	}
	return out.Bytes()
}

// pages registers the dashboard and what it is made of.
func (s *Server) pages() {
	for _, p := range dashboard {
		html := render(frame{page: p})
		s.page(p.pattern, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writePage(w, http.StatusOK, html) }))
	}
	files, err := fs.Glob(web, "web/assets/*")
	if err != nil {
		panic(err) // the pattern is ours
	}
	for _, name := range files {
		s.open("/assets/"+path.Base(name), methods{"GET": asset(name)})
	}
}

// asset serves one file. It holds no secret, and a browser may keep it as long
// as the program is the same.
func asset(name string) handler {
	content, err := web.ReadFile(name)
	if err != nil {
		panic(err) // it was listed
	}
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("ETag", tag)
		w.Header().Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
		return nil
	}
}

// writeLogin answers with the login page, and why it is shown again if it is.
func writeLogin(w http.ResponseWriter, status int, failure string) {
	writePage(w, status, render(frame{page: page{file: "login.html", Title: "Log in"}, Failure: failure}))
}

func writePage(w http.ResponseWriter, status int, html []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(html) // a reader that has gone needs no page
}
