package queue

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"weir/internal/bubble"
)

func TestWhatFailsIsTriedEverMoreSlowlyUntilItWorks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		failing := newTrouble(slog.New(slog.DiscardHandler), "work")
		pauses := func(failures int) (all []time.Duration) {
			for range failures {
				began := time.Now()
				if err := failing.wait(t.Context(), errors.New("disk full")); err != nil {
					t.Fatal(err)
				}
				all = append(all, time.Since(began)/time.Millisecond)
			}
			return all
		}
		if got, want := pauses(9), []time.Duration{50, 100, 200, 400, 800, 1600, 3200, 5000, 5000}; !slices.Equal(got, want) {
			t.Errorf("the pauses are %d ms, want %d", got, want)
		}
		failing.over()
		if got := pauses(1)[0]; got != 50 {
			t.Errorf("after it has worked, the first pause is %d ms", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if err := failing.wait(ctx, errors.New("disk full")); !errors.Is(err, context.Canceled) {
			t.Errorf("a pause that is cut short ends with %v", err)
		}
	})
}
