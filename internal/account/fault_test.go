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
)

// change is a call that changes something. p has a proven address, two live
// sessions and a recent proof; other is the second token.
type change struct {
	name string
	do   func(t *testing.T, a *apptest.App, p *apptest.Person, other string) (failed bool)
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
	return []change{
		{"register", func(t *testing.T, a *apptest.App, p *apptest.Person, _ string) bool {
			return a.With("Idempotency-Key", "key-"+p.Username).Do(t, "POST", "/auth/register", map[string]any{
				"username": p.Username + "-child", "email": "child-" + p.Email, "password": p.Password,
			}).Status >= 500
		}},
		{"login", over("POST", "/auth/login", func(p *apptest.Person) any { return loginBody(p.Username, p.Password) })},
		{"logout", over("POST", "/auth/logout", nothing)},
		{"end of one", func(t *testing.T, a *apptest.App, p *apptest.Person, other string) bool {
			return p.Do(t, "DELETE", "/auth/sessions/"+sessionID(t, a, other), nil).Status >= 500
		}},
		{"end of others", over("DELETE", "/auth/sessions", nothing)},
		{"reauthenticate", over("POST", "/auth/reauthenticate", func(p *apptest.Person) any { return map[string]any{"password": p.Password} })},
		{"change of password", over("POST", "/auth/password", func(p *apptest.Person) any {
			return map[string]any{"current_password": p.Password, "new_password": nextPassword}
		})},
		{"PUT", over("PUT", "/{id}", func(p *apptest.Person) any {
			return map[string]any{"username": p.Username + "-2", "email": p.Email, "password": nextPassword}
		})},
		{"PATCH of a proven address", over("PATCH", "/{id}", func(p *apptest.Person) any { return map[string]any{"email": "new-" + p.Email} })},
		{"delete", over("DELETE", "/{id}", nothing)},
		{"disable", rule(func(t *testing.T, s *account.Service, p *apptest.Person) error {
			return s.DisableUser(t.Context(), operator(), p.ID)
		})},
		{"role", rule(func(t *testing.T, s *account.Service, p *apptest.Person) error {
			return s.SetRole(t.Context(), operator(), p.ID, account.RoleAdmin)
		})},
		{"end of all", rule(func(t *testing.T, s *account.Service, p *apptest.Person) error {
			_, err := s.RevokeSessions(t.Context(), operator(), p.ID, "")
			return err
		})},
	}
}

// F10, S-55, S-56: whichever table cannot be written, every change happens
// whole or not at all, and its answer says which. Without its entry in the
// trail, none happens.
func TestChangeHappensWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	apptest.Each(t, attempts(1<<20), func(t *testing.T, a *apptest.App) {
		d := direct(t, a.URL)
		people := 0
		fresh := func() (*apptest.Person, string) {
			people++
			p := newUser(t, a, fmt.Sprintf("whole%d", people), "", true)
			p.Login(t, a.Client)
			return p, another(t, a, p)
		}
		for _, table := range []string{"events", "users", "sessions", "session_changes", "session_epoch", "email_changes", "outbox", "idempotency"} {
			p, other := fresh()
			var failed []string
			for _, c := range changes() {
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
		}
		wantWhole(t, a)
	})
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
