package dispatcher

import (
	"fmt"
	"net/http"
	"regexp"
	"time"

	"weir/outbox"
)

// Verdict is what one attempt came to.
type Verdict string

const (
	// Sent means that the API accepted the message.
	Sent Verdict = "sent"
	// Refused means that the API will not have this message.
	Refused Verdict = "refused"
	// Retry means a failure of the server, after which the message may or may
	// not be sent: 408, 425 or 5xx.
	Retry Verdict = "retry"
	// Ambiguous means that the request left and no complete answer came.
	Ambiguous Verdict = "ambiguous"
	// Throttled means that the limit was reached.
	Throttled Verdict = "throttled"
	// Unauthorized means that the API does not know the key, or that the server
	// could not prove to be the API.
	Unauthorized Verdict = "unauthorized"
	// Unpaid means that the balance does not cover the message.
	Unpaid Verdict = "unpaid"
	// NotAPI means that something else answered in the API's place.
	NotAPI Verdict = "not_api"
	// NeverLeft means that the request surely did not reach the server.
	NeverLeft Verdict = "never_left"
	// InProgress means that an earlier request with this key still runs.
	InProgress Verdict = "in_progress"
	// Lost means that the daemon died during the attempt. No answer gives it;
	// recovery does.
	Lost Verdict = "lost"
)

// Error codes of attempts to which the API gave none, beside the faults.
const (
	codeNotAPI    = "not_api"
	codeOutOfTime = "out_of_time"
)

// judge says what an answer means. Only the API may settle a message: what does
// not speak its language is NotAPI, whatever the status.
func judge(a Answer) Verdict {
	switch {
	case a.TLSIdentity:
		return Unauthorized
	case a.Status == http.StatusTooManyRequests:
		return Throttled
	case a.Status == http.StatusRequestTimeout, a.Status == http.StatusTooEarly, a.Status/100 == 5:
		return Retry
	case a.Fault != "" && a.Left:
		return Ambiguous
	case a.Fault != "":
		return NeverLeft
	case a.Status/100 == 2 && a.IsJSON && a.MessageID != "":
		return Sent
	case a.Status/100 == 4 && a.IsJSON && a.ErrorCode != "":
		return judgeRefusal(a)
	}
	return NotAPI
}

// judgeRefusal judges a 4xx that the API gave.
func judgeRefusal(a Answer) Verdict {
	switch a.Status {
	case http.StatusUnauthorized:
		return Unauthorized
	case http.StatusPaymentRequired:
		return Unpaid
	case http.StatusConflict:
		if asksToWait(a) || stillRunning.MatchString(a.ErrorCode) {
			return InProgress
		}
	}
	return Refused
}

// stillRunning matches the codes of a 409 for a key whose first request has
// not ended. "blocked" is another matter than "locked".
var stillRunning = regexp.MustCompile(`(?i)in[^a-z]?progress|processing|concurrent|(^|[^a-z])locked`)

// Judgement is what an attempt makes of its message. State is where the message
// goes; Counted, Throttled and Ambiguous are of this attempt alone. A zero DueAt
// leaves due_at as it is.
type Judgement struct {
	Verdict      Verdict
	State        outbox.State
	Counted      bool
	Throttled    bool
	Ambiguous    bool
	DueAt        time.Time
	ErrorCode    string
	ErrorMessage string
}

// settle turns the verdict v on a, the answer to one attempt of c, into what
// becomes of the message when that ended. rnd gives numbers in [0, 1).
func settle(c Claim, a Answer, v Verdict, p Policy, rnd func() float64) Judgement {
	now := a.EndedAt
	j := Judgement{Verdict: v, Counted: counted(a, v), Throttled: v == Throttled, Ambiguous: ambiguous(a, v)}
	if v == Sent {
		j.State = outbox.Sent
		return j
	}
	j.ErrorCode, j.ErrorMessage = reason(a, v)
	if j.Ambiguous && c.AmbiguousAt.IsZero() {
		c.AmbiguousAt = a.KeyUsedAt()
	}
	switch {
	case v == Refused:
		j.refuse(c, a)
	case j.Counted && p.outOfTime(c, now.Add(-a.Stepped)) && !p.Doubted: // nothing fails while asleep
		j.giveUp(c, a, p)
	case j.Counted:
		j.State, j.DueAt = outbox.Retrying, now.Add(p.wait(c, a, v, rnd))
	default:
		j.handBack(c, p, now)
	}
	if !j.State.Settled() && !p.Doubted && !mayRepeat(c, c.Scope, p, later(now, j.DueAt)) {
		j.State, j.DueAt = outbox.Unknown, time.Time{}
	}
	return j
}

// counted tells whether the attempt is one of the message's own, not a fault of
// the account or of the way to the API, nor work cut short by stopping.
func counted(a Answer, v Verdict) bool {
	switch v {
	case Throttled, Unauthorized, Unpaid, NotAPI:
		return false
	}
	return !a.Stopped
}

// ambiguous tells whether the attempt may have had an effect although it was
// not accepted. A redirect or a refusal had none, whoever gave it.
func ambiguous(a Answer, v Verdict) bool {
	switch v {
	case Retry, Ambiguous, InProgress:
		return true
	case NotAPI:
		return a.Status/100 != 3 && a.Status/100 != 4
	}
	return false
}

// refuse settles a message that the API will not have. After an ambiguous
// attempt that no longer proves that nothing was sent: the refusal may be due
// to that attempt's success, and a conflict that names the message is.
func (j *Judgement) refuse(c Claim, a Answer) {
	switch {
	case c.AmbiguousAt.IsZero():
		j.State = outbox.Failed
	case a.Status == http.StatusConflict && a.MessageID != "":
		j.State = outbox.Sent
	default:
		j.State = outbox.Unknown
	}
}

// giveUp settles a message that has failed for too long.
func (j *Judgement) giveUp(c Claim, a Answer, p Policy) {
	j.State = outbox.Failed
	if !c.AmbiguousAt.IsZero() {
		j.State = outbox.Unknown
	}
	if a.ErrorCode == "" {
		j.ErrorCode = codeOutOfTime
	}
	j.ErrorMessage = sanitize(fmt.Sprintf("gave up after %v of attempts; the last one: %s", p.RetryFor, j.ErrorMessage))
}

// handBack returns a message whose attempt does not count to where it waited,
// in front again unless the attempt may still have an effect.
func (j *Judgement) handBack(c Claim, p Policy, now time.Time) {
	j.State = outbox.Retrying
	if c.Attempts == 0 && c.AmbiguousAt.IsZero() {
		j.State = outbox.Pending
	}
	if j.Ambiguous {
		j.DueAt = now.Add(p.SettleWait)
	}
}

// reason is the code and the text that explain an attempt that was not accepted.
func reason(a Answer, v Verdict) (code, message string) {
	switch {
	case v != NotAPI && a.ErrorCode != "":
		return a.ErrorCode, a.ErrorMessage
	case a.Fault != "":
		return a.Fault, a.ErrorMessage
	}
	kind := a.Header.Get("Content-Type")
	return codeNotAPI, sanitize(fmt.Sprintf("status %d with content type %q is not in the API's form", a.Status, kind))
}
