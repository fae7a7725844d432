package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// ownerSubject is where the owner of the intake answers.
	ownerSubject = "weir.owner"
	// ownerWait is how long an owner has to answer before it counts as gone.
	ownerWait = 300 * time.Millisecond
)

// owner is a daemon's answer to the question who owns the intake.
type owner struct {
	Instance string `json:"instance"`
	ID       string `json:"id"`
}

// claimOwnership answers for the intake from now on and asks whether anybody
// else does. The answer ends with the connection, so a daemon that was killed
// stands in nobody's way. Answering comes before asking: of two daemons that
// start at once, at least one hears the other.
func (q *Queue) claimOwnership(ctx context.Context) error {
	own, err := json.Marshal(owner{Instance: q.cfg.Instance, ID: q.id})
	if err != nil {
		return fmt.Errorf("queue: answer for the intake: %w", err)
	}
	_, err = q.nc.Subscribe(ownerSubject, func(msg *nats.Msg) {
		if err := msg.Respond(own); err != nil {
			q.cfg.Log.Warn("cannot answer for the intake", "error", err)
		}
	})
	if err != nil {
		return fmt.Errorf("queue: answer for the intake: %w", err)
	}
	inbox := q.nc.NewInbox()
	answers, err := q.nc.SubscribeSync(inbox)
	if err != nil {
		return fmt.Errorf("queue: ask who owns the intake: %w", err)
	}
	defer func() { _ = answers.Unsubscribe() }() // fails only without a connection, and then nothing is left to undo
	if err := q.nc.PublishRequest(ownerSubject, inbox, nil); err != nil {
		return fmt.Errorf("queue: ask who owns the intake: %w", err)
	}
	return q.noOtherOwner(ctx, answers)
}

// noOtherOwner reads answers until ownerWait is over.
func (q *Queue) noOtherOwner(ctx context.Context, answers *nats.Subscription) error {
	waiting, cancel := context.WithTimeout(ctx, ownerWait)
	defer cancel()
	for {
		msg, err := answers.NextMsgWithContext(waiting)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("queue: ask who owns the intake: %w", ctx.Err())
		case errors.Is(err, context.DeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("queue: ask who owns the intake: %w", err)
		}
		var other owner
		if err := json.Unmarshal(msg.Data, &other); err != nil {
			return fmt.Errorf("queue: answer about the owner of the intake on %s: %w", ownerSubject, err)
		}
		if other.ID != q.id {
			return fmt.Errorf("%w: instance %q answers on %s: stop it, or set WEIR_NATS_URL to another NATS",
				ErrOwned, other.Instance, redacted(q.cfg.URL))
		}
	}
}
