package queue_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/queue"
)

func examine(t *testing.T, cfg queue.Config) queue.Examination {
	t.Helper()
	seen, err := queue.Examine(deadline(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

func TestAnExternalNATSThatIsSetUpHasNoFaultAndNamesItsOwner(t *testing.T) {
	cfg := queue.Config{URL: external(t), Instance: "one", Now: time.Now}
	seen := examine(t, cfg)
	if len(seen.Faults) > 0 || seen.Owner != "" || seen.Server != server.VERSION || len(seen.Notes) != 2 {
		t.Errorf("before the first start: %+v", seen)
	}
	open(t, cfg)
	if seen = examine(t, cfg); len(seen.Faults)+len(seen.Notes) > 0 || seen.Owner != "one" {
		t.Errorf("beside a daemon: %+v", seen)
	}
}

func TestWhatIsWrongWithAnExternalNATSIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		options server.Options
		prepare func(ctx context.Context, js jetstream.JetStream) error
		want    string
	}{
		"without JetStream": {want: "JetStream cannot be used"},
		"small payloads":    {options: server.Options{JetStream: true, MaxPayload: 1000}, want: "set its max_payload to 1MB"},
		"a stream in memory": {options: server.Options{JetStream: true}, prepare: func(ctx context.Context, js jetstream.JetStream) error {
			_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "WEIR_SEND", Subjects: []string{"weir.send"}, Storage: jetstream.MemoryStorage})
			return err
		}, want: "WEIR_SEND is kept as"},
		"a user with few rights": {options: server.Options{JetStream: true, Users: []*server.User{{
			Username: "weir", Password: "pw", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{">"}}, Subscribe: &server.SubjectPermission{Allow: []string{"_WEIR.>"}},
			},
		}}}, want: "may not subscribe to weir.owner"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := c.options
			opts.Host, opts.Port, opts.NoSigs, opts.NoLog, opts.StoreDir = "127.0.0.1", server.RANDOM_PORT, true, true, t.TempDir()
			srv, err := server.NewServer(&opts)
			if err != nil {
				t.Fatal(err)
			}
			srv.Start()
			t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
			if !srv.ReadyForConnections(patience) {
				t.Fatal("the server does not start")
			}
			if c.prepare != nil {
				nc, err := nats.Connect(srv.ClientURL())
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				js, err := jetstream.New(nc)
				if err == nil {
					err = c.prepare(deadline(t), js)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			cfg := queue.Config{URL: srv.ClientURL(), Now: time.Now}
			if len(opts.Users) > 0 {
				cfg.Token = "pw"
			}
			if seen := examine(t, cfg); !strings.Contains(strings.Join(seen.Faults, "\n"), c.want) {
				t.Errorf("got %q, want %q", seen.Faults, c.want)
			}
		})
	}
}

func TestTheEmbeddedListenerIsExaminedAsAProducer(t *testing.T) {
	cfg := embedded(t.TempDir())
	cfg.Token = "pw"
	q := open(t, cfg)
	if seen, err := queue.ExamineListener(deadline(t), q.Addr(), "pw"); err != nil || len(seen.Faults) > 0 {
		t.Errorf("%+v, %v", seen, err)
	}
	if _, err := queue.ExamineListener(deadline(t), q.Addr(), "wrong"); err == nil || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with a wrong token: %v", err)
	}
}
