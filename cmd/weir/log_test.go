package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"weir/cmd/weir/internal/sandbox"
	"weir/outbox"
)

// logged is what is looked for in a line of the daemon's log.
type logged struct {
	Level, Msg                string
	Message, Attempts, Status int
	State, Was, By, Until     string
	Bucket, Lane              string
	ErrorCode                 string `json:"error_code"`
	RequestID                 string `json:"request_id"`
}

// log gives the lines of a daemon that has ended which say msg.
func (p *process) log(msg string) (lines []logged) {
	p.t.Helper()
	for _, text := range p.stderr {
		var line logged
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			p.t.Errorf("a line of the log is %q: %v", text, err)
		}
		if line.Msg == msg {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestTheLogHasALineForEachSettledMessageAndEachChangeOfABucketAndNoSecrets(t *testing.T) {
	r := newRig(t, sandbox.Config{Faults: []sandbox.Fault{{Kind: sandbox.Kind422, KeyPrefix: "bad"}}})
	r.env["WEIR_LOG_LEVEL"] = "debug"
	daemon := r.serve()
	r.send(envelope("good-key", rcsBody), envelope("bad-key", rcsBody),
		`{"idempotency_key":"late-key","body":`+mailBody+`,"expires_at":"2020-01-01T00:00:00Z"}`)
	r.awaitState(outbox.Sent, 1)
	r.awaitState(outbox.Failed, 1)
	r.awaitState(outbox.Expired, 1)
	r.do("gates", "pause", "default/rcs", "--reason", "to be seen", "--until", "2h")
	r.awaitBucket("rcs", "paused", "to be seen")
	r.do("gates", "resume", "default/rcs")
	r.awaitBucket("rcs", "running", "")
	daemon.stop()

	settled := daemon.log("settled")
	slices.SortFunc(settled, func(a, b logged) int { return a.Message - b.Message })
	want := []logged{
		{Bucket: "default/rcs", Lane: "normal", State: "sent", Attempts: 1, Status: 200},
		{Bucket: "default/rcs", Lane: "normal", State: "failed", Attempts: 1, Status: 422},
		{Bucket: "default/email", Lane: "normal", State: "expired"},
	}
	if len(settled) != len(want) {
		t.Fatalf("%d lines of settled messages, want %d: %+v", len(settled), len(want), settled)
	}
	for i, w := range want {
		s := settled[i]
		if s.Level != "DEBUG" || s.Message != i+1 || s.Bucket != w.Bucket || s.Lane != w.Lane || s.State != w.State ||
			s.Attempts != w.Attempts || s.Status != w.Status || (s.RequestID == "") != (w.Status == 0) || (s.ErrorCode == "") != (w.Status != 422) {
			t.Errorf("the log says %+v, want %+v", s, w)
		}
	}
	changes := daemon.log("a bucket's state has changed")
	if len(changes) != 2 || changes[0].Level != "INFO" ||
		changes[0].Was != "running" || changes[0].State != "paused" || changes[0].By != "operator" || changes[0].Until == "" ||
		changes[1].Was != "paused" || changes[1].State != "running" {
		t.Errorf("the log says of the bucket's state: %+v", changes)
	}
	for _, secret := range []string{"-key", "+4915112345678", "a@example.org", sandbox.DefaultKey, `"Hi"`} {
		if strings.Contains(strings.Join(daemon.stderr, "\n"), secret) {
			t.Errorf("the log holds %s", secret)
		}
	}
}
