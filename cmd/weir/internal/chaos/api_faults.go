package chaos

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"time"

	"weir/cmd/weir/internal/sandbox"
)

// quick makes a call that hangs end soon enough for the status to tell in time.
var quick = []string{"WEIR_REQUEST_TIMEOUT=300ms"}

// apiScenarios are what an API, or what stands before it, can do to its clients.
func apiScenarios() []scenario {
	const stranger = "something else answers"
	all := []scenario{
		struckBy(sandbox.HangBefore, "degraded", "timeout"),
		struckBy(sandbox.HangAfter, "degraded", "timeout"),
		struckBy(sandbox.CutBefore, "degraded", "cut"),
		struckBy(sandbox.CutAfter, "degraded", "cut"),
		struckBy(sandbox.Kind500After, "degraded", "500"),
		struckBy(sandbox.Kind503, "degraded", "503"),
		struckBy(sandbox.Kind408, "degraded", "408"),
		struckBy(sandbox.Kind425, "degraded", "425"),
		struckBy(sandbox.Kind502, "degraded", "502"),
		struckBy(sandbox.Kind401, "held", "refuses the key"),
		struckBy(sandbox.Kind402, "held", "balance"),
		struckBy(sandbox.Kind429, "parked", ""),
		struckBy(sandbox.Kind307, "held", stranger),
		struckBy(sandbox.HTML200, "held", stranger),
		struckBy(sandbox.HTML404, "held", stranger),
		struckBy(sandbox.Garbage200, "held", stranger),
		struckBy(sandbox.Empty200, "held", stranger),
		struckBy(sandbox.NoMessageID, "held", stranger),
		oddly("one byte a second", drip, "degraded", "timeout"),
		oddly("gzip that nobody asked for", zipped, "held", stranger),
		oddly("a body of 10 MB", huge, "held", stranger),
		oddly("a header with control characters", escapedHeader, "degraded", "cut"),
		oddly("an error with control characters", escapedError, "degraded", "503"),
		{name: "API: a message id with control characters", run: namedOddly},
		{name: "API: away", run: apiAway},
		poisonedProbe(sandbox.Kind503, "degraded", "503"),
		poisonedProbe(sandbox.Kind402, "held", "balance"),
		poisonedProbe(sandbox.HTML404, "held", stranger),
		{name: "API: a name that does not resolve", run: unreachable("https://chaos..invalid", "degraded", "dns")},
		{name: "API: a server that speaks no TLS", run: func(ctx context.Context, w *world) error {
			return unreachable(strings.Replace(w.api.url, "http:", "https:", 1), "degraded", "tls")(ctx, w)
		}},
		{name: "API: a certificate of nobody", run: forged},
	}
	for _, years := range []time.Duration{10, -10} {
		all = append(all, scenario{
			name: fmt.Sprintf("API: its clock is off by %d years", years),
			conf: func(c *sandbox.Config) { c.Skew = years * 365 * 24 * time.Hour },
			run: func(ctx context.Context, w *world) error {
				return w.goesOnOrSays(ctx, func() error { return w.awaitCommand(ctx, "degraded", "the API's clock differs") })
			},
		})
	}
	return all
}

// struckBy is a fault that the simulated API knows by itself.
func struckBy(kind sandbox.Kind, state, reason string) scenario {
	return scenario{name: "API: " + string(kind), settings: quick, run: func(ctx context.Context, w *world) error {
		w.api.SetFaults(sandbox.Fault{Kind: kind})
		return w.endure(ctx, state, reason, func() { w.api.SetFaults() })
	}}
}

// oddly is an answer that no API would give, to requests that are executed.
func oddly(name string, odd func(*api) http.HandlerFunc, state, reason string) scenario {
	return scenario{name: "API: " + name, settings: quick, run: func(ctx context.Context, w *world) error {
		w.api.answerOddly(odd(w.api))
		return w.endure(ctx, state, reason, func() { w.api.answerOddly(nil) })
	}}
}

// namedOddly lets messages be sent whose ids would color a terminal.
func namedOddly(ctx context.Context, w *world) error {
	w.api.answerOddly(escapedID(w.api))
	defer w.api.answerOddly(nil)
	w.makeSome()
	return errors.Join(w.handOver(ctx), w.awaitSettled(ctx))
}

// endure hands over while a fault lasts, waits for what the status has to say,
// and ends the fault.
func (w *world) endure(ctx context.Context, state, reason string, end func()) error {
	defer end()
	if _, err := w.feed(ctx); err != nil {
		return err
	}
	if err := w.awaitStatus(ctx, state, reason); err != nil {
		return err
	}
	w.makeSome() // of these, some come while it lasts
	if _, err := w.feed(ctx); err != nil {
		return err
	}
	return w.lasts(ctx)
}

func apiAway(ctx context.Context, w *world) error {
	w.api.leave()
	err := w.endure(ctx, "degraded", "dial", func() {})
	if back := w.api.comeBack(); err == nil {
		err = back
	}
	return err
}

// poisonedProbe fails for all, and then for one message only, which must not
// keep the gate up.
func poisonedProbe(kind sandbox.Kind, state, reason string) scenario {
	return scenario{name: "API: a probe that is poison: " + string(kind), run: func(ctx context.Context, w *world) error {
		// The oldest of all, and so the first to probe. No other key begins with its.
		poison := w.makeAs("poison-", "", bySend, 1)[0]
		w.api.SetFaults(sandbox.Fault{Kind: kind})
		if err := w.endure(ctx, state, reason, func() {}); err != nil {
			return err
		}
		w.api.SetFaults(sandbox.Fault{Kind: kind, KeyPrefix: poison})
		if err := w.handOver(ctx); err != nil {
			return err
		}
		err := until(ctx, settlePatience, "all but the poison are sent", func() (bool, error) {
			n, err := w.ask(ctx, `SELECT count(*) FROM messages WHERE settled_at IS NULL`)
			return n == 1, err
		})
		w.api.SetFaults()
		return err
	}}
}

// unreachable is an address at which no API can be reached. The right one is a
// setting, and so takes a restart.
func unreachable(url, state, reason string) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		if err := w.daemon.stop(ctx); err != nil {
			return err
		}
		if err := w.serve(ctx, "WEIR_API_URL="+url); err != nil {
			return err
		}
		if err := w.endure(ctx, state, reason, func() {}); err != nil {
			return err
		}
		return w.daemon.stop(ctx)
	}
}

// forged is a server that has the API's address and not its certificate.
func forged(ctx context.Context, w *world) error {
	config, err := selfSigned()
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		return err
	}
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Second} // it logs each handshake
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	return unreachable("https://"+listener.Addr().String(), "held", "cannot prove")(ctx, w)
}

// selfSigned is a certificate that nobody has reason to trust.
func selfSigned() (*tls.Config, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, MinVersion: tls.VersionTLS12}, nil
}
