package api_test

import (
	"bytes"
	"io"
	"net/http"
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

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/apptest/browser"
)

func TestMain(m *testing.M) { os.Exit(browser.Run(m)) }

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

// withPage serves the page of docs/second-factors.md at /page, and the service
// beside it.
func (k *tape) withPage(t *testing.T, service http.Handler) http.Handler {
	t.Helper()
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
func (k *tape) save(t *testing.T) {
	t.Helper()
	if os.Getenv("PROPUSK_TEST_TAPE") == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	b, err := json.Marshal(k)
	if err == nil {
		err = os.WriteFile(filepath.Join("..", "..", ".cache", "passkeys.json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

const onAccount = `!document.querySelector("#account").hidden`

// signIn opens the page and gives it the password, fill does so where it is open.
func signIn(tab *browser.Tab, p *apptest.Person) {
	tab.Visit("https://" + browser.Host + "/page")
	fill(tab, p)
}

func fill(tab *browser.Tab, p *apptest.Person) {
	tab.TypeInto("#sign-in [name=email_or_name]", p.Username)
	tab.TypeInto("#sign-in [name=password]", p.Password)
	tab.Click("#sign-in button:not([type])")
}

func codeOf(t *testing.T, seed string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(seed, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// S-37: a real browser adds a passkey, and logs in with it without a name, by
// name, from the autofill of a field, and as second factor; and it proves again
// who one is. The page is the one that docs/second-factors.md offers for copying.
func TestPasskeysInARealBrowser(t *testing.T) {
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:", HTTPS: true})
	p, k := a.NewPerson(t), &tape{}
	b := browser.New(t, k.withPage(t, a.Server.Handler()))
	tab := b.Open(t, browser.Options{})
	keeper := tab.KeepPasskeys()
	message := func() string { return tab.Text("#message") }

	signIn(tab, p)
	tab.WaitFor(onAccount)
	tab.Click("#add-passkey")
	tab.WaitFor(`!document.querySelector("#codes").hidden`)
	if codes := strings.Fields(tab.Text("#codes pre")); len(codes) != 10 || keeper.Count() != 1 {
		t.Fatalf("%d recovery codes, %d passkeys: %s", len(codes), keeper.Count(), message())
	}
	level := func(want string) {
		t.Helper()
		tab.WaitFor(onAccount)
		if got := tab.Text("#level"); got != want {
			t.Errorf("level %q, want %q: %s", got, want, message())
		}
	}
	signOut := func() {
		// The keeper says yes at once: with an offer in the field nobody stays out.
		browser.Eval[bool](tab, `PublicKeyCredential.isConditionalMediationAvailable = async () => false, true`)
		tab.Click("#sign-out")
		tab.WaitFor(`!document.querySelector("#sign-in").hidden`)
	}
	level("aal1")

	signOut()
	tab.Click("#with-passkey") // without a name
	level("aal2")
	if body := string(k.last("/auth/login/passkey/options")); body != "{}" {
		t.Errorf("options were asked for with %s", body)
	}

	signOut()
	tab.Type("email_or_name", strings.ToUpper(p.Email))
	tab.Click("#with-passkey") // by name
	level("aal2")

	signOut()
	tab.Visit("https://" + browser.Host + "/page") // from the field: the browser offers it, and the keeper says yes
	level("aal2")

	a.Clock.Move(20 * time.Minute)
	tab.Click("#add-app")
	tab.Click("#again-passkey") // the page asks, since the last proof is too old
	tab.WaitFor(onAccount)
	tab.Click("#add-app")
	tab.WaitFor(`!document.querySelector("#app").hidden && document.querySelector("#qr svg") !== null`)
	seed := tab.Text("#seed")
	code := func() string { return codeOf(t, seed, a.Clock.Now()) }
	tab.TypeInto("#app [name=code]", code())
	tab.Click("#app button")
	tab.WaitFor(`document.querySelector("#app").hidden`)

	signOut()
	fill(tab, p)
	tab.WaitFor(`!document.querySelector("#second").hidden`)
	tab.Click("#second-passkey") // as second factor
	level("aal2")

	signOut()
	fill(tab, p)
	tab.WaitFor(`!document.querySelector("#second").hidden`)
	a.Clock.Move(time.Minute)
	tab.TypeInto("#second [name=code]", code())
	tab.Click("#second button:not([type])")
	level("aal2")

	k.save(t)
}

// V42: on the same page, who must have a second factor and has none adds an app in
// his login, and may have the device go without it the next time.
func TestRequiredFactorIsAddedInARealBrowser(t *testing.T) {
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:", HTTPS: true, Policy: func(p *account.Policy) {
		p.RequiredFactor, p.TrustDevices = []string{"all"}, 24*time.Hour
	}})
	p := &apptest.Person{Username: "vera", Password: apptest.GoodPassword}
	a.Do(t, "POST", "/auth/register", map[string]any{"username": p.Username, "email": "vera@example.com", "password": p.Password}).Want(t, 201)
	b := browser.New(t, (&tape{}).withPage(t, a.Server.Handler()))
	tab := b.Open(t, browser.Options{})
	signIn(tab, p)
	tab.Click("#enrol-app")
	tab.WaitFor(`!document.querySelector("#app").hidden`)
	seed := tab.Text("#seed")
	tab.TypeInto("#app [name=code]", codeOf(t, seed, a.Clock.Now()))
	tab.Click("#app button")
	tab.WaitFor(`!document.querySelector("#codes").hidden`)
	if codes := strings.Fields(tab.Text("#codes pre")); len(codes) != 10 {
		t.Errorf("%d recovery codes", len(codes))
	}
	a.Clock.Move(time.Minute)
	for i, trusted := range []bool{false, true} {
		tab.Click("#sign-out")
		tab.WaitFor(`!document.querySelector("#sign-in").hidden`)
		fill(tab, p)
		if !trusted {
			tab.Click("#second [name=trust_device]")
			tab.TypeInto("#second [name=code]", codeOf(t, seed, a.Clock.Now()))
			tab.Click("#second button:not([type])")
		}
		tab.WaitFor(onAccount)
		if got, want := tab.Text("#level"), []string{"aal2", "aal1"}[i]; got != want {
			t.Errorf("trusted %t: level %q, want %q", trusted, got, want)
		}
	}
}
