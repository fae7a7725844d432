package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// errNoBuildInfo is returned by "weir version" for a binary that was built without module support.
var errNoBuildInfo = errors.New("this binary carries no build information; build it with 'go build ./cmd/weir'")

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of weir, of Go and of what stores and queues",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return errNoBuildInfo
			}
			_, err := fmt.Fprint(a.stdout, versionText(info))
			return err
		},
	}
}

// versionText says what a bug report needs to name: a line for weir with its
// revision, one for Go, and one for each library that touches the data.
func versionText(info *debug.BuildInfo) string {
	platform := make(map[string]string)
	for _, s := range info.Settings {
		platform[s.Key] = s.Value
	}
	var text strings.Builder
	fmt.Fprintf(&text, "weir %s", info.Main.Version)
	if revision := platform["vcs.revision"]; revision != "" {
		fmt.Fprintf(&text, " (revision %s", revision)
		if platform["vcs.modified"] == "true" {
			text.WriteString(", modified")
		}
		text.WriteString(")")
	}
	fmt.Fprintf(&text, "\n%s %s/%s\n", info.GoVersion, platform["GOOS"], platform["GOARCH"])
	for _, module := range info.Deps {
		switch module.Path {
		case "github.com/mattn/go-sqlite3", "github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go":
			fmt.Fprintf(&text, "%s %s\n", module.Path, module.Version)
		}
	}
	return text.String()
}

// version is what weir calls itself to the API.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return strings.Trim(info.Main.Version, "()")
	}
	return "devel"
}
