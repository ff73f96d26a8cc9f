package account_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/db"
	"propusk/internal/outbox"
)

// change is a call that changes something. p has a proven address, two live
// sessions and a recent proof; other is the second token.
type change struct {
	name string
	do   func(t *testing.T, a *apptest.App, p *apptest.Person, other string) (failed bool)
	// prepare has something sent, which do brings back; nil: nothing.
	prepare func(t *testing.T, a *apptest.App, p *apptest.Person)
}

func changes() []change {
	over := func(method, path string, body func(p *apptest.Person) any) func(*testing.T, *apptest.App, *apptest.Person, string) bool {
		return func(t *testing.T, _ *apptest.App, p *apptest.Person, _ string) bool {
			got := p.Do(t, method, strings.ReplaceAll(path, "{id}", p.ID), body(p))
			if got.Status >= 300 && got.Status < 500 {
				t.Errorf("%s %s: status %d: %s", method, path, got.Status, got.Body)
			}
			return got.Status >= 500
		}
	}
	rule := func(f func(t *testing.T, s *account.Service, p *apptest.Person) error) func(*testing.T, *apptest.App, *apptest.Person, string) bool {
		return func(t *testing.T, a *apptest.App, p *apptest.Person, _ string) bool { return f(t, a.Service, p) != nil }
	}
	nothing := func(*apptest.Person) any { return nil }
	return append(answered(), []change{
		{name: "register", do: func(t *testing.T, a *apptest.App, p *apptest.Person, _ string) bool {
			return a.With("Idempotency-Key", "key-"+p.Username).Do(t, "POST", "/auth/register", map[string]any{
				"username": p.Username + "-child", "email": "child-" + p.Email, "password": p.Password,
			}).Status >= 500
		}},
		{name: "login", do: over("POST", "/auth/login", func(p *apptest.Person) any { return loginBody(p.Username, p.Password) })},
		{name: "logout", do: over("POST", "/auth/logout", nothing)},
		{name: "end of one", do: func(t *testing.T, a *apptest.App, p *apptest.Person, other string) bool {
			return p.Do(t, "DELETE", "/auth/sessions/"+sessionID(t, a, other), nil).Status >= 500
		}},
		{name: "end of others", do: over("DELETE", "/auth/sessions", nothing)},
		{name: "reauthenticate", do: over("POST", "/auth/reauthenticate", func(p *apptest.Person) any { return map[string]any{"password": p.Password} })},
		{name: "change of password", do: over("POST", "/auth/password", func(p *apptest.Person) any {
			return map[string]any{"current_password": p.Password, "new_password": nextPassword}
		})},
		{name: "PUT", do: over("PUT", "/{id}", func(p *apptest.Person) any {
			return map[string]any{"username": p.Username + "-2", "email": p.Email, "password": nextPassword}
		})},
		{name: "PATCH of a proven address", do: over("PATCH", "/{id}", func(p *apptest.Person) any { return map[string]any{"email": "new-" + p.Email} })},
		{name: "delete", do: over("DELETE", "/{id}", nothing)},
		{name: "disable", do: rule(func(t *testing.T, s *account.Service, p *apptest.Person) error {
			return s.DisableUser(t.Context(), operator(), p.ID)
		})},
		{name: "role", do: rule(func(t *testing.T, s *account.Service, p *apptest.Person) error {
			return s.SetRole(t.Context(), operator(), p.ID, account.RoleAdmin)
		})},
		{name: "end of all", do: rule(func(t *testing.T, s *account.Service, p *apptest.Person) error {
			_, err := s.RevokeSessions(t.Context(), operator(), p.ID, "")
			return err
		})},
	}...)
}

// answered is what comes of bringing back what was sent.
func answered() []change {
	var b brought
	var x *codeLogin
	bring := func(byLink bool) func(*testing.T, *apptest.App, *apptest.Person, string) bool {
		return func(t *testing.T, a *apptest.App, _ *apptest.Person, _ string) bool {
			got := b.bring(t, a, byLink)
			if got.Status >= 300 && got.Status < 500 {
				t.Errorf("%s: status %d: %s", b.path, got.Status, got.Body)
			}
			return got.Status >= 500
		}
	}
	confirm := func(t *testing.T, a *apptest.App, p *apptest.Person) {
		p.Login(t, a.Client)
		to := fmt.Sprintf("a%d-%s", phones.Add(1), p.Email)
		p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": to}).Want(t, http.StatusOK)
		l := a.Letter(t, to, outbox.EmailChangeConfirm)
		b = brought{path: "/auth/verify/email", name: p.Username, link: l.Token, code: l.Code}
	}
	return []change{
		{name: "proof of a new address, by link", prepare: confirm, do: bring(true)},
		{name: "proof of a new address, by code", prepare: confirm, do: bring(false)},
		{name: "undo of a change of address", prepare: func(t *testing.T, a *apptest.App, p *apptest.Person) {
			old := p.Email
			changeEmail(t, a, p, fmt.Sprintf("b%d-%s", phones.Add(1), p.Email))
			b = brought{path: "/auth/verify/email/undo", link: a.Letter(t, old, outbox.EmailChanged).Token}
		}, do: bring(true)},
		{name: "proof of a number", prepare: func(t *testing.T, a *apptest.App, p *apptest.Person) {
			number := withPhone(t, a, p, false)
			p.Do(t, "POST", "/auth/verify/phone/send", nil).Want(t, http.StatusAccepted)
			b = brought{token: p.Token, path: "/auth/verify/phone", nameless: true, code: a.Letter(t, number, outbox.VerifyPhone).Code}
		}, do: bring(false)},
		{name: "recovery", prepare: func(t *testing.T, a *apptest.App, p *apptest.Person) {
			a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": p.Username}).Want(t, http.StatusAccepted)
			b = brought{path: "/auth/recover/confirm", common: map[string]any{"new_password": p.Password}, link: a.Letter(t, p.Email, outbox.Recover).Token}
		}, do: bring(true)},
		{name: "login by code", prepare: func(t *testing.T, a *apptest.App, p *apptest.Person) { x = askCode(t, a, p) },
			do: func(t *testing.T, a *apptest.App, _ *apptest.Person, _ string) bool {
				return x.try(t, a.Client, x.code).Status >= 500
			}},
		{name: "login by link", prepare: func(t *testing.T, a *apptest.App, p *apptest.Person) { x = askCode(t, a, p) },
			do: func(t *testing.T, _ *apptest.App, _ *apptest.Person, _ string) bool { return x.byLink(t).Status >= 500 }},
		{name: "end of a registration", prepare: func(t *testing.T, a *apptest.App, p *apptest.Person) {
			name := fmt.Sprintf("later%d", phones.Add(1))
			o := verifyFirst()
			o.Idle = true
			anotherNode(t, a, o).Do(t, "POST", "/auth/register", form(name, name+"@example.com")).Want(t, http.StatusAccepted)
			b = brought{path: "/auth/register/confirm", link: a.Letter(t, name+"@example.com", outbox.Register).Token}
		}, do: bring(true)},
		{name: "issue of a recovery", do: func(t *testing.T, a *apptest.App, p *apptest.Person, _ string) bool {
			_, _, _, err := a.Service.IssueRecovery(t.Context(), operator(), p.ID)
			return err != nil
		}},
		{name: "sending of what was asked for", prepare: func(t *testing.T, a *apptest.App, p *apptest.Person) {
			a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": p.Username}).Want(t, http.StatusAccepted)
		}, do: func(t *testing.T, a *apptest.App, _ *apptest.Person, _ string) bool {
			return a.Service.ServeRequests(t.Context()) != nil
		}},
	}
}

// F10, S-55, S-56: whichever table cannot be written, every change happens
// whole or not at all, and its answer says which. Without its entry in the
// trail, none happens.
func TestChangeHappensWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	o := manyMessages()
	o.Idle = true // what strangers ask for waits until it is served
	for _, table := range []string{"events", "users", "sessions", "session_changes", "session_epoch", "email_changes", "outbox", "idempotency", "tokens", "requests"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			apptest.Each(t, o, func(t *testing.T, a *apptest.App) { changeWithout(t, a, table) })
		})
	}
}

// changeWithout makes every change while a table cannot be written.
func changeWithout(t *testing.T, a *apptest.App, table string) {
	d := direct(t, a.URL)
	people := 0
	fresh := func() (*apptest.Person, string) {
		people++
		p := newUser(t, a, fmt.Sprintf("whole%d", people), "", true)
		p.Login(t, a.Client)
		return p, another(t, a, p)
	}
	p, other := fresh()
	var failed []string
	for _, c := range changes() {
		if c.prepare != nil {
			c.prepare(t, a, p)
		}
		before := d.read(t)
		mend := breakTable(t, d, a.Engine, table)
		if !c.do(t, a, p, other) {
			mend()
			p, other = fresh()
			continue
		}
		mend()
		failed = append(failed, c.name)
		diff := differences(before, d.read(t))
		delete(diff, "throttle") // an attempt counts, whatever comes of it
		if len(diff) > 0 {
			t.Errorf("%s without %s failed, and yet changed %v", c.name, table, slices.Sorted(maps.Keys(diff)))
		}
		wantStatus(t, a, c.name+" without "+table+": own token", p.Token, http.StatusOK)
		wantStatus(t, a, c.name+" without "+table+": other token", other, http.StatusOK)
	}
	if len(failed) == 0 || table == "events" && len(failed) != len(changes()) {
		t.Errorf("without %s, only %v failed", table, failed)
	}
	wantWhole(t, a)
}

// breakTable makes every write to a table fail until mend is called.
func breakTable(t testing.TB, d database, engine db.Engine, table string) (mend func()) {
	t.Helper()
	if engine == db.Postgres {
		d.exec(t, `CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$`,
			`CREATE TRIGGER broken BEFORE INSERT OR UPDATE OR DELETE ON `+table+` FOR EACH STATEMENT EXECUTE FUNCTION broken()`)
		return func() { d.exec(t, `DROP TRIGGER broken ON `+table) }
	}
	make, drop := `BEGIN IMMEDIATE;`, `BEGIN IMMEDIATE;`
	for _, event := range []string{"INSERT", "UPDATE", "DELETE"} {
		make += `CREATE TRIGGER broken_` + event + ` BEFORE ` + event + ` ON ` + table + ` BEGIN SELECT RAISE(ABORT, 'broken'); END;`
		drop += `DROP TRIGGER broken_` + event + `;`
	}
	d.exec(t, make+`COMMIT`)
	return func() { d.exec(t, drop+`COMMIT`) }
}
