package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Examination is what Examine sees of a NATS.
type Examination struct {
	Server string        // its version
	RTT    time.Duration // of one ping
	Owner  string        // the instance that answers for the intake; empty: nobody
	// Faults say what keeps weir from working with this NATS, and what to do.
	Faults []string
	// Notes say what is worth knowing.
	Notes []string
}

// Examine looks at an external NATS as the daemon does, with its user, and
// changes nothing. Whether the server syncs before it acks, no client can see.
func Examine(ctx context.Context, cfg Config) (Examination, error) {
	return examine(ctx, cfg.URL, daemonUser, cfg.Token, (*Examination).asDaemon)
}

// ExamineListener looks at the listener of an embedded NATS as a producer does.
func ExamineListener(ctx context.Context, address, token string) (Examination, error) {
	return examine(ctx, "nats://"+address, producerUser, token, (*Examination).asProducer)
}

func examine(ctx context.Context, url, user, token string, look func(*Examination, context.Context, *nats.Conn) error) (Examination, error) {
	var seen Examination
	inbox := inboxPrefix
	if user == producerUser {
		inbox = "_INBOX"
	}
	opts := []nats.Option{
		nats.Name("weir doctor"), nats.CustomInboxPrefix(inbox), nats.NoReconnect(), nats.PermissionErrOnSubscribe(true),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // else it goes to standard error
	}
	if token != "" {
		opts = append(opts, nats.UserInfo(user, token))
	}
	if deadline, ok := ctx.Deadline(); ok {
		opts = append(opts, nats.Timeout(time.Until(deadline)))
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return seen, fmt.Errorf("queue: connect to %s: %w", redacted(url), err)
	}
	defer nc.Close()
	seen.Server = nc.ConnectedServerVersion()
	if seen.RTT, err = nc.RTT(); err != nil {
		return seen, fmt.Errorf("queue: ping %s: %w", redacted(url), err)
	}
	if err := checkMaxPayload(nc); err != nil {
		seen.Faults = append(seen.Faults, strings.TrimPrefix(err.Error(), "queue: "))
	}
	return seen, look(&seen, ctx, nc)
}

// asProducer looks at what is there for producers.
func (e *Examination) asProducer(ctx context.Context, nc *nats.Conn) error {
	js, err := newJetStream(nc)
	if err != nil {
		return err
	}
	if _, err := js.Stream(ctx, outcomeStream); err != nil {
		e.Faults = append(e.Faults, fmt.Sprintf("a producer cannot read %s: %v", outcomeStream, err))
	}
	return nil
}

// asDaemon looks at JetStream, the streams, and who owns the intake.
func (e *Examination) asDaemon(ctx context.Context, nc *nats.Conn) error {
	js, err := newJetStream(nc)
	if err != nil {
		return err
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		e.Faults = append(e.Faults, fmt.Sprintf("JetStream cannot be used: %v; switch it on, and let the user %q do everything in its account", err, daemonUser))
		return nil
	}
	for _, want := range []jetstream.StreamConfig{sendConfig(), outcomeConfig()} {
		e.lookAtStream(ctx, js, want)
	}
	for _, subject := range []string{ownerSubject, rpcSubjects, inboxPrefix + ".>"} {
		if !maySubscribe(nc, subject) {
			e.Faults = append(e.Faults, fmt.Sprintf("the user may not subscribe to %s: let it do everything in its account", subject))
		}
	}
	asking, cancel := context.WithTimeout(ctx, ownerWait)
	defer cancel()
	if msg, err := nc.RequestWithContext(asking, ownerSubject, nil); err == nil {
		var o owner
		_ = json.Unmarshal(msg.Data, &o) // what cannot be read has no name
		e.Owner = o.Instance
	}
	return nil
}

func (e *Examination) lookAtStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) {
	stream, err := js.Stream(ctx, want.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		e.Notes = append(e.Notes, want.Name+" is made at the first start")
		return
	case err != nil:
		e.Faults = append(e.Faults, fmt.Sprintf("%s cannot be looked at: %v", want.Name, err))
		return
	}
	is := stream.CachedInfo()
	if is.Config.Storage != want.Storage || is.Config.Retention != want.Retention {
		e.Faults = append(e.Faults, fmt.Sprintf("%s is kept as %v with retention %v, but weir needs %v and %v: no update changes that; empty it and delete it",
			want.Name, is.Config.Storage, is.Config.Retention, want.Storage, want.Retention))
	}
	if is.State.Bytes > uint64(want.MaxBytes)*9/10 {
		e.Faults = append(e.Faults, fmt.Sprintf("%s is nearly full: %d messages, %d MiB", want.Name, is.State.Msgs, is.State.Bytes>>20))
	}
}

// maySubscribe tries it, and gives the subscription up at once. It takes nothing
// away from others, who get what they would have got.
func maySubscribe(nc *nats.Conn, subject string) bool {
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		return false
	}
	defer func() { _ = sub.Unsubscribe() }()
	if nc.Flush() != nil { // a refusal comes before the answer to this
		return false
	}
	_, err = sub.NextMsg(time.Millisecond)
	return !errors.Is(err, nats.ErrPermissionViolation)
}

// ProducerRights are those of a producer: subjects to publish on, and to
// subscribe to.
func ProducerRights() (publish, subscribe []string) {
	may := producerPermissions()
	return may.Publish.Allow, may.Subscribe.Allow
}
