package api_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// operation is a call of the OpenAPI document.
type operation struct {
	method, path string
	needsToken   bool
	network      bool // or an address of the trusted networks
	service      bool // it is for services, which have keys
	optional     bool // a token may come along
	hasBody      bool // of JSON
}

// operations reads them from the document, so that a new route cannot be
// forgotten in the tests that go through all of them.
func operations(t testing.TB, a *apptest.App) (ops []operation) {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			Security    []map[string][]string `json:"security"`
			RequestBody struct {
				Content object `json:"content"`
			} `json:"requestBody"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(a.Do(t, "GET", "/openapi.json", nil).Want(t, 200).Body, &doc); err != nil {
		t.Fatal(err)
	}
	for _, path := range sortedKeys(doc.Paths) {
		for _, method := range sortedKeys(doc.Paths[path]) {
			o := doc.Paths[path][method]
			op := operation{method: strings.ToUpper(method), path: path, hasBody: o.RequestBody.Content["application/json"] != nil}
			for _, way := range o.Security {
				switch {
				case len(way) == 0:
					op.network = true
				case way["token"] != nil:
					op.needsToken = true
				default:
					op.service = true
				}
			}
			if op.network && path != "/{user_id}" {
				op.network, op.needsToken, op.optional = false, false, true
			}
			ops = append(ops, op)
		}
	}
	if len(ops) < 18 {
		t.Fatalf("only %d operations in the document", len(ops))
	}
	return ops
}

// at fills ids into a path.
func at(path, userID, sessionID string) string {
	return strings.NewReplacer("{user_id}", userID, "{session_id}", sessionID, "{passkey_id}", sessionID).Replace(path)
}

// Nothing that needs a token is done, or tells anything, without one; the answer
// says how to get one. Who one is comes from the token alone: ids in the body,
// the query or a header are nobody's proof (V68).
func TestWithoutATokenNothingIsDone(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		before := take(t, a)
		claims := a.With("X-User-Id", p.ID).With("X-User-Role", "Admin").With("X-Forwarded-For", "127.0.0.1").
			With("X-Real-Ip", "127.0.0.1").With("Forwarded", "for=127.0.0.1").With("Cookie", "token="+p.Token+"; session="+p.Token).
			With("X-Access-Token", p.Token).With("Proxy-Authorization", "Bearer "+p.Token)
		checked := 0
		for _, op := range operations(t, a) {
			if !op.needsToken {
				continue
			}
			checked++
			path := at(op.path, p.ID, p.ID)
			for _, target := range []string{path, path + "?user_id=" + p.ID + "&token=" + p.Token + "&access_token=" + p.Token} {
				for _, c := range []*apptest.Client{a.Client, claims} {
					answer := c.Do(t, op.method, target, object{"user_id": p.ID, "id": p.ID, "token": p.Token}).Want(t, 401, "token_required")
					wantHeader(t, answer, "WWW-Authenticate", `Bearer realm="propusk"`)
					wantHeader(t, answer, "ETag", "")
					if !bytes.Contains(answer.Body, []byte("POST /auth/login")) {
						t.Errorf("%s %s does not say how to get a token: %s", op.method, op.path, answer.Body)
					}
				}
			}
		}
		if checked < 11 {
			t.Errorf("only %d operations need a token", checked)
		}
		wantUnchanged(t, a, before, "a request without a token")
		p.Do(t, "GET", "/auth/session", nil).Want(t, 200)
	})
}

// Whatever is not the token to the letter is no token, on every route: blank,
// null, lists, other schemes, other spellings, two headers (S-07, S-10, V23).
func TestOnlyTheTokenToTheLetterIsAToken(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true, TrustedNetworks: loopback}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		p.Do(t, "GET", "/auth/session", nil).Want(t, 200) // from now on in memory
		ops := operations(t, a)
		before := take(t, a)
		for _, header := range []string{
			"", " ", "Bearer", "Bearer ", "Bearer  ", "Bearer null", "Bearer undefined", "Bearer []", "Bearer {}", "Bearer 0", "Bearer true",
			"Bearer \"\"", "Bearer \t", "Bearer " + strings.ToUpper(p.Token), "Bearer {" + p.Token + "}", "Bearer urn:uuid:" + p.Token,
			"Bearer " + strings.ReplaceAll(p.Token, "-", ""), "Bearer  " + p.Token, "Bearer\t" + p.Token, "Bearer " + p.Token + "0",
			"Bearer " + p.Token[:35], "Bearer " + p.Token + " " + p.Token, "Bearer " + p.Token + ",", "Bearer \"" + p.Token + "\"",
			"Bearer token=" + p.Token, "Token " + p.Token, "Basic " + p.Token, p.Token, "Bearer" + p.Token, "Bearer:" + p.Token,
			"Bearer " + p.ID, "Bearer 00000000-0000-0000-0000-000000000000", "Bearer ffffffff-ffff-ffff-ffff-ffffffffffff", "Bearer " + strings.Repeat("a", 8000),
		} {
			for _, op := range ops {
				if !op.needsToken || op.path != "/auth/session" && op.method != "GET" && len(header) > 12 { // the long corpus goes to two routes of each kind
					continue
				}
				answer := a.With("Authorization", header).Do(t, op.method, at(op.path, p.ID, p.ID), object{}).Want(t, 401, "token_invalid")
				wantHeader(t, answer, "WWW-Authenticate", `Bearer realm="propusk", error="invalid_token"`)
				if len(header) > 20 {
					wantNoEcho(t, answer, p.Token, op.method+" "+op.path)
				}
			}
		}
		for _, second := range []string{"Bearer " + p.Token, "Basic eDp5", ""} {
			p.With("Authorization", second).Do(t, "GET", "/auth/session", nil).Want(t, 401, "token_invalid")
			p.With("Authorization", second).Do(t, "GET", "/"+p.ID, nil).Want(t, 401, "token_invalid")
		}
		wantUnchanged(t, a, before, "a request without a token")
		for _, scheme := range []string{"Bearer ", "bearer ", "BEARER "} { // RFC 9110, section 11.1
			a.With("Authorization", scheme+p.Token).Do(t, "GET", "/auth/session", nil).Want(t, 200)
		}
	})
}

// To everyone else another user's id, or session, is one that does not exist: the
// same status, headers and body, whatever else is right or wrong with the
// request, for every call that has an id in its path (V69, S-17).
func TestIdsOfOthersLookLikeNone(t *testing.T) {
	t.Parallel()
	const nobody = "0b5f8433-e76a-4509-87f0-e1b12354d92b"
	requests := []struct {
		name    string
		headers []string
		body    any
	}{
		{"nothing", nil, nil},
		{"a good change", nil, object{"username": "taken-over", "email": "mine@example.org"}},
		{"a patch", nil, object{"username": "taken-over"}},
		{"a password", nil, object{"username": "taken-over", "email": "mine@example.org", "password": "changed-Anchor-71-quartz", "current_password": apptest.GoodPassword}},
		{"read-only fields", nil, object{"username": "taken-over", "email": "mine@example.org", "user_role": "Admin"}},
		{"broken fields", nil, object{"username": "x", "email": "y", "password": "z"}},
		{"no JSON", nil, "{"},
		{"an unknown field", nil, object{"admin": true}},
		{"a wrong type", nil, object{"username": 1}},
		{"an empty body", nil, ""},
		{"too much", nil, strings.Repeat(" ", 70000)},
		{"another media type", []string{"Content-Type", "text/plain"}, "{}"},
		{"If-Match: *", []string{"If-Match", "*"}, object{"username": "taken-over", "email": "mine@example.org"}},
		{"If-Match of the first version", []string{"If-Match", `"1"`}, object{"username": "taken-over", "email": "mine@example.org"}},
		{"another If-Match", []string{"If-Match", `"x"`}, object{"username": "taken-over", "email": "mine@example.org"}},
		{"a bad If-Match", []string{"If-Match", `x`}, object{"username": "taken-over", "email": "mine@example.org"}},
		{"as problem", []string{"Accept", "application/problem+json", "Accept-Language", "ru"}, object{"username": "taken-over", "email": "mine@example.org"}},
	}
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		victim, admin := a.NewPerson(t), create(t, a, "Admin", true)
		var sessions struct {
			Data struct{ Sessions []struct{ ID string } }
		}
		unmarshalLoosely(t, victim.Do(t, "GET", "/auth/sessions", nil).Want(t, 200), &sessions)
		stranger := a.NewPerson(t)
		before := take(t, a)
		for _, freshness := range []string{"fresh", "stale"} {
			if freshness == "stale" {
				a.Clock.Move(account.ProofWindow + time.Minute)
			}
			for _, op := range operations(t, a) {
				if !strings.Contains(op.path, "{") {
					continue
				}
				for _, r := range requests {
					c := stranger.Client
					for i := 0; i < len(r.headers); i += 2 {
						c = c.With(r.headers[i], r.headers[i+1])
					}
					none := c.Do(t, op.method, at(op.path, nobody, nobody), r.body)
					for _, id := range []string{victim.ID, admin.ID} {
						theirs := c.Do(t, op.method, at(op.path, id, sessions.Data.Sessions[0].ID), r.body)
						if got, want := fingerprint(t, theirs), fingerprint(t, none); got != want {
							t.Errorf("%s %s with %s, %s: of another\n%s\nof nobody\n%s", op.method, op.path, r.name, freshness, got, want)
						}
					}
					if none.Status < 400 || none.Status >= 500 {
						t.Errorf("%s %s with %s: status %d", op.method, op.path, r.name, none.Status)
					}
				}
			}
		}
		stranger.Do(t, "GET", "/"+victim.ID, nil).Want(t, 404, "user_not_found")
		wantUnchanged(t, a, before, "a stranger's request")
		victim.Do(t, "GET", "/"+victim.ID, nil).Want(t, 200)
	})
}

// fingerprint is all of an answer that a client could tell it by.
func fingerprint(t *testing.T, a *apptest.Answer) string {
	t.Helper()
	h := a.Header.Clone()
	id := h.Get("X-Request-Id")
	h.Del("X-Request-Id")
	h.Del("Date")
	var b bytes.Buffer
	if err := h.Write(&b); err != nil {
		t.Fatal(err)
	}
	return http.StatusText(a.Status) + "\n" + b.String() + strings.ReplaceAll(string(a.Body), id, "")
}

func unmarshalLoosely(t *testing.T, a *apptest.Answer, into any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, into, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
}

// An Admin reads, changes and deletes anyone, and learns who does not exist; the
// role is what the account has now, not what it had at login.
func TestAdminMayDoToOthersWhatTheyMay(t *testing.T) {
	t.Parallel()
	operator := account.Caller{Kind: account.Operator}
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		admin, p, other := create(t, a, "Admin", true), a.NewPerson(t), create(t, a, "Editor", true)
		d := document(t, admin.Client, p.ID)
		admin.Do(t, "PUT", "/"+p.ID, with(d, "username", "administered7")).Want(t, 200)
		admin.Do(t, "PATCH", "/"+p.ID, object{"email": "administered7@example.org"}).Want(t, 200)
		if d := document(t, p.Client, p.ID); d["username"] != "administered7" || d["email"] != "administered7@example.org" {
			t.Errorf("after an Admin's change: %v", d)
		}
		other.Do(t, "GET", "/"+p.ID, nil).Want(t, 404, "user_not_found") // another role is none
		for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
			admin.Do(t, method, "/"+seedID, object{"username": "nobody7", "email": "nobody@example.org"}).Want(t, 404, "user_not_found")
		}
		if err := a.Service.SetRole(t.Context(), operator, admin.ID, "Verified"); err != nil {
			t.Fatal(err)
		}
		admin.Do(t, "GET", "/"+p.ID, nil).Want(t, 404, "user_not_found")
		admin.Do(t, "DELETE", "/"+p.ID, nil).Want(t, 404, "user_not_found")
		if err := a.Service.SetRole(t.Context(), operator, other.ID, "Admin"); err != nil {
			t.Fatal(err)
		}
		other.Do(t, "DELETE", "/"+p.ID, nil).Want(t, 200)
		other.Do(t, "GET", "/"+p.ID, nil).Want(t, 404, "user_not_found")
		p.Do(t, "GET", "/auth/session", nil).Want(t, 401)
	})
}

// An address of the trusted networks may GET and PUT users without a token, as
// the seed shows, and nothing else. A token that comes along decides.
func TestTrustedNetworkMayOnlyGetAndPut(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{TrustedNetworks: loopback}, func(t *testing.T, a *apptest.App) {
		p, q := a.NewPerson(t), a.NewPerson(t)
		for _, op := range operations(t, a) {
			if op.network != (op.path == "/{user_id}" && (op.method == "GET" || op.method == "PUT")) {
				t.Errorf("%s %s: the document says that networks may: %t", op.method, op.path, op.network)
			}
			if op.needsToken && !op.network {
				a.Do(t, op.method, at(op.path, p.ID, p.ID), object{}).Want(t, 401, "token_required")
			}
		}
		d := document(t, a.Client, p.ID)
		a.Do(t, "PUT", "/"+p.ID, with(with(d, "email", "by-the-gateway@example.org"), "password", "changed-Anchor-71-quartz")).Want(t, 200)
		a.Do(t, "POST", "/login", object{"email_or_name": "by-the-gateway@example.org", "password": "changed-Anchor-71-quartz"}).Want(t, 200)
		p.Do(t, "GET", "/auth/session", nil).Want(t, 401) // a new password ends the sessions here too
		a.Do(t, "GET", "/"+seedID, nil).Want(t, 404, "user_not_found")
		a.Do(t, "PUT", "/"+seedID, d).Want(t, 404, "user_not_found")

		q.Do(t, "GET", "/"+p.ID, nil).Want(t, 404, "user_not_found")
		q.Do(t, "PUT", "/"+p.ID, d).Want(t, 404, "user_not_found")
		q.Do(t, "GET", "/"+q.ID, nil).Want(t, 200)
		a.As(seedID).Do(t, "GET", "/"+q.ID, nil).Want(t, 401, "token_invalid")
		a.With("Authorization", "").Do(t, "GET", "/"+q.ID, nil).Want(t, 401, "token_invalid")
	})
}

// Where one is, is where the connection comes from; what a header says counts
// from a trusted proxy only, and there only what the proxy itself saw (S-22).
func TestHeadersDoNotMakeATrustedNetwork(t *testing.T) {
	t.Parallel()
	o := apptest.Options{TrustedNetworks: mustPrefix("10.0.0.0/8"), DatabaseURL: "sqlite::memory:"}
	without := apptest.Start(t, o)
	o.TrustedProxies = loopback
	behind := apptest.Start(t, o)
	for _, c := range []struct {
		name    string
		a       *apptest.App
		headers []string
		status  int
	}{
		{"no proxy is trusted", without, []string{"X-Forwarded-For", "10.1.2.3"}, 401},
		{"another header", behind, []string{"X-Real-Ip", "10.1.2.3", "Forwarded", "for=10.1.2.3"}, 401},
		{"the proxy saw one of the network", behind, []string{"X-Forwarded-For", "10.1.2.3"}, 200},
		{"the proxy saw another, who claims", behind, []string{"X-Forwarded-For", "10.1.2.3, 203.0.113.9"}, 401},
		{"in two headers", behind, []string{"X-Forwarded-For", "10.1.2.3", "X-Forwarded-For", "203.0.113.9"}, 401},
		{"rubbish", behind, []string{"X-Forwarded-For", "10.1.2.3, ,"}, 401},
		{"with a port", behind, []string{"X-Forwarded-For", "10.1.2.3:80"}, 200},
		{"a port, but another network", behind, []string{"X-Forwarded-For", "203.0.113.9:80"}, 401},
		{"another spelling", behind, []string{"X-Forwarded-For", "010.1.2.3"}, 401},
		{"mapped into IPv6", behind, []string{"X-Forwarded-For", "::ffff:10.1.2.3"}, 200},
	} {
		p, client := c.a.NewPerson(t), c.a.Client
		for i := 0; i < len(c.headers); i += 2 {
			client = client.With(c.headers[i], c.headers[i+1])
		}
		if answer := client.Do(t, "GET", "/"+p.ID, nil); answer.Status != c.status {
			t.Errorf("%s: %d, want %d", c.name, answer.Status, c.status)
		}
		client.Do(t, "PATCH", "/"+p.ID, object{}).Want(t, 401)
	}
}

// Who is deleted leaves nothing that could be used: no session, no name that is
// taken, no key, no message, no address in the trail. Who comes after under the
// same names is somebody else (V69).
func TestNothingIsInheritedFromADeletedUser(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		o := newcomer()
		c := a.With("Idempotency-Key", "inherited")
		id := c.Do(t, "POST", "/register", o).Want(t, 201).Text("user_id")
		login := object{"email_or_name": o["username"], "password": o["password"]}
		first, second := a.Do(t, "POST", "/login", login).Text("token"), a.Do(t, "POST", "/login", with(login, "remember_me", true)).Text("token")
		if err := a.Service.SetRole(t.Context(), account.Caller{Kind: account.Operator}, id, "Admin"); err != nil {
			t.Fatal(err)
		}
		a.As(first).Do(t, "GET", "/auth/session", nil).Want(t, 200)
		a.As(second).Do(t, "GET", "/auth/session", nil).Want(t, 200)

		a.As(first).Do(t, "DELETE", "/"+id, nil).Want(t, 200)
		for _, token := range []string{first, second} {
			a.As(token).Do(t, "GET", "/auth/session", nil).Want(t, 401, "token_invalid")
			a.As(token).Do(t, "DELETE", "/"+id, nil).Want(t, 401, "token_invalid")
		}
		for at, value := range take(t, a) {
			table, _, _ := strings.Cut(at, "[")
			if strings.Contains(value, id) && table != "events" && table != "session_changes" {
				t.Errorf("%s still names the user: %s", at, value)
			}
			if strings.HasSuffix(at, "].personal") && strings.HasPrefix(value, "{") {
				t.Errorf("%s still has personal data: %s", at, value)
			}
			if s := strings.ToLower(value); strings.Contains(s, o["username"].(string)) || strings.Contains(s, o["email"].(string)) {
				t.Errorf("%s still holds a name: %s", at, value)
			}
		}

		a.Do(t, "POST", "/login", login).Want(t, 401, "invalid_credentials")

		answer := c.Do(t, "POST", "/register", with(o, "password", "another-Anchor-71-quartz")).Want(t, 201)
		heir := answer.Text("user_id")
		if heir == id || answer.Header.Get("Idempotent-Replayed") != "" {
			t.Fatalf("the new user has the id of the deleted one: %s", answer.Body)
		}
		a.Do(t, "POST", "/login", login).Want(t, 401, "invalid_credentials") // the old password
		me := a.As(a.Do(t, "POST", "/login", with(login, "password", "another-Anchor-71-quartz")).Want(t, 200).Text("token"))
		if d := document(t, me, heir); d["user_role"] != "Not_Verifyed" {
			t.Errorf("the new user is %v", d["user_role"])
		}
		me.Do(t, "GET", "/"+id, nil).Want(t, 404, "user_not_found")
		for _, token := range []string{first, second} {
			a.As(token).Do(t, "GET", "/"+heir, nil).Want(t, 401, "token_invalid")
		}
		var list struct {
			Data struct{ Sessions []object }
		}
		unmarshalLoosely(t, me.Do(t, "GET", "/auth/sessions", nil).Want(t, 200), &list)
		if len(list.Data.Sessions) != 1 {
			t.Errorf("the new user has %d sessions, want 1", len(list.Data.Sessions))
		}
	})
}

// What is no session of one's own is none, whatever is in its place in the path,
// on both engines: PostgreSQL takes no text that is not UTF-8 (S-42, V79).
func TestWhatIsNoSessionIdEndsNoSession(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		p, q := a.NewPerson(t), a.NewPerson(t)
		session := q.Do(t, "GET", "/auth/session", nil).Want(t, 200).Text("session_id")
		own := p.Do(t, "GET", "/auth/session", nil).Want(t, 200).Text("session_id")
		before := take(t, a)
		for _, id := range []string{
			session, seedID, "%ff", "%c0%80", "%ed%a0%80", "%ef%bf%be", "x", "%20", "%27%20OR%20%271%27=%271", "%25", "_", strings.ToUpper(own), own + "%20", "%7b" + own + "%7d",
			p.ID, p.Token, strings.Repeat("a", 20000),
		} {
			p.Do(t, "DELETE", "/auth/sessions/"+id, nil).Want(t, 404, "session_not_found")
		}
		wantUnchanged(t, a, before, "ending what is no session")
		p.Do(t, "DELETE", "/auth/sessions/"+own, nil).Want(t, 200)
		p.Do(t, "GET", "/auth/session", nil).Want(t, 401)
		q.Do(t, "GET", "/auth/session", nil).Want(t, 200)
	})
}

// Deleting needs a proof of identity of the last 15 minutes.
func TestDeleteNeedsAFreshProof(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		a.Clock.Move(account.ProofWindow + time.Second)
		before := take(t, a)
		p.Do(t, "DELETE", "/"+p.ID, nil).Want(t, 403, "reauthentication_required")
		wantUnchanged(t, a, before, "a refused DELETE")
		p.Client = a.As(p.Do(t, "POST", "/auth/reauthenticate", object{"password": p.Password}).Want(t, 200).Text("token"))
		a.Clock.Move(account.ProofWindow)
		p.Do(t, "DELETE", "/"+p.ID, nil).Want(t, 200)
	})
}
