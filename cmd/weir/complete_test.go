package main

import (
	"slices"
	"strings"
	"testing"

	"weir/outbox"
)

// offered gives what a shell would offer at the end of the command line.
func (d *desk) offered(args ...string) []string {
	d.t.Helper()
	code, stdout, _ := d.run(d.t.Context(), strings.NewReader(""), append([]string{"__completeNoDesc"}, args...)...)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if last := lines[len(lines)-1]; code != exitDone || last != ":4" {
		d.t.Errorf("weir %q: exit %d, %q; want no files to be offered", args, code, stdout)
	}
	return lines[:len(lines)-1]
}

func TestAShellIsOfferedWhatCanStandThere(t *testing.T) {
	d := newDesk(t)
	d.send(lineOf("order-7"), lineOf("order-8"), lineOf("news-1"))
	if err := d.store().Reject(t.Context(), []outbox.Rejection{{Payload: []byte("junk"), Reason: "no JSON"}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want []string }{
		{[]string{"messages", "cancel", "--state", ""}, []string{"pending", "retrying"}},
		{[]string{"messages", "retry", "--state", ""}, []string{"failed", "expired", "canceled"}},
		{[]string{"messages", "list", "--lane", ""}, []string{"high", "normal", "bulk"}},
		{[]string{"messages", "list", "--account", ""}, []string{"default"}},
		{[]string{"messages", "list", "--channel", ""}, []string{"default", "email", "rcs"}},
		{[]string{"messages", "show", "order"}, []string{"order-7", "order-8"}},
		{[]string{"messages", "cancel", ""}, []string{"news-1", "order-8", "order-7"}},
		{[]string{"messages", "resolve", "n"}, []string{"news-1"}},
		{[]string{"messages", "show", "order-7", ""}, nil},
		{[]string{"gates", "pause", ""}, []string{"account:default", "all", "daemon", "default/default", "default/email", "default/rcs"}},
		{[]string{"gates", "probe", "default/rcs", ""}, nil},
		{[]string{"send", "--lane", ""}, []string{"high", "normal", "bulk"}},
		{[]string{"send", "--channel", ""}, []string{"default", "email", "rcs"}},
		{[]string{"rejected", "requeue", ""}, []string{"1"}},
	} {
		if got := d.offered(c.args...); !slices.Equal(got, c.want) {
			t.Errorf("%q offers %q, want %q", c.args, got, c.want)
		}
	}
	d.env["WEIR_DATA_DIR"] = "nowhere"
	if got := d.offered("messages", "show", "o"); len(got) != 0 {
		t.Errorf("without a database %q are offered", got)
	}
}
