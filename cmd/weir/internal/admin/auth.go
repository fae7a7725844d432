package admin

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"
	"time"
)

const (
	sessionCookie = "weir_session"
	// sessionLife is how long a browser stays logged in.
	sessionLife = 12 * time.Hour
)

// keys are what lets somebody in. They are derived from the admin token, so that
// a session outlives a restart and ends when the token is another.
type keys struct {
	token   [sha256.Size]byte // hashed: compared, it tells nothing of its length either
	session []byte            // signs sessions
}

func newKeys(token string) keys {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("weir session"))
	return keys{token: sha256.Sum256([]byte(token)), session: mac.Sum(nil)}
}

func (k keys) fits(token string) bool {
	offered := sha256.Sum256([]byte(token))
	return token != "" && subtle.ConstantTimeCompare(offered[:], k.token[:]) == 1
}

// newSession gives a session's text: when it ends, signed.
func (k keys) newSession(now time.Time) string {
	end := binary.BigEndian.AppendUint64(nil, uint64(now.Add(sessionLife).Unix()))
	return base64.RawURLEncoding.EncodeToString(append(end, k.sign(end)...))
}

func (k keys) isSession(text string, now time.Time) bool {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(data) != 8+sha256.Size {
		return false
	}
	end, signature := data[:8], data[8:]
	return hmac.Equal(signature, k.sign(end)) && now.Unix() < int64(binary.BigEndian.Uint64(end))
}

func (k keys) sign(data []byte) []byte {
	mac := hmac.New(sha256.New, k.session)
	mac.Write(data)
	return mac.Sum(nil)
}

// authorize lets through who says the token, or whose browser has a session.
func (s *Server) authorize(r *http.Request) error {
	if token, ok := bearer(r); ok {
		return s.guess(r, func() bool { return s.keys.fits(token) })
	}
	for _, cookie := range r.CookiesNamed(sessionCookie) {
		if s.keys.isSession(cookie.Value, s.cfg.Now()) {
			return nil
		}
	}
	return refuse(http.StatusUnauthorized, "unauthorized",
		"say the admin token as Authorization: Bearer TOKEN (WEIR_ADMIN_TOKEN, or admin.token in the data directory), or log in at /login")
}

// bearer gives the token that the request says, if it says one.
func bearer(r *http.Request) (token string, said bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}

// guess lets through what fits, as fast as it may be tried from there.
func (s *Server) guess(r *http.Request, fits func() bool) error {
	err := s.guesses.check(r, fits)
	if err != nil {
		s.cfg.Log.Warn("somebody was not let in to the HTTP API", "from", origin(r).String())
	}
	return err
}
