package admin

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"unicode"

	"weir/cmd/weir/internal/steer"
	"weir/store"
)

func isText(text string) bool {
	return len(text) <= steer.MaxText && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
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
		return invalidField("reason", "has more than %d bytes, or characters that cannot be printed", steer.MaxText)
	}
	end, err := steer.PauseEnd(s.cfg.Now(), asked.Until)
	if err != nil {
		return err
	}
	scope, err := steer.Scope(r.Context(), s.cfg.Store, asked.Scope, s.cfg.Channels)
	if err != nil {
		return err
	}
	if err := s.cfg.Store.Pause(r.Context(), scope, cmp.Or(asked.Reason, steer.PausedByHand), end); err != nil {
		return err
	}
	return s.steered(w, r, "pause", scope, 1)
}

// scoped is what ends a pause or asks for a probe.
type scoped struct {
	Scope string `json:"scope"`
}

func (s *Server) postResume(w http.ResponseWriter, r *http.Request) error {
	return s.onScope(w, r, "resume", s.cfg.Store.ResumeAll, func(ctx context.Context, scope string) (int, error) {
		resumed, err := s.cfg.Store.Resume(ctx, scope)
		if resumed {
			return 1, err
		}
		return 0, err
	})
}

func (s *Server) postProbe(w http.ResponseWriter, r *http.Request) error {
	return s.onScope(w, r, "probe", s.cfg.Store.ProbeAll, func(ctx context.Context, scope string) (int, error) {
		asked, err := steer.Probe(ctx, s.cfg.Store, scope)
		return int(asked), err
	})
}

// onScope does something to the one scope that is asked for, or to all.
func (s *Server) onScope(
	w http.ResponseWriter, r *http.Request, verb string,
	all func(context.Context) ([]string, error), one func(ctx context.Context, scope string) (changed int, err error),
) error {
	var asked scoped
	if err := decode(r, &asked); err != nil {
		return err
	}
	if asked.Scope == steer.All {
		changed, err := all(r.Context())
		if err != nil {
			return err
		}
		return s.steered(w, r, verb, asked.Scope, len(changed))
	}
	scope, err := steer.Scope(r.Context(), s.cfg.Store, asked.Scope, s.cfg.Channels)
	if err != nil {
		return err
	}
	changed, err := one(r.Context(), scope)
	if err != nil {
		return err
	}
	return s.steered(w, r, verb, scope, changed)
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
