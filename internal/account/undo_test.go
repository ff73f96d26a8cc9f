package account_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

// undo takes a change of somebody's address back, by the newest mail of it to the
// old one, and sets the password that the next mail lets him set.
func undo(t testing.TB, a *apptest.App, p *apptest.Person, old string) {
	t.Helper()
	a.Do(t, "POST", "/auth/verify/email/undo", object{"token": a.Letter(t, old, outbox.EmailChanged).Token}).Want(t, 200)
	a.Do(t, "POST", "/auth/recover/confirm", object{"token": a.Letter(t, old, outbox.Recover).Token, "new_password": nextPassword}).Want(t, 200)
	p.Email, p.Password = old, nextPassword
}

// askForEmail begins a change of address with the session that p holds, and
// finishEmail ends it.
func askForEmail(t testing.TB, p *apptest.Person, to string) {
	t.Helper()
	p.Do(t, "PATCH", "/"+p.ID, object{"email": to}).Want(t, 200)
}

func finishEmail(t testing.TB, a *apptest.App, to string) {
	t.Helper()
	a.Do(t, "POST", "/auth/verify/email", object{"token": a.Letter(t, to, outbox.EmailChangeConfirm).Token}).Want(t, 200)
}

// addApp adds an app with the session that p holds.
func addApp(t testing.TB, a *apptest.App, p *apptest.Person) *armed {
	t.Helper()
	x := &armed{Person: p, seed: p.Do(t, "POST", "/auth/factors/totp", nil).Want(t, 200).Text("secret")}
	got := p.Do(t, "POST", "/auth/factors/totp/confirm", object{"code": x.code(t, a)}).Want(t, 200)
	for _, code := range listIn(got, "recovery_codes") {
		x.codes = append(x.codes, fmt.Sprint(code))
	}
	a.Clock.Move(30 * time.Second)
	return x
}

func addNamed(t testing.TB, p *apptest.Person, name string) *apptest.Authenticator {
	t.Helper()
	k := apptest.NewAuthenticator(t, apptest.ES256)
	p.Do(t, "POST", "/auth/passkeys", object{"name": name, "passkey": k.Create(t, beginAdding(t, p.Client))}).Want(t, 201)
	return k
}

// useAsFactor finishes a login that waits for a factor with a passkey.
func useAsFactor(t testing.TB, a *apptest.App, challenge string, k *apptest.Authenticator) *apptest.Answer {
	t.Helper()
	return a.Do(t, "POST", "/auth/login/second-factor", object{"challenge": challenge, "passkey": k.Get(t, factorOptions(t, a, challenge))})
}

// removals are the entries of the trail about factors that ended.
func removals(t testing.TB, a *apptest.App, do func()) (out []string) {
	t.Helper()
	for _, e := range entriesOf(t, a, do) {
		if e.Action == "factor.removed" {
			out = append(out, fmt.Sprint(e.Outcome, " ", e.Data["factor"], " ", e.Data["by"], " ", e.Data["passkey_id"] != ""))
			if e.Personal.IP == "" || e.TargetID == "" || e.Actor.ID != e.TargetID {
				t.Errorf("the entry does not say whose it was, or from where: %+v", e)
			}
		}
	}
	slices.Sort(out)
	return out
}

// removedLetters are what somebody was told of factors that ended.
func removedLetters(t testing.TB, a *apptest.App, to string) (texts []string) {
	t.Helper()
	for _, l := range a.Letters(t, to) {
		if l.Kind == outbox.FactorRemoved {
			texts = append(texts, l.Text)
		}
	}
	return texts
}

// V02, V10, S-29: the thief has a session of the owner's. He changes the address,
// adds two passkeys, an app and new recovery codes, and changes the address once
// more. All of that ends when the owner undoes the change; the passkey that was
// there before does not.
func TestUndoneChangeOfAddressEndsTheFactorsOfTheThief(t *testing.T) {
	t.Parallel()
	const thiefs, second = "thief@evil.example", "thief2@evil.example"
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		owners := p.Email
		p.Login(t, a.Client)
		own := addNamed(t, p, "own key")
		a.Clock.Move(time.Hour)
		p.LoginByPasskey(t, a, own)

		askForEmail(t, p, thiefs)
		finishEmail(t, a, thiefs)
		link := a.Letter(t, owners, outbox.EmailChanged).Token
		a.Clock.Move(time.Second)
		first := addNamed(t, p, "first")
		p.LoginByPasskey(t, a, first)
		app := addApp(t, a, p)
		after := addNamed(t, p, "after")
		for _, code := range listIn(p.Do(t, "POST", "/auth/factors/recovery-codes", nil).Want(t, 200), "recovery_codes") {
			app.codes = append(app.codes, fmt.Sprint(code))
		}
		askForEmail(t, p, second)
		finishEmail(t, a, second)
		p.LoginByPasskey(t, a, after)
		session := p.Token
		pending := heldLogin(t, a, p)
		a.Letters(t, second)
		a.Inbox.Clear()

		a.Clock.Move(time.Hour)
		entries := removals(t, a, func() {
			a.Do(t, "POST", "/auth/verify/email/undo", object{"token": link}).Want(t, 200)
		})
		const by = " undo_email_change "
		if want := []string{"success passkey" + by + "true", "success passkey" + by + "true", "success recovery_codes" + by + "false", "success totp" + by + "false"}; !slices.Equal(entries, want) {
			t.Errorf("the trail has %q, want %q", entries, want)
		}
		told := removedLetters(t, a, owners)
		if all := strings.Join(told, ""); len(told) != 3 || !strings.Contains(all, "first, after") || !strings.Contains(all, "recovery codes") || !strings.Contains(all, "authenticator app") {
			t.Errorf("the owner was told %q", told)
		}
		for _, to := range []string{thiefs, second} {
			if l := a.Letters(t, to); len(l) > 0 {
				t.Errorf("the thief was told %s", l[0].Text)
			}
		}
		wantStatus(t, a, "the thief's session", session, 401)
		for what, k := range map[string]*apptest.Authenticator{"first": first, "after": after} {
			if got := a.LoginWithPasskey(t, k); got.Status != 401 {
				t.Errorf("the thief's passkey %s logs in: %s", what, got.Body)
			}
		}
		finish(t, a.Client, pending, app.code(t, a)).Want(t, 401)
		// Also before the owner has another password his passkey works.
		p.LoginByPasskey(t, a, own)
		a.Do(t, "POST", "/auth/recover/confirm", object{"token": a.Letter(t, owners, outbox.Recover).Token, "new_password": nextPassword}).Want(t, 200)
		p.Email, p.Password = owners, nextPassword

		got := tryLogin(t, a.Client, owners, nextPassword).Want(t, 401, "second_factor_required")
		challenge := got.Text("challenge")
		if kinds := fmt.Sprint(got.Data("factors")); kinds != "[passkey recovery_codes]" {
			t.Errorf("the login can be finished with %s", kinds)
		}
		for what, code := range map[string]string{"app": app.code(t, a), "recovery code": app.codes[len(app.codes)-1], "first recovery code": app.codes[0]} {
			if got := finish(t, a.Client, challenge, code); got.Status != 401 {
				t.Errorf("the thief's %s finishes a login: %s", what, got.Body)
			}
		}
		for _, k := range []*apptest.Authenticator{first, after} {
			useAsFactor(t, a, challenge, k).Want(t, 401)
			challenge = heldLogin(t, a, p)
		}
		useAsFactor(t, a, challenge, own).Want(t, 200)
		p.LoginByPasskey(t, a, own)
		f, err := a.Service.Factors(t.Context(), operator(), p.ID)
		must(t, err)
		if f.TOTP || len(f.Passkeys) != 1 || f.Passkeys[0].Name != "own key" || f.RecoveryCodesLeft != 0 {
			t.Errorf("the account has %+v", f)
		}
	})
}

// S-27, V10: whoever has nothing but the old mailbox can undo a change for 72
// hours; the factors from before it stand in his way then as they did before.
func TestTheOldMailboxAloneIsRidOfNoFactorFromBefore(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		old := p.Email
		p.Login(t, a.Client)
		key := addNamed(t, p, "own key")
		p.LoginByPasskey(t, a, key)
		app := addApp(t, a, p)
		for _, code := range listIn(p.Do(t, "POST", "/auth/factors/recovery-codes", nil).Want(t, 200), "recovery_codes") {
			app.codes = append(app.codes, fmt.Sprint(code))
		}
		a.Clock.Move(time.Microsecond)
		askForEmail(t, p, "new@example.com")
		finishEmail(t, a, "new@example.com")
		a.Clock.Move(time.Hour)
		a.Deliver(t)

		if entries := removals(t, a, func() { undo(t, a, p, old) }); len(entries) > 0 {
			t.Errorf("removed: %q", entries)
		}
		if told := removedLetters(t, a, old); len(told) > 0 {
			t.Errorf("told: %q", told)
		}
		got := tryLogin(t, a.Client, old, nextPassword).Want(t, 401, "second_factor_required")
		if kinds := fmt.Sprint(got.Data("factors")); kinds != "[totp passkey recovery_codes]" {
			t.Errorf("the login can be finished with %s", kinds)
		}
		a.Do(t, "POST", "/auth/login/second-factor/enrol", object{"challenge": got.Text("challenge")}).Want(t, 409, "factor_exists")
		finish(t, a.Client, got.Text("challenge"), app.wrongCode(t, a)).Want(t, 401, "wrong_code")
		// All of them are still the owner's.
		finish(t, a.Client, got.Text("challenge"), app.code(t, a)).Want(t, 200)
		finish(t, a.Client, app.challenge(t, a.Client), app.codes[0]).Want(t, 200)
		useAsFactor(t, a, heldLogin(t, a, p), key).Want(t, 200)
		p.LoginByPasskey(t, a, key)
	})
}

// What was added in the microsecond in which the change was asked for may be the
// thief's, and ends; what was added one before it stays.
func TestAFactorOfTheMomentOfTheChangeEndsWithIt(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		old := p.Email
		p.Login(t, a.Client)
		before := addNamed(t, p, "before")
		p.LoginByPasskey(t, a, before)
		a.Clock.Move(time.Microsecond)
		same := addNamed(t, p, "same")
		askForEmail(t, p, "thief@evil.example")
		finishEmail(t, a, "thief@evil.example")
		undo(t, a, p, old)
		a.LoginWithPasskey(t, same).Want(t, 401, "passkey_refused")
		a.LoginWithPasskey(t, before).Want(t, 200)
		useAsFactor(t, a, heldLogin(t, a, p), before).Want(t, 200)
	})
}

// S-36: who must have a second factor must have one afterwards too, and is asked
// for it at his next login; whoever need not has none then. An app that the thief
// has only begun is none, and does not wait to be confirmed.
func TestWhoMustHaveAFactorMustHaveOneAfterAnUndoneChange(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		for name, required := range map[string]bool{"anna": true, "berta": false} {
			p := newUser(t, a, name, "", true)
			old := p.Email
			changeEmail(t, a, p, name+"@evil.example")
			must(t, a.Service.SetFactorRequired(t.Context(), operator(), p.ID, required))
			a.Clock.Move(time.Second)
			thiefs := &armed{Person: p, key: addNamed(t, p, "thief's")}
			p.LoginByPasskey(t, a, thiefs.key)
			thiefs.seed = p.Do(t, "POST", "/auth/factors/totp", nil).Want(t, 200).Text("secret")
			undo(t, a, p, old)
			a.LoginWithPasskey(t, thiefs.key).Want(t, 401, "passkey_refused")
			f, err := a.Service.Factors(t.Context(), operator(), p.ID)
			must(t, err)
			if f.Required != required || f.TOTP || len(f.Passkeys)+f.RecoveryCodesLeft > 0 {
				t.Errorf("%s has %+v", name, f)
			}
			for _, table := range []string{"totp", "passkeys", "recovery_codes"} {
				if rows := direct(t, a.URL).rows(t, table); strings.Contains(strings.Join(rows, "\n"), p.ID) {
					t.Errorf("%s: %s has %v", name, table, rows)
				}
			}
			if !required {
				p.Login(t, a.Client)
				continue
			}
			challenge := tryLogin(t, a.Client, old, nextPassword).Want(t, 401, "second_factor_enrolment_required").Text("challenge")
			finish(t, a.Client, challenge, thiefs.code(t, a)).Want(t, 401)
			x := &armed{Person: p, seed: a.Do(t, "POST", "/auth/login/second-factor/enrol", object{"challenge": challenge}).Want(t, 200).Text("secret")}
			p.Client = a.As(finish(t, a.Client, challenge, x.code(t, a)).Want(t, 200).Text("token"))
			p.Do(t, "DELETE", "/auth/factors/totp", nil).Want(t, 409, string(account.CodeLastFactor))
		}
	})
}
