package outbox_test

import (
	"testing"
	"time"

	"weir/outbox"
)

// BenchmarkEnvelopeToMessage is what intake does for each line: 5 µs is its budget.
func BenchmarkEnvelopeToMessage(b *testing.B) {
	line := []byte(`{"idempotency_key":"3f0e0c1a-7f55-5d0c-9d3b-0a8de7f0a001","lane":"high","body":{` +
		`"agent_id":"ag_live_8f3k2","to":"+4915112345678","message_type":"MESSAGE","traffic_type":"TRANSACTION",` +
		`"content":{"text":"Your order 10023 is on its way.","suggestions":[{"text":"Track","url":"https://shop.example/t/10023"}]}}}`)
	known := outbox.Channels{"default": {outbox.RCS, outbox.Email, outbox.DefaultChannel}}
	now := time.Date(2026, 3, 28, 14, 30, 0, 0, time.UTC)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		e, err := outbox.ParseEnvelope(line)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := e.Message(now, known); err != nil {
			b.Fatal(err)
		}
	}
}
