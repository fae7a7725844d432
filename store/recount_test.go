package store_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestCountsThatAreWrongAreMendedWhateverIsWrittenMeanwhile(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &walker{desk: newDesk(t), Rand: rand.New(rand.NewPCG(seed, 0))}
	buckets := []string{"default/rcs", "default/email", "second/rcs", "second/email"}
	for _, b := range buckets { // else there may be nothing to mend
		m := message(b)
		m.Account, m.Channel, _ = strings.Cut(b, "/")
		w.put(m)
	}
	for range 50 {
		w.ours()
	}
	w.exec(`UPDATE status SET pending = pending + 3, sent = 70, throttled = throttled - 1 WHERE scope = 'bucket:default/rcs'`)
	w.exec(`DELETE FROM status WHERE scope = 'bucket:second/rcs'`)
	mended := make(chan []string)
	go func() {
		scopes, err := w.Recount(t.Context())
		if err != nil {
			t.Error(err)
		}
		mended <- scopes
	}()
	var got []string
	for n, ended := 0, false; !ended; n++ {
		m := message(fmt.Sprint("meanwhile-", n))
		m.Account = []string{"default", "second"}[n%2]
		w.put(m)
		select {
		case got = <-mended:
			ended = true
		default:
		}
	}
	if !slices.Contains(got, "bucket:default/rcs") || !slices.Contains(got, "bucket:second/rcs") {
		t.Errorf("mended %v", got)
	}
	for _, b := range buckets {
		want := w.text(`SELECT `+counted+` FROM messages WHERE account || '/' || channel = ?`, b)
		if got := w.text(`SELECT `+shown+` FROM status WHERE scope = ?`, "bucket:"+b); got != want {
			t.Errorf("%s shows %s, its rows are %s", b, got, want)
		}
	}
	if want, got := w.text(`SELECT `+counted+` FROM messages`), w.text(`SELECT `+shown+` FROM status WHERE scope = 'daemon:weir'`); got != want {
		t.Errorf("the daemon shows %s, the rows are %s", got, want)
	}
	if again, err := w.Recount(t.Context()); err != nil || len(again) != 0 {
		t.Errorf("once more it mended %v (%v)", again, err)
	}
}

func TestIDsWithoutRowsAreNotGoneThroughToCount(t *testing.T) {
	d := newDesk(t)
	d.put(message("old"), message("new"))
	d.exec(`UPDATE messages SET id = ? WHERE idempotency_key = 'new'`, int64(math.MaxInt64-1<<20))
	d.exec(`UPDATE status SET pending = 7 WHERE scope = 'bucket:default/rcs'`)
	mended, err := d.Recount(t.Context()) // else it would not end within a life
	must(t, err)
	if n := d.number(`SELECT pending FROM status WHERE scope = 'bucket:default/rcs'`); n != 2 || len(mended) != 1 {
		t.Errorf("%d pending, mended %v", n, mended)
	}
}
