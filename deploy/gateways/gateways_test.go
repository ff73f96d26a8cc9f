package gateways_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The application learns who asks, and Propusk what it needs to tell.
func TestApplicationSeesWhoAsks(t *testing.T) {
	each(t, func(w *world) {
		p := w.propusk.issue(w.T, "Verified")
		a := w.get("/notes?page=2", p.authorization(), "X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 203.0.113.10")
		w.want(a, 200, "a good token")
		if a.body != "for "+p.id {
			w.Errorf("the application's answer came as %q", a.body)
		}
		got, asked := w.app.arrivals(), w.propusk.questions()
		if len(got) != 1 || len(asked) != 1 {
			w.Fatalf("%d requests, %d questions", len(got), len(asked))
		}
		w.belongsTo(got[0], p)
		if got[0].uri != "/notes?page=2" || got[0].host != appHost {
			w.Errorf("the application was asked for %s of %s", got[0].uri, got[0].host)
		}
		q := asked[0]
		if q.method != "GET" || strings.TrimSuffix(q.uri, "?") != "/auth/forward" || q.body != 0 {
			w.Errorf("Propusk was asked %s %s with %d bytes", q.method, q.uri, q.body)
		}
		for name, want := range map[string]string{
			"Authorization": "Bearer " + p.token, "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/notes?page=2",
		} {
			if values := q.header[name]; len(values) != 1 || values[0] != want {
				w.Errorf("Propusk was told %s: %q, want %q", name, values, want)
			}
		}
	})
}

// A body is the application's, whole, and nothing of it goes to Propusk.
func TestBodyIsForTheApplicationOnly(t *testing.T) {
	each(t, func(w *world) {
		p := w.propusk.issue(w.T, "Verified")
		text := strings.Repeat("0123456789", 10_000)
		head := "POST /notes HTTP/1.1\r\nHost: " + appHost + "\r\n" + p.authorization() + "\r\nContent-Type: text/plain\r\n"
		w.want(w.send(head+"Content-Length: "+strconv.Itoa(len(text))+"\r\n\r\n"+text), 200, "a body with its length")
		w.want(w.send(head+"Transfer-Encoding: chunked\r\n\r\n"+strconv.FormatInt(int64(len(text)), 16)+"\r\n"+text+"\r\n0\r\n\r\n"), 200, "a body in chunks")
		got := w.app.arrivals()
		if len(got) != 2 || got[0].body != text || got[1].body != text {
			w.Fatalf("%d requests came, or not with their bodies", len(got))
		}
		for i, q := range w.propusk.questions() {
			length := q.header.Get("Content-Length")
			if q.method != "GET" || q.body != 0 || length != "" && length != "0" || q.header.Get("Transfer-Encoding") != "" || q.header.Get("X-Forwarded-Method") != "POST" {
				w.Errorf("Propusk was asked %s with %d bytes, %v", q.method, q.body, q.header)
			}
			w.belongsTo(got[i], p)
		}
	})
}

// messages are some of Propusk's own words.
var messages = map[string]string{
	"token_required": "get one with POST /auth/login",
	"token_invalid":  "unknown, expired or revoked",
	"role_missing":   "with another role",
}

// What Propusk refuses is refused in its words, as far as the gateway can, and
// the application never hears of it.
func TestRefusalsReachTheClientAsTheyAre(t *testing.T) {
	each(t, func(w *world) {
		p := w.propusk.issue(w.T, "Verified")
		for what, c := range map[string]struct {
			path, code, challenge string
			status                int
			lines                 []string
		}{
			"no token":       {"/notes", "token_required", `Bearer realm="propusk"`, 401, nil},
			"a bad token":    {"/notes", "token_invalid", `Bearer realm="propusk", error="invalid_token"`, 401, []string{"Authorization: Bearer nonsense"}},
			"another scheme": {"/notes", "token_invalid", `Bearer realm="propusk", error="invalid_token"`, 401, []string{"Authorization: Basic " + p.token}},
			"another role":   {"/admin/users", "role_missing", "", 403, []string{p.authorization()}},
			"no token there": {"/admin/users", "token_required", `Bearer realm="propusk"`, 401, nil},
		} {
			a := w.get(c.path, c.lines...)
			w.want(a, c.status, what)
			if got := strings.Join(a.header.Values("WWW-Authenticate"), " / "); got != c.challenge {
				w.Errorf("%s: WWW-Authenticate is %q, want %q", what, got, c.challenge)
			}
			if a.code() != c.code || a.header.Get("Content-Type") != "application/json" {
				w.Errorf("%s: %s %q", what, a.header.Get("Content-Type"), a.body)
			}
			if w.gateway != "nginx" && !strings.Contains(a.body, messages[c.code]) { // it keeps no body of auth_request
				w.Errorf("%s: not Propusk's words: %q", what, a.body)
			}
			w.nothingNew(0, what)
		}
	})
}

// A role is asked for where it is needed, and what the client writes into his
// own query has no meaning to Propusk.
func TestRoleIsAskedForWhereItIsNeeded(t *testing.T) {
	each(t, func(w *world) {
		admin, other := w.propusk.issue(w.T, "Admin"), w.propusk.issue(w.T, "Verified")
		for i, path := range []string{"/admin", "/admin/", "/admin/users?role=Verified", "/ADMIN/users", "/%61dmin/users"} {
			w.want(w.get(path, admin.authorization()), 200, path)
			w.nothingNew(i+1, path)
			w.want(w.get(path, other.authorization()), 403, path)
			w.nothingNew(i+1, path)
		}
		for _, got := range w.app.arrivals() {
			w.belongsTo(got, admin)
		}
		for _, path := range []string{"/", "/administration", "/notes?role=Nobody", "/notes?path=/admin/"} {
			w.want(w.get(path, other.authorization()), 200, path)
		}
	})
}

// Where Propusk cannot know, or is not there, nobody gets in and nobody is told
// that his token is bad. It is found again by itself.
func TestWhatPropuskCannotTellIsNeverAccess(t *testing.T) {
	each(t, func(w *world) {
		p := w.propusk.issue(w.T, "Admin")
		for _, path := range []string{"/notes", "/admin/users"} {
			w.propusk.unable.Store(true)
			for what, lines := range map[string][]string{"good": {p.authorization()}, "none": nil, "forged": {"X-User-Id: 1", "X-User-Role: Admin", "X-Session-Id: 1"}} {
				a := w.get(path, lines...)
				w.want(a, 503, "Propusk answers 503: "+what)
				if a.header.Get("Retry-After") != "1" || a.code() != "unavailable" {
					w.Errorf("%s: %v %s", what, a.header, a.body)
				}
			}
			w.propusk.unable.Store(false)
			w.propusk.down(w.T)
			begun := time.Now()
			for what, lines := range map[string][]string{"good": {p.authorization()}, "none": nil} {
				if a := w.get(path, lines...); a.status != 502 && a.status != 503 {
					w.Errorf("Propusk is away: %s: %d", what, a.status)
				}
			}
			if took := time.Since(begun); took > 10*time.Second {
				w.Errorf("it took %s to notice that Propusk is away", took)
			}
			w.nothingNew(0, path)
			w.propusk.up(w.T)
		}
		status := 0
		for begun := time.Now(); status != 200 && time.Since(begun) < 15*time.Second; time.Sleep(100 * time.Millisecond) {
			status = w.get("/notes", p.authorization()).status
		}
		if status != 200 {
			w.Errorf("Propusk is back, and the answer is %d", status)
		}
	})
}

// A revoked token is worth nothing at the next request, on the same connection
// and on others.
func TestRevokedTokenIsRefusedAtOnce(t *testing.T) {
	each(t, func(w *world) {
		for range 20 {
			p := w.propusk.issue(w.T, "Verified")
			w.want(w.get("/notes", p.authorization()), 200, "before")
			n := len(w.app.arrivals())
			w.propusk.revoke(w.T, p)
			w.want(w.get("/notes", p.authorization()), 401, "after")
			w.nothingNew(n, "after")
		}
	})
}

// Connections to Propusk are kept, but by Caddy, which is told not to: what it
// keeps may lead to the application.
func TestConnectionsToPropuskAreReused(t *testing.T) {
	each(t, func(w *world) {
		p := w.propusk.issue(w.T, "Verified")
		for range 60 {
			w.want(w.get("/notes", p.authorization()), 200, "one of many")
		}
		n := w.propusk.distinct()
		if w.gateway == "caddy" && n < 60 {
			w.Errorf("%d connections for 60 requests: Caddy keeps them", n)
		}
		if w.gateway != "caddy" && n > 8 { // one for each thread and worker, and some that came too late
			w.Errorf("60 requests took %d connections to Propusk", n)
		}
	})
}

// Fifty users at once: each is himself (S-48).
func TestNobodyBecomesAnotherBehindAGateway(t *testing.T) {
	each(t, func(w *world) {
		var wg sync.WaitGroup
		for range 50 {
			p := w.propusk.issue(w.T, "Verified")
			wg.Go(func() {
				for range 10 {
					a, err := exchange(w.addr, "GET /notes HTTP/1.1\r\nHost: "+appHost+"\r\n"+p.authorization()+"\r\n\r\n", 20*time.Second)
					if err != nil || a.status != 200 || a.body != "for "+p.id {
						w.Errorf("%v, %d, %q; want it for %s", err, a.status, a.body, p.id)
					}
				}
			})
		}
		wg.Wait()
	})
}

// Propusk's own calls are reached under a name of their own, without a check
// before them, and with the client's true address.
func TestPropuskItselfIsPassedThrough(t *testing.T) {
	each(t, func(w *world) {
		a := w.send("GET /nowhere HTTP/1.1\r\nHost: " + idHost + "\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
		w.want(a, 404, "a path that Propusk does not have")
		asked := w.propusk.questions()
		if len(asked) != 1 || asked[0].uri != "/nowhere" {
			w.Fatalf("Propusk was asked %+v", asked)
		}
		if values := asked[0].header["X-Forwarded-For"]; len(values) != 1 || values[0] != "127.0.0.1" {
			w.Errorf("Propusk was told X-Forwarded-For: %q", values)
		}
		for _, host := range []string{"elsewhere.example.com", "127.0.0.1", ""} {
			if a := w.send("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"); a.status != 421 && a.status != 400 {
				w.Errorf("host %q: %d", host, a.status)
			}
		}
		w.nothingNew(0, "other names")
	})
}

// The cache of nginx, once it is turned on, spares questions and keeps no answer
// for more than a second, none of another role and none of another token.
func TestCachedCheckIsGoneAfterASecond(t *testing.T) {
	t.Parallel()
	w := behind(t, "nginx", func(text string) string {
		text = strings.ReplaceAll(text, "#cache# ", "")
		return strings.ReplaceAll(text, "/dev/shm/propusk-checks", t.TempDir())
	})
	p, other := w.propusk.issue(t, "Verified"), w.propusk.issue(t, "Verified")
	issued := map[string]bool{p.id: true, other.id: true}
	begun := time.Now()
	for range 30 {
		w.want(w.get("/notes", p.authorization()), 200, "again")
		w.want(w.get("/admin/", p.authorization()), 403, "a kept answer of another role")
		w.want(w.get("/notes", "Authorization: Bearer nonsense"), 401, "a kept answer of another token")
		w.want(w.get("/notes"), 401, "a kept answer of a token, without any")
	}
	yes := 0
	for _, q := range w.propusk.questions() {
		if q.header.Get("Authorization") == "Bearer "+p.token && strings.HasSuffix(q.uri, "/forward") {
			yes++
		}
	}
	if most := 2 + int(time.Since(begun)/time.Second); yes > most {
		t.Errorf("%d questions where %d were to be expected", yes, most)
	}
	if a := w.get("/notes", other.authorization()); a.body != "for "+other.id {
		t.Errorf("another's answer: %q", a.body)
	}
	for i := range 3 {
		p := w.propusk.issue(t, "Verified")
		issued[p.id] = true
		w.want(w.get("/notes", p.authorization()), 200, fmt.Sprint("before ", i))
		w.propusk.revoke(t, p)
		revoked := time.Now()
		for w.get("/notes", p.authorization()).status != 401 {
			if time.Since(revoked) > 3*time.Second {
				break
			}
		}
		if took := time.Since(revoked); took > 1100*time.Millisecond {
			t.Errorf("a revoked token was good for %s", took)
		}
	}
	for _, got := range w.app.arrivals() {
		if values := got.header["X-User-Id"]; len(values) != 1 || !issued[values[0]] {
			t.Errorf("X-User-Id %q", values)
		}
	}
}
