package dispatcher

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second

	// idleTimeout is shorter than the minute or more that most servers keep an
	// idle connection: one that they drop just as it is used again costs an
	// ambiguous attempt.
	idleTimeout = 30 * time.Second

	maxAnswer       = 1 << 20  // bytes
	maxAnswerHeader = 64 << 10 // bytes

	// maxPooled keeps one huge answer from holding its memory for good.
	maxPooled = 64 << 10
)

// ErrClientConfig is returned by NewClient for a configuration that cannot work.
var ErrClientConfig = errors.New("dispatcher: unusable client configuration")

// APIKey is the secret that an account's requests carry. For fmt, slog and
// encoding/json it is a placeholder, so that it does not reach a log line by
// oversight. They cannot ask it where it is an unexported field of what they
// print. Convert it to string where it is used.
type APIKey string

const hiddenKey = "[API key]"

// Format implements fmt.Formatter, for every verb: %d passes a String method by.
func (APIKey) Format(state fmt.State, _ rune) { fmt.Fprint(state, hiddenKey) }

// MarshalText implements encoding.TextMarshaler, which slog and encoding/json use.
func (APIKey) MarshalText() ([]byte, error) { return []byte(hiddenKey), nil }

// ClientConfig says how a Client reaches the API. Every field is needed except
// RootCAs.
type ClientConfig struct {
	// BaseURL is where the API lives, without /v1: https, or http to loopback.
	BaseURL string
	// Connections is how many idle connections are kept for reuse: the most
	// calls that are made at once.
	Connections int
	// Timeout bounds one call, from dialing to the last byte of the answer.
	Timeout time.Duration
	// UserAgent names the program and its version.
	UserAgent string
	// RootCAs are the authorities to trust. Defaults to the system's.
	RootCAs *x509.CertPool
	// Clock tells the time.
	Clock *Clock
}

func (c ClientConfig) validate() error {
	var faults []error
	if c.Connections < 1 {
		faults = append(faults, fmt.Errorf("field Connections is %d, needs at least 1", c.Connections))
	}
	if c.Timeout <= 0 {
		faults = append(faults, fmt.Errorf("field Timeout is %v, needs to be positive", c.Timeout))
	}
	if c.UserAgent == "" {
		faults = append(faults, errors.New("field UserAgent is empty"))
	}
	if c.Clock == nil {
		faults = append(faults, errors.New("field Clock is nil"))
	}
	return errors.Join(faults...)
}

// Client sends messages to the API: one call is one request on the wire, never
// more. It follows no redirect, repeats nothing, and uses no proxy. HTTP/1.1
// only: a request has its connection to itself, so that a cut touches one
// message. A Client is safe for concurrent use.
type Client struct {
	url       *url.URL
	timeout   time.Duration
	clock     *Clock
	headers   http.Header // those that all requests share
	transport *http.Transport
	buffers   sync.Pool
}

// NewClient returns a Client, without connecting. A configuration that cannot
// work gives ErrClientConfig.
func NewClient(cfg ClientConfig) (*Client, error) {
	base, err := parseBase(cfg.BaseURL)
	if err := errors.Join(err, cfg.validate()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClientConfig, err)
	}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &Client{
		url:     base.JoinPath("v1", "messages"),
		timeout: cfg.Timeout,
		clock:   cfg.Clock,
		headers: http.Header{
			"Accept": {"application/json"},
			// Without it any encoding would be fair.
			"Accept-Encoding": {"identity"},
			"Content-Type":    {"application/json"},
			"User-Agent":      {cfg.UserAgent},
		},
		transport: &http.Transport{
			Protocols:              &http1,
			DialContext:            cfg.Clock.awake((&net.Dialer{Timeout: dialTimeout}).DialContext),
			TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    handshakeTimeout,
			DisableCompression:     true,
			MaxIdleConnsPerHost:    cfg.Connections,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxAnswerHeader,
		},
		buffers: sync.Pool{New: func() any { return new(bytes.Buffer) }},
	}, nil
}

// parseBase reads a base URL. Its errors never quote a URL that could hold a password.
func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the base URL is not of the form https://host")
	case u.User != nil:
		return nil, errors.New("the base URL holds a user or password; the API key goes elsewhere")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the base URL %s has a query or fragment; leave it away", u)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("the base URL %s would carry the API key in the open; use https", u)
	}
	if u.Path == "" {
		u.Path = "/" // else JoinPath gives a path without its first slash
	}
	return u, nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Close drops the idle connections. Calls under way are not disturbed.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Post sends body, which must not change any more, under idempotencyKey, and
// says what came back. The end of ctx breaks the call off.
func (c *Client) Post(
	ctx context.Context, key APIKey, idempotencyKey string, body []byte, traceparent string,
) Answer {
	began, calledAt := time.Now(), c.clock.Now()
	call, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var a Answer
	var p progress
	req := c.request(key, idempotencyKey, body, traceparent)
	// The transport itself, since http.Client would follow redirects.
	resp, err := c.transport.RoundTrip(req.WithContext(p.watch(call)))
	if err == nil {
		a.takeHeader(resp.StatusCode, resp.Header)
		err = c.read(resp.Body, &a)
	}
	// A step of the clock meanwhile must not part the two.
	a.EndedAt = c.clock.Now()
	a.StartedAt = a.EndedAt.Add(-time.Since(began))
	a.Stepped = max(a.StartedAt.Sub(calledAt), 0)
	a.Left = a.Status != 0 || p.left.Load()
	if err != nil {
		a.Stopped = ctx.Err() != nil
		a.fail(err, p.fault(err, call.Err()))
	}
	return a
}

// request builds one request. It has no GetBody: with one, net/http would
// repeat a request that carries an Idempotency-Key by itself when a kept-alive
// connection drops.
func (c *Client) request(key APIKey, idempotencyKey string, body []byte, traceparent string) *http.Request {
	// The values are shared; net/http only reads them.
	h := maps.Clone(c.headers)
	h["Authorization"] = []string{"Bearer " + string(key)}
	h["Idempotency-Key"] = []string{idempotencyKey}
	if traceparent != "" {
		h["Traceparent"] = []string{traceparent}
	}
	return &http.Request{
		Method: http.MethodPost,
		URL:    c.url,
		Header: h,
		// Readers that net/http knows, so that headers and body leave in one write.
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
	}
}

// read takes the body into a. It is read to its end, so that the connection
// can be used again; one beyond maxAnswer is no answer of the API, and its
// connection is dropped.
func (c *Client) read(body io.ReadCloser, a *Answer) error {
	defer func() { _ = body.Close() }() // nothing was written to it that could be lost
	buf := c.buffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= maxPooled {
			buf.Reset()
			c.buffers.Put(buf)
		}
	}()
	if _, err := buf.ReadFrom(io.LimitReader(body, maxAnswer+1)); err != nil {
		return err
	}
	if buf.Len() <= maxAnswer {
		a.takeBody(buf.Bytes())
	}
	return nil
}

// progress is how far one request has come.
type progress struct {
	trace                      httptrace.ClientTrace
	handshake, connected, left atomic.Bool
}

// watch returns a context under which the request reports its progress.
func (p *progress) watch(ctx context.Context) context.Context {
	p.trace = httptrace.ClientTrace{
		TLSHandshakeStart: func() { p.handshake.Store(true) },
		GotConn:           func(httptrace.GotConnInfo) { p.connected.Store(true) },
		// Called before the headers are flushed: never too late, so that what
		// did not set it surely did not leave.
		WroteHeaders: func() { p.left.Store(true) },
	}
	return httptrace.WithClientTrace(ctx, &p.trace)
}

// fault names what ended the call with err, ended being its context's error.
func (p *progress) fault(err, ended error) string {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.Is(ended, context.DeadlineExceeded):
		return faultTimeout
	case ended != nil || p.connected.Load():
		return faultCut
	case errors.As(err, &dns):
		return faultDNS
	case errors.As(err, &op) && op.Op == "dial":
		return faultDial
	case p.handshake.Load():
		return faultTLS
	}
	return faultCut
}
