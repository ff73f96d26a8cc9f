package account_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

const nextPassword = "another-Velvet-55-kite"

// revocation is a way in which sessions of a user end.
type revocation struct {
	do         func(t *testing.T, a *apptest.App, p *apptest.Person, other string)
	ownLives   bool // the session that asks
	otherLives bool // another one of the same user
}

func sessionID(t testing.TB, a *apptest.App, token string) string {
	t.Helper()
	return a.As(token).Do(t, "GET", "/auth/session", nil).Want(t, http.StatusOK).Text("session_id")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// revocations are all ways but the end of a lifetime.
func revocations() map[string]revocation {
	return map[string]revocation{
		"logout": {do: func(t *testing.T, _ *apptest.App, p *apptest.Person, _ string) {
			p.Do(t, "POST", "/auth/logout", nil).Want(t, http.StatusOK)
		}, otherLives: true},
		"end of one session": {do: func(t *testing.T, a *apptest.App, p *apptest.Person, other string) {
			p.Do(t, "DELETE", "/auth/sessions/"+sessionID(t, a, other), nil).Want(t, http.StatusOK)
		}, ownLives: true},
		"end of all others": {do: func(t *testing.T, _ *apptest.App, p *apptest.Person, _ string) {
			if n := p.Do(t, "DELETE", "/auth/sessions", nil).Want(t, http.StatusOK).Data("ended"); n != 1.0 {
				t.Errorf("ended %v sessions, want 1", n)
			}
		}, ownLives: true},
		"change of password": {do: func(t *testing.T, a *apptest.App, p *apptest.Person, _ string) {
			token := p.Do(t, "POST", "/auth/password", map[string]any{"current_password": p.Password, "new_password": nextPassword}).
				Want(t, http.StatusOK).Text("token")
			wantStatus(t, a, "the token that came of it", token, http.StatusOK)
		}},
		"PUT of a password": {do: func(t *testing.T, _ *apptest.App, p *apptest.Person, _ string) {
			p.Do(t, "PUT", "/"+p.ID, map[string]any{"username": p.Username, "email": p.Email, "password": nextPassword}).Want(t, http.StatusOK)
		}, ownLives: true},
		"PATCH of a password": {do: func(t *testing.T, _ *apptest.App, p *apptest.Person, _ string) {
			p.Do(t, "PATCH", "/"+p.ID, map[string]any{"password": nextPassword}).Want(t, http.StatusOK)
		}, ownLives: true},
		"deletion": {do: func(t *testing.T, _ *apptest.App, p *apptest.Person, _ string) {
			p.Do(t, "DELETE", "/"+p.ID, nil).Want(t, http.StatusOK)
		}},
		"deletion by an operator": {do: func(t *testing.T, a *apptest.App, p *apptest.Person, _ string) {
			must(t, a.Service.DeleteUser(t.Context(), operator(), p.ID, nil))
		}},
		"disabling": {do: func(t *testing.T, a *apptest.App, p *apptest.Person, _ string) {
			must(t, a.Service.DisableUser(t.Context(), operator(), p.ID))
		}},
		"an operator's end of all": {do: func(t *testing.T, a *apptest.App, p *apptest.Person, _ string) {
			if n, err := a.Service.RevokeSessions(t.Context(), operator(), p.ID, ""); err != nil || n != 2 {
				t.Errorf("ended %d sessions, want 2: %v", n, err)
			}
		}},
		"an operator's end of one": {do: func(t *testing.T, a *apptest.App, p *apptest.Person, other string) {
			if n, err := a.Service.RevokeSessions(t.Context(), operator(), p.ID, sessionID(t, a, other)); err != nil || n != 1 {
				t.Errorf("ended %d sessions, want 1: %v", n, err)
			}
		}, ownLives: true},
		"new password by an administrator": {do: func(t *testing.T, a *apptest.App, p *apptest.Person, _ string) {
			admin := newUser(t, a, "admin-"+p.Username, account.RoleAdmin, false)
			admin.Login(t, a.Client)
			admin.Do(t, "PATCH", "/"+p.ID, map[string]any{"password": nextPassword}).Want(t, http.StatusOK)
		}},
		"deletion by an administrator": {do: func(t *testing.T, a *apptest.App, p *apptest.Person, _ string) {
			admin := newUser(t, a, "root-"+p.Username, account.RoleAdmin, false)
			admin.Login(t, a.Client)
			admin.Do(t, "DELETE", "/"+p.ID, nil).Want(t, http.StatusOK)
		}},
	}
}

// S-13, S-14, S-15, V57, V58, V61, F21: at the next request here, and within a
// second on another node, although both have the sessions in memory. The other
// node's second is its clock's, so the test does not depend on the machine's
// speed: by then it has heard, or knows that it has not, and asks.
func TestRevocationIsEffectiveAtTheNextRequest(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		b := anotherNode(t, a, apptest.Options{})
		bystander := a.NewPerson(t)
		code := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}
		for name, r := range revocations() {
			t.Run(name, func(t *testing.T) {
				p := a.NewPerson(t)
				other := another(t, a, p)
				for _, node := range []*apptest.App{a, b} {
					wantStatus(t, node, "own token before", p.Token, http.StatusOK)
					wantStatus(t, node, "other token before", other, http.StatusOK)
				}
				r.do(t, a, p, other)
				wantStatus(t, a, "own token", p.Token, code[r.ownLives])
				wantStatus(t, a, "other token", other, code[r.otherLives])
				if b.Clock.Move(time.Second); a.Engine == "sqlite" {
					// One process owns a SQLite file; a second one is the command
					// line's, which makes changes and checks no tokens. So the
					// service hears of them by asking, without a bound.
					eventually(t, "other node heard of it", 10*time.Second, func() bool {
						return status(t, b, p.Token) == code[r.ownLives] && status(t, b, other) == code[r.otherLives]
					})
				}
				wantStatus(t, b, "own token on the other node", p.Token, code[r.ownLives])
				wantStatus(t, b, "other token on the other node", other, code[r.otherLives])
				wantStatus(t, a, "a bystander's token", bystander.Token, http.StatusOK)
				wantStatus(t, b, "a bystander's token on the other node", bystander.Token, http.StatusOK)
			})
		}
	})
}

// S-13: without any movement of its clock, a node hears of a revocation by
// itself. It asks four times a second; the limit here is for a busy machine.
func TestOtherNodeHearsOfARevocation(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		b := anotherNode(t, a, apptest.Options{})
		p, bystander := a.NewPerson(t), a.NewPerson(t)
		wantStatus(t, b, "before", p.Token, http.StatusOK)
		p.Do(t, "POST", "/auth/logout", nil).Want(t, http.StatusOK)
		eventually(t, "other node refuses the token", 5*time.Second, func() bool { return status(t, b, p.Token) == http.StatusUnauthorized })
		wantStatus(t, b, "bystander", bystander.Token, http.StatusOK)
	})
}

// V61.
func TestEnablingRevivesNoSession(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		must(t, a.Service.DisableUser(t.Context(), operator(), p.ID))
		a.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password)).Want(t, http.StatusUnauthorized, "invalid_credentials")
		must(t, a.Service.EnableUser(t.Context(), operator(), p.ID))
		wantStatus(t, a, "session from before", p.Token, http.StatusUnauthorized)
		wantStatus(t, a, "new session", another(t, a, p), http.StatusOK)
		wantStatus(t, a, "session from before, after a new login", p.Token, http.StatusUnauthorized)
	})
}

// S-40: what a role allows ends, and begins, with the next request.
func TestChangeOfRoleIsEffectiveAtTheNextRequest(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		b := anotherNode(t, a, apptest.Options{})
		admin, victim := newUser(t, a, "chief", account.RoleAdmin, false), a.NewPerson(t)
		admin.Login(t, a.Client)
		sees := func(node *apptest.App, want int) {
			t.Helper()
			node.As(admin.Token).Do(t, "GET", "/"+victim.ID, nil).Want(t, want)
		}
		sees(a, http.StatusOK)
		sees(b, http.StatusOK)
		for _, step := range []struct {
			role string
			want int
		}{{account.RoleVerified, http.StatusNotFound}, {account.RoleAdmin, http.StatusOK}, {"admin", http.StatusNotFound}} {
			must(t, a.Service.SetRole(t.Context(), operator(), admin.ID, step.role))
			sees(a, step.want)
			if a.Engine == "postgres" {
				b.Clock.Move(time.Second)
				sees(b, step.want)
			}
			if got := admin.Do(t, "GET", "/auth/session", nil).Want(t, http.StatusOK).Text("user_role"); got != step.role {
				t.Errorf("the session says %q, want %q", got, step.role)
			}
		}
		admin.Do(t, "DELETE", "/"+victim.ID, nil).Want(t, http.StatusNotFound)
		wantStatus(t, a, "victim", victim.Token, http.StatusOK)
	})
}

// V80, S-30, S-39: nobody gives himself a role, proves himself by saying so, or
// takes another's id.
func TestNobodyRaisesHimself(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p, victim := a.NewPerson(t), a.NewPerson(t)
		db := direct(t, a.URL)
		before := db.rows(t, "users")
		for _, field := range []string{
			`"user_role":"Admin"`, `"User_Role":"Admin"`, `"role":"Admin"`, `"email_verified":true`, `"email_verified_at":1`, `"verified":true`,
			`"contact_number_verified_at":1`, `"disabled_at":null`, `"version":9`, `"created_at":1`, `"password_hash":"x"`, `"id":"` + victim.ID + `"`,
			`"user_role":"Not_Verifyed","user_role":"Admin"`, `"created":"2000-01-01T00:00:00Z"`,
		} {
			whole := `"username":"` + p.Username + `","email":"` + p.Email + `",` + field
			for _, c := range [][2]string{{"PUT", "{" + whole + "}"}, {"PATCH", "{" + field + "}"}} {
				if got := p.Do(t, c[0], "/"+p.ID, c[1]); got.Status != http.StatusBadRequest && got.Status != http.StatusUnprocessableEntity {
					t.Errorf("%s with %s: status %d, want 400 or 422", c[0], field, got.Status)
				}
			}
			got := a.Do(t, "POST", "/auth/register", `{"username":"riser","email":"riser@example.com","password":"`+apptest.GoodPassword+`",`+field+`}`)
			got.Want(t, http.StatusBadRequest)
		}
		if after := db.rows(t, "users"); len(minus(before, after))+len(minus(after, before)) > 0 {
			t.Errorf("a user was changed: %q", minus(after, before))
		}
	})
}

// V80: roles change in parallel with what they allow. Whoever was demoted
// before he asked is refused, and the last word is everybody's.
func TestNoRequestSentAfterADemotionIsGranted(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		admin, victim := newUser(t, a, "chief", account.RoleAdmin, false), a.NewPerson(t)
		admin.Login(t, a.Client)
		w := newWire(t, a)
		for range 40 {
			var demoted atomic.Bool
			hammer(3, &demoted, func(after bool) {
				code, body := w.send(t, "GET", "/"+victim.ID, admin.Token, "")
				if after && code != http.StatusNotFound || code != http.StatusOK && code != http.StatusNotFound {
					t.Errorf("demoted before: %v, status %d: %s", after, code, body)
				}
			}, func() { must(t, a.Service.SetRole(t.Context(), operator(), admin.ID, account.RoleVerified)) })
			must(t, a.Service.SetRole(t.Context(), operator(), admin.ID, account.RoleAdmin))
		}
	})
}

// hammer calls check from n goroutines without a pause while it calls revoke.
// check is told whether revoke had returned before it was called; it is called
// at least twice with true by each.
func hammer(n int, revoked *atomic.Bool, check func(after bool), revoke func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for since := 0; since < 2; {
				after := revoked.Load()
				if after {
					since++
				}
				check(after)
			}
		})
	}
	revoke()
	revoked.Store(true)
	wg.Wait()
}

// S-13, V57, V58, V61: 250 revocations of six kinds on each engine, each against
// two clients that check the token without a pause. A check that was sent after
// the revocation's answer never finds the session. PROPUSK_TEST_RACES asks for
// more of them.
func TestNoCheckSentAfterARevocationFindsTheSession(t *testing.T) {
	t.Parallel()
	const workers = 4
	rounds := 63
	if n, err := strconv.Atoi(os.Getenv("PROPUSK_TEST_RACES")); err == nil {
		rounds = n / workers
	}
	o := apptest.Options{HashWorkers: 4, Policy: func(p *account.Policy) { p.AttemptsPerNetwork = 1 << 20 }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		w := newWire(t, a)
		var people [workers]*apptest.Person
		for i := range people {
			people[i] = newUser(t, a, fmt.Sprintf("racer%d", i), "", false)
		}
		together(workers, func(i int) {
			for round := range rounds {
				people[i] = raceRevocation(t, a, w, people[i], (i+round)%6, fmt.Sprintf("racer%d-%d", i, round))
			}
		})
		wantWhole(t, a)
	})
}

// raceRevocation gives the person for the next round.
func raceRevocation(t *testing.T, a *apptest.App, w *wire, p *apptest.Person, kind int, nextName string) *apptest.Person {
	own, target := w.login(t, p.Username, p.Password), w.login(t, p.Username, p.Password)
	if own == "" || target == "" {
		t.Error("no token")
		return p
	}
	next := p
	do := func(method, path, body string) {
		if code, b := w.send(t, method, path, own, body); code != http.StatusOK {
			t.Errorf("%s %s: status %d: %s", method, path, code, b)
		}
	}
	revoke := []func(){
		func() { do("DELETE", "/auth/sessions", "") },
		func() {
			other := p.Password
			if p.Password = nextPassword; other == nextPassword {
				p.Password = apptest.GoodPassword
			}
			do("POST", "/auth/password", `{"current_password":"`+other+`","new_password":"`+p.Password+`"}`)
		},
		func() {
			if err := a.Service.DisableUser(t.Context(), operator(), p.ID); err != nil {
				t.Error(err)
			}
		},
		func() {
			do("DELETE", "/"+p.ID, "")
			next = &apptest.Person{Username: nextName, Password: apptest.GoodPassword}
		},
		func() { do("POST", "/auth/logout", "") },
		func() {
			if _, err := a.Service.RevokeSessions(t.Context(), operator(), p.ID, ""); err != nil {
				t.Error(err)
			}
		},
	}[kind]
	if kind == 4 { // a logout ends the session that asks
		target = own
	}
	var revoked atomic.Bool
	hammer(2, &revoked, func(after bool) {
		code, b := w.send(t, "GET", "/auth/session", target, "")
		if after && code != http.StatusUnauthorized || code != http.StatusOK && code != http.StatusUnauthorized {
			t.Errorf("kind %d, revoked before: %v, status %d: %s", kind, after, code, b)
		}
	}, revoke)
	switch kind {
	case 2:
		if err := a.Service.EnableUser(t.Context(), operator(), p.ID); err != nil {
			t.Error(err)
		}
	case 3:
		id, err := a.Service.CreateUser(context.WithoutCancel(t.Context()), operator(), account.Registration{
			Username: next.Username, Email: next.Username + "@example.com", Password: account.NewSecret(next.Password),
		}, "", false)
		if next.ID = id; err != nil {
			t.Error(err)
		}
	}
	if code, _ := w.send(t, "GET", "/auth/session", target, ""); code != http.StatusUnauthorized {
		t.Errorf("kind %d: the session is back: status %d", kind, code)
	}
	return next
}

// S-14, S-15, V35, V61: a login that is under way while the password changes, the
// account is disabled or deleted gives no token, or one that has ended already.
func TestLoginRacingWithARevocationLeavesNoLiveSession(t *testing.T) {
	t.Parallel()
	const rounds, logins = 12, 4
	o := apptest.Options{HashWorkers: 4, Policy: func(p *account.Policy) { p.AttemptsPerNetwork, p.AttemptsPerAccount = 1<<20, 1<<20 }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		w := newWire(t, a)
		p := newUser(t, a, "racer", "", false)
		race := func(t *testing.T, revoke func(t *testing.T, own string)) {
			own, password := w.login(t, p.Username, p.Password), p.Password
			tokens := make([]string, logins)
			together(logins+1, func(i int) {
				if i == logins {
					revoke(t, own)
				} else {
					tokens[i] = w.login(t, p.Username, password)
				}
			})
			for _, token := range tokens {
				if code, _ := w.send(t, "GET", "/auth/session", token, ""); code != http.StatusUnauthorized {
					t.Errorf("a session of the racing login lives: status %d", code)
				}
			}
		}
		for round := range rounds {
			race(t, func(t *testing.T, own string) {
				old := p.Password
				if p.Password = nextPassword; old == nextPassword {
					p.Password = apptest.GoodPassword
				}
				code, b := w.send(t, "POST", "/auth/password", own, `{"current_password":"`+old+`","new_password":"`+p.Password+`"}`)
				if code != http.StatusOK {
					t.Errorf("change password: %d: %s", code, b)
				}
			})
			race(t, func(t *testing.T, _ string) {
				if err := a.Service.DisableUser(t.Context(), operator(), p.ID); err != nil {
					t.Error(err)
				}
			})
			must(t, a.Service.EnableUser(t.Context(), operator(), p.ID))
			race(t, func(t *testing.T, own string) {
				if code, b := w.send(t, "DELETE", "/"+p.ID, own, ""); code != http.StatusOK {
					t.Errorf("delete: %d: %s", code, b)
				}
			})
			p = newUser(t, a, fmt.Sprintf("racer%d", round), "", false)
		}
		sessions := direct(t, a.URL).rows(t, "sessions")
		if len(sessions) > 0 {
			t.Errorf("%d sessions are left of users who have none", len(sessions))
		}
	})
}

// S-57: what ends a session succeeds once; whoever comes second is told that
// there is nothing to end.
func TestSessionEndsOnce(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		w := newWire(t, a)
		for name, c := range map[string]struct {
			method string
			path   func(p *apptest.Person, other string) string
			lost   map[int]bool
		}{
			"logout": {"POST", func(*apptest.Person, string) string { return "/auth/logout" }, map[int]bool{401: true}},
			"end of one": {"DELETE", func(_ *apptest.Person, other string) string {
				return "/auth/sessions/" + sessionID(t, a, other)
			}, map[int]bool{404: true}},
			"deletion": {"DELETE", func(p *apptest.Person, _ string) string { return "/" + p.ID }, map[int]bool{401: true, 404: true}},
		} {
			t.Run(name, func(t *testing.T) {
				p := a.NewPerson(t)
				path := c.path(p, another(t, a, p))
				var won atomic.Int64
				entries := entriesOf(t, a, func() {
					together(16, func(int) {
						code, b := w.send(t, c.method, path, p.Token, "")
						if code == http.StatusOK {
							won.Add(1)
						} else if !c.lost[code] {
							t.Errorf("status %d: %s", code, b)
						}
					})
				})
				if won.Load() != 1 || len(entries) != 1 {
					t.Errorf("%d succeeded, %d entries; want 1 of each", won.Load(), len(entries))
				}
			})
		}
	})
}

// S-38: to everyone but its owner, a session's id looks like one that does not exist.
func TestForeignSessionLooksLikeNone(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p, thief, admin := a.NewPerson(t), a.NewPerson(t), newUser(t, a, "chief", account.RoleAdmin, false)
		admin.Login(t, a.Client)
		id := sessionID(t, a, p.Token)
		for _, other := range []*apptest.Person{thief, admin} {
			foreign := other.Do(t, "DELETE", "/auth/sessions/"+id, nil).Want(t, http.StatusNotFound, "session_not_found")
			none := other.Do(t, "DELETE", "/auth/sessions/"+thief.ID, nil).Want(t, http.StatusNotFound)
			if string(foreign.Body) != string(none.Body) {
				t.Errorf("%s differs from %s", foreign.Body, none.Body)
			}
			list := other.Do(t, "GET", "/auth/sessions", nil).Want(t, http.StatusOK)
			if sessions, _ := list.Data("sessions").([]any); len(sessions) != 1 {
				t.Errorf("%d sessions listed, want the own one: %s", len(sessions), list.Body)
			}
		}
		wantStatus(t, a, "the session", p.Token, http.StatusOK)
	})
}

// V64: under load, nobody is ever taken for somebody else.
func TestNobodyGetsAnothersSession(t *testing.T) {
	t.Parallel()
	const users, rounds = 20, 6
	o := apptest.Options{HashWorkers: 4, Policy: func(p *account.Policy) { p.AttemptsPerNetwork = 1 << 20 }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		w := newWire(t, a)
		people := make([]*apptest.Person, users)
		for i := range people {
			people[i] = newUser(t, a, fmt.Sprintf("crowd%d", i), "", false)
		}
		together(users, func(i int) {
			p := people[i]
			for range rounds {
				token := w.login(t, p.Username, p.Password)
				if _, b := w.send(t, "GET", "/auth/session", token, ""); text(b, "user_id") != p.ID {
					t.Errorf("%s: session says %s", p.ID, b)
				}
				if _, b := w.send(t, "GET", "/"+p.ID, token, ""); text(b, "id") != p.ID {
					t.Errorf("%s: user says %s", p.ID, b)
				}
				if code, b := w.send(t, "GET", "/"+people[(i+1)%users].ID, token, ""); code != http.StatusNotFound {
					t.Errorf("%s reads his neighbour: %d: %s", p.ID, code, b)
				}
				w.send(t, "POST", "/auth/logout", token, "")
			}
		})
	})
}
