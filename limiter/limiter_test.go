package limiter_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"weir/limiter"
)

// epoch is where the time of these tests begins: a whole second on a whole minute.
var epoch = time.Unix(1_700_000_040, 0)

// api is a hand-driven server: answers are given with exactly these headers.
type api struct {
	t   *testing.T
	lim *limiter.Limiter
	now time.Time
}

func newAPI(t *testing.T) *api {
	return &api{t: t, lim: limiter.New(limiter.Config{MaxInFlight: 64}), now: epoch}
}

func (a *api) pass(d time.Duration) { a.now = a.now.Add(d) }

// ask asks for n tokens and says how many were granted.
func (a *api) ask(n int) int {
	got, _ := a.lim.Grant(a.now, true, n)
	return got
}

// send takes a token, which must be there, and puts it on the wire.
func (a *api) send() limiter.Ticket {
	a.t.Helper()
	if a.ask(1) != 1 {
		a.t.Fatalf("at %v no token was granted: %+v", a.now.Sub(epoch), a.lim.State(a.now))
	}
	return a.lim.Sent(a.now)
}

// tell is an answer with limit, remaining and a Reset that many seconds after epoch.
func (a *api) tell(status, limit, remaining, reset int) limiter.Answer {
	return limiter.Answer{Status: status, Headers: limiter.Headers{
		Date: a.now.Truncate(time.Second), Limit: limit, Remaining: remaining,
		Reset: epoch.Add(time.Duration(reset) * time.Second),
	}}
}

func (a *api) answer(t limiter.Ticket, status, limit, remaining, reset int) {
	a.lim.Answered(t, a.now, a.tell(status, limit, remaining, reset))
}

// open makes a window of 10 with nothing under way, of which left are left.
func (a *api) open(left, reset int) {
	a.t.Helper()
	t := a.send()
	a.pass(10 * time.Millisecond)
	a.answer(t, 200, 10, left, reset)
}

func (a *api) want(tokens int) {
	a.t.Helper()
	got := a.ask(tokens + 5)
	if got != tokens {
		a.t.Errorf("at %v %d tokens were granted, want %d: %+v", a.now.Sub(epoch), got, tokens, a.lim.State(a.now))
	}
	a.lim.Return(a.now, got)
}

func TestAnswersSwappedWithinAWindowNeverRaiseTheCredit(t *testing.T) {
	a := newAPI(t)
	a.open(9, 60)
	first, second := a.send(), a.send()
	a.answer(second, 200, 10, 7, 60)
	a.answer(first, 200, 10, 8, 60)
	a.want(7)
}

func TestAnswersOfTheOldWindowAreIgnoredInTheNew(t *testing.T) {
	a := newAPI(t)
	a.open(9, 10)
	late, refused := a.send(), a.send()
	a.pass(11 * time.Second)
	a.open(9, 20)
	a.answer(late, 200, 10, 1, 10)
	a.answer(refused, 429, 10, 0, 10)
	if s := a.lim.State(a.now); s.Parked || s.Remaining != 9 {
		t.Errorf("after answers of the old window: %+v, want 9 left", s)
	}
	a.want(9)
}

func TestRequestsUnderWayAreChargedOnceOverABoundary(t *testing.T) {
	a := newAPI(t)
	a.open(9, 10)
	one, two := a.send(), a.send()
	a.pass(11 * time.Second)
	a.open(9, 20)
	a.want(7)
	a.answer(one, 200, 10, 7, 10)
	a.answer(two, 200, 10, 6, 10)
	a.want(9)
}

func TestALostRequestStaysChargedUntilTheWindowEnds(t *testing.T) {
	a := newAPI(t)
	a.open(9, 10)
	lost := a.send()
	a.lim.Lost(lost, a.now)
	a.want(8)
	a.pass(11 * time.Second)
	a.open(9, 20)
	a.want(9)
}

func TestARequestThatNeverLeftIsNotCharged(t *testing.T) {
	a := newAPI(t)
	a.open(9, 10)
	a.lim.Unsent(a.send(), a.now)
	a.want(9)
}

func TestARefusalParksUntilTheWindowEnds(t *testing.T) {
	a := newAPI(t)
	early := a.send()
	a.answer(early, 200, 10, 9, 10)
	a.answer(a.send(), 429, 10, 9, 10)
	got, retryAt := a.lim.Grant(a.now, true, 1)
	if got != 0 || !a.lim.Parked(a.now) {
		t.Fatalf("after a 429 %d tokens, parked %v; want none, parked", got, a.lim.Parked(a.now))
	}
	if wait := retryAt.Sub(epoch); wait < 10*time.Second || wait > 11*time.Second {
		t.Errorf("parked until %v, want the end of the window at 10s to 11s", wait)
	}
	if s := a.lim.State(a.now); !s.Parked || !s.Until.Equal(retryAt) || s.Reason != "429: all 10 used, opens 22:14:10.0" {
		t.Errorf("state says %+v", s)
	}
	a.now = retryAt
	a.want(1)
}

func TestHeadersOnAnyAnswerCount(t *testing.T) {
	for _, status := range []int{201, 402, 422, 503} {
		a := newAPI(t)
		a.open(9, 10)
		a.answer(a.send(), status, 10, 4, 10)
		if got := a.ask(20); got != 4 {
			t.Errorf("after a %d with 4 left %d tokens were granted, want 4", status, got)
		}
	}
}

func TestARaisedLimitIsUsedAtOnce(t *testing.T) {
	a := newAPI(t)
	a.open(1, 10)
	a.answer(a.send(), 200, 40, 30, 10)
	a.want(30)
}

func TestAnswersFromBeforeALimitChangedAreIgnored(t *testing.T) {
	a := newAPI(t)
	a.open(5, 10)
	old, newer := a.send(), a.send()
	a.pass(time.Millisecond)
	a.answer(newer, 200, 40, 33, 10)
	a.answer(old, 200, 10, 4, 10)
	a.want(33)
}

func TestALoweredLimitLeavesNoCreditAndNoSpin(t *testing.T) {
	a := newAPI(t)
	a.open(9, 10)
	under := []limiter.Ticket{a.send(), a.send(), a.send()}
	a.pass(time.Millisecond)
	a.answer(under[0], 200, 2, 0, 10)
	got, retryAt := a.lim.Grant(a.now, false, 5)
	if got != 0 || retryAt.Sub(a.now) < time.Second {
		t.Errorf("after the limit fell below its use: %d tokens, more in %v; want none before the window ends", got, retryAt.Sub(a.now))
	}
}

func TestAResetThatCannotBeLeavesWhatIsKnown(t *testing.T) {
	for name, reset := range map[string]time.Time{
		"long past":  epoch.Add(-time.Hour),
		"days ahead": epoch.Add(72 * time.Hour),
		"absent":     {},
	} {
		a := newAPI(t)
		a.open(9, 10)
		ticket := a.send()
		answer := a.tell(200, 10, 2, 10)
		answer.Reset = reset
		a.lim.Answered(ticket, a.now, answer)
		if s := a.lim.State(a.now); s.Remaining != 9 || !s.Reset.Equal(epoch.Add(10*time.Second)) {
			t.Errorf("%s: %+v, want 9 left until 10s", name, s)
		}
		// The answer itself is charged until a report has counted it.
		if got := a.ask(20); got != 8 {
			t.Errorf("%s: %d tokens granted, want 8", name, got)
		}
	}
}

func TestAServerWhoseClockWasSetBackIsFollowed(t *testing.T) {
	a := newAPI(t)
	a.open(9, 3600)
	a.pass(time.Second)
	ticket := a.send()
	a.pass(time.Millisecond)
	a.answer(ticket, 200, 10, 3, 10)
	if s := a.lim.State(a.now); s.Remaining != 3 {
		t.Errorf("%+v, want 3 left", s)
	}
}

func TestOurClockSetBackDoesNotHang(t *testing.T) {
	a := newAPI(t)
	a.open(0, 10)
	a.pass(-time.Hour)
	a.want(1)
}

func TestTheOpeningProbeIsHedgedWhenItsAnswerIsLate(t *testing.T) {
	a := newAPI(t)
	a.open(0, 10)
	a.pass(11 * time.Second)
	a.send()
	got, retryAt := a.lim.Grant(a.now, false, 1)
	if got != 0 || retryAt.Sub(a.now) > 100*time.Millisecond {
		t.Fatalf("beside the probe %d tokens, more in %v; want none, a hedge within 100ms", got, retryAt.Sub(a.now))
	}
	a.now = retryAt
	hedge := a.send()
	a.answer(hedge, 200, 10, 8, 20)
	a.want(7)
}

func TestAFirstRequestThatHangsDelaysNoHedgeForLong(t *testing.T) {
	a := newAPI(t)
	ticket := a.send()
	a.pass(25 * time.Second)
	a.answer(ticket, 200, 10, 0, 30)
	a.pass(6 * time.Second)
	a.send()
	if _, retryAt := a.lim.Grant(a.now, false, 1); retryAt.Sub(a.now) > 4*time.Second {
		t.Errorf("a hedge goes in %v, want it within 4s", retryAt.Sub(a.now))
	}
}

func TestAnUrgentRequestDoesNotWaitForTheOpeningProbe(t *testing.T) {
	a := newAPI(t)
	a.open(0, 10)
	a.pass(11 * time.Second)
	if got, _ := a.lim.Grant(a.now, false, 1); got != 1 {
		t.Fatalf("%d tokens for the probe, want 1", got)
	}
	a.want(1)
}

func TestLostProbesAreRepeated(t *testing.T) {
	a := newAPI(t)
	a.open(0, 10)
	a.pass(11 * time.Second)
	for range 30 {
		a.lim.Lost(a.send(), a.now)
	}
}

func TestATokenThatComesBackCanBeTakenAgain(t *testing.T) {
	a := newAPI(t)
	for range 100 {
		a.want(1)
	}
	a.open(9, 10)
	for range 100 {
		a.want(9)
	}
}

func TestOrdinaryLanesLeaveTheReserveToTheUrgentOne(t *testing.T) {
	lim := limiter.New(limiter.Config{MaxInFlight: 500, Reserve: 0.1})
	a := &api{t: t, lim: lim, now: epoch}
	ticket := a.send()
	a.pass(time.Millisecond)
	a.answer(ticket, 200, 100, 99, 60)
	a.pass(5 * time.Second)
	got, retryAt := lim.Grant(a.now, false, 200)
	if got < 75 || got > 92 {
		t.Errorf("%d ordinary tokens of 99, want all but a reserve of 10 to 25", got)
	}
	if wait := retryAt.Sub(a.now); wait <= 0 || wait > 10*time.Second {
		t.Errorf("more ordinary tokens in %v, want some within 10s", wait)
	}
	if got := a.ask(200); got < 7 {
		t.Errorf("%d urgent tokens beside them, want the reserve", got)
	}
}

func TestWithoutHeadersConcurrencyGrowsByOnePerEightAnswers(t *testing.T) {
	a := newAPI(t)
	for width := 1; width <= 10; width++ {
		a.want(width)
		for range 8 {
			a.lim.Answered(a.send(), a.now, limiter.Answer{Status: 200})
		}
	}
}

func TestAFirstRequestThatHangsDoesNotKeepAllOthersWaiting(t *testing.T) {
	a := newAPI(t)
	a.send()
	for range 8 {
		got, retryAt := a.lim.Grant(a.now, false, 5)
		if got != 0 || retryAt.Sub(a.now) != time.Second {
			t.Fatalf("%d tokens beside requests without an answer, more in %v; want none, one in 1s", got, retryAt.Sub(a.now))
		}
		a.now = retryAt
		a.want(1)
		a.send()
	}
	a.pass(time.Minute)
	a.want(0)
}

func TestWithoutHeadersRetryAfterParks(t *testing.T) {
	a := newAPI(t)
	a.lim.Answered(a.send(), a.now, limiter.Answer{Status: 429, Headers: limiter.Headers{RetryAfter: 3 * time.Second}})
	got, retryAt := a.lim.Grant(a.now, true, 1)
	if got != 0 || retryAt.Sub(a.now) != 3*time.Second {
		t.Fatalf("%d tokens, more in %v; want none, 3s", got, retryAt.Sub(a.now))
	}
	a.now = retryAt
	a.want(1)
}

// sendNow takes a token if one is there, and tells whether; it is answered after
// 20 ms without headers.
func (a *api) sendNow(status int, retryAfter time.Duration) bool {
	if a.ask(1) == 0 {
		return false
	}
	sent := a.lim.Sent(a.now)
	a.pass(20 * time.Millisecond)
	a.lim.Answered(sent, a.now, limiter.Answer{Status: status, Headers: limiter.Headers{RetryAfter: retryAfter}})
	return true
}

func TestAPaceThatIsNotUsedUpDoesNotGrow(t *testing.T) {
	a := newAPI(t)
	for range 20 {
		a.sendNow(200, 0)
	}
	a.sendNow(429, time.Second)
	for range 800_000 {
		a.pass(10 * time.Second)
		a.sendNow(200, 0)
	}
	if s := a.lim.State(a.now); s.Mode != limiter.ModePaced || s.Rate > 100 {
		t.Errorf("after a message each 10 s: %+v, want no rate that a message in 20 ms cannot try", s)
	}
	if got, retryAt := a.lim.Grant(a.now, true, 64); got == 0 || !retryAt.After(a.now) {
		t.Errorf("%d tokens, more %v from now; want one, and a time ahead", got, retryAt.Sub(a.now))
	}
}

func TestARefusalBeforeAnythingWasAdmittedTellsNoPace(t *testing.T) {
	a := newAPI(t)
	a.sendNow(429, 30*time.Second) // the limit was used up before we came
	a.pass(30 * time.Second)
	sent := 0
	for end := a.now.Add(10 * time.Second); a.now.Before(end); {
		if a.sendNow(200, 0) {
			sent++
		} else {
			a.pass(20 * time.Millisecond)
		}
	}
	if sent < 100 {
		t.Errorf("%d requests were sent in 10 s, want one after another: %+v", sent, a.lim.State(a.now))
	}
}

func TestARefusalAfterAnIdleTimeTellsNoPace(t *testing.T) {
	a := newAPI(t)
	for range 100 {
		a.sendNow(200, 0)
		a.pass(time.Hour)
	}
	a.sendNow(429, time.Second)
	a.pass(time.Second)
	for range 100 {
		if !a.sendNow(200, 0) {
			t.Fatalf("no token at once: %+v", a.lim.State(a.now))
		}
	}
}

func TestAHugeRetryAfterIsClamped(t *testing.T) {
	a := newAPI(t)
	a.lim.Answered(a.send(), a.now, limiter.Answer{Status: 429, Headers: limiter.ParseHeaders(nil, "1000000000")})
	if _, retryAt := a.lim.Grant(a.now, true, 1); retryAt.Sub(a.now) != 15*time.Minute {
		t.Errorf("parked for %v, want 15m", retryAt.Sub(a.now))
	}
}

func TestHeadersThatReturnAreFollowed(t *testing.T) {
	a := newAPI(t)
	a.lim.Answered(a.send(), a.now, limiter.Answer{Status: 429})
	a.pass(time.Minute)
	a.open(9, 120)
	a.want(9)
}

func TestARestoredParkIsKeptUntilItsEnd(t *testing.T) {
	a := newAPI(t)
	until := a.now.Add(20 * time.Second)
	a.lim.Restore(a.now, until)
	if s := a.lim.State(a.now); !s.Parked || !s.Until.Equal(until) {
		t.Errorf("state says %+v", s)
	}
	a.pass(19 * time.Second)
	a.want(0)
	a.pass(time.Second)
	a.want(1)
}

func TestARestoredParkEndsWithTheFirstAnswer(t *testing.T) {
	a := newAPI(t)
	ticket := a.send()
	a.lim.Restore(a.now, a.now.Add(20*time.Second))
	a.answer(ticket, 200, 10, 9, 5)
	a.want(9)
}

func TestARestoredParkIsClamped(t *testing.T) {
	a := newAPI(t)
	a.lim.Restore(a.now, a.now.Add(24*time.Hour))
	a.pass(14 * time.Minute)
	a.want(0)
	a.pass(time.Minute)
	a.want(1)
}

func TestAParkOnAFarResetIsProbedAfterAQuarterOfAnHour(t *testing.T) {
	a := newAPI(t)
	a.open(0, 20*3600)
	a.pass(14 * time.Minute)
	a.want(0)
	if s := a.lim.State(a.now); !s.Parked || s.Until.Sub(a.now) > time.Minute || !strings.Contains(s.Reason, "asks again") {
		t.Errorf("%+v, want it parked until the probe, in a minute", s)
	}
	a.pass(time.Minute)
	a.want(1)
	if a.send(); a.lim.Parked(a.now) {
		t.Error("the probe is said to be parked")
	}
}

func TestAServerWithoutDateThatIsHoursAheadIsAskedSoon(t *testing.T) {
	a := newAPI(t)
	tell := func(ticket limiter.Ticket, status, remaining int, wait time.Duration) {
		a.lim.Answered(ticket, a.now, limiter.Answer{Status: status, Headers: limiter.Headers{
			Limit: 10, Remaining: remaining, Reset: epoch.Add(2 * time.Hour), RetryAfter: wait,
		}})
	}
	tell(a.send(), 200, 0, 0)
	a.pass(4 * time.Second)
	a.want(0)
	a.pass(time.Second)
	ticket := a.send()
	tell(ticket, 429, 0, 3*time.Second)
	a.want(0)
	a.pass(3 * time.Second)
	a.want(1)
}

// TestNothingEverHangs drives a limiter with anything a server could say and
// then, with nothing under way, wants a token within a window and a second.
func TestNothingEverHangs(t *testing.T) {
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		a := newAPI(t)
		var flying []limiter.Ticket
		for range 400 {
			a.pass(time.Duration(rnd.Int64N(int64(300 * time.Millisecond))))
			for range a.ask(rnd.IntN(8)) {
				flying = append(flying, a.lim.Sent(a.now))
			}
			for len(flying) > 0 && rnd.IntN(3) > 0 {
				i := rnd.IntN(len(flying))
				if rnd.IntN(10) == 0 {
					a.lim.Lost(flying[i], a.now)
				} else {
					a.lim.Answered(flying[i], a.now, anything(rnd, a.now))
				}
				flying = append(flying[:i], flying[i+1:]...)
			}
		}
		for _, ticket := range flying {
			a.lim.Lost(ticket, a.now)
		}
		s := a.lim.State(a.now)
		longest := s.Window + time.Second
		if s.Window == 0 || s.Mode != limiter.ModeWindow {
			longest = 15 * time.Minute
		}
		from := a.now
		for a.ask(1) == 0 {
			_, retryAt := a.lim.Grant(a.now, true, 1)
			if !retryAt.After(a.now) || retryAt.Sub(from) > longest {
				t.Fatalf("seed %d: nothing under way, and the next token comes at %v, want one within %v: %+v",
					seed, retryAt.Sub(from), longest, a.lim.State(a.now))
			}
			a.now = retryAt
		}
	}
}

// anything is an answer of a server that is mostly sane, for windows of 4 s.
func anything(rnd *rand.Rand, now time.Time) limiter.Answer {
	a := limiter.Answer{Status: 200}
	if rnd.IntN(4) == 0 {
		a.Status = []int{429, 402, 503}[rnd.IntN(3)]
	}
	if rnd.IntN(3) > 0 {
		a.Date = now.Truncate(time.Second)
	}
	if rnd.IntN(8) > 0 {
		a.Limit = []int{1, 10, 10, 10, 40}[rnd.IntN(5)]
		a.Remaining = rnd.IntN(a.Limit + 1)
		a.Reset = now.Truncate(4 * time.Second).Add(4 * time.Second)
	}
	if rnd.IntN(20) == 0 {
		a.Reset = now.Add(time.Duration(rnd.Int64N(int64(time.Hour))))
	}
	if rnd.IntN(20) == 0 {
		a.RetryAfter = time.Duration(rnd.Int64N(int64(5 * time.Second)))
	}
	return a
}

func ExampleLimiter() {
	lim := limiter.New(limiter.Config{MaxInFlight: 64, Reserve: 0.1})
	now := time.Date(2026, 3, 28, 14, 30, 0, 0, time.UTC)

	granted, _ := lim.Grant(now, false, 10)
	fmt.Println("granted while nothing is known:", granted)

	ticket := lim.Sent(now)
	now = now.Add(20 * time.Millisecond)
	lim.Answered(ticket, now, limiter.Answer{Status: 200, Headers: limiter.Headers{
		Date: now.Truncate(time.Second), Limit: 100, Remaining: 99, Reset: now.Truncate(time.Second).Add(2 * time.Second),
	}})
	granted, _ = lim.Grant(now, true, 10)
	fmt.Println("granted after an answer:", granted)
	fmt.Println(lim.State(now).Reason)
	// Output:
	// granted while nothing is known: 1
	// granted after an answer: 10
	// 99 left of 100
}

func BenchmarkGrantSentAnswered(b *testing.B) {
	lim := limiter.New(limiter.Config{MaxInFlight: 128, Reserve: 0.1})
	now := epoch
	left := 1 << 40
	answer := limiter.Answer{Status: 200, Headers: limiter.Headers{Limit: left, Reset: epoch.Add(time.Hour)}}
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		if got, _ := lim.Grant(now, false, 1); got == 0 {
			b.Fatal("no token was granted")
		}
		ticket := lim.Sent(now)
		left--
		answer.Remaining, answer.Date = left, now
		lim.Answered(ticket, now, answer)
	}
}

func BenchmarkGrantSentAnsweredWithoutHeaders(b *testing.B) {
	lim := limiter.New(limiter.Config{MaxInFlight: 128})
	now := epoch
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		if got, _ := lim.Grant(now, false, 1); got == 0 {
			b.Fatal("no token was granted")
		}
		lim.Answered(lim.Sent(now), now, limiter.Answer{Status: 200})
	}
}
