package queue_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/outbox"
	"weir/queue"
)

// watched connects as a producer whose violations come out of the channel.
func watched(t *testing.T, q *queue.Queue) (*nats.Conn, <-chan error) {
	t.Helper()
	violations := make(chan error, 100)
	nc := producer(t, q, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err }))
	return nc, violations
}

func TestAProducerMayPublishNothingButWhatItNeeds(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	nc, violations := watched(t, q)
	for _, subject := range []string{
		"weir.work.weir.default.rcs.high",
		"weir.outcome.sent",
		"weir.owner",
		"weir.sendx",
		"weir",
		"$SYS.REQ.SERVER.PING",
		"$JS.API.INFO",
		"$JS.API.STREAM.CREATE.MINE",
		"$JS.API.STREAM.UPDATE.WEIR_OUTCOME",
		"$JS.API.STREAM.DELETE.WEIR_OUTCOME",
		"$JS.API.STREAM.PURGE.WEIR_OUTCOME",
		"$JS.API.STREAM.MSG.DELETE.WEIR_OUTCOME",
		"$JS.API.STREAM.MSG.GET.WEIR_SEND",
		"$JS.API.STREAM.INFO.WEIR_SEND",
		"$JS.API.STREAM.PURGE.WEIR_SEND",
		"$JS.API.STREAM.DELETE.WEIR_SEND",
		"$JS.API.CONSUMER.CREATE.WEIR_SEND.mine",
		"$JS.API.CONSUMER.DELETE.WEIR_OUTCOME.other",
		"$JS.API.CONSUMER.MSG.NEXT.WEIR_SEND.intake",
		"$JS.ACK.WEIR_SEND.intake.1.1.1.1.0",
	} {
		t.Run(subject, func(t *testing.T) {
			if err := nc.Publish(subject, nil); err != nil {
				t.Fatal(err)
			}
			err := next(t, violations)
			if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
				t.Errorf("got %v, want a violation of %s", err, subject)
			}
		})
	}
}

func TestAProducerMayListenToRepliesAndOutcomesOnly(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	nc, violations := watched(t, q)
	for _, subject := range []string{">", "weir.>", "weir.send", "weir.rpc.send", "weir.work.>", "weir.owner", "_WEIR.>", "$JS.>", "$SYS.>"} {
		t.Run(subject, func(t *testing.T) {
			if _, err := nc.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			if err := next(t, violations); !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("got %v, want a violation", err)
			}
		})
	}
}

func TestAProducerFollowsOutcomesThroughAConsumerOfItsOwn(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	key, code := "order-1", 200
	q.PublishOutcome(outbox.Outcome{
		Key: &key, State: "sent", HTTPStatus: &code, Attempts: 1,
		At: time.Date(2026, 3, 28, 14, 30, 0, 123_456_789, time.FixedZone("CET", 3600)),
	})
	js, err := jetstream.New(producer(t, q))
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.CreateConsumer(deadline(t), "WEIR_OUTCOME", jetstream.ConsumerConfig{Durable: "shop", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	msg, err := consumer.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := msg.Subject(), "weir.outcome.sent"; got != want {
		t.Errorf("subject %s, want %s", got, want)
	}
	want := `{"idempotency_key":"order-1","state":"sent","message_id":null,"request_id":null,"http_status":200,"error_code":null,"attempts":1,"at":"2026-03-28T13:30:00.123Z"}`
	if got := string(msg.Data()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if err := msg.DoubleAck(deadline(t)); err != nil {
		t.Error(err)
	}
}

func TestWithATokenNobodyGetsInWithout(t *testing.T) {
	cfg := embedded(t.TempDir())
	cfg.Token = "s3cret"
	q := open(t, cfg)
	for name, row := range map[string]struct {
		token string
		want  error
	}{
		"the right token":  {"s3cret", nil},
		"another token":    {"guessed", nats.ErrAuthorization},
		"no token at all":  {"", nats.ErrAuthorization},
		"a token's prefix": {"s3cre", nats.ErrAuthorization},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := queue.Connect(deadline(t), queue.PublisherConfig{URL: "nats://" + q.Addr(), Token: row.token})
			if !errors.Is(err, row.want) {
				t.Fatalf("got %v, want %v", err, row.want)
			}
			if err == nil {
				_ = p.Close()
			}
		})
	}
}

func TestTheDaemonsUserExistsInProcessOnly(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	_, err := nats.Connect(q.Addr(), nats.UserInfo("weir", ""))
	if !errors.Is(err, nats.ErrAuthorization) {
		t.Fatalf("got %v, want ErrAuthorization", err)
	}
}

func TestAProducerCannotMakeTheDaemonReplyOnItsOwnSubjects(t *testing.T) {
	q := open(t, embedded(t.TempDir()))
	l := newLedger()
	run(t, q, l)
	nc := asker(t, q)
	if err := nc.PublishRequest("weir.rpc.send", "weir.send", envelope("trick")); err != nil {
		t.Fatal(err)
	}
	l.keys(t, 1)
	// A reply would have come before this: both are published by the daemon, in order.
	if _, err := nc.RequestWithContext(deadline(t), "weir.rpc.send", envelope("honest")); err != nil {
		t.Fatal(err)
	}
	l.keys(t, 1)
	if err := nc.Publish("weir.send", envelope("after")); err != nil {
		t.Fatal(err)
	}
	l.keys(t, 1)
	if len(l.reject) != 0 {
		t.Error("the answer came in as a message")
	}
}
