package store_test

import (
	"fmt"
	"testing"
	"time"

	"weir/dispatcher"
	"weir/outbox"
	"weir/store"
)

// BenchmarkLifecycle measures what one message costs in the database: its
// acceptance, claim and record, in group commits of 64.
func BenchmarkLifecycle(b *testing.B) {
	s, err := store.Open(b.Context(), store.Config{Dir: b.TempDir(), Now: time.Now, RepeatFor: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	const group = 64
	next := int64(1)
	for b.Loop() {
		messages := make([]outbox.Message, group)
		refs := make([]outbox.Ref, group)
		for i := range messages {
			messages[i] = message(fmt.Sprintf("key-%d", next))
			refs[i] = outbox.Ref{ID: next, Generation: 1}
			next++
		}
		if _, err := s.Accept(b.Context(), messages); err != nil {
			b.Fatal(err)
		}
		claims, err := s.Claim(b.Context(), "scope", refs)
		if err != nil || len(claims) != group {
			b.Fatal(len(claims), err)
		}
		done := make(chan error, group)
		for _, c := range claims {
			s.Record(sent(c), func(err error) { done <- err })
		}
		for range claims {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*group), "us/message")
}

func message(key string) outbox.Message {
	return outbox.Message{
		Key: key, Account: "default", Channel: "rcs", Lane: outbox.Normal, Fingerprint: "1:" + key,
		Body: []byte(`{"agent_id":"ag_live_1","to":"+4915112345678","content":{"text":"hello"}}`),
	}
}

func sent(c dispatcher.Claim) dispatcher.Record {
	now := time.Now()
	return dispatcher.Record{
		Claim:     c,
		Answer:    dispatcher.Answer{StartedAt: now, EndedAt: now.Add(20 * time.Millisecond), Status: 200, MessageID: "msg_" + c.Key, RequestID: "req_1"},
		Judgement: dispatcher.Judgement{Verdict: dispatcher.Sent, State: outbox.Sent, Counted: true},
	}
}
