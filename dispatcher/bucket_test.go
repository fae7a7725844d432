package dispatcher

import (
	"fmt"
	"testing"
	"time"

	"weir/outbox"
)

func TestWhatCameBackLeadsByDueTimeThenRow(t *testing.T) {
	w := waiting{fetched: []outbox.Ref{{ID: 1}, {ID: 2}}}
	for _, r := range []struct {
		id  int64
		due time.Duration
	}{{9, 1}, {7, 2}, {8, 1}, {6, 0}} {
		w.put(returned{Ref: outbox.Ref{ID: r.id}, due: noon.Add(r.due)})
	}
	if w.len() != 6 {
		t.Errorf("%d references, want 6", w.len())
	}
	probe, _ := w.takeUntried(map[int64]bool{6: true, 8: true})
	if probe.ID != 9 {
		t.Errorf("probe by %d, want the first that has not tried", probe.ID)
	}
	var order []int64
	for _, ref := range append(w.take(3, nil), w.take(10, nil)...) {
		order = append(order, ref.ID)
	}
	if got := fmt.Sprint(order); got != "[6 8 7 1 2]" {
		t.Errorf("order %s", got)
	}
	if _, found := w.takeUntried(nil); found || w.len() != 0 {
		t.Error("a reference that is not there")
	}
}

func TestARampDoublesOnceAsManySucceededAsItIsWide(t *testing.T) {
	var r ramp
	r.success(100)
	if r.width != 0 {
		t.Fatal("a ramp without a gate")
	}
	r.begin()
	var widths []int
	for range 16 {
		widths = append(widths, r.width)
		r.success(16)
	}
	if got := fmt.Sprint(widths); got != "[1 2 2 4 4 4 4 8 8 8 8 8 8 8 8 0]" {
		t.Errorf("widths %s", got)
	}
}

func TestTheLastMinuteForgetsWhatIsOlder(t *testing.T) {
	var m lastMinute
	for s := range 120 {
		m.add(noon.Add(time.Duration(s)*time.Second), 1)
	}
	tests := []struct {
		after time.Duration
		want  int
	}{{119 * time.Second, 60}, {120 * time.Second, 59}, {178 * time.Second, 1}, {179 * time.Second, 0}, {time.Hour, 0}}
	for _, tt := range tests {
		if got := m.total(noon.Add(tt.after)); got != tt.want {
			t.Errorf("%d after %v, want %d", got, tt.after, tt.want)
		}
	}
}

func TestTheRateOfAFreshStartIsNotSpreadOverAMinute(t *testing.T) {
	var m lastMinute
	for s := range 10 {
		now := noon.Add(time.Duration(s) * time.Second)
		m.add(now, 20)
		want := 20.0
		if s < rateFrom {
			want = 0
		}
		if got := m.perSecond(now); got != want {
			t.Errorf("after %d s it is %v a second, want %v", s+1, got, want)
		}
	}
	if got := m.perSecond(noon.Add(19 * time.Second)); got != 10 {
		t.Errorf("after a break as long as the work it is %v a second, want 10", got)
	}
	if got := m.perSecond(noon.Add(time.Hour)); got != 0 {
		t.Errorf("an hour later it is %v a second", got)
	}
}
