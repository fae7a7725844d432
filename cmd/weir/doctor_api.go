package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"weir/dispatcher"
)

const (
	// certificateEnds is how long before its end a certificate is spoken of: most
	// that renew by themselves have done so earlier.
	certificateEnds = 14 * 24 * time.Hour
	// clockSlips is the difference of the clocks that is worth a word.
	clockSlips = 5 * time.Second
	// clockWrong is the difference from which on nothing is given up by the time.
	clockWrong = time.Minute
)

// api looks at one account: the name of the server, its certificate, the key,
// and the server's clock.
func (d *doctor) api(ctx context.Context, a Account) (found diagnosis) {
	what := "account " + a.Name
	key, err := a.ReadKey()
	u, urlErr := url.Parse(a.URL)
	if err != nil || urlErr != nil || a.URL == "" || key == "" {
		return nil // the settings say it
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, u.Hostname())
	if err != nil {
		found.fail("see that the name is right, and that this machine can resolve names", what, "%s cannot be resolved: %v", u.Hostname(), err)
		return found
	}
	if !slices.Equal(addresses, []string{u.Hostname()}) { // a name, not an address
		found.ok(what, "%s is %s", u.Hostname(), strings.Join(addresses, ", "))
	}
	client, err := dispatcher.NewClient(dispatcher.ClientConfig{
		BaseURL: a.URL, Connections: 1, Timeout: checkTimeout, UserAgent: "weir/" + version(), Clock: dispatcher.NewClock(d.now),
	})
	if err != nil {
		found.fail("", what, "%s", oneLine(err))
		return found
	}
	defer client.Close()
	answer, state := client.Look(ctx, dispatcher.APIKey(key))
	if state != nil {
		found = append(found, d.certificate(what, state)...)
	}
	found = append(found, judgeLook(what, cmp.Or(a.KeyFile, a.keyFrom), answer)...)
	return append(found, judgeClock(what, answer)...)
}

// certificate looks at a chain that has proven to be right until now.
func (d *doctor) certificate(what string, state *tls.ConnectionState) (found diagnosis) {
	leaf := state.PeerCertificates[0]
	left := leaf.NotAfter.Sub(d.now())
	if left < certificateEnds {
		found.warn("ask the API's operator to renew it", what, "the certificate, by %s, ends in %s", leaf.Issuer.CommonName, words(left))
		return found
	}
	found.ok(what, "%s, the certificate, by %s, is good for %s", tls.VersionName(state.Version), leaf.Issuer.CommonName, words(left))
	return found
}

// judgeLook says what the answer to a request without effect tells of the API
// and the key, which stands in keyPlace.
func judgeLook(what, keyPlace string, a dispatcher.Answer) (found diagnosis) {
	fromAPI := a.IsJSON && (a.ErrorCode != "" || a.Status/100 == 2)
	switch {
	case a.TLSIdentity:
		found.fail("check the account's URL, this machine's certificates and its clock", what, "the server cannot prove to be the API: %s", a.ErrorMessage)
	case a.Fault != "":
		found.fail("look at the network, a firewall, and whether the API is up", what, "the API is not reached (%s): %s", a.Fault, a.ErrorMessage)
	case a.Status == http.StatusUnauthorized:
		found.fail("put the right key into "+keyPlace, what, "the API refuses the key (401 %s)", a.ErrorCode)
	case a.Status/100 == 2 && fromAPI:
		found.ok(what, "the API takes the key, in %v", a.EndedAt.Sub(a.StartedAt).Round(time.Millisecond))
	case a.Status == http.StatusForbidden && fromAPI:
		found.warn("see which rights the key has", what, "the API knows the key, but lets it not list messages (403 %s); whether it may send is not known", a.ErrorCode)
	case a.Status == http.StatusTooManyRequests:
		found.warn("ask again in a minute", what, "the API is reached, but has no room for this question (429); the key is not tried")
	case a.Status >= 500:
		found.warn("ask again later, or ask its operator", what, "the API is reached, but fails (%d %s)", a.Status, a.ErrorCode)
	case fromAPI:
		found.warn("see with the first message whether it is right", what, "the API has no list by which the key could be tried (%d %s)", a.Status, a.ErrorCode)
	default:
		found.fail("check the account's URL, and what stands in between: a proxy, a portal", what, "something else answers in the API's place (%d)", a.Status)
	}
	return found
}

// judgeClock compares this machine's clock with the server's, which tells whole
// seconds only.
func judgeClock(what string, a dispatcher.Answer) (found diagnosis) {
	at, err := http.ParseTime(a.Header.Get("Date"))
	if err != nil {
		return nil
	}
	early, late := at.Sub(a.EndedAt), at.Add(time.Second).Sub(a.StartedAt)
	var off time.Duration // as little as the second and the way allow
	side := "behind"
	switch {
	case early > 0:
		off = early
	case late < 0:
		off, side = -late, "ahead of"
	}
	switch {
	case off >= clockWrong:
		found.fail("set this machine's clock, by NTP: meanwhile no message expires or is given up", what, "this machine's clock is %s %s the API's", words(off), side)
	case off >= clockSlips:
		found.warn("let NTP set this machine's clock", what, "this machine's clock is %s %s the API's", words(off), side)
	default:
		found.ok(what, "this machine's clock agrees with the API's")
	}
	return found
}
