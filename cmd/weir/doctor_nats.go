package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"weir/queue"
	"weir/store"
)

// nats looks at the NATS that producers use.
func (d *doctor) nats(ctx context.Context) (found diagnosis) {
	if d.cfg.NATSURL != "" {
		return d.externalNATS(ctx)
	}
	if d.cfg.NATSListen == "" {
		found.ok("nats", "embedded, without a listener")
		return found
	}
	if !store.DaemonRuns(d.cfg.DataDir) {
		return nil // the listener is looked at as an address
	}
	address := reachable(d.cfg.NATSListen)
	seen, err := queue.ExamineListener(ctx, address, string(d.cfg.NATSToken))
	if err != nil {
		found.fail("see that WEIR_NATS_LISTEN and WEIR_NATS_TOKEN are the daemon's", "nats", "the embedded server does not let a producer in: %s", oneLine(err))
		return found
	}
	return natsDiagnosis(seen, fmt.Sprintf("the embedded server, version %s, lets producers in on %s", seen.Server, address))
}

func (d *doctor) externalNATS(ctx context.Context) (found diagnosis) {
	seen, err := queue.Examine(ctx, queue.Config{URL: string(d.cfg.NATSURL), Token: string(d.cfg.NATSToken)})
	if err != nil {
		found.fail("see that it runs and that WEIR_NATS_URL and WEIR_NATS_TOKEN are right", "nats", "%s", oneLine(err))
		return found
	}
	found = natsDiagnosis(seen, fmt.Sprintf("version %s answers in %v; whether it syncs before it acks cannot be seen from here",
		seen.Server, seen.RTT.Round(100*time.Microsecond)))
	switch {
	case seen.Owner == "":
	case !store.DaemonRuns(d.cfg.DataDir):
		found.fail("stop it, or use another NATS: a second daemon is refused", "nats", "a daemon elsewhere, instance %s, has the intake of this NATS", seen.Owner)
	case seen.Owner != d.cfg.Instance:
		found.warn("see that each daemon has a NATS of its own", "nats", "the instance %s has the intake, not %s", seen.Owner, d.cfg.Instance)
	}
	return found
}

func natsDiagnosis(seen queue.Examination, well string) (found diagnosis) {
	for _, fault := range seen.Faults {
		found.fail("", "nats", "%s", fault)
	}
	if len(seen.Faults) == 0 {
		found.ok("nats", "%s", well)
	}
	for _, note := range seen.Notes {
		found.ok("nats", "%s", note)
	}
	return found
}

// externalSetup is what an external server needs, for its operator to compare.
func externalSetup() string {
	publish, subscribe := queue.ProducerRights()
	list := func(subjects []string) string {
		return "[" + strings.ReplaceAll(fmt.Sprintf("%q", subjects), `" "`, `", "`)[1:]
	}
	return fmt.Sprintf(`
An external NATS server needs this in its configuration (deploy/nats.conf has it whole):

  max_payload: 1MB
  jetstream { sync_interval: always }   # else a PubAck comes before the message is on the disk
  authorization { users: [
    { user: weir, password: ... }       # the daemon: everything within this account
    { user: producer, password: ...
      permissions: {
        publish: { allow: %s }
        subscribe: { allow: %s } } } ] }
`, list(publish), list(subscribe))
}
