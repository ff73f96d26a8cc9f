package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/pquerna/otp/totp"

	"propusk/internal/apptest/browser"
	"propusk/internal/apptest/pgtest"
)

// tape keeps what passes between a browser and the service.
type tape struct {
	mu        sync.Mutex
	Exchanges []*exchange `json:"exchanges"`
}

// exchange is one call of the page.
type exchange struct {
	http.ResponseWriter `json:"-"`

	Path     string         `json:"path"`
	Request  jsontext.Value `json:"request,omitzero"`
	Response jsontext.Value `json:"response,omitzero"`
}

func (e *exchange) Write(b []byte) (int, error) {
	e.Response = append(e.Response, b...)
	return e.ResponseWriter.Write(b) //nolint:wrapcheck // in its place
}

// withPage serves the page of docs/second-factors.md at /page, and beside it the
// program, as the proxy of an operator does who ends HTTPS there.
func (k *tape) withPage(t *testing.T, p *process) http.Handler {
	t.Helper()
	target, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	service := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "second-factors.html"))
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/page":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write(page)
			return
		case "/favicon.ico":
			w.WriteHeader(http.StatusNoContent)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		e := &exchange{ResponseWriter: w, Path: r.URL.Path}
		if len(body) > 0 {
			e.Request = body
		}
		service.ServeHTTP(e, r)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.Exchanges = append(k.Exchanges, e)
	})
}

func (k *tape) last(path string) jsontext.Value {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range slices.Backward(k.Exchanges) {
		if e.Path == path {
			return e.Request
		}
	}
	return nil
}

// save writes the tape where scripts/verify-passkeys.sh wants it.
func (k *tape) save(t *testing.T, engine string) {
	t.Helper()
	if os.Getenv("PROPUSK_TEST_TAPE") == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	b, err := json.Marshal(k)
	if err == nil {
		err = os.WriteFile(filepath.Join("..", "..", ".cache", "passkeys-"+engine+".json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

const onAccount = `!document.querySelector("#account").hidden`

// person is a user of the program.
type person struct{ name, email, password string }

// serveTo starts the program as an operator does behind a proxy that ends HTTPS,
// on each engine, and registers somebody.
func serveTo(t *testing.T, walk func(t *testing.T, engine string, p *process, who person), more ...string) {
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			dir := t.TempDir()
			database := "sqlite:" + filepath.Join(dir, "propusk.db")
			if engine == "postgres" {
				database = pgtest.URL(t)
			}
			p := run(t, dir, append([]string{
				"serve", "--database=" + database, "--master-key-file=" + filepath.Join(dir, "master.key"),
				"--public-url=https://" + browser.Host, "--trusted-proxies=127.0.0.0/8",
			}, more...)...)
			who := person{"vera", "vera@example.com", "velvet-Anchor-71-quartz"}
			replay(t, p, example{method: "POST", path: "/auth/register", body: `{"username":"` + who.name + `","email":"` + who.email + `","password":"` + who.password + `"}`}, "")
			walk(t, engine, p, who)
		})
	}
}

// open opens the page.
func open(tab *browser.Tab) { tab.Visit("https://" + browser.Host + "/page") }

// fill gives the page the password.
func fill(tab *browser.Tab, who person) {
	tab.TypeInto("#sign-in [name=email_or_name]", who.name)
	tab.TypeInto("#sign-in [name=password]", who.password)
	tab.Click("#sign-in button:not([type])")
}

// signOut waits until the page can be filled again.
func signOut(tab *browser.Tab) {
	// The keeper says yes at once: with an offer in the field nobody stays out.
	browser.Eval[bool](tab, `PublicKeyCredential.isConditionalMediationAvailable = async () => false, true`)
	tab.Click("#sign-out")
	tab.WaitFor(`!document.querySelector("#sign-in").hidden`)
}

func codeOf(t *testing.T, seed string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(seed, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// nextCode is the code that the app shows next. It counts already, and so nobody
// has to wait where the code of now has been used.
func nextCode(t *testing.T, seed string) string {
	t.Helper()
	return codeOf(t, seed, time.Now().Add(30*time.Second))
}

// wantLevel waits until somebody is signed in, and judges how.
func wantLevel(t *testing.T, tab *browser.Tab, want string) {
	t.Helper()
	tab.WaitFor(onAccount)
	if got := tab.Text("#level"); got != want {
		t.Errorf("level %q, want %q: %s", got, want, tab.Text("#message"))
	}
}

// S-37: against the running program, a real browser adds a passkey, proves again
// with it who one is, and logs in with it without a name, by name, from the
// autofill of a field, and as second factor. The page is the one that
// docs/second-factors.md offers for copying.
func TestPasskeysInARealBrowser(t *testing.T) {
	serveTo(t, func(t *testing.T, engine string, p *process, who person) {
		k := &tape{}
		tab := browser.New(t, k.withPage(t, p)).Open(t, browser.Options{})
		keeper := tab.KeepPasskeys()
		wantAsked := func(want ...string) {
			t.Helper()
			if got := keeper.Asked(); !slices.Equal(got, want) {
				t.Errorf("the page has asked for passkeys with mediation %q, want %q", got, want)
			}
		}

		open(tab)
		fill(tab, who)
		wantLevel(t, tab, "aal1")
		tab.Click("#add-passkey")
		tab.WaitFor(`!document.querySelector("#codes").hidden`)
		if codes := strings.Fields(tab.Text("#codes pre")); len(codes) != 10 || keeper.Count() != 1 {
			t.Fatalf("%d recovery codes, %d passkeys: %s", len(codes), keeper.Count(), tab.Text("#message"))
		}

		tab.Click("#add-app")
		tab.Click("#again-passkey") // the page asks: this session has proven a password only
		tab.WaitFor(onAccount)
		tab.Click("#add-app")
		tab.WaitFor(`!document.querySelector("#app").hidden && document.querySelector("#qr svg") !== null`)
		seed := tab.Text("#seed")
		tab.TypeInto("#app [name=code]", codeOf(t, seed, time.Now()))
		tab.Click("#app button")
		tab.WaitFor(`document.querySelector("#app").hidden`)

		signOut(tab)
		tab.Click("#with-passkey") // without a name
		wantLevel(t, tab, "aal2")
		if body := string(k.last("/auth/login/passkey/options")); body != "{}" {
			t.Errorf("options were asked for with %s", body)
		}

		signOut(tab)
		tab.Type("email_or_name", strings.ToUpper(who.email))
		tab.Click("#with-passkey") // by name
		wantLevel(t, tab, "aal2")
		wantAsked("conditional", "optional", "optional", "optional")

		// From the field: nobody clicks. What is asked for without mediation would be
		// answered too, by a window over the page in the place of an offer in the field.
		signOut(tab)
		open(tab)
		wantLevel(t, tab, "aal2")
		wantAsked("conditional")
		if got := browser.Eval[string](tab, `document.querySelector("#sign-in [name=email_or_name]").autocomplete`); got != "username webauthn" {
			t.Errorf("the field of the name has autocomplete %q", got)
		}

		signOut(tab)
		fill(tab, who)
		tab.WaitFor(`!document.querySelector("#second").hidden`)
		tab.Click("#second-passkey") // as second factor
		wantLevel(t, tab, "aal2")

		signOut(tab)
		fill(tab, who)
		tab.WaitFor(`!document.querySelector("#second").hidden`)
		tab.TypeInto("#second [name=code]", nextCode(t, seed))
		tab.Click("#second button:not([type])")
		wantLevel(t, tab, "aal2")

		k.save(t, engine)
	})
}

// V42: on the same page, who must have a second factor and has none adds an app in
// his login, and may have the device go without it the next time.
func TestRequiredFactorIsAddedInARealBrowser(t *testing.T) {
	serveTo(t, func(t *testing.T, _ string, p *process, who person) {
		tab := browser.New(t, (&tape{}).withPage(t, p)).Open(t, browser.Options{})
		open(tab)
		fill(tab, who)
		tab.Click("#enrol-app")
		tab.WaitFor(`!document.querySelector("#app").hidden`)
		seed := tab.Text("#seed")
		tab.TypeInto("#app [name=code]", codeOf(t, seed, time.Now()))
		tab.Click("#app button")
		tab.WaitFor(`!document.querySelector("#codes").hidden`)
		if codes := strings.Fields(tab.Text("#codes pre")); len(codes) != 10 {
			t.Errorf("%d recovery codes", len(codes))
		}
		for i, trusted := range []bool{false, true} {
			signOut(tab)
			fill(tab, who)
			if !trusted {
				tab.Click("#second [name=trust_device]")
				tab.TypeInto("#second [name=code]", nextCode(t, seed))
				tab.Click("#second button:not([type])")
			}
			wantLevel(t, tab, []string{"aal2", "aal1"}[i])
		}
	}, "--require-second-factor=all", "--trust-devices=24h")
}
