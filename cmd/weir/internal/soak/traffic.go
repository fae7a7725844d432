package soak

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"time"

	"weir/queue"
)

const (
	// sendBatch is how many lines one weir send gets.
	sendBatch = 20
	// publishBatch is how many messages are published at once, at least.
	publishBatch = 3
	// publishPause is how long what was not acked waits to be published again.
	publishPause = 100 * time.Millisecond
	// patience is how long one hand-over is tried again.
	patience = 10 * time.Second
)

// told is what was handed over, and what of it weir has said to have accepted.
type told struct {
	mu     sync.Mutex
	bodies map[string][sha256.Size]byte // of all, by key
	keys   map[string]bool              // accepted
	next   int
}

// envelopes makes new messages, of all lanes and two channels.
func (t *told) envelopes(count int) (keys []string, envelopes [][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for range count {
		t.next++
		key := fmt.Sprintf("soak-%d", t.next)
		body := `{"agent_id":"ag_1","to":"+4915112345678","message_type":"MESSAGE","traffic_type":"TRANSACTION","content":{"text":"` +
			strings.Repeat("x", t.next%500) + `"}}`
		if t.next%5 == 0 {
			body = `{"channel_id":"ch_1","to":"a@example.org","subject":"Hi","message_type":"MESSAGE","content":{"text":"Hi"}}`
		}
		lane := [...]string{"high", "normal", "bulk"}[t.next%3]
		keys = append(keys, key)
		t.bodies[key] = sha256.Sum256([]byte(body))
		envelopes = append(envelopes, fmt.Appendf(nil, `{"idempotency_key":%q,"lane":%q,"body":%s}`, key, lane, body))
	}
	return keys, envelopes
}

func (t *told) accepted(keys []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		t.keys[key] = true
	}
}

// every is the time between two batches of so many that make half of a rate.
func every(batch, rate int) time.Duration {
	return time.Duration(float64(time.Second) * float64(batch) / (float64(rate) / 2))
}

// publish hands half of the messages over on weir.send, through restarts.
func (s *soak) publish(ctx context.Context) error {
	p, err := queue.Connect(ctx, queue.PublisherConfig{URL: "nats://" + s.nats})
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	batch := max(publishBatch, s.Rate/20) // ten times a second at most
	tick := time.NewTicker(every(batch, s.Rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		keys, envelopes := s.told.envelopes(batch)
		// What was not acked is published again, as a producer must.
		for begin := time.Now(); len(keys) > 0 && ctx.Err() == nil; {
			once, cancel := context.WithTimeout(ctx, patience/5)
			acked, _ := p.Publish(once, envelopes)
			cancel()
			s.told.accepted(keys[:acked])
			keys, envelopes = keys[acked:], envelopes[acked:]
			if time.Since(begin) > 6*patience {
				return fmt.Errorf("soak: nothing could be published for %v", 6*patience)
			}
			if len(keys) > 0 && !pause(ctx, publishPause) {
				return nil
			}
		}
	}
}

// send hands the other half over by weir send, also while the daemon is down.
// Every tenth batch is handed over twice.
func (s *soak) send(ctx context.Context) error {
	tick := time.NewTicker(every(sendBatch, s.Rate))
	defer tick.Stop()
	for batch := 0; ; batch++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		keys, envelopes := s.told.envelopes(sendBatch)
		for range 1 + batch%10/9 {
			cmd := s.aside("send", "-f", "-")
			cmd.Env = append(cmd.Env, "WEIR_DATA_DIR="+s.dataDir(), "WEIR_CONFIG=/dev/null")
			var file strings.Builder
			for _, e := range envelopes {
				file.Write(e)
				file.WriteByte('\n')
			}
			cmd.Stdin = strings.NewReader(file.String())
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("soak: weir send: %w: %s", err, out)
			}
			s.told.accepted(keys)
		}
	}
}
