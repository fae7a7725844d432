package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

// wantFewAnswers checks that a gate has let through no more answers of a kind
// than requests were in flight as it rose, and its probes since then.
func (r *rig) wantFewAnswers(what string, count int, since time.Time) {
	r.t.Helper()
	if most := concurrency + 1 + int(time.Since(since)/probeInterval); count > most {
		r.t.Errorf("%d answers of %s; want at most %d", count, what, most)
	}
}

func TestAnEmptyBalanceAndARefusedKeyHoldWhatWaitsAndNothingFails(t *testing.T) {
	r := newRig(t, sandbox.Config{Latency: 10 * time.Millisecond, Faults: []sandbox.Fault{{Kind: sandbox.Kind402}}})
	r.serve()
	begun := time.Now()
	keys := keysOf("k", 100)
	r.send(envelopes(keys)...)
	r.awaitBucket("rcs", "held", "402 insufficient_balance")
	await(t, "some probes have been answered with 402", func() bool { return r.api.Stats().Status[402] >= 4 })
	r.api.SetFaults()
	r.api.SetKeys("another")
	r.awaitBucket("rcs", "held", "401 unauthorized")
	if text := r.do("status"); !strings.Contains(text, "default/rcs is held since ") || !strings.Contains(text, "401 unauthorized") {
		t.Errorf("the status does not say what to do:\n%s", text)
	}
	r.api.SetKeys(sandbox.DefaultKey)
	r.awaitState(outbox.Sent, len(keys))
	stats := r.api.Stats()
	r.wantFewAnswers("402", stats.Status[402], begun)
	r.wantFewAnswers("401", stats.Status[401], begun)
	r.wantSent(keys...)
	if n := r.ask(`SELECT sum(requests) FROM attempts`); n != stats.Requests {
		t.Errorf("the API saw %d requests; the table of attempts has %d", stats.Requests, n)
	}
	if n := r.ask(`SELECT max(attempts) FROM messages`); n != 1 {
		t.Errorf("a message counts %d attempts; holds age nobody", n)
	}
}

func TestWhatAnswersInTheAPIsPlaceSettlesNothing(t *testing.T) {
	r := newRig(t, sandbox.Config{Latency: 10 * time.Millisecond, Faults: []sandbox.Fault{{Kind: sandbox.HTML200}}})
	r.serve()
	begun := time.Now()
	keys := keysOf("k", 50)
	r.send(envelopes(keys)...)
	for _, status := range []int{200, 404} {
		r.awaitBucket("rcs", "held", fmt.Sprintf("something else answers in the API's place (%d", status))
		await(t, "some probes have been answered by the proxy", func() bool { return r.api.Stats().Status[status] >= 3 })
		r.wantFewAnswers(fmt.Sprint(status), r.api.Stats().Status[status], begun)
		if n := r.ask(`SELECT count(*) FROM messages WHERE settled_at IS NOT NULL OR attempts > 0`); n > 0 {
			t.Errorf("a proxy's %d has settled or aged %d messages", status, n)
		}
		r.api.SetFaults(sandbox.Fault{Kind: sandbox.HTML404})
	}
	r.api.SetFaults()
	r.awaitState(outbox.Sent, len(keys))
	r.wantSent(keys...)
}

func TestANewKeyInTheFileEndsTheHold(t *testing.T) {
	r := newRig(t, sandbox.Config{Keys: []string{"new_key"}})
	delete(r.env, "WEIR_API_KEY")
	r.env["WEIR_API_KEY_FILE"] = write(t, "api.key", "old_key\n")
	r.serve()
	keys := keysOf("k", 20)
	r.send(envelopes(keys)...)
	r.awaitBucket("rcs", "held", "the API refuses the key")
	write(t, "next.key", "new_key\n")
	if err := os.Rename("next.key", "api.key"); err != nil {
		t.Fatal(err)
	}
	r.awaitState(outbox.Sent, len(keys))
	r.wantSent(keys...)
}

func TestAHoldOutlivesTheDaemon(t *testing.T) {
	r := newRig(t, sandbox.Config{Keys: []string{"another"}})
	r.env["WEIR_PROBE_INTERVAL"] = "1h"
	daemon := r.serve()
	r.send(envelopes(keysOf("k", 20))...)
	r.awaitBucket("rcs", "held", "401")
	daemon.kill()
	requests := r.api.Stats().Requests
	r.api.SetKeys(sandbox.DefaultKey)
	r.serve()
	r.awaitBucket("rcs", "held", "401")
	if n := r.api.Stats().Requests; n != requests {
		t.Errorf("%d requests before the time of the next probe", n-requests)
	}
	r.do("gates", "probe", "default/rcs")
	r.awaitState(outbox.Sent, 20)
	r.wantSent(keysOf("k", 20)...)
}

func TestAPauseHoldsOneBucketAndItsCanceledMessagesAreNeverSent(t *testing.T) {
	for _, c := range []struct {
		name    string
		running bool // the commands are given beside a daemon
	}{{"beside a daemon", true}, {"while it is down", false}} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, sandbox.Config{})
			var daemon *served
			give := func(commands func()) {
				if daemon != nil && !c.running {
					daemon.stop()
					daemon = nil
				}
				commands()
				if daemon == nil {
					daemon = r.serve()
				}
			}
			r.send(envelope("first", mailBody))
			daemon = r.serve()
			give(func() { r.do("gates", "pause", "default/rcs", "--reason", "the template is wrong") })
			r.awaitBucket("rcs", "paused", "the template is wrong")

			give(func() {
				r.send(envelope("a", rcsBody), envelope("b", rcsBody), envelope("c", rcsBody), envelope("second", mailBody))
			})
			r.awaitState(outbox.Sent, 2)
			r.wantSent("first", "second")

			give(func() {
				if got := r.do("messages", "cancel", "b"); got != "b is canceled\n" {
					t.Errorf("cancel says %q", got)
				}
				r.do("gates", "resume", "default/rcs")
			})
			r.awaitState(outbox.Sent, 4)
			r.awaitBucket("rcs", "running", "")
			r.wantSent("first", "second", "a", "c")
			if rows := r.messages(); rows["b"].State != string(outbox.Canceled) {
				t.Errorf("b is %s", rows["b"].State)
			}
		})
	}
}

func TestWhatTheAPIRefusesFailsAndIsSentOnceAPersonRetriesIt(t *testing.T) {
	r := newRig(t, sandbox.Config{Faults: []sandbox.Fault{{Kind: sandbox.Kind422, KeyPrefix: "bad"}}})
	r.serve()
	r.send(envelope("good", rcsBody), envelope("bad", rcsBody))
	r.awaitState(outbox.Failed, 1)
	r.awaitState(outbox.Sent, 1)
	r.wantSent("good")
	if m := r.messages()["bad"]; *m.HTTPStatus != 422 || *m.ErrorCode != "suppressed_address" || m.RequestID == nil {
		t.Errorf("it is recorded as %+v", m)
	}
	r.api.SetFaults()
	if got := r.do("messages", "retry", "bad"); got != "bad is pending\n" {
		t.Errorf("retry says %q", got)
	}
	r.awaitState(outbox.Sent, 2)
	r.wantSent("good", "bad")
}

func TestAMessageThatMayBeSentTwiceIsSentIfTheAPINamesItAndElseUnknown(t *testing.T) {
	t.Parallel()
	r := newRigAside(t, sandbox.Config{Faults: []sandbox.Fault{
		{Kind: sandbox.CutAfter, KeyPrefix: "effect"}, {Kind: sandbox.CutBefore, KeyPrefix: "none"},
	}})
	r.env["WEIR_SETTLE_WAIT"] = "1h" // so that a person is sooner
	r.serve()
	r.send(envelope("effect", rcsBody), envelope("none", rcsBody))
	r.awaitState(outbox.Retrying, 2)
	r.api.SetFaults(sandbox.Fault{Kind: sandbox.Kind409})
	for _, key := range []string{"effect", "none"} {
		r.do("messages", "cancel", key)
		r.do("messages", "resolve", key, "--may-duplicate")
	}
	r.awaitState(outbox.Sent, 1)
	r.awaitState(outbox.Unknown, 1)
	rows := r.messages()
	if got, want := rows["effect"], r.api.Keys("")["effect"].MessageID; got.State != string(outbox.Sent) || shown(got.MessageID) != want {
		t.Errorf("what took effect as %s is %s with message id %s", want, got.State, shown(got.MessageID))
	}
}
