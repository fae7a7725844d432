package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes, a promise to scripts.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// errInterrupted is what a command that a signal cut short ends with.
var errInterrupted = errors.New("interrupted before it was done")

// usageError marks an error that the command line alone is to blame for.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usageErrorf is fmt.Errorf for wrong usage that only a command itself can
// see, such as two flags that exclude each other.
func usageErrorf(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// commandGroup is one paragraph of "weir --help".
type commandGroup struct {
	title    string
	commands []*cobra.Command
}

// commandGroups is where every command of weir is listed.
func (a *app) commandGroups() []commandGroup {
	return []commandGroup{
		{"Running it:", []*cobra.Command{
			newServeCommand(a),
		}},
		{"Handing over messages:", []*cobra.Command{
			newSendCommand(a),
			newOutboxCommand(a),
		}},
		{"Seeing and steering:", []*cobra.Command{
			newStatusCommand(a),
			newDashboardCommand(a),
			newMessagesCommand(a),
			newGatesCommand(a),
			newRejectedCommand(a),
			newDoctorCommand(a),
		}},
		{"Keeping it safe:", []*cobra.Command{
			newBackupCommand(a),
			newRestoreCommand(a),
		}},
		{"Trying it out:", []*cobra.Command{
			newDemoCommand(a),
			newSandboxCommand(),
			newSimulateCommand(a),
		}},
		{"About weir:", []*cobra.Command{
			newVersionCommand(a),
		}},
	}
}

// run executes one command line and returns the program's exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.newRootCommand()
	root.SetArgs(append([]string{}, args...)) // never nil, which cobra takes for os.Args
	return a.execute(ctx, root)
}

// execute runs the command that root's arguments name and turns its error into
// a complaint and an exit code.
func (a *app) execute(ctx context.Context, root *cobra.Command) int {
	started := new(bool)
	prepare(root, started)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	// What fails before a command's own code runs is cobra refusing the command line.
	if _, isUsage := errors.AsType[*usageError](err); isUsage || !*started {
		a.complain(fmt.Errorf("%w; see '%s --help'", err, command.CommandPath()))
		return exitUsage
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errInterrupted
	}
	a.complain(err)
	return exitFailed
}

// complain writes err to standard error; one line for each of several faults.
func (a *app) complain(err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(a.stderr, "weir: %s\n", plain(strings.TrimSuffix(line, "\n")))
	}
}

// packageNames are those that begin the errors of weir's own packages, and so
// stand at the beginning of a line or behind the error that they are a part of.
var packageNames = regexp.MustCompile(`(^|[:;] )(?:(?:store|queue|dispatcher|outbox|chaos|soak): )+`)

// plain is the text of an error for people, to whom weir's packages mean nothing.
func plain(text string) string { return packageNames.ReplaceAllString(text, "$1") }

// newRootCommand builds the tree of commands.
func (a *app) newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "Sends each message once, as fast as the API allows",
		Long: "weir keeps send requests safe and hands each of them once to an API that limits\n" +
			"how fast it may be called, using what the limit allows and no more.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	for _, group := range a.commandGroups() {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})
		for _, command := range group.commands {
			command.GroupID = group.title
			root.AddCommand(command)
		}
	}
	root.AddCommand(newChaosCommand(a), newSoakCommand(a)) // hidden, and so of no group
	root.InitDefaultCompletionCmd()
	return root
}

// prepare makes command and all below it set *started once their own code runs,
// and lets those that only hold other commands refuse to run: cobra would print
// help and succeed.
func prepare(command *cobra.Command, started *bool) {
	if command.HasSubCommands() && !command.Runnable() {
		command.Args = cobra.ArbitraryArgs
		command.RunE = needsCommand
	}
	if body := command.RunE; body != nil {
		command.RunE = func(c *cobra.Command, args []string) error {
			*started = true
			return body(c, args)
		}
	}
	for _, child := range command.Commands() {
		prepare(child, started)
	}
}

// needsCommand refuses a command line that names no known command.
func needsCommand(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usageErrorf("%s needs a command: %s", command.CommandPath(), strings.Join(commandNames(command), ", "))
	}
	hint := ""
	if near := nearest(args[0], commandNames(command)); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", near)
	}
	return usageErrorf("%s has no command %q%s", command.CommandPath(), args[0], hint)
}

func commandNames(command *cobra.Command) []string {
	var names []string
	for _, child := range command.Commands() {
		if child.IsAvailableCommand() {
			names = append(names, child.Name())
		}
	}
	return names
}
