package sandbox_test

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/limiter/sim"
)

const emailBody = `{"channel_id":"ch_1","to":"a@example.org","subject":"Hello","message_type":"NEWSLETTER","template_id":"t_1"}`

// clock is a hand-set clock.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func newClock() *clock { return &clock{time.Unix(1_700_000_000, 0).Add(300 * time.Millisecond)} }

// limited starts a Server with two sends per four seconds.
func limited(t *testing.T, c *clock, change func(*sandbox.Config)) *api {
	cfg := sandbox.Config{Limit: 2, Window: 4 * time.Second, Rounding: sim.Ceil, Now: c.now}
	if change != nil {
		change(&cfg)
	}
	return start(t, cfg)
}

// told joins what an answer says of the limit.
func told(r reply) string {
	return strings.Join([]string{
		strconv.Itoa(r.status), r.header.Get("X-RateLimit-Limit"), r.header.Get("X-RateLimit-Remaining"), r.header.Get("X-RateLimit-Reset"),
		r.header.Get("Retry-After"), after(r),
	}, " ")
}

func after(r reply) string {
	_, raw, _ := strings.Cut(r.raw, `"retry_after":`)
	return strings.TrimSuffix(raw, "}")
}

func TestAnswersTellOfTheLimitAsConfigured(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*sandbox.Config)
		want   [3]string // status limit remaining reset Retry-After retry_after
	}{
		"aligned windows, rounded up": {nil,
			[3]string{"200 2 1 1700000004  ", "200 2 0 1700000004  ", "429 2 0 1700000004  4"}},
		"windows opened by a request": {func(c *sandbox.Config) { c.Model = sim.FirstRequest },
			[3]string{"200 2 1 1700000005  ", "200 2 0 1700000005  ", "429 2 0 1700000005  4"}},
		"rounded down": {func(c *sandbox.Config) { c.Model, c.Rounding = sim.FirstRequest, sim.Floor },
			[3]string{"200 2 1 1700000004  ", "200 2 0 1700000004  ", "429 2 0 1700000004  4"}},
		"remaining before this request": {func(c *sandbox.Config) { c.RemainingBefore = true },
			[3]string{"200 2 2 1700000004  ", "200 2 1 1700000004  ", "429 2 0 1700000004  4"}},
		"a clock ahead": {func(c *sandbox.Config) { c.Skew = 2 * time.Second },
			[3]string{"200 2 1 1700000004  ", "200 2 0 1700000004  ", "429 2 0 1700000004  2"}},
		"with Retry-After": {func(c *sandbox.Config) { c.RetryAfter = true },
			[3]string{"200 2 1 1700000004  ", "200 2 0 1700000004  ", "429 2 0 1700000004 4 4"}},
		"headers on 429 only": {func(c *sandbox.Config) { c.Headers = sim.On429 },
			[3]string{"200     ", "200     ", "429 2 0 1700000004  4"}},
		"Retry-After only": {func(c *sandbox.Config) { c.Headers = sim.RetryAfterOnly },
			[3]string{"200     ", "200     ", "429    4 4"}},
		"no headers": {func(c *sandbox.Config) { c.Headers = sim.None },
			[3]string{"200     ", "200     ", "429     "}},
	} {
		a := limited(t, newClock(), row.change)
		for i, want := range row.want {
			if got := told(a.mustSend(strconv.Itoa(i))); got != want {
				t.Errorf("%s: answer %d tells %q; want %q", name, i+1, got, want)
			}
		}
	}
}

func TestRetryAfterNamesWhenOneMoreFitsAndNotWhenAllDo(t *testing.T) {
	for model, want := range map[sim.Model]string{
		sim.Clock: "3", sim.FirstRequest: "3", sim.SlidingLog: "3", sim.SlidingCounter: "5", sim.TokenBucket: "1",
	} {
		c := newClock()
		a := limited(t, c, func(cfg *sandbox.Config) { cfg.Model = model })
		a.mustSend("1")
		c.Time = c.Add(1500 * time.Millisecond)
		a.mustSend("2")
		if got := after(a.mustSend("3")); got != want {
			t.Errorf("%s: retry_after = %s; want %s", model, got, want)
		}
	}
}

func TestDateIsTheServersClock(t *testing.T) {
	c := newClock()
	a := limited(t, c, func(cfg *sandbox.Config) { cfg.Skew = -time.Hour })
	want := c.Add(-time.Hour).UTC().Format(http.TimeFormat)
	if got := a.mustSend("k").header.Get("Date"); got != want {
		t.Errorf("Date = %q; want %q", got, want)
	}
	a = limited(t, c, func(cfg *sandbox.Config) { cfg.NoDate = true })
	if got := a.mustSend("k").header.Get("Date"); got != "" {
		t.Errorf("Date = %q; want none", got)
	}
}

func TestAReplayUsesTheLimitAndARefusalDoesNot(t *testing.T) {
	c := newClock()
	a := limited(t, c, nil)
	a.mustSend("k")
	if got := a.mustSend("k").header.Get("X-RateLimit-Remaining"); got != "0" {
		t.Errorf("remaining after a replay = %s; want 0", got)
	}
	for range 3 {
		a.mustSend("other")
	}
	if s := a.Stats(); s.Throttled != 3 || s.Allowed != 2 || s.Status[429] != 3 {
		t.Errorf("stats = %+v; want 3 throttled, 2 allowed", s)
	}
	c.Time = c.Add(4 * time.Second)
	if got := a.mustSend("other").status; got != 200 {
		t.Errorf("in the next window = %d; want 200", got)
	}
}

func TestAnUnlimitedServerTellsOfNoLimit(t *testing.T) {
	a := start(t, sandbox.Config{})
	if got := told(a.mustSend("k")); got != "200     " {
		t.Errorf("answer tells %q; want nothing", got)
	}
}

func TestTheLimitMayCountEachChannelByItself(t *testing.T) {
	for scope, want := range map[sandbox.Scope]string{sandbox.PerKey: "0", sandbox.PerChannel: "1"} {
		a := limited(t, newClock(), func(c *sandbox.Config) { c.Scope = scope })
		a.mustSend("r")
		r, err := a.do(t.Context(), http.MethodPost, "/v1/messages", emailBody, "Idempotency-Key", "e")
		if err != nil || r.header.Get("X-RateLimit-Remaining") != want || !strings.HasPrefix(r.text("message_id"), "msg_email_") {
			t.Errorf("per %s: e-mail after RCS = %d %v, %v; want %s remaining", scope, r.status, r.header, err, want)
		}
	}
}

func TestATierChangesTheLimitInMidWindow(t *testing.T) {
	c := newClock()
	a := limited(t, c, func(cfg *sandbox.Config) {
		cfg.Tiers = []sandbox.Tier{{Limit: 1, After: 20 * time.Second}, {Times: 4, After: time.Second}}
	})
	for i, step := range []struct {
		after time.Duration
		want  string
	}{{0, "200 2 1"}, {time.Second, "200 8 6"}, {20 * time.Second, "200 1 0"}} {
		was := c.Time
		c.Time = c.Add(step.after)
		if got := told(a.mustSend(strconv.Itoa(i))); !strings.HasPrefix(got, step.want+" ") {
			t.Errorf("after %v the answer tells %q; want %q", step.after, got, step.want)
		}
		c.Time = was
	}
}

func TestCapacityIsWhatTheLimitWouldHaveAllowed(t *testing.T) {
	for _, model := range []sim.Model{sim.Clock, sim.FirstRequest, sim.SlidingLog, sim.TokenBucket} {
		c := newClock()
		a := limited(t, c, func(cfg *sandbox.Config) { cfg.Model = model })
		a.mustSend("1") // one of two is left unused in the first window
		c.Time = c.Add(4 * time.Second)
		a.mustSend("2")
		a.mustSend("3")
		c.Time = c.Add(8 * time.Second) // a whole window passes unused
		a.mustSend("4")
		s := a.Stats()
		if s.Allowed != 4 || math.Abs(s.Capacity-7) > 1e-9 || len(s.Limits) != 1 || len(s.Limits[0].Windows) != 3 {
			t.Errorf("%s: stats = %+v; want 4 allowed of 7 in three windows that were used", model, s)
		}
	}
}

func TestTheTextOfATierIsReadAndGivenBack(t *testing.T) {
	for text, want := range map[string]sandbox.Tier{
		"4x@10s":    {Times: 4, After: 10 * time.Second},
		"0.25x@1m":  {Times: 0.25, After: time.Minute},
		"400@500ms": {Limit: 400, After: 500 * time.Millisecond},
	} {
		var got sandbox.Tier
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("tier %q = %+v, %v; want %+v", text, got, err, want)
		}
		var back sandbox.Tier
		if err := back.UnmarshalText([]byte(got.String())); err != nil || back != got {
			t.Errorf("tier %q reads back as %+v, %v", got, back, err)
		}
	}
	for _, text := range []string{"", "400", "x@1s", "4x@", "-4@1s", "4x@-1s", "0@1s", "4.5@1s"} {
		var got sandbox.Tier
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("tier %q = %+v; want an error", text, got)
		}
	}
}

func TestValidateNamesEverySettingThatIsWrong(t *testing.T) {
	err := sandbox.Config{
		Keys: []string{""}, Limit: -1, Window: -1, Model: "m", Scope: "s", Headers: "h", Latency: -1, Jitter: -1, KeyLifetime: -1,
		Tiers: []sandbox.Tier{{Times: 2}, {}}, Faults: []sandbox.Fault{{Kind: "418"}, {Kind: sandbox.Kind500, Chance: 2}},
	}.Validate()
	if err == nil {
		t.Fatal("Validate = nil; want errors")
	}
	for _, name := range []string{"Keys", "Limit", "Window", "Model", "Scope", "Headers", "Latency", "Jitter", "KeyLifetime", "Tiers", `"418"`, "chance"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("Validate = %v; want %s named", err, name)
		}
	}
}
