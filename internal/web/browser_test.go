package web_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"propusk/internal/apptest"
	"propusk/internal/apptest/browser"
	"propusk/internal/outbox"
)

func TestMain(m *testing.M) { os.Exit(browser.Run(m)) }

// overHTTPS is a service on SQLite as browsers meet it: which engine there is they
// cannot tell.
func overHTTPS(t *testing.T, o apptest.Options) *apptest.App {
	t.Helper()
	o.DatabaseURL, o.HTTPS = "sqlite::memory:", true
	return apptest.Start(t, idle(o))
}

// P2, S-26: a browser that opens the link and runs what the page would run, but
// does not click, leaves the link alive and gets no cookie. Then the click works,
// also where JavaScript is off.
func TestLinkInABrowser(t *testing.T) {
	for name, write := range writers {
		a := overHTTPS(t, optionsFor(name))
		for i, lang := range []string{"en", "ru"} {
			t.Run(name+" "+lang, func(t *testing.T) {
				b := browser.New(t, a.Server.Handler())
				l := write(t, a, lang)
				before := everything(t, a)
				scanner := b.Open(t, browser.Options{})
				scanner.Visit(l.Link)
				if got := scanner.Cookies(); len(got) > 0 || everything(t, a) != before {
					t.Fatalf("cookies %q, or the database has changed", got)
				}
				if l.path == "/account/login" {
					return // only the browser that asked may go on, see below
				}
				tab := b.Open(t, browser.Options{Language: lang, NoScript: i == 0})
				tab.Visit(l.Link)
				if len(l.fields) > 0 {
					tab.Type(l.fields[0], l.fields[1])
				}
				tab.Press()
				if got := tab.Text("h1"); !strings.HasSuffix(got, l.done[lang]) || !l.proof(t) || strings.Contains(tab.Address(), "token") {
					t.Errorf("%s at %s", got, tab.Address())
				}
				if got := tab.Cookies(); len(got) > 0 {
					t.Errorf("cookies %q", got)
				}
				a.Clock.Move(time.Hour)
			})
		}
	}
}

// wantSignedIn looks at what a browser holds after a login.
func wantSignedIn(t *testing.T, tab *browser.Tab, want bool) {
	t.Helper()
	cookies := tab.Cookies()
	if got := slices.Contains(cookies, "__Host-propusk-session"); got != want {
		t.Errorf("signed in: %t, with the cookies %q", got, cookies)
	}
	if slices.Contains(cookies, "__Host-propusk-login") && want {
		t.Errorf("the cookie of the request is still there: %q", cookies)
	}
	for _, name := range cookies {
		if !strings.HasPrefix(name, "__Host-") {
			t.Errorf("cookie %s could come from another host", name)
		}
	}
}

// V76: the link signs in the browser that asked for it, and no other. That one is
// shown the code, which works where it was asked for, with and without JavaScript.
func TestLoginLinkInABrowser(t *testing.T) {
	a := overHTTPS(t, apptest.Options{})
	for i, lang := range []string{"en", "ru"} {
		t.Run(lang, func(t *testing.T) {
			b := browser.New(t, a.Server.Handler())
			p := a.NewPerson(t)
			verify(t, a, p)
			ask := func() (*browser.Tab, apptest.Letter) {
				tab := b.Open(t, browser.Options{Language: lang, NoScript: i == 0})
				tab.Visit(apptest.PublicURL + "/account/login")
				tab.Type("email_or_name", p.Username)
				tab.Press()
				return tab, a.Letter(t, p.Email, outbox.LoginCode)
			}
			tab, l := ask()
			phone := b.Open(t, browser.Options{Language: lang, Width: 390})
			phone.Visit(l.Link)
			code := phone.Text(".code")
			if code != l.Code {
				t.Errorf("code %q, want %s", code, l.Code)
			}
			wantSignedIn(t, phone, false)
			tab.Visit(l.Link)
			wantSignedIn(t, tab, false)
			tab.Press()
			wantSignedIn(t, tab, true)

			a.Clock.Move(time.Hour)
			tab, l = ask()
			phone.Visit(l.Link)
			tab.Type("code", phone.Text(".code"))
			tab.Press()
			wantSignedIn(t, tab, true)
			a.Clock.Move(time.Hour)
		})
	}
}

// A forgotten password, from the question to the new one, with a mistake on the
// way that loses nothing.
func TestRecoveryInABrowser(t *testing.T) {
	a := overHTTPS(t, apptest.Options{})
	b := browser.New(t, a.Server.Handler())
	p := a.NewPerson(t)
	tab := b.Open(t, browser.Options{Language: "ru"})
	tab.Visit(apptest.PublicURL + "/account/recover")
	tab.Type("email_or_name", p.Username)
	tab.Press()
	l := a.Letter(t, p.Email, outbox.Recover)
	tab.Type("code", l.Code[:3]+" "+l.Code[3:])
	tab.Type("new_password", "password1")
	tab.Press()
	if got := tab.Text("#new_password-fault"); !strings.Contains(got, "распространённых") {
		t.Errorf("fault %q", got)
	}
	if name := browser.Eval[string](tab, `document.activeElement.name`); name != "new_password" {
		t.Errorf("the focus is on %q", name)
	}
	tab.Type("new_password", otherPassword)
	tab.Press()
	if got := tab.Text("h1"); !strings.HasSuffix(got, "Новый пароль сохранён") {
		t.Errorf("%s", got)
	}
	a.Do(t, "POST", "/auth/login", map[string]any{"email_or_name": p.Username, "password": otherPassword}).Want(t, 200)
}

// S-43, V74: what anybody types is shown as text and runs nothing. The tab fails
// the test at any dialog and at any breach of the policy.
func TestNothingThatIsTypedRuns(t *testing.T) {
	a := overHTTPS(t, apptest.Options{})
	b := browser.New(t, a.Server.Handler())
	tab := b.Open(t, browser.Options{})
	for _, polyglot := range polyglots {
		tab.Visit(apptest.PublicURL + "/account/recover")
		tab.Type("email_or_name", polyglot)
		tab.Press()
		if got := tab.Text("main"); !strings.Contains(got, polyglot) {
			t.Errorf("%q is not shown: %s", polyglot, got)
		}
	}
}

// S-45: a page of another origin that sends the form changes nothing, though it
// knows the token. Where people come by plain HTTP, the service's own page still
// works: browsers tell less of where a form comes from there.
func TestOtherPagesCannotPressTheButton(t *testing.T) {
	t.Run("of another origin", func(t *testing.T) {
		a := overHTTPS(t, apptest.Options{})
		l := verifyLetter(t, a, "en")
		b := browser.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Host == browser.PlainHost {
				fmt.Fprintf(w, `<!doctype html><form method=post action="%s/account/verify"><input name=token value=%s><button>x</button></form>`, apptest.PublicURL, l.Token)
				return
			}
			a.Server.Handler().ServeHTTP(w, r)
		}))
		tab := b.Open(t, browser.Options{})
		tab.Visit("http://" + browser.PlainHost + "/")
		tab.Press()
		if got := tab.Text("main"); !strings.Contains(got, "another origin") || l.proof(t) {
			t.Errorf("%s", got)
		}
	})
	t.Run("of the service, over plain HTTP", func(t *testing.T) {
		a := apptest.Start(t, idle(apptest.Options{DatabaseURL: "sqlite::memory:"}))
		l := verifyLetter(t, a, "en")
		b := browser.New(t, a.Server.Handler())
		tab := b.Open(t, browser.Options{})
		tab.Visit("http://" + browser.PlainHost + below(t, l.Link))
		tab.Press()
		if got := tab.Text("h1"); !strings.HasSuffix(got, l.done["en"]) || !l.proof(t) {
			t.Errorf("%s", tab.Text("main"))
		}
	})
}

// Every page fits the screens of telephones and desks, in light and dark. With
// PROPUSK_SCREENSHOTS, a folder, the test leaves pictures to look at there.
func TestPagesFitTheScreen(t *testing.T) {
	a := overHTTPS(t, apptest.Options{})
	b := browser.New(t, a.Server.Handler())
	folder := os.Getenv("PROPUSK_SCREENSHOTS")
	long := strings.Repeat("long", 30) + "@example.com"
	for _, lang := range []string{"en", "ru"} {
		for _, width := range []int{390, 1200} {
			tab := b.Open(t, browser.Options{Language: lang, Width: width, Dark: (lang == "en") == (width == 390)})
			l := loginLetter(t, a, lang)
			shots := []struct {
				name, path string
				fill       []string
			}{
				{"verify", "/account/verify?token=" + l.Token, nil},
				{"undo", "/account/undo?token=" + l.Token, nil},
				{"recover", "/account/recover?token=" + l.Token, nil},
				{"recover-ask", "/account/recover", nil},
				{"recover-asked", "/account/recover", []string{"email_or_name", long}},
				{"recover-faults", "/account/recover?code", []string{"email_or_name", l.person.Username, "code", "12", "new_password", "x"}},
				{"login-elsewhere", below(t, l.Link), nil},
				{"spent", "/account/verify?token=" + strings.Repeat("A", 43), []string{}},
				{"no-page", "/account/nothing", nil},
			}
			for _, shot := range shots {
				tab.Visit(apptest.PublicURL + shot.path)
				for pair := range slices.Chunk(shot.fill, 2) {
					tab.Type(pair[0], pair[1])
				}
				if shot.fill != nil {
					tab.Press()
				}
				if over := browser.Eval[int](tab, `document.documentElement.scrollWidth - window.innerWidth`); over > 0 {
					t.Errorf("%s in %s is %d pixels wider than %d", shot.name, lang, over, width)
				}
				if folder == "" {
					continue
				}
				file := filepath.Join(folder, fmt.Sprintf("%s-%s-%d.png", shot.name, lang, width))
				if err := os.WriteFile(file, tab.Screenshot(), 0o600); err != nil { //nolint:gosec // in the folder that whoever runs the test has named
					t.Error(err)
				}
			}
			a.Clock.Move(time.Hour)
		}
	}
}
