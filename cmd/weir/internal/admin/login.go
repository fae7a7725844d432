package admin

import "net/http"

// loginFor gives the path of the login that leads back to the page asked for.
func loginFor(*http.Request) string { return "/login" }
