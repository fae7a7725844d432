package limiter_test

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"weir/limiter"
)

var date = time.Date(2026, 3, 28, 14, 30, 0, 0, time.UTC)

// told are the headers of an answer; what is empty is absent.
type told struct{ date, limit, remaining, reset, retryAfter string }

func (t told) header() http.Header {
	h := http.Header{}
	for name, value := range map[string]string{
		"Date": t.date, "X-RateLimit-Limit": t.limit, "X-RateLimit-Remaining": t.remaining,
		"X-RateLimit-Reset": t.reset, "Retry-After": t.retryAfter,
	} {
		if value != "" {
			h.Set(name, value)
		}
	}
	return h
}

func TestTheLimitIsReadOrSaidToMakeNoSense(t *testing.T) {
	reset := date.Add(time.Minute)
	report := limiter.Headers{Limit: 100, Remaining: 99, Reset: reset}
	odd := func(what string) limiter.Headers { return limiter.Headers{Odd: what} }
	for _, c := range []struct {
		name                    string
		limit, remaining, reset string
		want                    limiter.Headers
	}{
		{"none of the three is nothing odd", "", "", "", limiter.Headers{}},
		{"all three are a report", "100", "99", "1774708260", report},
		{"Reset may be in milliseconds", "100", "99", "1774708260000", report},
		{"Reset may be in fractional milliseconds", "100", "99", "1774708260000.25", report},
		{"Reset may be fractional", "100", "99", "1774708260.5", limiter.Headers{Limit: 100, Remaining: 99, Reset: reset.Add(time.Second / 2)}},
		{"Reset may be ISO 8601", "100", "99", "2026-03-28T14:31:00Z", report},
		{"an ISO Reset may have an offset", "100", "99", "2026-03-28T16:31:00+02:00", report},
		{"an ISO Reset may have an offset without a colon", "100", "99", "2026-03-28T16:31:00+0200", report},
		{"an ISO Reset may have a fraction", "100", "99", "2026-03-28T14:31:00.250Z", limiter.Headers{Limit: 100, Remaining: 99, Reset: reset.Add(time.Second / 4)}},
		{"an ISO Reset without a zone is ignored", "100", "99", "2026-03-28T14:31:00", odd("X-RateLimit-Reset is no time")},
		{"no Limit is no report", "", "99", "1774708260", odd("X-RateLimit-Limit is missing")},
		{"a Limit of zero is no report", "0", "0", "1774708260", odd("X-RateLimit-Limit is not positive")},
		{"a negative Limit is no report", "-5", "0", "1774708260", odd("X-RateLimit-Limit is not positive")},
		{"a Limit that is no number is no report", "100;w=60", "99", "1774708260", odd("X-RateLimit-Limit is no number")},
		{"a huge Limit is a billion", "5000000000", "5000000000", "1774708260", limiter.Headers{Limit: 1e9, Remaining: 1e9, Reset: reset, Odd: "X-RateLimit-Limit is above a billion"}},
		{"a Limit beyond all numbers is a billion", "99999999999999999999", "9", "1774708260", limiter.Headers{Limit: 1e9, Remaining: 9, Reset: reset, Odd: "X-RateLimit-Limit is above a billion"}},
		{"no Remaining is no report", "100", "", "1774708260", odd("X-RateLimit-Remaining is missing")},
		{"a Remaining that is no number is no report", "100", "some", "1774708260", odd("X-RateLimit-Remaining is no number")},
		{"a Remaining above Limit is Limit", "100", "101", "1774708260", limiter.Headers{Limit: 100, Remaining: 100, Reset: reset, Odd: "X-RateLimit-Remaining is above X-RateLimit-Limit"}},
		{"a Remaining below zero is zero", "100", "-1", "1774708260", limiter.Headers{Limit: 100, Reset: reset, Odd: "X-RateLimit-Remaining is negative"}},
		{"no Reset is no report", "100", "99", "", odd("X-RateLimit-Reset is missing")},
		{"a Reset of zero is no report", "100", "99", "0", odd("X-RateLimit-Reset is not positive")},
		{"a negative Reset is no report", "100", "99", "-5.5", odd("X-RateLimit-Reset is not positive")},
		{"a Reset that is no time is no report", "100", "99", "soon", odd("X-RateLimit-Reset is no time")},
		{"a Reset that is no number is no report", "100", "99", "NaN", odd("X-RateLimit-Reset is no time")},
		{"a Reset in nanoseconds is no report", "100", "99", "1774708260000000000", odd("X-RateLimit-Reset is no time")},
		{"a Reset after all years is no report", "100", "99", "9999-12-31T23:59:59Z", odd("X-RateLimit-Reset is no time")},
		{"a Reset before all windows is no report", "100", "99", "0001-01-01T00:00:00Z", odd("X-RateLimit-Reset is no time")},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Date = date
			got := limiter.ParseHeaders(told{date.Format(http.TimeFormat), c.limit, c.remaining, c.reset, ""}.header(), "")
			wantHeaders(t, got, c.want)
		})
	}
}

func TestAWaitingTimeIsReadOrSaidToMakeNoSense(t *testing.T) {
	wait := func(d time.Duration, odd string) limiter.Headers { return limiter.Headers{RetryAfter: d, Odd: odd} }
	const day = 24 * time.Hour
	for _, c := range []struct {
		name         string
		body, header string
		want         limiter.Headers
	}{
		{"a missing one is nothing odd", "", "", wait(0, "")},
		{"retry_after is in seconds", "2", "", wait(2*time.Second, "")},
		{"retry_after may be fractional", "0.25", "", wait(250*time.Millisecond, "")},
		{"retry_after may be a string", `"2"`, "", wait(2*time.Second, "")},
		{"retry_after may be a string with the unit", `"2s"`, "", wait(2*time.Second, "")},
		{"a retry_after of zero counts as absent", "0", "9", wait(9*time.Second, "")},
		{"a negative retry_after is ignored", "-2", "", wait(0, "retry_after is negative")},
		{"a retry_after in words is ignored", `"soon"`, "", wait(0, "retry_after is no number of seconds")},
		{"a retry_after that is no number is ignored", `{"s":1}`, "", wait(0, "retry_after is no number of seconds")},
		{"a retry_after that is not a number is ignored", `"nan"`, "", wait(0, "retry_after is no number of seconds")},
		{"a huge retry_after is a day", "1e300", "", wait(day, "retry_after is longer than a day")},
		{"a retry_after beyond all numbers is a day", "1e999", "", wait(day, "retry_after is longer than a day")},
		{"retry_after goes before Retry-After", "2", "9", wait(2*time.Second, "")},
		{"Retry-After stands in for a bad retry_after", "-1", "9", wait(9*time.Second, "retry_after is negative")},
		{"Retry-After may be a date", "", "Sat, 28 Mar 2026 14:30:07 GMT", wait(7*time.Second, "")},
		{"a Retry-After of now is nothing odd", "", "Sat, 28 Mar 2026 14:29:59 GMT", wait(0, "")},
		{"a Retry-After in the past is ignored", "", "Sat, 28 Mar 2026 14:29:00 GMT", wait(0, "Retry-After lies in the past")},
		{"a Retry-After next year is a day", "", "Sun, 28 Mar 2027 14:30:00 GMT", wait(day, "Retry-After is longer than a day")},
		{"a negative Retry-After is ignored", "", "-9", wait(0, "Retry-After is negative")},
		{"a Retry-After in words is ignored", "", "later", wait(0, "Retry-After is neither seconds nor a date")},
		{"a huge Retry-After is a day", "", "1e9", wait(day, "Retry-After is longer than a day")},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Date = date
			got := limiter.ParseHeaders(told{date: date.Format(http.TimeFormat), retryAfter: c.header}.header(), c.body)
			wantHeaders(t, got, c.want)
		})
	}
}

func TestWithoutADateNoOtherDateIsOfUse(t *testing.T) {
	const inTheHeader = "Sat, 28 Mar 2026 14:30:07 GMT"
	wantHeaders(t, limiter.ParseHeaders(told{retryAfter: inTheHeader}.header(), ""),
		limiter.Headers{Odd: "Retry-After is a date, without a Date to compare it with"})
	wantHeaders(t, limiter.ParseHeaders(told{date: "today", retryAfter: inTheHeader}.header(), ""),
		limiter.Headers{Odd: "Date is no date"})
}

func wantHeaders(t *testing.T, got, want limiter.Headers) {
	t.Helper()
	if !got.Reset.Equal(want.Reset) || !got.Date.Equal(want.Date) {
		t.Errorf("Reset %v and Date %v, want %v and %v", got.Reset, got.Date, want.Reset, want.Date)
	}
	got.Reset, got.Date = want.Reset, want.Date
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAnOrdinaryAnswerCostsNoAllocation(t *testing.T) {
	l := limiter.New(limiter.Config{})
	for _, reset := range []string{"1774708260", "2026-03-28T14:31:00Z", ""} {
		limit := "100"
		if reset == "" {
			limit = ""
		}
		h := told{date.Format(http.TimeFormat), limit, limit, reset, ""}.header()
		if n := testing.AllocsPerRun(100, func() {
			l.Grant(date, true, 1)
			l.Answered(l.Sent(date), date, limiter.Answer{Status: 200, Headers: limiter.ParseHeaders(h, "")})
		}); n > 0 {
			t.Errorf("%v allocations for an answer with the Reset %q", n, reset)
		}
	}
}

func FuzzParseHeaders(f *testing.F) {
	today := date.Format(http.TimeFormat)
	for _, seed := range []struct {
		told
		body string
	}{
		{told{today, "100", "99", "1774708260", ""}, ""},
		{told{today, "100", "101", "1774708260000", "2"}, `"2s"`},
		{told{today, "0", "-1", "2026-03-28T14:31:00.5+02:00", today}, "-2"},
		{told{"", "99999999999999999999", "soon", "-5.5", today}, "1e999"},
		{told{"yesterday", "5000000000", "5000000000", "9999-12-31T23:59:59Z", "NaN"}, `{"s":1}`},
		{told{today, "1", "0", "1e13", "-Inf"}, "0x1p-1074"},
	} {
		f.Add(seed.date, seed.limit, seed.remaining, seed.reset, seed.retryAfter, seed.body)
	}
	phrase := regexp.MustCompile(`^(|(X-RateLimit-(Limit|Remaining|Reset)|Retry-After|retry_after|Date) (is|lies) [a-zA-Z -]+(, without a Date to compare it with)?)$`)
	f.Fuzz(func(t *testing.T, date, limit, remaining, reset, retryAfter, body string) {
		h := limiter.ParseHeaders(told{date, limit, remaining, reset, retryAfter}.header(), body)
		if reported := h.Limit > 0; h.Limit < 0 || h.Limit > 1e9 || reported == h.Reset.IsZero() {
			t.Errorf("Limit %d with Reset %v", h.Limit, h.Reset)
		}
		if h.Remaining < 0 || h.Remaining > h.Limit {
			t.Errorf("Remaining %d of %d", h.Remaining, h.Limit)
		}
		if !h.Reset.IsZero() && (h.Reset.Unix() <= 0 || h.Reset.Year() > 5139) {
			t.Errorf("Reset %v", h.Reset)
		}
		if h.RetryAfter < 0 || h.RetryAfter > 24*time.Hour {
			t.Errorf("RetryAfter %v", h.RetryAfter)
		}
		if !phrase.MatchString(h.Odd) {
			t.Errorf("what made no sense is called %q", h.Odd)
		}
		l := limiter.New(limiter.Config{})
		for _, status := range []int{200, 429} {
			l.Grant(epoch, true, 1)
			l.Answered(l.Sent(epoch), epoch.Add(time.Second), limiter.Answer{Status: status, Headers: h})
		}
		if s := l.State(epoch.Add(time.Second)); s.Until.After(epoch.Add(26 * time.Hour)) {
			t.Errorf("parked until %v", s.Until)
		}
	})
}
