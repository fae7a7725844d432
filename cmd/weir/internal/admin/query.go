package admin

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// query is the query of a request: known names, each said once, but for state.
type query struct{ url.Values }

// readQuery refuses names that a path does not know: a mistyped filter must not
// select everything.
func readQuery(r *http.Request, known ...string) (query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return query{}, refuse(http.StatusBadRequest, "bad_request", "the query is not well-formed: encode what is not a letter or digit as %%XX")
	}
	for name, said := range values {
		switch {
		case !slices.Contains(known, name):
			return query{}, invalidField(printable(name), "is not known here; there is %s", strings.Join(known, ", "))
		case len(said) > 1 && name != "state":
			return query{}, invalidField(name, "is said %d times", len(said))
		}
	}
	return query{values}, nil
}

// filter gives the filter that the query says.
func (q query) filter() filter {
	return filter{
		State: splitStates(q.Values["state"]), Lane: q.Get("lane"), Account: q.Get("account"), Channel: q.Get("channel"),
		ErrorCode: q.Get("error_code"), RequestID: q.Get("request_id"), RecipientHash: q.Get("recipient_hash"),
		Key: q.Get("idempotency_key"), Since: q.Get("since"), Until: q.Get("until"),
	}
}

// limit gives how many rows are asked for.
func (q query) limit() (int, error) {
	text := q.Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > maxPage {
		return 0, invalidField("limit", "must be a whole number from 1 to %d", maxPage)
	}
	return limit, nil
}

// cursor gives the id before which the page begins; 0 for the first.
func (q query) cursor() (int64, error) {
	text := q.Get("cursor")
	if text == "" {
		return 0, nil
	}
	id, ok := readCursor(text)
	if !ok {
		return 0, invalidField("cursor", "is not one that weir gave: take next_cursor of the page before, or leave it out")
	}
	return id, nil
}

// printable is a name from outside as a line for people can hold it.
func printable(name string) string {
	const most = 64
	quoted := strconv.QuoteToASCII(name[:min(len(name), most)])
	return quoted[1 : len(quoted)-1]
}
