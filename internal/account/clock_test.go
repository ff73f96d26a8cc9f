package account_test

import (
	"net/http"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

const fiveYears = 5 * 365 * 24 * time.Hour

// F8: a clock that is set back by an hour logs nobody out, and takes nobody's
// login.
func TestClockSetBackLogsNobodyOut(t *testing.T) {
	t.Parallel()
	apptest.Each(t, withIdle(30*time.Minute), func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		unseen := another(t, a, p)
		wantStatus(t, a, "before", p.Token, http.StatusOK)
		for _, step := range []time.Duration{-time.Second, -time.Second, -time.Hour} {
			a.Clock.Move(step)
			wantStatus(t, a, "in memory", p.Token, http.StatusOK)
			wantStatus(t, a, "not in memory", unseen, http.StatusOK)
		}
		got := tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusOK)
		if got.Data("token-expiry") != (24 * time.Hour).Seconds() {
			t.Errorf("token-expiry %v", got.Data("token-expiry"))
		}
		must(t, a.Service.Sweep(t.Context()))
		a.Clock.Move(time.Hour)
		wantStatus(t, a, "when the clock is right again", p.Token, http.StatusOK)
		wantWhole(t, a)
	})
}

// F8: whose end was once seen stays ended, however the clock goes, here, on
// another node and after a restart.
func TestClockSetBackRevivesNoToken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options apptest.Options
		life    time.Duration
	}{
		"end of life":  {apptest.Options{}, 24 * time.Hour},
		"end of idles": {withIdle(30 * time.Minute), 30 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			apptest.Each(t, c.options, func(t *testing.T, a *apptest.App) {
				p := a.NewPerson(t)
				unseen := another(t, a, p)
				wantStatus(t, a, "before", p.Token, http.StatusOK)
				a.Clock.Move(c.life)
				wantStatus(t, a, "at the end", p.Token, http.StatusUnauthorized)
				wantStatus(t, a, "never seen before the end", unseen, http.StatusUnauthorized)
				b := anotherNode(t, a, c.options)
				for _, step := range []time.Duration{-time.Second, -time.Minute, -time.Hour} {
					a.Clock.Move(step)
					wantStatus(t, a, "after the clock was set back", p.Token, http.StatusUnauthorized)
					wantStatus(t, a, "never seen before the end, after the clock was set back", unseen, http.StatusUnauthorized)
				}
				wantStatus(t, b, "on a node whose clock is late", p.Token, http.StatusUnauthorized)
				live := another(t, a, p)
				wantStatus(t, a, "new token", live, http.StatusOK)
			})
		})
	}
}

// F8: a jump ahead by an hour ends what has ended by then, and no more.
func TestClockSetAheadEndsNoMoreThanItMust(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		a.Clock.Move(time.Hour)
		wantStatus(t, a, "an hour on", p.Token, http.StatusOK)
		if got := p.Do(t, "POST", "/auth/reauthenticate", map[string]any{"password": p.Password}).Want(t, http.StatusOK); got.Data("token-expiry") != (23 * time.Hour).Seconds() {
			t.Errorf("token-expiry %v", got.Data("token-expiry"))
		} else {
			p.Token = got.Text("token")
		}
		a.Clock.Move(-time.Hour)
		wantStatus(t, a, "and back", p.Token, http.StatusOK)
		a.Clock.Move(fiveYears)
		wantStatus(t, a, "five years on", p.Token, http.StatusUnauthorized)
		p.Login(t, a.Client)
		wantStatus(t, a, "new token", p.Token, http.StatusOK)
	})
}

// F8: what is left of a lifetime is never negative, up to the last microsecond.
func TestLifetimeIsNeverNegative(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		left := 24 * time.Hour
		for _, want := range []time.Duration{2 * time.Second, time.Second, time.Microsecond} {
			a.Clock.Move(left - want)
			left = want
			got := p.Do(t, "POST", "/auth/reauthenticate", map[string]any{"password": p.Password}).Want(t, http.StatusOK)
			if n := got.Data("token-expiry"); n != want.Truncate(time.Second).Seconds() {
				t.Errorf("%v before the end: token-expiry %v", want, n)
			}
			p.Client = a.As(got.Text("token"))
		}
		a.Clock.Move(left)
		p.Do(t, "POST", "/auth/reauthenticate", map[string]any{"password": p.Password}).Want(t, http.StatusUnauthorized)
	})
}

// F8: a lock ends although the clock was wrong while it came about: an account
// is not shut out for years because somebody mistyped in the wrong one. A clock
// that is set back gives one guess away, and no budget.
func TestLockEndsThoughTheClockWasWrong(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{fiveYears, time.Hour, 5 * time.Minute, 90 * time.Second, time.Second} {
		t.Run(jump.String(), func(t *testing.T) {
			apptest.Each(t, attempts(3), func(t *testing.T, a *apptest.App) {
				p := newUser(t, a, "kissinger", "", false)
				a.Clock.Move(jump)
				for range 3 {
					tryLogin(t, a.Client, p.Username, wrongPassword).Want(t, http.StatusUnauthorized)
				}
				retryAfter(t, tryLogin(t, a.Client, p.Username, p.Password))
				a.Clock.Move(-jump)
				guesses := 0
				for range 5 {
					if tryLogin(t, a.Client, p.Username, wrongPassword).Status == http.StatusUnauthorized {
						guesses++
					}
				}
				if guesses > 1 {
					t.Errorf("%d guesses for a clock set back", guesses)
				}
				wait := retryAfter(t, tryLogin(t, a.Client, p.Username, p.Password))
				if wait > 5*time.Minute { // the second wait is four minutes
					t.Errorf("wait of %v by a clock that was wrong", wait)
				}
				a.Clock.Move(wait)
				tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusOK)
			})
		})
	}
}

// S-13, F8: how long ago a node has heard is not known after its clock was set
// back; so it asks the database until it has heard again.
func TestClockSetBackDoesNotHideThatANodeCannotHear(t *testing.T) {
	t.Parallel()
	a, gate, plain := behindGate(t)
	b := apptest.Start(t, apptest.Options{DatabaseURL: plain, Keys: a.Keys})
	p := a.NewPerson(t)
	wantStatus(t, a, "before", p.Token, http.StatusOK)
	gate.Cut()
	a.Clock.Move(-time.Hour)
	b.As(p.Token).Do(t, "POST", "/auth/logout", nil).Want(t, http.StatusOK)
	for _, step := range []time.Duration{0, time.Minute, 10 * time.Minute} {
		a.Clock.Move(step)
		wantOutage(t, a, p.Do(t, "GET", "/auth/session", nil))
	}
	gate.Restore()
	eventually(t, "recovery", 10*time.Second, func() bool { return status(t, a, p.Token) == http.StatusUnauthorized })
}

// S-16: a proof of identity counts for 15 minutes, to the second.
func TestProofCountsForFifteenMinutes(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		a.Clock.Move(account.ProofWindow)
		p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": "second@example.com"}).Want(t, http.StatusOK)
		a.Clock.Move(time.Second)
		for _, c := range []struct {
			method string
			body   any
		}{
			{"PATCH", map[string]any{"email": "third@example.com"}},
			{"PATCH", map[string]any{"password": nextPassword}},
			{"PUT", map[string]any{"username": p.Username, "email": "second@example.com", "password": nextPassword}},
			{"DELETE", nil},
		} {
			p.Do(t, c.method, "/"+p.ID, c.body).Want(t, http.StatusForbidden, "reauthentication_required")
		}
		p.Do(t, "PATCH", "/"+p.ID, map[string]any{"username": "needs-no-proof"}).Want(t, http.StatusOK)
		p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": "third@example.com", "current_password": p.Password}).Want(t, http.StatusOK)
		token := p.Do(t, "POST", "/auth/reauthenticate", map[string]any{"password": p.Password}).Want(t, http.StatusOK).Text("token")
		a.As(token).Do(t, "DELETE", "/"+p.ID, nil).Want(t, http.StatusOK)
	})
}
