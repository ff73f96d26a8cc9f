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
	path := os.Getenv("PROPUSK_TEST_TAPE")
	if path == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	b, err := json.Marshal(k)
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

const onAccount = `!document.querySelector("#account").hidden`

func signIn(tab *browser.Tab, p *apptest.Person) {
	tab.Visit("https://" + browser.Host + "/page")
	tab.Type("email_or_name", p.Username)
	tab.Type("password", p.Password)
	tab.Click("#sign-in button:not([type])")
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
		keeper.Present(false) // or else the field logs in at once
		tab.Click("#sign-out")
		tab.WaitFor(`!document.querySelector("#sign-in").hidden`)
	}
	level("aal1")

	signOut()
	keeper.Present(true)
	tab.Click("#with-passkey") // without a name
	level("aal2")
	if body := string(k.last("/auth/login/passkey/options")); body != "{}" {
		t.Errorf("options were asked for with %s", body)
	}

	signOut()
	tab.Type("email_or_name", strings.ToUpper(p.Email))
	keeper.Present(true)
	tab.Click("#with-passkey") // by name
	level("aal2")

	signOut()
	keeper.Present(true)
	tab.Visit("https://" + browser.Host + "/page") // from the field: the browser offers it, and the keeper says yes
	level("aal2")

	a.Clock.Move(20 * time.Minute)
	tab.Click("#add-app")
	tab.WaitFor(`document.querySelector("#message").textContent.includes("reauthenticate")`)
	tab.Click("#prove")
	tab.WaitFor(`document.querySelector("#message").textContent === "Proven."`)
	tab.Click("#add-app")
	tab.WaitFor(`!document.querySelector("#app").hidden && document.querySelector("#qr svg") !== null`)
	seed := tab.Text("#seed")
	code := func() string {
		c, err := totp.GenerateCode(seed, a.Clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	tab.TypeInto("#app [name=code]", code())
	tab.Click("#app button")
	tab.WaitFor(`document.querySelector("#app").hidden`)

	signOut()
	signIn(tab, p)
	tab.WaitFor(`!document.querySelector("#second").hidden`)
	keeper.Present(true)
	tab.Click("#second-passkey") // as second factor
	level("aal2")

	signOut()
	signIn(tab, p)
	tab.WaitFor(`!document.querySelector("#second").hidden`)
	a.Clock.Move(time.Minute)
	tab.TypeInto("#second [name=code]", code())
	tab.Click("#second button:not([type])")
	level("aal2")
	k.save(t)
}
