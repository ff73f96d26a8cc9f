package account_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

// minting is every call whose answer holds a token of a session, by the document,
// so that none can be added without a row of the matrix below.
func minting(t testing.TB, a *apptest.App) (ids []string) {
	t.Helper()
	type schema struct {
		Ref        string            `json:"$ref"`
		Properties map[string]schema `json:"properties"`
	}
	var doc struct {
		Paths map[string]map[string]struct {
			ID        string `json:"operationId"`
			Responses map[string]struct {
				Content map[string]struct {
					Schema schema `json:"schema"`
				} `json:"content"`
			} `json:"responses"`
		} `json:"paths"`
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	must(t, json.Unmarshal(a.Do(t, "GET", "/openapi.json", nil).Want(t, 200).Body, &doc))
	for _, path := range doc.Paths {
		for _, op := range path {
			data := op.Responses["200"].Content["application/json"].Schema.Properties["data"]
			named := doc.Components.Schemas[strings.TrimPrefix(data.Ref, "#/components/schemas/")]
			if _, ok := named.Properties["token-expiry"]; ok && !strings.HasSuffix(op.ID, "Alias") {
				ids = append(ids, op.ID)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// P1, S-36, V36: whatever the way in and whatever the state of the user, nobody has
// a session without the factors that he must give.
func TestNoWayInForgetsTheSecondFactor(t *testing.T) {
	t.Parallel()
	type answer struct{ code, acr string }
	full, held, enrol := answer{acr: "aal1"}, answer{code: "second_factor_required"}, answer{code: "second_factor_enrolment_required"}
	two, refused := answer{acr: "aal2"}, answer{code: "refused"}
	recovered := func(t *testing.T, a *apptest.App, x *armed) *armed {
		a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": x.Username}).Want(t, 202)
		letter := a.Letter(t, x.Email, outbox.Recover)
		x.Password = "another-Anchor-71-quartz"
		a.Do(t, "POST", "/auth/recover/confirm", map[string]any{"token": letter.Token, "new_password": x.Password}).Want(t, 200)
		return x
	}
	withKey := func(t *testing.T, a *apptest.App, p *apptest.Person, flags byte) *armed {
		x := &armed{Person: p, key: apptest.NewAuthenticator(t, apptest.ES256)}
		x.key.Flags = flags
		p.Login(t, a.Client)
		p.AddPasskey(t, x.key).Want(t, 201)
		return x
	}
	const verifies = apptest.FlagUP | apptest.FlagUV
	states := map[string]struct {
		bring   func(t *testing.T, a *apptest.App, p *apptest.Person) *armed
		one     answer // to one factor that is right
		passkey answer // to a passkey alone, his or, where he has none, anybody's
	}{
		"no factor":                      {func(_ *testing.T, _ *apptest.App, p *apptest.Person) *armed { return &armed{Person: p} }, full, refused},
		"an app":                         {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed { return arm(t, a, p) }, held, refused},
		"a passkey":                      {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed { return withKey(t, a, p, verifies) }, held, two},
		"a passkey that verifies nobody": {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed { return withKey(t, a, p, apptest.FlagUP) }, held, refused},
		"a passkey and an app": {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed {
			x := arm(t, a, p)
			x.again(t, a)
			x.key = apptest.NewAuthenticator(t, apptest.ES256)
			x.AddPasskey(t, x.key).Want(t, 201)
			return x
		}, held, two},
		"a passkey begun and not added": {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed {
			p.Login(t, a.Client)
			k := apptest.NewAuthenticator(t, apptest.ES256)
			k.Create(t, beginAdding(t, p.Client)) // which is kept
			return &armed{Person: p, key: k}
		}, full, refused},
		"an app begun and not confirmed": {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed {
			p.Login(t, a.Client)
			p.Do(t, "POST", "/auth/factors/totp", nil).Want(t, 200)
			return &armed{Person: p}
		}, full, refused},
		"required and not there": {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed {
			must(t, a.Service.SetFactorRequired(t.Context(), operator(), p.ID, true))
			return &armed{Person: p}
		}, enrol, refused},
		"required, and a passkey is there": {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed {
			must(t, a.Service.SetFactorRequired(t.Context(), operator(), p.ID, false))
			x := withKey(t, a, p, verifies)
			must(t, a.Service.SetFactorRequired(t.Context(), operator(), p.ID, true))
			return x
		}, held, two},
		"required, and the passkey was removed": {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed {
			x := withKey(t, a, p, verifies)
			must(t, a.Service.SetFactorRequired(t.Context(), operator(), p.ID, true))
			must(t, a.Service.RemoveFactors(t.Context(), operator(), p.ID, account.Passkey))
			return x
		}, enrol, refused},
		"disabled": {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed {
			x := arm(t, a, p)
			must(t, a.Service.DisableUser(t.Context(), operator(), p.ID))
			return x
		}, refused, refused},
		"disabled, with a passkey": {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed {
			x := withKey(t, a, p, verifies)
			must(t, a.Service.DisableUser(t.Context(), operator(), p.ID))
			return x
		}, refused, refused},
		"recovered": {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed { return recovered(t, a, arm(t, a, p)) }, held, refused},
		"recovered, with a passkey": {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed {
			return recovered(t, a, withKey(t, a, p, verifies))
		}, held, two},
		"recovered, and required": {func(t *testing.T, a *apptest.App, p *apptest.Person) *armed {
			must(t, a.Service.SetFactorRequired(t.Context(), operator(), p.ID, true))
			return recovered(t, a, &armed{Person: p})
		}, enrol, refused},
	}
	send := func(t *testing.T, a *apptest.App, p *armed) (browser string, l apptest.Letter, sent bool) {
		t.Helper()
		got := a.Do(t, "POST", "/auth/login/code/send", map[string]any{"email_or_name": p.Username}).Want(t, 202)
		for _, l := range a.Letters(t, p.Email) {
			if l.Kind == outbox.LoginCode {
				return got.Text("login_request"), l, true
			}
		}
		return "", l, false
	}
	nobodys := strings.Repeat("A", 43)
	// Each way gives what comes of one factor that is right, or of one that would be.
	ways := map[string]map[string]func(t *testing.T, a *apptest.App, p *armed) *apptest.Answer{
		"login": {"password": func(t *testing.T, a *apptest.App, p *armed) *apptest.Answer {
			return tryLogin(t, a.Client, p.Username, p.Password)
		}},
		"loginWithCode": {
			"link": func(t *testing.T, a *apptest.App, p *armed) *apptest.Answer {
				browser, l, sent := send(t, a, p)
				if !sent {
					l.Token = nobodys
				}
				return a.Do(t, "POST", "/auth/login/code", map[string]any{"token": l.Token, "login_request": browser})
			},
			"code": func(t *testing.T, a *apptest.App, p *armed) *apptest.Answer {
				_, l, sent := send(t, a, p)
				if !sent {
					l.Code = "123456"
				}
				return a.Do(t, "POST", "/auth/login/code", map[string]any{"email_or_name": p.Username, "code": l.Code})
			},
		},
		"finishLogin": nil, "reauthenticate": nil, "changePassword": nil, // need a challenge, or a session: see below
		"loginWithPasskey": {"passkey": func(t *testing.T, a *apptest.App, p *armed) *apptest.Answer {
			k := p.key
			if k == nil {
				k = ownHandle(t, p.Person, apptest.NewAuthenticator(t, apptest.ES256))
			}
			return a.LoginWithPasskey(t, k)
		}},
	}
	apptest.Each(t, apptest.Options{Policy: func(p *account.Policy) { p.AttemptsPerNetwork, p.MessagesPerAddress = 1<<20, 1000 }}, func(t *testing.T, a *apptest.App) {
		if ids := minting(t, a); !slices.Equal(ids, slices.Sorted(maps.Keys(ways))) {
			t.Fatalf("the calls that give tokens are %v", ids)
		}
		n := 0
		for state, s := range states {
			for call, kinds := range ways {
				for kind, way := range kinds {
					n++
					p := s.bring(t, a, newUser(t, a, fmt.Sprintf("matrix%d", n), "", true))
					got := way(t, a, p)
					outcome := answer{code: got.Code()}
					if got.Status == 200 {
						outcome.acr = a.As(got.Text("token")).Do(t, "GET", "/auth/session", nil).Want(t, 200).Text("acr")
					} else if got.Text("token") != "" || got.Header.Get("Set-Cookie") != "" {
						t.Errorf("%s, %s by %s: %s", state, call, kind, got.Body)
					}
					if slices.Contains([]string{"invalid_credentials", "link_invalid", "wrong_code", "passkey_refused", "passkey_unverified"}, outcome.code) {
						outcome.code = "refused"
					}
					want := s.one
					if kind == "passkey" {
						want = s.passkey
					}
					if outcome != want {
						t.Errorf("%s, %s by %s: %+v, want %+v: %s", state, call, kind, outcome, want, got.Body)
					}
					if got.Code() != held.code {
						continue
					}
					second := map[string]any{"challenge": got.Text("challenge")}
					if p.key != nil {
						second["passkey"] = p.key.Get(t, factorOptions(t, a, got.Text("challenge")))
					} else {
						second["code"] = p.code(t, a)
					}
					done := a.Do(t, "POST", "/auth/login/second-factor", second)
					if acr := a.As(done.Text("token")).Do(t, "GET", "/auth/session", nil).Want(t, 200).Text("acr"); acr != two.acr {
						t.Errorf("%s, %s by %s, finished: %s", state, call, kind, acr)
					}
					a.Clock.Move(30 * time.Second)
				}
			}
		}
		for _, nothing := range []map[string]any{{"challenge": nobodys, "code": "123456"}, {"challenge": "", "code": "123456"}} {
			a.Do(t, "POST", "/auth/login/second-factor", nothing).Want(t, 401, "challenge_invalid")
		}
		for _, path := range []string{"/auth/reauthenticate", "/auth/password"} {
			a.Do(t, "POST", path, map[string]any{}).Want(t, 401)
		}
	})
}
