package account_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/secret"
)

const wrongPassword = "wrong-Velvet-12-kite"

// attempts gives a service where an account has so many, and a network no end.
func attempts(perAccount int) apptest.Options {
	return apptest.Options{HashWorkers: 4, HashQueue: 4096, Policy: func(p *account.Policy) {
		p.AttemptsPerAccount, p.AttemptsPerNetwork, p.AttemptsRefill = perAccount, 1<<20, time.Minute
	}}
}

// throughProxy is for a service that believes its peer about addresses.
func throughProxy(o apptest.Options) apptest.Options {
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	return o
}

func tryLogin(t testing.TB, c *apptest.Client, name, password string) *apptest.Answer {
	t.Helper()
	return c.Do(t, "POST", "/auth/login", loginBody(name, password))
}

func retryAfter(t testing.TB, got *apptest.Answer) time.Duration {
	t.Helper()
	got.Want(t, http.StatusTooManyRequests, "too_many_attempts")
	n, err := strconv.Atoi(got.Header.Get("Retry-After"))
	if err != nil || n < 1 {
		t.Fatalf("Retry-After %q", got.Header.Get("Retry-After"))
	}
	return time.Duration(n) * time.Second
}

// S-20, V14, V51, V52: an account has one budget, whatever it is called and
// whichever route is asked, from however many networks. Every guess in the list
// takes one attempt, and none is left after as many.
func TestOneBudgetForAllSpellingsAndRoutes(t *testing.T) {
	t.Parallel()
	type guess struct {
		method, path string
		body         map[string]any
		from         string
		want         int
	}
	login := func(name string) guess { return guess{"POST", "/auth/login", loginBody(name, wrongPassword), "", 401} }
	const name, email, id = "kissinger", "kissinger-i@example.com", "{id}"
	guesses := []guess{
		login(name), login("KISSINGER"), login("  Kissinger "), login("\u212aissinger"), login("\uff4bissinger"),
		login(email), login("KISSINGER-I@EXAMPLE.COM"), login(" Kissinger-i@Example.com "), login("k\u0131ssinger-\u0131@example.com"),
		login("ki\u00dfinger-i@example.com"), login("\u212aissinger-i@example.com"),
		{"POST", "/login", loginBody(name, wrongPassword), "", 401},
		{"POST", "/auth/login", loginBody(name, wrongPassword), "198.51.100.7", 401},
		{"POST", "/auth/login", loginBody(email, wrongPassword), "2001:db8::7", 401},
		{"POST", "/auth/reauthenticate", map[string]any{"password": wrongPassword}, "", 403},
		{"POST", "/auth/password", map[string]any{"current_password": wrongPassword, "new_password": nextPassword}, "", 403},
		{"PUT", "/" + id, map[string]any{"username": name, "email": "other@example.com", "current_password": wrongPassword}, "", 403},
		{"PUT", "/" + id, map[string]any{"username": name, "email": email, "password": nextPassword, "current_password": wrongPassword}, "", 403},
		{"PATCH", "/" + id, map[string]any{"email": "other@example.com", "current_password": wrongPassword}, "192.0.2.1", 403},
		{"PATCH", "/" + id, map[string]any{"password": nextPassword, "current_password": wrongPassword}, "", 403},
	}
	apptest.Each(t, throughProxy(attempts(len(guesses))), func(t *testing.T, a *apptest.App) {
		p := &apptest.Person{Username: name, Email: email, Password: apptest.GoodPassword}
		p.ID = a.Do(t, "POST", "/auth/register", map[string]any{"username": name, "email": email, "password": p.Password}).
			Want(t, http.StatusCreated).Text("user_id")
		p.Login(t, a.Client)
		all := func(password string, want func(guess) int) {
			t.Helper()
			for _, g := range guesses {
				c := p.Client
				for field, value := range g.body {
					if g.body = maps.Clone(g.body); value == wrongPassword {
						g.body[field] = password
					}
				}
				if g.from != "" {
					c = c.With("X-Forwarded-For", g.from)
				}
				if got := c.Do(t, g.method, strings.ReplaceAll(g.path, id, p.ID), g.body); got.Status != want(g) {
					t.Errorf("%s %s %v: status %d, want %d: %s", g.method, g.path, g.body, got.Status, want(g), got.Body)
				}
			}
		}
		before := hashes(a)
		all(wrongPassword, func(g guess) int { return g.want })
		all(wrongPassword, func(guess) int { return http.StatusTooManyRequests })
		if made := hashes(a) - before; made != int64(len(guesses)) {
			t.Errorf("%d hashes for %d attempts", made, len(guesses))
		}
		all(p.Password, func(guess) int { return http.StatusTooManyRequests }) // the right one is no way around it
		wantStatus(t, a, "his session", p.Token, http.StatusOK)                // who is logged in is not shut out
		tryLogin(t, a.Client, "kissinger2", wrongPassword).Want(t, http.StatusUnauthorized)
	})
}

// S-19, V45.
func TestParallelGuessesCountBeforeAnyIsChecked(t *testing.T) {
	t.Parallel()
	const limit, guesses = 10, 500
	apptest.Each(t, attempts(limit), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "kissinger", "", false)
		w := newWire(t, a)
		before := hashes(a)
		var refused, wrong, other atomic.Int64
		body := `{"email_or_name":"` + p.Email + `","password":"` + wrongPassword + `"}`
		together(guesses, func(int) {
			code, _ := w.send(t, "POST", "/auth/login", "", body)
			for code == http.StatusServiceUnavailable { // not decided: a busy machine has him ask again
				code, _ = w.send(t, "POST", "/auth/login", "", body)
			}
			switch code {
			case http.StatusUnauthorized:
				wrong.Add(1)
			case http.StatusTooManyRequests:
				refused.Add(1)
			default:
				other.Add(1)
			}
		})
		if made := hashes(a) - before; made != limit || wrong.Load() != limit || refused.Load() != guesses-limit || other.Load() != 0 {
			t.Errorf("%d hashes, %d wrong, %d refused, %d other; want %d, %d, %d, 0", made, wrong.Load(), refused.Load(), other.Load(), limit, limit, guesses-limit)
		}
		var in atomic.Int64
		before = hashes(a)
		together(50, func(int) { // the right one, now
			if w.login(t, p.Username, p.Password) != "" {
				in.Add(1)
			}
		})
		if made := hashes(a) - before; in.Load() != 0 || made != 0 {
			t.Errorf("after the limit, the right password was looked at %d times and accepted %d times", made, in.Load())
		}
	})
}

// S-20, S-18: Retry-After tells the truth: a second before, nobody gets in; then
// exactly one does (V46: and the account waits again, longer).
func TestRetryAfterIsTrue(t *testing.T) {
	t.Parallel()
	apptest.Each(t, attempts(3), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "kissinger", "", false)
		for range 3 {
			a.Clock.Move(7 * time.Second)
			tryLogin(t, a.Client, p.Username, wrongPassword).Want(t, http.StatusUnauthorized, "invalid_credentials")
		}
		// As often as one likes: there is no end to the protection.
		for _, minutes := range []time.Duration{1, 4, 9, 16, 25, 36, 49, 60, 60} {
			wait := retryAfter(t, tryLogin(t, a.Client, p.Username, p.Password))
			if wait != minutes*time.Minute {
				t.Errorf("wait of %v, want %d minutes", wait, minutes)
			}
			a.Clock.Move(wait - time.Second - time.Millisecond)
			retryAfter(t, tryLogin(t, a.Client, p.Username, p.Password))
			a.Clock.Move(time.Second + time.Millisecond)
			tryLogin(t, a.Client, p.Username, wrongPassword).Want(t, http.StatusUnauthorized, "invalid_credentials")
			retryAfter(t, tryLogin(t, a.Client, p.Username, wrongPassword))
		}
		a.Clock.Move(time.Hour)
		tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusOK)
		for range 3 { // and a success gives all of them back
			tryLogin(t, a.Client, p.Username, wrongPassword).Want(t, http.StatusUnauthorized)
		}
		if wait := retryAfter(t, tryLogin(t, a.Client, p.Username, p.Password)); wait != time.Minute {
			t.Errorf("wait of %v after a success", wait)
		}
	})
}

// S-20, S-23, V53.
func TestBudgetSurvivesARestartAndHoldsOnEveryNode(t *testing.T) {
	t.Parallel()
	apptest.Each(t, attempts(4), func(t *testing.T, a *apptest.App) {
		b := anotherNode(t, a, attempts(4))
		p := newUser(t, a, "kissinger", "", false)
		for i := range 4 {
			node := []*apptest.App{a, b}[i%2]
			tryLogin(t, node.Client, p.Username, wrongPassword).Want(t, http.StatusUnauthorized)
		}
		retryAfter(t, tryLogin(t, a.Client, p.Username, p.Password))
		retryAfter(t, tryLogin(t, b.Client, p.Email, p.Password))
		restarted := anotherNode(t, a, attempts(4))
		retryAfter(t, tryLogin(t, restarted.Client, p.Username, p.Password))
		restarted.Clock.Move(time.Minute)
		tryLogin(t, restarted.Client, p.Username, p.Password).Want(t, http.StatusOK)
		a.Clock.Move(time.Second) // for so long it remembers that there was none
		tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusOK)
	})
}

// S-23, V53: inventing names washes nobody's budget out.
func TestInventedNamesEvictNoBudget(t *testing.T) {
	t.Parallel()
	const names = 400
	apptest.Each(t, attempts(2), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "kissinger", "", false)
		for range 2 {
			tryLogin(t, a.Client, p.Username, wrongPassword).Want(t, http.StatusUnauthorized)
		}
		before := len(direct(t, a.URL).rows(t, "throttle"))
		w := newWire(t, a)
		together(8, func(i int) {
			for n := i; n < names; n += 8 {
				name := fmt.Sprintf("invented%d", n)
				if n%2 == 0 {
					name += "@example.org"
				}
				if code, b := w.send(t, "POST", "/auth/login", "", `{"email_or_name":"`+name+`","password":"`+wrongPassword+`"}`); code != http.StatusUnauthorized {
					t.Errorf("%s: status %d: %s", name, code, b)
				}
			}
		})
		if rows := len(direct(t, a.URL).rows(t, "throttle")); rows != before+2*names {
			t.Errorf("%d budgets, want %d", rows, before+2*names)
		}
		must(t, a.Service.Sweep(t.Context()))
		retryAfter(t, tryLogin(t, a.Client, p.Username, p.Password))
		tryLogin(t, a.Client, "Invented1", wrongPassword).Want(t, http.StatusUnauthorized) // its second
		retryAfter(t, tryLogin(t, a.Client, "invented1", wrongPassword))
	})
}

// V52, S-22, V48: a network has one budget over all accounts: a /24, or a /64
// in whatever spelling.
func TestOneBudgetForANetworkInAllSpellings(t *testing.T) {
	t.Parallel()
	const limit = 5
	o := throughProxy(apptest.Options{Policy: func(p *account.Policy) { p.AttemptsPerNetwork = limit }})
	for name, c := range map[string]struct{ inside, outside []string }{
		"IPv4": {
			[]string{"203.0.113.1", "203.0.113.254", "::ffff:203.0.113.9", "::ffff:cb00:7107", "203.0.113.0", "203.0.113.77"},
			[]string{"203.0.112.1", "203.0.114.1", "::ffff:203.0.114.2", "2001:db8::1"},
		},
		"IPv6": {
			[]string{"2001:db8:1:2::1", "2001:DB8:1:2:FFFF:ffff:ffff:ffff", "2001:0db8:0001:0002:0000:0000:0000:0003", "2001:db8:1:2:3::", "2001:db8:1:2:1:2:3.4.5.6", "2001:db8:1:2::"},
			[]string{"2001:db8:1:3::1", "2001:db8:1:1:ffff:ffff:ffff:ffff", "203.0.113.1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
				from := func(ip string) *apptest.Client { return a.With("X-Forwarded-For", ip) }
				p := newUser(t, a, "kissinger", "", false)
				for i, ip := range c.inside[:limit] {
					tryLogin(t, from(ip), fmt.Sprintf("victim%d", i), wrongPassword).Want(t, http.StatusUnauthorized)
				}
				for _, ip := range c.inside {
					retryAfter(t, tryLogin(t, from(ip), "somebody-else", wrongPassword))
					retryAfter(t, tryLogin(t, from(ip), p.Username, p.Password))
				}
				for _, ip := range c.outside {
					tryLogin(t, from(ip), "somebody-else", wrongPassword).Want(t, http.StatusUnauthorized)
				}
				tryLogin(t, from(c.outside[0]), p.Username, p.Password).Want(t, http.StatusOK)
				wait := retryAfter(t, tryLogin(t, from(c.inside[0]), p.Username, p.Password))
				a.Clock.Move(wait)
				tryLogin(t, from(c.inside[1]), p.Username, p.Password).Want(t, http.StatusOK)
			})
		})
	}
}

// S-22: right passwords from a network that many people share use nothing up.
func TestSuccessUsesUpNoBudgetOfTheNetwork(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Policy: func(p *account.Policy) { p.AttemptsPerNetwork = 3 }}, func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "kissinger", "", false)
		for range 20 {
			tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusOK)
		}
		for i := range 3 { // but give nobody's wrong ones back
			tryLogin(t, a.Client, "nobody", wrongPassword).Want(t, http.StatusUnauthorized)
			if i < 2 {
				tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusOK)
			}
		}
		retryAfter(t, tryLogin(t, a.Client, p.Username, p.Password))
	})
}

// An attempt is counted before it is checked: where it cannot be counted, it is
// not checked.
func TestNoGuessIsCheckedThatCannotBeCounted(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		direct(t, a.URL).exec(t, `ALTER TABLE throttle RENAME TO gone`)
		before := hashes(a)
		for _, password := range []string{p.Password, wrongPassword} {
			for _, got := range []*apptest.Answer{
				tryLogin(t, a.Client, p.Username, password),
				p.Do(t, "POST", "/auth/reauthenticate", map[string]any{"password": password}),
				p.Do(t, "POST", "/auth/password", map[string]any{"current_password": password, "new_password": nextPassword}),
				p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": "other@example.com", "current_password": password}),
			} {
				if got.Status < 500 {
					t.Errorf("status %d: %s", got.Status, got.Body)
				}
			}
		}
		if made := hashes(a) - before; made != 0 {
			t.Errorf("%d passwords were looked at", made)
		}
	})
}

// S-54: what was typed as a name cannot be guessed at in the database: two
// installations share no fingerprint of it.
func TestBudgetsAreNamedUnderTheMasterKey(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		b := apptest.Start(t, apptest.Options{DatabaseURL: freshURL(t, a.Engine)})
		var rows [2][]string
		for i, node := range []*apptest.App{a, b} {
			tryLogin(t, node.Client, apptest.GoodPassword, apptest.GoodPassword) // as people do
			if rows[i] = direct(t, node.URL).rows(t, "throttle"); len(rows[i]) != 3 {
				t.Fatalf("%d budgets, want two of the name and the network's", len(rows[i]))
			}
		}
		if len(minus(rows[0], rows[1])) != 3 {
			t.Errorf("the same budgets under two master keys: %q, %q", rows[0], rows[1])
		}
	})
}

// Attack: whoever hangs up before he is answered has used his attempt, or guesses,
// hashes and questions for taken names would cost nothing.
func TestWhoHangsUpHasUsedHisAttempt(t *testing.T) {
	t.Parallel()
	o := attempts(5)
	o.HashWorkers, o.Argon2 = 1, secret.Argon2{Memory: 64 << 10, Passes: 2, Threads: 1}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "kissinger", "", false)
		var wg sync.WaitGroup
		ctx, hangUp := context.WithCancel(t.Context())
		defer hangUp()
		answered := make(chan struct{}, 12)
		for range 12 {
			wg.Go(func() {
				defer func() { answered <- struct{}{} }()
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.Base()+"/auth/login",
					strings.NewReader(`{"email_or_name":"kissinger","password":"`+wrongPassword+`"}`))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Content-Type", "application/json")
				if res, err := http.DefaultClient.Do(r); err == nil {
					_ = res.Body.Close()
				}
			})
		}
		for range 7 { // there are five attempts; whoever is not answered by now has one
			<-answered
		}
		hangUp()
		wg.Wait()
		eventually(t, "nobody waits any more", 10*time.Second, func() bool { waiting, _ := a.Hasher.Stats(); return waiting == 0 })
		time.Sleep(300 * time.Millisecond) // for what would be given back
		retryAfter(t, tryLogin(t, a.Client, p.Username, p.Password))
	})
}

// Attempts that arrive together are not refused for having read the time in
// another order than they were counted in.
func TestParallelLoginsBelowTheLimitAreAllLookedAt(t *testing.T) {
	t.Parallel()
	apptest.Each(t, attempts(1000), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "kissinger", "", false)
		w := newWire(t, a)
		stop := make(chan struct{})
		var clock sync.WaitGroup
		clock.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					a.Clock.Move(time.Millisecond)
				}
			}
		})
		together(6, func(int) {
			for range 20 {
				if code, b := w.send(t, "POST", "/auth/login", "", `{"email_or_name":"kissinger","password":"`+p.Password+`"}`); code != http.StatusOK && code != http.StatusServiceUnavailable {
					t.Errorf("status %d: %s", code, b)
				}
			}
		})
		close(stop)
		clock.Wait()
	})
}
