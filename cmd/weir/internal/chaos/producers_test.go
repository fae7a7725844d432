package chaos

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestOnlyAnAnswerThatItIsTakenConfirmsARequest(t *testing.T) {
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	server, err := natsServer(filepath.Join(t.TempDir(), "nats"), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Shutdown(); server.WaitForShutdown() })
	weir, err := nats.Connect("nats://" + address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(weir.Close)
	p := &producers{world: &world{nats: address}, bodies: map[string]string{}, waiting: map[way][]string{}, accepted: map[string]way{}}
	keys := p.make(byRPC, 3)
	if p.requestOnce(t.Context()) || len(p.accepted) > 0 {
		t.Errorf("nobody answered, and %v are confirmed", p.accepted)
	}
	answers := []string{`{"result":"accepted"}`, `{"error":"unavailable"}`, `{"result":"already_there"}`, `{"result":"accepted"}`}
	asked := 0
	if _, err := weir.Subscribe("weir.rpc.send", func(m *nats.Msg) {
		if key := keys[[]int{0, 1, 1, 2}[asked]]; !strings.Contains(string(m.Data), key) {
			t.Errorf("request %d is %s, want %s", asked, m.Data, key)
		}
		_ = m.Respond([]byte(answers[asked]))
		asked++
	}); err != nil {
		t.Fatal(err)
	}
	if err := weir.Flush(); err != nil {
		t.Fatal(err)
	}
	if p.requestOnce(t.Context()) || len(p.accepted) != 1 || p.left() != 2 {
		t.Errorf("after a refusal %v are confirmed, and %d left", p.accepted, p.left())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if persist(ctx, p.requestOnce); len(p.accepted) != 3 || p.left() != 0 {
		t.Errorf("in the end %v are confirmed, and %d left", p.accepted, p.left())
	}
}
