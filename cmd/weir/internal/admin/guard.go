package admin

import (
	"context"
	"crypto/rand"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// maxBody is how many bytes a call may bring: the largest envelope, and a
// little, so that one that is too large is refused by name.
const maxBody = 512 << 10

// policy lets pages of the dashboard use what weir itself serves and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// ServeHTTP implements http.Handler: what holds for every request stands here.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	r = identified(r)
	h.Set("X-Request-Id", requestID(r))
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := s.guard(r); err != nil {
		s.answer(w, r, err)
		return
	}
	s.routes.ServeHTTP(w, r)
}

// guard turns away what no path should have to think of.
func (s *Server) guard(r *http.Request) error {
	if !s.isHere(r.Host) {
		return refuse(http.StatusMisdirectedRequest, "misdirected",
			"weir is not served under this name: use the address of WEIR_LISTEN, or let your proxy send that as Host")
	}
	if !isPlain(r) {
		return refuse(http.StatusNotFound, "not_found", "there is nothing at this path: write it without .., //, and encoded characters")
	}
	if err := new(http.CrossOriginProtection).Check(r); err != nil {
		return refuse(http.StatusForbidden, "cross_origin", "a page of another origin may not call this")
	}
	return nil
}

// isHere reports whether a Host names this server. Another name that leads here
// would let a page of that name read what it gets (DNS rebinding). It matters on
// loopback only, where metrics are open and a browser has a way in that its
// page has not. Beyond it every call has to prove itself, and a cookie belongs
// to the name under which it was given.
func (s *Server) isHere(host string) bool {
	if !s.loopback {
		return true
	}
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil && port != "" {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	// A browser always says a name; a simple probe of health may not.
	if name == "" || strings.EqualFold(name, "localhost") || strings.EqualFold(name, s.cfg.Host) {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.IsLoopback()
}

// isPlain reports whether there is only one way to read the path of a request.
func isPlain(r *http.Request) bool {
	p := r.URL.Path
	clean := path.Clean(p)
	return r.URL.RawPath == "" && strings.HasPrefix(p, "/") && (p == clean || clean != "/" && p == clean+"/") &&
		!strings.ContainsFunc(p, func(c rune) bool { return c < ' ' || c == '\\' || c == 0x7f })
}

type requestIDKey struct{}

// idForm is what a caller's request id may be; it comes back in header and log.
var idForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// identified gives the request an id: the caller's, or a new one.
func identified(r *http.Request) *http.Request {
	id := r.Header.Get("X-Request-Id")
	if !idForm.MatchString(id) {
		id = "req_" + strings.ToLower(rand.Text())
	}
	return r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
}

func requestID(r *http.Request) string {
	id, _ := r.Context().Value(requestIDKey{}).(string)
	return id
}

// acceptsJSON refuses a caller that could not read the answer.
func acceptsJSON(r *http.Request) error {
	if accepts(r, "application/json") {
		return nil
	}
	return refuse(http.StatusNotAcceptable, "not_acceptable", "the answer is application/json, which the Accept header excludes")
}

// accepts reports whether the Accept header admits a type. As in practice
// everywhere, an absent one admits all.
func accepts(r *http.Request, want string) bool {
	said := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(said) == "" {
		return true
	}
	group, _, _ := strings.Cut(want, "/")
	best, found := -1, false // how exactly want is named, and whether as welcome
	for one := range strings.SplitSeq(said, ",") {
		kind, params, err := mime.ParseMediaType(strings.TrimSpace(one))
		if err != nil {
			continue
		}
		exact := map[string]int{"*/*": 0, group + "/*": 1, want: 2}
		if level, ok := exact[kind]; ok && level >= best {
			weight, err := strconv.ParseFloat(params["q"], 64)
			best, found = level, params["q"] == "" || err == nil && weight > 0
		}
	}
	return found
}

// givesJSON refuses a body that is not said to be JSON: a form on another
// site's page can send anything else without asking.
func givesJSON(r *http.Request) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && kind == "application/json" && (params["charset"] == "" || strings.EqualFold(params["charset"], "utf-8")) {
		return nil
	}
	return refuse(http.StatusUnsupportedMediaType, "unsupported_media_type", "send the body as Content-Type: application/json")
}
