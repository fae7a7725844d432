package sandbox_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
)

// tellable are the kinds whose symptom is an answer; each of the others has a test
// of its own.
var (
	tellable = map[sandbox.Kind]symptom{
		sandbox.Kind307:       {status: 307, body: "<html>", bare: true},
		sandbox.Kind302:       {status: 302, body: "<html>", bare: true},
		sandbox.Kind502:       {status: 502, body: "<html>", bare: true},
		sandbox.Kind504:       {status: 504, body: "<html>", bare: true},
		sandbox.HTML200:       {status: 200, body: "<html>", bare: true},
		sandbox.HTML404:       {status: 404, body: "<html>", bare: true},
		sandbox.Kind401:       {status: 401, error: "unauthorized", early: true},
		sandbox.Kind429:       {status: 429, error: "rate_limit_exceeded", body: `"retry_after":`},
		sandbox.Kind402:       {status: 402, error: "insufficient_balance", body: `"required_amount":0.12,"topup_url":"https://`},
		sandbox.Kind408:       {status: 408, error: "request_timeout"},
		sandbox.Kind409:       {status: 409, error: "duplicate"},
		sandbox.Kind409InWork: {status: 409, error: "idempotency_in_progress"},
		sandbox.Kind425:       {status: 425, error: "too_early"},
		sandbox.Kind500:       {status: 500, error: "internal_error"},
		sandbox.Kind503:       {status: 503, error: "service_unavailable"},
		sandbox.Kind403:       {status: 403, error: "policy_violation"},
		sandbox.Kind404:       {status: 404, error: "device_not_capable"},
		sandbox.Kind422:       {status: 422, error: "suppressed_address"},
		sandbox.Kind500After:  {status: 500, error: "internal_error", effects: 1},
		sandbox.Garbage200:    {status: 200, body: `{"message_id": "msg_`, effects: 1},
		sandbox.Empty200:      {status: 200, effects: 1},
		sandbox.NoMessageID:   {status: 200, body: `{"status":"queued"`, effects: 1},
	}
	silent = []sandbox.Kind{
		sandbox.CutBefore, sandbox.CutAfter, sandbox.HangBefore, sandbox.HangAfter, sandbox.DropKeepAlive, sandbox.SlowBody,
	}
)

type symptom struct {
	status  int
	error   string
	body    string // what the body holds
	effects int
	bare    bool // not the API's answer: no request id, no limit headers
	early   bool // before the limit: no limit headers
}

func TestEveryKindOfFaultIsTested(t *testing.T) {
	for _, kind := range sandbox.Kinds() {
		if _, ok := tellable[kind]; !ok && !slices.Contains(silent, kind) {
			t.Errorf("%s has no test", kind)
		}
	}
}

func TestAKindOfFaultThatAnswersGivesItsAnswer(t *testing.T) {
	for kind, want := range tellable {
		t.Run(string(kind), func(t *testing.T) {
			a := start(t, sandbox.Config{Limit: 10, Window: time.Minute, Faults: []sandbox.Fault{{Kind: kind}}})
			r := a.mustSend("k")
			if r.status != want.status || r.text("error") != want.error || !strings.Contains(r.raw, want.body) {
				t.Errorf("answer = %d %q; want %d, error %q, body with %q", r.status, r.raw, want.status, want.error, want.body)
			}
			if named := r.text("message_id") != ""; named {
				t.Errorf("answer %s names a message", r.raw)
			}
			if got := r.header.Get("X-Request-Id") == ""; got != want.bare {
				t.Errorf("no request id = %v; want %v", got, want.bare)
			}
			if got := r.header.Get("X-RateLimit-Limit") == ""; got != (want.bare || want.early) {
				t.Errorf("no limit headers = %v; want %v", got, want.bare || want.early)
			}
			if s := a.Stats(); s.Executed != want.effects || s.Faults[kind] != 1 || s.Status[want.status] != 1 {
				t.Errorf("stats = %+v; want %d effects, one fault, one %d", s, want.effects, want.status)
			}
		})
	}
}

func TestAConnectionThatIsCutGivesNoAnswer(t *testing.T) {
	for text, effects := range map[string]int{"cut-before": 0, "cut-after": 1} {
		a := faults(t, text+":first=1")
		if r, err := a.send("k"); err == nil {
			t.Errorf("%s: answer = %d; want an error", text, r.status)
		}
		if got := a.Keys("")["k"]; got.Effects != effects || len(got.Arrivals) != 1 {
			t.Errorf("%s: key = %+v; want %d effects, one arrival", text, got, effects)
		}
		if r := a.mustSend("k"); r.status != 200 || (r.header.Get("Idempotent-Replayed") != "") != (effects == 1) {
			t.Errorf("%s: repeat = %d, %v; want 200, replayed only if it was executed", text, r.status, r.header)
		}
	}
}

func TestARequestThatHangsIsAnsweredOnlyByTheClientLeaving(t *testing.T) {
	for text, effects := range map[string]int{"hang-before": 0, "hang-after": 1} {
		a := faults(t, text)
		ctx, leave := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := a.do(ctx, http.MethodPost, "/v1/messages", rcsBody, "Idempotency-Key", "k")
		leave()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: err = %v; want the client's own deadline", text, err)
		}
		if got := a.Stats().Executed; got != effects {
			t.Errorf("%s: executed = %d; want %d", text, got, effects)
		}
	}
}

func TestASlowBodyPausesHalfway(t *testing.T) {
	a := faults(t, "slow-body:delay=1h,first=1", "slow-body:delay=1ms")
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+"/v1/messages", strings.NewReader(rcsBody))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + sandbox.DefaultKey}, "Content-Type": {"application/json"}, "Idempotency-Key": {"k"}}
	res, err := a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	half := make([]byte, res.ContentLength/2)
	if _, err := io.ReadFull(res.Body, half); err != nil {
		t.Errorf("first half: %v", err)
	}
	leave()
	if rest, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("second half = %q; want none within the hour", rest)
	}
	if r := a.mustSend("k"); !strings.HasPrefix(r.raw, string(half)) || r.text("message_id") == "" {
		t.Errorf("repeat = %q; want the whole of what began with %q", r.raw, half)
	}
}

func TestAKeptAliveConnectionIsDroppedOnceItHasAnswered(t *testing.T) {
	a := faults(t, "drop-keepalive:after=2")
	for i := range 2 {
		if r := a.mustSend("k"); r.status != 200 {
			t.Fatalf("answer %d = %d; want 200", i+1, r.status)
		}
	}
	var reused bool
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused }})
	_, err := a.do(ctx, http.MethodPost, "/v1/messages", rcsBody, "Idempotency-Key", "k2")
	if !reused || err == nil {
		t.Fatalf("third request: reused %v, err %v; want an error on a reused connection", reused, err)
	}
	if got := a.Keys("")["k2"]; got.Effects != 0 || len(got.Arrivals) != 1 {
		t.Errorf("key = %+v; want one arrival, no effect", got)
	}
	if r := a.mustSend("k2"); r.status != 200 {
		t.Errorf("on a new connection = %d; want 200", r.status)
	}
}

// The reason for the rule that weir leaves GetBody nil: net/http repeats a
// request with an Idempotency-Key by itself.
func TestADropIsSeenAsTwoArrivalsOfAClientThatRepeatsByItself(t *testing.T) {
	a := faults(t, "drop-keepalive")
	a.mustSend("k")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.url+"/v1/messages", strings.NewReader(rcsBody))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + sandbox.DefaultKey}, "Content-Type": {"application/json"}, "Idempotency-Key": {"k2"}}
	res, err := a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	if got := a.Keys("")["k2"]; got.Effects != 1 || len(got.Arrivals) != 2 {
		t.Errorf("key = %+v; want one effect, two arrivals", got)
	}
}

func TestADuplicateNamesTheMessageOfAKeyThatTookEffect(t *testing.T) {
	a := faults(t, "cut-after:first=1", "409:every=2")
	if _, err := a.send("k"); err == nil {
		t.Fatal("the first answer was not cut")
	}
	r := a.mustSend("k")
	if want := a.Keys("")["k"].MessageID; r.status != 409 || r.text("message_id") != want || want == "" {
		t.Errorf("answer = %d %s; want 409 with message_id %q", r.status, r.raw, want)
	}
}

func TestAClientThatFollowsARedirectIsSeen(t *testing.T) {
	a := faults(t, "307")
	a.client.CheckRedirect = nil
	res, err := a.client.Post(a.url+"/v1/messages", "application/json", strings.NewReader(rcsBody))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got := a.Stats().Violations["wrong_path"]; got.Count != 1 || !strings.HasSuffix(got.Samples[0], " POST /elsewhere") {
		t.Errorf("violation = %+v; want one POST to /elsewhere", got)
	}
}

func TestARuleStrikesWhatItsConditionsPick(t *testing.T) {
	for text, want := range map[string]string{
		"500:first=2":     "XX....",
		"500:every=3":     "..X..X",
		"500:key=a":       "X.X.X.",
		"500:channel=rcs": "XXXXXX",
		"500:channel=b":   "......",
		"500@..1h":        "XXXXXX",
		"500@1h..":        "......",
		"500:1":           "XXXXXX",
		"500:1e-12":       "......",
	} {
		a := faults(t, text)
		got := ""
		for i := range 6 {
			if a.mustSend(string("ab"[i%2])+"-"+text).status == 500 {
				got += "X"
			} else {
				got += "."
			}
		}
		if got != want {
			t.Errorf("%s strikes %s; want %s", text, got, want)
		}
	}
}

func TestARuleStrikesOnlyWithinItsTime(t *testing.T) {
	now := time.Now()
	a := start(t, sandbox.Config{Now: func() time.Time { return now }, Faults: parse(t, "402@2s..10s")})
	for _, step := range []struct {
		at   time.Duration
		want int
	}{{0, 200}, {2*time.Second - 1, 200}, {2 * time.Second, 402}, {10*time.Second - 1, 402}, {10 * time.Second, 200}} {
		was := now
		now = now.Add(step.at)
		if got := a.mustSend(step.at.String()).status; got != step.want {
			t.Errorf("status after %v = %d; want %d", step.at, got, step.want)
		}
		now = was
	}
}

func TestTheTextOfAFaultIsReadAndGivenBack(t *testing.T) {
	for text, want := range map[string]sandbox.Fault{
		"402@2s..10s":                       {Kind: sandbox.Kind402, From: 2 * time.Second, To: 10 * time.Second},
		"500:0.05":                          {Kind: sandbox.Kind500, Chance: 0.05},
		"cut-after:0.02,first=3":            {Kind: sandbox.CutAfter, Chance: 0.02, First: 3},
		"503@5s..":                          {Kind: sandbox.Kind503, From: 5 * time.Second},
		"drop-keepalive:every=2,after=5":    {Kind: sandbox.DropKeepAlive, Every: 2, After: 5},
		"slow-body:delay=2s":                {Kind: sandbox.SlowBody, Delay: 2 * time.Second},
		"html200@0s..20s:channel=rcs,key=a": {Kind: sandbox.HTML200, To: 20 * time.Second, Channel: "rcs", KeyPrefix: "a"},
	} {
		got, err := sandbox.ParseFault(text)
		if err != nil || !reflect.DeepEqual(got, want) || got.String() != text {
			t.Errorf("ParseFault(%q) = %+v, %v, as text %q; want %+v", text, got, err, got, want)
		}
	}
	for _, text := range []string{"", "418", "500:2", "500:0", "500:-1", "500:NaN", "500@5s", "500@5s..5s", "500@-5s..", "500:first=0",
		"500:first=x", "500:when=3", "500:after=2", "500:delay=1s", "slow-body:delay=x"} {
		if f, err := sandbox.ParseFault(text); !errors.Is(err, sandbox.ErrSetting) {
			t.Errorf("ParseFault(%q) = %+v, %v; want ErrSetting", text, f, err)
		}
	}
}
