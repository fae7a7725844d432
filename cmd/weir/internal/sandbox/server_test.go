package sandbox_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/internal/bubble"
)

const rcsBody = `{"agent_id":"ag_live_1","to":"+491701234567","message_type":"MESSAGE","traffic_type":"TRANSACTION","content":{"text":"hi"}}`

// api is a Server behind a real listener, with a client that follows nothing.
type api struct {
	*sandbox.Server
	t      *testing.T
	url    string
	client *http.Client
}

func start(t *testing.T, cfg sandbox.Config) *api {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	s := sandbox.New(cfg)
	listening := httptest.NewServer(s)
	t.Cleanup(listening.Close)
	client := listening.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &api{Server: s, t: t, url: listening.URL, client: client}
}

// faults starts a Server with these faults.
func faults(t *testing.T, texts ...string) *api {
	t.Helper()
	return start(t, sandbox.Config{Faults: parse(t, texts...)})
}

func parse(t *testing.T, texts ...string) []sandbox.Fault {
	t.Helper()
	var all []sandbox.Fault
	for _, text := range texts {
		f, err := sandbox.ParseFault(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	raw    string
	body   map[string]any // nil if it is no JSON object
}

func (r reply) text(name string) string {
	s, _ := r.body[name].(string)
	return s
}

// do sends one request; headers are name, value, ...
func (a *api) do(ctx context.Context, method, path, body string, headers ...string) (reply, error) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.GetBody = nil // net/http must not repeat a request by itself
	req.Header.Set("Authorization", "Bearer "+sandbox.DefaultKey)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := a.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	r := reply{status: res.StatusCode, header: res.Header, raw: string(raw)}
	_ = json.Unmarshal(raw, &r.body) // no JSON is an answer, too
	return r, err
}

// send sends rcsBody under a key.
func (a *api) send(key string) (reply, error) {
	a.t.Helper()
	return a.do(a.t.Context(), http.MethodPost, "/v1/messages", rcsBody, "Idempotency-Key", key)
}

func (a *api) mustSend(key string) reply {
	a.t.Helper()
	r, err := a.send(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

func TestASendIsAnsweredAsTheRealAPIDoes(t *testing.T) {
	a := start(t, sandbox.Config{Limit: 10, Window: time.Minute})
	r := a.mustSend("k")
	if r.status != http.StatusOK || r.text("status") != "queued" || !strings.HasPrefix(r.text("message_id"), "msg_") {
		t.Errorf("answer = %d %s; want 200, queued, a message_id", r.status, r.raw)
	}
	for _, name := range []string{"X-Request-Id", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Date"} {
		if r.header.Get(name) == "" {
			t.Errorf("header %s is missing from %v", name, r.header)
		}
	}
	if got := r.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type = %q; want application/json", got)
	}
	billing, _ := r.body["billing"].(map[string]any)
	if billing["channel"] != "RCS" || billing["balance"] == nil || billing["tier"] == nil {
		t.Errorf("billing = %v; want channel RCS, a balance and a tier", billing)
	}
}

func TestTheListOnlyTellsAKeyFromAWrongOne(t *testing.T) {
	a := start(t, sandbox.Config{Keys: []string{sandbox.DefaultKey}})
	if r, err := a.do(t.Context(), http.MethodGet, "/v1/messages?limit=1", ""); err != nil || r.status != http.StatusOK || r.body["messages"] == nil {
		t.Errorf("GET = %d %s, %v; want 200 with messages", r.status, r.raw, err)
	}
	a.SetKeys("another")
	if r, err := a.do(t.Context(), http.MethodGet, "/v1/messages?limit=1", ""); err != nil || r.status != http.StatusUnauthorized {
		t.Errorf("GET with a wrong key = %d %s, %v; want 401", r.status, r.raw, err)
	}
}

func TestAMessageCanBeReadBackByItsID(t *testing.T) {
	a := start(t, sandbox.Config{})
	id := a.mustSend("k").text("message_id")
	r, err := a.do(t.Context(), http.MethodGet, "/v1/messages/"+id, "")
	if err != nil || r.status != http.StatusOK || r.text("message_id") != id || r.text("sent_at") == "" {
		t.Errorf("GET = %d %s, %v; want 200 with the id and sent_at", r.status, r.raw, err)
	}
	r, err = a.do(t.Context(), http.MethodGet, "/v1/messages/"+id+"0", "")
	if err != nil || r.status != http.StatusNotFound || r.text("error") != "not_found" {
		t.Errorf("GET of another id = %d %s, %v; want 404 not_found", r.status, r.raw, err)
	}
}

func TestTheTestEndpointTakesFiveMessages(t *testing.T) {
	a := start(t, sandbox.Config{})
	for i := range 6 {
		r, err := a.do(t.Context(), http.MethodPost, "/v1/test/messages", rcsBody)
		want := http.StatusOK
		if i == 5 {
			want = http.StatusForbidden
		}
		if err != nil || r.status != want {
			t.Errorf("test message %d = %d, %v; want %d", i+1, r.status, err, want)
		}
	}
	if got := a.Stats().Executed; got != 0 {
		t.Errorf("executed = %d; want 0, test messages are no sends", got)
	}
}

func TestAWrongAPIKeyIsRefusedBeforeTheLimit(t *testing.T) {
	a := start(t, sandbox.Config{Limit: 1, Window: time.Minute})
	for range 2 {
		r, err := a.do(t.Context(), http.MethodPost, "/v1/messages", rcsBody, "Authorization", "Bearer other")
		if err != nil || r.status != http.StatusUnauthorized || r.header.Get("X-RateLimit-Limit") != "" || r.header.Get("X-Request-Id") == "" {
			t.Errorf("answer = %d %v, %v; want 401 with a request id and no limit headers", r.status, r.header, err)
		}
	}
	r, err := a.do(t.Context(), http.MethodPost, "/v1/messages", rcsBody, "Authorization", sandbox.DefaultKey)
	if err != nil || r.status != http.StatusUnauthorized {
		t.Errorf("answer to a key without Bearer = %d, %v; want 401", r.status, err)
	}
	a.SetKeys("other")
	r, err = a.do(t.Context(), http.MethodPost, "/v1/messages", rcsBody, "Authorization", "Bearer other")
	if err != nil || r.status != http.StatusOK {
		t.Errorf("answer to the new key = %d, %v; want 200", r.status, err)
	}
}

func TestLatencyPassesBeforeTheAnswer(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := sandbox.New(sandbox.Config{Latency: time.Hour, Jitter: time.Minute})
		req := httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(rcsBody))
		req.Header.Set("Authorization", "Bearer "+sandbox.DefaultKey)
		req.Header.Set("Content-Type", "application/json")
		began, answer := time.Now(), httptest.NewRecorder()
		s.ServeHTTP(answer, req)
		if took := time.Since(began); answer.Code != http.StatusOK || took < time.Hour || took > time.Hour+time.Minute {
			t.Errorf("answered with %d after %v; want 200 after an hour and up to a minute", answer.Code, took)
		}
	})
}

func TestControlChangesARunningServer(t *testing.T) {
	a := start(t, sandbox.Config{Window: time.Hour})
	r, err := a.do(t.Context(), http.MethodPost, "/control", `{"limit":7,"faults":["503:first=1"]}`)
	if err != nil || r.status != http.StatusOK || r.raw != `{"limit":7,"keys":["sandbox_key"],"faults":["503:first=1"]}`+"\n" {
		t.Fatalf("control = %d %s, %v", r.status, r.raw, err)
	}
	if r := a.mustSend("k"); r.status != http.StatusServiceUnavailable || r.header.Get("X-RateLimit-Limit") != "7" {
		t.Errorf("answer = %d with limit %q; want 503 and 7", r.status, r.header.Get("X-RateLimit-Limit"))
	}
	if r := a.mustSend("k"); r.status != http.StatusOK {
		t.Errorf("second answer = %d; want 200", r.status)
	}
	for _, bad := range []string{`{"limit":-1}`, `{"keys":[]}`, `{"faults":["nonsense"]}`, `{"limits":1}`, `no`} {
		if r, err := a.do(t.Context(), http.MethodPost, "/control", bad); err != nil || r.status != http.StatusBadRequest {
			t.Errorf("control %s = %d, %v; want 400", bad, r.status, err)
		}
	}
}

func TestStatsTellWhatEachKeyDid(t *testing.T) {
	a := start(t, sandbox.Config{})
	first, again := a.mustSend("a-1"), a.mustSend("a-1")
	a.mustSend("b-1")
	r, err := a.do(t.Context(), http.MethodGet, "/stats/keys?prefix=a-", "")
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]sandbox.Key
	if err := json.Unmarshal([]byte(r.raw), &keys); err != nil {
		t.Fatal(err)
	}
	k := keys["a-1"]
	if len(keys) != 1 || k.Effects != 1 || len(k.Arrivals) != 2 || k.MessageID != first.text("message_id") {
		t.Errorf("keys = %+v; want a-1 with one effect, two arrivals and id %s", keys, first.text("message_id"))
	}
	if first.header.Get("X-Request-Id") == again.header.Get("X-Request-Id") {
		t.Error("two answers have one request id")
	}
	var stats sandbox.Stats
	r, err = a.do(t.Context(), http.MethodGet, "/stats", "")
	if err != nil || json.Unmarshal([]byte(r.raw), &stats) != nil {
		t.Fatalf("stats = %s, %v", r.raw, err)
	}
	if stats.Requests != 3 || stats.Executed != 2 || stats.Keys != 2 || stats.Replayed != 1 || stats.Status[200] != 3 ||
		stats.FirstRequestAt == nil || stats.LastAcceptedAt == nil {
		t.Errorf("stats = %+v; want 3 requests, 2 executed, 2 keys, 1 replayed, 3 times 200", stats)
	}
}

func TestServeEndsWithItsContextAndCutsWhatHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := sandbox.New(sandbox.Config{Faults: parse(t, "hang-before")})
	ctx, stop := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Errorf("Serve = %v; want nil", err)
		}
	})
	a := &api{Server: s, t: t, url: "http://" + l.Addr().String(), client: new(http.Client)}
	sent := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { stop() },
	})
	if r, err := a.do(sent, http.MethodPost, "/v1/messages", rcsBody); err == nil {
		t.Errorf("answer = %d; want the connection cut", r.status)
	}
	serving.Wait()
}
