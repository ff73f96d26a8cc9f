package account_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// secretOf is a secret that the service knows, and whose.
type secretOf struct {
	kind, value string
	name        string // of its holder, where a name has to come along
	session     string // a token of his, "" where he has none
}

const (
	chosen = "chosen" // a password that is to be: anything goes
	anyone = ""
)

// purposes says for every place that takes a secret which kinds it takes. A new
// place without a row fails the test.
var purposes = map[string][]string{
	"POST /auth/register password":            {chosen},
	"POST /register password":                 {chosen},
	"POST /auth/login password":               {"password"},
	"POST /login password":                    {"password"},
	"POST /auth/reauthenticate password":      {"password"},
	"POST /auth/password current_password":    {"password"},
	"POST /auth/password new_password":        {chosen},
	"PUT /{user_id} current_password":         {"password"},
	"PUT /{user_id} password":                 {chosen},
	"PATCH /{user_id} current_password":       {"password"},
	"PATCH /{user_id} password":               {chosen},
	"POST /auth/register/confirm token":       {"register link"},
	"POST /auth/register/confirm code":        {"register code"},
	"POST /auth/login/code token":             {"login link"},
	"POST /auth/login/code code":              {"login code", "login by SMS code"},
	"POST /auth/login/code login_request":     {"login request"},
	"POST /auth/recover/confirm token":        {"recover link", "recover_issued link"},
	"POST /auth/recover/confirm code":         {"recover code"},
	"POST /auth/recover/confirm new_password": {chosen},
	"POST /auth/verify/email token":           {"verify_email link", "change_email link"},
	"POST /auth/verify/email code":            {"verify_email code", "change_email code"},
	"POST /auth/verify/email/undo token":      {"undo_email_change link"},
	"POST /auth/verify/phone code":            {"verify_phone code"},
	// The challenge here is of one who has an app, confirmed, and no passkey: he
	// adds nothing by it, and nothing waits to be confirmed.
	"POST /auth/factors/totp/confirm code":                     nil,
	"POST /auth/login/second-factor challenge":                 {"challenge"},
	"POST /auth/login/second-factor code":                      {"app code", "recovery code"},
	"POST /auth/login/second-factor/enrol challenge":           nil,
	"POST /auth/login/second-factor/passkey-options challenge": nil,
	"POST /auth/reauthenticate code":                           {"app code", "recovery code"},
	"POST /oauth/introspect form":                              {"session"},
	"POST /oauth/revoke form":                                  {"session"},
}

type property struct {
	Format string `json:"format"`
}

// document is what this test reads of the OpenAPI document.
type document struct {
	Paths map[string]map[string]struct {
		Security    []map[string][]string `json:"security"`
		RequestBody struct {
			Content map[string]struct {
				Schema struct {
					Ref        string              `json:"$ref"`
					Properties map[string]property `json:"properties"`
				} `json:"schema"`
			} `json:"content"`
		} `json:"requestBody"`
	} `json:"paths"`
	Components struct {
		Schemas map[string]struct {
			Properties map[string]property `json:"properties"`
		} `json:"schemas"`
	} `json:"components"`
}

// placesOfSecrets reads from the document where a body takes a secret, and where
// a header does: "METHOD path field", and "METHOD path" with the kind of bearer.
func placesOfSecrets(t *testing.T, a *apptest.App) (fields []string, bearers map[string]string) {
	t.Helper()
	var doc document
	must(t, json.Unmarshal(a.Do(t, "GET", "/openapi.json", nil).Want(t, 200).Body, &doc))
	bearers = map[string]string{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			call := strings.ToUpper(method) + " " + path
			for _, way := range op.Security {
				if way["token"] != nil {
					bearers[call] = "session"
				} else if len(way) > 0 {
					bearers[call] = "service key"
				}
			}
			for kind, content := range op.RequestBody.Content {
				if kind == "application/x-www-form-urlencoded" {
					fields = append(fields, call+" form")
					continue
				}
				properties := content.Schema.Properties
				if _, name, ok := strings.Cut(content.Schema.Ref, "schemas/"); ok {
					properties = doc.Components.Schemas[name].Properties
				}
				for field, p := range properties {
					if place := call + " " + field; p.Format == "password" && !slices.Contains(fields, place) {
						fields = append(fields, place)
					}
				}
			}
		}
	}
	slices.Sort(fields)
	return fields, bearers
}

// everySecret makes one of every kind. answers are those that are sent, by kind,
// to be brought where they belong in the end.
func everySecret(t *testing.T, a *apptest.App) (secrets []secretOf, answers map[string]brought) {
	t.Helper()
	answers = map[string]brought{}
	for i, s := range sendables() {
		who := fmt.Sprintf("holder%d", i)
		b := s.ask(t, a, who)()
		name, session := b.name, b.token
		if name == "" {
			name = who
		}
		if session == "" { // nor does it help that he is logged in
			session = tryLogin(t, a.Client, who, apptest.GoodPassword).Text("token")
		}
		for kind, value := range map[string]string{s.name + " link": b.link, s.name + " code": b.code} {
			if value != "" {
				secrets = append(secrets, secretOf{kind, value, name, session})
				answers[kind] = b
			}
		}
		if browser, ok := b.common["login_request"].(string); ok {
			secrets = append(secrets, secretOf{"login request", browser, name, anyone})
		}
	}
	p := newUser(t, a, "margarita", account.RoleAdmin, true)
	login := tryLogin(t, a.Client, p.Username, p.Password).Want(t, 200)
	p.Token = login.Text("token")
	_, key, err := a.Service.AddKey(t.Context(), operator(), "purposes", []account.Scope{account.ScopeIntrospect}, 0)
	must(t, err)
	const once = "0F7hN3kQx2WvYbRzJ9mLsTgUcEaDiPoKnBvXtZqWyHg"
	a.With("Idempotency-Key", once).Do(t, "POST", "/auth/register", map[string]any{"username": "once", "email": "once@example.com", "password": "Kanarienvogel-41-once"}).Want(t, 202)
	x := arm(t, a, newUser(t, a, "galina", "", true))
	secrets = append(secrets,
		secretOf{"challenge", x.challenge(t, a.Client), x.Username, x.Token},
		secretOf{"app code", x.code(t, a), x.Username, x.Token},
		secretOf{"recovery code", x.codes[0], x.Username, x.Token},
		secretOf{"seed of an app", x.seed, x.Username, x.Token},
	)
	return append(secrets,
		secretOf{"session", p.Token, p.Username, p.Token},
		secretOf{"device mark", login.Header.Get(deviceHeader), p.Username, p.Token},
		secretOf{"service key", key.Reveal(), p.Username, p.Token},
		secretOf{"idempotency key", once, p.Username, p.Token},
		secretOf{"password", p.Password, p.Username, p.Token},
	), answers
}

// present sends a secret in one place, with what else belongs there.
func present(t *testing.T, a *apptest.App, place string, s secretOf, login brought, key, challenge string) *apptest.Answer {
	t.Helper()
	method, rest, _ := strings.Cut(place, " ")
	path, field, _ := strings.Cut(rest, " ")
	if field == "form" {
		return a.As(key).With("Content-Type", "application/x-www-form-urlencoded").Do(t, method, path, "token="+s.value)
	}
	c := a.Client
	body := map[string]any{field: s.value}
	switch {
	case field == "code" && path == "/auth/login/second-factor":
		body["challenge"] = challenge
	case field == "challenge" && path == "/auth/login/second-factor":
		body["code"] = "123456"
	case field == "code" && path != "/auth/verify/phone" && path != "/auth/reauthenticate" && path != "/auth/factors/totp/confirm", path == "/auth/login", path == "/login":
		body["email_or_name"] = s.name
	case field == "login_request":
		body["token"] = login.link
	case field == "token" && path == "/auth/login/code":
		maps.Copy(body, login.common)
	case field == "current_password" && path == "/{user_id}":
		body["password"], body["username"], body["email"] = nextPassword, "margarita", "margarita@example.com"
	case field == "current_password":
		body["new_password"] = nextPassword
	}
	if path == "/auth/recover/confirm" {
		body["new_password"] = nextPassword
	}
	if s.session != "" {
		c = c.As(s.session)
		path = strings.ReplaceAll(path, "{user_id}", a.As(s.session).Do(t, "GET", "/auth/session", nil).Want(t, 200).Text("user_id"))
	}
	if strings.Contains(path, "{user_id}") {
		path = "/" + nobodyID
	}
	return c.Do(t, method, path, body)
}

// S-08, S-09, V25: every secret that the service knows, in every place of every
// call that takes one, with all else as it ought to be: it is refused wherever it
// does not belong, nothing is used up by that, and it works where it does.
func TestSecretsAreGoodForTheirOnePurpose(t *testing.T) {
	t.Parallel()
	apptest.Each(t, verifyFirst(), func(t *testing.T, a *apptest.App) {
		fields, bearers := placesOfSecrets(t, a)
		if rows := slices.Sorted(maps.Keys(purposes)); !slices.Equal(rows, fields) {
			t.Fatalf("places that take a secret without a row: %v; rows without a place: %v", minus(fields, rows), minus(rows, fields))
		}
		secrets, answers := everySecret(t, a)
		key := secrets[len(secrets)-3].value
		d := direct(t, a.URL)
		login := answers["login link"]
		half := secrets[slices.IndexFunc(secrets, func(s secretOf) bool { return s.kind == "challenge" }):]
		challenge, codes := half[0].value, half[1:3]
		tried := 0
		for _, place := range fields {
			own := purposes[place]
			for _, s := range secrets {
				if slices.Contains(own, s.kind) || slices.Contains(own, chosen) {
					continue
				}
				tried++
				d.exec(t, `DELETE FROM throttle`) // so that each is looked at
				got := present(t, a, place, s, login, key, challenge)
				if form := strings.HasSuffix(place, " form"); form && strings.Contains(string(got.Body), `"active":true`) || !form && (got.Status < 400 || got.Status == 429 || got.Status >= 500) {
					t.Errorf("%s at %s: %d: %s", s.kind, place, got.Status, got.Body)
				}
			}
		}
		for call, kind := range bearers {
			method, path, _ := strings.Cut(call, " ")
			path = strings.NewReplacer("{user_id}", nobodyID, "{session_id}", nobodyID).Replace(path)
			for _, s := range secrets {
				if s.kind == kind {
					continue
				}
				tried++
				body := any(map[string]any{})
				c := a.As(s.value)
				if kind == "service key" {
					body, c = "token="+nobodyID, c.With("Content-Type", "application/x-www-form-urlencoded")
				}
				c.Do(t, method, path, body).Want(t, 401)
				if kind == "session" {
					a.With("Cookie", "propusk-session="+s.value).Do(t, method, path, body).Want(t, 401)
				}
			}
		}
		for _, s := range secrets {
			if s.kind != "login request" { // in its cookie
				a.With("Cookie", "propusk-login="+s.value).Do(t, "POST", "/auth/login/code", map[string]any{"token": login.link}).Want(t, 401)
			}
		}
		if tried < 600 {
			t.Errorf("only %d were tried", tried)
		}
		d.exec(t, `DELETE FROM throttle`)
		wantStatus(t, a, "session", secrets[len(secrets)-5].value, http.StatusOK)
		finish(t, a.Client, challenge, codes[0].value).Want(t, http.StatusOK)
		a.As(codes[1].session).Do(t, "POST", "/auth/reauthenticate", map[string]any{"code": codes[1].value}).Want(t, http.StatusOK)
		for kind, b := range answers {
			byLink := strings.HasSuffix(kind, " link")
			if !byLink && b.link != "" {
				continue // one and the same, which is used up by the link
			}
			if got := b.bring(t, a, byLink); got.Status >= 300 {
				t.Errorf("%s, where it belongs: %d: %s", kind, got.Status, got.Body)
			}
		}
	})
}
