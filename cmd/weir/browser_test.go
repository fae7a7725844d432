//go:build browser

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	browserlog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// picturesTo names the environment variable with the directory to which the
// tests write pictures of the pages, for people to look at.
const picturesTo = "WEIR_SCREENSHOTS"

const adminToken = "token-of-the-browser-tests"

// tab is the tab of a real browser.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu     sync.Mutex
	faults []string // what the browser complained about
}

// desktop and phone are sizes of a tab, in CSS pixels.
var (
	desktop = [2]int64{1200, 800}
	phone   = [2]int64{360, 740}
)

// openTab is openBrowser for somebody who has the token.
func openTab(t *testing.T, d *served) *tab {
	t.Helper()
	p := openBrowser(t, d)
	p.open("/login")
	p.logIn(adminToken)
	p.see("h1", "Overview")
	return p
}

func (p *tab) logIn(token string) {
	p.t.Helper()
	p.do(chromedp.SendKeys(chromedp.CSS(`input[name="token"]`), token))
	p.click("button", "Log in")
}

// openBrowser opens a browser before a daemon. It ends with the test, which
// fails if a script failed or the browser refused something.
func openBrowser(t *testing.T, d *served) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	allocator, closeAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeTab := chromedp.NewContext(allocator)
	p := &tab{t: t, ctx: ctx, base: "http://" + d.http}
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("closing the browser: %v", err)
		}
		closeTab()
		closeAllocator()
		for _, fault := range p.complaints() {
			t.Errorf("the browser says: %s", fault)
		}
	})
	p.size(desktop)
	if err := chromedp.Listen(ctx, p.hear); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, browserlog.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// hear keeps scripts that failed, and what the browser refused or could not load.
func (p *tab) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.faults = append(p.faults, fmt.Sprintf("%s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *browserlog.EventEntryAdded:
		if e.Entry.Level == browserlog.EntryLevelError {
			p.faults = append(p.faults, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

// complaints gives what the browser has complained about since it was last asked.
func (p *tab) complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	faults := p.faults
	p.faults = nil
	return faults
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.picture("failed " + p.t.Name())
		p.t.Fatal(err)
	}
}

func (p *tab) open(path string) {
	p.t.Helper()
	p.do(chromedp.Navigate(p.base + path))
}

func (p *tab) size(wh [2]int64) {
	p.t.Helper()
	// Without a limit in time: the first use of the tab starts the browser.
	if err := chromedp.Do(p.ctx, chromedp.EmulateViewport(wh[0], wh[1])); err != nil {
		p.t.Fatal(err)
	}
}

// scheme makes the browser prefer light or dark.
func (p *tab) scheme(name string) {
	p.t.Helper()
	params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, params); err != nil {
		p.t.Fatal(err)
	}
}

// click clicks, with the mouse, what has the role of a tag and says the text.
func (p *tab) click(tag, text string) {
	p.t.Helper()
	p.do(chromedp.Click(fmt.Sprintf(`//%s[normalize-space()=%s]`, tag, strconv.Quote(text))))
}

// ask evaluates an expression in the page, also if that is just being left.
func ask[T any](p *tab, expression string) (value T) {
	p.t.Helper()
	await(p.t, "the page tells "+expression, func() bool {
		var err error
		value, err = chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
		return err == nil
	})
	return value
}

// text gives what a person reads in what a selector finds.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return ask[string](p, fmt.Sprintf(`[...document.querySelectorAll(%q)].map((e) => e.innerText).join("\n")`, selector))
}

// see waits until what the selector finds says all of the texts.
func (p *tab) see(selector string, texts ...string) {
	p.t.Helper()
	var last string
	defer func() {
		if p.t.Failed() {
			p.t.Logf("%s says last: %q", selector, last)
			p.picture("failed " + p.t.Name())
		}
	}()
	expression := fmt.Sprintf(`[...document.querySelectorAll(%q)].map((e) => e.innerText).join("\n")`, selector)
	await(p.t, fmt.Sprintf("%s says %q", selector, texts), func() bool {
		text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](expression))
		if err != nil {
			return false // a page that is being left
		}
		last = text
		for _, want := range texts {
			if !strings.Contains(text, want) {
				return false
			}
		}
		return true
	})
}

// picture takes a picture of the whole page, if pictures are wanted.
func (p *tab) picture(name string) {
	p.t.Helper()
	dir := os.Getenv(picturesTo)
	if dir == "" {
		return
	}
	png, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, "/", "_")+".png"), png, 0o644)
	}
	if err != nil {
		p.t.Error(err)
	}
}
