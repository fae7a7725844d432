package limiter_test

import (
	"testing"
	"time"

	"weir/limiter"
)

func TestAnswersThatMakeNoSenseAreCounted(t *testing.T) {
	a := newAPI(t)
	want := func(count int, last string) {
		t.Helper()
		if s := a.lim.State(a.now); s.Odd != count || s.LastOdd != last || count > 0 && !s.LastOddAt.Equal(a.now) {
			t.Errorf("%d odd answers, the last: %q at %v; want %d, %q at %v", s.Odd, s.LastOdd, s.LastOddAt, count, last, a.now)
		}
	}
	a.open(9, 60)
	a.lim.Answered(a.send(), a.now, limiter.Answer{Status: 200})
	want(0, "")
	a.answer(a.send(), 200, 10, 7, -5)
	want(1, "X-RateLimit-Reset lies in the past")
	a.answer(a.send(), 200, 10, 6, 100_000)
	want(2, "X-RateLimit-Reset lies days ahead")
	a.lim.Answered(a.send(), a.now, limiter.Answer{Status: 200, Headers: limiter.Headers{Odd: "X-RateLimit-Limit is no number"}})
	want(3, "X-RateLimit-Limit is no number")
	a.want(5) // 9 were left and four sent: none was lost sight of
}

func TestAnAnswerThatTookLongMayNameAWindowThatHasEndedSince(t *testing.T) {
	a := newAPI(t)
	a.open(9, 2)
	slow := a.send()
	a.pass(10 * time.Second)
	a.answer(slow, 200, 10, 8, 2)
	if s := a.lim.State(a.now); s.Odd != 0 {
		t.Errorf("counted as odd: %s", s.LastOdd)
	}
}
