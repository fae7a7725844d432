package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// isTerminal tells whether people sit at the other end of an input or output.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// errNotConfirmed is the end of a command that was asked for and then not wanted.
var errNotConfirmed = fmt.Errorf("nothing was changed")

// confirm asks at the terminal whether to do something to what is meant. Without
// a terminal, --yes has to say so.
func (a *app) confirm(yes bool, doing, what string) error {
	if yes {
		return nil
	}
	if !isTerminal(a.stdin) {
		return usageErrorf("this would %s %s: confirm it with --yes, or only count with --dry-run", doing, what)
	}
	fmt.Fprintf(a.stderr, "%s %s? [y/N] ", doing, what)
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err == io.EOF {
		fmt.Fprintln(a.stderr) // the terminal's line is still open
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errNotConfirmed
}
