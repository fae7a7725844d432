package main

import (
	"context"
	"fmt"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// notifySystemd says that the daemon is ready and, while the database's writer
// is at work or waits as designed, that it lives; without systemd it does nothing.
func (d *daemon) notifySystemd(ctx context.Context) error {
	tell := func(state string) {
		if _, err := sd.SdNotify(false, state); err != nil {
			d.log.Warn("systemd cannot be told", "state", state, "error", err)
		}
	}
	tell(sd.SdNotifyReady)
	defer tell(sd.SdNotifyStopping)
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("reading systemd's watchdog interval: %w", err)
	}
	if interval == 0 {
		<-ctx.Done()
		return nil
	}
	return every(ctx, interval/3, func() error {
		if d.store.Alive() { // also while it waits for a disk or a lock, which a restart would not mend
			tell(sd.SdNotifyWatchdog)
		}
		return nil
	})
}
