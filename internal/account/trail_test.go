package account_test

import (
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/event"
)

// S-55: every change has its one entry, by the right actor on the right
// target, and nothing else has one; there is no kind of entry that this does not
// cause, and no secret in any.
func TestEveryChangeHasItsEntryAndNothingElseHas(t *testing.T) {
	t.Parallel()
	apptest.Each(t, trailOptions(), func(t *testing.T, a *apptest.App) {
		s := trailScript{a: a, names: map[string]string{"": ""}}
		s.run(t)
		s.runKinds(t)
		s.wantEveryKind(t)
		s.wantNoSecret(t)
		wantWhole(t, a)
	})
}

// trailScript plays through the calls in an order in which each finds what it
// needs.
type trailScript struct {
	a     *apptest.App
	names map[string]string // of users and keys, by id

	secrets []string // that were given or sent
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)

// line is an entry as "action outcome actor → target data", with names for ids.
func (s *trailScript) line(e event.Event) string {
	name := func(id string) string {
		if n, ok := s.names[id]; ok {
			return n
		}
		return "?" + id
	}
	var data []string
	for _, k := range slices.Sorted(maps.Keys(e.Data)) {
		data = append(data, k+"="+uuid.ReplaceAllString(e.Data[k], "ID"))
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s:%s → %s %s", e.Action, e.Outcome, e.Actor.Kind, name(e.Actor.ID), name(e.TargetID), strings.Join(data, ",")))
}

// expect runs do and compares the entries that it causes, in any order. Where
// do gives an answer, the entries must bear its request's id and origin.
func (s *trailScript) expect(t *testing.T, what string, do func() *apptest.Answer, want ...string) {
	t.Helper()
	s.a.Clock.Move(time.Second)
	var got *apptest.Answer
	var lines []string
	for _, e := range entriesOf(t, s.a, func() { got = s.keep(do()) }) {
		lines = append(lines, s.line(e))
		if !e.At.Equal(s.a.Clock.Now()) {
			t.Errorf("%s: entry is of %v, not of now", what, e.At)
		}
		if got == nil || e.Action == "user.deleted" { // which has erased its own
			continue
		}
		if e.RequestID != got.Header.Get("X-Request-Id") || e.Personal.IP != "127.0.0.1" || e.Personal.UserAgent != "trail/1" {
			t.Errorf("%s: entry is of request %q from %+v", what, e.RequestID, e.Personal)
		}
	}
	slices.Sort(lines)
	slices.Sort(want)
	if !slices.Equal(lines, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, lines, want)
	}
}

func (s *trailScript) run(t *testing.T) {
	c := s.a.With("User-Agent", "trail/1")
	call := func(c *apptest.Client, status int, method, path string, body any) func() *apptest.Answer {
		return func() *apptest.Answer { return c.Do(t, method, path, body).Want(t, status) }
	}
	p := &apptest.Person{Username: "anna", Email: "anna@example.com", Password: apptest.GoodPassword}
	form := map[string]any{"username": p.Username, "email": p.Email, "password": p.Password}
	once := c.With("Idempotency-Key", "one")
	s.names[registerAs(t, s, once, form, p)] = "anna"

	s.expect(t, "the same request again", call(once, 201, "POST", "/auth/register", form))
	s.expect(t, "taken", call(c, 409, "POST", "/auth/register", form))
	s.expect(t, "broken fields", call(c, 422, "POST", "/auth/register", map[string]any{"username": "", "email": "x", "password": "short"}))
	s.expect(t, "not JSON", call(c, 400, "POST", "/auth/register", "{"))
	s.expect(t, "login without a password", call(c, 422, "POST", "/auth/login", loginBody("anna", "")))
	s.expect(t, "wrong password", call(c, 401, "POST", "/auth/login", loginBody("anna", wrongPassword)), "user.login_failed failure anonymous: → anna")
	s.expect(t, "unknown name", call(c, 401, "POST", "/auth/login", loginBody("nobody", wrongPassword)), "user.login_failed failure anonymous: →")

	login := func() *apptest.Answer {
		got := c.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password)).Want(t, 200)
		p.Token, p.Client = got.Text("token"), c.As(got.Text("token"))
		return got
	}
	const loggedIn = "user.logged_in success anonymous:anna → anna by=pwd,session_id=ID"
	s.expect(t, "login", login, loggedIn)
	s.expect(t, "reading", func() *apptest.Answer {
		p.Do(t, "GET", "/auth/session", nil)
		p.Do(t, "GET", "/auth/sessions", nil)
		c.Do(t, "GET", "/"+p.ID, nil)
		c.As(p.ID).Do(t, "POST", "/auth/logout", nil).Want(t, 401)
		return p.Do(t, "GET", "/"+p.ID, nil)
	})
	s.sessions(t, c, p, call, login, loggedIn)
	s.passwords(t, p, call)
	s.profile(t, p, call)
	s.administration(t, c, p, call, login)
}

func registerAs(t *testing.T, s *trailScript, c *apptest.Client, form map[string]any, p *apptest.Person) string {
	entries := entriesOf(t, s.a, func() { p.ID = c.Do(t, "POST", "/auth/register", form).Want(t, 201).Text("user_id") })
	if len(entries) != 1 || entries[0].Action != "user.registered" || entries[0].Actor != (event.Actor{Kind: "anonymous", ID: p.ID}) || entries[0].TargetID != p.ID {
		t.Errorf("register: %+v", entries)
	}
	return p.ID
}

type caller func(c *apptest.Client, status int, method, path string, body any) func() *apptest.Answer

func (s *trailScript) sessions(t *testing.T, c *apptest.Client, p *apptest.Person, call caller, login func() *apptest.Answer, loggedIn string) {
	s.expect(t, "end of others where there are none", call(p.Client, 200, "DELETE", "/auth/sessions", nil))
	other := c.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password)).Text("token")
	s.expect(t, "end of one", call(p.Client, 200, "DELETE", "/auth/sessions/"+sessionID(t, s.a, other), nil), "session.ended success user:anna → anna session_id=ID")
	s.expect(t, "end of one that is not there", call(p.Client, 404, "DELETE", "/auth/sessions/"+p.ID, nil))
	c.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password))
	s.expect(t, "end of others", call(p.Client, 200, "DELETE", "/auth/sessions", nil), "session.others_ended success user:anna → anna")
	s.expect(t, "logout", call(p.Client, 200, "POST", "/auth/logout", nil), "session.logged_out success user:anna → anna session_id=ID")
	s.expect(t, "logout again", call(p.Client, 401, "POST", "/auth/logout", nil))
	s.expect(t, "login by address", login, loggedIn)
	s.expect(t, "proof anew", func() *apptest.Answer {
		got := p.Do(t, "POST", "/auth/reauthenticate", map[string]any{"password": p.Password}).Want(t, 200)
		p.Client = c.As(got.Text("token"))
		return got
	}, "session.renewed success user:anna → anna by=pwd,session_id=ID")
	s.expect(t, "wrong proof", call(p.Client, 403, "POST", "/auth/reauthenticate", map[string]any{"password": wrongPassword}), "user.proof_failed failure user:anna → anna")
	s.expect(t, "no proof", call(p.Client, 422, "POST", "/auth/reauthenticate", map[string]any{"password": ""}))
}

func (s *trailScript) passwords(t *testing.T, p *apptest.Person, call caller) {
	change := func(current, next string) map[string]any {
		return map[string]any{"current_password": current, "new_password": next}
	}
	s.expect(t, "wrong current password", call(p.Client, 403, "POST", "/auth/password", change(wrongPassword, nextPassword)), "user.proof_failed failure user:anna → anna")
	s.expect(t, "common new password", call(p.Client, 422, "POST", "/auth/password", change(p.Password, "password")))
	agent := s.a.With("User-Agent", "trail/1")
	s.expect(t, "new password", func() *apptest.Answer {
		got := p.Do(t, "POST", "/auth/password", change(p.Password, nextPassword)).Want(t, 200)
		p.Client, p.Password = agent.As(got.Text("token")), nextPassword
		return got
	}, "password.changed success user:anna → anna")
}

func (s *trailScript) profile(t *testing.T, p *apptest.Person, call caller) {
	doc := map[string]any{"username": p.Username, "email": p.Email}
	s.expect(t, "PUT of what is", call(p.Client, 200, "PUT", "/"+p.ID, doc))
	s.expect(t, "PATCH of what is", call(p.Client, 200, "PATCH", "/"+p.ID, map[string]any{"user_type": "ind"}))
	s.expect(t, "PATCH of nothing", call(p.Client, 200, "PATCH", "/"+p.ID, map[string]any{}))
	s.expect(t, "PUT of a role", call(p.Client, 422, "PUT", "/"+p.ID, map[string]any{"username": p.Username, "email": p.Email, "user_role": "Admin"}))
	s.expect(t, "PATCH of another version", call(p.Client.With("If-Match", `"99"`), 412, "PATCH", "/"+p.ID, map[string]any{"user_type": "org"}))
	s.expect(t, "PATCH with a wrong password", call(p.Client, 403, "PATCH", "/"+p.ID, map[string]any{"email": "new@example.com", "current_password": wrongPassword}), "user.proof_failed failure user:anna → anna")
	s.expect(t, "PATCH of somebody else", call(p.Client, 404, "PATCH", "/"+nobodyID, map[string]any{"user_type": "org"}))
	s.expect(t, "PATCH", call(p.Client, 200, "PATCH", "/"+p.ID, map[string]any{"user_type": "org"}), "user.patched success user:anna → anna fields=user_type")
	doc["contact_number"], doc["user_type"], doc["password"] = "+79853553825", "ind", "third-Velvet-77-kite"
	s.expect(t, "PUT with a password", call(p.Client, 200, "PUT", "/"+p.ID, doc),
		"user.replaced success user:anna → anna fields=contact_number password user_type", "password.changed success user:anna → anna")
	p.Password = "third-Velvet-77-kite"
}

const nobodyID = "00000000-0000-4000-8000-000000000000"

func (s *trailScript) administration(t *testing.T, c *apptest.Client, p *apptest.Person, call caller, login func() *apptest.Answer) {
	ctx, service := t.Context(), s.a.Service
	rule := func(f func() error) func() *apptest.Answer {
		return func() *apptest.Answer { must(t, f()); return nil }
	}
	setRole := func(role string) func() *apptest.Answer {
		return rule(func() error { return service.SetRole(ctx, operator(), p.ID, role) })
	}
	s.expect(t, "role", setRole(account.RoleVerified), "user.role_set success operator: → anna role=Verified")
	s.expect(t, "the same role", setRole(account.RoleVerified))
	disable := rule(func() error { return service.DisableUser(ctx, operator(), p.ID) })
	enable := rule(func() error { return service.EnableUser(ctx, operator(), p.ID) })
	s.expect(t, "enabling the enabled", enable)
	s.expect(t, "disabling", disable, "user.disabled success operator: → anna")
	s.expect(t, "disabling the disabled", disable)
	s.expect(t, "login of the disabled", call(c, 401, "POST", "/auth/login", loginBody("anna", p.Password)), "user.login_failed failure anonymous: → anna")
	s.expect(t, "enabling", enable, "user.enabled success operator: → anna")
	s.expect(t, "disabling nobody", func() *apptest.Answer {
		if err := service.DisableUser(ctx, operator(), nobodyID); err == nil {
			t.Error("nobody was disabled")
		}
		return nil
	})
	end := rule(func() error { _, err := service.RevokeSessions(ctx, operator(), p.ID, ""); return err })
	s.expect(t, "end of all, of none", end)
	login()
	s.expect(t, "end of all", end, "session.others_ended success operator: → anna")

	var admin *apptest.Person
	s.expect(t, "new administrator", func() *apptest.Answer {
		admin = newUser(t, s.a, "berta", account.RoleAdmin, true)
		s.names[admin.ID] = "berta"
		return nil
	}, "user.created success operator: → berta role=Admin")
	admin.Login(t, c)
	s.expect(t, "proven address asks the new one", call(admin.Client, 200, "PATCH", "/"+admin.ID, map[string]any{"email": "new@example.com"}),
		"user.patched success user:berta → berta email_change=pending,fields=")
	login()
	s.expect(t, "deletion by somebody else", call(p.Client, 404, "DELETE", "/"+admin.ID, nil))
	s.a.Clock.Move(account.ProofWindow)
	s.expect(t, "deletion without a recent proof", call(p.Client, 403, "DELETE", "/"+p.ID, nil))
	admin.Login(t, c)
	s.expect(t, "PATCH by an administrator", call(admin.Client, 200, "PATCH", "/"+p.ID, map[string]any{"username": "annika"}),
		"user.patched success user:berta → anna fields=username")
	s.expect(t, "deletion by an administrator", call(admin.Client, 200, "DELETE", "/"+p.ID, nil), "user.deleted success user:berta → anna")
	s.expect(t, "deletion again", call(admin.Client, 404, "DELETE", "/"+p.ID, nil))
	s.expect(t, "deletion of oneself", call(admin.Client, 200, "DELETE", "/"+admin.ID, nil), "user.deleted success user:berta → berta")
}

// S-55: an entry holds ids, and never a name, an address, a password or a
// token; what is personal stands apart, can be erased, and the rest still is
// what was written.
func TestDeletionErasesPersonalDataAndLeavesTheTrailWhole(t *testing.T) {
	t.Parallel()
	o := throughProxy(apptest.Options{})
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		d := direct(t, a.URL)
		p := newUser(t, a, "margarita", "", true)
		from := a.With("X-Forwarded-For", "203.0.113.77").With("User-Agent", "Margaritas-Telephone/7")
		stranger := a.With("X-Forwarded-For", "198.51.100.5").With("User-Agent", "Strangers-Telephone/8")
		p.Login(t, from)
		old := p.Token
		p.Do(t, "PATCH", "/"+p.ID, map[string]any{"contact_number": "+79853553825", "username": "margarita-2"}).Want(t, 200)
		p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": "margarita-new@example.com"}).Want(t, 200) // waits, with two messages
		tryLogin(t, from, "margarita-2", wrongPassword)
		bystander := newUser(t, a, "bystander", "", false)
		bystander.Login(t, stranger)
		p.Username = "margarita-2"
		a.With("Idempotency-Key", "k").Do(t, "POST", "/auth/register", map[string]any{"username": "m", "email": "", "password": ""})

		personal := []string{"margarita", "79853553825", "203.0.113.77", "Margaritas-Telephone", hex.EncodeToString([]byte("margarita")), p.ID}
		for _, row := range d.rows(t, "events") {
			for _, secret := range []string{"margarita", "Margarita@", "79853553825", apptest.GoodPassword, wrongPassword, old, "bystander"} {
				if rest := regexp.MustCompile(`personal=\{[^}]*\}`).ReplaceAllString(row, ""); strings.Contains(rest, secret) {
					t.Errorf("an entry holds %q: %s", secret, row)
				}
			}
		}
		p.Login(t, from)
		p.Do(t, "DELETE", "/"+p.ID, nil).Want(t, 200)
		for name, rows := range d.read(t) {
			for _, row := range rows {
				for _, word := range personal {
					if strings.Contains(row, word) && !(word == p.ID && (name == "events" || name == "session_changes")) {
						t.Errorf("%s still holds %q: %s", name, word, row)
					}
				}
			}
		}
		kept := 0
		for _, e := range trail(t, a) {
			switch {
			case e.TargetID == p.ID && e.Personal != (event.Personal{}):
				t.Errorf("%s of the deleted user still has %+v", e.Action, e.Personal)
			case e.TargetID == p.ID:
				kept++
			case e.TargetID == bystander.ID && e.Action == "user.logged_in" && e.Personal.IP != "198.51.100.5":
				t.Errorf("a bystander's entry lost its data: %+v", e)
			}
		}
		if kept < 6 {
			t.Errorf("%d entries of the deleted user are left: they stay", kept)
		}
		wantWhole(t, a)
	})
}

// S-55: the trail shows when an entry was changed, and which.
func TestTrailShowsWhatWasTamperedWith(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		d := direct(t, a.URL)
		p := a.NewPerson(t)
		for what, set := range map[string]string{
			"action": `action = 'user.enabled'`, "outcome": `outcome = 'failure'`, "actor": `actor_id = 'x'`, "target": `target_id = 'x'`,
			"time": `at = at + 1`, "data": `data = '{"session_id":"x"}'`, "request": `request_id = 'x'`, "address": `personal = '{"ip":"192.0.2.1"}'`,
			"personal data that is no JSON": `personal = 'x'`, "data that is no JSON": `data = 'x'`,
		} {
			entries := entriesOf(t, a, func() { another(t, a, p) })
			wantWhole(t, a)
			id := entries[0].ID
			d.exec(t, `UPDATE events SET `+set+` WHERE id = '`+id+`'`)
			if _, changed, err := event.Verify(t.Context(), a.DB); err != nil || changed != id {
				t.Errorf("%s: changed %q, want %q: %v", what, changed, id, err)
			}
			d.exec(t, `DELETE FROM events WHERE id = '`+id+`'`)
		}
	})
}
