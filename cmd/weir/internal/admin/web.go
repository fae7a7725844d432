package admin

import "net/http"

// pages registers the pages of the dashboard and what they are made of.
func (s *Server) pages() {}

// writeLogin answers with the login page, and why it is shown again if it is.
func writeLogin(w http.ResponseWriter, status int, failure string) {
	write(w, status, "text/plain", []byte("log in\n"+failure))
}
