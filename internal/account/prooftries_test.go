package account_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

// foreign is an address that the guesser does not have.
const foreign = "victim@corp.example"

// limitOfFailures lets so many codes be wrong in a row.
func limitOfFailures(n int) apptest.Options {
	o := manyMessages()
	policy := o.Policy
	o.Policy = func(p *account.Policy) { policy(p); p.AttemptsLimit = n }
	return o
}

// claimForeign asks for a change of address, and gives what the other is sent.
func claimForeign(t testing.TB, a *apptest.App, p *apptest.Person, address string) apptest.Letter {
	t.Helper()
	p.Login(t, a.Client)
	p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": address}).Want(t, 200)
	p.Do(t, "POST", "/auth/verify/email/send", map[string]any{}).Want(t, 202) // where the same change waits already, it was sent nothing
	return a.Letter(t, address, outbox.EmailChangeConfirm)
}

func proveEmail(t testing.TB, c *apptest.Client, p *apptest.Person, code string) *apptest.Answer {
	t.Helper()
	return c.Do(t, "POST", "/auth/verify/email", map[string]any{"email_or_name": p.Username, "code": code})
}

// Attack: between guesses at the code that a foreign address was sent, its
// claimant logs in with codes of his own, from devices of his own, and sets a new
// password. None of that gives him one guess more (S-18, V34).
func TestOwnLoginsGiveNoGuessesAtAForeignAddress(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "mallory", "", true)
		l := claimForeign(t, a, p, foreign)
		bad := wrongCode(l.Code)
		for i := range 5 {
			x := askCode(t, a, p)
			proveEmail(t, a.Client, p, bad).Want(t, 401, "wrong_code")
			if i%2 == 0 { // the tries at this one are not used up by those at the other
				x.try(t, a.Client, x.code).Want(t, 200)
			}
		}
		refused := func(l apptest.Letter) {
			t.Helper()
			x := askCode(t, a, p)
			mark := x.try(t, a.Client, x.code).Want(t, 200).Header.Get(deviceHeader)
			p.Login(t, a.Client)
			for what, c := range map[string]*apptest.Client{"stranger": a.Client, "known device": a.With(deviceHeader, mark), "session": p.Client, "both": p.With(deviceHeader, mark)} {
				if got := proveEmail(t, c, p, l.Code); got.Status != 429 || got.Code() != "too_many_attempts" {
					t.Errorf("%s: %d: %s", what, got.Status, got.Body)
				}
			}
			p.Do(t, "POST", "/auth/verify/email", map[string]any{"code": l.Code}).Want(t, 429)
		}
		refused(l)
		p.Do(t, "POST", "/auth/verify/email/send", map[string]any{}).Want(t, 202)
		refused(a.Letter(t, foreign, outbox.EmailChangeConfirm))
		recoverBy(t, a, p.Email, nextPassword)
		p.Password = nextPassword
		l = claimForeign(t, a, p, foreign)
		refused(l)
		// Whoever has the mailbox gets on all the same.
		a.Do(t, "POST", "/auth/verify/email", map[string]any{"token": l.Token}).Want(t, 200)
	})
}

// Attack: between guesses at the code of a foreign address its claimant proves
// mailboxes of his own. Each such proof gives back its own try only.
func TestProofOfOneAddressGivesNoGuessesAtAnother(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "mallory", "", true)
		for i := range 4 {
			l := claimForeign(t, a, p, foreign)
			proveEmail(t, a.Client, p, wrongCode(l.Code)).Want(t, 401, "wrong_code")
			own := fmt.Sprintf("mallory%d@example.com", i)
			l = claimForeign(t, a, p, own)
			proveEmail(t, a.Client, p, l.Code).Want(t, 200)
			p.Email = own
		}
		l := claimForeign(t, a, p, foreign)
		proveEmail(t, a.Client, p, wrongCode(l.Code)).Want(t, 401, "wrong_code")
		proveEmail(t, a.Client, p, l.Code).Want(t, 429)
	})
}

// S-18, V34: after so many wrong codes in a row none proves a foreign address,
// whatever its claimant does meanwhile, and until a day has gone by without a
// try. The link does.
func TestGuessesAtAForeignAddressStopUntilADaysRest(t *testing.T) {
	t.Parallel()
	const limit = 12
	apptest.Each(t, limitOfFailures(limit), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "mallory", "", true)
		l := claimForeign(t, a, p, foreign)
		for i := range limit {
			proveEmail(t, a.Client, p, wrongCode(l.Code)).Want(t, 401, "wrong_code")
			x := askCode(t, a, p)
			x.try(t, a.Client, x.code).Want(t, 200)
			switch i {
			case 4: // few failures are not forgotten sooner
				a.Clock.Move(2 * time.Hour)
				l = claimForeign(t, a, p, "mallory2@example.com")
				proveEmail(t, a.Client, p, l.Code).Want(t, 200)
				p.Email = "mallory2@example.com"
				l = claimForeign(t, a, p, foreign)
			case limit - 1:
			default:
				a.Clock.Move(10 * time.Minute)
			}
		}
		closed := func() {
			t.Helper()
			l = claimForeign(t, a, p, foreign)
			proveEmail(t, a.Client, p, l.Code).Want(t, 401, "wrong_code")
			proveEmail(t, p.Client, p, l.Code).Want(t, 401, "wrong_code")
		}
		a.Clock.Move(time.Hour)
		closed()
		a.Clock.Move(23*time.Hour - time.Second)
		must(t, a.Service.Sweep(t.Context()))
		closed()
		a.Do(t, "POST", "/auth/verify/email", map[string]any{"token": l.Token}).Want(t, 200)
		p.Email = foreign
		a.Clock.Move(time.Second)
		l = claimForeign(t, a, p, "another@corp.example")
		proveEmail(t, a.Client, p, l.Code).Want(t, 200)
	})
}

// S-18: whoever guesses at the code of a foreign number is logged in to the
// account that claims it: five may be tried, from all his devices together.
func TestOwnerHasFiveTriesAtANumber(t *testing.T) {
	t.Parallel()
	apptest.Each(t, limitOfFailures(8), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "mallory", "", true)
		number := withPhone(t, a, p, false)
		send := func() string {
			t.Helper()
			p.Login(t, a.Client)
			p.Do(t, "POST", "/auth/verify/phone/send", nil).Want(t, 202)
			return a.Letter(t, number, outbox.VerifyPhone).Code
		}
		try := func(code string) *apptest.Answer {
			t.Helper()
			x := askCode(t, a, p)
			mark := x.try(t, a.Client, x.code).Want(t, 200).Header.Get(deviceHeader)
			return p.With(deviceHeader, mark).Do(t, "POST", "/auth/verify/phone", map[string]any{"code": code})
		}
		code := send()
		for range 5 {
			try(wrongCode(code)).Want(t, 401, "wrong_code")
		}
		try(code).Want(t, 429, "too_many_attempts")
		p.Do(t, "POST", "/auth/verify/phone", map[string]any{"code": code}).Want(t, 429)
		for range 3 {
			a.Clock.Move(10 * time.Minute)
			try(wrongCode(send())).Want(t, 401, "wrong_code")
		}
		a.Clock.Move(10 * time.Minute)
		try(send()).Want(t, 401, "wrong_code") // the right one
		a.Clock.Move(24 * time.Hour)
		try(send()).Want(t, 200)
	})
}

// S-18: guesses at the code of a registration have one budget for its address,
// over all its spellings and every new registration, and one limit.
func TestGuessesAtARegistrationStopAtTheLimit(t *testing.T) {
	t.Parallel()
	o := verifyFirst()
	policy := o.Policy
	o.Policy = func(p *account.Policy) { policy(p); p.AttemptsLimit = 8 }
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		n := 0
		register := func() apptest.Letter {
			t.Helper()
			n++
			a.Do(t, "POST", "/auth/register", form(fmt.Sprintf("mallory%d", n), foreign)).Want(t, 202)
			return a.Letter(t, foreign, outbox.Register)
		}
		confirm := func(address, code string) *apptest.Answer {
			t.Helper()
			return a.Do(t, "POST", "/auth/register/confirm", map[string]any{"email_or_name": address, "code": code})
		}
		var l apptest.Letter
		for range 5 {
			l = register()
			confirm(strings.ToUpper(foreign), wrongCode(l.Code)).Want(t, 401, "wrong_code")
		}
		confirm(foreign, l.Code).Want(t, 429, "too_many_attempts")
		for range 3 {
			a.Clock.Move(10 * time.Minute)
			confirm(foreign, wrongCode(register().Code)).Want(t, 401, "wrong_code")
		}
		a.Clock.Move(2 * time.Hour) // few failures are not forgotten sooner
		l = register()
		confirm(foreign, l.Code).Want(t, 401, "wrong_code")
		a.Clock.Move(24 * time.Hour)
		confirm(foreign, register().Code).Want(t, 201)
	})
}
