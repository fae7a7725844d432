package sandbox_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
)

func TestARepeatIsAnsweredWithTheSameBytes(t *testing.T) {
	a := start(t, sandbox.Config{})
	first, again := a.mustSend("k"), a.mustSend("k")
	if first.raw != again.raw || again.header.Get("Idempotent-Replayed") != "true" || first.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("answers = %s and %s, %v; want the same, the second marked as replayed", first.raw, again.raw, again.header)
	}
	if s := a.Stats(); s.Executed != 1 || s.Replayed != 1 || s.Twice != 0 {
		t.Errorf("stats = %+v; want one execution, one replay", s)
	}
}

func TestAKeyWithAnotherBodyIsAConflict(t *testing.T) {
	a := start(t, sandbox.Config{})
	a.mustSend("k")
	r, err := a.do(t.Context(), http.MethodPost, "/v1/messages", rcsBody+" ", "Idempotency-Key", "k")
	if err != nil || r.status != http.StatusConflict || r.text("error") != "idempotency_conflict" {
		t.Errorf("answer = %d %s, %v; want 409 idempotency_conflict", r.status, r.raw, err)
	}
	if s := a.Stats(); s.Conflicts != 1 || s.Executed != 1 {
		t.Errorf("stats = %+v; want one conflict, one execution", s)
	}
}

func TestTheBooksTellWhichBodyTookEffect(t *testing.T) {
	a := start(t, sandbox.Config{})
	a.mustSend("k")
	if _, err := a.do(t.Context(), http.MethodPost, "/v1/messages", rcsBody+" ", "Idempotency-Key", "k"); err != nil {
		t.Fatal(err)
	}
	if got, want := a.Keys("")["k"].Body, fmt.Sprintf("%x", sha256.Sum256([]byte(rcsBody))); got != want {
		t.Errorf("body = %s; want that of the effect, %s, not that of the conflict", got, want)
	}
	faulty := faults(t, "422")
	faulty.mustSend("refused")
	if got := faulty.Keys("")["refused"].Body; got != "" {
		t.Errorf("body of what was refused = %s; want none", got)
	}
}

func TestOfConcurrentRequestsWithOneKeyOneIsExecuted(t *testing.T) {
	a := start(t, sandbox.Config{Latency: 100 * time.Millisecond})
	const requests = 20
	statuses := make([]int, requests)
	var group sync.WaitGroup
	for i := range requests {
		group.Go(func() {
			r, err := a.send("k")
			if err != nil {
				t.Error(err)
			}
			statuses[i] = r.status
		})
	}
	group.Wait()
	s := a.Stats()
	if s.Executed != 1 || s.Twice != 0 || s.Status[200] != 1+s.Replayed || s.Status[409] != s.InProgress || s.InProgress == 0 {
		t.Errorf("statuses %v, stats = %+v; want one execution and refusals as in progress", statuses, s)
	}
}

func TestTheKeyMayStandInTheBody(t *testing.T) {
	a := start(t, sandbox.Config{})
	body := strings.Replace(rcsBody, "{", `{"idempotency_key":"k",`, 1)
	for range 2 {
		if r, err := a.do(t.Context(), http.MethodPost, "/v1/messages", body, "Idempotency-Key", "k"); err != nil || r.status != 200 {
			t.Errorf("both and equal = %d, %v; want 200", r.status, err)
		}
	}
	if r, err := a.do(t.Context(), http.MethodPost, "/v1/messages", body); err != nil || r.header.Get("Idempotent-Replayed") == "" {
		t.Errorf("in the body only = %d, %v; want a replay", r.status, err)
	}
	r, err := a.do(t.Context(), http.MethodPost, "/v1/messages", body, "Idempotency-Key", "other")
	if err != nil || r.status != 400 || r.text("error") != "idempotency_key_mismatch" {
		t.Errorf("both and different = %d %s, %v; want 400", r.status, r.raw, err)
	}
}

func TestASendWithoutAKeyIsTakenAndCounted(t *testing.T) {
	a := start(t, sandbox.Config{})
	for range 2 {
		if r, err := a.do(t.Context(), http.MethodPost, "/v1/messages", rcsBody); err != nil || r.status != 200 {
			t.Errorf("answer = %d, %v; want 200", r.status, err)
		}
	}
	if s := a.Stats(); s.Executed != 2 || s.WithoutKey != 2 || s.Keys != 0 {
		t.Errorf("stats = %+v; want two effects, both without a key", s)
	}
}

func TestAForgottenKeyTakesEffectAgainAndIsCounted(t *testing.T) {
	now := time.Now()
	a := start(t, sandbox.Config{KeyLifetime: time.Hour, Now: func() time.Time { return now }})
	first := a.mustSend("k").text("message_id")
	now = now.Add(time.Hour - 1)
	if again := a.mustSend("k").text("message_id"); again != first {
		t.Errorf("message within the lifetime = %s; want %s", again, first)
	}
	now = now.Add(1)
	if later := a.mustSend("k").text("message_id"); later == first {
		t.Errorf("message after the lifetime is still %s", later)
	}
	if s := a.Stats(); s.Twice != 1 || s.Executed != 2 || a.Keys("")["k"].Effects != 2 {
		t.Errorf("stats = %+v; want one key with two effects", s)
	}
}

func TestARefusedMessageLeavesItsKeyUnused(t *testing.T) {
	a := faults(t, "422:first=1")
	if got := a.mustSend("k").status; got != 422 {
		t.Fatalf("first = %d; want 422", got)
	}
	if r := a.mustSend("k"); r.status != 200 || r.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("second = %d, %v; want a fresh 200", r.status, r.header)
	}
}
