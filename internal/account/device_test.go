package account_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/secret"
)

const deviceHeader = "X-Device-Token"

// mark logs the person in and gives the mark that this leaves on the device.
func mark(t testing.TB, c *apptest.Client, p *apptest.Person) string {
	t.Helper()
	got := c.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password)).Want(t, http.StatusOK)
	m := got.Header.Get(deviceHeader)
	if m == "" {
		t.Fatal("a login left no mark")
	}
	return m
}

// exhaust tries wrong passwords until the account's strangers have to wait.
func exhaust(t testing.TB, a *apptest.App, p *apptest.Person) {
	t.Helper()
	for range 1000 {
		if tryLogin(t, a.Client, p.Username, wrongPassword).Status == http.StatusTooManyRequests {
			return
		}
	}
	t.Fatal("a thousand guesses")
}

// S-21, N12: 10,000 addresses guess at one account. Its owner gets in at the
// first try from a device from which he logged in before, with the header as
// with the cookie, and by every route that checks the password; a restart
// changes nothing.
func TestStrangersDoNotKeepTheOwnerOut(t *testing.T) {
	t.Parallel()
	const addresses, guessers = 10_000, 16
	apptest.Each(t, throughProxy(attempts(10)), func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		login := a.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password)).Want(t, http.StatusOK)
		known := login.Header.Get(deviceHeader)
		cookie, _, _ := strings.Cut(login.Header.Get("Set-Cookie"), ";")
		before := hashes(a)
		var wrong, refused atomic.Int64
		together(guessers, func(g int) {
			w := newWire(t, a)
			for i := g; i < addresses; i += guessers {
				from := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
				switch code, b := w.sendFrom(t, from, "/auth/login", `{"email_or_name":"`+p.Email+`","password":"`+wrongPassword+`"}`); code {
				case http.StatusUnauthorized:
					wrong.Add(1)
				case http.StatusTooManyRequests:
					refused.Add(1)
				default:
					t.Errorf("%s: status %d: %s", from, code, b)
				}
			}
		})
		if wrong.Load() != 10 || hashes(a)-before != 10 || refused.Load() != addresses-10 {
			t.Errorf("%d wrong, %d hashes, %d refused", wrong.Load(), hashes(a)-before, refused.Load())
		}
		retryAfter(t, tryLogin(t, a.Client, p.Username, p.Password))
		for _, node := range []*apptest.App{a, anotherNode(t, a, throughProxy(attempts(10)))} {
			for name, c := range map[string]*apptest.Client{
				"header": node.With(deviceHeader, known), "cookie": node.With("Cookie", "other=1; "+cookie), "among others": node.With(deviceHeader, "x").With(deviceHeader, known),
			} {
				got := tryLogin(t, c, p.Username, p.Password)
				if got.Status != http.StatusOK {
					t.Errorf("%s: the owner is kept out: %d: %s", name, got.Status, got.Body)
				}
			}
		}
		proof := p.With(deviceHeader, known).Do(t, "POST", "/auth/reauthenticate", map[string]any{"password": p.Password}).Want(t, http.StatusOK)
		a.As(proof.Text("token")).With(deviceHeader, known).Do(t, "PATCH", "/"+p.ID, map[string]any{"email": "new-" + p.Email, "current_password": p.Password}).Want(t, http.StatusOK)
		// His success gives the strangers nothing.
		retryAfter(t, tryLogin(t, a.Client, p.Username, wrongPassword))
	})
}

// sendFrom posts as somebody behind a trusted proxy.
func (w *wire) sendFrom(t testing.TB, from, path, body string) (int, []byte) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.base+path, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Forwarded-For", from)
	return w.do(t, r)
}

// A device has a budget of its own: whoever sits at it and guesses has to wait
// there, and no stranger for him.
func TestDeviceHasABudgetOfItsOwn(t *testing.T) {
	t.Parallel()
	apptest.Each(t, attempts(4), func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		home, work := a.With(deviceHeader, mark(t, a.Client, p)), a.With(deviceHeader, mark(t, a.Client, p))
		for range 4 {
			tryLogin(t, home, p.Username, wrongPassword).Want(t, http.StatusUnauthorized, "invalid_credentials")
		}
		if wait := retryAfter(t, tryLogin(t, home, p.Email, p.Password)); wait != time.Minute {
			t.Errorf("wait of %v", wait)
		}
		tryLogin(t, work, p.Username, p.Password).Want(t, http.StatusOK)
		tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusOK)
		a.Clock.Move(time.Minute)
		tryLogin(t, home, p.Username, p.Password).Want(t, http.StatusOK)
		for range 4 {
			tryLogin(t, home, p.Username, wrongPassword).Want(t, http.StatusUnauthorized)
		}
	})
}

// S-18, N9, N12: a hundred wrong passwords in a row, however slowly and whoever
// sends them, and the password is worth nothing from an unknown device. The
// answer is that of a wrong one. A known device opens the door again, and so do
// an operator and a new password.
func TestHundredFailuresCloseThePassword(t *testing.T) {
	t.Parallel()
	for name, reopen := range map[string]func(t *testing.T, a *apptest.App, p *apptest.Person, known *apptest.Client){
		"known device": func(t *testing.T, _ *apptest.App, p *apptest.Person, known *apptest.Client) {
			tryLogin(t, known, p.Username, p.Password).Want(t, http.StatusOK)
		},
		"operator": func(t *testing.T, a *apptest.App, p *apptest.Person, _ *apptest.Client) {
			must(t, a.Service.UnlockUser(t.Context(), operator(), p.ID))
		},
		"new password": func(t *testing.T, a *apptest.App, p *apptest.Person, known *apptest.Client) {
			own := &apptest.Person{Username: p.Username, Password: p.Password}
			own.Login(t, known)
			own.Do(t, "POST", "/auth/password", map[string]any{"current_password": p.Password, "new_password": nextPassword}).Want(t, http.StatusOK)
			p.Password = nextPassword
		},
	} {
		t.Run(name, func(t *testing.T) {
			apptest.Each(t, attempts(10), func(t *testing.T, a *apptest.App) {
				p := a.NewPerson(t)
				known := a.With(deviceHeader, mark(t, a.Client, p))
				for i := range 100 {
					for tryLogin(t, a.Client, p.Username, wrongPassword).Want2(t, http.StatusUnauthorized, http.StatusTooManyRequests) == http.StatusTooManyRequests {
						a.Clock.Move(time.Hour)
					}
					if i == 50 { // nor does a quiet month help
						a.Clock.Move(30 * 24 * time.Hour)
						must(t, a.Service.Sweep(t.Context()))
					}
				}
				a.Clock.Move(25 * time.Hour)
				must(t, a.Service.Sweep(t.Context()))
				closed := tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusUnauthorized, "invalid_credentials")
				wrong := tryLogin(t, a.Client, p.Username, wrongPassword).Want(t, http.StatusUnauthorized)
				if string(closed.Body) != string(wrong.Body) {
					t.Errorf("%s differs from %s", closed.Body, wrong.Body)
				}
				restarted := anotherNode(t, a, attempts(10))
				restarted.Clock.Move(a.Clock.Now().Sub(restarted.Clock.Now()))
				tryLogin(t, restarted.Client, p.Email, p.Password).Want(t, http.StatusUnauthorized, "invalid_credentials")
				known = a.With(deviceHeader, mark(t, known, p)) // it is renewed with each login, and opens the door
				for range 100 {
					for tryLogin(t, a.Client, p.Username, wrongPassword).Status == http.StatusTooManyRequests {
						a.Clock.Move(time.Hour)
					}
				}
				a.Clock.Move(25 * time.Hour)
				tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusUnauthorized)
				reopen(t, a, p, known)
				tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusOK)
			})
		})
	}
}

// S-18: a device that has failed a hundred times in a row is a stranger.
func TestDeviceThatGuessesBecomesAStranger(t *testing.T) {
	t.Parallel()
	apptest.Each(t, attempts(10), func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		device := a.With(deviceHeader, mark(t, a.Client, p))
		for range 100 {
			for tryLogin(t, device, p.Username, wrongPassword).Status == http.StatusTooManyRequests {
				a.Clock.Move(time.Hour)
			}
		}
		a.Clock.Move(2 * time.Hour)
		tryLogin(t, device, p.Username, p.Password).Want(t, http.StatusUnauthorized, "invalid_credentials")
		must(t, a.Service.UnlockUser(t.Context(), operator(), p.ID))
		tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusOK)
	})
}

// S-08, S-09, V25, V59: a mark counts for its account, whole, for its time and
// under its key; and it is worth nothing but that.
func TestOnlyTheAccountsOwnMarkMakesADeviceKnown(t *testing.T) {
	t.Parallel()
	apptest.Each(t, attempts(3), func(t *testing.T, a *apptest.App) {
		p, thief := a.NewPerson(t), a.NewPerson(t)
		own, foreign := mark(t, a.Client, p), mark(t, a.Client, thief)
		exhaust(t, a, p)
		b := apptest.Start(t, apptest.Options{DatabaseURL: freshURL(t, a.Engine), Keys: secret.NewKeys()})
		q := b.NewPerson(t)
		flipped := []byte(own)
		flipped[5] ^= 1
		for what, m := range map[string]string{
			"another account's": foreign, "of another installation": mark(t, b.Client, q), "changed": string(flipped), "cut": own[:len(own)-1], "longer": own + "A",
			"in other case": strings.ToUpper(own), "padded": own + "==", "empty": "", "the token": p.Token, "his id": p.ID, "with another's tail": own[:32] + foreign[32:],
		} {
			got := tryLogin(t, a.With(deviceHeader, m), p.Username, p.Password)
			if got.Status != http.StatusTooManyRequests {
				t.Errorf("%s: status %d", what, got.Status)
			}
		}
		for _, c := range []struct{ method, path string }{{"GET", "/auth/session"}, {"GET", "/auth/forward"}, {"GET", "/" + p.ID}} {
			a.As(own).Do(t, c.method, c.path, nil).Want(t, http.StatusUnauthorized)
			a.With(deviceHeader, own).Do(t, c.method, c.path, nil).Want(t, http.StatusUnauthorized)
		}
		tryLogin(t, a.With(deviceHeader, own), thief.Username, wrongPassword).Want(t, http.StatusUnauthorized)
		// To the second: it ends 180 days after the login that left it.
		a.Clock.Move(180*24*time.Hour - time.Second)
		exhaust(t, a, p)
		tryLogin(t, a.With(deviceHeader, own), p.Username, wrongPassword).Want(t, http.StatusUnauthorized)
		a.Clock.Move(time.Second)
		retryAfter(t, tryLogin(t, a.With(deviceHeader, own), p.Username, p.Password))
	})
}

// The mark is a cookie that scripts cannot read, other hosts cannot set and other
// sites cannot have sent; one for each account (S-44).
func TestMarkIsACookieThatKeepsToItself(t *testing.T) {
	t.Parallel()
	for https, want := range map[bool]string{false: "propusk-device-", true: "__Host-propusk-device-"} {
		t.Run(strconv.FormatBool(https), func(t *testing.T) {
			a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:", HTTPS: https})
			names := map[string]bool{}
			for range 2 {
				p := a.NewPerson(t)
				got := tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusOK)
				cookies := (&http.Response{Header: got.Header}).Cookies()
				if len(cookies) != 1 {
					t.Fatalf("%d cookies", len(cookies))
				}
				c := cookies[0]
				names[c.Name] = true
				if !strings.HasPrefix(c.Name, want) || !c.HttpOnly || c.Secure != https || c.SameSite != http.SameSiteLaxMode || c.Path != "/" ||
					c.Domain != "" || c.MaxAge != 180*24*3600 || c.Value != got.Header.Get(deviceHeader) {
					t.Errorf("cookie %s", got.Header.Get("Set-Cookie"))
				}
				if strings.Contains(c.Name, p.ID[:8]) {
					t.Errorf("the name of the cookie tells whose it is: %s", c.Name)
				}
				refused := tryLogin(t, a.Client, p.Username, wrongPassword).Want(t, http.StatusUnauthorized)
				if refused.Header.Get("Set-Cookie")+refused.Header.Get(deviceHeader) != "" {
					t.Error("a wrong password leaves a mark")
				}
			}
			if len(names) != 2 {
				t.Errorf("two accounts share a cookie: %v", names)
			}
		})
	}
}

// V15, S-23: a network has so many registrations, whatever comes of them; they
// are counted in the database. Whoever is on the machine itself has no end.
func TestRegistrationsAreLimitedByNetwork(t *testing.T) {
	t.Parallel()
	o := throughProxy(apptest.Options{Policy: func(p *account.Policy) { p.RegistrationsPerNetwork = 3 }})
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		n := 0
		register := func(node *apptest.App, from, name string) *apptest.Answer {
			n++
			if name == "" {
				name = fmt.Sprintf("applicant%d", n)
			}
			return node.With("X-Forwarded-For", from).Do(t, "POST", "/auth/register", map[string]any{
				"username": name, "email": fmt.Sprintf("applicant%d@example.com", n), "password": apptest.GoodPassword,
			})
		}
		register(a, "203.0.113.1", "first").Want(t, http.StatusCreated)
		register(a, "203.0.113.2", "first").Want(t, http.StatusConflict, "username_taken") // to ask is to use one up
		for range 3 {                                                                      // what cannot be registered is not one
			register(a, "203.0.113.2", "x").Want(t, http.StatusUnprocessableEntity)
		}
		register(a, "203.0.113.200", "").Want(t, http.StatusCreated)
		b := anotherNode(t, a, o)
		for _, node := range []*apptest.App{a, b} {
			before := hashes(node)
			if wait := retryAfter(t, register(node, "203.0.113.77", "")); wait > time.Minute {
				t.Errorf("wait of %v", wait)
			}
			retryAfter(t, register(node, "203.0.113.77", "first")) // nor does it tell any more which names are taken
			if hashes(node) != before {
				t.Error("a refused registration was hashed")
			}
		}
		register(a, "203.0.114.1", "").Want(t, http.StatusCreated)
		register(a, "2001:db8::1", "").Want(t, http.StatusCreated)
		a.Clock.Move(time.Minute)
		register(a, "203.0.113.1", "").Want(t, http.StatusCreated)
		retryAfter(t, register(a, "203.0.113.1", ""))
		for range 10 {
			n++
			a.Do(t, "POST", "/auth/register", map[string]any{
				"username": fmt.Sprintf("local%d", n), "email": fmt.Sprintf("local%d@example.com", n), "password": apptest.GoodPassword,
			}).Want(t, http.StatusCreated)
		}
	})
}

// V15: closed is closed, by every path, and before anything is looked at.
func TestClosedRegistrationIsClosed(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Policy: func(p *account.Policy) { p.Registration = account.RegistrationClosed }}, func(t *testing.T, a *apptest.App) {
		taken := newUser(t, a, "taken", "", false)
		before := hashes(a)
		for _, path := range []string{"/auth/register", "/register"} {
			for _, name := range []string{"fresh", taken.Username, ""} {
				a.Do(t, "POST", path, map[string]any{"username": name, "email": name + "@example.com", "password": apptest.GoodPassword}).
					Want(t, http.StatusForbidden, "registration_closed")
			}
		}
		if hashes(a) != before {
			t.Error("a password was hashed")
		}
	})
}

// Attack: eight cookies that another host or page has set, in front of the owner's
// own, must not make his device a stranger.
func TestForeignCookiesHideNoMark(t *testing.T) {
	t.Parallel()
	o := attempts(2)
	o.HTTPS = true
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		login := tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusOK)
		own, _, _ := strings.Cut(login.Header.Get("Set-Cookie"), ";")
		exhaust(t, a, p)
		junk := ""
		for i := range 12 {
			junk += fmt.Sprintf("propusk-device-%012d=%s; __Host-propusk-device-%012d=x; ", i, strings.Repeat("A", len(login.Header.Get(deviceHeader))), i)
		}
		tryLogin(t, a.With("Cookie", junk+own), p.Username, p.Password).Want(t, http.StatusOK)
		bare := strings.TrimPrefix(own, "__Host-") // any host of the domain could have set it
		retryAfter(t, tryLogin(t, a.With("Cookie", bare), p.Username, p.Password))
	})
}
