package admin

import (
	"cmp"
	"crypto/rand"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// linkLife is how long a link that logs in once can be used.
	linkLife = 5 * time.Minute
	// maxLinks bounds the links that wait to be used.
	maxLinks = 100
	// maxForm is how many bytes the form of the login may have.
	maxForm = 4 << 10
)

// links are the nonces of links that log in once, and when they end. They are
// kept in memory: a restart ends them.
type links struct {
	mu   sync.Mutex
	ends map[string]time.Time
}

// add makes a nonce, or none if too many wait.
func (l *links) add(now time.Time) (nonce string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for old, end := range l.ends {
		if !now.Before(end) {
			delete(l.ends, old)
		}
	}
	if len(l.ends) >= maxLinks {
		return "", false
	}
	if l.ends == nil {
		l.ends = make(map[string]time.Time)
	}
	nonce = rand.Text()
	l.ends[nonce] = now.Add(linkLife)
	return nonce, true
}

// use ends a nonce and reports whether it was good.
func (l *links) use(nonce string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	end, found := l.ends[nonce]
	delete(l.ends, nonce)
	return found && now.Before(end)
}

func (s *Server) postLink(w http.ResponseWriter, r *http.Request) error {
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	nonce, ok := s.links.add(s.cfg.Now())
	if !ok {
		return refuse(http.StatusTooManyRequests, "too_many_links", "%d links wait to be used: use one", maxLinks).again(linkLife)
	}
	writeJSON(w, http.StatusCreated, struct {
		URL string `json:"url"`
	}{"http://" + cmp.Or(r.Host, s.Addr()) + "/login?once=" + nonce})
	return nil
}

// getLogin shows the login, or logs in by a link that was made for that.
func (s *Server) getLogin(w http.ResponseWriter, r *http.Request) error {
	nonce := r.URL.Query().Get("once")
	if nonce == "" || r.Method == http.MethodHead { // who only looks must not use it up
		writeLogin(w, http.StatusOK, "")
		return nil
	}
	return s.logIn(w, r, func() bool { return s.links.use(nonce, s.cfg.Now()) },
		"This link is used up or too old. weir dashboard prints another one.")
}

// postLogin takes the token from the form of the login.
func (s *Server) postLogin(w http.ResponseWriter, r *http.Request) error {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/x-www-form-urlencoded" {
		return refuse(http.StatusUnsupportedMediaType, "unsupported_media_type", "the login takes a form; programs say the token with each call as Authorization: Bearer TOKEN")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return err
		}
		return refuse(http.StatusBadRequest, "bad_request", "this is not the form of the login")
	}
	token := r.PostForm.Get("token")
	return s.logIn(w, r, func() bool { return s.keys.fits(token) }, "This is not the admin token.")
}

// logIn gives a session to whom it may let in, and else shows the login again.
func (s *Server) logIn(w http.ResponseWriter, r *http.Request, fits func() bool, failure string) error {
	if err := s.guess(r, fits); err != nil {
		f := s.faultOf(r, err)
		if f.status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
			failure = "Too many failed logins came from this address. Wait a moment, then try again."
		}
		writeLogin(w, f.status, failure)
		return nil
	}
	now := s.cfg.Now()
	s.setSession(w, s.keys.newSession(now), int(sessionLife/time.Second))
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (s *Server) postLogout(w http.ResponseWriter, r *http.Request) error {
	s.setSession(w, "", -1)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
	return nil
}

// setSession puts a session into the browser for so many seconds, or takes it away.
func (s *Server) setSession(w http.ResponseWriter, session string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: session, Path: "/", MaxAge: seconds, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}
