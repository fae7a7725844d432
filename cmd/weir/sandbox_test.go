package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"weir/cmd/weir/internal/sandbox"
)

// startSandbox runs "weir sandbox" with args on a free port and gives its
// first line. The command is stopped, and must end well, with the test.
func startSandbox(t *testing.T, args ...string) string {
	t.Helper()
	out, in := io.Pipe()
	command := newSandboxCommand()
	command.SetOut(in)
	command.SetArgs(append([]string{"--listen", "127.0.0.1:0"}, args...))
	command.SilenceErrors, command.SilenceUsage = true, true
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		err := command.ExecuteContext(ctx)
		in.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("weir sandbox ended with %v; want nil", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("first line: %v", err)
	}
	return line
}

func TestTheSandboxNamesURLAndKeyInItsFirstLine(t *testing.T) {
	line := startSandbox(t, "--api-key", "k1", "--limit", "100", "--window", "2s", "--tier", "4x@10s", "--fault", "503:first=1,key=a")
	var url, key string
	if _, err := fmt.Sscanf(line, "WEIR_API_URL=%s WEIR_API_KEY=%s", &url, &key); err != nil || key != "k1" {
		t.Fatalf("first line = %q, %v; want the URL and the key k1", line, err)
	}
	for _, want := range []int{http.StatusServiceUnavailable, http.StatusOK} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/messages", strings.NewReader(
			`{"channel_id":"ch_1","to":"a@example.org","subject":"Hi","message_type":"MESSAGE","content":{"text":"Hi"}}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Authorization": {"Bearer " + key}, "Content-Type": {"application/json"}, "Idempotency-Key": {"a1"}}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want || res.Header.Get("X-RateLimit-Limit") != "100" {
			t.Errorf("answer = %d, %v; want %d and a limit of 100", res.StatusCode, res.Header, want)
		}
	}
	res, err := http.Get(url + "/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var stats sandbox.Stats
	if err := json.NewDecoder(res.Body).Decode(&stats); err != nil || stats.Requests != 2 || stats.Executed != 1 {
		t.Errorf("stats = %+v, %v; want two requests, one execution", stats, err)
	}
}

func TestTheSandboxRefusesSettingsThatItCannotRead(t *testing.T) {
	for _, args := range [][]string{
		{"--fault", "418"}, {"--tier", "fast"}, {"--limit", "-1"}, {"--tier", "4x@1s"}, {"--model", "guess"}, {"--api-key", ""},
	} {
		command := newSandboxCommand()
		command.SetArgs(append([]string{"--listen", "127.0.0.1:0"}, args...))
		command.SilenceErrors, command.SilenceUsage = true, true
		err := command.ExecuteContext(t.Context())
		if err == nil || args[0] != "--model" && !errors.Is(err, sandbox.ErrSetting) {
			t.Errorf("weir sandbox %v = %v; want it refused", args, err)
		}
	}
}

func TestTheSandboxSaysWhatToDoAboutAPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	command := newSandboxCommand()
	command.SetArgs([]string{"--listen", taken.Addr().String()})
	command.SilenceErrors, command.SilenceUsage = true, true
	if err := command.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("error = %v; want one that names --listen", err)
	}
}
