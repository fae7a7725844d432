//go:build browser

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"

	"weir/cmd/weir/internal/sandbox"
)

// watched is a rig whose daemon can be looked at. The test runs beside others.
func watched(t *testing.T, cfg sandbox.Config) *rig {
	t.Helper()
	t.Parallel()
	r := newRigAside(t, cfg)
	r.env["WEIR_ADMIN_TOKEN"] = adminToken
	return r
}

const rcsCard = `article[aria-labelledby="bucket-default/rcs"]`

func TestTheDashboardIsForThoseWhoHaveTheToken(t *testing.T) {
	d := watched(t, sandbox.Config{}).serve()
	p := openBrowser(t, d)
	p.open("/messages")
	p.see("h1", "Log in")
	p.picture("login")
	p.logIn("a guess")
	p.see("[role=alert]", "This is not the admin token.")
	p.complaints() // the browser tells of the answer of 401
	p.logIn(adminToken)
	p.see("#buckets", "No messages yet.")
	p.click("button", "Log out")
	p.see("h1", "Log in")
	p.open("/")
	p.see("h1", "Log in")
}

func TestTheDashboardShowsABucketThatRunsThatIsParkedAndThatIsHeld(t *testing.T) {
	// Eight requests at once of 200 ms use up a window in its first third.
	r := watched(t, sandbox.Config{Limit: 100, Window: 10 * time.Second, Latency: 200 * time.Millisecond})
	r.env["WEIR_BULK_RESERVE"] = "0"
	r.send(envelopes(keysOf("news", 1500))...)
	d := r.serve()
	p := openTab(t, d)
	p.see(rcsCard, "left of 100 per 10 s", "a minute, done about ", " UTC")
	p.wantNames("a bucket at work")

	for _, state := range []string{"running", "parked"} {
		texts := []string{state, "since ", "left of 100 per 10 s", " waiting, ", "a minute, done about ", "oldest due "}
		if state == "parked" {
			texts = append(texts, "until ", "more in ")
		}
		p.see(rcsCard, texts...)
		p.picture("overview, " + state)
	}
	r.api.SetFaults(sandbox.Fault{Kind: sandbox.Kind402})
	p.see(rcsCard, "held", "insufficient", "until ", "last request req_", "Probe …")
	p.picture("overview, held")

	r.api.SetFaults()
	p.click("button", "Probe …")
	p.see("dialog", "Probe bucket:default/rcs now?")
	p.picture("a question")
	p.click("button", "Probe now")
	p.see(rcsCard, "left of 100 per 10 s", "a minute, done about ", "Pause …")
}

func TestInTheDashboardAPersonFindsAFailedMessageAndSendsItAgain(t *testing.T) {
	r := watched(t, sandbox.Config{Faults: []sandbox.Fault{
		{Kind: sandbox.Kind503, First: 1, KeyPrefix: "bumpy"}, {Kind: sandbox.Kind422, KeyPrefix: "refused"},
	}})
	d := r.serve()
	r.send(envelopes([]string{"bumpy", "refused", "plain"})...)
	r.awaitState("sent", 2)
	r.awaitState("failed", 1)
	p := openTab(t, d)

	p.click("a", "Messages")
	p.see("#list", "bumpy", "refused", "plain", "HTTP 422")
	p.picture("messages")
	p.click("a", "bumpy")
	p.see("#message", "Attempt 1: retry", "HTTP 503", "Attempt 2: sent", "Limit 10,000, ", "Request req_")
	p.picture("a message with a retry behind it")

	p.open("/messages")
	p.do(chromedp.SendKeys(chromedp.CSS(`input[name="find"]`), "refused"))
	p.click("button", "Search")
	p.see("#count", "1 message,")
	p.click("a", "refused")
	p.see("#message", "failed", "HTTP 422", "Attempt 1: refused")
	r.api.SetFaults()
	p.click("button", "Retry …")
	p.see("dialog", "Send this message again?")
	p.click("button", "Retry")
	p.see("#said", "refused is ") // pending, or sent already
	r.awaitState("sent", 3)
	p.do(chromedp.Reload())
	p.see("#message", "Attempt 2: sent")
	r.wantSent("bumpy", "refused", "plain")

	id := r.show("bumpy").RequestID
	p.open("/messages?find=" + *id)
	p.see("#list", "bumpy")
	p.click("a", "Show all")
	p.see("#count", "3 messages,")
	p.click("summary", "Filters")
	p.do(chromedp.SendKeys(chromedp.CSS(`#recipient`), "+4915100000000"))
	p.click("button", "Search")
	p.see("#count", "No message matches.")
	p.click("a", "Show all")
	p.see("#count", "3 messages,")
	p.click("summary", "Filters")
	p.do(chromedp.SendKeys(chromedp.CSS(`#recipient`), "+4915112345678"))
	p.click("button", "Search")
	await(t, "the page asks for the hash", func() bool { return strings.Contains(ask[string](p, `location.search`), "recipient_hash=536afd52") })
	p.see("#count", "3 messages,")
	if address := ask[string](p, `location.href`); strings.Contains(address, "4915112345678") {
		t.Errorf("the recipient stands in the address %s", address)
	}
}

func TestInTheDashboardAPersonSendsAWholeFailedBatchAgain(t *testing.T) {
	r := watched(t, sandbox.Config{Faults: []sandbox.Fault{{Kind: sandbox.Kind422}}})
	d := r.serve()
	keys := keysOf("batch", 120)
	r.send(envelopes(keys)...)
	r.awaitState("failed", len(keys))
	p := openTab(t, d)
	p.click("a", "120 failed")
	p.see("#count", "50 messages, the newest first; there are more")
	p.picture("messages, a batch that failed")
	p.click("a", "Older")
	p.see("#list", "batch-70")
	r.api.SetFaults()
	p.click("button", "Retry all that match …")
	p.see("dialog", "Send again 120 messages?")
	p.click("button", "Retry them all")
	p.see("#said", "120 messages changed, 0 left as they were")
	r.awaitState("sent", len(keys))
	r.wantSent(keys...)
}

func TestInTheDashboardAPersonResolvesAnUnknownMessage(t *testing.T) {
	r := watched(t, sandbox.Config{})
	r.send(envelope("doubtful", rcsBody))
	r.unknown("doubtful")
	p := openTab(t, r.serve())
	p.click("a", "1 unknown")
	p.click("a", "doubtful")
	p.see("#message", "unknown", "Attempt 1: lost")
	p.click("button", "Resolve …")
	p.do(chromedp.SendKeys(chromedp.CSS(`dialog input`), "msg_found"))
	p.picture("a question with fields")
	p.click("button", "Resolve")
	p.see("#said", "doubtful is sent")
	p.see("#message", "msg_found")
}

func TestInTheDashboardABodyAndItsRecipientAreHiddenUntilAPersonAsks(t *testing.T) {
	r := watched(t, sandbox.Config{})
	d := r.serve()
	r.send(envelope("letter", rcsBody))
	r.awaitState("sent", 1)
	p := openTab(t, d)
	p.open("/messages/1")
	p.see("#message", "letter", "Show body and recipient")
	if page := ask[string](p, `document.documentElement.outerHTML`); strings.Contains(page, "4915112345678") {
		t.Error("the page holds the recipient")
	}
	p.click("button", "Show body and recipient")
	p.see("pre", rcsBody)
	p.see("#message", "Recipient", "+4915112345678")
	p.picture("a body that was asked for")
	p.click("button", "Hide again")
	p.see("#message", "Show body and recipient")
	if text := p.text("#message"); strings.Contains(text, "4915112345678") {
		t.Error("the page shows the recipient again")
	}
}

func TestInTheDashboardWhatTheAPIRefusesStandsInTheQuestion(t *testing.T) {
	r := watched(t, sandbox.Config{})
	d := r.serve()
	r.do("gates", "pause", "default/rcs", "--reason", "not yet")
	r.send(envelope("late", rcsBody))
	p := openTab(t, d)
	p.see(rcsCard, "paused", "not yet", "Resume …")
	p.picture("overview, paused")
	p.open("/messages/1")
	p.click("button", "Cancel …")
	p.see("dialog", "late is withdrawn and not sent")
	r.do("gates", "resume", "default/rcs")
	r.awaitState("sent", 1)
	p.click("button", "Cancel the message")
	p.see("dialog [role=alert]", "sent")
	p.picture("a question that was refused")
	p.complaints() // the browser tells of an answer of 409
	p.click("button", "Do nothing")
	p.click("button", "Refresh")
	p.see("#message", "sent")
}

func TestInTheDashboardAPersonPausesAndResumesABucket(t *testing.T) {
	r := watched(t, sandbox.Config{})
	d := r.serve()
	r.send(envelope("first", rcsBody))
	r.awaitState("sent", 1)
	p := openTab(t, d)
	p.click("button", "Pause …")
	p.do(chromedp.SendKeys(chromedp.CSS(`dialog input`), "new template is wrong"))
	p.click("button", "Pause")
	p.see(rcsCard, "paused", "new template is wrong")
	p.open("/gates")
	p.see("#list", "default/rcs", "operator", "new template is wrong", "somebody resumes it")
	p.picture("gates")
	p.click("button", "Resume …")
	p.click("button", "Resume")
	p.see("#list", "No gate stands")
}

func TestTheDashboardOffersNoProbeOfWhatNoAnswerOfTheAPICures(t *testing.T) {
	r := watched(t, sandbox.Config{})
	d := r.serve()
	p := openTab(t, d)
	application(t, filepath.Join(r.dir, "weir.db"), `
		INSERT INTO gates (scope, kind, reason, since_at, set_by) VALUES ('daemon:weir', 'degraded', 'NATS is out of reach', 1, 'queue')`)
	p.open("/gates")
	p.see("#list", "NATS is out of reach", "its cause has gone", "Start NATS again")
	if text := p.text("#list"); strings.Contains(text, "Probe …") || strings.Contains(text, "resumes it") {
		t.Errorf("the gate is offered as %q", text)
	}
}

func TestTheDashboardSaysOfABucketThatRunsWhenItTriesAMessageAgain(t *testing.T) {
	r := watched(t, sandbox.Config{Faults: []sandbox.Fault{{Kind: sandbox.Kind402}}})
	r.env["WEIR_PROBE_INTERVAL"] = "1h"
	r.send(envelope("poor", rcsBody))
	p := openTab(t, r.serve())
	p.see(rcsCard, "running", "next try ", "a message waits by itself until then")
	if text := p.text(rcsCard + " .until"); !strings.HasPrefix(text, "next try ") {
		t.Errorf("the card says %q", text)
	}
}

func TestTheDashboardSaysLoudlyThatTheDaemonIsGone(t *testing.T) {
	r := watched(t, sandbox.Config{})
	d := r.serve()
	r.send(envelope("first", rcsBody))
	p := openTab(t, d)
	p.see(rcsCard, "running")
	d.stop()
	p.see("#alarm", "No connection to weir since ")
	p.picture("overview, the daemon is gone")
	r.env["WEIR_LISTEN"] = d.http
	r.serve()
	await(t, "the page has found the daemon again", func() bool { return p.text("#alarm") == "" })
	p.open("/login") // without a stream that the end of the test would cut
	p.complaints()   // the browser tells of each connection that was refused
}

func TestInTheDashboardNothingThatAStrangerSaysBecomesMarkup(t *testing.T) {
	const hostile = `<img/src=x/onerror=alert(1)><script>alert(2)</script>`
	r := watched(t, sandbox.Config{})
	d := r.serve()
	r.do("gates", "pause", "default/rcs", "--reason", hostile)
	r.send(envelope(hostile, rcsBody))
	r.do("messages", "cancel", hostile)
	producer := d.dial()
	producer.publish("weir.send", "", `{"idempotency_key":"k","`+hostile+`":1}`)
	producer.flush()
	await(t, "a payload is rejected", func() bool { return r.ask(`SELECT count(*) FROM rejected`) == 1 })
	p := openTab(t, d)
	for path, selector := range map[string]string{
		"/": rcsCard, "/messages": "#list", "/messages/1": "#message", "/gates": "#list", "/rejected": "#list",
	} {
		p.open(path)
		p.see(selector, hostile)
		if n := ask[int](p, `document.querySelectorAll("img, script:not([src])").length`); n > 0 {
			t.Errorf("%s has %d elements that a stranger made", path, n)
		}
	}
	p.open("/rejected")
	p.click("button", "Show")
	p.see("pre", hostile)
	p.picture("rejected")
	// And if a script forgets itself one day, the browser refuses.
	if said := ask[string](p, `(() => { try { document.body.innerHTML = "<b>"; return "done" } catch (e) { return e.name } })()`); said != "TypeError" {
		t.Errorf("text as markup: %s", said)
	}
	p.complaints()
}

// pagesOf are all pages, with what shows that one is there.
var pagesOf = []struct{ path, selector, text string }{
	{"/", rcsCard, "waiting"}, {"/messages", "#list", "first"}, {"/messages/1", "#message", "first"},
	{"/gates", "#list", "not yet"}, {"/rejected", "main", "Nothing was rejected"},
}

func TestTheDashboardFitsAPhoneAndTheDark(t *testing.T) {
	p := furnished(t)
	for _, scheme := range []string{"light", "dark"} {
		p.scheme(scheme)
		for _, size := range [][2]int64{desktop, phone} {
			p.size(size)
			for _, page := range pagesOf {
				p.open(page.path)
				p.see(page.selector, page.text)
				if width := ask[int64](p, `document.documentElement.scrollWidth`); width > size[0] {
					t.Errorf("%s is %d pixels wide on a screen of %d", page.path, width, size[0])
				}
				for _, fault := range ask[[]string](p, paleTexts) {
					t.Errorf("%s, %s: %s", page.path, scheme, fault)
				}
				p.picture(fmt.Sprintf("page %s %s %d", strings.ReplaceAll(page.path, "/", "_"), scheme, size[0]))
			}
		}
	}
}

// furnished is a tab before a daemon with a message that waits for a gate.
func furnished(t *testing.T) *tab {
	t.Helper()
	r := watched(t, sandbox.Config{})
	d := r.serve()
	r.do("gates", "pause", "default/rcs", "--reason", "not yet")
	r.send(envelope("first", rcsBody))
	return openTab(t, d)
}

// paleTexts finds texts whose contrast to what is behind them is below 4.5 to 1.
const paleTexts = `(() => {
  const parse = (c) => c.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const faults = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.checkVisibility()) continue;
    const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faults.push(e.innerText.slice(0, 40) + ' has a contrast of ' + ratio.toFixed(2));
  }
  return faults;
})()`

func TestTheDashboardCanBeUsedWithoutSightAndWithoutAMouse(t *testing.T) {
	p := furnished(t)
	for _, page := range pagesOf {
		p.open(page.path)
		p.see(page.selector, page.text)
		p.wantNames(page.path)
		if n := ask[int](p, `document.querySelectorAll("h1").length`); n != 1 {
			t.Errorf("%s has %d main headings", page.path, n)
		}
	}
	p.open("/messages/1")
	p.see("#message", "Cancel …")
	p.do(chromedp.KeyEvent("\t"))
	if focused := ask[string](p, `document.activeElement.innerText`); focused != "Skip to the content" {
		t.Errorf("the first stop of the keyboard is %q", focused)
	}
	p.do(chromedp.Focus(`//button[normalize-space()="Cancel …"]`), chromedp.KeyEvent("\r"))
	p.see("dialog", "Cancel this message?")
	p.wantNames("a dialog")
	p.do(chromedp.KeyEvent("\x1b"))
	await(t, "the dialog is closed, and the focus back", func() bool {
		return ask[string](p, `document.querySelector("dialog") ? "" : document.activeElement.innerText`) == "Cancel …"
	})
}

// wantNames checks that whoever hears the page instead of seeing it is told of
// every control what it does, and can jump to its parts.
func (p *tab) wantNames(page string) {
	p.t.Helper()
	tree, err := chromedp.Call(p.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		p.t.Fatal(err)
	}
	named := map[string]bool{
		"button": true, "link": true, "textbox": true, "searchbox": true, "checkbox": true, "combobox": true,
		"meter": true, "image": true, "dialog": true, "table": true, "navigation": true,
	}
	seen := make(map[string]int)
	for _, node := range tree.Nodes {
		if node.Ignored || node.Role == nil {
			continue
		}
		role := strings.Trim(string(node.Role.Value), `"`)
		seen[role]++
		if named[role] && (node.Name == nil || strings.Trim(string(node.Name.Value), `"`) == "") {
			p.t.Errorf("%s: a %s has no name", page, role)
		}
	}
	for _, role := range []string{"main", "navigation", "banner"} {
		if seen[role] != 1 && page != "a dialog" {
			p.t.Errorf("%s has %d parts of the role %s", page, seen[role], role)
		}
	}
}
