package admin

import (
	"cmp"
	"net/http"
	"strings"
	"unicode"

	"weir/cmd/weir/internal/steer"
	"weir/store"
)

const (
	// maxText bounds in bytes what a person says, as it does all text that is stored.
	maxText = 1024
	// pausedByHand is the reason of a pause for which none is given.
	pausedByHand = "paused by an operator"
)

func isText(text string) bool {
	return len(text) <= maxText && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

func (s *Server) listGates(w http.ResponseWriter, r *http.Request) error {
	if _, err := readQuery(r); err != nil {
		return err
	}
	gates, err := s.cfg.Store.GateViews(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		Gates []store.GateView `json:"gates"`
	}{gates})
	return nil
}

func (s *Server) postPause(w http.ResponseWriter, r *http.Request) error {
	var asked struct {
		Scope  string `json:"scope"`
		Reason string `json:"reason"`
		Until  string `json:"until"`
	}
	if err := decode(r, &asked); err != nil {
		return err
	}
	if !isText(asked.Reason) {
		return invalidField("reason", "has more than %d bytes, or characters that cannot be printed", maxText)
	}
	end, err := steer.PauseEnd(s.cfg.Now(), asked.Until)
	if err != nil {
		return err
	}
	scope, err := steer.Scope(r.Context(), s.cfg.Store, asked.Scope, s.cfg.Channels)
	if err != nil {
		return err
	}
	if err := s.cfg.Store.Pause(r.Context(), scope, cmp.Or(asked.Reason, pausedByHand), end); err != nil {
		return err
	}
	return s.steered(w, r, "pause", asked.Scope, 1)
}

// scoped is what ends a pause or asks for a probe.
type scoped struct {
	Scope string `json:"scope"`
}

func (s *Server) postResume(w http.ResponseWriter, r *http.Request) error {
	var asked scoped
	if err := decode(r, &asked); err != nil {
		return err
	}
	resumed, err := steer.Resume(r.Context(), s.cfg.Store, asked.Scope, s.cfg.Channels)
	if err != nil {
		return err
	}
	return s.steered(w, r, "resume", asked.Scope, resumed)
}

func (s *Server) postProbe(w http.ResponseWriter, r *http.Request) error {
	var asked scoped
	if err := decode(r, &asked); err != nil {
		return err
	}
	probed, err := steer.Probe(r.Context(), s.cfg.Store, asked.Scope, s.cfg.Channels)
	if err != nil {
		return err
	}
	return s.steered(w, r, "probe", asked.Scope, int(probed))
}

// steered tells the dispatcher, and the caller how many gates were changed and
// which stand now.
func (s *Server) steered(w http.ResponseWriter, r *http.Request, verb, scope string, changed int) error {
	if changed > 0 {
		s.cfg.OnGates()
		s.cfg.Log.Info("an operator changed a gate", "what", verb, "scope", scope, "request_id", requestID(r))
	}
	gates, err := s.cfg.Store.GateViews(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		Changed int              `json:"changed"`
		Gates   []store.GateView `json:"gates"`
	}{changed, gates})
	return nil
}
