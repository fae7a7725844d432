package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"weir/outbox"
	"weir/store"
)

// commitGap is left between two commits. SQLite lets a running daemon wait
// for the write lock by polling: without a gap it would hardly ever get it.
const commitGap = time.Millisecond

func newSendCommand(a *app) *cobra.Command {
	var one messageFlags
	var file string
	command := &cobra.Command{
		Use:   "send {--key KEY --body JSON|@FILE|- | -f FILE|-}",
		Short: "Hand over messages, also while the daemon is down",
		Long: "Stores messages in the data directory, from where the daemon sends each of them\n" +
			"once. What it says is stored survives a power cut. A message that is there already\n" +
			"is not stored again, so that a whole file can be sent twice without harm.\n\n" +
			"A file holds one message per line, as JSON:\n" +
			`  {"idempotency_key":"order-7","body":{…}}` + "\n" +
			"with optional account, channel, lane, send_at, expires_at, ttl and traceparent.\n" +
			"Good lines are kept, each bad one is named, and the exit code is then 1.",
		Example: `  weir send --key order-7 --body '{"agent_id":"ag_1","to":"+447700900123",
    "message_type":"MESSAGE","traffic_type":"TRANSACTION","content":{"text":"Hi"}}'
  weir send -f messages.ndjson`,
		Args: cobra.NoArgs,
	}
	flags := command.Flags()
	flags.StringVarP(&file, "file", "f", "", "file with one message per line, or - for standard input")
	one.add(flags)
	addDatabaseFlags(flags)
	a.offerPlace(command)
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		said := one.said(cmd.Flags())
		switch fromFile := cmd.Flags().Changed("file"); {
		case fromFile && len(said) > 0:
			return usageErrorf("-f takes everything from the file; --%s does not go with it", said[0])
		case !fromFile && len(said) == 0:
			return usageErrorf("weir send needs a message: --key and --body, or -f FILE")
		case fromFile:
			return a.sendFile(cmd, file)
		}
		return a.sendOne(cmd, one)
	}
	return command
}

// sendOne hands over the message that the flags describe.
func (a *app) sendOne(cmd *cobra.Command, flags messageFlags) error {
	cfg, err := a.config(cmd.Flags())
	if err != nil {
		return err
	}
	one := submission{}
	one.message, one.err = flags.message(cmd.Flags(), a.stdin, a.now, cfg.Channels())
	if _, invalid := errors.AsType[*outbox.InvalidError](one.err); one.err != nil && !invalid {
		return one.err
	}
	batches := make(chan batch, 1)
	batches <- batch{submissions: []submission{one}}
	close(batches)
	return a.submit(cmd.Context(), cfg, "", batches)
}

// sendFile hands over the messages of a file, parsing the next ones while those
// before are stored.
func (a *app) sendFile(cmd *cobra.Command, path string) error {
	in, name := a.stdin, "standard input"
	if path != "-" {
		file, err := openFile(path)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		in, name = file, path
	}
	cfg, err := a.config(cmd.Flags())
	if err != nil {
		return err
	}
	channels := cfg.Channels()
	lines := newLineReader(in, func(line []byte) (outbox.Message, error) {
		e, err := outbox.ParseEnvelope(line)
		if err != nil {
			return outbox.Message{}, err
		}
		return e.Message(a.now(), channels)
	})
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	batches := make(chan batch, 2)
	// It is not awaited: a read from a terminal or a pipe cannot be cut short.
	go lines.run(ctx, batches)
	return a.submit(ctx, cfg, name, batches)
}

func openFile(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err == nil && info.IsDir() {
		_ = file.Close()
		return nil, fmt.Errorf("%s is a directory; -f takes a file with one message per line", path)
	}
	return file, nil
}

// submit stores what comes and says what became of it.
func (a *app) submit(ctx context.Context, cfg *Config, source string, batches <-chan batch) error {
	return a.attach(ctx, cfg, func(ctx context.Context, s *store.Store) error {
		i := &intake{store: s, source: source, complain: a.complain, progress: newProgress(a.stderr, a.now)}
		err := i.run(ctx, batches)
		i.progress.clear()
		if _, failed := fmt.Fprintln(a.stdout, i.tally); err == nil {
			err = failed
		}
		if err == nil {
			err = i.refusal()
		}
		return err
	})
}

// intake is one run of weir send.
type intake struct {
	store    *store.Store
	source   string // of the lines; empty: the command line
	complain func(error)
	progress *progress
	tally    tally
}

// run stores batch after batch, each in one commit.
func (i *intake) run(ctx context.Context, batches <-chan batch) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b, more := <-batches:
			if !more {
				return nil
			}
			if err := i.take(ctx, b.submissions); err != nil {
				return err
			}
			if errors.Is(b.err, errNotLines) {
				return fmt.Errorf("%s: %w", i.source, b.err)
			}
			if b.err != nil {
				return b.err
			}
			i.progress.show(i.tally)
		}
		select {
		case <-ctx.Done():
		case <-time.After(commitGap):
		}
	}
}

func (i *intake) take(ctx context.Context, submissions []submission) error {
	messages := make([]outbox.Message, 0, len(submissions))
	for _, s := range submissions {
		if s.err == nil {
			messages = append(messages, s.message)
		}
	}
	var results []outbox.Result
	if len(messages) > 0 {
		var err error
		if results, err = i.store.Accept(ctx, messages); err != nil {
			return err
		}
	}
	for _, s := range submissions {
		if s.err != nil {
			i.refuse(s, s.err)
			i.tally.invalid++
			continue
		}
		switch results[0] {
		case outbox.Accepted:
			i.tally.accepted++
		case outbox.AlreadyThere:
			i.tally.alreadyThere++
		case outbox.Conflict:
			i.refuse(s, fmt.Errorf("idempotency_key: another message has %s, and stays", s.message.Key))
			i.tally.conflict++
		}
		results = results[1:]
	}
	return nil
}

// refusal is nil if everything was taken. Why something was not has been said.
func (i *intake) refusal() error {
	switch refused := i.tally.refused(); {
	case refused == 0:
		return nil
	case i.source == "":
		return errors.New("nothing was stored")
	default:
		return fmt.Errorf("%d refused, the others are kept; mend those and send everything again, nothing is sent twice", refused)
	}
}

// refuse names a submission that was not taken.
func (i *intake) refuse(s submission, why error) {
	if i.source != "" {
		why = fmt.Errorf("%s line %d: %w", i.source, s.line, why)
	}
	i.progress.clear()
	i.complain(why)
}

// tally counts what became of messages.
type tally struct{ accepted, alreadyThere, conflict, invalid int }

// String is the last line that weir send prints, a promise to scripts.
func (t tally) String() string {
	return fmt.Sprintf("accepted %d, already there %d, conflict %d, invalid %d", t.accepted, t.alreadyThere, t.conflict, t.invalid)
}

func (t tally) refused() int { return t.conflict + t.invalid }
