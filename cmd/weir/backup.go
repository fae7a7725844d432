package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"weir/store"
)

func newBackupCommand(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a copy of the database, also while the daemon runs",
		Long: "Writes a whole, compact copy of weir.db to a new file, which appears only once it is\n" +
			"complete and on the disk. What waits in the embedded NATS, which is not a message yet,\n" +
			"and weir.yaml are not in it.",
		Example: `  weir backup /backups/weir-$(date +%F).db`,
		Args:    cobra.ExactArgs(1),
	}
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := a.existing(cmd)
		if err != nil {
			return err
		}
		start := a.now()
		if err := store.Backup(cmd.Context(), cfg.DataDir, args[0], start); err != nil {
			return err
		}
		info, err := os.Stat(args[0])
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%s has %s, of %s\n", args[0], store.Size(info.Size()), start.UTC().Format(time.RFC3339))
		return err
	}
	return command
}

func newRestoreCommand(a *app) *cobra.Command {
	var replace bool
	command := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in the place of the database, while no daemon runs",
		Long: "Checks a backup and puts a copy of it into the data directory. Since it was made,\n" +
			"messages that waited in it may have been sent, and others may have been accepted and\n" +
			"sent of which it knows nothing. So what waited counts as possibly sent: it is sent\n" +
			"again, with its key, as long as the API surely knows that (WEIR_KEY_LIFETIME), and\n" +
			"becomes unknown after that, for a person to decide. What is due more than an hour\n" +
			"from now was surely not sent, and waits on.",
		Args: cobra.ExactArgs(1),
	}
	command.Flags().BoolVar(&replace, "replace", false, "set aside the database that is there, and take the backup instead")
	addDatabaseFlags(command.Flags())
	command.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := a.config(cmd.Flags())
		if err != nil {
			return err
		}
		made, err := store.Restore(cmd.Context(), cfg.DataDir, args[0], a.now(), cfg.SettleWait, replace)
		if errors.Is(err, store.ErrExists) {
			return fmt.Errorf("%w; with --replace it is set aside, and what it alone knows is no longer known to weir", err)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(a.stdout, restoredText(made, a.now()))
		return err
	}
	return command
}

// restoredText says what a restore means for those who have to live with it.
func restoredText(made store.Restored, now time.Time) string {
	text := fmt.Sprintf("%d messages are as they were at %s, %s ago.\n", made.Messages, made.AsOf.UTC().Format(time.RFC3339), words(now.Sub(made.AsOf)))
	if made.Marked > 0 {
		text += fmt.Sprintf("%d of them waited and may have been sent since. They are sent again, with their keys, while the API\n"+
			"surely knows those; the others become unknown: weir messages list --state unknown\n", made.Marked)
	}
	if made.Later > 0 {
		text += fmt.Sprintf("%d are due later, and wait on.\n", made.Later)
	}
	text += "What was accepted, settled, canceled, retried or resolved after the backup is not known any more. Handing such\n" +
		"a message over again is safe only while the API knows its key.\n"
	if made.Replaced != "" {
		text += fmt.Sprintf("The database that was there is %s: read it before you delete it.\n", made.Replaced)
	}
	return text + "Nothing is sent until weir serve runs.\n"
}
