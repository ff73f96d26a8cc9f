package api_test

import (
	"slices"
	"strings"
	"testing"

	"propusk/internal/apptest"
)

// Every answer carries the headers that keep a browser from making something
// else of it, a success or not, and is kept by no cache; none tells what it was
// made with (S-44).
func TestEveryAnswerCarriesTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:"})
	p := a.NewPerson(t)
	seen := map[int]bool{}
	for _, r := range []struct {
		c            *apptest.Client
		method, path string
		body         any
	}{
		{a.Client, "POST", "/register", newcomer()},
		{a.Client, "POST", "/login", object{"email_or_name": p.Username, "password": p.Password}},
		{a.Client, "POST", "/login", object{"email_or_name": p.Username, "password": "wrong"}},
		{p.Client, "GET", "/" + p.ID, nil},
		{p.Client, "HEAD", "/" + p.ID, nil},
		{p.Client, "GET", "/auth/session", nil},
		{p.Client, "GET", "/auth/session", nil}, // from memory
		{p.Client, "GET", "/auth/sessions", nil},
		{p.Client, "PATCH", "/" + p.ID, object{}},
		{p.Client, "GET", "/" + seedID, nil},
		{p.With("If-Match", `"x"`), "PATCH", "/" + p.ID, object{}},
		{a.Client, "GET", "/" + p.ID, nil},
		{a.Client, "POST", "/register", "{"},
		{a.Client, "POST", "/register", object{}},
		{a.Client, "POST", "/register", object{"username": p.Username, "email": p.Email, "password": apptest.GoodPassword}},
		{a.Client, "POST", "/register", strings.Repeat(" ", 70000)},
		{a.With("Content-Type", "text/plain"), "POST", "/register", "x"},
		{a.With("Origin", "https://evil.example"), "POST", "/register", object{}},
		{a.Client, "GET", "//", nil},
		{a.Client, "FOO", "/nothing", nil},
		{a.Client, "OPTIONS", "/register", nil},
		{a.Client, "GET", "/healthz", nil},
		{a.Client, "GET", "/readyz", nil},
		{a.Client, "GET", "/openapi.json", nil},
		{a.Client, "GET", "/docs", nil},
		{a.Client, "GET", "/docs/nothing.js", nil},
	} {
		answer := r.c.Do(t, r.method, r.path, r.body)
		seen[answer.Status] = true
		what := r.method + " " + r.path
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cache-Control": "no-store",
		} {
			got := answer.Header.Values(name)
			page := r.path == "/docs" && (name == "Content-Security-Policy" || name == "Cache-Control")
			if len(got) != 1 || got[0] != want && !page {
				t.Errorf("%s: %s %q, want %q", what, name, got, want)
			}
		}
		if csp := answer.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s: Content-Security-Policy %q", what, csp)
		}
		if len(answer.Header.Get("X-Request-Id")) != 16 {
			t.Errorf("%s: X-Request-Id %q", what, answer.Header.Get("X-Request-Id"))
		}
		for name := range answer.Header {
			if strings.HasPrefix(name, "Access-Control-") || slices.Contains([]string{"Server", "X-Powered-By", "Strict-Transport-Security"}, name) ||
				name == "Set-Cookie" && (answer.Status != 200 || !strings.HasSuffix(r.path, "/login")) {
				t.Errorf("%s: %s: %s", what, name, answer.Header.Get(name))
			}
		}
	}
	for _, status := range []int{200, 201, 400, 401, 403, 404, 405, 409, 412, 413, 415, 422} {
		if !seen[status] {
			t.Errorf("no answer with status %d", status)
		}
	}
}

// Without a list of origins no page of another origin reads anything, whatever
// it says of itself, and there is no preflight (S-46, V75).
func TestNoOtherOriginReadsByDefault(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:"})
	p := a.NewPerson(t)
	for _, origin := range []string{"https://app.example", "null", "", "*", a.Base(), "http://localhost:8001", "file://"} {
		c := p.With("Origin", origin)
		for _, answer := range []*apptest.Answer{
			c.Do(t, "GET", "/"+p.ID, nil).Want(t, 200), c.Do(t, "GET", "/nothing", nil),
			c.With("Access-Control-Request-Method", "PUT").With("Access-Control-Request-Headers", "authorization").Do(t, "OPTIONS", "/"+p.ID, nil).Want(t, 405),
		} {
			for name := range answer.Header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("Origin %q: %s: %s", origin, name, answer.Header.Get(name))
				}
			}
		}
	}
}

// A listed origin may read, to the letter and nobody like it; never all of them,
// never with cookies (S-46, V75).
func TestOnlyListedOriginsMayRead(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:", CORSOrigins: []string{"https://app.example", "http://localhost:3000"}})
	p := a.NewPerson(t)
	for origin, listed := range map[string]bool{
		"https://app.example": true, "http://localhost:3000": true,
		"https://app.example.evil.example": false, "https://evil-app.example": false, "https://sub.app.example": false, "http://app.example": false,
		"https://app.example:443": false, "https://app.example:8443": false, "https://app.example/": false, "https://APP.example": false, "HTTPS://app.example": false,
		"https://app.example ": true, // the blank is no part of the header's value
		"null":                 false, "*": false, "http://localhost": false, "http://localhost:30000": false, "https://app.example, http://localhost:3000": false, "https://app\uff0eexample": false,
	} {
		want := ""
		if listed {
			want = strings.TrimSpace(origin)
		}
		c := p.With("Origin", origin)
		for _, answer := range []*apptest.Answer{
			c.Do(t, "GET", "/"+p.ID, nil).Want(t, 200), c.Do(t, "GET", "/auth/session", nil).Want(t, 200), c.Do(t, "GET", "/"+seedID, nil).Want(t, 404),
			c.With("Access-Control-Request-Method", "PUT").Do(t, "OPTIONS", "/"+p.ID, nil),
		} {
			if got := answer.Header.Values("Access-Control-Allow-Origin"); len(got) > 1 || strings.Join(got, "") != want {
				t.Errorf("Origin %q: Access-Control-Allow-Origin %q, want %q", origin, got, want)
			}
			wantHeader(t, answer, "Access-Control-Allow-Credentials", "")
			if !slices.Contains(answer.Header.Values("Vary"), "Origin") {
				t.Errorf("Origin %q: Vary %q", origin, answer.Header.Values("Vary"))
			}
			wantHeader(t, answer, "X-Content-Type-Options", "nosniff")
		}
		preflight := c.With("Access-Control-Request-Method", "DELETE").Do(t, "OPTIONS", "/"+p.ID, nil)
		if listed {
			preflight.Want(t, 204)
			wantHeader(t, preflight, "Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
			wantHeader(t, preflight, "Access-Control-Allow-Headers", "Authorization, Content-Type, Accept-Language, If-Match, Idempotency-Key, X-Device-Token")
			wantHeader(t, preflight, "Access-Control-Max-Age", "600")
			c.Do(t, "PATCH", "/"+p.ID, object{}).Want(t, 200)
		} else {
			preflight.Want(t, 405)
			wantHeader(t, preflight, "Access-Control-Allow-Methods", "")
			c.Do(t, "PATCH", "/"+p.ID, object{}).Want(t, 403, "cross_origin")
		}
	}
	answer := p.Do(t, "GET", "/"+p.ID, nil)
	wantHeader(t, answer, "Access-Control-Allow-Origin", "")
	if !slices.Contains(answer.Header.Values("Vary"), "Origin") {
		t.Error("without Origin there is no Vary: Origin")
	}
}

// A page of another origin makes no change: not with a token, not without; what
// is no browser is not held up (S-45, V76).
func TestPagesOfOtherOriginsChangeNothing(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{Idle: true, DatabaseURL: "sqlite::memory:"})
	p := a.NewPerson(t)
	before := take(t, a)
	ops := operations(t, a)
	for _, headers := range [][2]string{
		{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Origin", "http://127.0.0.1"}, {"Origin", "http://127.0.0.1.evil.example"},
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
	} {
		for _, op := range ops {
			if op.method == "GET" {
				continue
			}
			path := at(op.path, p.ID, p.ID)
			p.With(headers[0], headers[1]).Do(t, op.method, path, newcomer()).Want(t, 403, "cross_origin")
			a.With(headers[0], headers[1]).With("Content-Type", "text/plain").Do(t, op.method, path, newcomer()).Want(t, 403, "cross_origin")
		}
	}
	wantUnchanged(t, a, before, "a page of another origin")
	for _, headers := range [][2]string{{"Origin", a.Base()}, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"X-None", "x"}} {
		a.With(headers[0], headers[1]).Do(t, "POST", "/register", newcomer()).Want(t, 201)
	}
	p.With("Sec-Fetch-Site", "cross-site").Do(t, "GET", "/"+p.ID, nil).Want(t, 200) // reading is not changing
}
