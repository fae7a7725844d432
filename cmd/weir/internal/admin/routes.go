package admin

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// methods are what can be done with a path. Whoever may GET may HEAD.
type methods map[string]handler

// register says who answers which path.
func (s *Server) register() {
	s.open("/healthz", methods{"GET": s.health(func() bool { return true })})
	s.open("/readyz", methods{"GET": s.health(s.cfg.Takes)})
	if s.cfg.Metrics != nil {
		metrics := methods{"GET": func(w http.ResponseWriter, r *http.Request) error {
			s.cfg.Metrics.ServeHTTP(w, r)
			return nil
		}}
		if s.loopback {
			s.open("/metrics", metrics)
		} else {
			s.closed("/metrics", metrics)
		}
	}
	s.api("/api/v1/openapi.json", methods{"GET": getDocument})
	s.api("/api/v1/status", methods{"GET": s.getStatus})
	s.closed("/api/v1/status/stream", methods{"GET": s.streamStatus})
	s.api("/api/v1/messages", methods{"GET": s.listMessages, "POST": s.postMessage})
	s.api("/api/v1/messages/{id}", methods{"GET": s.getMessage})
	s.api("/api/v1/messages/{id}/body", methods{"GET": s.getBody})
	s.api("/api/v1/messages/{id}/retry", methods{"POST": s.postRetry})
	s.api("/api/v1/messages/{id}/cancel", methods{"POST": s.postCancel})
	s.api("/api/v1/messages/{id}/resolve", methods{"POST": s.postResolve})
	s.api("/api/v1/messages/retry", methods{"POST": s.postRetryMany})
	s.api("/api/v1/messages/cancel", methods{"POST": s.postCancelMany})
	s.api("/api/v1/gates", methods{"GET": s.listGates})
	s.api("/api/v1/gates/pause", methods{"POST": s.postPause})
	s.api("/api/v1/gates/resume", methods{"POST": s.postResume})
	s.api("/api/v1/gates/probe", methods{"POST": s.postProbe})
	s.api("/api/v1/rejected", methods{"GET": s.listRejected})
	s.api("/api/v1/rejected/{id}/payload", methods{"GET": s.getPayload})
	s.api("/api/v1/rejected/{id}/requeue", methods{"POST": s.postRequeue})
	s.api("/api/v1/login-links", methods{"POST": s.postLink})
	s.open("/login", methods{"GET": s.getLogin, "POST": s.postLogin})
	s.open("/logout", methods{"POST": s.postLogout})
	s.pages()
	s.closed("/", nil)
}

// open registers a path that everybody may ask.
func (s *Server) open(pattern string, m methods) { s.handle(pattern, m) }

// closed registers a path for those who may see and steer. Without methods it
// is a path that does not exist, which is not for everybody to know.
func (s *Server) closed(pattern string, m methods) {
	s.handle(pattern, m, s.authorize)
}

// api is closed for calls that take and give JSON only.
func (s *Server) api(pattern string, m methods) {
	s.handle(pattern, m, s.authorize, acceptsJSON, givesJSON)
}

// page registers a page of the dashboard: whoever is not logged in is shown to
// the login first.
func (s *Server) page(pattern string, page http.Handler) {
	s.handle(pattern, methods{"GET": func(w http.ResponseWriter, r *http.Request) error {
		if s.authorize(r) != nil {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return nil
		}
		page.ServeHTTP(w, r)
		return nil
	}})
}

// handle registers a path whose calls have to pass the checks, in their order.
func (s *Server) handle(pattern string, m methods, checks ...func(*http.Request) error) {
	s.routes.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, s.dispatch(w, r, m, checks))
	})
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, m methods, checks []func(*http.Request) error) error {
	answer, found := m[r.Method]
	if r.Method == http.MethodHead {
		answer, found = m[http.MethodGet]
	}
	for i, check := range checks {
		if i > 0 && !found {
			break // who may not ask at all hears only that
		}
		if err := check(r); err != nil {
			return err
		}
	}
	switch {
	case len(m) == 0:
		return refuse(http.StatusNotFound, "not_found", "there is nothing at this path")
	case !found:
		allowed := strings.Join(m.names(), ", ")
		w.Header().Set("Allow", allowed)
		return refuse(http.StatusMethodNotAllowed, "method_not_allowed", "this path takes %s only", allowed)
	}
	return answer(w, r)
}

func (m methods) names() []string {
	names := slices.Collect(maps.Keys(m))
	if _, ok := m[http.MethodGet]; ok {
		names = append(names, http.MethodHead)
	}
	return slices.Sorted(slices.Values(names))
}
