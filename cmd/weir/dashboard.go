package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"weir/store"
)

func newDashboardCommand(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "dashboard",
		Short: "Print a link that opens the dashboard",
		Long: "Prints a link that logs a browser in to the dashboard of the running daemon. It can be\n" +
			"used once, within five minutes. Needs the settings that the daemon runs with.",
		Args: cobra.NoArgs,
	}
	addDatabaseFlags(command.Flags())
	addSettingFlags(command.Flags(), "WEIR_LISTEN", "WEIR_ADMIN_TOKEN")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.config(cmd.Flags())
		if err != nil {
			return err
		}
		if cfg.Listen == "" {
			return errors.New("there is no dashboard: WEIR_LISTEN is off; give it an address and start weir serve again")
		}
		token, err := cfg.knownAdminToken()
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no %s in %s: start weir serve, which makes it, name its data directory with --data-dir, or set WEIR_ADMIN_TOKEN as it has it", adminTokenFile, cfg.DataDir)
		}
		if err != nil {
			return err
		}
		// The token of a data directory is for its daemon, not for whoever has taken its address.
		if cfg.AdminToken == "" && !store.DaemonRuns(cfg.DataDir) {
			return fmt.Errorf("no daemon runs in %s: start weir serve", cfg.DataDir)
		}
		link, err := askLink(cmd.Context(), dialable(cfg.Listen), token)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, link)
		return err
	}
	return command
}

// dialable is where this machine reaches a listener: one for every address is
// asked on loopback.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// askLink asks the daemon for a link that logs in once.
func askLink(ctx context.Context, address string, token Secret) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/api/v1/login-links", bytes.NewReader([]byte("{}")))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+string(token))
	req.Header.Set("Content-Type", "application/json")
	// No proxy: the token is for this machine's daemon.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("the daemon does not answer on %s: start weir serve, or give its WEIR_LISTEN as --listen: %w", address, errors.Unwrap(err))
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct{ URL, Message string }
	if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&answer); err != nil || res.StatusCode == http.StatusNotFound {
		return "", fmt.Errorf("what answers on %s is not weir: give the daemon's WEIR_LISTEN as --listen", address)
	}
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		return "", fmt.Errorf("the daemon on %s has another token: give its data directory as --data-dir, or its WEIR_ADMIN_TOKEN", address)
	case res.StatusCode != http.StatusCreated || answer.URL == "":
		return "", fmt.Errorf("the daemon on %s refuses with %d: %s", address, res.StatusCode, printable(answer.Message))
	}
	return printable(answer.URL), nil
}
