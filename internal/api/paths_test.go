package api_test

import (
	"slices"
	"strings"
	"testing"

	"propusk/internal/apptest"
)

// A path has one spelling. Others are not redirected to it nor taken for it:
// a gateway in front may have decided on what it took them for (V83, S-48).
func TestUncleanPathsLeadNowhere(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{Idle: true, DatabaseURL: "sqlite::memory:"})
	p := a.NewPerson(t)
	p.Do(t, "GET", "/auth/session", nil).Want(t, 200) // in memory
	before := take(t, a)
	user := "/" + p.ID
	for _, target := range []string{
		"/", "//", "/./", "/../", "/..", "/.", "//" + p.ID, "///" + p.ID, user + "/", user + "//", user + "/.", user + "/..", "/." + user, "/.." + user, "/x/.." + user,
		"/%2e" + user, "/%2E%2e" + user, "/%2f" + p.ID, "/%2F" + p.ID, "/%5c" + p.ID, "/\\" + p.ID, user + "%2f", user + "%2f.", user + "%00", user + "%20", "/%20" + p.ID,
		user + ";x=y", user + ".", user + ".json", user + "#x", user + "%3f", user + "*", "/" + strings.ToUpper(p.ID), "/{" + p.ID + "}", "/%7b" + p.ID + "%7d",
		"/" + strings.ReplaceAll(p.ID, "-", ""), "/urn:uuid:" + p.ID, user + user, "/user" + user, user + "/password",
		"/auth//session", "//auth/session", "/auth/./session", "/auth/x/../session", "/auth/session/", "/auth/session/.", "/auth/%2e/session", "/auth/%2e%2e/auth/session",
		"/auth/session%00", "/auth/session%2f", "/auth%2fsession", "/auth%2Fsession", "/AUTH/session", "/auth/Session", "/auth/session.", "/auth/session;x", "/auth\\session", "/auth%5csession",
		"/auth/session%20", "/auth", "/auth/", "/admin", "/admin/users", "/favicon.ico", "/robots.txt", "/.git/config", "/.env", "/metrics", "/debug/pprof/", "/docs/", "/docs/..%2fopenapi.json", "/openapi.json/",
		"/%", "/%zz", "/%c0%af", "/\xff", "/\u00e9", "*", "/a b",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE", "POST"} {
			answer := send(t, a, request(method, target, `{"username":"unclean7","email":"unclean@example.org"}`, "Authorization: Bearer "+p.Token, "Content-Type: application/json"))
			malformed := answer.Status == 400 && answer.Code() == "" // net/http itself: it is no request at all
			if !malformed && (answer.Status != 404 || answer.Code() != "not_found") || answer.Header.Get("Location") != "" {
				t.Errorf("%s %q: %d %s", method, target, answer.Status, answer.Body)
			}
		}
	}
	wantUnchanged(t, a, before, "an unclean path")
	for _, target := range []string{user, user + "?", user + "?x=../..", "http://elsewhere.example" + user, "/%" + hexOf(p.ID[0]) + p.ID[1:]} {
		send(t, a, request("GET", target, "", "Authorization: Bearer "+p.Token)).Want(t, 200)
	}
}

func hexOf(b byte) string { const h = "0123456789abcdef"; return string([]byte{h[b>>4], h[b&15]}) }

// Every path answers every method that it does not take with 405 and the list of
// those that it takes, in the envelope; where nothing is, it is 404 for every
// method. HEAD is GET without a body.
func TestUnknownMethodsAndPaths(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{Idle: true, DatabaseURL: "sqlite::memory:"})
	p := a.NewPerson(t)
	takes := map[string][]string{"/docs": {"GET", "HEAD"}}
	for _, op := range operations(t, a) {
		if op.path == "/auth/forward" { // a gateway asks with the method of its client
			continue
		}
		takes[op.path] = append(takes[op.path], op.method)
		if op.method == "GET" {
			takes[op.path] = append(takes[op.path], "HEAD")
		}
	}
	before := take(t, a)
	for path, methods := range takes {
		slices.Sort(methods)
		for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "FOO", "get", "Post", "QUERY", "M-SEARCH"} {
			if slices.Contains(methods, m) {
				continue
			}
			for _, c := range []*apptest.Client{a.Client, p.Client, p.With("X-HTTP-Method-Override", methods[0]).With("X-Http-Method", methods[0]).With("X-Method-Override", methods[0])} {
				answer := c.Do(t, m, at(path, p.ID, p.ID)+"?_method="+methods[0], nil).Want(t, 405)
				wantHeader(t, answer, "Allow", strings.Join(methods, ", "))
				if m != "HEAD" && answer.Code() != "method_not_allowed" {
					t.Errorf("%s %s: %s", m, path, answer.Body)
				}
			}
		}
	}
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"} {
		for _, path := range []string{"/nothing", "/no/thing/at/all", "/" + strings.ToUpper(p.ID), "/auth/nothing", "/docs/nothing.js"} {
			answer := p.Do(t, m, path, nil)
			if known := strings.HasPrefix(path, "/docs/") && m != "GET" && m != "HEAD"; known {
				answer.Want(t, 405)
				continue
			}
			answer.Want(t, 404)
			wantHeader(t, answer, "Allow", "")
		}
	}
	for _, method := range []string{"OPTIONS", "CONNECT", "TRACE", "FOO"} {
		send(t, a, method+" /register HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").Want(t, 405, "method_not_allowed")
	}
	send(t, a, "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\nConnection: close\r\n\r\n").Want(t, 404, "not_found")
	wantUnchanged(t, a, before, "a method that is not taken")
}

// HEAD gives what GET gives, save for the body.
func TestHeadIsGetWithoutItsBody(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:"})
	p := a.NewPerson(t)
	for _, path := range []string{"/" + p.ID, "/auth/session", "/auth/sessions", "/healthz", "/readyz", "/openapi.json", "/docs", "/" + seedID, "/nothing"} {
		get, head := p.Do(t, "GET", path, nil), p.Do(t, "HEAD", path, nil)
		if head.Status != get.Status || len(head.Body) != 0 {
			t.Errorf("HEAD %s: %d with %d bytes, GET %d", path, head.Status, len(head.Body), get.Status)
		}
		for _, name := range []string{"Content-Type", "ETag", "Cache-Control", "Content-Security-Policy"} {
			wantHeader(t, head, name, get.Header.Get(name))
		}
	}
}

// An upgrade to another protocol is not made: the request is answered as what it
// is, with who sent it looked at (V83).
func TestUpgradesAreNotMade(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:"})
	p := a.NewPerson(t)
	for _, headers := range [][]string{
		{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"},
		{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="},
		{"Connection: Authorization", "Connection: close"},
	} {
		r := "GET /" + p.ID + " HTTP/1.1\r\nHost: x\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n"
		send(t, a, r).Want(t, 401, "token_required")
	}
	// The preface of HTTP/2 without TLS is no request.
	if answer := send(t, a, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); answer.Status < 400 {
		t.Errorf("status %d", answer.Status)
	}
}
