package limiter_test

import (
	"testing"
	"time"

	"weir/limiter"
)

// bare answers a request without a word of the limit.
func (a *api) bare(t limiter.Ticket, status int) {
	a.lim.Answered(t, a.now, limiter.Answer{Status: status})
}

// straggle sends a request right before the end of a window, at 50 s, before which
// there were no other clients for long enough, and lets a second pass.
func (a *api) straggle() limiter.Ticket {
	for reset := 10; reset <= 40; reset += 10 {
		a.open(9, reset)
		a.now = at(time.Duration(reset)*time.Second + 500*time.Millisecond)
	}
	a.open(9, 50)
	a.now = at(50*time.Second - 10*time.Millisecond)
	late := a.send()
	a.pass(time.Second)
	return late
}

func TestAStragglerThatTellsNothingIsChargedToTheWindowInWhichItsAnswerCame(t *testing.T) {
	for _, told := range []bool{true, false} {
		a := newAPI(t)
		a.bare(a.straggle(), 200)
		first, second := a.send(), a.send()
		a.pass(10 * time.Millisecond)
		if !told { // and neither does the first of the window
			a.bare(second, 200)
		}
		a.answer(first, 200, 10, 8, 60)
		a.want(7)
		if told {
			a.answer(second, 200, 10, 7, 60)
			a.want(7)
		}
	}
}

func TestAStragglerIsChargedAlsoWhereItsReportNamesAWindowThatIsNotKnownYet(t *testing.T) {
	a := newAPI(t)
	late := a.straggle()
	first, second := a.send(), a.send()
	a.pass(10 * time.Millisecond)
	a.bare(second, 200)
	a.answer(late, 200, 10, 8, 60)
	a.want(7)
	a.answer(first, 200, 10, 9, 60)
	a.want(7)
}

func TestWhatTheReportOfAWindowOvertookIsChargedThoughTheWindowWasGivenUp(t *testing.T) {
	a := newAPI(t)
	a.open(9, 10)
	a.pass(11 * time.Second)
	first, second, third := a.send(), a.send(), a.send()
	a.pass(10 * time.Millisecond)
	a.bare(second, 200)
	a.bare(third, 429) // where all should be left: nothing is known any more
	a.answer(first, 200, 10, 9, 20)
	a.want(8)
}

func TestAStragglerIsNotTakenForAServersClockThatWasSetBack(t *testing.T) {
	t.Run("sent when the first answer came", func(t *testing.T) {
		a := newAPI(t)
		a.open(9, 10)
		a.pass(11 * time.Second)
		first, late := a.send(), a.send()
		a.answer(first, 200, 10, 9, 20)
		a.answer(late, 200, 10, 1, 10)
		a.want(9)
	})
	t.Run("sent before the window's name came", func(t *testing.T) {
		a := newAPI(t)
		a.open(9, 10)
		a.pass(11 * time.Second)
		a.bare(a.send(), 200)
		a.pass(time.Millisecond)
		late := a.send()
		first := a.send()
		a.pass(time.Millisecond)
		a.answer(first, 200, 10, 9, 30)
		a.answer(late, 200, 10, 1, 20)
		a.want(9)
	})
}
