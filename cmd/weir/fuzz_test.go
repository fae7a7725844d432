package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"weir/outbox"
)

// FuzzConfigFile makes sure that weir.yaml gives a configuration that keeps its
// own rules, or faults that name what and where, and that no fault repeats a
// secret or a URL, which may hold one.
func FuzzConfigFile(f *testing.F) {
	for _, seed := range []string{
		"", "data_dir: /var/lib/weir\nconcurrency: 128\n", "concurency: 3", "retry_for: 25h\nkeep_rows: 1h", "- a\n- b", "a: [1", "log_level: {}",
		"accounts:\n  default:\n    url: https://api.example.com\n    key_file: /k\n    limit: key\n    channels: [sms]\n", "accounts: x", "accounts:\n  b:\n    urll: 1",
		"\xff", "a: &x [*x]", "---\n---\n", "concurrency: 0x10", "concurrency: !!str 5", "? a\n: b", "a: |\n  b\n", "data_dir: \"\\0\"", "\"\\e[2J\": 1\n\"\": 2\n",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	const secret = "s3cretvalue"
	f.Fuzz(func(t *testing.T, data []byte, withSecret bool) {
		if bytes.Contains(data, []byte(secret)) {
			return // also where it is no secret, but a name or a number that is told
		}
		if withSecret {
			data = append(data, "\napi_key: "+secret+" x\nnats_url: http://u:"+secret+"@h\nadmin_token: [\""+secret+"\"]\n"...)
		}
		path := filepath.Join(t.TempDir(), "weir.yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		a := &app{getenv: func(name string) string { return map[string]string{configSetting: path}[name] }}
		c, err := a.serveConfig(pflag.NewFlagSet("serve", pflag.ContinueOnError))
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Fatalf("a fault repeats a secret: %v", err)
			}
			for line := range strings.Lines(err.Error()) {
				line = strings.TrimSuffix(line, "\n")
				if strings.TrimSpace(line) == "" || strings.HasPrefix(line, " (") || strings.HasPrefix(line, ": is") || printable(line) != line {
					t.Fatalf("a fault names nothing, or is not for a terminal: %q", err)
				}
			}
			return
		}
		if c.Concurrency < 1 || c.Concurrency > 1024 || c.RetryFor > c.KeyLifetime-time.Hour || c.KeepBodies < c.KeyLifetime ||
			c.KeepRows < c.KeepBodies || c.BackoffBase > c.BackoffMax || len(c.Accounts) == 0 || c.MinFree < 1 {
			t.Fatalf("%q is taken as %+v", data, c)
		}
	})
}

// FuzzLines makes sure that weir send -f takes every line once, whole, in order
// and by its number, however the lines are cut into reads and batches.
func FuzzLines(f *testing.F) {
	for _, seed := range []string{"", "\n", "a", "a\nb\n", "\r\n a \r\n\n\tb", strings.Repeat("x\n", 2*batchLines), strings.Repeat("x", 3000) + "\ny", "\x00\n\xff\n"} {
		f.Add([]byte(seed), 1, 7)
		f.Add([]byte(seed), 1<<20, 1000)
	}
	f.Fuzz(func(t *testing.T, data []byte, repeat, chunk int) {
		most := 1 << 16
		if repeat%64 == 0 {
			most = 3 << 19 // longer than what is read ahead; seldom, since it is slow
		}
		data = bytes.Repeat(data, max(1, min(repeat, most/(len(data)+1))))
		chunk = max(chunk, 1+len(data)/5000) // a byte at a time is for little data
		var got []string
		lines := newLineReader(&chunked{data, chunk}, func(line []byte) (outbox.Message, error) {
			got = append(got, string(line))
			return outbox.Message{}, nil
		})
		batches := make(chan batch)
		go lines.run(context.Background(), batches)
		var numbers []int
		for b := range batches {
			if b.err != nil || len(b.submissions) > batchLines {
				t.Fatalf("a batch of %d ends with %v", len(b.submissions), b.err)
			}
			for _, s := range b.submissions {
				numbers = append(numbers, s.line)
			}
		}
		for i, line := range bytes.Split(data, []byte("\n")) {
			line = bytes.TrimSpace(line)
			if len(line) == 0 {
				continue
			}
			if len(got) == 0 || len(numbers) == 0 || numbers[0] != i+1 {
				t.Fatalf("line %d is missing; the next are %v", i+1, numbers[:min(3, len(numbers))])
			}
			whole := got[0] == string(line)
			if tooLong := len(line) > outbox.MaxEnvelope && len(got[0]) > outbox.MaxEnvelope; !whole && !tooLong {
				t.Fatalf("line %d is read as %d bytes, has %d", i+1, len(got[0]), len(line))
			}
			got, numbers = got[1:], numbers[1:]
		}
		if len(got) > 0 {
			t.Fatalf("%d lines too many", len(got))
		}
	})
}

// chunked hands out data in pieces, as a pipe does.
type chunked struct {
	data  []byte
	piece int
}

func (c *chunked) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.piece)], c.data)
	c.data = c.data[n:]
	return n, nil
}
