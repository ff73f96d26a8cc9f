package account_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/apptest/pgtest"
	"propusk/internal/db"
)

// lookups is how often the database was asked for a token.
func lookups(t testing.TB, a *apptest.App) string {
	t.Helper()
	for line := range strings.Lines(metrics(t, a)) {
		if n, ok := strings.CutPrefix(line, "propusk_session_lookups_total "); ok {
			return strings.TrimSpace(n)
		}
	}
	t.Fatal("no propusk_session_lookups_total")
	return ""
}

func complete(t testing.TB, a *apptest.App) {
	t.Helper()
	eventually(t, "memory knows every session", 10*time.Second, func() bool { return account.Complete(a.Service) })
}

// N1: a process that is alone on its database answers for good and for bad tokens
// from memory, those included that it did not issue itself.
func TestLoneProcessAsksTheDatabaseForNoToken(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, first *apptest.App) {
		p := first.NewPerson(t)
		old := another(t, first, p)
		first.Stop()
		a := anotherNode(t, first, apptest.Options{})
		complete(t, a)
		p.Client = a.As(p.Token)
		wantStatus(t, a, "issued by another process", old, http.StatusOK)
		wantStatus(t, a, "the same", p.Token, http.StatusOK)
		fresh := another(t, a, p)
		wantStatus(t, a, "issued here", fresh, http.StatusOK)
		for range 3 {
			wantStatus(t, a, "unknown", p.ID, http.StatusUnauthorized)
		}
		renewed := a.As(fresh).Do(t, "POST", "/auth/reauthenticate", map[string]any{"password": p.Password}).Want(t, http.StatusOK).Text("token")
		if n := lookups(t, a); n != "0" {
			t.Errorf("the database was asked %s times", n)
		}
		// Whoever's sessions changed is looked up once more, and then known again. It
		// hears of its own change too, as anybody else does.
		a.Clock.Move(time.Millisecond)
		eventually(t, "it hears of the change", 10*time.Second, func() bool { return account.Heard(a.Service) })
		wantStatus(t, a, "renewed", renewed, http.StatusOK)
		wantStatus(t, a, "before it was renewed", fresh, http.StatusUnauthorized)
		before := lookups(t, a)
		wantStatus(t, a, "renewed", renewed, http.StatusOK)
		wantStatus(t, a, "before it was renewed", fresh, http.StatusUnauthorized)
		if n := lookups(t, a); n != before {
			t.Errorf("the database was asked %s times, and %s before", n, before)
		}
	})
}

// N1, F21: a token counts everywhere from the moment that it is issued anywhere,
// although a process that was alone answered for what does not exist.
func TestNewNodesTokensCountOnTheOldOneAtOnce(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		for range 4 {
			complete(t, a)
			b := anotherNode(t, a, apptest.Options{})
			for range 5 {
				token := another(t, b, p)
				wantStatus(t, a, "issued on the new node", token, http.StatusOK)
				wantStatus(t, b, "issued on the old node", another(t, a, p), http.StatusOK)
				b.As(token).Do(t, "POST", "/auth/logout", nil).Want(t, http.StatusOK)
			}
			last := another(t, b, p)
			b.Stop()
			complete(t, a)
			wantStatus(t, a, "issued on a node that has left", last, http.StatusOK)
			before := lookups(t, a)
			wantStatus(t, a, "unknown", p.ID, http.StatusUnauthorized)
			if n := lookups(t, a); n != before {
				t.Error("alone again, and yet the database was asked")
			}
		}
	})
}

// A node that ended without a word is given up after some looks; until then
// nobody takes himself for alone.
func TestDeadNodeIsGivenUp(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		silent := anotherNode(t, a, apptest.Options{Idle: true})
		token := another(t, silent, p)
		for range 3 {
			must(t, account.Beat(t.Context(), a.Service))
			if account.Complete(a.Service) {
				t.Fatal("a node that was there a moment ago is forgotten")
			}
			wantStatus(t, a, "of the silent node", another(t, silent, p), http.StatusOK)
		}
		must(t, account.Beat(t.Context(), a.Service))
		complete(t, a)
		wantStatus(t, a, "of the dead node", token, http.StatusOK)
		// And if it was not dead, it is heard of again before it issues anything.
		must(t, account.Beat(t.Context(), silent.Service))
		wantStatus(t, a, "of the node that is back", another(t, silent, p), http.StatusOK)
		if account.Complete(a.Service) {
			t.Error("a node that is back is not heard of")
		}
	})
}

// Who does not answer keeps a new node from nothing but issuing and ending
// sessions, and not for long: after a crash, it is what is left of that node's
// former self.
func TestNewNodeServesBeforeOthersHaveHeardOfIt(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p, q, r := a.NewPerson(t), a.NewPerson(t), a.NewPerson(t)
		anotherNode(t, a, apptest.Options{Idle: true})
		begun := time.Now()
		b := anotherNode(t, a, apptest.Options{})
		meets := account.Meets(b.Service)
		if took := time.Since(begun); !meets && took < account.MeetWithin {
			t.Errorf("after %s it takes itself for known to one that has not answered", took)
		}
		wantStatus(t, b, "issued elsewhere", p.Token, http.StatusOK)
		b.As(p.Token).Do(t, "GET", "/"+p.ID, nil).Want(t, http.StatusOK)
		var wg sync.WaitGroup
		for what, issue := range map[string]func() *apptest.Answer{
			"login": func() *apptest.Answer {
				return b.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password))
			},
			"proof of identity": func() *apptest.Answer {
				return b.As(p.Token).Do(t, "POST", "/auth/reauthenticate", map[string]any{"password": p.Password})
			},
			"change of a password": func() *apptest.Answer {
				return b.As(q.Token).Do(t, "POST", "/auth/password", map[string]any{"current_password": q.Password, "new_password": q.Password + "-2"})
			},
		} {
			wg.Go(func() {
				token := issue().Want(t, http.StatusOK).Text("token")
				if took := time.Since(begun); took < account.MeetWithin {
					t.Errorf("%s: a token after %s, before the others can have heard", what, took)
				}
				wantStatus(t, a, what, token, http.StatusOK)
			})
		}
		wg.Go(func() {
			b.As(r.Token).Do(t, "POST", "/auth/logout", nil).Want(t, http.StatusOK)
			if took := time.Since(begun); took < account.MeetWithin {
				t.Errorf("logged out after %s, before the others can have heard", took)
			}
		})
		wg.Wait()
	})
}

// S-12: what has no room in memory is read from the database, and is worth as
// much.
func TestSessionsBeyondTheMemoryCountToo(t *testing.T) {
	t.Parallel()
	o := apptest.Options{Policy: func(p *account.Policy) { p.SessionMemory = 1600 }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		tokens := []string{p.Token}
		for range 30 {
			tokens = append(tokens, another(t, a, p))
		}
		if account.Complete(a.Service) {
			t.Error("memory for ten holds 31")
		}
		for range 2 {
			for _, token := range tokens {
				wantStatus(t, a, "live", token, http.StatusOK)
			}
		}
		wantStatus(t, a, "unknown", p.ID, http.StatusUnauthorized)
		p.Do(t, "DELETE", "/auth/sessions", nil).Want(t, http.StatusOK)
		for _, token := range tokens[1:] {
			wantStatus(t, a, "ended", token, http.StatusUnauthorized)
		}
		complete(t, a) // there is room again
		wantStatus(t, a, "own", p.Token, http.StatusOK)
	})
}

// N14, F5: while its database is away, a process that has it to itself checks
// tokens from memory, for as long as it was told to: nobody can change anything
// then. Everything else is a 503.
func TestLoneProcessChecksTokensWithoutItsDatabase(t *testing.T) {
	t.Parallel()
	gate := pgtest.Proxy(t, pgtest.URL(t))
	a := apptest.Start(t, apptest.Options{DatabaseURL: gate.URL, Policy: func(p *account.Policy) { p.OfflineChecks = 6 * time.Second }})
	p := a.NewPerson(t)
	ended := another(t, a, p)
	a.As(ended).Do(t, "POST", "/auth/logout", nil).Want(t, http.StatusOK)
	wantStatus(t, a, "ended", ended, http.StatusUnauthorized)
	wantStatus(t, a, "live", p.Token, http.StatusOK)
	complete(t, a)
	for name, away := range map[string]func(){"refused": gate.Cut, "silent": gate.Stall} {
		t.Run(name, func(t *testing.T) {
			away()
			for range 6 {
				a.Clock.Move(900 * time.Millisecond) // a second and more would be a gap
				eventually(t, "it knows that the database is away", 10*time.Second, func() bool { return account.Away(a.Service) })
				for range 20 {
					wantStatus(t, a, "live", p.Token, http.StatusOK)
					p.Do(t, "GET", "/auth/forward", nil).Want(t, http.StatusOK)
					wantStatus(t, a, "ended", ended, http.StatusUnauthorized)
					wantStatus(t, a, "unknown", p.ID, http.StatusUnauthorized)
				}
			}
			if name == "refused" { // the other way takes its time
				wantOutage(t, a, a.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password)))
				wantOutage(t, a, p.Do(t, "POST", "/auth/logout", nil))
				wantOutage(t, a, a.Do(t, "GET", "/readyz", nil))
				a.Clock.Move(900 * time.Millisecond) // and no longer
				wantOutage(t, a, p.Do(t, "GET", "/auth/session", nil))
				wantOutage(t, a, p.Do(t, "GET", "/auth/forward", nil))
				wantOutage(t, a, a.As(p.ID).Do(t, "GET", "/auth/session", nil))
			}
			gate.Restore()
			eventually(t, "it hears again", 10*time.Second, func() bool { return account.Heard(a.Service) })
			wantStatus(t, a, "live", p.Token, http.StatusOK)
			wantStatus(t, a, "ended", ended, http.StatusUnauthorized)
			if name == "refused" { // the other way was over before anything was given up
				eventually(t, "it says so", 10*time.Second, func() bool {
					return strings.Contains(a.Log.String(), `"msg":"background work goes on","work":"hear of sessions"`)
				})
			}
		})
	}
}

// A process that was suspended must hear before it believes itself again, also
// when its database is away as it wakes.
func TestSuspendedProcessDoesNotBelieveItself(t *testing.T) {
	t.Parallel()
	a, gate, plain := behindGate(t)
	p := a.NewPerson(t)
	complete(t, a)
	gate.Cut()
	a.Clock.Move(2 * time.Minute)
	b := apptest.Start(t, apptest.Options{DatabaseURL: plain, Keys: a.Keys})
	b.As(p.Token).Do(t, "POST", "/auth/logout", nil).Want(t, http.StatusOK)
	for range 8 {
		wantOutage(t, a, p.Do(t, "GET", "/auth/session", nil))
		time.Sleep(150 * time.Millisecond)
	}
	gate.Restore()
	eventually(t, "it hears", 10*time.Second, func() bool { return status(t, a, p.Token) == http.StatusUnauthorized })
}

// N1: a process that is alone because its database is away does not stay so: as
// soon as it hears of another one, it asks.
func TestNodeThatCameDuringAnOutageIsHeardOf(t *testing.T) {
	t.Parallel()
	a, gate, plain := behindGate(t)
	p := a.NewPerson(t)
	complete(t, a)
	gate.Cut()
	b := apptest.Start(t, apptest.Options{DatabaseURL: plain, Keys: a.Keys})
	token := another(t, b, p)
	gate.Restore()
	eventually(t, "the token of the new node counts", 10*time.Second, func() bool { return status(t, a, token) == http.StatusOK })
	b.As(token).Do(t, "POST", "/auth/logout", nil).Want(t, http.StatusOK)
	eventually(t, "its end is heard of", 5*time.Second, func() bool { return status(t, a, token) == http.StatusUnauthorized })
}

// The command line takes no part: it issues nothing.
func TestOnlyWhoJoinsIsANode(t *testing.T) {
	t.Parallel()
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			a := apptest.Start(t, apptest.Options{DatabaseURL: freshURL(t, engine)})
			p := a.NewPerson(t)
			complete(t, a)
			tool := service(a.DB, a.Keys)
			must(t, tool.DisableUser(t.Context(), operator(), p.ID))
			eventually(t, "the service hears of it", 5*time.Second, func() bool { return status(t, a, p.Token) == http.StatusUnauthorized })
			if !a.Service.Alone() {
				t.Error("the command line counts as a node")
			}
		})
	}
}
