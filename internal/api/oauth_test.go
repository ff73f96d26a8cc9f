package api_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// addKey makes a key of a service, as an operator does.
func addKey(t testing.TB, a *apptest.App, name string) (account.ServiceKey, string) {
	t.Helper()
	k, key, err := a.Service.AddKey(t.Context(), account.Caller{Kind: account.Operator}, name, []account.Scope{account.ScopeIntrospect}, 0)
	if err != nil {
		t.Fatalf("add key: %v", err)
	}
	return k, key.Reveal()
}

const formType = "application/x-www-form-urlencoded"

// ask sends a form as a service does.
func ask(t testing.TB, c *apptest.Client, path, token string) *apptest.Answer {
	t.Helper()
	return c.With("Content-Type", formType).Do(t, "POST", path, url.Values{"token": {token}}.Encode())
}

// fields reads an answer that is in no envelope.
func fields(t testing.TB, got *apptest.Answer) (m object) {
	t.Helper()
	if err := json.Unmarshal(got.Body, &m); err != nil {
		t.Fatalf("%s: %v", got.Body, err)
	}
	return m
}

// A service asks about tokens as RFC 7662 says, and ends them as RFC 7009 does.
func TestServiceIntrospectsAndRevokes(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		k, key := addKey(t, a, "gateway")
		p := create(t, a, "Editor", true)
		now := a.Clock.Now()
		basic := func(id string) *apptest.Client {
			return a.With("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(id+":"+key)))
		}
		for way, c := range map[string]*apptest.Client{"bearer": a.As(key), "basic by id": basic(k.ID), "basic by name": basic("gateway")} {
			got := ask(t, c, "/oauth/introspect", p.Token).Want(t, 200)
			m := fields(t, got)
			for name, want := range map[string]any{
				"active": true, "token_type": "Bearer", "sub": p.ID, "user_role": "Editor", "iat": float64(now.Unix()),
				"exp": float64(now.Add(24 * time.Hour).Unix()), "auth_time": float64(now.Unix()),
			} {
				if m[name] != want {
					t.Errorf("%s: %s is %v, want %v", way, name, m[name], want)
				}
			}
			wantHeader(t, got, "Cache-Control", "no-store")
		}
		for what, token := range map[string]string{"unknown": seedID, "other case": strings.ToUpper(p.Token), "a key": key, "NUL": "\x00", "spaces": " "} {
			if got := ask(t, a.As(key), "/oauth/introspect", token).Want(t, 200); string(got.Body) != `{"active":false}` {
				t.Errorf("%s: %s", what, got.Body)
			}
			ask(t, a.As(key), "/oauth/revoke", token).Want(t, 200)
		}
		p.Do(t, "GET", "/auth/session", nil).Want(t, 200)
		ask(t, a.As(key), "/oauth/revoke", p.Token).Want(t, 200)
		p.Do(t, "GET", "/auth/session", nil).Want(t, 401, "token_invalid")
		if got := ask(t, a.As(key), "/oauth/introspect", p.Token).Want(t, 200); string(got.Body) != `{"active":false}` {
			t.Errorf("revoked: %s", got.Body)
		}
		ask(t, a.As(key), "/oauth/revoke", p.Token).Want(t, 200) // once more is no error
	})
}

// Nobody but a service with a good key learns anything of a token, or ends one;
// and a key is good for nothing else (S-10, V25).
func TestOnlyServicesAskAboutTokens(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{TrustedNetworks: loopback}, func(t *testing.T, a *apptest.App) {
		p := create(t, a, "Admin", true)
		k, key := addKey(t, a, "gateway")
		other, _ := addKey(t, a, "other")
		basic := func(id, key string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+key)) }
		for what, authorization := range map[string]string{
			"an Admin's token": "Bearer " + p.Token, "an unknown key": "Bearer propusk_key_" + strings.Repeat("A", 43), "a prefix of it": "Bearer " + key[:len(key)-1],
			"more than it": "Bearer " + key + "A", "without its prefix": "Bearer " + strings.TrimPrefix(key, "propusk_key_"), "other case": "Bearer " + strings.ToUpper(key),
			"its id": "Bearer " + k.ID, "empty": "", "Bearer": "Bearer ", "the id of another": basic(other.ID, key), "no id": basic("", key), "no key": basic(k.ID, ""),
			"the wrong way round": basic(key, k.ID), "not Basic": "Basic " + key, "another scheme": "Digest " + key,
		} {
			for _, path := range []string{"/oauth/introspect", "/oauth/revoke"} {
				got := ask(t, a.With("Authorization", authorization), path, p.Token).Want(t, 401)
				if m := fields(t, got); m["error"] != "invalid_client" || m["code"] != "key_invalid" {
					t.Errorf("%s: %s", what, got.Body)
				}
				if got.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s: no WWW-Authenticate", what)
				}
			}
		}
		ask(t, a.Client, "/oauth/introspect", p.Token).Want(t, 401)
		p.Do(t, "GET", "/auth/session", nil).Want(t, 200) // it lives
		for _, op := range operations(t, a) {
			if op.needsToken && !op.service {
				a.As(key).Do(t, op.method, at(op.path, p.ID, p.ID), object{}).Want(t, 401, "token_invalid")
			}
		}
	})
}

// A key ends with its time, and when it is revoked, at once; its user is told of
// nothing (S-14).
func TestServiceKeyEnds(t *testing.T) {
	t.Parallel()
	operator := account.Caller{Kind: account.Operator}
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		_, short, err := a.Service.AddKey(t.Context(), operator, "short", []account.Scope{account.ScopeIntrospect}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		k, key := addKey(t, a, "")
		if k.Name == "" {
			t.Error("a key without a name")
		}
		a.Clock.Move(time.Hour - time.Second)
		ask(t, a.As(short.Reveal()), "/oauth/introspect", p.Token).Want(t, 200)
		a.Clock.Move(time.Second)
		ask(t, a.As(short.Reveal()), "/oauth/introspect", p.Token).Want(t, 401)
		ask(t, a.As(key), "/oauth/introspect", p.Token).Want(t, 200)
		if _, err := a.Service.RevokeKey(t.Context(), operator, k.Name); err != nil {
			t.Fatal(err)
		}
		ask(t, a.As(key), "/oauth/introspect", p.Token).Want(t, 401)
		ask(t, a.As(key), "/oauth/revoke", p.Token).Want(t, 401)
		p.Do(t, "GET", "/auth/session", nil).Want(t, 200)
		if _, err := a.Service.RevokeKey(t.Context(), operator, k.ID); err == nil {
			t.Error("a key was revoked twice")
		}
		for _, caller := range []account.Caller{{}, {Kind: account.User, UserID: p.ID, Role: account.RoleAdmin}, {Kind: account.Network}} {
			if _, _, err := a.Service.AddKey(t.Context(), caller, "x", []account.Scope{account.ScopeIntrospect}, 0); err == nil {
				t.Errorf("%v made a key", caller.Kind)
			}
			if _, err := a.Service.Keys(t.Context(), caller); err == nil {
				t.Errorf("%v listed keys", caller.Kind)
			}
			if _, err := a.Service.RevokeKey(t.Context(), caller, "short"); err == nil {
				t.Errorf("%v revoked a key", caller.Kind)
			}
		}
	})
}

// What is no form, or not one token, is a clear error, and nothing of it is
// echoed (S-56).
func TestOAuthFormsAreRefusedClearly(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		_, key := addKey(t, a, "gateway")
		for _, path := range []string{"/oauth/introspect", "/oauth/revoke"} {
			for _, c := range []struct {
				contentType, body string
				status            int
			}{
				{formType, "", 400}, {formType, "token=", 400}, {formType, "token=" + p.Token + "&token=" + p.Token, 400}, {formType, "Token=" + p.Token, 400},
				{formType, "token=%zz" + p.Token, 400}, {formType, "token=" + p.Token + ";x=y", 400}, {formType, "token_type_hint=x&token_type_hint=y&token=" + p.Token, 400},
				{"application/json", `{"token":"` + p.Token + `"}`, 415}, {"text/plain", "token=" + p.Token, 415}, {"", "token=" + p.Token, 415},
				{formType, "token=" + strings.Repeat("x", 64<<10), 413},
			} {
				c := c
				client := a.As(key).With("Content-Type", c.contentType)
				got := client.Do(t, "POST", path+"?token="+p.Token, c.body)
				if got.Status != c.status {
					t.Errorf("%s %q %.40q: status %d, want %d: %s", path, c.contentType, c.body, got.Status, c.status, got.Body)
				}
				if m := fields(t, got); m["error"] != "invalid_request" || strings.Contains(string(got.Body), p.Token) {
					t.Errorf("%s %.40q: %s", path, c.body, got.Body)
				}
			}
		}
		// The standard lets strangers' parameters pass.
		got := a.As(key).With("Content-Type", formType+"; charset=UTF-8").Do(t, "POST", "/oauth/introspect", "resource=x&token_type_hint=access_token&token="+p.Token)
		if fields(t, got.Want(t, 200))["active"] != true {
			t.Errorf("%s", got.Body)
		}
		russian := a.With("Accept-Language", "ru").With("Content-Type", formType).Do(t, "POST", "/oauth/introspect", "token=x").Want(t, 401)
		if !strings.Contains(string(russian.Body), "ключ") {
			t.Errorf("%s", russian.Body)
		}
	})
}

// S-48, V82: what a gateway is told about a request.
func TestForwardTellsAGatewayWhoseRequestItIs(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := create(t, a, "Editor", true)
		id := p.Do(t, "GET", "/auth/session", nil).Want(t, 200).Text("session_id")
		claims := p.With("X-User-Id", seedID).With("X-User-Role", "Admin").With("X-Session-Id", seedID).With("X_User_Id", seedID)
		for _, c := range []*apptest.Client{p.Client, claims} {
			for _, target := range []string{"/auth/forward", "/auth/forward?role=Editor", "/auth/forward?role=Admin,Editor", "/auth/forward/any/path?role=Admin&x"} {
				for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
					got := c.Raw(t, method, target, nil).Want(t, http.StatusOK)
					if len(got.Body) > 0 {
						t.Errorf("%s %s: body %s", method, target, got.Body)
					}
					for name, want := range map[string]string{"X-User-Id": p.ID, "X-User-Role": "Editor", "X-Session-Id": id, "Vary": "Authorization, Cookie", "Cache-Control": "max-age=1, must-revalidate"} {
						if values := got.Header.Values(name); len(values) != 1 || values[0] != want {
							t.Errorf("%s %s: %s is %q, want %q", method, target, name, values, want)
						}
					}
				}
			}
		}
		for _, target := range []string{
			"?role=Admin", "?role=", "?role", "?role=editor", "?role=Editor&role=Admin", "?role=Admin&role=Editor", "?role=Editor;x", "?role=%zz", "?x=y", "?role=Admin%2CVerified", "?role=Admin/x,Editor", "?role=Editor,",
		} {
			got := claims.Do(t, "GET", "/auth/forward"+target, nil).Want(t, 403, "role_missing")
			wantHeader(t, got, "X-User-Id", "")
			wantHeader(t, got, "Cache-Control", "no-store")
		}
		for what, c := range map[string]*apptest.Client{"none": a.With("X-User-Id", p.ID), "unknown": a.As(seedID), "two": p.With("Authorization", "Bearer "+p.Token)} {
			for _, target := range []string{"/auth/forward", "/auth/forward?role=Editor", "/auth/forward/x"} {
				got := c.Raw(t, "GET", target, nil).Want(t, 401)
				wantHeader(t, got, "X-User-Id", "")
				wantHeader(t, got, "Cache-Control", "no-store")
				if got.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s: no WWW-Authenticate", what)
				}
			}
		}
		for _, unclean := range []string{"/auth//forward", "//auth/forward", "/auth/./forward", "/auth/forward/../forward", "/auth/forward/", "/auth/forward//x"} {
			p.Raw(t, "GET", unclean, nil).Want(t, 404, "not_found")
		}
		p.Do(t, "POST", "/auth/logout", nil).Want(t, 200)
		p.Do(t, "GET", "/auth/forward", nil).Want(t, 401, "token_invalid")
	})
}

// The hint for caches keeps the bound for revocations: a second in all.
func TestForwardIsCachedOnlyWhereARevocationIsEffectiveAtOnce(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		caching := func() string {
			return p.Do(t, "GET", "/auth/forward", nil).Want(t, 200).Header.Get("Cache-Control")
		}
		if got := caching(); got != "max-age=1, must-revalidate" {
			t.Errorf("alone: Cache-Control %q", got)
		}
		b := apptest.Start(t, apptest.Options{DatabaseURL: a.URL, Keys: a.Keys})
		// From the first moment on in which it can have revoked anything.
		b.As(a.NewPerson(t).Token).Do(t, "POST", "/auth/logout", nil).Want(t, 200)
		if got := caching(); got != "no-store" {
			t.Errorf("beside another node: Cache-Control %q", got)
		}
	})
}

// A page's preflight is for pages; to a gateway, 204 would be a yes.
func TestForwardAnswersNoPreflight(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:", CORSOrigins: []string{"https://app.example.com"}})
	for _, path := range []string{"/auth/forward", "/auth/forward/x"} {
		got := a.With("Origin", "https://app.example.com").With("Access-Control-Request-Method", "GET").Raw(t, "OPTIONS", path, nil)
		if got.Status != 401 && got.Status != 403 {
			t.Errorf("%s: status %d", path, got.Status)
		}
	}
}

// The short way of the gateway's question gives what the long way gives.
func TestShortWayOfForwardGivesTheSameAnswer(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		quick := p.Do(t, "GET", "/auth/forward", nil).Want(t, 200)
		long := p.Do(t, "GET", "/auth/forward?role=Not_Verifyed", nil).Want(t, 200)
		for name := range long.Header {
			if name != "Date" && name != "X-Request-Id" && strings.Join(quick.Header[name], "|") != strings.Join(long.Header[name], "|") {
				t.Errorf("%s: short way %q, long way %q", name, quick.Header[name], long.Header[name])
			}
		}
		if len(quick.Header) != len(long.Header) {
			t.Errorf("headers: short way %v, long way %v", quick.Header, long.Header)
		}
	})
}
