package account_test

import (
	"net/http"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

// V42, V60: who becomes an Admin, where those must have a second factor, is not one by
// the session that he had before.
func TestAPromotionIsNoWayAroundTheSecondFactor(t *testing.T) {
	t.Parallel()
	o := apptest.Options{Policy: func(p *account.Policy) { p.RequiredFactor = []string{account.RoleAdmin} }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p, other := a.NewPerson(t), a.NewPerson(t)
		must(t, a.Service.SetRole(t.Context(), operator(), p.ID, account.RoleVerified))
		wantStatus(t, a, "of another role", p.Token, http.StatusOK)
		x := arm(t, a, other)
		a.Clock.Move(time.Minute)
		strong := finish(t, a.Client, x.challenge(t, a.Client), x.code(t, a)).Want(t, 200).Text("token")
		must(t, a.Service.SetRole(t.Context(), operator(), p.ID, account.RoleAdmin))
		must(t, a.Service.SetRole(t.Context(), operator(), other.ID, account.RoleAdmin))
		wantStatus(t, a, "by a password", p.Token, http.StatusUnauthorized)
		wantStatus(t, a, "by a second factor", strong, http.StatusOK)
		tryLogin(t, a.Client, p.Username, p.Password).Want(t, 401, "second_factor_enrolment_required")
	})
}

// V10: a change of the address that somebody else has asked for ends with what the
// owner does about it, and cannot be asked for anew.
func TestAWaitingChangeOfTheAddressEnds(t *testing.T) {
	t.Parallel()
	const thiefs = "thief@evil.example"
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		for name, c := range map[string]struct {
			end  func(t *testing.T, p *apptest.Person) *apptest.Person
			ends bool
		}{
			"by a second factor": {func(t *testing.T, p *apptest.Person) *apptest.Person { return arm(t, a, p).Person }, true},
			"by the present address": {func(t *testing.T, p *apptest.Person) *apptest.Person {
				p.Do(t, "PATCH", "/"+p.ID, object{"email": p.Email}).Want(t, 200)
				return p
			}, true},
			"by that and more": {func(t *testing.T, p *apptest.Person) *apptest.Person {
				p.Do(t, "PATCH", "/"+p.ID, object{"email": p.Email, "user_type": "org"}).Want(t, 200)
				return p
			}, true},
			"by being disabled": {func(t *testing.T, p *apptest.Person) *apptest.Person {
				must(t, a.Service.DisableUser(t.Context(), operator(), p.ID))
				must(t, a.Service.EnableUser(t.Context(), operator(), p.ID))
				p.Login(t, a.Client)
				return p
			}, true},
			"not by a whole document": {func(t *testing.T, p *apptest.Person) *apptest.Person {
				p.Do(t, "PUT", "/"+p.ID, object{"email": p.Email, "username": p.Username, "user_type": "org"}).Want(t, 200)
				return p
			}, false},
			"not by another field": {func(t *testing.T, p *apptest.Person) *apptest.Person {
				p.Do(t, "PATCH", "/"+p.ID, object{"user_type": "org"}).Want(t, 200)
				return p
			}, false},
		} {
			t.Run(name, func(t *testing.T) {
				p := newUser(t, a, "owner", "", true)
				p.Login(t, a.Client)
				a.Clock.Move(24 * time.Hour) // of nobody's budget
				p.Login(t, a.Client)
				p.Do(t, "PATCH", "/"+p.ID, object{"email": thiefs}).Want(t, 200)
				sent := a.Letter(t, thiefs, outbox.EmailChangeConfirm)
				a.Inbox.Clear()
				p = c.end(t, p)
				p.Do(t, "POST", "/auth/verify/email/send", object{})
				a.Deliver(t)
				if anew := len(a.Letters(t, thiefs)) > 0; anew == c.ends {
					t.Errorf("asked for anew: %t", anew)
				}
				if got := a.Do(t, "POST", "/auth/verify/email", object{"token": sent.Token}); c.ends && got.Status != 401 {
					t.Errorf("the link of before: status %d", got.Status)
				}
				if email, _, _ := readUser(t, p); c.ends && email != p.Email {
					t.Errorf("the address is %s", email)
				}
				must(t, a.Service.DeleteUser(t.Context(), operator(), p.ID, nil))
			})
		}
	})
}

// V34, V47: who reads somebody's mail and has no second factor can set a password as
// often as he likes, and gets no new guesses at the factor with it.
func TestRecoveryGivesNoNewGuessesAtASecondFactor(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		x := arm(t, a, newUser(t, a, "owner", "", true))
		recoverBy := func(password string) {
			a.Do(t, "POST", "/auth/recover", object{"email_or_name": x.Username}).Want(t, 202)
			must(t, a.Service.ServeRequests(t.Context()))
			x.Password = password
			a.Do(t, "POST", "/auth/recover/confirm", object{"token": a.Letter(t, x.Email, outbox.Recover).Token, "new_password": password}).Want(t, 200)
		}
		recoverBy("first-Anchor-71-quartz")
		for range 100 {
			a.Clock.Move(10*time.Minute + time.Second)
			finish(t, a.Client, x.challenge(t, a.Client), x.wrongCode(t, a)).Want(t, 401, "wrong_code")
		}
		recoverBy("second-Anchor-71-quartz")
		a.Clock.Move(10*time.Minute + time.Second)
		finish(t, a.Client, x.challenge(t, a.Client), x.code(t, a)).Want(t, 401, "wrong_code")
		must(t, a.Service.UnlockUser(t.Context(), operator(), x.ID))
		a.Clock.Move(10*time.Minute + time.Second)
		finish(t, a.Client, x.challenge(t, a.Client), x.code(t, a)).Want(t, 200)
	})
}

// S-13, S-15: the other sessions end with the answer, without a look at the log of
// changes.
func TestAFactorAddedInALoginEndsOtherSessionsAtOnce(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		must(t, a.Service.SetFactorRequired(t.Context(), operator(), p.ID, true))
		challenge := tryLogin(t, a.Client, p.Username, p.Password).Want(t, 401, "second_factor_enrolment_required").Text("challenge")
		seed := a.Do(t, "POST", "/auth/login/second-factor/enrol", object{"challenge": challenge}).Want(t, 200).Text("secret")
		wantStatus(t, a, "of before", p.Token, http.StatusOK)
		token := finish(t, a.Client, challenge, codeAt(t, seed, a.Clock.Now())).Want(t, 200).Text("token")
		wantStatus(t, a, "of before", p.Token, http.StatusUnauthorized)
		wantStatus(t, a, "of this login", token, http.StatusOK)
	})
}

// V03: Verified says that something is proven now, in the session that is there as well.
func TestNobodyIsVerifiedByWhatIsGone(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		withPhone(t, a, p, true)
		role := func() string { return p.Do(t, "GET", "/auth/session", nil).Want(t, 200).Text("user_role") }
		if got := role(); got != account.RoleVerified {
			t.Fatalf("role %s of a proven number", got)
		}
		p.Do(t, "PATCH", "/"+p.ID, object{"contact_number": nil, "email": "ceo@corp.example"}).Want(t, 200)
		if email, doc, _ := readUser(t, p); doc != account.RoleNotVerified || role() != account.RoleNotVerified {
			t.Errorf("%s is %s, and %s in the session", email, doc, role())
		}
		q := newUser(t, a, "proven", account.RoleVerified, true)
		withPhone(t, a, q, true)
		q.Do(t, "PATCH", "/"+q.ID, object{"contact_number": nil}).Want(t, 200)
		if _, doc, _ := readUser(t, q); doc != account.RoleVerified {
			t.Errorf("the address is proven, and the role %s", doc)
		}
	})
}

// V13: whoever has the mailbox that was given up keeps nothing that it opened.
func TestSessionsByTheOldMailboxEndWithIt(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "owner", "", true)
		p.Login(t, a.Client)
		byMail := func() string {
			a.Do(t, "POST", "/auth/login/code/send", object{"email_or_name": p.Username}).Want(t, 202)
			must(t, a.Service.ServeRequests(t.Context()))
			code := a.Letter(t, p.Email, outbox.LoginCode).Code
			return a.Do(t, "POST", "/auth/login/code", object{"email_or_name": p.Username, "code": code}).Want(t, 200).Text("token")
		}
		old := byMail()
		p.Do(t, "PATCH", "/"+p.ID, object{"email": "new@owner.example"}).Want(t, 200)
		a.Do(t, "POST", "/auth/verify/email", object{"token": a.Letter(t, "new@owner.example", outbox.EmailChangeConfirm).Token}).Want(t, 200)
		wantStatus(t, a, "by the old mailbox", old, http.StatusUnauthorized)
		wantStatus(t, a, "by the password", p.Token, http.StatusOK)

		p.Email = "new@owner.example" // and who changes it in such a session stays in
		own := a.As(byMail())
		own.Do(t, "PATCH", "/"+p.ID, object{"email": "newer@owner.example"}).Want(t, 200)
		own.Do(t, "POST", "/auth/verify/email", object{"token": a.Letter(t, "newer@owner.example", outbox.EmailChangeConfirm).Token}).Want(t, 200)
		own.Do(t, "GET", "/auth/session", nil).Want(t, 200)
	})
}

// V41: an Admin takes no factor off another by way of his address.
func TestAnAdminsFactorsSurviveAnotherAdmin(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		one, two := newUser(t, a, "one", account.RoleAdmin, true), newUser(t, a, "two", account.RoleAdmin, false)
		arm(t, a, two)
		one.Login(t, a.Client)
		one.Do(t, "PATCH", "/"+two.ID, object{"email": "mine@evil.example"}).Want(t, 200)
		a.Do(t, "POST", "/auth/recover", object{"email_or_name": "two"}).Want(t, 202)
		must(t, a.Service.ServeRequests(t.Context()))
		token := a.Letter(t, "mine@evil.example", outbox.Recover).Token
		a.Do(t, "POST", "/auth/recover/confirm", object{"token": token, "new_password": "taken-Over-91-quartz"}).Want(t, 200)
		tryLogin(t, a.Client, "two", "taken-Over-91-quartz").Want(t, 401, "second_factor_required")
	})
}
