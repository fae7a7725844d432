package queue

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func TestTheExampleForAnExternalServerGivesTheRightsOfTheEmbeddedOne(t *testing.T) {
	t.Setenv("WEIR_NATS_PASSWORD", "one")
	t.Setenv("PRODUCER_PASSWORD", "two")
	opts, err := server.ProcessConfigFile(filepath.Join("..", "deploy", "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if !opts.SyncAlways {
		t.Error("a PubAck does not mean that the message is on the disk")
	}
	if opts.JetStreamMaxStore < sendMaxBytes+outcomeMaxBytes || opts.JetStreamMaxMemory < workMaxBytes {
		t.Error("the streams do not fit")
	}
	if len(opts.Users) != 2 || opts.Users[0].Username != daemonUser || opts.Users[1].Username != producerUser {
		t.Fatalf("users are %v", opts.Users)
	}
	if opts.Users[0].Permissions != nil {
		t.Error("the daemon is restricted")
	}
	if got, want := opts.Users[1].Permissions, producerPermissions(); !reflect.DeepEqual(got, want) {
		t.Errorf("producers may\n%+v %+v, but on the embedded server\n%+v %+v", got.Publish, got.Subscribe, want.Publish, want.Subscribe)
	}
}

func TestTheServersLogKeepsTheFirstFatalErrorAndNoTraces(t *testing.T) {
	var out bytes.Buffer
	l := &serverLog{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	l.Tracef("%s", "a payload")
	l.Errorf("client %d", 7)
	if text := out.String(); strings.Contains(text, "payload") || !strings.Contains(text, `level=DEBUG msg="nats-server: client 7"`) {
		t.Errorf("logged %s", text)
	}
	cause := errors.New("cause")
	l.Fatalf("first: %v", cause)
	l.Fatalf("second: %v", errors.New("other"))
	if err := l.fatal(); err != cause {
		t.Errorf("got %v", err)
	}
}

func TestTheEmbeddedServerSyncsIsBoundedAndKeepsProducersApart(t *testing.T) {
	opts, err := embeddedOptions(Config{Instance: "weir", StoreDir: t.TempDir(), Listen: "127.0.0.1:0"}, "one")
	if err != nil {
		t.Fatal(err)
	}
	if !opts.SyncAlways {
		t.Error("a PubAck does not mean that the message is on the disk")
	}
	if least := int64(sendMaxBytes + outcomeMaxBytes); !opts.JetStream || opts.JetStreamMaxStore < least || opts.JetStreamMaxStore > 2*least {
		t.Errorf("JetStream may take %d bytes of the disk, want enough for its streams and not much more", opts.JetStreamMaxStore)
	}
	if opts.JetStreamMaxMemory < workMaxBytes || opts.JetStreamMaxMemory > 2*workMaxBytes {
		t.Errorf("JetStream may take %d bytes of memory, want enough for its stream and not much more", opts.JetStreamMaxMemory)
	}
	if opts.MaxConn != 4096 {
		t.Errorf("at most %d connections, want the 4096 that are documented", opts.MaxConn)
	}
	if !opts.DontListen {
		t.Error("it listens before its streams are there")
	}
	if len(opts.Users) != 2 || opts.Users[0].Password != "one" || opts.NoAuthUser != producerUser {
		t.Fatalf("users are %v, without a password %q", opts.Users, opts.NoAuthUser)
	}
	if kinds := opts.Users[0].AllowedConnectionTypes; len(kinds) != 1 || kinds[inProcess] != struct{}{} {
		t.Errorf("the daemon's user may come by %v", kinds)
	}
	if !reflect.DeepEqual(opts.Users[1].Permissions, producerPermissions()) {
		t.Error("producers have other rights")
	}
}

func TestTheEmbeddedServerAtWorkSyncsAsItWasTold(t *testing.T) {
	q, err := Open(t.Context(), Config{StoreDir: t.TempDir(), Instance: "weir", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}()
	if js := q.server.running().JetStreamConfig(); js == nil || !js.SyncAlways {
		t.Errorf("JetStream works by %+v", js)
	}
}
