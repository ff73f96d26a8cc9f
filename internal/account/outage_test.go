package account_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/apptest/pgtest"
	"propusk/internal/db"
	"propusk/internal/event"
)

// behindGate is a service whose line to PostgreSQL can be broken.
func behindGate(t testing.TB) (*apptest.App, *pgtest.Gate, string) {
	t.Helper()
	plain := pgtest.URL(t)
	gate := pgtest.Proxy(t, plain)
	return apptest.Start(t, apptest.Options{DatabaseURL: gate.URL}), gate, plain
}

// wantOutage fails the test unless the answer is a 503 that says when to come
// back, and nothing of the inside (V78).
func wantOutage(t testing.TB, a *apptest.App, got *apptest.Answer) {
	t.Helper()
	got.Want(t, http.StatusServiceUnavailable, "unavailable")
	if s := got.Header.Get("Retry-After"); s == "" || s == "0" {
		t.Errorf("Retry-After is %q", s)
	}
	if got.Header.Get("WWW-Authenticate") != "" {
		t.Error("an outage asks for another token")
	}
	words := []string{"sql", "postgres", "pgx", "dial", "tcp", "127.0.0.1", "connection", "SELECT", "/tmp", "panic", ".go:"}
	if u, err := url.Parse(a.URL); err == nil {
		words = append(words, u.Port(), u.Query().Get("application_name"))
	}
	for _, word := range words {
		if word != "" && strings.Contains(strings.ToLower(string(got.Body)), strings.ToLower(word)) {
			t.Errorf("the answer says %q: %s", word, got.Body)
		}
	}
}

// S-13, F5, V78: a node that has heard nothing of revocations for a second does
// not trust its memory; where it cannot ask the database either, it says so, and
// nothing of the inside: it neither lets in nor turns away.
func TestNodeThatCannotHearAsksTheDatabaseOrAnswers503(t *testing.T) {
	t.Parallel()
	a, gate, plain := behindGate(t)
	b := apptest.Start(t, apptest.Options{DatabaseURL: plain, Keys: a.Keys})
	p := a.NewPerson(t)
	revoked := another(t, a, p)
	wantStatus(t, a, "before", revoked, http.StatusOK)
	wantStatus(t, a, "before", p.Token, http.StatusOK)

	gate.Cut()
	wantStatus(t, a, "within the bound, from memory", p.Token, http.StatusOK)
	a.Clock.Move(time.Second)
	b.As(revoked).Do(t, "POST", "/auth/logout", nil).Want(t, http.StatusOK)
	for what, token := range map[string]string{"live": p.Token, "revoked elsewhere": revoked, "unknown": p.ID} {
		t.Run(what, func(t *testing.T) {
			wantOutage(t, a, a.As(token).Do(t, "GET", "/auth/session", nil))
			wantOutage(t, a, a.As(token).Do(t, "GET", "/"+p.ID, nil))
		})
	}
	wantStatus(t, a, "what can be no token", "x", http.StatusUnauthorized)
	wantOutage(t, a, a.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password)))
	wantOutage(t, a, a.Do(t, "GET", "/readyz", nil))
	a.Do(t, "GET", "/healthz", nil).Want(t, http.StatusOK)

	gate.Restore()
	eventually(t, "recovery without a restart", 10*time.Second, func() bool {
		if status(t, a, revoked) == http.StatusOK {
			t.Error("a session that was revoked meanwhile is back")
		}
		return status(t, a, p.Token) == http.StatusOK
	})
	wantStatus(t, a, "revoked elsewhere", revoked, http.StatusUnauthorized)
	a.Do(t, "GET", "/readyz", nil).Want(t, http.StatusOK)
	p.Login(t, a.Client)
}

// F5, F7: a network that swallows everything. Every request ends by its
// deadline, what needs no database is answered at once, and the work in the
// background gives a statement up instead of waiting for an answer for ever.
func TestSilentNetworkEndsInTime(t *testing.T) {
	t.Parallel()
	a, gate, _ := behindGate(t)
	p := a.NewPerson(t)
	gate.Stall()
	a.Clock.Move(time.Second)
	begun := time.Now()
	took := make(chan time.Duration, 1)
	go func() {
		defer close(took)
		wantOutage(t, a, p.Do(t, "GET", "/auth/session", nil))
		took <- time.Since(begun)
	}()
	for range 5 {
		asked := time.Now()
		a.Do(t, "GET", "/healthz", nil).Want(t, http.StatusOK)
		if d := time.Since(asked); d > time.Second {
			t.Errorf("/healthz took %v", d)
		}
	}
	asked := time.Now()
	wantOutage(t, a, a.Do(t, "GET", "/readyz", nil))
	if d := time.Since(asked); d > 4*time.Second {
		t.Errorf("/readyz took %v", d)
	}
	eventually(t, "the background work gives up", 10*time.Second, func() bool { return strings.Contains(a.Log.String(), "hear of sessions") })
	if d, ok := <-took; !ok || d > 18*time.Second {
		t.Errorf("a check took %v; requests end after 15 s", d)
	}
	gate.Restore()
	eventually(t, "recovery", 10*time.Second, func() bool { return status(t, a, p.Token) == http.StatusOK })
}

// F5: connections that end at any moment, in the middle of transactions. What
// was acknowledged has happened, and everything else is a 503.
func TestLostConnectionsLoseNothingAcknowledged(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: pgtest.URL(t), Policy: func(p *account.Policy) { p.AttemptsPerNetwork = 1 << 20 }})
	w := newWire(t, a)
	people := make([]*apptest.Person, 4)
	for i := range people {
		people[i] = newUser(t, a, fmt.Sprintf("cut%d", i), "", false)
	}
	admin := direct(t, a.URL)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			_, _ = admin.ExecContext(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()`)
			time.Sleep(200 * time.Millisecond)
		}
	}()
	live, dead := make([][]string, len(people)), make([][]string, len(people))
	var failed atomic.Int64
	together(len(people), func(i int) {
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
			code, b := w.send(t, "POST", "/auth/login", "", `{"email_or_name":"`+people[i].Username+`","password":"`+people[i].Password+`"}`)
			token := text(b, "token")
			if code != http.StatusOK {
				failed.Add(1)
				if code != http.StatusServiceUnavailable && code != http.StatusTooManyRequests { // an attempt whose end is not known counts
					t.Errorf("login: status %d: %s", code, b)
				}
				a.Clock.Move(time.Minute)
				continue
			}
			if live[i] = append(live[i], token); len(live[i])%2 == 0 {
				continue
			}
			switch code, b := w.send(t, "POST", "/auth/logout", token, ""); code {
			case http.StatusOK:
				live[i] = live[i][:len(live[i])-1]
				dead[i] = append(dead[i], token)
			case http.StatusServiceUnavailable, http.StatusUnauthorized: // not known, or done by a commit whose answer was lost
				live[i] = live[i][:len(live[i])-1]
			default:
				t.Errorf("logout: status %d: %s", code, b)
			}
		}
	})
	stop.Store(true)
	<-done
	eventually(t, "recovery", 10*time.Second, func() bool { // what is left in the pool may be dead too
		_, _, err := event.Verify(t.Context(), a.DB)
		return err == nil
	})
	n := 0
	for i := range people {
		for _, token := range live[i] {
			wantStatus(t, a, "acknowledged login", token, http.StatusOK)
		}
		for _, token := range dead[i] {
			wantStatus(t, a, "acknowledged logout", token, http.StatusUnauthorized)
		}
		n += len(live[i]) + len(dead[i])
	}
	if n == 0 || failed.Load() == 0 {
		t.Errorf("%d acknowledged, %d failed: nothing was put to the test", n, failed.Load())
	}
	wantWhole(t, a)
}

// V62, S-56: a database that can be read and not written. Checks go on; no
// change is acknowledged, and each token stays what the database says it is.
func TestChangesAnswer503WhileTheDatabaseCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) { writesBlocked(t, impatient(t, engine)) })
	}
}

func writesBlocked(t *testing.T, a *apptest.App) {
	p := a.NewPerson(t)
	unseen, other := another(t, a, p), another(t, a, p)
	id := sessionID(t, a, other)
	before := direct(t, a.URL).read(t)
	release := blockWrites(t, a)
	wantStatus(t, a, "known token", p.Token, http.StatusOK)
	wantStatus(t, a, "token that was never checked", unseen, http.StatusOK)
	p.Do(t, "GET", "/"+p.ID, nil).Want(t, http.StatusOK)
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"POST", "/auth/login", loginBody(p.Username, p.Password)},
		{"POST", "/auth/login", loginBody(p.Username, "wrong-Velvet-12-kite")},
		{"POST", "/auth/register", map[string]any{"username": "late", "email": "late@example.com", "password": p.Password}},
		{"POST", "/auth/logout", nil},
		{"DELETE", "/auth/sessions", nil},
		{"DELETE", "/auth/sessions/" + id, nil},
		{"POST", "/auth/reauthenticate", map[string]any{"password": p.Password}},
		{"POST", "/auth/password", map[string]any{"current_password": p.Password, "new_password": nextPassword}},
		{"PATCH", "/" + p.ID, map[string]any{"password": nextPassword}},
		{"DELETE", "/" + p.ID, nil},
	} {
		wantOutage(t, a, p.Do(t, c.method, c.path, c.body))
	}
	for what, err := range map[string]error{
		"disable": a.Service.DisableUser(t.Context(), operator(), p.ID),
		"role":    a.Service.SetRole(t.Context(), operator(), p.ID, account.RoleAdmin),
		"delete":  a.Service.DeleteUser(t.Context(), operator(), p.ID, nil),
	} {
		if !account.Unavailable(err) {
			t.Errorf("%s: %v, want unavailable", what, err)
		}
	}
	for _, token := range []string{p.Token, unseen, other} {
		wantStatus(t, a, "token after a revocation that failed", token, http.StatusOK)
	}
	release()
	if d := differences(before, direct(t, a.URL).read(t)); len(d) > 0 {
		t.Errorf("something was written: %v", d)
	}
	p.Do(t, "POST", "/auth/logout", nil).Want(t, http.StatusOK) // without a restart
	wantStatus(t, a, "logged out", p.Token, http.StatusUnauthorized)
	wantStatus(t, a, "the other", other, http.StatusOK)
}

// impatient is a service that waits 50 ms for a lock, instead of seconds.
func impatient(t testing.TB, engine db.Engine) *apptest.App {
	t.Helper()
	o := apptest.Options{DatabaseURL: freshURL(t, engine)}
	if engine == db.Postgres {
		o.DatabaseURL += "&lock_timeout=50"
	}
	a := apptest.Start(t, o)
	if engine == db.SQLite {
		if _, err := a.DB.Exec(t.Context(), `PRAGMA busy_timeout = 50`); err != nil { // runs on the connection that writes
			t.Fatal(err)
		}
	}
	return a
}

// blockWrites lets the database be read and not written until release is called.
func blockWrites(t testing.TB, a *apptest.App) (release func()) {
	t.Helper()
	conn, err := direct(t, a.URL).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	statements := []string{`BEGIN IMMEDIATE`}
	if a.Engine == db.Postgres {
		statements = []string{`BEGIN`, `LOCK TABLE users, sessions, throttle, events IN EXCLUSIVE MODE`}
	}
	for _, sql := range statements {
		if _, err := conn.ExecContext(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	return func() {
		if _, err := conn.ExecContext(t.Context(), `ROLLBACK`); err != nil {
			t.Errorf("rollback: %v", err)
		}
		_ = conn.Close()
	}
}
