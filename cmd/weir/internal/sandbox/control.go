package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
)

// settings is what POST /control changes while the server runs, and GET
// /control tells. What is absent stays as it is. Faults are in the text that
// ParseFault reads:
//
//	{"limit":400,"keys":["next_key"],"faults":["402@0s..8s","503:0.05"]}
//
// An outage is a fault like "503" or "cut-before", its end {"faults":[]}.
type settings struct {
	Limit  *int     `json:"limit,omitempty"`
	Keys   []string `json:"keys,omitempty"`
	Faults []Fault  `json:"faults"`
}

func readSettings(r io.Reader) (c settings, err error) {
	in := json.NewDecoder(r)
	in.DisallowUnknownFields()
	if err := in.Decode(&c); err != nil {
		return c, fmt.Errorf("%w: %w", ErrSetting, err)
	}
	switch {
	case c.Limit != nil && *c.Limit < 0:
		return c, fmt.Errorf("%w: limit %d: must be 0 (none) or more", ErrSetting, *c.Limit)
	case c.Keys != nil && len(c.Keys) == 0, slices.Contains(c.Keys, ""):
		return c, fmt.Errorf("%w: keys: name at least one, none of them empty", ErrSetting)
	}
	return c, nil
}

// control serves /control. It answers with the settings as they are then.
func (s *Server) control(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		change, err := readSettings(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_setting", "message": err.Error()})
			return
		}
		s.change(change)
	}
	writeJSON(w, http.StatusOK, s.settings())
}

func (s *Server) change(to settings) {
	if to.Limit != nil {
		s.SetLimit(*to.Limit)
	}
	if to.Keys != nil {
		s.SetKeys(to.Keys...)
	}
	if to.Faults != nil {
		s.SetFaults(to.Faults...)
	}
}

func (s *Server) settings() settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.limits.limit
	return settings{Limit: &limit, Keys: slices.Sorted(maps.Keys(s.keys)), Faults: append([]Fault{}, s.faults...)}
}
