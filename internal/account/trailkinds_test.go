package account_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// The kinds of entries that [TestEveryChangeHasItsEntryAndNothingElseHas] needs
// more than a password for.

func trailOptions() apptest.Options {
	o := attempts(20)
	policy := o.Policy
	o.Policy = func(p *account.Policy) {
		policy(p)
		p.MessagesPerAddress = 1 << 20
	}
	return o
}

// onlyRead are the actions that are decided on and change nothing.
var onlyRead = []string{"factor.listed", "key.listed", "message.listed", "session.listed", "token.introspected", "user.listed", "user.read"}

// wantEveryKind compares the kinds of entries that there are with those that the
// package has a name for.
func (s *trailScript) wantEveryKind(t *testing.T) {
	source, err := os.ReadFile("account.go")
	must(t, err)
	var known, seen []string
	for _, m := range regexp.MustCompile(`(?m)^\t\w+ +Action = "([a-z_.]+)"`).FindAllSubmatch(source, -1) {
		if kind := string(m[1]); !slices.Contains(onlyRead, kind) {
			known = append(known, kind)
		}
	}
	for _, e := range trail(t, s.a) {
		seen = append(seen, string(e.Action))
	}
	if never := minus(known, seen); len(never) > 0 || len(known) < 40 {
		t.Errorf("of %d kinds of entries there are none of %v", len(known), never)
	}
	if odd := minus(seen, known); len(odd) > 0 {
		t.Errorf("entries of kinds without a name: %v", odd)
	}
}

// keep remembers the secrets in an answer.
func (s *trailScript) keep(got *apptest.Answer) *apptest.Answer {
	if got != nil {
		for _, name := range []string{"token", "challenge", "secret", "login_request"} {
			s.secrets = append(s.secrets, got.Text(name))
		}
		for _, code := range listIn(got, "recovery_codes") {
			s.secrets = append(s.secrets, fmt.Sprint(code))
		}
		s.secrets = append(s.secrets, got.Header.Get("X-Device-Token"))
	}
	return got
}

func listIn(got *apptest.Answer, name string) []any {
	list, _ := got.Data(name).([]any)
	return list
}

// letter gives the newest of a kind, and remembers what is secret in it.
func (s *trailScript) letter(t *testing.T, to string, kind outbox.Kind) apptest.Letter {
	l := s.a.Letter(t, to, kind)
	s.secrets = append(s.secrets, l.Token)
	return l
}

// wantNoSecret looks for them in all entries. The codes of six digits are not
// among them: digits stand in ids too, and [trailScript.expect] compares the rest
// of an entry word for word.
func (s *trailScript) wantNoSecret(t *testing.T) {
	secrets := append(s.secrets, apptest.GoodPassword, nextPassword, wrongPassword)
	slices.Sort(secrets)
	secrets = slices.DeleteFunc(slices.Compact(secrets), func(s string) bool { return s == "" })
	if len(secrets) < 60 {
		t.Errorf("only %d secrets", len(secrets))
	}
	for _, e := range trail(t, s.a) {
		text := fmt.Sprintf("%+v", e)
		for _, word := range secrets {
			if strings.Contains(text, word) {
				t.Errorf("an entry holds %q: %s", word, text)
			}
		}
	}
}

func (s *trailScript) runKinds(t *testing.T) {
	c := s.a.With("User-Agent", "trail/1")
	call := func(c *apptest.Client, status int, method, path string, body any) func() *apptest.Answer {
		return func() *apptest.Answer { return c.Do(t, method, path, body).Want(t, status) }
	}
	clara, dora := newUser(t, s.a, "clara", "", false), newUser(t, s.a, "dora", "", true)
	s.names[clara.ID], s.names[dora.ID] = "clara", "dora"
	s.contacts(t, c, clara, call)
	s.recoveries(t, c, clara, call)
	s.apps(t, c, dora, call)
	s.passkeys(t, c, dora, call)
	s.byAdministrators(t, c, dora, call)
	s.services(t, c, clara, call)
	s.byOperators(t, c, clara)
}

// ask has a stranger ask for a message to somebody, and serves him.
func (s *trailScript) ask(t *testing.T, c *apptest.Client, path, name string) func() *apptest.Answer {
	return func() *apptest.Answer {
		got := c.Do(t, "POST", path, object{"email_or_name": name}).Want(t, 202)
		s.a.Deliver(t)
		return got
	}
}

// contacts: addresses and numbers that are proven, changed, and changed back.
func (s *trailScript) contacts(t *testing.T, c *apptest.Client, p *apptest.Person, call caller) {
	for _, path := range []string{"/auth/verify/email/send", "/auth/recover", "/auth/login/code/send"} {
		s.expect(t, path+" of nobody", s.ask(t, c, path, "nobody"))
	}
	s.expect(t, "verification by a stranger", s.ask(t, c, "/auth/verify/email/send", "clara"), "verification.requested success anonymous: → clara")
	l := s.letter(t, p.Email, outbox.VerifyEmail)
	verify := func(body object) func() *apptest.Answer {
		status := 401
		if body["token"] == l.Token {
			status = 200
		}
		return call(c, status, "POST", "/auth/verify/email", body)
	}
	s.expect(t, "wrong code", verify(object{"email_or_name": "clara", "code": wrongCode(l.Code)}), "code.failed failure anonymous: → clara purpose=verify_email")
	s.expect(t, "code of nobody", verify(object{"email_or_name": "nobody", "code": l.Code}), "code.failed failure anonymous: →  purpose=verify_email")
	s.expect(t, "wrong link", verify(object{"token": strings.Repeat("A", 43)}))
	s.expect(t, "proven address", verify(object{"token": l.Token}), "email.verified success anonymous:clara → clara")
	s.expect(t, "verification of what is proven", s.ask(t, c, "/auth/verify/email/send", "clara"))

	p.Login(t, c)
	number := newPhone()
	s.expect(t, "number", call(p.Client, 200, "PATCH", "/"+p.ID, object{"contact_number": number}), "user.patched success user:clara → clara fields=contact_number")
	s.expect(t, "code for the number", call(p.Client, 202, "POST", "/auth/verify/phone/send", nil), "verification.requested success user:clara → clara contact=phone")
	s.expect(t, "proven number", call(p.Client, 200, "POST", "/auth/verify/phone", object{"code": s.letter(t, number, outbox.VerifyPhone).Code}), "phone.verified success user:clara → clara")

	p.Login(t, c)
	s.expect(t, "new address", call(p.Client, 200, "PATCH", "/"+p.ID, object{"email": "new@clara.example"}), "user.patched success user:clara → clara email_change=pending,fields=")
	l = s.letter(t, "new@clara.example", outbox.EmailChangeConfirm)
	s.expect(t, "proven new address", verify(object{"token": l.Token}), "email.changed success anonymous:clara → clara")
	s.expect(t, "undone", call(c, 200, "POST", "/auth/verify/email/undo", object{"token": s.letter(t, p.Email, outbox.EmailChanged).Token}), "email.change_undone success anonymous:clara → clara")
}

// recoveries: ways in without a password.
func (s *trailScript) recoveries(t *testing.T, c *apptest.Client, p *apptest.Person, call caller) {
	s.expect(t, "recovery", s.ask(t, c, "/auth/recover", "clara"), "recovery.requested success anonymous: → clara")
	l := s.letter(t, p.Email, outbox.Recover)
	body := object{"email_or_name": "clara", "code": wrongCode(l.Code), "new_password": nextPassword}
	s.expect(t, "wrong code of a recovery", call(c, 401, "POST", "/auth/recover/confirm", body), "code.failed failure anonymous: → clara purpose=recover")
	body["code"] = l.Code
	s.expect(t, "recovered", call(c, 200, "POST", "/auth/recover/confirm", body), "recovery.completed success anonymous:clara → clara by=recover")
	s.expect(t, "code to log in", s.ask(t, c, "/auth/login/code/send", "clara"), "login_code.requested success anonymous: → clara")
	l = s.letter(t, p.Email, outbox.LoginCode)
	s.expect(t, "wrong code to log in", call(c, 401, "POST", "/auth/login/code", object{"email_or_name": "clara", "code": wrongCode(l.Code)}), "code.failed failure anonymous: → clara purpose=login")
	s.expect(t, "login by code", call(c, 200, "POST", "/auth/login/code", object{"email_or_name": "clara", "code": l.Code}), "user.logged_in success anonymous:clara → clara by=otp,session_id=ID")
	var issued secret.Text
	s.expect(t, "issued recovery", func() *apptest.Answer {
		var err error
		issued, _, _, err = s.a.Service.IssueRecovery(t.Context(), operator(), p.ID)
		must(t, err)
		return nil
	}, "recovery.issued success operator: → clara")
	s.secrets = append(s.secrets, issued.Reveal())
	s.expect(t, "recovered by what was issued", call(c, 200, "POST", "/auth/recover/confirm", object{"token": issued.Reveal(), "new_password": p.Password}),
		"recovery.completed success anonymous:clara → clara by=recover_issued")
}

// apps: an authenticator app and its recovery codes.
func (s *trailScript) apps(t *testing.T, c *apptest.Client, p *apptest.Person, call caller) {
	p.Login(t, c)
	x := &armed{Person: p}
	s.expect(t, "app begun", func() *apptest.Answer {
		got := p.Do(t, "POST", "/auth/factors/totp", nil).Want(t, 200)
		x.seed = got.Text("secret")
		return got
	}, "factor.begun success user:dora → dora factor=totp")
	s.expect(t, "app not confirmed", call(p.Client, 403, "POST", "/auth/factors/totp/confirm", object{"code": x.wrongCode(t, s.a)}), "factor.failed failure user:dora → dora")
	s.expect(t, "app", func() *apptest.Answer {
		got := p.Do(t, "POST", "/auth/factors/totp/confirm", object{"code": x.code(t, s.a)}).Want(t, 200)
		for _, code := range listIn(got, "recovery_codes") {
			x.codes = append(x.codes, fmt.Sprint(code))
		}
		return got
	}, "factor.added success user:dora → dora factor=totp")
	s.a.Clock.Move(30 * time.Second)

	var challenge string
	held := func() *apptest.Answer {
		got := tryLogin(t, c, "dora", p.Password).Want(t, 401, "second_factor_required")
		challenge = got.Text("challenge")
		return got
	}
	second := func(code string) func() *apptest.Answer {
		return func() *apptest.Answer {
			got := finish(t, c, challenge, code)
			if token := got.Text("token"); token != "" {
				p.Token, p.Client = token, c.As(token)
			}
			return got
		}
	}
	const half = "user.login_held failure anonymous:dora → dora code=second_factor_required"
	s.expect(t, "half a login", held, half)
	s.expect(t, "wrong second factor", second(x.wrongCode(t, s.a)), "factor.failed failure anonymous: → dora")
	s.expect(t, "spent recovery code", second("aaaa-aaaa-aaaa-aaaa"), "factor.failed failure anonymous: → dora")
	s.expect(t, "recovery code", second(x.codes[0]),
		"recovery_code.used success anonymous:dora → dora left=9", "user.logged_in success anonymous:dora → dora by=pwd otp mfa,session_id=ID")
	s.expect(t, "proof by a recovery code", func() *apptest.Answer {
		got := p.Do(t, "POST", "/auth/reauthenticate", object{"code": x.codes[1]}).Want(t, 200)
		p.Client = c.As(got.Text("token"))
		return got
	}, "recovery_code.used success user:dora → dora left=8", "session.renewed success user:dora → dora by=otp,session_id=ID")
	s.expect(t, "wrong proof by a code", call(p.Client, 403, "POST", "/auth/reauthenticate", object{"code": x.wrongCode(t, s.a)}), "factor.failed failure user:dora → dora")
	s.expect(t, "new recovery codes", call(p.Client, 200, "POST", "/auth/factors/recovery-codes", nil), "factor.added success user:dora → dora factor=recovery_codes")
	s.expect(t, "list of factors", call(p.Client, 200, "GET", "/auth/factors", nil))
}

func (s *trailScript) passkeys(t *testing.T, c *apptest.Client, p *apptest.Person, call caller) {
	k := apptest.NewAuthenticator(t, apptest.ES256)
	k.Counter = 10
	var options *apptest.Answer
	s.expect(t, "passkey begun", func() *apptest.Answer {
		options = beginAdding(t, p.Client)
		return options
	}, "factor.begun success user:dora → dora factor=passkey")
	id := ""
	s.expect(t, "passkey", func() *apptest.Answer {
		got := p.Do(t, "POST", "/auth/passkeys", object{"passkey": k.Create(t, options)}).Want(t, 201)
		id, _ = got.Data("passkey").(object)["id"].(string)
		return got
	}, "factor.added success user:dora → dora factor=passkey")
	s.expect(t, "name of a passkey", call(p.Client, 200, "PATCH", "/auth/passkeys/"+id, object{"name": "blue"}), "factor.renamed success user:dora → dora factor=passkey,passkey_id=ID")
	s.expect(t, "login by passkey", func() *apptest.Answer {
		got := c.LoginWithPasskey(t, k).Want(t, 200)
		p.Client = c.As(got.Text("token"))
		return got
	}, "user.logged_in success anonymous:dora → dora by=pop user mfa,session_id=ID")
	copied := func() *apptest.Answer {
		k.Still = true
		defer func() { k.Still = false }()
		return c.LoginWithPasskey(t, k).Want(t, 401)
	}
	s.expect(t, "copied passkey", copied, "passkey.copied failure anonymous:dora → dora passkey_id=ID",
		"factor.failed failure anonymous: → dora factor=passkey,passkey_id=ID,reason=its counter has gone back")
	s.expect(t, "removed passkey", call(p.Client, 200, "DELETE", "/auth/passkeys/"+id, nil), "factor.removed success user:dora → dora factor=passkey")
	s.expect(t, "passkey that is nobody's", func() *apptest.Answer { return c.LoginWithPasskey(t, k).Want(t, 401) })
}

func (s *trailScript) byAdministrators(t *testing.T, c *apptest.Client, p *apptest.Person, call caller) {
	admin := newUser(t, s.a, "emma", account.RoleAdmin, true)
	s.names[admin.ID] = "emma"
	admin.Login(t, c)
	path := "/admin/users/" + p.ID
	s.expect(t, "factors, read by an administrator", call(admin.Client, 200, "GET", path+"/factors", nil))
	s.expect(t, "factors, removed by somebody", call(p.Client, 404, "DELETE", "/admin/users/"+admin.ID+"/factors", nil))
	s.expect(t, "factors, removed by an administrator", call(admin.Client, 200, "DELETE", path+"/factors", nil), "factor.cleared success user:emma → dora factor=totp")
	s.expect(t, "factors, removed again", call(admin.Client, 404, "DELETE", path+"/factors", nil))
	s.expect(t, "recovery by an administrator", call(admin.Client, 201, "POST", path+"/recovery", nil), "recovery.issued success user:emma → dora")

	require := func() *apptest.Answer {
		must(t, s.a.Service.SetFactorRequired(t.Context(), operator(), p.ID, true))
		return nil
	}
	s.expect(t, "required factor", require, "factor.required success operator: → dora required=yes")
	s.expect(t, "required again", require)
	var challenge string
	s.expect(t, "login without what is required", func() *apptest.Answer {
		got := tryLogin(t, c, "dora", p.Password).Want(t, 401)
		challenge = got.Text("challenge")
		return got
	}, "user.login_held failure anonymous:dora → dora code=second_factor_enrolment_required")
	x := &armed{Person: p}
	const enrol = "/auth/login/second-factor/enrol"
	s.expect(t, "seed at no login", call(c, 401, "POST", enrol, object{"challenge": strings.Repeat("A", 43)}))
	s.expect(t, "passkey at a login", func() *apptest.Answer {
		return c.Do(t, "POST", enrol, object{"challenge": challenge, "factor": "passkey"}).Want(t, 200)
	}, "factor.begun success anonymous:dora → dora factor=passkey")
	s.expect(t, "seed at a login", func() *apptest.Answer { // a token that came along is no word about who it is
		got := admin.Do(t, "POST", enrol, object{"challenge": challenge}).Want(t, 200)
		x.seed = got.Text("secret")
		return got
	}, "factor.begun success anonymous:dora → dora factor=totp")
	s.expect(t, "factor that is added at a login", func() *apptest.Answer { return finish(t, c, challenge, x.code(t, s.a)).Want(t, 200) },
		"factor.added success anonymous:dora → dora factor=totp", "user.logged_in success anonymous:dora → dora by=pwd otp mfa,session_id=ID")
	s.expect(t, "seed at a login that is over", call(c, 401, "POST", enrol, object{"challenge": challenge}))
}

func (s *trailScript) services(t *testing.T, c *apptest.Client, p *apptest.Person, call caller) {
	p.Login(t, c)
	var key account.ServiceKey
	var text secret.Text
	s.expect(t, "key", func() *apptest.Answer {
		var err error
		key, text, err = s.a.Service.AddKey(t.Context(), operator(), "trail", []account.Scope{account.ScopeIntrospect}, 0)
		must(t, err)
		return nil
	}, "key.added success operator: →  key_id=ID,scopes=introspect")
	s.names[key.ID] = "key"
	s.secrets = append(s.secrets, text.Reveal(), p.Token)
	form := c.As(text.Reveal()).With("Content-Type", "application/x-www-form-urlencoded")
	s.expect(t, "question about a token", call(form, 200, "POST", "/oauth/introspect", "token="+p.Token))
	s.expect(t, "end of a token", call(form, 200, "POST", "/oauth/revoke", "token="+p.Token), "token.revoked success service:key → clara session_id=ID")
	s.expect(t, "end of what has ended", call(form, 200, "POST", "/oauth/revoke", "token="+p.Token))
	s.expect(t, "end of a key", func() *apptest.Answer {
		_, err := s.a.Service.RevokeKey(t.Context(), operator(), key.ID)
		must(t, err)
		return nil
	}, "key.revoked success operator: →  key_id=ID")
}

func (s *trailScript) byOperators(t *testing.T, c *apptest.Client, p *apptest.Person) {
	ctx, service := t.Context(), s.a.Service
	rule := func(f func() error) func() *apptest.Answer {
		return func() *apptest.Answer { must(t, f()); return nil }
	}
	s.expect(t, "unlocking", rule(func() error { return service.UnlockUser(ctx, operator(), p.ID) }), "user.unlocked success operator: → clara")
	s.expect(t, "limits", rule(func() error { return service.ResetLimits(ctx, operator()) }), "limits.reset success operator: →")

	s.a.Deliver(t)
	c.Do(t, "POST", "/auth/recover", object{"email_or_name": "clara"}).Want(t, 202)
	must(t, service.ServeRequests(ctx)) // which waits then
	rows, err := service.Messages(ctx, operator(), outbox.Filter{Limit: 9})
	must(t, err)
	if len(rows) != 1 {
		t.Fatalf("%d messages wait", len(rows))
	}
	id := rows[0].ID
	const about = " success operator: → clara kind=recover,message_id=ID"
	s.expect(t, "message, read", rule(func() error { _, err := service.Message(ctx, operator(), id); return err }))
	s.expect(t, "message, revealed", rule(func() error {
		_, m, opened, err := service.RevealMessage(ctx, operator(), id)
		if !opened {
			t.Error("not opened")
		}
		s.secrets = append(s.secrets, m.Data["link"])
		return err
	}), "message.revealed"+about)
	s.expect(t, "message, tried again", rule(func() error { _, err := service.RetryMessage(ctx, operator(), id); return err }), "message.retried"+about)
	s.expect(t, "message, dropped", rule(func() error { _, err := service.DropMessage(ctx, operator(), id); return err }), "message.dropped"+about)
	s.expect(t, "message, dropped again", func() *apptest.Answer {
		if _, err := service.DropMessage(ctx, operator(), id); err == nil {
			t.Error("it was dropped twice")
		}
		return nil
	})

	costlier := anotherNode(t, s.a, apptest.Options{Argon2: secret.Argon2{Memory: 16, Passes: 2, Threads: 1}})
	costlier.Clock.Move(s.a.Clock.Now().Add(time.Second).Sub(costlier.Clock.Now()))
	s.expect(t, "hash made anew", func() *apptest.Answer {
		return tryLogin(t, costlier.With("User-Agent", "trail/1"), "clara", p.Password).Want(t, 200)
	}, "password.rehashed success user:clara → clara", "user.logged_in success anonymous:clara → clara by=pwd,session_id=ID")
}
