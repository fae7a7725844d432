package limiter

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Headers is what an answer says about the limit. The zero value says nothing.
type Headers struct {
	Date       time.Time     // the server's clock, in whole seconds; zero if absent
	Limit      int           // requests allowed in a window; 0 if there is no report
	Remaining  int           // of these left, from 0 to Limit
	Reset      time.Time     // the server's time at which the window ends; zero if there is no report
	RetryAfter time.Duration // how long to wait; 0 if absent
}

// reported tells whether Limit, Remaining and Reset were all there.
func (h Headers) reported() bool { return h.Limit > 0 && !h.Reset.IsZero() }

// ParseHeaders reads the limit from the headers of an answer and from the raw
// JSON token of retry_after in the body of a 429 ("" if absent).
//
// Limit, Remaining and Reset count only together. Limit must be at least 1, a
// Remaining out of range is moved into it. Reset is taken as Unix seconds,
// whole or not, as Unix milliseconds or as ISO 8601; a Reset that cannot be,
// long past or days ahead, is ignored later, where the server's clock is known.
// Waiting times may be whole or fractional seconds, quoted or not; the body
// goes before the header, which may also be a date if Date is there to compare
// it with. What is not positive or not a number is ignored, what is huge is
// taken as a day.
func ParseHeaders(h http.Header, retryAfter string) Headers {
	var out Headers
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		out.Date = date
	}
	// Without a limit there is nothing to parse in vain, answer after answer.
	if tells := h.Get("X-Ratelimit-Limit"); tells != "" {
		out.takeLimit(tells, h.Get("X-Ratelimit-Remaining"), h.Get("X-Ratelimit-Reset"))
	}
	if retryAfter != "" {
		out.RetryAfter = parseSeconds(strings.Trim(retryAfter, `"`))
	}
	if header := h.Get("Retry-After"); out.RetryAfter == 0 && header != "" {
		out.RetryAfter = parseRetryAfter(header, out.Date)
	}
	return out
}

func (h *Headers) takeLimit(limit, remaining, reset string) {
	most, errMost := strconv.Atoi(limit)
	left, errLeft := strconv.Atoi(remaining)
	end, ok := parseReset(reset)
	if errMost == nil && errLeft == nil && ok && most > 0 {
		h.Limit, h.Remaining, h.Reset = most, min(max(left, 0), most), end
	}
}

// msFrom tells milliseconds from seconds: as seconds it lies in the year 5138.
const msFrom = 1e11

func parseReset(s string) (time.Time, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n >= msFrom {
			return time.UnixMilli(n), true
		}
		return time.Unix(n, 0), n > 0
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f > 0 && f < msFrom) {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(f * 1e6)), true
}

func parseRetryAfter(s string, date time.Time) time.Duration {
	if d := parseSeconds(s); d > 0 {
		return d
	}
	at, err := http.ParseTime(s)
	if err != nil || date.IsZero() {
		return 0
	}
	return max(at.Sub(date), 0)
}

func parseSeconds(s string) time.Duration {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f > 0) {
		return 0
	}
	const day = 24 * 60 * 60
	return time.Duration(math.Min(f, day) * float64(time.Second))
}
