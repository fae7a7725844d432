package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/outbox"
	"weir/store"
)

// desk is where a person types commands: a data directory, and settings.
type desk struct {
	t   testing.TB
	dir string
	env map[string]string
	now func() time.Time
}

func newDesk(t testing.TB) *desk {
	t.Chdir(t.TempDir())
	return &desk{t: t, dir: "data", env: map[string]string{"WEIR_DATA_DIR": "data"}, now: time.Now}
}

// run executes a command with stdin and gives its exit code, output and errors.
func (d *desk) run(ctx context.Context, stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	var out, complaints bytes.Buffer
	a := &app{getenv: func(name string) string { return d.env[name] }, stdin: stdin, stdout: &out, stderr: &complaints, now: d.now}
	code = a.run(ctx, args)
	return code, out.String(), complaints.String()
}

// do executes a command that must end well and gives its output.
func (d *desk) do(args ...string) string {
	d.t.Helper()
	code, stdout, stderr := d.run(d.t.Context(), strings.NewReader(""), args...)
	if code != exitDone || stderr != "" {
		d.t.Fatalf("weir %q: exit %d, errors %q", args, code, stderr)
	}
	return stdout
}

// refuse executes a command that must fail with one line and gives that line.
func (d *desk) refuse(code int, args ...string) string {
	d.t.Helper()
	got, stdout, stderr := d.run(d.t.Context(), strings.NewReader(""), args...)
	if got != code || stdout != "" || strings.Count(stderr, "\n") != 1 {
		d.t.Errorf("weir %q: exit %d, output %q, errors %q; want exit %d and one line", args, got, stdout, stderr, code)
	}
	return stderr
}

// sendLines gives the exit code, output and errors of weir send -f -.
func (d *desk) sendLines(lines ...string) (code int, stdout, stderr string) {
	return d.run(d.t.Context(), strings.NewReader(strings.Join(lines, "\n")+"\n"), "send", "-f", "-")
}

// store opens the database beside the commands.
func (d *desk) store() *store.Store {
	d.t.Helper()
	s, err := store.Attach(d.t.Context(), store.Config{Dir: d.dir, Now: time.Now})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			d.t.Error(err)
		}
	})
	return s
}

// show gives what weir messages show --json --body says of a message.
func (d *desk) show(key string) messageReport {
	d.t.Helper()
	var report messageReport
	if err := json.Unmarshal([]byte(d.do("messages", "show", key, "--json", "--body")), &report); err != nil {
		d.t.Fatal(err)
	}
	return report
}

func lineOf(key string) string {
	return fmt.Sprintf(`{"idempotency_key":%q,"body":{"agent_id":"ag_1","to":"+49151"}}`, key)
}

func numbered(count int) []string {
	lines := make([]string, count)
	for i := range lines {
		lines[i] = lineOf(fmt.Sprintf("k-%d", i+1))
	}
	return lines
}

func TestAFileThatIsSentTwiceIsStoredOnce(t *testing.T) {
	d := newDesk(t)
	lines := numbered(3*batchLines + 7)
	if err := os.WriteFile("messages.ndjson", []byte(strings.Join(lines, "\r\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := d.do("send", "-f", "messages.ndjson"), "accepted 1507, already there 0, conflict 0, invalid 0\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := d.do("send", "-f", "messages.ndjson"), "accepted 0, already there 1507, conflict 0, invalid 0\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, i := range []int{1, batchLines, batchLines + 1, len(lines)} {
		if got := d.show(fmt.Sprintf("k-%d", i)).ID; got != int64(i) {
			t.Errorf("the message of line %d is number %d; the order is not kept", i, got)
		}
	}
}

func TestEachBadLineIsNamedAndTheGoodOnesAreKept(t *testing.T) {
	d := newDesk(t)
	long := strings.Repeat("x", outbox.MaxBody)
	for i, c := range []struct{ line, field string }{
		{`{"body":{}}`, "idempotency_key: "},
		{`{"idempotency_key":"","body":{}}`, "idempotency_key: "},
		{`{"idempotency_key":"a\u0007b","body":{}}`, "idempotency_key: "},
		{`{"idempotency_key":"` + strings.Repeat("k", 256) + `","body":{}}`, "idempotency_key: "},
		{`{"idempotency_key":"k"}`, "body: "},
		{`{"idempotency_key":"k","body":[]}`, "body: "},
		{`{"idempotency_key":"k","body":{"t":"` + long + `"}}`, "body: "},
		{`{"idempotency_key":"k","body":{},"colour":"red"}`, "colour: "},
		{`{"idempotency_key":"k","body":{},"lane":"fast"}`, "lane: "},
		{`{"idempotency_key":"k","body":{},"channel":"pigeon"}`, "channel: "},
		{`{"idempotency_key":"k","body":{},"send_at":"tomorrow"}`, "send_at: "},
		{`{"idempotency_key":"k","body":{"a":1,"a":2}}`, "body.a: "},
		{"{\"idempotency_key\":\"k\",\"body\":{\"a\":\"\xff\"}}", "body.a: "},
		{`{"idempotency_key":"k","body":{"a":"\ud800"}}`, "body.a: "},
		{`{"idempotency_key":"k","body":{},"traceparent":"` + strings.Repeat(" ", outbox.MaxEnvelope) + `"}`, "envelope: "},
		{`{"idempotency_key":"k","body":{},"traceparent":"` + strings.Repeat(" ", 3*readAhead) + `"}`, "envelope: "},
		{`not JSON`, "envelope: "},
	} {
		before, after := fmt.Sprintf("before-%d", i), fmt.Sprintf("after-%d", i)
		code, stdout, stderr := d.sendLines(lineOf(before), "", c.line, lineOf(after))
		if code != exitFailed || stdout != "accepted 2, already there 0, conflict 0, invalid 1\n" {
			t.Errorf("%.80s: exit %d, output %q", c.line, code, stdout)
		}
		if want := "weir: standard input line 3: " + c.field; !strings.HasPrefix(stderr, want) || len(stderr) > 500 {
			t.Errorf("%.80s: errors %.500q, want them to begin with %q", c.line, stderr, want)
		}
	}
}

func TestAnotherMessageWithTheSameKeyIsRefusedByName(t *testing.T) {
	d := newDesk(t)
	code, stdout, stderr := d.sendLines(lineOf("order-7"), lineOf("order-7"), `{"idempotency_key":"order-7","body":{"agent_id":"ag_2"}}`)
	if code != exitFailed || stdout != "accepted 1, already there 1, conflict 1, invalid 0\n" {
		t.Errorf("exit %d, output %q", code, stdout)
	}
	if !strings.HasPrefix(stderr, "weir: standard input line 3: idempotency_key: ") || !strings.Contains(stderr, "order-7") {
		t.Errorf("errors %q", stderr)
	}
	if got, want := *d.show("order-7").Body, `{"agent_id":"ag_1","to":"+49151"}`; got != want {
		t.Errorf("the body is now %s; the first must stay", got)
	}
}

func TestOfManyBadLinesEachIsNamed(t *testing.T) {
	d := newDesk(t)
	code, stdout, stderr := d.sendLines(strings.Split(strings.Repeat("{}\n", 200), "\n")...)
	if code != exitFailed || stdout != "accepted 0, already there 0, conflict 0, invalid 200\n" {
		t.Errorf("exit %d, output %q", code, stdout)
	}
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if len(lines) != 201 || !strings.HasPrefix(lines[199], "weir: standard input line 200: idempotency_key: ") {
		t.Errorf("%d lines of errors, ending with %q", len(lines), lines[max(0, len(lines)-3):])
	}
}

func TestAMessageCanBeDescribedByFlags(t *testing.T) {
	d := newDesk(t)
	d.env["WEIR_CONFIG"] = write(t, "weir.yaml", "accounts:\n  acme:\n    channels: [sms]\n")
	write(t, "body.json", "{\"to\": \"+49151\"}\n")
	out := d.do("send", "--key", "k1", "--body", "@body.json", "--account", "acme", "--channel", "sms", "--lane", "high",
		"--send-at", "2030-01-01T12:00:00+02:00", "--expires-at", "2030-01-02T00:00:00Z", "--ttl", "999999h",
		"--traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if want := "accepted 1, already there 0, conflict 0, invalid 0\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	m := d.show("k1")
	got := []string{m.Account, m.Channel, m.Lane, *m.SendAt, *m.ExpiresAt, *m.Traceparent, *m.Body}
	want := []string{"acme", "sms", "high", "2030-01-01T10:00:00.000Z", "2030-01-02T00:00:00.000Z",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", `{"to": "+49151"}`}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestABodyCanComeFromStandardInput(t *testing.T) {
	d := newDesk(t)
	code, stdout, stderr := d.run(t.Context(), strings.NewReader(" {\"a\":1}\n"), "send", "--key", "k1", "--body", "-")
	if code != exitDone || stderr != "" {
		t.Errorf("exit %d, output %q, errors %q", code, stdout, stderr)
	}
	if got := *d.show("k1").Body; got != `{"a":1}` {
		t.Errorf("the body is %s", got)
	}
}

func TestWhatIsWrongWithAMessageOfFlagsIsNamedByItsField(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		field string
		args  []string
	}{
		{"idempotency_key", []string{"--body", "{}"}},
		{"idempotency_key", []string{"--key", "", "--body", "{}"}},
		{"idempotency_key", []string{"--key", "two words", "--body", "{}"}},
		{"body", []string{"--key", "k"}},
		{"body", []string{"--key", "k", "--body", "[]"}},
		{"body", []string{"--key", "k", "--body", `{},"lane":"high"`}},
		{"lane", []string{"--key", "k", "--body", "{}", "--lane", "fast"}},
		{"lane", []string{"--key", "k", "--body", "{}", "--lane", ""}},
		{"send_at", []string{"--key", "k", "--body", "{}", "--send-at", "noon"}},
		{"send_at", []string{"--key", "k", "--body", "{}", "--send-at", "2030-01-01T9:00:00Z"}},
		{"send_at", []string{"--key", "k", "--body", "{}", "--send-at", "0001-01-01T00:00:00Z"}},
		{"ttl", []string{"--key", "k", "--body", "{}", "--ttl", "90"}},
		{"account", []string{"--key", "k", "--body", "{}", "--account", "acme"}},
	} {
		code, stdout, stderr := d.run(t.Context(), strings.NewReader(""), append([]string{"send"}, c.args...)...)
		if code != exitFailed || stdout != "accepted 0, already there 0, conflict 0, invalid 1\n" ||
			!strings.HasPrefix(stderr, "weir: "+c.field+": ") || !strings.HasSuffix(stderr, "\nweir: nothing was stored\n") {
			t.Errorf("weir send %q: exit %d, output %q, errors %q", c.args, code, stdout, stderr)
		}
	}
}

func TestWhatCannotBeReadCreatesNothing(t *testing.T) {
	d := newDesk(t)
	for _, args := range [][]string{{"-f", "none.ndjson"}, {"--key", "k", "--body", "@none.json"}} {
		if got := d.refuse(exitFailed, append([]string{"send"}, args...)...); !strings.Contains(got, "none.") {
			t.Errorf("weir send %q: %q names no file", args, got)
		}
	}
	if _, err := os.Stat(d.dir); !os.IsNotExist(err) {
		t.Errorf("the data directory exists: %v", err)
	}
}

func TestInputOfAnotherFormIsRefusedInOneLine(t *testing.T) {
	utf16 := func(text string) string {
		wide := "\xff\xfe"
		for _, b := range []byte(text) {
			wide += string([]byte{b, 0})
		}
		return wide
	}
	for name, c := range map[string]struct{ input, said string }{
		"an array":            {" \n[" + lineOf("a") + ",\n" + lineOf("b") + "]\n", "JSON array"},
		"an array over lines": {"[\n  " + lineOf("a") + "\n]\n", "JSON array"},
		"pretty-printed":      {"{\n  \"idempotency_key\": \"a\",\n  \"body\": {}\n}\n", "several lines"},
		"pretty in its way":   {"{ \"idempotency_key\": \"a\",\n  \"body\": {} }\n", "several lines"},
		"UTF-16":              {utf16(lineOf("a") + "\n" + lineOf("b") + "\n"), "UTF-16"},
		"pretty, with a BOM":  {"\ufeff{\n}\n", "several lines"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			code, stdout, stderr := d.run(t.Context(), strings.NewReader(c.input), "send", "-f", "-")
			if code != exitFailed || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "standard input: this is ") ||
				!strings.Contains(stderr, c.said) || !strings.Contains(stderr, "one message per line") {
				t.Errorf("exit %d, errors:\n%s", code, stderr)
			}
			if stdout != "accepted 0, already there 0, conflict 0, invalid 0\n" {
				t.Errorf("output %q", stdout)
			}
		})
	}
}

func TestAByteOrderMarkIsNoPartOfAMessage(t *testing.T) {
	d := newDesk(t)
	if code, stdout, stderr := d.sendLines("\ufeff"+lineOf("a"), lineOf("b")); code != exitDone || !strings.HasPrefix(stdout, "accepted 2") {
		t.Errorf("exit %d, output %q, errors %q", code, stdout, stderr)
	}
}

func TestSendSaysBeforeAllElseThatItsFileIsADirectory(t *testing.T) {
	d := newDesk(t)
	d.env["WEIR_CONFIG"] = "none.yaml"
	if got := d.refuse(exitFailed, "send", "-f", t.TempDir()); !strings.Contains(got, "is a directory") || strings.Count(got, "\n") != 1 {
		t.Errorf("it says %q", got)
	}
}

func TestSendRefusesACommandLineThatCanMeanTwoThings(t *testing.T) {
	d := newDesk(t)
	for _, args := range [][]string{{}, {"-f", "-", "--key", "k"}, {"-f", "-", "--lane", "high"}, {"order-7"}} {
		d.refuse(exitUsage, append([]string{"send"}, args...)...)
	}
}

func TestAProducerThatWritesLineByLineIsServedLineByLine(t *testing.T) {
	in, out := io.Pipe()
	defer in.Close()
	r := newLineReader(in, func(line []byte) (outbox.Message, error) { return outbox.Message{Key: string(line)}, nil })
	for _, key := range []string{"a", "b"} {
		go func() { _, _ = io.WriteString(out, key+"\n") }()
		got, err := r.next()
		if err != nil || len(got) != 1 || got[0].message.Key != key {
			t.Fatalf("got %v, %v; want %s alone", got, err, key)
		}
	}
}

func TestLargeBodiesMakeSmallBatches(t *testing.T) {
	line := strings.Repeat("x", 300<<10) + "\n"
	r := newLineReader(strings.NewReader(strings.Repeat(line, 20)), func([]byte) (outbox.Message, error) { return outbox.Message{}, nil })
	for range 4 {
		got, err := r.next()
		if err != nil || len(got) > 4 {
			t.Fatalf("a batch holds %d lines of 300 KiB, %v", len(got), err)
		}
	}
}

func TestAnInterruptedSendSaysHowFarItCame(t *testing.T) {
	d := newDesk(t)
	d.send(lineOf("k0"))
	in, out := io.Pipe()
	defer in.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	type result struct {
		code           int
		stdout, stderr string
	}
	ended := make(chan result)
	go func() {
		code, stdout, stderr := d.run(ctx, in, "send", "-f", "-")
		ended <- result{code, stdout, stderr}
	}()
	if _, err := io.WriteString(out, lineOf("k1")+"\n"); err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{}, 1)
	watch, err := store.Attach(t.Context(), store.Config{Dir: d.dir, Now: time.Now, OnForeignWrite: func() {
		select {
		case written <- struct{}{}:
		default:
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	for {
		if _, err := watch.Message(t.Context(), "k1"); err == nil {
			break
		}
		<-written
	}
	interrupt()
	got := <-ended
	want := result{exitFailed, "accepted 1, already there 0, conflict 0, invalid 0\n", "weir: interrupted before it was done\n"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestSendTakesMessagesWhileADaemonOwnsTheDatabase(t *testing.T) {
	d := newDesk(t)
	daemon, err := store.Open(t.Context(), store.Config{Dir: d.dir, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	if code, stdout, stderr := d.sendLines(numbered(3)...); code != exitDone || stderr != "" {
		t.Errorf("exit %d, output %q, errors %q", code, stdout, stderr)
	}
	if _, err := daemon.Message(t.Context(), "k-3"); err != nil {
		t.Error(err)
	}
}

func TestTheProgressIsOneLineThatDoesNotStay(t *testing.T) {
	var screen bytes.Buffer
	now := time.Date(2026, 3, 28, 14, 30, 0, 0, time.UTC)
	p := &progress{w: &screen, now: func() time.Time { return now }}
	p.show(tally{accepted: 500})
	now = now.Add(progressEvery / 2)
	p.show(tally{accepted: 1000})
	now = now.Add(progressEvery / 2)
	p.show(tally{accepted: 1500})
	p.clear()
	p.clear()
	want := "\raccepted 500, already there 0, conflict 0, invalid 0\x1b[K\raccepted 1500, already there 0, conflict 0, invalid 0\x1b[K\r\x1b[K"
	if got := screen.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhereNobodyLooksThereIsNoProgress(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "errors.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if p := newProgress(file, time.Now); p != nil {
		t.Error("progress is shown in a file")
	}
}

// BenchmarkSend takes a file of 300-byte lines, as often as fits.
func BenchmarkSend(b *testing.B) {
	var file bytes.Buffer
	for i := range b.N {
		fmt.Fprintf(&file, `{"idempotency_key":"3f0e0c1a-7f55-5d0c-9d3b-%012d","lane":"bulk","body":{"agent_id":"ag_live_8f3k2",`+
			`"to":"+4915112345678","message_type":"MESSAGE","traffic_type":"TRANSACTION","content":{"text":"Your order is on its way.",`+
			`"suggestions":[{"text":"Track","url":"https://shop.example/t/10023"}]}}}`+"\n", i)
	}
	a := &app{getenv: func(string) string { return "" }, stdin: &file, stdout: io.Discard, stderr: io.Discard, now: time.Now}
	dir := b.TempDir()
	b.ResetTimer()
	if code := a.run(b.Context(), []string{"send", "-f", "-", "--data-dir", dir}); code != exitDone {
		b.Fatalf("exit %d", code)
	}
}
