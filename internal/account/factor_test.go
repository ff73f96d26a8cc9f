package account_test

import (
	"encoding/base32"
	"net/netip"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

// armed is a person with an authenticator app, or a passkey, or both.
type armed struct {
	*apptest.Person
	seed  string
	codes []string // for recovery
	key   *apptest.Authenticator
}

// code is what the app shows now.
func (p *armed) code(t testing.TB, a *apptest.App) string {
	t.Helper()
	return codeAt(t, p.seed, a.Clock.Now())
}

func codeAt(t testing.TB, seed string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(seed, at)
	must(t, err)
	return code
}

// wrongCode is none that counts now.
func (p *armed) wrongCode(t testing.TB, a *apptest.App) string {
	t.Helper()
	for _, code := range []string{"000000", "111111", "222222", "333333"} {
		if code != p.code(t, a) && code != codeAt(t, p.seed, a.Clock.Now().Add(30*time.Second)) && code != codeAt(t, p.seed, a.Clock.Now().Add(-30*time.Second)) {
			return code
		}
	}
	t.Fatal("all of them are right")
	return ""
}

// arm adds an app to a person who is logged in, and lets its first code pass.
func arm(t testing.TB, a *apptest.App, p *apptest.Person) *armed {
	t.Helper()
	p.Login(t, a.Client)
	x := &armed{Person: p, seed: p.Do(t, "POST", "/auth/factors/totp", nil).Want(t, 200).Text("secret")}
	got := p.Do(t, "POST", "/auth/factors/totp/confirm", map[string]any{"code": x.code(t, a)}).Want(t, 200)
	for _, c := range got.Data("recovery_codes").([]any) {
		x.codes = append(x.codes, c.(string))
	}
	a.Clock.Move(30 * time.Second)
	return x
}

// challenge logs in with the password, which is not enough.
func (p *armed) challenge(t testing.TB, c *apptest.Client) string {
	t.Helper()
	got := tryLogin(t, c, p.Username, p.Password).Want(t, 401, "second_factor_required")
	if got.Text("token") != "" || got.Header.Get("Set-Cookie") != "" || got.Header.Get("X-Device-Token") != "" {
		t.Fatalf("half a login gives %s, %v", got.Body, got.Header)
	}
	return got.Text("challenge")
}

func finish(t testing.TB, c *apptest.Client, challenge, code string) *apptest.Answer {
	t.Helper()
	return c.Do(t, "POST", "/auth/login/second-factor", map[string]any{"challenge": challenge, "code": code})
}

// again gives the session of p a new proof by its app.
func (p *armed) again(t testing.TB, a *apptest.App) {
	t.Helper()
	got := p.Do(t, "POST", "/auth/reauthenticate", map[string]any{"code": p.code(t, a)}).Want(t, 200)
	p.Token = got.Text("token")
	p.Client = a.As(p.Token)
	a.Clock.Move(30 * time.Second)
}

// S-34: the codes are those of RFC 6238, as a program that others have written
// makes them of the seed and of the URI in the picture.
func TestCodesOfAnotherProgramAreAccepted(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("oathtool")
	if err != nil {
		t.Fatal("there is no oathtool: scripts/test-deps.sh installs it on Debian (apt-get install oathtool)")
	}
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "anna", "", true)
		p.Login(t, a.Client)
		enrolled := p.Do(t, "POST", "/auth/factors/totp", nil).Want(t, 200)
		u, err := url.Parse(enrolled.Text("uri"))
		must(t, err)
		code := func() string {
			now := a.Clock.Now().UTC().Format("2006-01-02 15:04:05 UTC")
			out, err := exec.CommandContext(t.Context(), program, "--totp=sha1", "--base32", "--now="+now,
				"--digits="+u.Query().Get("digits"), "--time-step-size="+u.Query().Get("period"), u.Query().Get("secret")).Output()
			must(t, err)
			return strings.TrimSpace(string(out))
		}
		p.Do(t, "POST", "/auth/factors/totp/confirm", map[string]any{"code": code()}).Want(t, 200)
		x := &armed{Person: p, seed: enrolled.Text("secret")}
		for range 20 {
			a.Clock.Move(47 * time.Second)
			finish(t, a.Client, x.challenge(t, a.Client), code()).Want(t, 200)
		}
	})
}

// S-34, V32, V43: a code counts once, in its step or the ones beside it, and none
// that is older than one that was used; the seed has 160 bits and is stored sealed.
func TestCodeOfAnAppCountsOnce(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "anna", "", true)
		p.Login(t, a.Client)
		enrolled := p.Do(t, "POST", "/auth/factors/totp", nil).Want(t, 200)
		seed := enrolled.Text("secret")
		if raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(seed); err != nil || len(raw) != 20 {
			t.Errorf("seed of %d bytes, %v", len(raw), err)
		}
		u, err := url.Parse(enrolled.Text("uri"))
		if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Query().Get("secret") != seed || u.Query().Get("issuer") != "id.example.com" || !strings.HasSuffix(u.Path, ":anna") {
			t.Errorf("%s, %v", enrolled.Text("uri"), err)
		}
		if !strings.HasPrefix(enrolled.Text("qr_svg"), "<svg ") {
			t.Errorf("picture %.40s", enrolled.Text("qr_svg"))
		}
		// Not confirmed, it is none.
		tryLogin(t, a.Client, "anna", p.Password).Want(t, 200)
		x := &armed{Person: p, seed: seed}
		first := x.code(t, a)
		p.Do(t, "POST", "/auth/factors/totp/confirm", map[string]any{"code": x.wrongCode(t, a)}).Want(t, 403, "wrong_code")
		added := p.Do(t, "POST", "/auth/factors/totp/confirm", map[string]any{"code": first}).Want(t, 200)
		if n := len(added.Data("recovery_codes").([]any)); n != 10 {
			t.Errorf("%d recovery codes", n)
		}
		a.Letter(t, p.Email, outbox.FactorAdded)
		c := x.challenge(t, a.Client)
		finish(t, a.Client, c, first).Want(t, 401, "wrong_code") // the one that confirmed it
		now := a.Clock.Now()
		finish(t, a.Client, c, codeAt(t, seed, now.Add(90*time.Second))).Want(t, 401, "wrong_code")
		finish(t, a.Client, c, codeAt(t, seed, now.Add(30*time.Second))).Want(t, 200) // its clock is fast
		c = x.challenge(t, a.Client)
		finish(t, a.Client, c, x.code(t, a)).Want(t, 401, "wrong_code") // older than the last
		a.Clock.Move(30 * time.Second)
		finish(t, a.Client, c, x.code(t, a)).Want(t, 401, "wrong_code") // the last one again
		a.Clock.Move(60 * time.Second)
		finish(t, a.Client, c, codeAt(t, seed, a.Clock.Now().Add(-30*time.Second))).Want(t, 200) // its clock is slow, and none later was used
		a.Clock.Move(10 * time.Minute)
		c = x.challenge(t, a.Client)
		finish(t, a.Client, c, codeAt(t, seed, a.Clock.Now().Add(-60*time.Second))).Want(t, 401, "wrong_code")
		a.Clock.Move(10 * time.Minute)
		c = x.challenge(t, a.Client)
		finish(t, a.Client, c, x.code(t, a)).Want(t, 200)
	})
}

// V33, V20: of 100 parallel uses of one code, or of one challenge, one wins.
func TestOfParallelSecondFactorsOneWins(t *testing.T) {
	t.Parallel()
	o := apptest.Options{Policy: func(p *account.Policy) { p.AttemptsPerNetwork = 1 << 20 }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := arm(t, a, newUser(t, a, "boris", "", true))
		known := finish(t, a.Client, p.challenge(t, a.Client), p.code(t, a)).Want(t, 200).Header.Get("X-Device-Token")
		a.Clock.Move(30 * time.Second)
		challenges := make([]string, 4)
		for i := range challenges {
			challenges[i] = p.challenge(t, a.Client)
		}
		code := p.code(t, a)
		var won atomic.Int64
		together(100, func(i int) {
			c := a.Client
			if i%2 == 0 {
				c = a.With("X-Device-Token", known)
			}
			if got := finish(t, c, challenges[i%len(challenges)], code); got.Status == 200 {
				won.Add(1)
			}
		})
		if won.Load() != 1 {
			t.Errorf("%d of 100 won", won.Load())
		}
		a.Clock.Move(time.Hour)
		c := p.challenge(t, a.Client)
		codes := p.codes
		won.Store(0)
		together(50, func(i int) { // each with a good recovery code of its own
			if got := finish(t, a.With("X-Device-Token", known), c, codes[i%len(codes)]); got.Status == 200 {
				won.Add(1)
			}
		})
		if won.Load() != 1 {
			t.Errorf("one challenge finished %d logins", won.Load())
		}
	})
}

// V34, S-18: wrong codes spread over addresses, challenges, methods and a restart
// stop at the limit; the right one is refused then until the budget returns. A
// known device has tries of its own (S-21).
func TestGuessesAtASecondFactorStopAtTheLimit(t *testing.T) {
	t.Parallel()
	o := apptest.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := arm(t, a, newUser(t, a, "vera", "", true))
		known := finish(t, a.Client, p.challenge(t, a.Client), p.code(t, a)).Want(t, 200).Header.Get("X-Device-Token")
		a.Clock.Move(10 * time.Minute)
		compared := 0
		for i := range 200 {
			node := a
			if i == 100 {
				node = anotherNode(t, a, o)
				node.Clock.Move(a.Clock.Now().Sub(node.Clock.Now()))
			}
			c := node.With("X-Forwarded-For", "203.0.113."+strconv.Itoa(i))
			challenge := p.challenge(t, c)
			code := p.wrongCode(t, a)
			if i%3 == 0 {
				code = "aaaa-aaaa-aaaa-aaaa"
			}
			switch got := finish(t, c, challenge, code); got.Code() {
			case "wrong_code":
				compared++
			case "too_many_attempts":
			default:
				t.Fatalf("%d %s", got.Status, got.Body)
			}
		}
		if compared != 5 {
			t.Errorf("%d codes were compared", compared)
		}
		challenge := p.challenge(t, a.Client)
		finish(t, a.Client, challenge, p.code(t, a)).Want(t, 429)
		finish(t, a.With("X-Device-Token", known), challenge, p.code(t, a)).Want(t, 200)
		a.Clock.Move(10*time.Minute + time.Second)
		finish(t, a.Client, p.challenge(t, a.Client), p.code(t, a)).Want(t, 200)
	})
}

// S-35, V39: recovery codes are good once each, for their own account, and the old
// set ends with a new one; their owner is told when few are left.
func TestRecoveryCodesAreGoodOnce(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p, other := arm(t, a, newUser(t, a, "galina", "", true)), arm(t, a, newUser(t, a, "dmitri", "", true))
		finish(t, a.Client, p.challenge(t, a.Client), other.codes[0]).Want(t, 401, "wrong_code")
		finish(t, a.Client, p.challenge(t, a.Client), strings.ToUpper(strings.ReplaceAll(p.codes[0], "-", " "))).Want(t, 200)
		finish(t, a.Client, p.challenge(t, a.Client), p.codes[0]).Want(t, 401, "wrong_code")
		for i := 1; i < 7; i++ {
			finish(t, a.Client, p.challenge(t, a.Client), p.codes[i]).Want(t, 200)
		}
		if low := a.Letter(t, p.Email, outbox.RecoveryCodesLow); !strings.Contains(low.Text, "3") {
			t.Errorf("%s", low.Text)
		}
		got := finish(t, a.Client, p.challenge(t, a.Client), p.code(t, a)).Want(t, 200)
		a.Clock.Move(30 * time.Second)
		c := a.As(got.Text("token"))
		fresh := c.Do(t, "POST", "/auth/factors/recovery-codes", nil).Want(t, 200).Data("recovery_codes").([]any)
		finish(t, a.Client, p.challenge(t, a.Client), p.codes[8]).Want(t, 401, "wrong_code")
		finish(t, a.Client, p.challenge(t, a.Client), fresh[0].(string)).Want(t, 200)
		if left := c.Do(t, "GET", "/auth/factors", nil).Want(t, 200).Data("recovery_codes_left"); left != 9.0 {
			t.Errorf("%v left", left)
		}
	})
}

// S-12: a session with two factors lives 24 hours at most and 1 hour unused, also
// when it is to be remembered; it says how strong it is (S-36).
func TestSessionWithTwoFactorsSaysSoAndIsShort(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := arm(t, a, newUser(t, a, "egor", "", true))
		got := a.Do(t, "POST", "/auth/login", map[string]any{"email_or_name": "egor", "password": p.Password, "remember_me": true}).Want(t, 401)
		done := finish(t, a.Client, got.Text("challenge"), p.code(t, a)).Want(t, 200)
		c := a.As(done.Text("token"))
		s := c.Do(t, "GET", "/auth/session", nil).Want(t, 200)
		if s.Text("acr") != "aal2" || !slices.Equal(s.Data("amr").([]any), []any{"pwd", "otp", "mfa"}) || done.Data("token-expiry") != 86400.0 {
			t.Errorf("%s %s", s.Body, done.Body)
		}
		a.Clock.Move(time.Hour - time.Second)
		c.Do(t, "GET", "/auth/session", nil).Want(t, 200)
		a.Clock.Move(time.Hour)
		c.Do(t, "GET", "/auth/session", nil).Want(t, 401)
	})
}

// S-16, V38: what takes an account over asks for a second factor of the last 15
// minutes where there is one; neither a password nor a fresh session of one factor
// will do.
func TestDangerousChangesAskForTheSecondFactor(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := arm(t, a, newUser(t, a, "zoya", "", true))
		number := 0
		dangers := map[string]func(c *apptest.Client) *apptest.Answer{
			"password": func(c *apptest.Client) *apptest.Answer {
				return c.Do(t, "POST", "/auth/password", map[string]any{"current_password": p.Password, "new_password": "another-Anchor-71-quartz"})
			},
			"e-mail": func(c *apptest.Client) *apptest.Answer {
				return c.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": "zoya2@example.com", "current_password": p.Password})
			},
			"phone": func(c *apptest.Client) *apptest.Answer {
				number++
				return c.Do(t, "PATCH", "/"+p.ID, map[string]any{"contact_number": "+7985355382" + strconv.Itoa(number), "current_password": p.Password})
			},
			"recovery codes": func(c *apptest.Client) *apptest.Answer { return c.Do(t, "POST", "/auth/factors/recovery-codes", nil) },
			"removal":        func(c *apptest.Client) *apptest.Answer { return c.Do(t, "DELETE", "/auth/factors/totp", nil) },
			"deletion":       func(c *apptest.Client) *apptest.Answer { return c.Do(t, "DELETE", "/"+p.ID, nil) },
		}
		refused := func(what string, c *apptest.Client) {
			t.Helper()
			for name, danger := range dangers {
				got := danger(c)
				if got.Status != 403 || got.Code() != "second_factor_proof_required" || got.Data("factors") == nil {
					t.Errorf("%s, %s: %d %s", what, name, got.Status, got.Body)
				}
			}
		}
		refused("the session that added it", p.Client)
		got := p.Do(t, "POST", "/auth/reauthenticate", map[string]any{"password": p.Password}).Want(t, 200)
		p.Client = a.As(got.Text("token"))
		refused("after the password once more", p.Client)
		p.again(t, a)
		if got := dangers["phone"](p.Client); got.Status != 200 {
			t.Errorf("after the code: %d %s", got.Status, got.Body)
		}
		a.Clock.Move(15*time.Minute + time.Second)
		refused("a quarter of an hour later", p.Client)
		p.again(t, a)
		for _, name := range []string{"recovery codes", "e-mail", "removal"} {
			if got := dangers[name](p.Client); got.Status != 200 {
				t.Errorf("%s after the code: %d %s", name, got.Status, got.Body)
			}
		}
		a.Letter(t, p.Email, outbox.FactorRemoved)
		tryLogin(t, a.Client, "zoya", p.Password).Want(t, 200)
	})
}

// V42, S-36: who must have a second factor and has none adds one before he gets a
// token, and there is no way around; a challenge is good for nothing else (V37).
func TestRequiredFactorIsAddedBeforeThereIsAToken(t *testing.T) {
	t.Parallel()
	o := apptest.Options{Policy: func(p *account.Policy) { p.RequiredFactor = []string{"Admin"} }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p, free := newUser(t, a, "ivan", account.RoleAdmin, true), newUser(t, a, "katya", "", true)
		tryLogin(t, a.Client, "katya", free.Password).Want(t, 200)
		must(t, a.Service.SetFactorRequired(t.Context(), operator(), free.ID, true))
		tryLogin(t, a.Client, "katya", free.Password).Want(t, 401, "second_factor_enrolment_required")
		must(t, a.Service.SetFactorRequired(t.Context(), operator(), free.ID, false))
		tryLogin(t, a.Client, "katya", free.Password).Want(t, 200)

		half := tryLogin(t, a.Client, "ivan", p.Password).Want(t, 401, "second_factor_enrolment_required")
		challenge := half.Text("challenge")
		a.As(challenge).Do(t, "GET", "/auth/session", nil).Want(t, 401)
		finish(t, a.Client, challenge, "123456").Want(t, 401, "wrong_code") // nothing was added
		seed := a.Do(t, "POST", "/auth/login/second-factor/enrol", map[string]any{"challenge": challenge}).Want(t, 200).Text("secret")
		x := &armed{Person: p, seed: seed}
		finish(t, a.Client, challenge, x.wrongCode(t, a)).Want(t, 401, "wrong_code")
		done := finish(t, a.Client, challenge, x.code(t, a)).Want(t, 200)
		if done.Text("token") == "" || len(done.Data("recovery_codes").([]any)) != 10 {
			t.Errorf("%s", done.Body)
		}
		finish(t, a.Client, challenge, x.code(t, a)).Want(t, 401, "challenge_invalid")
		a.Do(t, "POST", "/auth/login/second-factor/enrol", map[string]any{"challenge": challenge}).Want(t, 401, "challenge_invalid")
		// The last one cannot be removed by him, and can by the operator.
		a.Clock.Move(30 * time.Second)
		a.As(done.Text("token")).Do(t, "DELETE", "/auth/factors/totp", nil).Want(t, 409, "last_factor")
		must(t, a.Service.RemoveFactors(t.Context(), operator(), p.ID, ""))
		a.Letter(t, p.Email, outbox.FactorRemoved)
		a.As(done.Text("token")).Do(t, "GET", "/auth/session", nil).Want(t, 401)
		tryLogin(t, a.Client, "ivan", p.Password).Want(t, 401, "second_factor_enrolment_required")
	})
}

// V35, V21: whoever is disabled, or changes his password or factors, has no login
// half done any more; and a challenge is over after ten minutes.
func TestChallengeEndsWithWhatItStandsFor(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := arm(t, a, newUser(t, a, "lena", "", true))
		challenge := p.challenge(t, a.Client)
		must(t, a.Service.DisableUser(t.Context(), operator(), p.ID))
		must(t, a.Service.EnableUser(t.Context(), operator(), p.ID))
		finish(t, a.Client, challenge, p.code(t, a)).Want(t, 401, "challenge_invalid")

		challenge = p.challenge(t, a.Client)
		a.Clock.Move(10*time.Minute - time.Second)
		other := p.challenge(t, a.Client)
		a.Clock.Move(time.Second)
		finish(t, a.Client, challenge, p.code(t, a)).Want(t, 401, "challenge_invalid")
		done := finish(t, a.Client, other, p.code(t, a)).Want(t, 200)
		a.Clock.Move(30 * time.Second)
		challenge = p.challenge(t, a.Client)
		a.As(done.Text("token")).Do(t, "POST", "/auth/password", map[string]any{"current_password": p.Password, "new_password": "another-Anchor-71-quartz"}).Want(t, 200)
		finish(t, a.Client, challenge, p.code(t, a)).Want(t, 401, "challenge_invalid")
	})
}

// S-27, N23: a new password by recovery is not a second factor, and gives no way
// around it. What was added before the address was proven goes (V02).
func TestRecoveryLeavesTheSecondFactor(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		recoverBy := func(p *apptest.Person) {
			a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": p.Username}).Want(t, 202)
			letter := a.Letter(t, p.Email, outbox.Recover)
			a.Do(t, "POST", "/auth/recover/confirm", map[string]any{"token": letter.Token, "new_password": "another-Anchor-71-quartz"}).Want(t, 200)
			p.Password = "another-Anchor-71-quartz"
		}
		proven := arm(t, a, newUser(t, a, "masha", "", true))
		recoverBy(proven.Person)
		finish(t, a.Client, proven.challenge(t, a.Client), proven.code(t, a)).Want(t, 200)
		hijacked := arm(t, a, newUser(t, a, "nina", "", false))
		recoverBy(hijacked.Person)
		tryLogin(t, a.Client, "nina", hijacked.Password).Want(t, 200)
	})
}

// A device that its owner trusts is not asked for a second factor, for as long as
// the service allows, until the password or a factor changes; and what is dangerous
// asks for it there too.
func TestTrustedDeviceIsNotAsked(t *testing.T) {
	t.Parallel()
	o := apptest.Options{Policy: func(p *account.Policy) { p.TrustDevices = 30 * 24 * time.Hour }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := arm(t, a, newUser(t, a, "oleg", "", true))
		trust := func() *apptest.Client {
			got := a.Do(t, "POST", "/auth/login/second-factor", map[string]any{"challenge": p.challenge(t, a.Client), "code": p.code(t, a), "trust_device": true}).Want(t, 200)
			a.Clock.Move(30 * time.Second)
			return a.With("X-Device-Token", got.Header.Get("X-Device-Token"))
		}
		device := trust()
		got := tryLogin(t, device, "oleg", p.Password).Want(t, 200)
		p.challenge(t, a.Client) // another device
		c := a.As(got.Text("token"))
		if s := c.Do(t, "GET", "/auth/session", nil).Want(t, 200); s.Text("acr") != "aal1" {
			t.Errorf("%s", s.Body)
		}
		c.Do(t, "DELETE", "/auth/factors/totp", nil).Want(t, 403, "second_factor_proof_required")
		a.Clock.Move(29 * 24 * time.Hour)
		tryLogin(t, device, "oleg", p.Password).Want(t, 200)
		a.Clock.Move(24 * time.Hour)
		p.challenge(t, device)
		device = trust()
		must(t, a.Service.RemoveFactors(t.Context(), operator(), p.ID, account.RecoveryCodes))
		p.challenge(t, device)
	})
}

// Attack: somebody has the mark of a device that is trusted. Whoever ends the
// sessions ends that too, also where none is left to end; of all devices, for nobody
// knows which of them has lost its mark.
func TestNoDeviceIsTrustedOnceTheSessionsEnded(t *testing.T) {
	t.Parallel()
	o := apptest.Options{Policy: func(p *account.Policy) { p.TrustDevices = 30 * 24 * time.Hour }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := arm(t, a, a.NewPerson(t))
		own := ""
		login := func() *apptest.Answer {
			a.Clock.Move(30 * time.Second)
			return a.Do(t, "POST", "/auth/login/second-factor", object{"challenge": p.challenge(t, a.Client), "code": p.code(t, a), "trust_device": true}).Want(t, 200)
		}
		again := func(l *apptest.Answer) *apptest.Answer {
			return tryLogin(t, a.With(deviceHeader, l.Header.Get(deviceHeader)), p.Username, p.Password)
		}
		eachOther := func() {
			sessions, _ := a.As(own).Do(t, "GET", "/auth/sessions", nil).Want(t, 200).Data("sessions").([]any)
			for _, s := range sessions {
				if s := s.(object); s["current"] != true {
					a.As(own).Do(t, "DELETE", "/auth/sessions/"+s["id"].(string), nil).Want(t, 200)
				}
			}
		}
		others := func() { a.As(own).Do(t, "DELETE", "/auth/sessions", nil).Want(t, 200) }
		revoke := func() {
			_, err := a.Service.RevokeSessions(t.Context(), operator(), p.ID, "")
			must(t, err)
		}
		for what, end := range map[string]func(){
			"by the owner": others,
			"by the owner, who had ended them already": func() {
				eachOther()
				others()
			},
			"by an operator": revoke,
			"by an operator, where there were none": func() {
				eachOther()
				a.As(own).Do(t, "POST", "/auth/logout", nil).Want(t, 200)
				revoke()
			},
			"with the account for a while": func() {
				must(t, a.Service.DisableUser(t.Context(), operator(), p.ID))
				must(t, a.Service.EnableUser(t.Context(), operator(), p.ID))
			},
		} {
			stolen, mine := login(), login()
			own = mine.Text("token")
			a.Clock.Move(30 * time.Second)
			for _, l := range []*apptest.Answer{stolen, mine} {
				again(l).Want(t, 200)
			}
			end()
			for whose, l := range map[string]*apptest.Answer{"a stolen": stolen, "the own": mine} {
				if again(l).Status == 200 {
					t.Errorf("sessions ended %s: %s mark is still trusted", what, whose)
				}
			}
		}
		again(login()).Want(t, 200)
	})
}

func TestTrustIsNotGivenWhereItIsNotAllowed(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := arm(t, a, newUser(t, a, "pavel", "", true))
		got := a.Do(t, "POST", "/auth/login/second-factor", map[string]any{"challenge": p.challenge(t, a.Client), "code": p.code(t, a), "trust_device": true}).Want(t, 200)
		p.challenge(t, a.With("X-Device-Token", got.Header.Get("X-Device-Token")))
	})
}

// V41: an Admin removes the factors of users, having proven himself, and not those
// of another Admin.
func TestAdminRemovesLostFactorsOfUsersOnly(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		admin, other := newUser(t, a, "admin", account.RoleAdmin, true), arm(t, a, newUser(t, a, "other", account.RoleAdmin, true))
		user := arm(t, a, newUser(t, a, "user", "", true))
		admin.Login(t, a.Client)
		user.Do(t, "DELETE", "/admin/users/"+other.ID+"/factors", nil).Want(t, 404)
		user.Do(t, "GET", "/admin/users/"+other.ID+"/factors", nil).Want(t, 404)
		admin.Do(t, "DELETE", "/admin/users/"+other.ID+"/factors", nil).Want(t, 403, "not_over_admins")
		if f := admin.Do(t, "GET", "/admin/users/"+user.ID+"/factors", nil).Want(t, 200); f.Data("totp") == nil {
			t.Errorf("%s", f.Body)
		}
		admin.Do(t, "DELETE", "/admin/users/"+user.ID+"/factors", nil).Want(t, 200)
		admin.Do(t, "DELETE", "/admin/users/"+user.ID+"/factors", nil).Want(t, 404, "factor_not_found")
		a.Letter(t, user.Email, outbox.FactorRemoved)
		tryLogin(t, a.Client, "user", user.Password).Want(t, 200)
		a.Clock.Move(15*time.Minute + time.Second)
		admin.Do(t, "DELETE", "/admin/users/"+user.ID+"/factors", nil).Want(t, 403, "reauthentication_required")
	})
}

// Attack: the call of administrators must not be a second way to remove one's own
// factors, without what is asked there: the last way in stays, and so does the
// last factor of who must have one (V36).
func TestNobodyRemovesHisOwnFactorsByTheCallOfAdministrators(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		user, admin := arm(t, a, newUser(t, a, "user", "", true)), arm(t, a, newUser(t, a, "admin", account.RoleAdmin, true))
		user.again(t, a)
		user.Do(t, "DELETE", "/admin/users/"+user.ID+"/factors", nil).Want(t, 404, "user_not_found")
		admin.again(t, a)
		admin.Do(t, "DELETE", "/admin/users/"+admin.ID+"/factors", nil).Want(t, 403, "not_over_admins")
		user.challenge(t, a.Client)
		admin.challenge(t, a.Client)
	})
}

// S-16: what an Admin changes of others asks for his own proof, by his own second
// factor where he has one, whatever they have.
func TestAdminsChangesAskForHisOwnProof(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		plain, strong := newUser(t, a, "plain", account.RoleAdmin, true), arm(t, a, newUser(t, a, "strong", account.RoleAdmin, true))
		user, armedUser := newUser(t, a, "user", "", true), arm(t, a, newUser(t, a, "armed", "", true))
		set := func(c *apptest.Client, id, password string) *apptest.Answer {
			return c.Do(t, "PATCH", "/"+id, map[string]any{"password": password})
		}
		plain.Login(t, a.Client)
		set(plain.Client, armedUser.ID, "first-Anchor-71-quartz").Want(t, 200)
		set(strong.Client, user.ID, "second-Anchor-71-quartz").Want(t, 403, "second_factor_proof_required")
		strong.again(t, a)
		set(strong.Client, user.ID, "third-Anchor-71-quartz").Want(t, 200)
	})
}
