package dispatcher

import (
	"context"
	"crypto/tls"
	"net/http"
)

// Look asks for a list of at most one message: it tells whether the API answers
// and takes the key, and has no effect. State is that of the connection's TLS,
// nil without one. What is listed is not kept.
func (c *Client) Look(ctx context.Context, key APIKey) (a Answer, state *tls.ConnectionState) {
	list := *c.url
	list.RawQuery = "limit=1"
	req := &http.Request{Method: http.MethodGet, URL: &list, Header: c.headers.Clone()}
	req.Header.Del("Content-Type")
	req.Header.Set("Authorization", "Bearer "+string(key))
	call, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var p progress
	a.StartedAt = c.clock.Now()
	resp, err := c.transport.RoundTrip(req.WithContext(p.watch(call)))
	if err == nil {
		state = resp.TLS
		a.takeHeader(resp.StatusCode, resp.Header)
		err = c.read(resp.Body, &a)
	}
	a.EndedAt = c.clock.Now()
	a.Left = a.Status != 0 || p.left.Load()
	if err != nil {
		a.fail(err, p.fault(err, call.Err()))
	}
	return a, state
}
