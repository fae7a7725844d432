package admin

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// guessBurst is how many wrong tokens an address may say before it has to
	// wait, and guessEvery how long for each one from then on.
	guessBurst = 10
	guessEvery = time.Second
	// guessWait is how long a token waits to be looked at; who would have to wait
	// longer is sent away.
	guessWait = 2 * time.Second
	// guessers bounds the addresses that are remembered.
	guessers = 1024
)

// guesses slow down who says wrong tokens, by address. Right ones cost nothing;
// they wait only where the same address has just guessed a lot, since whoever is
// told at once which guess is right is not slowed down.
type guesses struct {
	mu   sync.Mutex
	from map[netip.Prefix]*rate.Limiter
}

// check compares a token once it may be looked at. It returns a *fault if it is
// wrong, or if there were too many.
func (g *guesses) check(r *http.Request, fits func() bool) error {
	pace := g.pace(origin(r))
	wait, right := g.look(pace, fits)
	if wait == 0 {
		return wrongUnless(right)
	}
	if wait > guessWait || !pause(r.Context(), wait) {
		return refuse(http.StatusTooManyRequests, "too_many_failures", "too many wrong tokens came from this address").again(wait)
	}
	return wrongUnless(fits())
}

// look compares at once if it may, and else says how long to wait.
func (g *guesses) look(pace *rate.Limiter, fits func() bool) (wait time.Duration, right bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if pace.TokensAt(now) < 1 {
		turn := pace.ReserveN(now, 1)
		if wait = turn.DelayFrom(now); wait > guessWait {
			turn.CancelAt(now)
		}
		return max(wait, 1), false
	}
	if right = fits(); !right {
		pace.AllowN(now, 1)
	}
	return 0, right
}

func (g *guesses) pace(from netip.Prefix) *rate.Limiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	if pace := g.from[from]; pace != nil {
		return pace
	}
	for other := range g.from { // any will do: a map has no order
		if len(g.from) < guessers {
			break
		}
		delete(g.from, other)
	}
	if g.from == nil {
		g.from = make(map[netip.Prefix]*rate.Limiter)
	}
	g.from[from] = rate.NewLimiter(rate.Every(guessEvery), guessBurst)
	return g.from[from]
}

// origin is whose guesses count together: an address of IPv4, a network of IPv6.
func origin(r *http.Request) netip.Prefix {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 32
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		bits = 64
	}
	network, _ := ip.Prefix(bits) // it has as many
	return network
}

func wrongUnless(right bool) error {
	if right {
		return nil
	}
	return refuse(http.StatusUnauthorized, "unauthorized", "this is not the admin token (WEIR_ADMIN_TOKEN, or admin.token in the data directory)")
}

// pause waits, and reports whether it could do so to the end.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
