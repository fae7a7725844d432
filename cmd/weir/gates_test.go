package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/internal/steer"
	"weir/dispatcher"
	"weir/store"
)

// gates gives what weir gates list --json says, by scope.
func (d *desk) gates() map[string]store.GateView {
	d.t.Helper()
	gates := make(map[string]store.GateView)
	for line := range strings.Lines(d.do("gates", "list", "--json")) {
		var g store.GateView
		if err := json.Unmarshal([]byte(line), &g); err != nil {
			d.t.Fatal(err)
		}
		gates[g.Scope] = g
	}
	return gates
}

func TestAPauseIsAGateUntilItIsResumed(t *testing.T) {
	d := newDesk(t)
	d.env["WEIR_CONFIG"] = write(t, "weir.yaml", "accounts:\n  acme:\n    channels: [sms]\n")
	d.send(lineOf("k"))
	for typed, scope := range map[string]string{
		"daemon": "daemon:weir", "daemon:weir": "daemon:weir", "account:default": "account:default",
		"default/rcs": "bucket:default/rcs", "bucket:acme/sms": "bucket:acme/sms",
	} {
		if got, want := d.do("gates", "pause", typed, "--reason", "the template\nis wrong"), scope+" is paused until it is resumed\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if g := d.gates()[scope]; g.Kind != "paused" || g.SetBy != "operator" || g.Reason != `the template\nis wrong` || g.UntilAt != nil {
			t.Errorf("pause %s: the gate is %+v", typed, g)
		}
		if got, want := d.do("gates", "resume", typed), scope+" is resumed\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := d.do("gates", "resume", typed); !strings.HasPrefix(got, scope+" was not paused") {
			t.Errorf("the second resume says %q", got)
		}
		if gates := d.gates(); len(gates) != 0 {
			t.Errorf("resume %s: left are %v", typed, gates)
		}
	}
}

func TestAPauseCanEndByItself(t *testing.T) {
	d := newDesk(t)
	now := time.Date(2026, 3, 28, 14, 30, 0, 0, time.UTC)
	d.now = func() time.Time { return now }
	d.send(lineOf("k"))
	for until, want := range map[string]string{
		"90s": "2026-03-28T14:31:30.000Z", "2026-03-28T18:00:00+02:00": "2026-03-28T16:00:00.000Z",
	} {
		d.do("gates", "pause", "default/rcs", "--until", until)
		if got := d.gates()["bucket:default/rcs"].UntilAt; got == nil || *got != want {
			t.Errorf("--until %s gives %v, want %s", until, got, want)
		}
	}
	for _, until := range []string{"soon", "-5m", "2026-03-28T14:30:00Z"} {
		d.refuse(exitUsage, "gates", "pause", "default/rcs", "--until", until)
	}
	d.refuse(exitUsage, "gates", "pause", "default/rcs", "--reason", strings.Repeat("x", steer.MaxText+1))
}

func TestAScopeThatIsNotThereIsRefusedWithThoseThatAre(t *testing.T) {
	d := newDesk(t)
	d.env["WEIR_CONFIG"] = write(t, "weir.yaml", "accounts:\n  acme:\n    channels: [sms]\n")
	d.send(lineOf("k"))
	for _, c := range []struct {
		scope string
		code  int
		want  string
	}{
		{"account:akme", exitFailed, "acme, default"},
		{"akme/rcs", exitFailed, "acme, default"},
		{"acme/fax", exitFailed, "rcs, email, default, sms"},
		{"rcs", exitUsage, "ACCOUNT/CHANNEL"},
		{"daemon:other", exitUsage, "ACCOUNT/CHANNEL"},
	} {
		for _, verb := range []string{"pause", "resume", "probe"} {
			if got := d.refuse(c.code, "gates", verb, c.scope); !strings.Contains(got, c.want) {
				t.Errorf("%s %s: %q does not name %s", verb, c.scope, got, c.want)
			}
		}
	}
	if gates := d.gates(); len(gates) != 0 {
		t.Errorf("there are gates: %v", gates)
	}
}

func TestAProbeIsAskedForOnWhatHoldsTheBucket(t *testing.T) {
	d := newDesk(t)
	d.send(lineOf("k"))
	if got := d.do("gates", "probe", "default/rcs"); !strings.Contains(got, "neither held nor degraded") {
		t.Errorf("got %q", got)
	}
	since := time.Now().Add(-time.Minute)
	err := d.store().PutGate(t.Context(), dispatcher.Gate{
		Scope: "account:default", Kind: dispatcher.Held, Reason: "401", Since: since, Until: since.Add(time.Hour), SetBy: dispatcher.ByUnauthorized,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := d.do("gates", "probe", "default/rcs"), "bucket:default/rcs will be probed now\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if g := d.gates()["account:default"]; *g.UntilAt != g.SinceAt {
		t.Errorf("the gate is %+v", g)
	}
}

func TestEverythingIsPausedResumedAndProbedAtOnce(t *testing.T) {
	d := newDesk(t)
	d.send(lineOf("k"))
	if got := d.do("gates", "resume", "all") + d.do("gates", "probe", "all"); !strings.HasPrefix(got, "nothing was paused;") || !strings.Contains(got, "\nnothing is held or degraded;") {
		t.Errorf("got %q", got)
	}
	if got, want := d.do("gates", "pause", "all"), "daemon:weir is paused until it is resumed\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	d.do("gates", "pause", "default/rcs")
	application(t, d.dir+"/weir.db", `INSERT INTO gates (scope, kind, reason, since_at, set_by) VALUES ('daemon:weir', 'held', 'the time', 1, 'clock')`)
	if got, want := d.do("gates", "resume", "all"), "bucket:default/rcs is resumed\ndaemon:weir is resumed\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if gates := d.gates(); len(gates) != 1 || gates["daemon:weir"].SetBy != "clock" {
		t.Errorf("there are gates: %v, want the hold of the clock only", gates)
	}
}

func TestTheGatesForPeopleAreATable(t *testing.T) {
	d := newDesk(t)
	d.send(lineOf("k"))
	d.do("gates", "pause", "default/rcs")
	lines := strings.Split(d.do("gates", "list"), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "SCOPE ") || !slices.Equal(strings.Fields(lines[1])[:3], []string{"bucket:default/rcs", "paused", "operator"}) {
		t.Errorf("got %q", lines)
	}
}
