package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"weir/queue"
	"weir/store"
)

// streamsPatience is how long a running daemon may take to clear its streams
// before people are told that it goes on by itself.
const streamsPatience = 20 * time.Second

// shortestAddress keeps a mistyped --to from meaning everybody.
const shortestAddress = 5

// erasing is one run of "weir messages erase".
type erasing struct {
	*app
	cfg                 *Config
	store               *store.Store
	whose               store.Whose
	cancel, dryRun, yes bool
}

func newEraseCommand(a *app) *cobra.Command {
	e := erasing{app: a}
	command := &cobra.Command{
		Use:   "erase {--key KEY | --to RECIPIENT}",
		Short: "Erase a person's data, and keep refusing their keys",
		Long: "Erases the message with the key, or every message and rejected payload that names the\n" +
			"recipient: body, address, answers. Of each message a tombstone stays: the hash of its\n" +
			"key, its fingerprint, its state and the API's message id. So nothing is sent twice.\n" +
			"The table erasures says when, by whom and how much. Then the database is written anew,\n" +
			"for which others wait, and the streams of NATS are cleared. It may be repeated.",
		Args: cobra.NoArgs,
	}
	flags := command.Flags()
	flags.StringVar(&e.whose.Key, "key", "", "the message with this idempotency `KEY`")
	flags.StringVar(&e.whose.Recipient, "to", "", "everything that names this `RECIPIENT`, an address as it stands in bodies")
	flags.BoolVar(&e.cancel, "cancel", false, "withdraw what still waits; else nothing is erased while something waits")
	flags.BoolVar(&e.dryRun, "dry-run", false, "only say what there is")
	flags.BoolVar(&e.yes, "yes", false, "do not ask")
	addSettingFlags(flags, "WEIR_DATA_DIR", configSetting, "WEIR_NATS_URL")
	command.MarkFlagsMutuallyExclusive("key", "to")
	command.MarkFlagsOneRequired("key", "to")
	command.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if cmd.Flags().Changed("to") && len(e.whose.Recipient) < shortestAddress {
			return usageErrorf("--to %q is too short to name one person", e.whose.Recipient)
		}
		if e.cfg, err = a.existing(cmd); err != nil {
			return err
		}
		return a.attach(cmd.Context(), e.cfg, func(ctx context.Context, s *store.Store) error {
			e.store = s
			return e.run(ctx)
		})
	}
	return command
}

func (e *erasing) run(ctx context.Context) error {
	found, err := e.store.FindTraces(ctx, e.whose)
	if err != nil {
		return err
	}
	if e.whose.Key != "" && found.Messages()+len(found.Rejected) == 0 && !found.Gone {
		return noMessage(e.whose.Key)
	}
	if err := e.mayErase(&found); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "found %s, %d more that wait, and %s\n",
		plural(len(found.Settled), "settled message"), len(found.Waiting), plural(len(found.Rejected), "rejected payload"))
	if e.dryRun {
		return nil
	}
	if n := found.Messages() + len(found.Rejected); n > 0 { // else nothing would be lost
		what := plural(found.Messages(), "message") + " and " + plural(len(found.Rejected), "rejected payload")
		if err := e.confirm(e.yes, "erase", what); err != nil {
			return err
		}
	}
	erased, err := e.store.Erase(ctx, e.whose, found, operator())
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "erased %s, of which %d still waited, and %s; their keys stay refused\n",
		plural(erased.Messages, "message"), erased.Canceled, plural(erased.Rejected, "rejected payload"))
	if erased.Left > 0 {
		err = fmt.Errorf("%s changed meanwhile and not erased: give the command again", plural(erased.Left, "message"))
	}
	return errors.Join(err, e.rewrite(ctx), e.clearStreams(ctx), e.printUnreached())
}

// mayErase refuses as a whole what would lose a message whose fate is open.
func (e *erasing) mayErase(found *store.Traces) error {
	switch {
	case len(found.Sending) > 0:
		return fmt.Errorf("nothing is erased while %s being sent; give the command again when what comes of it is known", areMessages(len(found.Sending)))
	case len(found.Unknown) > 0:
		return fmt.Errorf("nothing is erased while %s unknown or tried again after a send that may have worked; "+
			"wait for the latter, and settle the others with weir messages resolve", areMessages(len(found.Unknown)))
	case len(found.Waiting) > 0 && !e.cancel:
		return fmt.Errorf("nothing is erased while %s still to be sent; --cancel withdraws what waits", areMessages(len(found.Waiting)))
	}
	return nil
}

// areMessages is the beginning of a sentence about so many messages.
func areMessages(n int) string {
	if n == 1 {
		return "1 message is"
	}
	return plural(n, "message") + " are"
}

// operator is the user of this machine who gives the command.
func operator() string {
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return printable(u.Username)
}

func (e *erasing) rewrite(ctx context.Context) error {
	switch err := e.store.Rewrite(ctx); {
	case errors.Is(err, store.ErrFull):
		return fmt.Errorf("free pages of the database may still hold what was erased: it cannot be written anew, for which twice its size has to be free; make space and give the command again: %w", err)
	case errors.Is(err, store.ErrWALKept):
		return errors.New("weir.db-wal may still hold what was erased, since a reader has not ended: find it with fuser -v weir.db, and give the command again")
	case err != nil:
		return fmt.Errorf("free pages of the database may still hold what was erased; give the command again: %w", err)
	}
	fmt.Fprintln(e.stdout, "database and write-ahead log are written anew: nothing of it is left in free pages")
	return nil
}

// clearStreams lets the daemon clear the streams, or does so itself where none runs.
func (e *erasing) clearStreams(ctx context.Context) error {
	err := store.Hold(ctx, e.cfg.DataDir, func() error { return e.clearStreamsAlone(ctx) })
	if errors.Is(err, store.ErrInUse) {
		err = e.awaitDaemon(ctx)
	}
	if err != nil {
		return fmt.Errorf("WEIR_SEND and WEIR_OUTCOME may still hold envelopes and events with the erased keys; a daemon clears them: %w", err)
	}
	fmt.Fprintln(e.stdout, "WEIR_SEND and WEIR_OUTCOME hold no envelope and no event of what was erased")
	return nil
}

func (e *erasing) clearStreamsAlone(ctx context.Context) error {
	keys, err := e.store.ErasedKeys(ctx)
	if err != nil || len(keys) == 0 {
		return err
	}
	if _, err := queue.EraseBeside(ctx, queue.Config{
		URL: string(e.cfg.NATSURL), StoreDir: filepath.Join(e.cfg.DataDir, "nats"), Token: string(e.cfg.NATSToken),
		Instance: e.cfg.Instance, Now: e.now,
	}, queue.Erased{Envelopes: keys.Refuses, Events: keys.Has}); err != nil {
		return err
	}
	return e.store.ForgetErasedKeys(ctx, keys)
}

func (e *erasing) awaitDaemon(ctx context.Context) error {
	patient, cancel := context.WithTimeout(ctx, streamsPatience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		keys, err := e.store.ErasedKeys(ctx)
		if err != nil || len(keys) == 0 {
			return err
		}
		select {
		case <-patient.Done():
			return fmt.Errorf("it has not done so within %v, and tries again by itself; see its log", streamsPatience)
		case <-tick.C:
		}
	}
}

// printUnreached names what is for others to erase.
func (e *erasing) printUnreached() error {
	copies, err := filepath.Glob(filepath.Join(e.cfg.DataDir, "weir.db.*"))
	if err != nil {
		return err
	}
	fmt.Fprint(e.stdout, "\nweir cannot reach, and you have to see to:\n"+
		"  backups of weir.db, here and elsewhere: what is restored from one is there again\n")
	for _, path := range copies {
		fmt.Fprintf(e.stdout, "  a copy of the database: %s\n", path)
	}
	_, err = fmt.Fprint(e.stdout, ""+
		"  the application's own database, with its weir_outbox: what it hands over again under a new key is a new message\n"+
		"  what is on its way in weir.send and not yet a message; the file of that stream, until nothing waits there\n"+
		"  the API, which has the messages that were sent\n"+
		"  those who have read weir.outcome, and mirrors of the streams\n"+
		"  snapshots of the file system, swap, and what a disk keeps of blocks that were overwritten\n")
	return err
}
