package sandbox

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"weir/limiter/sim"
)

const (
	page = "<!DOCTYPE html>\n<html><head><title>Proxy</title></head><body><h1>Please sign in</h1></body></html>\n"
	// elsewhere is a path that the API does not have, so that a client which
	// follows redirects is seen to.
	elsewhere = "/elsewhere"
	garbage   = `{"message_id": "msg_`

	unpaid = `,"balance":{"free":0.02,"reserved":0.00,"total":0.02},"required_amount":0.12,"topup_url":"https://console.example/billing/top-up"`
)

// write sends the answer that the call has come to.
func (s *Server) write(w http.ResponseWriter, r *http.Request, c *call) {
	h := w.Header()
	h["Date"] = nil
	if !s.cfg.NoDate {
		h["Date"] = []string{s.cfg.Now().Add(s.cfg.Skew).UTC().Format(http.TimeFormat)}
	}
	switch c.manner {
	case asHang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case asCut:
		panic(http.ErrAbortHandler)
	case asRedirect:
		h.Set("Location", elsewhere)
		fallthrough
	case asPage:
		h.Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(c.status)
		w.Write([]byte(page))
		return
	}
	s.head(h, c)
	body := s.body(c)
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(c.status)
	if c.manner == slowly {
		half := len(body) / 2
		w.Write(body[:half])
		http.NewResponseController(w).Flush()
		pause(r.Context(), c.delay)
		body = body[half:]
	}
	w.Write(body)
}

// head sets the headers of an answer of the API, spelt as the API spells them.
func (s *Server) head(h http.Header, c *call) {
	h["Content-Type"] = []string{"application/json"}
	h["X-Request-Id"] = []string{s.requestID + strconv.Itoa(c.number)}
	if c.replayed {
		h["Idempotent-Replayed"] = []string{"true"}
	}
	refused := c.status == http.StatusTooManyRequests
	if c.limited && (s.cfg.Headers == sim.Always || s.cfg.Headers == sim.On429 && refused) {
		h["X-RateLimit-Limit"] = []string{strconv.Itoa(c.decision.Limit)}
		h["X-RateLimit-Remaining"] = []string{strconv.Itoa(c.decision.Remaining)}
		h["X-RateLimit-Reset"] = []string{sim.FormatReset(c.decision.Reset, s.cfg.Rounding)}
	}
	if refused && (s.cfg.RetryAfter || s.cfg.Headers == sim.RetryAfterOnly) {
		h["Retry-After"] = []string{strconv.Itoa(s.retryAfter(c))}
	}
}

// retryAfter is the whole seconds until the limit allows another request. What
// a fault refuses although there is room waits until the limit is whole again.
func (s *Server) retryAfter(c *call) int {
	switch {
	case !c.limited:
		return 1
	case c.decision.Allowed:
		return sim.RetryAfter(s.serverTime(c), c.decision.Reset)
	}
	return sim.RetryAfter(s.serverTime(c), c.decision.Retry)
}

func (s *Server) body(c *call) []byte {
	b := make([]byte, 0, 512)
	switch {
	case c.manner == asEmpty:
		return b
	case c.manner == asGarbage:
		return append(b, garbage...)
	case c.status != http.StatusOK:
		return s.appendError(b, c)
	case c.lists:
		return append(b, `{"messages":[]}`...)
	case c.reads:
		return c.effect.appendStatus(b, s.cfg.Skew)
	}
	return c.effect.appendAccepted(b, c.manner != anonymously, s.cfg.Skew)
}

// appendError appends the envelope of an error. All texts in it are this
// package's own and need no escaping.
func (s *Server) appendError(b []byte, c *call) []byte {
	b = append(b, `{"error":"`...)
	b = append(b, c.code...)
	b = append(b, `","message":"`...)
	b = append(b, c.text...)
	b = append(b, `","details":[`...)
	for i, d := range c.details {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"field":"`...)
		b = append(b, d.field...)
		b = append(b, `","message":"`...)
		b = append(b, d.message...)
		b = append(b, `"}`...)
	}
	b = append(b, ']')
	switch {
	case c.status == http.StatusTooManyRequests && s.cfg.Headers != sim.None:
		b = append(b, `,"retry_after":`...)
		b = strconv.AppendInt(b, int64(s.retryAfter(c)), 10)
	case c.status == http.StatusPaymentRequired:
		b = append(b, unpaid...)
	case c.struck == Kind409 && c.effect.id != "":
		b = append(b, `,"message_id":"`...)
		b = append(b, c.effect.id...)
		b = append(b, '"')
	}
	return append(b, '}')
}

// appendAccepted appends what a send is answered with; a replay is the same to
// the byte, since all of it comes from the effect.
func (e effect) appendAccepted(b []byte, named bool, skew time.Duration) []byte {
	channel := "RCS"
	if e.email {
		channel = "EMAIL"
	}
	b = append(b, '{')
	if named {
		b = append(b, `"message_id":"`...)
		b = append(b, e.id...)
		b = append(b, `",`...)
	}
	b = append(b, `"status":"queued","created_at":"`...)
	b = e.at.Add(skew).UTC().AppendFormat(b, time.RFC3339)
	b = append(b, `","billing":{"channel":"`...)
	b = append(b, channel...)
	b = append(b, `","message_type":"`...)
	b = append(b, e.messageType...)
	b = append(b, `","hold_amount":0.12,"message_price":0.10,"balance":{"free":1000.00,"reserved":0.12,"total":1000.12},"tier":{"channel":"`...)
	b = append(b, channel...)
	b = append(b, `","current":"tier_1","volume_used":`...)
	b = strconv.AppendInt(b, int64(e.number), 10)
	return append(b, `}}}`...)
}

// appendStatus appends what a message's id is answered with.
func (e effect) appendStatus(b []byte, skew time.Duration) []byte {
	b = append(b, `{"message_id":"`...)
	b = append(b, e.id...)
	b = append(b, `","status":"SENT","cost":0.10,"error_code":null,"error_message":null,"sent_at":"`...)
	b = e.at.Add(skew).UTC().AppendFormat(b, time.RFC3339)
	return append(b, `","delivered_at":null,"read_at":null,"events":[]}`...)
}

// pause lets d pass unless ctx ends before.
func pause(ctx context.Context, d time.Duration) {
	if d == 0 {
		d = time.Second
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// upTo is a random duration below most, or 0.
func upTo(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return rand.N(most)
}

// writeJSON answers on the paths that are not the API's.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
