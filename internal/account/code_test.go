package account_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

// wrongCode is a code that is not this one.
func wrongCode(right string) string {
	if right[0] == '9' {
		return "0" + right[1:]
	}
	return string(right[0]+1) + right[1:]
}

// codeLogin is a code to log in with, that has come.
type codeLogin struct {
	a          *apptest.App
	p          *apptest.Person
	browser    string
	code, link string
}

func askCode(t testing.TB, a *apptest.App, p *apptest.Person) *codeLogin {
	t.Helper()
	x := &codeLogin{a: a, p: p}
	x.browser = a.Do(t, "POST", "/auth/login/code/send", map[string]any{"email_or_name": p.Username}).Want(t, 202).Text("login_request")
	l := a.Letter(t, p.Email, outbox.LoginCode)
	x.code, x.link = l.Code, l.Token
	return x
}

func (x *codeLogin) try(t testing.TB, c *apptest.Client, code string) *apptest.Answer {
	t.Helper()
	return c.Do(t, "POST", "/auth/login/code", map[string]any{"email_or_name": x.p.Email, "code": code})
}

func (x *codeLogin) byLink(t testing.TB) *apptest.Answer {
	t.Helper()
	return x.a.Do(t, "POST", "/auth/login/code", map[string]any{"token": x.link, "login_request": x.browser})
}

// S-18, S-20, V14, V34, V52, N9, N12: five codes may be tried, over all spellings of
// the name, logging in and recovery, and every new code; also after a restart. Then the right
// one is not looked at until time has given a try back. The link works meanwhile.
func TestFiveCodesMayBeTried(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		x := askCode(t, a, p)
		a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": p.Username}).Want(t, 202)
		reset := a.Letter(t, p.Email, outbox.Recover)
		bad := wrongCode(x.code)
		if bad == reset.Code {
			bad = wrongCode(bad)
		}
		for i, try := range []func() *apptest.Answer{
			func() *apptest.Answer { return x.try(t, a.Client, bad) },
			func() *apptest.Answer {
				return a.Do(t, "POST", "/auth/login/code", map[string]any{"email_or_name": "MARGARITA", "code": bad})
			},
			func() *apptest.Answer {
				return a.Do(t, "POST", "/auth/recover/confirm", map[string]any{"email_or_name": "Margarita@EXAMPLE.com", "code": bad, "new_password": nextPassword})
			},
			func() *apptest.Answer {
				return a.Do(t, "POST", "/auth/recover/confirm", map[string]any{"email_or_name": "margarita", "code": bad, "new_password": nextPassword})
			},
			func() *apptest.Answer { return x.try(t, anotherNode(t, a, manyMessages()).Client, bad) },
		} {
			if got := try(); got.Status != 401 || got.Code() != "wrong_code" {
				t.Fatalf("try %d: %d: %s", i, got.Status, got.Body)
			}
		}
		refused := func() {
			t.Helper()
			x.try(t, a.Client, x.code).Want(t, 429, "too_many_attempts")
			a.Do(t, "POST", "/auth/recover/confirm", map[string]any{"email_or_name": p.Email, "code": reset.Code, "new_password": nextPassword}).Want(t, 429)
			x.try(t, anotherNode(t, a, manyMessages()).Client, x.code).Want(t, 429)
		}
		refused()
		x = askCode(t, a, p)
		refused()
		x.byLink(t).Want(t, 200)
		x = askCode(t, a, p)
		refused()
		a.Clock.Move(10*time.Minute - time.Second)
		x.try(t, a.Client, x.code).Want(t, 429)
		x = askCode(t, a, p)
		a.Clock.Move(time.Second)
		x.try(t, a.Client, x.code).Want(t, 200)
		for range 5 { // which makes up for the others
			x.try(t, a.Client, bad).Want(t, 401)
		}
		x.try(t, a.Client, bad).Want(t, 429)
	})
}

// S-19, V45: five hundred wrong codes at once: no more are looked at than may be.
// The right one among the last is not.
func TestParallelCodesCountBeforeAnyIsLookedAt(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		x := askCode(t, a, p)
		nodes := []*wire{newWire(t, a), newWire(t, anotherNode(t, a, manyMessages()))}
		var wrong, refused, other atomic.Int64
		together(500, func(i int) {
			code := fmt.Sprintf("%06d", i)
			if code == x.code {
				code = "999999"
			}
			switch status, _ := nodes[i%2].send(t, "POST", "/auth/login/code", "", `{"email_or_name":"margarita","code":"`+code+`"}`); status {
			case 401:
				wrong.Add(1)
			case 429:
				refused.Add(1)
			default:
				other.Add(1)
			}
		})
		if wrong.Load() != 5 || refused.Load() != 495 || other.Load() != 0 {
			t.Errorf("%d looked at, %d refused, %d others", wrong.Load(), refused.Load(), other.Load())
		}
		failures := 0
		for _, e := range trail(t, a) {
			if e.Action == "code.failed" {
				failures++
			}
		}
		if failures != 5 {
			t.Errorf("%d wrong codes in the trail, want 5", failures)
		}
		x.try(t, a.Client, x.code).Want(t, 429)
		x.byLink(t).Want(t, 200)
	})
}

// S-21: what strangers do leaves the tries of known devices, and of whoever is
// logged in, alone.
func TestStrangersUseUpNobodysTries(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		p.Login(t, a.Client)
		mark := tryLogin(t, a.Client, p.Username, p.Password).Want(t, 200).Header.Get(deviceHeader)
		number := withPhone(t, a, p, false)
		x := askCode(t, a, p)
		for range 6 {
			x.try(t, a.Client, wrongCode(x.code))
		}
		x.try(t, a.Client, x.code).Want(t, 429)
		device := a.With(deviceHeader, mark)
		for range 4 {
			x.try(t, device, wrongCode(x.code)).Want(t, 401)
		}
		x.try(t, device, x.code).Want(t, 200)
		p.Do(t, "POST", "/auth/verify/phone/send", nil).Want(t, 202)
		code := a.Letter(t, number, outbox.VerifyPhone).Code
		p.Do(t, "POST", "/auth/verify/phone", map[string]any{"code": wrongCode(code)}).Want(t, 401)
		p.Do(t, "POST", "/auth/verify/phone", map[string]any{"code": code}).Want(t, 200)
	})
}

// Attack: whoever knew the password once has made a hundred devices known, and
// guesses at codes from each. They have one limit together (V34, S-18).
func TestKnownDevicesShareTheLimitOfCodes(t *testing.T) {
	t.Parallel()
	o := manyMessages()
	policy := o.Policy
	o.Policy = func(p *account.Policy) { policy(p); p.AttemptsLimit = 12 }
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		var devices []*apptest.Client
		for range 5 {
			devices = append(devices, a.With(deviceHeader, tryLogin(t, a.Client, p.Username, p.Password).Want(t, 200).Header.Get(deviceHeader)))
		}
		x := askCode(t, a, p)
		for i := range 12 {
			x.try(t, devices[i%4], wrongCode(x.code)).Want(t, 401)
		}
		x.try(t, devices[4], x.code).Want(t, 401, "wrong_code") // the right one
		x.byLink(t).Want(t, 200)
		recoverBy(t, a, p.Email, nextPassword) // and whoever has the mailbox begins anew
		x = askCode(t, a, p)
		x.try(t, devices[4], x.code).Want(t, 200)
	})
}

// A right code with a password that is refused has told nothing that it would not
// tell anyway, and costs no try.
func TestRefusedPasswordCostsNoTryAtTheCode(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": p.Email}).Want(t, 202)
		code := a.Letter(t, p.Email, outbox.Recover).Code
		body := map[string]any{"email_or_name": p.Email, "code": code, "new_password": "margarita1"}
		for range 7 {
			a.Do(t, "POST", "/auth/recover/confirm", body).Want(t, 422)
		}
		body["new_password"] = nextPassword
		a.Do(t, "POST", "/auth/recover/confirm", body).Want(t, 200)
	})
}

// V56, S-11: the link logs in the browser that asked, and no other: neither does
// somebody else who opens the mail get a session, nor can a thief have his own
// request answered by another's click.
func TestLoginLinkLogsInTheBrowserThatAsked(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p, other := newUser(t, a, "margarita", "", true), newUser(t, a, "woland", "", true)
		x, y := askCode(t, a, p), askCode(t, a, other)
		for _, browser := range []any{nil, "", y.browser, x.link, x.browser[1:] + "A", strings.ToUpper(x.browser), x.code} {
			body := map[string]any{"token": x.link}
			if browser != nil {
				body["login_request"] = browser
			}
			a.Do(t, "POST", "/auth/login/code", body).Want(t, 401, "link_invalid")
		}
		a.With("Cookie", "propusk-login="+y.browser).Do(t, "POST", "/auth/login/code", map[string]any{"token": x.link}).Want(t, 401)
		got := a.With("Cookie", "propusk-login="+x.browser).Do(t, "POST", "/auth/login/code", map[string]any{"token": x.link}).Want(t, 200)
		if got.Text("user_id") != p.ID {
			t.Errorf("logged in %s", got.Text("user_id"))
		}
		session := a.As(got.Text("token")).Do(t, "GET", "/auth/session", nil).Want(t, 200)
		if fmt.Sprint(session.Data("amr")) != "[otp]" {
			t.Errorf("amr %v", session.Data("amr"))
		}
	})
}

// With --require-verified nobody logs in before an address or a number is proven:
// not with the right password, and by a code only because that proves it.
func TestUnverifiedDoNotLogInWhereThatIsRequired(t *testing.T) {
	t.Parallel()
	o := apptest.Options{Policy: func(p *account.Policy) { p.RequireVerified, p.Mail = true, true }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		for _, way := range []string{"link", "code", "recovery"} {
			name := "newcomer-" + way
			address := name + "@example.com"
			a.Do(t, "POST", "/auth/register", map[string]any{"username": name, "email": address, "password": apptest.GoodPassword}).Want(t, 201)
			before := len(direct(t, a.URL).rows(t, "sessions"))
			got := tryLogin(t, a.Client, name, apptest.GoodPassword).Want(t, 403, "verification_required")
			if len(got.Header["Set-Cookie"])+len(got.Header[deviceHeader]) > 0 || len(direct(t, a.URL).rows(t, "sessions")) != before {
				t.Errorf("a session was made: %v", got.Header)
			}
			tryLogin(t, a.Client, name, wrongPassword).Want(t, 401, "invalid_credentials")
			l := a.Letter(t, address, outbox.VerifyEmail)
			password := apptest.GoodPassword
			switch way {
			case "link":
				a.Do(t, "POST", "/auth/verify/email", map[string]any{"token": l.Token}).Want(t, 200)
			case "code":
				a.Do(t, "POST", "/auth/verify/email", map[string]any{"email_or_name": name, "code": l.Code}).Want(t, 200)
			case "recovery": // whoever asks for a code is sent what proves the address
				a.Do(t, "POST", "/auth/login/code/send", map[string]any{"email_or_name": name}).Want(t, 202)
				password = nextPassword
				a.Do(t, "POST", "/auth/recover/confirm", map[string]any{"token": a.Letter(t, address, outbox.Recover).Token, "new_password": password}).Want(t, 200)
			}
			tryLogin(t, a.Client, name, password).Want(t, 200)
		}
		issued := newUser(t, a, "issued", "", false) // an administrator's word proves no address
		token, _, _, err := a.Service.IssueRecovery(t.Context(), operator(), issued.ID)
		must(t, err)
		a.Do(t, "POST", "/auth/recover/confirm", map[string]any{"token": token.Reveal(), "new_password": nextPassword}).Want(t, http.StatusOK)
		tryLogin(t, a.Client, "issued", nextPassword).Want(t, 403, "verification_required")
	})
}
