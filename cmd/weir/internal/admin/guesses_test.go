package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"weir/internal/bubble"
)

// guesser says a token from an address, and hears with which status that ends.
type guesser struct {
	g    guesses
	from string
}

func (g *guesser) says(right bool) int {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = g.from
	err := g.g.check(r, func() bool { return right })
	if f, ok := errors.AsType[*fault](err); ok {
		return f.status
	}
	return http.StatusOK
}

func TestWhoGuessesHasToWaitForEachGuessAfterTen(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := guesser{from: "192.0.2.1:1"}
		start := time.Now()
		for range guessBurst {
			if got := g.says(false); got != http.StatusUnauthorized {
				t.Fatalf("a guess is answered with %d", got)
			}
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("ten guesses took %v", waited)
		}
		for range 5 {
			g.says(false)
		}
		if waited := time.Since(start); waited != 5*guessEvery {
			t.Errorf("five more took %v", waited)
		}
	})
}

func TestOfManyGuessesAtOnceMostAreSentAway(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := guesser{from: "192.0.2.1:1"}
		var mu sync.Mutex
		count := make(map[int]int)
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				got := g.says(false)
				mu.Lock()
				defer mu.Unlock()
				count[got]++
			})
		}
		group.Wait()
		if looked := guessBurst + int(guessWait/guessEvery); count[http.StatusUnauthorized] != looked || count[http.StatusTooManyRequests] != 100-looked {
			t.Errorf("they are answered %v", count)
		}
	})
}

func TestARightTokenCostsNothingAndIsKeptOutByNoGuesser(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := guesser{from: "192.0.2.1:1"}
		start := time.Now()
		for range 1000 {
			if got := g.says(true); got != http.StatusOK {
				t.Fatalf("it is answered with %d", got)
			}
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("a thousand calls waited %v", waited)
		}
		for range guessBurst {
			g.says(false)
		}
		if got, waited := g.says(true), time.Since(start); got != http.StatusOK || waited != guessEvery {
			t.Errorf("beside a guesser it is answered with %d after %v", got, waited)
		}
		start = time.Now()
		g.from = "192.0.2.2:1"
		if got, waited := g.says(true), time.Since(start); got != http.StatusOK || waited != 0 {
			t.Errorf("from another address: %d after %v", got, waited)
		}
	})
}

func TestAddressesThatGuessedAreRememberedUpToABound(t *testing.T) {
	var g guesser
	for i := range 3 * guessers {
		g.from = fmt.Sprintf("10.0.%d.%d:1", i/256, i%256)
		g.says(false)
	}
	if n := len(g.g.from); n > guessers {
		t.Errorf("%d are remembered", n)
	}
}
