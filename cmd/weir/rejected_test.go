package main

import (
	"encoding/json"
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
