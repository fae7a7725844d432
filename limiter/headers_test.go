package limiter_test

import (
	"net/http"
	"testing"
	"time"

	"weir/limiter"
)

func TestHeadersAreReadOrIgnored(t *testing.T) {
	date := time.Date(2026, 3, 28, 14, 30, 0, 0, time.UTC)
	reset := date.Add(time.Minute)
	for _, c := range []struct {
		name                                string
		limit, remaining, reset, retryAfter string
		body                                string
		want                                limiter.Headers
	}{
		{"all three are a report", "100", "99", "1774708260", "", "", limiter.Headers{Limit: 100, Remaining: 99, Reset: reset}},
		{"Reset may be in milliseconds", "100", "99", "1774708260000", "", "", limiter.Headers{Limit: 100, Remaining: 99, Reset: reset}},
		{"Reset may be fractional", "100", "99", "1774708260.5", "", "", limiter.Headers{Limit: 100, Remaining: 99, Reset: reset.Add(time.Second / 2)}},
		{"Reset may be ISO 8601", "100", "99", "2026-03-28T14:31:00Z", "", "", limiter.Headers{Limit: 100, Remaining: 99, Reset: reset}},
		{"a Remaining above Limit is Limit", "100", "101", "1774708260", "", "", limiter.Headers{Limit: 100, Remaining: 100, Reset: reset}},
		{"a Remaining below zero is zero", "100", "-1", "1774708260", "", "", limiter.Headers{Limit: 100, Reset: reset}},
		{"a limit of zero is no report", "0", "0", "1774708260", "", "", limiter.Headers{}},
		{"no Limit is no report", "", "99", "1774708260", "", "", limiter.Headers{}},
		{"no Remaining is no report", "100", "", "1774708260", "", "", limiter.Headers{}},
		{"no Reset is no report", "100", "99", "", "", "", limiter.Headers{}},
		{"a Reset of zero is no report", "100", "99", "0", "", "", limiter.Headers{}},
		{"a negative Reset is no report", "100", "99", "-5.5", "", "", limiter.Headers{}},
		{"a Reset that is no time is no report", "100", "99", "soon", "", "", limiter.Headers{}},
		{"a Reset that is no number is no report", "100", "99", "NaN", "", "", limiter.Headers{}},
		{"a Limit too large for a number is no report", "99999999999999999999", "9", "1774708260", "", "", limiter.Headers{}},
		{"retry_after is in seconds", "", "", "", "", "2", limiter.Headers{RetryAfter: 2 * time.Second}},
		{"retry_after may be fractional", "", "", "", "", "0.25", limiter.Headers{RetryAfter: 250 * time.Millisecond}},
		{"retry_after may be a string", "", "", "", "", `"2"`, limiter.Headers{RetryAfter: 2 * time.Second}},
		{"a negative retry_after is ignored", "", "", "", "", "-2", limiter.Headers{}},
		{"a retry_after that is no number is ignored", "", "", "", "", `{"s":1}`, limiter.Headers{}},
		{"a huge retry_after is a day", "", "", "", "", "1e300", limiter.Headers{RetryAfter: 24 * time.Hour}},
		{"retry_after goes before Retry-After", "", "", "", "9", "2", limiter.Headers{RetryAfter: 2 * time.Second}},
		{"Retry-After stands in for a bad retry_after", "", "", "", "9", "null", limiter.Headers{RetryAfter: 9 * time.Second}},
		{"Retry-After may be a date", "", "", "", "Sat, 28 Mar 2026 14:30:07 GMT", "", limiter.Headers{RetryAfter: 7 * time.Second}},
		{"a Retry-After in the past is ignored", "", "", "", "Sat, 28 Mar 2026 14:29:00 GMT", "", limiter.Headers{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{}
			h.Set("Date", date.Format(http.TimeFormat))
			for name, value := range map[string]string{
				"X-RateLimit-Limit": c.limit, "X-RateLimit-Remaining": c.remaining,
				"X-RateLimit-Reset": c.reset, "Retry-After": c.retryAfter,
			} {
				if value != "" {
					h.Set(name, value)
				}
			}
			got := limiter.ParseHeaders(h, c.body)
			if !got.Date.Equal(date) || got.Limit != c.want.Limit || got.Remaining != c.want.Remaining ||
				!got.Reset.Equal(c.want.Reset) || got.RetryAfter != c.want.RetryAfter {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestARetryAfterDateWithoutDateIsIgnored(t *testing.T) {
	h := http.Header{"Retry-After": {"Sat, 28 Mar 2026 14:30:07 GMT"}}
	if got := limiter.ParseHeaders(h, ""); got != (limiter.Headers{}) {
		t.Errorf("got %+v, want nothing", got)
	}
}
