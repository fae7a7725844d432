package dispatcher

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir/outbox"
)

func TestWhatAnAnswerMeans(t *testing.T) {
	const html = "<html>Bad Gateway</html>"
	tests := []struct {
		name   string
		status int
		body   string
		want   Verdict
	}{
		{"200 with a message_id is sent", 200, `{"message_id":"m"}`, Sent},
		{"201 with a message_id is sent", 201, `{"message_id":"m"}`, Sent},
		{"200 without a message_id is not the API", 200, `{"status":"queued"}`, NotAPI},
		{"200 with an error is not the API", 200, `{"error":"oops"}`, NotAPI},
		{"200 with HTML is not the API", 200, html, NotAPI},
		{"204 is not the API", 204, "", NotAPI},
		{"301 is not the API", 301, "", NotAPI},
		{"304 with an envelope is not the API", 304, `{"error":"x"}`, NotAPI},
		{"a status that does not exist is not the API", 700, `{"message_id":"m","error":"x"}`, NotAPI},
		{"101 is not the API", 101, "", NotAPI},

		{"400 from the API is refused", 400, `{"error":"validation_failed"}`, Refused},
		{"403 from the API is refused", 403, `{"error":"agent_not_approved"}`, Refused},
		{"404 from the API is refused", 404, `{"error":"not_found"}`, Refused},
		{"422 from the API is refused", 422, `{"error":"no_active_session"}`, Refused},
		{"another 4xx from the API is refused", 418, `{"error":"teapot"}`, Refused},
		{"404 with HTML is not the API", 404, html, NotAPI},
		{"404 without an error is not the API", 404, `{"message":"Not Found"}`, NotAPI},
		{"403 with an empty error is not the API", 403, `{"error":""}`, NotAPI},
		{"403 with an object as error is not the API", 403, `{"error":{"code":"x"}}`, NotAPI},
		{"403 with a capital Error is not the API", 403, `{"Error":"Forbidden"}`, NotAPI},

		{"401 from the API is unauthorized", 401, `{"error":"invalid_api_key"}`, Unauthorized},
		{"401 with HTML is not the API", 401, html, NotAPI},
		{"402 from the API is unpaid", 402, `{"error":"insufficient_balance"}`, Unpaid},
		{"402 with HTML is not the API", 402, html, NotAPI},

		{"408 is to be retried, whoever says it", 408, html, Retry},
		{"425 is to be retried, whoever says it", 425, "", Retry},
		{"500 is to be retried, whoever says it", 500, html, Retry},
		{"502 is to be retried, whoever says it", 502, "", Retry},
		{"503 is to be retried, whoever says it", 503, html, Retry},
		{"504 is to be retried, whoever says it", 504, "", Retry},
		{"599 is to be retried, whoever says it", 599, `{"message_id":"m"}`, Retry},
		{"429 is throttled, whoever says it", 429, html, Throttled},

		{"409 in progress waits", 409, `{"error":"request_in_progress"}`, InProgress},
		{"409 InProgress waits", 409, `{"error":"InProgress"}`, InProgress},
		{"409 processing waits", 409, `{"error":"still_processing"}`, InProgress},
		{"409 locked waits", 409, `{"error":"key_locked"}`, InProgress},
		{"409 concurrent waits", 409, `{"error":"concurrent_request"}`, InProgress},
		{"409 with a retry_after waits", 409, `{"error":"conflict","retry_after":0}`, InProgress},
		{"409 blocked is refused", 409, `{"error":"recipient_blocked"}`, Refused},
		{"409 otherwise is refused", 409, `{"error":"duplicate","message_id":"m"}`, Refused},
		{"409 with HTML is not the API", 409, html, NotAPI},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := judge(answered(tt.status, tt.body)); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
	t.Run("409 with a Retry-After header waits", func(t *testing.T) {
		a := answered(409, `{"error":"conflict"}`)
		a.Header.Set("Retry-After", "soon")
		if got := judge(a); got != InProgress {
			t.Errorf("%s, want %s", got, InProgress)
		}
	})
}

// A moment of the tests, and the message that they are about.
var (
	noon   = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	policy = Policy{
		RetryFor: 20 * time.Hour, KeyLifetime: 24 * time.Hour, SettleWait: 5 * time.Second,
		BackoffBase: 500 * time.Millisecond, BackoffMax: 5 * time.Minute, RequestTimeout: 30 * time.Second,
	}
	fresh     = Claim{Scope: "s", DueAt: noon.Add(-time.Minute)}
	failed    = Claim{Scope: "s", Attempts: 3, FirstAttemptAt: noon.Add(-time.Hour)}
	doubtful  = Claim{Scope: "s", Attempts: 3, FirstAttemptAt: noon.Add(-time.Hour), AmbiguousAt: noon.Add(-time.Hour)}
	tired     = Claim{Scope: "s", Attempts: 300, FirstAttemptAt: noon.Add(-20*time.Hour - time.Second)}
	unclear   = Claim{Scope: "s", AmbiguousAt: noon.Add(-time.Hour)}
	fading    = Claim{Scope: "s", Attempts: 3, FirstAttemptAt: noon.Add(-time.Hour), AmbiguousAt: noon.Add(-24*time.Hour + 150*time.Second)}
	forgotten = Claim{Scope: "s", Attempts: 3, FirstAttemptAt: noon.Add(-time.Hour), AmbiguousAt: noon.Add(-24*time.Hour + 90*time.Second)}
)

// The expected judgement reads "state, what the attempt counts as, wait, code".
func TestWhatBecomesOfAMessage(t *testing.T) {
	var (
		ok         = answered(200, `{"message_id":"m"}`)
		notFound   = answered(404, `{"error":"not_found","message":"no device"}`)
		conflict   = answered(409, `{"error":"duplicate"}`)
		duplicate  = answered(409, `{"error":"duplicate","message_id":"m"}`)
		inProgress = answered(409, `{"error":"in_progress"}`)
		wait20     = answered(409, `{"error":"in_progress","retry_after":20}`)
		tooMany    = answered(429, `{"error":"rate_limit_exceeded","retry_after":7}`)
		badKey     = answered(401, `{"error":"invalid_api_key"}`)
		poor       = answered(402, `{"error":"insufficient_balance"}`)
		busy       = answered(503, `{"error":"unavailable"}`)
		busyHTML   = answered(503, "<html>")
		busy60     = answered(503, `{"error":"unavailable","retry_after":60}`)
		busyLong   = answered(503, `{"error":"unavailable","retry_after":86400}`)
		portal     = answered(200, "<html>")
		redirect   = answered(302, "")
		proxy      = answered(404, "<html>")
		refusedTCP = Answer{Fault: faultDial, ErrorMessage: "connection refused"}
		cut        = Answer{Fault: faultCut, Left: true, ErrorMessage: "EOF"}
		timeout    = Answer{Fault: faultTimeout, Left: true}
		stranger   = Answer{Fault: faultTLS, TLSIdentity: true}
		slept      = Answer{Fault: faultCut, Left: true, Stepped: time.Hour}
		stopped    = Answer{Fault: faultCut, Left: true, Stopped: true}
		notBegun   = Answer{Fault: faultCut, Stopped: true}
	)
	tests := []struct {
		name string
		c    Claim
		a    Answer
		want string
	}{
		{"an acceptance is sent", fresh, ok, "sent counted"},
		{"an acceptance after doubt is sent", doubtful, ok, "sent counted"},
		{"an acceptance after the time is over is sent all the same", tired, ok, "sent counted"},

		{"a refusal fails at once", fresh, notFound, "failed counted not_found"},
		{"a refusal after clean failures fails", failed, notFound, "failed counted not_found"},
		{"a refusal after doubt proves nothing", doubtful, notFound, "unknown counted not_found"},
		{"a conflict fails", fresh, conflict, "failed counted duplicate"},
		{"a conflict that names a message fails where no attempt was ambiguous", failed, duplicate, "failed counted duplicate"},
		{"a conflict that names the message after doubt is sent", doubtful, duplicate, "sent counted duplicate"},
		{"a conflict that names none after doubt proves nothing", doubtful, conflict, "unknown counted duplicate"},

		{"in progress waits until the first may have settled", fresh, inProgress, "retrying counted ambiguous 5s in_progress"},
		{"in progress waits no longer after many attempts", doubtful, inProgress, "retrying counted ambiguous 5s in_progress"},
		{"in progress waits as long as it is told", fresh, wait20, "retrying counted ambiguous 20s in_progress"},

		{"a 429 sends a fresh message back", fresh, tooMany, "pending throttled rate_limit_exceeded"},
		{"a 429 sends a failed message back", failed, tooMany, "retrying throttled rate_limit_exceeded"},
		{"a 429 after doubt leaves the doubt", doubtful, tooMany, "retrying throttled rate_limit_exceeded"},
		{"a 429 ends nobody whose time is over", tired, tooMany, "retrying throttled rate_limit_exceeded"},
		{"a 401 sends a fresh message back", fresh, badKey, "pending invalid_api_key"},
		{"a 401 after doubt leaves the doubt", doubtful, badKey, "retrying invalid_api_key"},
		{"a stranger's certificate sends a message back", fresh, stranger, "pending tls"},
		{"a 402 sends a fresh message back", fresh, poor, "pending insufficient_balance"},
		{"a 402 after an uncounted ambiguous attempt keeps it retrying", unclear, poor, "retrying insufficient_balance"},
		{"a 402 ends nobody whose time is over", tired, poor, "retrying insufficient_balance"},

		{"a 503 waits half the base by this dice, at least until settled", fresh, busy, "retrying counted ambiguous 5s unavailable"},
		{"a 503 without an envelope says that it was none", fresh, busyHTML, "retrying counted ambiguous 5s not_api"},
		{"a 503 waits as long as it is told", fresh, busy60, "retrying counted ambiguous 1m0s unavailable"},
		{"a 503 waits no longer than the longest backoff", fresh, busyLong, "retrying counted ambiguous 5m0s unavailable"},
		{"a 503 after the time is over is unknown", tired, busy, "unknown counted ambiguous unavailable"},
		{"a 503 without an envelope after the time is over is out of time", tired, busyHTML, "unknown counted ambiguous out_of_time"},

		{"a portal's page is ambiguous and not counted", fresh, portal, "retrying ambiguous 5s not_api"},
		{"a portal's page ends nobody whose time is over", tired, portal, "retrying ambiguous 5s not_api"},
		{"a redirect sends a fresh message back clean", fresh, redirect, "pending not_api"},
		{"a proxy's 404 sends a failed message back clean", failed, proxy, "retrying not_api"},

		{"a dial that fails is clean and backs off", fresh, refusedTCP, "retrying counted 250ms dial"},
		{"a dial that fails again backs off longer", failed, refusedTCP, "retrying counted 2s dial"},
		{"a dial that fails after doubt waits until settled", doubtful, refusedTCP, "retrying counted 5s dial"},
		{"a dial that fails after the time is over fails the message", tired, refusedTCP, "failed counted out_of_time"},
		{"a cut is ambiguous", fresh, cut, "retrying counted ambiguous 5s cut"},
		{"a cut after the time is over is unknown", tired, cut, "unknown counted ambiguous out_of_time"},
		{"a cut that a suspend has put beyond the time is tried again", tired, slept, "retrying counted ambiguous 2m30s cut"},
		{"a timeout is ambiguous", failed, timeout, "retrying counted ambiguous 5s timeout"},

		{"a stop under way is ambiguous and not counted", fresh, stopped, "retrying ambiguous 5s cut"},
		{"a stop before the start leaves no trace", fresh, notBegun, "pending cut"},

		{"a 503 whose wait ends before the key is forgotten is tried again", fading, busy, "retrying counted ambiguous 5s unavailable"},
		{"a 503 whose wait outlasts the key is unknown now", fading, busy60, "unknown counted ambiguous unavailable"},
		{"a 503 when the key is about to be forgotten is unknown", forgotten, busy, "unknown counted ambiguous unavailable"},
		{"a dial that fails when the key is about to be forgotten is unknown", forgotten, refusedTCP, "unknown counted dial"},
		{"a 429 when the key is about to be forgotten is unknown", forgotten, tooMany, "unknown throttled rate_limit_exceeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.a.StartedAt, tt.a.EndedAt = noon.Add(-time.Second), noon
			j := settle(tt.c, tt.a, judge(tt.a), policy, func() float64 { return 0.5 })
			if got := describeJudgement(j); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestWhatAPersonIsTold(t *testing.T) {
	page := answered(200, "<html>")
	page.Header.Set("Content-Type", "text/html\x1b"+strings.Repeat("x", maxStored))
	long := answered(503, `{"error":"e","message":"`+strings.Repeat("x", maxStored)+`"}`)
	tests := []struct {
		name string
		c    Claim
		a    Answer
		want string
	}{
		{"the API's own words", fresh, answered(400, `{"error":"e","message":"to is no number"}`), "to is no number"},
		{"what kept the answer from coming", fresh, Answer{Fault: faultDial, ErrorMessage: "connection refused"}, "connection refused"},
		{"what answered instead of the API", fresh, page, `status 200 with content type "text/html\x1bxxx`},
		{"how long it was tried", tired, long, "gave up after 20h0m0s of attempts; the last one: xxx"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.a.EndedAt = noon
			j := settle(tt.c, tt.a, judge(tt.a), policy, func() float64 { return 0 })
			if !strings.HasPrefix(j.ErrorMessage, tt.want) || len(j.ErrorMessage) > maxStored {
				t.Errorf("%.80q… (%d bytes), want %q", j.ErrorMessage, len(j.ErrorMessage), tt.want)
			}
		})
	}
}

// answered is the answer that a client makes of status and body.
func answered(status int, body string) Answer {
	a := Answer{Left: true}
	a.takeHeader(status, http.Header{})
	a.takeBody([]byte(body))
	return a
}

func describeJudgement(j Judgement) string {
	words := []string{string(j.State)}
	for _, mark := range []struct {
		holds bool
		word  string
	}{{j.Counted, "counted"}, {j.Throttled, "throttled"}, {j.Ambiguous, "ambiguous"}} {
		if mark.holds {
			words = append(words, mark.word)
		}
	}
	if !j.DueAt.IsZero() {
		words = append(words, fmt.Sprint(j.DueAt.Sub(noon)))
	}
	if j.ErrorCode != "" {
		words = append(words, j.ErrorCode)
	}
	if j.State == outbox.Sent && j.ErrorMessage != "" {
		words = append(words, j.ErrorMessage)
	}
	return strings.Join(words, " ")
}
