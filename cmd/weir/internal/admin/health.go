package admin

import "net/http"

// health says what the status table says of the daemon, or would if it could be
// written. A restart cures neither a disk nor NATS, so that those are bad for
// /readyz only.
func (s *Server) health(well func() bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		daemon, _, err := s.cfg.Store.Status(r.Context())
		code := http.StatusOK
		if err != nil || !well() || !s.cfg.Store.Alive() || daemon.State == "stopped" {
			code = http.StatusServiceUnavailable
		}
		writeJSON(w, code, struct {
			State  string  `json:"state"`
			Reason *string `json:"reason"`
		}{daemon.State, daemon.Reason})
		return nil
	}
}
