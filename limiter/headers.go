package limiter

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Headers is what an answer says about the limit. The zero value says nothing.
type Headers struct {
	Date       time.Time     // the server's clock, in whole seconds; zero if absent
	Limit      int           // requests allowed in a window, a billion at most; 0 if there is no report
	Remaining  int           // of these left, from 0 to Limit
	Reset      time.Time     // the server's time at which the window ends; zero if there is no report
	RetryAfter time.Duration // how long to wait, a day at most; 0 if absent
	// Odd is what made no sense, as a phrase that begins with the header's name
	// and never quotes its value; the first, if there were several. Empty if all
	// was as it should be.
	Odd string
}

const (
	mostLimit = 1_000_000_000
	mostWait  = 24 * time.Hour
	// msFrom tells milliseconds from seconds: as seconds it lies in the year
	// 5138, where every usable Reset ends.
	msFrom = 1e11
)

// reported tells whether Limit, Remaining and Reset were all there.
func (h Headers) reported() bool { return h.Limit > 0 && !h.Reset.IsZero() }

// ParseHeaders reads the limit from the headers of an answer and from the raw
// JSON token of retry_after in the body of a 429 ("" if absent). Whatever they
// hold, the result keeps the bounds that stand at its fields.
//
// Limit, Remaining and Reset count only together. Reset is taken as Unix
// seconds, whole or not, as Unix milliseconds or as ISO 8601 with a zone. A
// waiting time may be whole or fractional seconds, quoted or not; the body goes
// before the header, which may also be a date if Date is there to compare it
// with. The table of what becomes of anything else stands in docs/design.md.
func ParseHeaders(h http.Header, retryAfter string) Headers {
	var out Headers
	if date := h.Get("Date"); date != "" {
		var err error
		if out.Date, err = http.ParseTime(date); err != nil {
			out.odd("Date is no date")
		}
	}
	limit, left, reset := h.Get("X-Ratelimit-Limit"), h.Get("X-Ratelimit-Remaining"), h.Get("X-Ratelimit-Reset")
	if limit != "" || left != "" || reset != "" {
		out.takeReport(limit, left, reset)
	}
	if retryAfter != "" {
		out.RetryAfter = out.seconds(bodyWait, strings.Trim(retryAfter, `"`))
	}
	if header := h.Get("Retry-After"); out.RetryAfter == 0 && header != "" {
		out.RetryAfter = out.wait(header)
	}
	return out
}

func (h *Headers) odd(what string) {
	if h.Odd == "" {
		h.Odd = what
	}
}

// takeReport takes the three together, or none of them.
func (h *Headers) takeReport(limit, remaining, reset string) {
	most, okMost := parseCount(limit)
	left, okLeft := parseCount(remaining)
	end, okEnd := parseReset(reset)
	switch {
	case limit == "":
		h.odd("X-RateLimit-Limit is missing")
	case !okMost:
		h.odd("X-RateLimit-Limit is no number")
	case most <= 0:
		h.odd("X-RateLimit-Limit is not positive")
	case remaining == "":
		h.odd("X-RateLimit-Remaining is missing")
	case !okLeft:
		h.odd("X-RateLimit-Remaining is no number")
	case reset == "":
		h.odd("X-RateLimit-Reset is missing")
	case !okEnd:
		h.odd("X-RateLimit-Reset is no time")
	case end.Unix() <= 0:
		h.odd("X-RateLimit-Reset is not positive")
	default:
		h.report(most, left, end)
	}
}

// report takes a report, its figures moved into their range.
func (h *Headers) report(most, left int, end time.Time) {
	switch {
	case left < 0:
		h.odd("X-RateLimit-Remaining is negative")
	case left > most:
		h.odd("X-RateLimit-Remaining is above X-RateLimit-Limit")
	case most > mostLimit:
		h.odd("X-RateLimit-Limit is above a billion")
	}
	h.Limit = min(most, mostLimit)
	h.Remaining, h.Reset = min(max(left, 0), h.Limit), end
}

// parseCount reads a whole number; one that is too large for an int is the
// largest that is not.
func parseCount(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil || errors.Is(err, strconv.ErrRange)
}

// parseReset reads a time before the year 5139.
func parseReset(s string) (time.Time, bool) {
	if strings.IndexByte(s, 'T') > 0 {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			at, err = time.Parse("2006-01-02T15:04:05Z0700", s)
		}
		return at, err == nil && at.Unix() > 0 && at.Unix() < msFrom
	}
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || !(f < 1000*msFrom):
		return time.Time{}, false
	case f >= msFrom:
		return time.UnixMilli(int64(f)), true
	}
	return time.UnixMicro(int64(max(f, 0) * 1e6)), true
}

// The phrases for a waiting time, by where it stood.
type wait struct{ noNumber, negative, huge string }

var (
	bodyWait   = wait{"retry_after is no number of seconds", "retry_after is negative", "retry_after is longer than a day"}
	headerWait = wait{"Retry-After is neither seconds nor a date", "Retry-After is negative", "Retry-After is longer than a day"}
)

// wait reads the header Retry-After.
func (h *Headers) wait(s string) time.Duration {
	at, err := http.ParseTime(s)
	if err != nil {
		return h.seconds(headerWait, s)
	}
	d := at.Sub(h.Date)
	switch {
	case h.Date.IsZero():
		h.odd("Retry-After is a date, without a Date to compare it with")
		return 0
	case d < -rounding:
		h.odd("Retry-After lies in the past")
	case d > mostWait:
		h.odd(headerWait.huge)
	}
	return min(max(d, 0), mostWait)
}

// seconds reads a number of seconds, which some APIs write as 2s.
func (h *Headers) seconds(say wait, s string) time.Duration {
	f, err := strconv.ParseFloat(strings.TrimSuffix(s, "s"), 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange) || math.IsNaN(f):
		h.odd(say.noNumber)
		return 0
	case f < 0:
		h.odd(say.negative)
		return 0
	case f > mostWait.Seconds():
		h.odd(say.huge)
		return mostWait
	}
	return time.Duration(f * float64(time.Second))
}
