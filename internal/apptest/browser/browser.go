// Package browser is a real Chromium for tests of pages. One process serves all
// tests of a package; each [Tab] has cookies and a language of its own.
//
// The browser reaches a test's handler under the names that links have, by HTTPS
// as people do, and nothing else in the world. A tab fails its test when the page
// asks for anything from elsewhere, breaks its own Content-Security-Policy, or
// opens a dialog, which is what a script does that got in.
//
// A missing Chromium fails the test: a skip would look as if it had passed.
package browser

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	devtools "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// Host is the name under which the handler is reached by HTTPS, and PlainHost the
// one by HTTP, which browsers trust less.
const (
	Host      = "id.example.com"
	PlainHost = "id.intranet.example"
)

// variable names the browser where it is not in its usual place.
const variable = "PROPUSK_TEST_CHROMIUM"

// process is the one browser, and what it reaches.
type process struct {
	ctx         context.Context
	stop        func()
	tls, plain  *httptest.Server
	turn        sync.Mutex // of the test that it serves
	mu          sync.RWMutex
	handler     http.Handler
	userDataDir string
}

var shared struct { //nolint:gochecknoglobals // a browser takes longer to start than most tests run
	sync.Mutex
	p   *process
	err error
}

// Run runs the tests of a package and ends the browser behind them. It belongs
// into their TestMain.
func Run(m *testing.M) (code int) {
	defer func() {
		shared.Lock()
		defer shared.Unlock()
		if shared.p != nil {
			shared.p.end()
		}
	}()
	return m.Run()
}

func get() (*process, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.p == nil && shared.err == nil {
		shared.p, shared.err = start()
	}
	return shared.p, shared.err
}

func find() (string, error) {
	if path := os.Getenv(variable); path != "" {
		return path, nil
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no Chromium: scripts/test-deps.sh installs it on Debian (apt-get install chromium); elsewhere name one in " + variable)
}

func start() (*process, error) {
	path, err := find()
	if err != nil {
		return nil, err
	}
	p := &process{}
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.RLock()
		h := p.handler
		p.mu.RUnlock()
		if h == nil { // a tab that is being closed
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
	p.tls, p.plain = httptest.NewTLSServer(serve), httptest.NewServer(serve)
	if p.userDataDir, err = os.MkdirTemp("", "propusk-browser-"); err != nil {
		return nil, fmt.Errorf("folder of the browser: %w", err)
	}
	at := func(s *httptest.Server) string {
		return strings.TrimPrefix(strings.TrimPrefix(s.URL, "https://"), "http://")
	}
	o := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(p.userDataDir),
		chromedp.Flag("ignore-certificate-errors", true), // the test server's own
		chromedp.Flag("host-resolver-rules", "MAP "+Host+" "+at(p.tls)+", MAP "+PlainHost+" "+at(p.plain)+", MAP * ~NOTFOUND"),
		chromedp.Flag("disable-features", "Translate,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,OptimizationHints,MediaRouter"),
		chromedp.Flag("hide-scrollbars", true),
	)
	if os.Geteuid() == 0 {
		o = append(o, chromedp.NoSandbox) // Chromium's does not run as root
	}
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), o...)
	ctx, stop := chromedp.NewContext(allocator)
	p.ctx = ctx
	p.stop = func() {
		stop()
		stopAllocator()
	}
	if err := chromedp.Do(ctx); err != nil {
		p.end()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return p, nil
}

func (p *process) end() {
	p.stop()
	p.tls.Close()
	p.plain.Close()
	_ = os.RemoveAll(p.userDataDir) // it is in the folder of what may go
}

// Options are how somebody looks at pages.
type Options struct {
	Language string // of the browser, as Accept-Language has it; "": en
	Dark     bool
	Width    int  // in pixels; 0: 1200
	NoScript bool // JavaScript is off
}

// Browser serves one test.
type Browser struct{ p *process }

// New has the browser reach a handler until the test ends. Tests take turns.
func New(t testing.TB, h http.Handler) *Browser {
	t.Helper()
	p, err := get()
	if err != nil {
		t.Fatal(err)
	}
	p.turn.Lock()
	p.mu.Lock()
	p.handler = h
	p.mu.Unlock()
	t.Cleanup(func() {
		p.mu.Lock()
		p.handler = nil
		p.mu.Unlock()
		p.turn.Unlock()
	})
	return &Browser{p}
}

const userAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36"

// call runs a command of the DevTools protocol.
func call[P, R any](tab *Tab, command cdp.Command[P, R], params P) R {
	tab.t.Helper()
	r, err := chromedp.Call(tab.ctx, command, params)
	if err != nil {
		tab.t.Fatalf("browser: %s: %v", command.Method, err)
	}
	return r
}

// run runs an action.
func run[T any](tab *Tab, action chromedp.Action[T]) T {
	tab.t.Helper()
	r, err := chromedp.Run(tab.ctx, action)
	if err != nil {
		tab.t.Fatalf("browser: %v", err)
	}
	return r
}

// Tab is somebody's browser, with nothing in it yet.
type Tab struct {
	t   testing.TB
	ctx context.Context

	mu     sync.Mutex
	faults []string
}

// timeout is for whatever a test does with a tab.
const timeout = 20 * time.Second

// Open opens a tab.
func (b *Browser) Open(t testing.TB, o Options) *Tab {
	t.Helper()
	tab := &Tab{t: t}
	ctx, stop := chromedp.NewContext(b.p.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(tab.listen))
	t.Cleanup(stop)
	ctx, stopTimer := context.WithTimeout(ctx, timeout)
	t.Cleanup(stopTimer)
	tab.ctx = ctx
	scheme, width := "light", o.Width
	if o.Dark {
		scheme = "dark"
	}
	if width == 0 {
		width = 1200
	}
	if o.Language == "" {
		o.Language = "en"
	}
	call(tab, network.Enable, network.EnableParams{})
	call(tab, devtools.Enable, cdp.Empty{})
	call(tab, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: userAgent, AcceptLanguage: o.Language})
	call(tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(width), Height: 844, DeviceScaleFactor: 1, Mobile: width < 600,
	})
	call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	call(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: o.NoScript})
	t.Cleanup(func() {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		for _, f := range tab.faults {
			t.Errorf("the page: %s", f)
		}
	})
	return tab
}

func (tab *Tab) listen(event any) {
	fault := ""
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || u.Hostname() != Host && u.Hostname() != PlainHost && u.Scheme != "about" {
			fault = "asks for " + e.Request.URL
		}
	case *devtools.EventEntryAdded:
		// A page with another status than 200 is an error of the network, and one by
		// plain HTTP is told that this header is not for it.
		if e.Entry.Level == devtools.EntryLevelError && e.Entry.Source != devtools.EntrySourceNetwork &&
			!strings.HasPrefix(e.Entry.Text, "The Cross-Origin-Opener-Policy header has been ignored") {
			fault = e.Entry.Text
		}
	case *page.EventJavascriptDialogOpening:
		fault = "opens a dialog: " + e.Message
		go func() { // a tab that is closed has none
			_, _ = chromedp.Call(tab.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
		}()
	}
	if fault != "" {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		tab.faults = append(tab.faults, fault)
	}
}

// Visit opens an address and waits for the page.
func (tab *Tab) Visit(address string) {
	tab.t.Helper()
	run(tab, chromedp.Navigate(address))
}

// Press presses the only button of the page, and waits for the next one.
func (tab *Tab) Press() {
	tab.t.Helper()
	click(tab, chromedp.CSS("button"))
}

// Follow follows the link with this text, and waits for the next page.
func (tab *Tab) Follow(text string) {
	tab.t.Helper()
	click(tab, chromedp.Search(`//a[text()="`+text+`"]`))
}

func click[S chromedp.Selectable](tab *Tab, what S) {
	tab.t.Helper()
	if _, err := chromedp.RunResponse(tab.ctx, chromedp.Click(what, chromedp.NodeVisible)); err != nil {
		tab.t.Fatalf("browser: click on %v: %v", what, err)
	}
}

// Type types into the field of a name.
func (tab *Tab) Type(name, text string) {
	tab.t.Helper()
	run(tab, chromedp.SendKeys(chromedp.CSS(`input[name="`+name+`"]`), text, chromedp.NodeVisible))
}

// Text is what an element shows.
func (tab *Tab) Text(selector string) string {
	tab.t.Helper()
	return run(tab, chromedp.Text(chromedp.CSS(selector)))
}

// Address is where the tab is.
func (tab *Tab) Address() string {
	tab.t.Helper()
	return run(tab, chromedp.Location())
}

// Eval gives what a JavaScript expression is worth in the page.
func Eval[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	return run(tab, chromedp.Evaluate[T](expression))
}

// Cookies gives the names of the cookies that the browser holds, also of those
// that no script sees.
func (tab *Tab) Cookies() (names []string) {
	tab.t.Helper()
	urls := []string{"https://" + Host + "/", "http://" + PlainHost + "/"}
	for _, c := range call(tab, network.GetCookies, network.GetCookiesParams{URLs: urls}).Cookies {
		names = append(names, c.Name)
	}
	return names
}

// Screenshot is the whole page as a PNG.
func (tab *Tab) Screenshot() []byte {
	tab.t.Helper()
	return run(tab, chromedp.FullScreenshot(100))
}
