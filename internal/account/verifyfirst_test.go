package account_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

func form(name, address string) map[string]any {
	return map[string]any{"username": name, "email": address, "password": apptest.GoodPassword}
}

// S-17, V50, P6: with --registration=verify-first nobody learns by registering
// whether an address is taken: not by status, headers or body, the rows written or
// the hashes made. Whoever has the address is told; there is no account before the
// mail is answered.
func TestVerifyFirstTellsNothingOfAnAddress(t *testing.T) {
	t.Parallel()
	o := verifyFirst()
	o.Idle = true
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		d := direct(t, a.URL)
		newUser(t, a, "known", "", true)
		newUser(t, a, "unproven", "", false)
		must(t, a.Service.DisableUser(t.Context(), operator(), newUser(t, a, "disabled", "", true).ID))
		a.Deliver(t)
		type seen struct {
			answer, rows string
			hashes       int64
			entries      int
		}
		n := 0
		ask := func(address string) seen {
			n++
			before, made := d.read(t), hashes(a)
			var got *apptest.Answer
			entries := entriesOf(t, a, func() { got = a.Do(t, "POST", "/auth/register", form(fmt.Sprintf("fresh%d", n), address)) })
			return seen{given(got), fmt.Sprint(differences(before, d.read(t))), hashes(a) - made, len(entries)}
		}
		want := ask("nobody@example.com")
		if !strings.HasPrefix(want.answer, "202") || want.hashes != 1 {
			t.Fatalf("%+v", want)
		}
		for _, address := range []string{"KNOWN@example.com", "unproven@example.com", "disabled@example.com", "other@example.com"} {
			if got := ask(address); got != want {
				t.Errorf("%s:\n%+v\nof nobody:\n%+v", address, got, want)
			}
		}
		// A name has to be chosen, so it is told that it is taken, whatever the address.
		for _, address := range []string{"known@example.com", "another@example.com"} {
			a.Do(t, "POST", "/auth/register", form("known", address)).Want(t, 409, "username_taken")
		}
		users := len(d.rows(t, "users"))
		for address, kind := range map[string]outbox.Kind{
			"known@example.com": outbox.AccountExists, "unproven@example.com": outbox.AccountExists, "nobody@example.com": outbox.Register, "other@example.com": outbox.Register,
		} {
			l := a.Letter(t, address, kind)
			if kind == outbox.AccountExists && (l.Token != "" || l.Code != "") {
				t.Errorf("%s was sent a secret: %q", address, l.Text)
			}
		}
		if after := len(d.rows(t, "users")); after != users {
			t.Errorf("%d users before any mail was answered, there were %d", after, users)
		}
		tryLogin(t, a.Client, "fresh1", apptest.GoodPassword).Want(t, 401)
	})
}

// A registration is finished by the link, or by code and address, and gives an
// account with a proven address, and no session.
func TestVerifyFirstMakesTheAccountOnceTheMailIsAnswered(t *testing.T) {
	t.Parallel()
	apptest.Each(t, verifyFirst(), func(t *testing.T, a *apptest.App) {
		for _, byLink := range []bool{true, false} {
			name := fmt.Sprintf("margarita-%v", byLink)
			address := name + "@example.com"
			a.With("Accept-Language", "ru").Do(t, "POST", "/auth/register", form(name, address)).Want(t, 202)
			l := a.Letter(t, address, outbox.Register)
			b := brought{path: "/auth/register/confirm", name: strings.ToUpper(address), link: l.Token, code: l.Code}
			for _, wrong := range []map[string]any{ // V24: the right address with a wrong code, the right code with a wrong address
				{"email_or_name": address, "code": wrongCode(l.Code)}, {"email_or_name": "x" + address, "code": l.Code}, {"email_or_name": name, "code": l.Code},
			} {
				entries := entriesOf(t, a, func() { a.Do(t, "POST", "/auth/register/confirm", wrong).Want(t, 401, "wrong_code") })
				if len(entries) != 1 || entries[0].Action != "code.failed" {
					t.Errorf("entries %v", entries)
				}
			}
			got := b.bring(t, a, byLink).Want(t, http.StatusCreated)
			id := got.Text("user_id")
			if got.Header.Get("Location") != "/"+id || len(got.Header["Set-Cookie"]) > 0 || got.Text("token") != "" || l.Lang != "ru" {
				t.Errorf("%s %v, %s", got.Body, got.Header, l.Lang)
			}
			token := tryLogin(t, a.Client, name, apptest.GoodPassword).Want(t, 200).Text("token")
			if role := a.As(token).Do(t, "GET", "/"+id, nil).Text("user_role"); role != account.RoleVerified {
				t.Errorf("role %s", role)
			}
			b.bring(t, a, byLink).Want(t, 401)
			b.bring(t, a, !byLink).Want(t, 401)
		}
	})
}

// Two who register with one address do not disturb each other, and each is sent
// what is his; who answers first has the address. So it is with names.
func TestCompetingRegistrationsHaveOneWinner(t *testing.T) {
	t.Parallel()
	apptest.Each(t, verifyFirst(), func(t *testing.T, a *apptest.App) {
		const address = "victim@example.com"
		for _, name := range []string{"woland", "margarita"} {
			a.Do(t, "POST", "/auth/register", form(name, address)).Want(t, 202)
			must(t, a.Service.ServeRequests(t.Context()))
		}
		links := map[string]apptest.Letter{}
		for _, l := range a.Letters(t, address) {
			for _, name := range []string{"woland", "margarita"} {
				if strings.Contains(l.Text, name) {
					links[name] = l
				}
			}
		}
		if len(links) != 2 || links["woland"].Token == links["margarita"].Token {
			t.Fatalf("letters %v", links)
		}
		// The code that came for the one makes that account, and not the other.
		id := a.Do(t, "POST", "/auth/register/confirm", map[string]any{"email_or_name": address, "code": links["margarita"].Code}).Want(t, 201).Text("user_id")
		if got := tryLogin(t, a.Client, "margarita", apptest.GoodPassword).Want(t, 200).Text("user_id"); got != id {
			t.Errorf("user %s, want %s", got, id)
		}
		a.Do(t, "POST", "/auth/register/confirm", map[string]any{"token": links["woland"].Token}).Want(t, 409, "email_taken")
		a.Do(t, "POST", "/auth/register/confirm", map[string]any{"email_or_name": address, "code": links["woland"].Code}).Want(t, 401, "wrong_code")
		tryLogin(t, a.Client, "woland", apptest.GoodPassword).Want(t, 401)

		for _, address := range []string{"one@example.com", "two@example.com"} {
			a.Do(t, "POST", "/auth/register", form("samename", address)).Want(t, 202)
		}
		for address, status := range map[string]int{"one@example.com": 201} {
			a.Do(t, "POST", "/auth/register/confirm", map[string]any{"token": a.Letter(t, address, outbox.Register).Token}).Want(t, status)
		}
		a.Do(t, "POST", "/auth/register/confirm", map[string]any{"token": a.Letter(t, "two@example.com", outbox.Register).Token}).Want(t, 409, "username_taken")
	})
}

// Where two codes for one address are equal, by chance or in a throwaway instance,
// one is used up and not both: the last that was sent.
func TestEqualCodesAreUsedOneAtATime(t *testing.T) {
	t.Parallel()
	o := verifyFirst()
	first := o.Policy
	o.Policy = func(p *account.Policy) {
		first(p)
		p.FixedCode = "424242"
	}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		const address = "victim@example.com"
		links := map[string]string{}
		for _, name := range []string{"woland", "margarita"} {
			a.Do(t, "POST", "/auth/register", form(name, address)).Want(t, 202)
			links[name] = a.Letter(t, address, outbox.Register).Token
			a.Clock.Move(time.Second)
		}
		a.Do(t, "POST", "/auth/register/confirm", map[string]any{"email_or_name": address, "code": "424242"}).Want(t, 201)
		tryLogin(t, a.Client, "margarita", apptest.GoodPassword).Want(t, 200)
		a.Do(t, "POST", "/auth/register/confirm", map[string]any{"token": links["margarita"]}).Want(t, 401, "link_invalid")
		a.Do(t, "POST", "/auth/register/confirm", map[string]any{"token": links["woland"]}).Want(t, 409, "email_taken") // it is still there
	})
}

// Attack: whoever registers with a foreign address many times has as many codes
// alive, and guesses at all of them at once. The newest counts, and no other; also
// where the mails have not left. Every link is good.
func TestCodeCountsForTheNewestRegistration(t *testing.T) {
	t.Parallel()
	apptest.Each(t, verifyFirst(), func(t *testing.T, a *apptest.App) {
		register := func(name, address string) {
			t.Helper()
			a.Do(t, "POST", "/auth/register", form(name, address)).Want(t, 202)
			must(t, a.Service.ServeRequests(t.Context()))
		}
		confirm := func(body map[string]any) *apptest.Answer {
			t.Helper()
			return a.Do(t, "POST", "/auth/register/confirm", body)
		}
		register("bystander", "bystander@corp.example")
		register("woland", foreign)
		woland := a.Letter(t, foreign, outbox.Register)
		register("gella", strings.ToUpper(foreign)) // its mail has not left
		confirm(map[string]any{"email_or_name": foreign, "code": woland.Code}).Want(t, 401, "wrong_code")
		register("margarita", foreign)
		codes := map[string]string{}
		for _, l := range append(a.Letters(t, foreign), a.Letters(t, strings.ToUpper(foreign))...) {
			for _, name := range []string{"woland", "gella", "margarita"} {
				if strings.Contains(l.Text, name) {
					codes[name] = l.Code
				}
			}
		}
		if len(codes) != 3 {
			t.Fatalf("codes of %v", codes)
		}
		confirm(map[string]any{"email_or_name": foreign, "code": codes["woland"]}).Want(t, 401, "wrong_code")
		confirm(map[string]any{"email_or_name": foreign, "code": codes["gella"]}).Want(t, 401, "wrong_code")
		confirm(map[string]any{"token": woland.Token}).Want(t, 201)
		tryLogin(t, a.Client, "woland", apptest.GoodPassword).Want(t, 200)
		confirm(map[string]any{"email_or_name": foreign, "code": codes["margarita"]}).Want(t, 409, "email_taken")
		confirm(map[string]any{"email_or_name": "bystander@corp.example", "code": a.Letter(t, "bystander@corp.example", outbox.Register).Code}).Want(t, 201)
	})
}

// Of registrations that are served at once, on several nodes, one has a code.
func TestParallelRegistrationsHaveOneCode(t *testing.T) {
	t.Parallel()
	const times = 12
	o := verifyFirst()
	o.Idle = true
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		nodes := []*apptest.App{a, anotherNode(t, a, o)}
		for i := range times {
			a.Do(t, "POST", "/auth/register", form(fmt.Sprintf("mallory%d", i), foreign)).Want(t, 202)
		}
		together(8, func(i int) {
			if err := nodes[i%2].Service.ServeRequests(t.Context()); err != nil {
				t.Error(err)
			}
		})
		var all, codes int
		must(t, a.DB.QueryRow(t.Context(), `SELECT count(*), count(code_mac) FROM tokens WHERE purpose = 'register'`, nil, &all, &codes))
		if all != times || codes != 1 {
			t.Errorf("%d links and %d codes, want %d and 1", all, codes, times)
		}
	})
}

// F11: the same registration with the same Idempotency-Key has one mail sent,
// whether the address is known or not, also when both arrive at once; another
// under that key is refused.
func TestRepeatedRegistrationWithVerifyFirstSendsOneMail(t *testing.T) {
	t.Parallel()
	apptest.Each(t, verifyFirst(), func(t *testing.T, a *apptest.App) {
		newUser(t, a, "known", "", true)
		for i, address := range []string{"known@example.com", "nobody@example.com"} {
			name := fmt.Sprintf("fresh%d", i)
			c := a.With("Idempotency-Key", "key-"+name)
			together(6, func(int) {
				if got := c.Do(t, "POST", "/auth/register", form(name, address)); got.Status != 202 {
					t.Errorf("%d: %s", got.Status, got.Body)
				}
			})
			if got := c.Do(t, "POST", "/auth/register", form(name, address)).Want(t, 202); got.Header.Get("Idempotent-Replayed") != "true" || got.Header.Get("Location") != "" {
				t.Errorf("headers %v", got.Header)
			}
			c.Do(t, "POST", "/auth/register", form(name+"x", address)).Want(t, 422, "idempotency_key_reused")
			if n := len(a.Letters(t, address)); n != 1 {
				t.Errorf("%d mails to %s, want 1", n, address)
			}
			a.Clock.Move(24*time.Hour + time.Second)
			c.Do(t, "POST", "/auth/register", form(name, address)).Want(t, 202)
			if n := len(a.Letters(t, address)); n != 2 {
				t.Errorf("%d mails to %s after a day, want 2", n, address)
			}
		}
	})
}

// V15, V16: what waits to be finished is not finished later than it may be, nor
// where an operator has closed registration meanwhile, by any other way either.
func TestRegistrationThatIsOverIsOverEverywhere(t *testing.T) {
	t.Parallel()
	apptest.Each(t, verifyFirst(), func(t *testing.T, a *apptest.App) {
		a.Do(t, "POST", "/auth/register", form("margarita", "margarita@example.com")).Want(t, 202)
		l := a.Letter(t, "margarita@example.com", outbox.Register)
		password := map[string]any{"new_password": nextPassword}
		everywhere := func(a *apptest.App) {
			t.Helper()
			for _, b := range []brought{
				{path: "/auth/register/confirm", name: "margarita@example.com", link: l.Token, code: l.Code},
				{path: "/auth/recover/confirm", name: "margarita@example.com", common: password, link: l.Token, code: l.Code},
				{path: "/auth/login/code", name: "margarita@example.com", common: map[string]any{"login_request": l.Token}, link: l.Token, code: l.Code},
				{path: "/auth/verify/email", name: "margarita@example.com", link: l.Token, code: l.Code},
			} {
				for _, byLink := range []bool{true, false} {
					if got := b.bring(t, a, byLink); got.Status < 400 {
						t.Errorf("%s, link %v: %d", b.path, byLink, got.Status)
					}
				}
			}
			tryLogin(t, a.Client, "margarita", apptest.GoodPassword).Want(t, 401)
		}
		closed := verifyFirst()
		policy := closed.Policy
		closed.Policy = func(p *account.Policy) { policy(p); p.Registration = account.RegistrationClosed }
		everywhere(anotherNode(t, a, closed))
		a.Clock.Move(24 * time.Hour)
		everywhere(a)
	})
}
