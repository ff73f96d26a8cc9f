package account_test

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/secret"
)

// held is a request whose headers have been sent, and whose token has been
// taken: what remains is the body.
type held struct {
	body *io.PipeWriter
	done chan int
}

func hold(t *testing.T, a *apptest.App, token, method, path string) *held {
	t.Helper()
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), method, a.Base()+path, r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	h := &held{body: w, done: make(chan int, 1)}
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			h.done <- 0
			return
		}
		_ = res.Body.Close()
		h.done <- res.StatusCode
	}()
	_, _ = io.WriteString(w, " ") // the first byte is on its way: the headers have arrived
	time.Sleep(100 * time.Millisecond)
	return h
}

func (h *held) finish(t *testing.T, body string) int {
	t.Helper()
	_, _ = io.WriteString(h.body, body)
	_ = h.body.Close()
	return <-h.done
}

// A thief sends the headers of a change with a stolen token and holds the body
// back. Whatever ends the session, the role or the account meanwhile ends this
// request too (S-13, S-14, S-15, V57, V61, V65).
func TestRequestOutlivesNoRevocation(t *testing.T) {
	t.Parallel()
	operator := account.Caller{Kind: account.Operator}
	const thiefs = `{"password":"thief-Lantern-42-cobalt"}`
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		for name, revoke := range map[string]func(p *apptest.Person, thief string){
			"logged out": func(_ *apptest.Person, thief string) {
				a.As(thief).Do(t, "POST", "/auth/logout", nil).Want(t, 200)
			},
			"others ended": func(p *apptest.Person, _ string) {
				p.Do(t, "DELETE", "/auth/sessions", nil).Want(t, 200)
			},
			"password changed": func(p *apptest.Person, _ string) {
				p.Do(t, "POST", "/auth/password", map[string]any{
					"current_password": p.Password, "new_password": "owner-Lantern-42-cobalt",
				}).Want(t, 200)
			},
			"disabled": func(p *apptest.Person, _ string) {
				if err := a.Service.DisableUser(t.Context(), operator, p.ID); err != nil {
					t.Fatal(err)
				}
			},
		} {
			p := a.NewPerson(t)
			thief := a.Do(t, "POST", "/auth/login", map[string]any{"email_or_name": p.Username, "password": p.Password}).Want(t, 200).Text("token")
			h := hold(t, a, thief, "PATCH", "/"+p.ID)
			revoke(p, thief)
			if status := h.finish(t, thiefs); status != 401 {
				t.Errorf("%s: the held change was answered %d, want 401", name, status)
			}
			a.Do(t, "POST", "/auth/login", map[string]any{
				"email_or_name": p.Username, "password": "thief-Lantern-42-cobalt",
			}).Want(t, 401)
		}

		admin, victim := a.NewPerson(t), a.NewPerson(t)
		if err := a.Service.SetRole(t.Context(), operator, admin.ID, account.RoleAdmin); err != nil {
			t.Fatal(err)
		}
		h := hold(t, a, admin.Token, "PATCH", "/"+victim.ID)
		if err := a.Service.SetRole(t.Context(), operator, admin.ID, account.RoleVerified); err != nil {
			t.Fatal(err)
		}
		if status := h.finish(t, thiefs); status != 401 {
			t.Errorf("demoted: the held change was answered %d, want 401", status)
		}
		victim.Login(t, a.Client)
	})
}

// Overload is not the owner's fault: a login that was turned away before anybody
// looked at its password costs no attempt (S-18, S-21).
func TestOverloadTakesNoAttempts(t *testing.T) {
	t.Parallel()
	o := apptest.Options{
		HashWorkers: 1, HashQueue: 1, Argon2: secret.Argon2{Memory: 64 << 10, Passes: 8, Threads: 1},
		Policy: func(p *account.Policy) { p.AttemptsPerAccount = 3 },
	}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		var mu sync.Mutex
		seen := map[int]int{}
		for range 4 {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					s := a.Do(t, "POST", "/auth/login", map[string]any{"email_or_name": p.Username, "password": p.Password}).Status
					mu.Lock()
					seen[s]++
					mu.Unlock()
				})
			}
			wg.Wait()
		}
		if seen[503] == 0 {
			t.Fatalf("nobody was turned away: %v", seen)
		}
		p.Login(t, a.Client)
	})
}

// A proxy whose own address is in a trusted network, and which does not say for
// whom it asks, is nobody's passport; nor is a page under a name of its own that
// points here (DNS rebinding). V47.
func TestTrustedNetworkIsNoWayAroundTheProxy(t *testing.T) {
	t.Parallel()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	apptest.Each(t, apptest.Options{TrustedNetworks: loopback, TrustedProxies: loopback}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		for _, xff := range []string{"", "unknown", "203.0.113.9:51234", "[2001:db8::1]:443", "203.0.113.9,"} {
			a.With("X-Forwarded-For", xff).Do(t, "GET", "/"+p.ID, nil).Want(t, 401)
		}
		a.Do(t, "GET", "/"+p.ID, nil).Want(t, 401)
	})
	apptest.Each(t, apptest.Options{TrustedNetworks: loopback}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		a.Do(t, "GET", "/"+p.ID, nil).Want(t, 200)
		for host, want := range map[string]string{"rebind.evil.example": "401", "auth": "200", "auth.internal:8001": "200", "[::1]:8001": "200"} {
			if got := rawStatus(t, a, "GET /"+p.ID+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"); got != want {
				t.Errorf("Host %s: %s, want %s", host, got, want)
			}
		}
	})
}

func rawStatus(t *testing.T, a *apptest.App, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(a.Base(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // the test is done with it
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil || len(b) < 12 {
		t.Fatalf("%q, %v", b, err)
	}
	return string(b[9:12])
}

// Who knows a password can fill neither memory nor disk with sessions: the
// oldest makes way for the one beyond the hundredth.
func TestUserHasAHundredSessionsAtMost(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		first := p.Token
		for range 100 {
			a.Clock.Move(time.Second)
			p.Login(t, a.Client)
		}
		a.As(first).Do(t, "GET", "/auth/session", nil).Want(t, 401)
		sessions, _ := p.Do(t, "GET", "/auth/sessions", nil).Want(t, 200).Data("sessions").([]any)
		if len(sessions) != 100 {
			t.Errorf("%d sessions, want 100", len(sessions))
		}
	})
}

// When the cost of a hash was changed, everybody whose right password arrives
// at the same moment gets in, not only who is first to renew the hash (S-06).
func TestParallelLoginsSurviveTheRenewalOfTheHash(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		dearer := apptest.Start(t, apptest.Options{DatabaseURL: a.URL, Keys: a.Keys, Argon2: secret.Argon2{Memory: 64, Passes: 2, Threads: 1}})
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				dearer.Do(t, "POST", "/auth/login", map[string]any{"email_or_name": p.Username, "password": p.Password}).Want(t, 200)
			})
		}
		wg.Wait()
	})
}
