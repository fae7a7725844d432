package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"weir/outbox"
)

func TestARejectedPayloadIsShownWithoutWhatATerminalWouldObey(t *testing.T) {
	d := newDesk(t)
	payload := "{\"key\":\"\x1b[2Jé\xff\"}\n" + strings.Repeat("x", 2*shownPayload)
	if err := d.store().Reject(t.Context(), []outbox.Rejection{{Payload: []byte("first"), Reason: "envelope: is odd"}, {Payload: []byte(payload), Reason: "lane: is\tnew"}}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(d.do("rejected", "list"), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "ID ") || !strings.HasPrefix(lines[2], "1 ") {
		t.Fatalf("got %q", lines)
	}
	want := cut(`{"key":"\x1b[2Jé\xff"}\n`+strings.Repeat("x", shownPayload), shownPayload)
	if !strings.Contains(lines[1], `lane: is\tnew  `) || !strings.HasSuffix(lines[1], "  "+want) {
		t.Errorf("got %q, want its end to be %q", lines[1], want)
	}
}

func TestTheRejectedAsJSONAreOnePerLineAndWhole(t *testing.T) {
	d := newDesk(t)
	payload := strings.Repeat("<x>\n", shownPayload)
	if err := d.store().Reject(t.Context(), []outbox.Rejection{{Payload: []byte("first")}, {Payload: []byte(payload)}}); err != nil {
		t.Fatal(err)
	}
	out := d.do("rejected", "list", "--json", "--limit", "1")
	var row rejectedPayload
	if err := json.Unmarshal([]byte(out), &row); err != nil || strings.Count(out, "\n") != 1 || row.Payload != payload {
		t.Errorf("got %q, %v", out, err)
	}
	d.refuse(exitUsage, "rejected", "list", "--limit", "0")
}

func TestARejectedPayloadIsTakenOnceItsChannelIsThere(t *testing.T) {
	d := newDesk(t)
	sms := `{"idempotency_key":"x","channel":"sms","body":{"to":"+49151"}}`
	if err := d.store().Reject(t.Context(), []outbox.Rejection{{Payload: []byte(sms)}, {Payload: []byte("junk")}, {Payload: []byte(sms)}}); err != nil {
		t.Fatal(err)
	}
	if got, want := d.refuse(exitFailed, "rejected", "requeue", "1"), "weir: 1 stays rejected: channel: account \"default\" has no channel \"sms\"; it has rcs, email, default\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	d.env["WEIR_API_URL"], d.env["WEIR_API_KEY"] = "", ""
	if err := os.WriteFile("weir.yaml", []byte("accounts:\n  default:\n    url: https://api.example.com\n    key_file: key\n    channels: [sms]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := d.run(t.Context(), strings.NewReader(""), "rejected", "requeue", "--all")
	if want := "1 is accepted as x\n3 is already there as x\n"; code != exitFailed || stdout != want || !strings.HasPrefix(stderr, "weir: 2 stays rejected: ") {
		t.Errorf("exit %d, output %q, errors %q; want output %q", code, stdout, stderr, want)
	}
	if m := d.show("x"); m.Channel != "sms" || m.State != "pending" {
		t.Errorf("the message is %+v", m)
	}
	if got := d.do("rejected", "list"); strings.Count(got, "\n") != 2 {
		t.Errorf("left are %q", got)
	}
}

func TestWhatIsToBeRequeuedMustBeSaid(t *testing.T) {
	d := newDesk(t)
	d.send(lineOf("k"))
	for _, args := range [][]string{{}, {"x"}, {"0"}, {"1", "--all"}} {
		d.refuse(exitUsage, append([]string{"rejected", "requeue"}, args...)...)
	}
	if got, want := d.refuse(exitFailed, "rejected", "requeue", "7"), "weir: nothing rejected has the ID 7\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	d.do("rejected", "requeue", "--all")
}
