package queue

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

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
