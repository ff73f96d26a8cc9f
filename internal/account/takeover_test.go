package account_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

// attackers is a password that the owner does not know.
const attackers = "attacker-Lantern-42-cobalt"

// manyMessages lets the tests ask as often as they like.
func manyMessages() apptest.Options {
	return apptest.Options{Policy: func(p *account.Policy) {
		p.MessagesPerAddress, p.AttemptsPerNetwork, p.AttemptsPerAccount = 1<<20, 1<<20, 1<<20
	}}
}

// attack is what somebody holds who is to hold nothing in the end.
type attack struct {
	a        *apptest.App
	sessions map[string]string // by what they are
	answers  map[string]brought
	logins   [][2]string
}

func newAttack(a *apptest.App) *attack {
	return &attack{a: a, sessions: map[string]string{}, answers: map[string]brought{}}
}

// wantNothing tries everything.
func (x *attack) wantNothing(t *testing.T) {
	t.Helper()
	for what, token := range x.sessions {
		wantStatus(t, x.a, "attacker's "+what, token, http.StatusUnauthorized)
	}
	for what, b := range x.answers {
		for _, byLink := range []bool{true, false} {
			if byLink && b.link == "" || !byLink && b.code == "" {
				continue
			}
			if got := b.bring(t, x.a, byLink); got.Status < 400 {
				t.Errorf("attacker's %s (link: %v): %d: %s", what, byLink, got.Status, got.Body)
			}
		}
	}
	for _, l := range x.logins {
		tryLogin(t, x.a.Client, l[0], l[1]).Want(t, http.StatusUnauthorized)
	}
}

func recoverBy(t testing.TB, a *apptest.App, address, password string) *apptest.Answer {
	t.Helper()
	a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": address}).Want(t, http.StatusAccepted)
	return a.Do(t, "POST", "/auth/recover/confirm", map[string]any{
		"token": a.Letter(t, address, outbox.Recover).Token, "new_password": password,
	}).Want(t, http.StatusOK)
}

func readUser(t testing.TB, p *apptest.Person) (email, role string, phone any) {
	t.Helper()
	got := p.Do(t, "GET", "/"+p.ID, nil).Want(t, http.StatusOK)
	return got.Text("email"), got.Text("user_role"), got.Data("contact_number")
}

// S-31, V01, V02, V03: the attacker makes an account with the victim's address,
// and plants what he can; later the victim comes and sets a password as if it had
// been forgotten. Nothing of the attacker's works afterwards. (The variants with
// an identity of another provider need one: there is none yet.)
func TestPreHijackedAccountBelongsToTheOwnerOfTheAddress(t *testing.T) {
	t.Parallel()
	const address = "victim@example.com"
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		plant := map[string]func(t *testing.T, x *attack, p *apptest.Person){
			"password only (classic, federated merge)": func(*testing.T, *attack, *apptest.Person) {},
			"unexpired session": func(t *testing.T, x *attack, p *apptest.Person) {
				x.sessions["second session"] = another(t, a, p)
				x.sessions["remembered session"] = a.Do(t, "POST", "/auth/login", map[string]any{"email_or_name": p.Username, "password": p.Password, "remember_me": true}).Text("token")
			},
			"trojan identifier": func(t *testing.T, x *attack, p *apptest.Person) {
				number := withPhone(t, a, p, true)
				a.Do(t, "POST", "/auth/login/code/send", map[string]any{"email_or_name": p.Username, "via": "phone"}).Want(t, 202)
				x.answers["code by SMS"] = brought{path: "/auth/login/code", name: p.Username, code: a.Letter(t, number, outbox.LoginCode).Code}
			},
			"unexpired change of the address": func(t *testing.T, x *attack, p *apptest.Person) {
				// A proven address, so that the change waits.
				direct(t, a.URL).exec(t, `UPDATE users SET email_verified_at = 1, user_role = 'Verified' WHERE id = '`+p.ID+`'`)
				p.Login(t, anotherNode(t, a, manyMessages()).Client)
				a.Clock.Move(time.Second)
				p.Client = a.As(p.Token)
				p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": "attacker@evil.example"}).Want(t, 200)
				l := a.Letter(t, "attacker@evil.example", outbox.EmailChangeConfirm)
				x.answers["change of the address"] = brought{path: "/auth/verify/email", name: p.Username, link: l.Token, code: l.Code}
			},
			"links of every kind": func(t *testing.T, x *attack, p *apptest.Person) {
				issued, _, _, err := a.Service.IssueRecovery(t.Context(), operator(), p.ID)
				must(t, err)
				x.answers["issued link"] = brought{path: "/auth/recover/confirm", common: map[string]any{"new_password": attackers}, link: issued.Reveal()}
			},
		}
		for name, f := range plant {
			p := &apptest.Person{Username: "attacker", Email: address, Password: attackers}
			p.ID = a.Do(t, "POST", "/auth/register", map[string]any{"username": p.Username, "email": address, "password": attackers, "contact_number": newPhone()}).Want(t, 201).Text("user_id")
			p.Login(t, a.Client)
			x := newAttack(a)
			x.sessions["session"] = p.Token
			x.logins = [][2]string{{address, attackers}, {p.Username, attackers}}
			f(t, x, p)
			x.sessions["last session"] = p.Token

			got := recoverBy(t, a, address, nextPassword)
			if got.Text("token") != "" || len(got.Header["Set-Cookie"]) > 0 {
				t.Errorf("%s: recovery gave a session: %s %v", name, got.Body, got.Header)
			}
			x.wantNothing(t)
			p.Password = nextPassword
			p.Login(t, a.Client)
			email, role, phone := readUser(t, p)
			if email != address || role != account.RoleVerified || phone != nil && !strings.HasPrefix(name, "unexpired change") {
				t.Errorf("%s: the owner has %s, %s, %v", name, email, role, phone)
			}
			if n := len(a.Letters(t, "attacker@evil.example")); strings.HasPrefix(name, "trojan") && n > 0 {
				t.Errorf("%s: the attacker was told", name)
			}
			a.Do(t, "POST", "/auth/login/code/send", map[string]any{"email_or_name": address, "via": "phone"}).Want(t, 202)
			a.Inbox.Clear()
			a.Deliver(t)
			if all := a.Inbox.Messages(""); len(all) > 0 {
				t.Errorf("%s: a code to log in went to %s", name, all[0].To)
			}
			p.Do(t, "DELETE", "/"+p.ID, nil).Want(t, 200)
			a.Inbox.Clear()
		}
	})
}

// The victim has clicked what came, without thought, and so proven the attacker's
// account. The number that the attacker has proven does not survive recovery
// either (V02, V03).
func TestRecoveryUnprovesTheNumberThatSomebodyElseAdded(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		number := withPhone(t, a, p, true)
		recoverBy(t, a, p.Email, nextPassword)
		if l := a.Letter(t, number, outbox.Recovered); l.Text == "" { // told, if it is the owner's
			t.Error("the number was told nothing")
		}
		a.Inbox.Clear()
		a.Do(t, "POST", "/auth/login/code/send", map[string]any{"email_or_name": p.Username, "via": "phone"}).Want(t, 202)
		if l := a.Letters(t, number); len(l) != 0 {
			t.Errorf("a code to log in went to the number: %v", l[0].Kind)
		}
		p.Password = nextPassword
		p.Login(t, a.Client)
		if _, _, phone := readUser(t, p); phone != number {
			t.Errorf("the number is %v, and may be proven anew", phone)
		}
	})
}

// S-15, S-27, V19, V57, N24: recovery ends every session, every other link and
// code, and the change of the address that waits; it tells the owner, needs what
// it was sent, and logs nobody in.
func TestRecoveryEndsWhatWasThere(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		number := withPhone(t, a, p, true)
		x := newAttack(a)
		x.sessions["first"], x.sessions["second"] = p.Token, another(t, a, p)
		x.logins = [][2]string{{p.Username, p.Password}}
		x.answers = everyAnswer(t, a, p)
		other := newUser(t, a, "berlioz", "", true)
		for name, body := range map[string]map[string]any{ // no step can be left out
			"nothing":               {"new_password": nextPassword},
			"a name":                {"new_password": nextPassword, "email_or_name": p.Email},
			"another's code":        {"new_password": nextPassword, "email_or_name": other.Email, "code": x.answers["recover"].code},
			"a user's id":           {"new_password": nextPassword, "token": p.ID},
			"a session":             {"new_password": nextPassword, "token": p.Token},
			"link and code":         {"new_password": nextPassword, "token": x.answers["recover"].link, "email_or_name": p.Email, "code": x.answers["recover"].code},
			"no password":           {"token": x.answers["recover"].link},
			"password that is none": {"token": x.answers["recover"].link, "new_password": "password"},
			"password of own words": {"token": x.answers["recover"].link, "new_password": "Margarita1"},
		} {
			if got := p.Do(t, "POST", "/auth/recover/confirm", body); got.Status != 401 && got.Status != 422 {
				t.Errorf("%s: %d: %s", name, got.Status, got.Body)
			}
		}
		wantStatus(t, a, "session meanwhile", p.Token, 200)
		a.Inbox.Clear()
		got := p.Do(t, "POST", "/auth/recover/confirm", x.answers["recover"].body(true)).Want(t, 200)
		if string(got.Body) != `{"status":"success"}` || len(got.Header["Set-Cookie"])+len(got.Header[deviceHeader]) > 0 {
			t.Errorf("recovery answered %s, %v", got.Body, got.Header)
		}
		x.wantNothing(t)
		for _, to := range []string{p.Email, number} {
			if l := a.Letters(t, to); len(l) != 1 || l[0].Kind != outbox.Recovered || l[0].Link != "" || strings.Contains(l[0].Text, nextPassword) {
				t.Errorf("%s was told %v", to, l)
			}
		}
		if rows := direct(t, a.URL).rows(t, "email_changes"); len(rows) != 0 {
			t.Errorf("a change of the address waits: %v", rows)
		}
		tryLogin(t, a.Client, p.Username, nextPassword).Want(t, 200)
	})
}

// everyAnswer has everything sent that can be sent to somebody with a proven
// address: recovery, a code to log in, a change of the address, an issued link.
func everyAnswer(t testing.TB, a *apptest.App, p *apptest.Person) map[string]brought {
	t.Helper()
	out := map[string]brought{}
	password := map[string]any{"new_password": nextPassword}
	a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": p.Email}).Want(t, 202)
	l := a.Letter(t, p.Email, outbox.Recover)
	out["recover"] = brought{path: "/auth/recover/confirm", name: p.Email, common: password, link: l.Token, code: l.Code}
	browser := a.Do(t, "POST", "/auth/login/code/send", map[string]any{"email_or_name": p.Email}).Want(t, 202).Text("login_request")
	l = a.Letter(t, p.Email, outbox.LoginCode)
	out["login"] = brought{path: "/auth/login/code", name: p.Email, common: map[string]any{"login_request": browser}, link: l.Token, code: l.Code}
	p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": "next-" + p.Email}).Want(t, 200)
	l = a.Letter(t, "next-"+p.Email, outbox.EmailChangeConfirm)
	out["change of the address"] = brought{path: "/auth/verify/email", name: p.Email, link: l.Token, code: l.Code}
	issued, _, _, err := a.Service.IssueRecovery(t.Context(), operator(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	out["issued recovery"] = brought{path: "/auth/recover/confirm", common: password, link: issued.Reveal()}
	return out
}

// V21, S-15: whichever way the password changes, all that was sent before is
// worth nothing.
func TestEveryChangeOfThePasswordEndsWhatWasSent(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		admin := newUser(t, a, "admin", account.RoleAdmin, true)
		admin.Login(t, a.Client)
		for name, change := range map[string]func(p *apptest.Person){
			"password": func(p *apptest.Person) {
				p.Do(t, "POST", "/auth/password", map[string]any{"current_password": p.Password, "new_password": attackers}).Want(t, 200)
			},
			"patch": func(p *apptest.Person) {
				p.Do(t, "PATCH", "/"+p.ID, map[string]any{"password": attackers}).Want(t, 200)
			},
			"put": func(p *apptest.Person) {
				p.Do(t, "PUT", "/"+p.ID, map[string]any{"username": p.Username, "email": p.Email, "password": attackers}).Want(t, 200)
			},
			"admin": func(p *apptest.Person) {
				admin.Do(t, "PATCH", "/"+p.ID, map[string]any{"password": attackers}).Want(t, 200)
			},
			"recovery": func(p *apptest.Person) { recoverBy(t, a, p.Email, attackers) },
		} {
			p := newUser(t, a, "kot-"+name, "", true)
			p.Login(t, a.Client)
			x := newAttack(a)
			x.answers = everyAnswer(t, a, p)
			change(p)
			x.wantNothing(t)
			tryLogin(t, a.Client, p.Username, attackers).Want(t, 200)
		}
	})
}

// V10, S-29: the attacker changes the address, twice, and the password, proves a
// number, uses his own link to undo, recovers by his own address, and registers
// with the owner's. For 72 hours the owner has the account back by one click, and
// all of that has ended.
func TestOwnerHasHisAddressBackWhateverTheThiefDid(t *testing.T) {
	t.Parallel()
	const first, second = "thief1@evil.example", "thief2@evil.example"
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		owners := p.Email
		number := withPhone(t, a, p, true) // the thief's
		changeEmail(t, a, p, first)
		undo := a.Letter(t, owners, outbox.EmailChanged).Token
		a.Clock.Move(time.Hour)
		changeEmail(t, a, p, second)
		a.Clock.Move(time.Hour)
		p.Login(t, a.Client)
		p.Do(t, "PATCH", "/"+p.ID, map[string]any{"password": attackers}).Want(t, 200)
		p.Password = attackers
		// His own link, to his own first address, must not end the owner's.
		a.Do(t, "POST", "/auth/verify/email/undo", map[string]any{"token": a.Letter(t, first, outbox.EmailChanged).Token}).Want(t, 200)
		a.Do(t, "POST", "/auth/recover/confirm", map[string]any{"token": a.Letter(t, first, outbox.Recover).Token, "new_password": attackers}).Want(t, 200)
		a.Clock.Move(time.Second)
		changeEmail(t, a, p, second)
		recoverBy(t, a, second, attackers)
		p.Login(t, a.Client)
		withPhone(t, a, p, true)
		// Nor is the address free for others, in any spelling, without a proof.
		for _, spelling := range []string{owners, strings.ToUpper(owners)} {
			a.Do(t, "POST", "/auth/register", map[string]any{"username": "squatter", "email": spelling, "password": attackers}).Want(t, 409, "email_taken")
		}
		squatter := newUser(t, a, "squatter", "", false)
		squatter.Login(t, a.Client)
		squatter.Do(t, "PATCH", "/"+squatter.ID, map[string]any{"email": owners}).Want(t, 409, "email_taken")

		x := newAttack(a)
		x.sessions["session"] = p.Token
		x.logins = [][2]string{{second, attackers}, {"margarita", attackers}}
		x.answers = everyAnswer(t, a, p)
		x.answers["last link to undo"] = brought{path: "/auth/verify/email/undo", link: a.Letter(t, first, outbox.EmailChanged).Token}
		a.Inbox.Clear()
		a.Clock.Move(69 * time.Hour) // 71 in all
		got := a.Do(t, "POST", "/auth/verify/email/undo", map[string]any{"token": undo}).Want(t, 200)
		if string(got.Body) != `{"status":"success"}` || len(got.Header["Set-Cookie"]) > 0 {
			t.Errorf("the undo answered %s, %v", got.Body, got.Header)
		}
		x.wantNothing(t)
		tryLogin(t, a.Client, owners, attackers).Want(t, 401)
		l := a.Letter(t, owners, outbox.Recover) // he knows no password: neither did the thief's end with it
		a.Do(t, "POST", "/auth/recover/confirm", map[string]any{"token": l.Token, "new_password": nextPassword}).Want(t, 200)
		p.Password = nextPassword
		p.Login(t, a.Client)
		if email, role, _ := readUser(t, p); email != owners || role != account.RoleVerified {
			t.Errorf("the owner has %s, %s", email, role)
		}
		a.Inbox.Clear()
		a.Do(t, "POST", "/auth/login/code/send", map[string]any{"email_or_name": owners, "via": "phone"}).Want(t, 202)
		if n := len(a.Letters(t, number)); n > 0 {
			t.Error("the thief's number is sent codes")
		}
		a.Do(t, "POST", "/auth/verify/email/undo", map[string]any{"token": undo}).Want(t, 401, "link_invalid")
	})
}

// The address is kept for 72 hours and no longer, nor for whoever has proven it.
func TestAddressIsKeptForItsOldOwnerAndNotForEver(t *testing.T) {
	t.Parallel()
	o := manyMessages()
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		old := p.Email
		changeEmail(t, a, p, "new-"+old)
		undo := a.Letter(t, old, outbox.EmailChanged).Token
		other := newUser(t, a, "other", "", true) // somebody with the same mailbox, who proves it
		changeEmail(t, a, other, old)
		a.Do(t, "POST", "/auth/verify/email/undo", map[string]any{"token": undo}).Want(t, 409, "email_taken")
		changeEmail(t, a, other, "other2@example.com")
		a.Do(t, "POST", "/auth/verify/email/undo", map[string]any{"token": undo}).Want(t, 200) // it was not spent

		q := newUser(t, a, "koroviev", "", true)
		old = q.Email
		changeEmail(t, a, q, "new-"+old)
		a.Deliver(t)
		form := map[string]any{"username": "koroviev2", "email": old, "password": apptest.GoodPassword}
		a.Clock.Move(72*time.Hour - time.Second)
		a.Do(t, "POST", "/auth/register", form).Want(t, 409, "email_taken")
		a.Clock.Move(time.Second)
		a.Do(t, "POST", "/auth/register", form).Want(t, 201)
	})
}

// V10, S-29: two changes of the address at once, to the thief's and to the
// victim's: what was sent to one proves that one, and never the other.
func TestParallelChangesOfTheAddressStaySeparate(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "thief", "", true)
		p.Login(t, a.Client)
		w := newWire(t, a)
		const mine, victims = "mine@evil.example", "victim@example.com"
		for range 20 {
			a.Inbox.Clear()
			var wg sync.WaitGroup
			for _, address := range []string{mine, victims} {
				wg.Go(func() { w.send(t, "PATCH", "/"+p.ID, p.Token, `{"email":"`+address+`"}`) })
			}
			wg.Wait()
			a.Deliver(t)
			for _, l := range a.Letters(t, mine) {
				if l.Token == "" {
					continue
				}
				got := a.Do(t, "POST", "/auth/verify/email", map[string]any{"token": l.Token})
				if got.Status == 200 && got.Text("email") != mine {
					t.Fatalf("a link that was sent to %s proved %s", mine, got.Text("email"))
				}
			}
			if email, _, _ := readUser(t, p); email == victims {
				t.Fatal("the account has the victim's address, and nobody has proven it")
			}
			p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": "back@evil.example"}).Want(t, 200)
		}
	})
}

// V08, V09, V29: a mail says whose account it is about; its link proves the address
// of that account whoever opens it, says nothing about him, and joins nothing to
// the account that he is logged in to.
func TestLinkProvesAnAddressAndNotWhoOpensIt(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		thief, victim := newUser(t, a, "woland", "", true), newUser(t, a, "margarita", "", true)
		thief.Login(t, a.Client)
		victim.Login(t, a.Client)
		thief.Do(t, "PATCH", "/"+thief.ID, map[string]any{"email": "victims-second@example.com"}).Want(t, 200)
		l := a.Letter(t, "victims-second@example.com", outbox.EmailChangeConfirm)
		for _, body := range []string{l.Text, l.HTML} {
			if !strings.Contains(body, "woland") || strings.Contains(body, "margarita") {
				t.Errorf("the mail does not say whose account it is: %s", body)
			}
		}
		got := victim.Do(t, "POST", "/auth/verify/email", map[string]any{"token": l.Token}).Want(t, 200)
		if got.Text("user_id") != thief.ID || len(got.Header["Set-Cookie"]) > 0 || got.Text("token") != "" {
			t.Errorf("%s %v", got.Body, got.Header)
		}
		if email, _, _ := readUser(t, victim); email != victim.Email {
			t.Errorf("the victim's address is %s", email)
		}
		// A code of another's account is not one of one's own.
		thief.Do(t, "PATCH", "/"+thief.ID, map[string]any{"email": "third@example.com"}).Want(t, 200)
		code := a.Letter(t, "third@example.com", outbox.EmailChangeConfirm).Code
		victim.Do(t, "POST", "/auth/verify/email", map[string]any{"code": code}).Want(t, 401, "wrong_code")
	})
}

// Recovery on an administrator's word: for an Admin with a recent proof, or an
// operator; for nobody else, nor for users who are shut out. It proves no address.
func TestIssuedRecovery(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		admin, p, q := newUser(t, a, "admin", account.RoleAdmin, true), newUser(t, a, "anna", "", false), newUser(t, a, "berta", "", true)
		for _, u := range []*apptest.Person{admin, p, q} {
			u.Login(t, a.Client)
		}
		for _, who := range []*apptest.Person{p, q} {
			who.Do(t, "POST", "/admin/users/"+p.ID+"/recovery", nil).Want(t, 404)
		}
		a.Do(t, "POST", "/admin/users/"+p.ID+"/recovery", nil).Want(t, 401)
		admin.Do(t, "POST", "/admin/users/"+nobodyID+"/recovery", nil).Want(t, 404)
		old := admin.Do(t, "POST", "/admin/users/"+p.ID+"/recovery", nil).Want(t, 201)
		got := admin.Do(t, "POST", "/admin/users/"+p.ID+"/recovery", nil).Want(t, 201)
		if want := apptest.PublicURL + "/account/recover?lang=en&token=" + got.Text("token"); got.Text("link") != want {
			t.Errorf("link %s, want %s", got.Text("link"), want)
		}
		confirm := func(token string) *apptest.Answer {
			return a.Do(t, "POST", "/auth/recover/confirm", map[string]any{"token": token, "new_password": nextPassword})
		}
		confirm(old.Text("token")).Want(t, 401, "link_invalid")
		confirm(got.Text("token")).Want(t, 200)
		wantStatus(t, a, "session from before", p.Token, 401)
		p.Password = nextPassword
		p.Login(t, a.Client)
		if _, role, _ := readUser(t, p); role != account.RoleNotVerified {
			t.Errorf("the role is %s, and nothing was proven", role)
		}
		token := admin.Do(t, "POST", "/admin/users/"+q.ID+"/recovery", nil).Want(t, 201).Text("token")
		must(t, a.Service.DisableUser(t.Context(), operator(), q.ID))
		confirm(token).Want(t, 401, "link_invalid")
		late := admin.Do(t, "POST", "/admin/users/"+q.ID+"/recovery", nil).Want(t, 201).Text("token")
		confirm(late).Want(t, 401, "link_invalid")
		must(t, a.Service.DeleteUser(t.Context(), operator(), q.ID, nil))
		confirm(late).Want(t, 401, "link_invalid")
		a.Clock.Move(account.ProofWindow + time.Second)
		admin.Do(t, "POST", "/admin/users/"+p.ID+"/recovery", nil).Want(t, 403, "reauthentication_required")
	})
}

// Who is shut out, or gone, is sent nothing, and what he was sent is worth nothing;
// the answer is that to everybody.
func TestNothingIsSentToTheDisabledAndTheDeleted(t *testing.T) {
	t.Parallel()
	o := manyMessages()
	o.Idle = true // what was asked for waits
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		for name, end := range map[string]func(id string) error{
			"disabled": func(id string) error { return a.Service.DisableUser(t.Context(), operator(), id) },
			"deleted":  func(id string) error { return a.Service.DeleteUser(t.Context(), operator(), id, nil) },
		} {
			p := newUser(t, a, name, "", true)
			p.Login(t, a.Client)
			x := newAttack(a)
			x.answers = everyAnswer(t, a, p)
			for _, path := range []string{"/auth/recover", "/auth/login/code/send", "/auth/verify/email/send"} {
				a.Do(t, "POST", path, map[string]any{"email_or_name": name}).Want(t, 202) // and waits
			}
			must(t, end(p.ID))
			for _, path := range []string{"/auth/recover", "/auth/login/code/send", "/auth/verify/email/send"} {
				a.Do(t, "POST", path, map[string]any{"email_or_name": name}).Want(t, 202)
			}
			a.Inbox.Clear()
			for _, l := range a.Letters(t, p.Email) {
				if l.Kind != outbox.AccountDisabled {
					t.Errorf("%s was sent %s", name, l.Kind)
				}
			}
			x.wantNothing(t)
			if name == "disabled" { // and letting him in again does not revive it
				must(t, a.Service.EnableUser(t.Context(), operator(), p.ID))
				x.wantNothing(t)
			}
		}
	})
}
