package account_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/db"
)

// S-12, V22: what is over is swept away, to the second, and nothing before.
func TestSweepTakesWhatIsOverAndNothingElse(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		table string
		after time.Duration
		left  int // rows of the table before; made by make
		make  func(t *testing.T, a *apptest.App, p *apptest.Person)
	}{
		"session": {"sessions", 24 * time.Hour, 1, func(t *testing.T, a *apptest.App, p *apptest.Person) {
			p.Login(t, a.Client)
		}},
		"remembered session": {"sessions", 30 * 24 * time.Hour, 1, func(t *testing.T, a *apptest.App, p *apptest.Person) {
			body := loginBody(p.Username, p.Password)
			body["remember_me"] = true
			a.Do(t, "POST", "/auth/login", body).Want(t, http.StatusOK)
		}},
		"idempotency key": {"idempotency", 24 * time.Hour, 1, func(t *testing.T, a *apptest.App, _ *apptest.Person) {
			a.With("Idempotency-Key", "k").Do(t, "POST", "/auth/register", map[string]any{
				"username": "once", "email": "once@example.com", "password": apptest.GoodPassword,
			}).Want(t, http.StatusCreated)
		}},
		"change of address": {"email_changes", 25 * time.Hour, 1, newAddress},
		"messages":          {"outbox", 7 * 24 * time.Hour, 1, newPassword},
		"budgets": {"throttle", 24 * time.Hour, 2, func(t *testing.T, a *apptest.App, _ *apptest.Person) {
			for range 10 { // the network's, refilled each second, is over by then
				tryLogin(t, a.Client, "nobody", wrongPassword)
			}
			a.Clock.Move(10 * time.Second)
			must(t, a.Service.Sweep(t.Context()))
			a.Clock.Move(-10 * time.Second)
		}},
		"changes of sessions": {"session_changes", 24 * time.Hour, 2, func(t *testing.T, a *apptest.App, p *apptest.Person) {
			must(t, a.Service.SetRole(t.Context(), operator(), p.ID, account.RoleAdmin)) // the other is that this node came
		}},
	} {
		t.Run(what, func(t *testing.T) {
			apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
				p := newUser(t, a, "margarita", "", true)
				c.make(t, a, p)
				d := direct(t, a.URL)
				want := func(n int, when string) {
					t.Helper()
					must(t, a.Service.Sweep(t.Context()))
					if got := len(d.rows(t, c.table)); got != n {
						t.Errorf("%s: %d rows in %s, want %d", when, got, c.table, n)
					}
				}
				want(c.left, "at once")
				a.Clock.Move(c.after - time.Microsecond)
				want(c.left, "just before the end")
				a.Clock.Move(time.Microsecond)
				want(0, "at the end")
				if users := len(d.rows(t, "users")); users == 0 {
					t.Error("users were swept away")
				}
				wantWhole(t, a)
			})
		})
	}
}

func newAddress(t *testing.T, a *apptest.App, p *apptest.Person) {
	p.Login(t, a.Client)
	p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": "new@example.com"}).Want(t, http.StatusOK)
}

func newPassword(t *testing.T, a *apptest.App, p *apptest.Person) {
	p.Login(t, a.Client)
	p.Do(t, "POST", "/auth/password", map[string]any{"current_password": p.Password, "new_password": "another-Anchor-71-quartz"}).Want(t, http.StatusOK)
}

// S-12: with an idle limit, sessions that were not used go too, and none that
// was, also before the use was written down: see [account.Service.Run].
func TestSweepTakesUnusedSessions(t *testing.T) {
	t.Parallel()
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			o := withIdle(time.Hour)
			o.DatabaseURL = freshURL(t, engine)
			var p *apptest.Person
			t.Run("first life", func(t *testing.T) {
				a := apptest.Start(t, o)
				o.Keys = a.Keys
				p = a.NewPerson(t)
				another(t, a, p)
				a.Clock.Move(50 * time.Minute)
				wantStatus(t, a, "in use", p.Token, http.StatusOK)
				a.Clock.Move(14 * time.Minute)
				must(t, a.Service.Sweep(t.Context()))
				if n := len(direct(t, a.URL).rows(t, "sessions")); n != 2 {
					t.Errorf("%d sessions, want 2: a use may not be written yet", n)
				}
			})
			b := apptest.Start(t, o)
			b.Clock.Move(66 * time.Minute)
			must(t, b.Service.Sweep(t.Context()))
			if n := len(direct(t, b.URL).rows(t, "sessions")); n != 1 {
				t.Errorf("%d sessions, want the one that was used", n)
			}
			wantStatus(t, b, "used", p.Token, http.StatusOK)
		})
	}
}

// F19: the sweep takes no more than 500 rows at a time, so that nobody waits
// long for it, and goes on until nothing is left.
func TestSweepWorksInBatches(t *testing.T) {
	t.Parallel()
	const expired = 1201
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		d := direct(t, a.URL)
		insertSessions(t, d, p.ID, expired, a.Clock.Now().Add(-time.Second))
		if a.Engine == db.Postgres { // where a statement can be counted
			d.exec(t, `CREATE TABLE swept (n bigint)`, `CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN INSERT INTO swept SELECT count(*) FROM gone; RETURN NULL; END $$`,
				`CREATE TRIGGER note AFTER DELETE ON sessions REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note()`)
		}
		must(t, a.Service.Sweep(t.Context()))
		if n := len(d.rows(t, "sessions")); n != 1 {
			t.Errorf("%d sessions left, want the live one", n)
		}
		wantStatus(t, a, "live session", p.Token, http.StatusOK)
		if a.Engine == db.Postgres {
			var most, all int
			must(t, d.QueryRowContext(t.Context(), `SELECT max(n), sum(n) FROM swept`).Scan(&most, &all))
			if most != 500 || all != expired {
				t.Errorf("at most %d at once, %d in all; want 500 and %d", most, all, expired)
			}
		}
	})
}

func insertSessions(t *testing.T, d database, userID string, n int, ended time.Time) {
	t.Helper()
	tx, err := d.BeginTx(t.Context(), &sql.TxOptions{})
	must(t, err)
	for i := range n {
		_, err := tx.ExecContext(context.WithoutCancel(t.Context()), `INSERT INTO sessions
			(token_hash, id, user_id, remembered, created_at, authenticated_at, last_seen_at, expires_at, ip, user_agent)
			VALUES ($1, $2, $3, 0, 0, 0, 0, $4, '', '')`, sum(fmt.Sprint(i)), fmt.Sprint(i), userID, db.Micros(ended))
		must(t, err)
	}
	must(t, tx.Commit())
}
