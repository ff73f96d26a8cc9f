package dev_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/apptest/browser"
)

func TestMain(m *testing.M) { os.Exit(browser.Run(m)) }

// The inbox in a real browser, which fails the test for whatever a page may not
// do: its script shows what comes without being asked, its buttons work with and
// without it, and a mail in its frame has no part in the page.
func TestInboxInABrowser(t *testing.T) {
	o := throwaway(func(p *account.Policy) { p.FixedCode = "271828" })
	o.HTTPS = true
	a := start(t, o)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go a.Outbox.Run(ctx) // as propusk dev does
	b := browser.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/dev") {
			r.Host = "localhost:8001" // the browser of tests knows one name only
		}
		a.Server.Handler().ServeHTTP(w, r)
	}))
	const inbox = apptest.PublicURL + "/dev/inbox"
	for i, c := range []struct{ lang, title, empty string }{{"en", "Inbox", "Empty the inbox"}, {"ru", "Входящие", "Очистить"}} {
		watching := b.Open(t, browser.Options{Language: c.lang, Dark: i == 1})
		still := b.Open(t, browser.Options{Language: c.lang, Width: 390, NoScript: true})
		watching.Visit(inbox)
		still.Visit(inbox)
		if got := watching.Text("h1"); got != c.title {
			t.Fatalf("title %q, want %q", got, c.title)
		}
		register(t, a, "someone-"+c.lang, c.lang+"@example.com")
		comes(t, func() bool {
			return browser.Eval[int](watching, `document.querySelectorAll(".messages li").length`) == 1
		})
		if got := watching.Text(".code"); got != "271828" {
			t.Errorf("code %q", got)
		}
		picture(t, watching, "inbox-"+c.lang)
		watching.Visit(apptest.PublicURL + browser.Eval[string](watching, `new URL(document.querySelector(".messages a").href).pathname`))
		if !browser.Eval[bool](watching, `document.querySelector("iframe").contentDocument === null`) {
			t.Error("the mail is of the page's own origin")
		}
		if got := browser.Eval[string](watching, `document.querySelector("a.open").href`); !strings.HasPrefix(got, apptest.PublicURL+"/account/verify?") {
			t.Errorf("link %q", got)
		}
		picture(t, watching, "message-"+c.lang)

		still.Visit(inbox)
		picture(t, still, "still-"+c.lang)
		if got := browser.Eval[int](still, `document.querySelectorAll(".messages li").length`); got != 1 {
			t.Errorf("%d messages without a script, want 1", got)
		}
		still.Press() // the first button: empty the inbox
		if got := browser.Eval[int](still, `document.querySelectorAll(".messages li").length`); got != 0 || still.Address() != inbox {
			t.Errorf("%d messages at %s after the inbox was emptied", got, still.Address())
		}
	}
}

// comes waits until something is so.
func comes(t *testing.T, so func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

// picture keeps a screenshot where PROPUSK_SCREENSHOTS names a folder, for
// people to look at.
func picture(t *testing.T, tab *browser.Tab, name string) {
	t.Helper()
	folder := os.Getenv("PROPUSK_SCREENSHOTS")
	if folder == "" {
		return
	}
	file := filepath.Join(folder, "dev-"+name+".png")
	if err := os.WriteFile(file, tab.Screenshot(), 0o600); err != nil { //nolint:gosec // who runs the test names the folder
		t.Error(err)
	}
}
