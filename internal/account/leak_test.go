package account_test

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/db"
)

// canaries are secrets that were sent to the service or came from it, by what
// they are. Each is long enough to be found by no accident.
type canaries struct {
	secrets map[string]string
	said    map[string][]string // answers, by route and status; without the one that gave a token
	codes   map[string]string   // too short to be found by accident nowhere
	nodes   []*apptest.App      // beside the first
}

func (c *canaries) secret(what, s string) string {
	c.secrets[what] = s
	return s
}

// send keeps the answer for the search.
func (c *canaries) send(t *testing.T, client *apptest.Client, method, path string, body any) *apptest.Answer {
	t.Helper()
	got := client.Do(t, method, path, body)
	said := string(got.Body) + fmt.Sprint(got.Header)
	for _, given := range []string{got.Text("token"), got.Header.Get(deviceHeader), got.Text("login_request")} {
		if given != "" {
			said = strings.ReplaceAll(said, given, "") // it is handed over here, and must be nowhere else
		}
	}
	where := fmt.Sprintf("%s %.20s → %d", method, path, got.Status)
	c.said[where] = append(c.said[where], said)
	return got
}

// S-54, V102, V31, V63, S-28, V26: one of every secret that the service knows, sent
// by every route, in its place and in wrong ones, with success and without. None
// of them is afterwards in the database, its log, our log, the metrics, the trail
// or an answer, in any encoding.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	o := throughProxy(attempts(1000))
	o.Debug = true
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		c := &canaries{secrets: map[string]string{}, said: map[string][]string{}, codes: map[string]string{}}
		p := newUser(t, a, "margarita", "", true)
		c.secret("password by an operator", p.Password)
		c.registration(t, a)
		c.logins(t, a, p)
		c.services(t, a, p)
		c.singleUse(t, a, p)
		c.changes(t, a, p)
		c.wrongPlaces(t, a, p)
		c.outages(t, a, p)
		c.search(t, a)
		c.searchOutbox(t, a)
	})
}

func (c *canaries) registration(t *testing.T, a *apptest.App) {
	form := func(password string) map[string]any {
		return map[string]any{"username": "begemot", "email": "begemot@example.com", "password": password}
	}
	once := a.With("Idempotency-Key", c.secret("Idempotency-Key", "canary-idempotency-0123456789"))
	password := c.secret("password at registration", "Kanarienvogel-41-register")
	c.send(t, once, "POST", "/auth/register", form(password)).Want(t, 201)
	c.send(t, once, "POST", "/auth/register", form(password)).Want(t, 201)
	c.send(t, once, "POST", "/auth/register", form(c.secret("password under a used key", "Kanarienvogel-42-again"))).Want(t, 422)
	c.send(t, a.Client, "POST", "/auth/register", form(c.secret("password of a taken name", "Kanarienvogel-43-taken"))).Want(t, 409)
	bad := form(c.secret("password with broken fields", "Kanarienvogel-44-broken"))
	bad["username"], bad["email"] = "", "x"
	c.send(t, a.With("Idempotency-Key", c.secret("Idempotency-Key of a refusal", "canary-idempotency-refused")), "POST", "/register", bad).Want(t, 422)
	c.send(t, a.With("Idempotency-Key", c.secret("bad Idempotency-Key", "canary idempotency with spaces")), "POST", "/register", form("x")).Want(t, 400)
}

func (c *canaries) logins(t *testing.T, a *apptest.App, p *apptest.Person) {
	for i, name := range []string{"margarita", "margarita@example.com", "nobody-at-all", "nobody@example.org", "@@"} {
		c.send(t, a.Client, "POST", "/auth/login", loginBody(name, c.secret("wrong password of "+name, fmt.Sprintf("Kanarienvogel-5%d-wrong", i)))).Want(t, 401)
	}
	typed := c.secret("password typed as the name", "Kanarienvogel-56-as-name")
	c.send(t, a.Client, "POST", "/auth/login", loginBody(typed, typed)).Want(t, 401)
	address := c.secret("password typed as the address", "Kanarienvogel-57@as-address.example")
	c.send(t, a.Client, "POST", "/auth/login", loginBody(address, address)).Want(t, 401)
	for i := range 3 {
		login := c.send(t, a.Client, "POST", "/auth/login", loginBody(p.Username, p.Password)).Want(t, 200)
		p.Token = c.secret(fmt.Sprint("token ", i), login.Text("token"))
		known := c.secret(fmt.Sprint("mark of a device ", i), login.Header.Get(deviceHeader))
		c.send(t, a.With(deviceHeader, known), "POST", "/auth/login", loginBody(p.Username, c.secret(fmt.Sprint("wrong password from a device ", i), fmt.Sprintf("Kanarienvogel-59-%d-device", i)))).Want(t, 401)
		c.send(t, a.With("Cookie", "propusk-device-000000000000="+known), "POST", "/auth/login", "{}")
	}
	p.Client = a.As(p.Token)
	for _, path := range []string{"/auth/session", "/auth/sessions", "/" + p.ID} {
		c.send(t, p.Client, "GET", path, nil).Want(t, 200)
	}
	c.send(t, p.Client, "POST", "/auth/reauthenticate", map[string]any{"password": c.secret("wrong proof", "Kanarienvogel-58-proof")}).Want(t, 403)
	p.Token = c.secret("renewed token", c.send(t, p.Client, "POST", "/auth/reauthenticate", map[string]any{"password": p.Password}).Want(t, 200).Text("token"))
	p.Client = a.As(p.Token)
	c.send(t, p.Client, "DELETE", "/auth/sessions", nil).Want(t, 200)
	unknown := c.secret("unknown token", "deadbeef-0000-4000-8000-00000000cafe")
	for _, path := range []string{"/auth/session", "/" + p.ID} {
		c.send(t, a.As(unknown), "GET", path, nil).Want(t, 401)
	}
}

// services: keys, and tokens in the hands of services and gateways.
func (c *canaries) services(t *testing.T, a *apptest.App, p *apptest.Person) {
	_, made, err := a.Service.AddKey(t.Context(), operator(), "canary", []account.Scope{account.ScopeIntrospect}, 0)
	must(t, err)
	key := c.secret("key of a service", made.Reveal())
	_, revoked, err := a.Service.AddKey(t.Context(), operator(), "canary-revoked", []account.Scope{account.ScopeIntrospect}, 0)
	must(t, err)
	gone := c.secret("revoked key of a service", revoked.Reveal())
	_, err = a.Service.RevokeKey(t.Context(), operator(), "canary-revoked")
	must(t, err)
	const form = "application/x-www-form-urlencoded"
	ended := c.secret("token ended by a service", c.send(t, a.Client, "POST", "/auth/login", loginBody(p.Username, p.Password)).Want(t, 200).Text("token"))
	for _, k := range []string{key, gone, c.secret("unknown key", "propusk_key_Kanarienvogel-unknown")} {
		for _, path := range []string{"/oauth/introspect", "/oauth/revoke"} {
			for _, body := range []string{"token=" + ended, "token=" + ended + "&token=" + ended, "token=" + ended + "%zz"} {
				c.send(t, a.As(k).With("Content-Type", form), "POST", path+"?token="+ended, body)
			}
		}
		for _, path := range []string{"/auth/forward", "/auth/forward?role=" + k, "/auth/session"} {
			c.send(t, a.As(k), "GET", path, nil).Want(t, 401)
		}
	}
	c.send(t, p.Client, "GET", "/auth/forward", nil).Want(t, 200)
	c.send(t, p.Client, "GET", "/auth/forward?role="+c.secret("misplaced role", "Kanarienvogel-role"), nil).Want(t, 403)
	basic := a.With("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("canary:"+key)))
	c.send(t, basic.With("Content-Type", form), "POST", "/oauth/introspect", "token="+p.Token).Want(t, 200)
}

// singleUse: links, codes and what browsers hold, of every purpose (V26).
func (c *canaries) singleUse(t *testing.T, a *apptest.App, p *apptest.Person) {
	o := throughProxy(verifyFirst())
	o.Debug = true
	b := anotherNode(t, a, o)
	c.nodes = append(c.nodes, b)
	c.secret("password by recovery", nextPassword)
	for i, s := range sendables() {
		got := s.ask(t, b, fmt.Sprintf("canary%d", i))()
		browser, _ := got.common["login_request"].(string)
		for what, value := range map[string]string{"link": got.link, "what the browser holds": browser} {
			if value != "" {
				c.secret(what+" of "+s.name, value)
			}
		}
		if got.code != "" {
			c.codes["code of "+s.name] = got.code
		}
		as := b.Client
		if got.token != "" {
			as = as.As(got.token)
		}
		byLink := got.link != ""
		c.send(t, as, "POST", got.path+"?token="+got.link, got.body(byLink)) // used
		c.send(t, as, "POST", got.path, got.body(byLink))                    // and again
		if got.code != "" {
			c.send(t, as, "POST", got.path, got.body(false))
		}
		for _, sent := range []string{got.link, got.code} {
			for _, call := range [][2]string{{"GET", "/auth/session?token=" + sent}, {"POST", "/auth/recover/" + sent}} {
				c.send(t, b.As(sent), call[0], call[1], nil)
			}
			c.send(t, b.Client, "POST", got.path, map[string]any{"token": sent, "code": sent, "email_or_name": sent})
			c.send(t, b.Client, "POST", got.path, `{"token":"`+sent+`"`)
		}
	}
	for _, name := range []string{p.Username, "nobody-at-all"} {
		for _, body := range asks {
			path, form := body(name)
			c.send(t, b.Client, "POST", path, form).Want(t, 202)
		}
	}
	admin := newUser(t, a, "canary-admin", account.RoleAdmin, true)
	admin.Login(t, a.Client)
	c.secret("issued link", c.send(t, admin.Client, "POST", "/admin/users/"+p.ID+"/recovery", nil).Want(t, 201).Text("token"))
}

func (c *canaries) changes(t *testing.T, a *apptest.App, p *apptest.Person) {
	change := func(current, next string) map[string]any {
		return map[string]any{"current_password": current, "new_password": next}
	}
	next := c.secret("new password", "Kanarienvogel-60-new")
	c.send(t, p.Client, "POST", "/auth/password", change(c.secret("wrong current password", "Kanarienvogel-61-current"), next)).Want(t, 403)
	c.send(t, p.Client, "POST", "/auth/password", change(p.Password, c.secret("short password", "Kñ1")+strings.Repeat("x", 300))).Want(t, 422)
	delete(c.secrets, "short password") // too short to be looked for
	p.Token = c.secret("token of a new password", c.send(t, p.Client, "POST", "/auth/password", change(p.Password, next)).Want(t, 200).Text("token"))
	p.Client, p.Password = a.As(p.Token), next
	whole := map[string]any{"username": p.Username, "email": p.Email, "password": c.secret("password by PUT", "Kanarienvogel-62-put")}
	c.send(t, p.Client, "PUT", "/"+p.ID, whole).Want(t, 200)
	c.send(t, p.Client.With("If-Match", `"77"`), "PUT", "/"+p.ID, map[string]any{
		"username": p.Username, "email": p.Email, "password": c.secret("password for another version", "Kanarienvogel-63-etag"),
	}).Want(t, 412)
	p.Password = c.secret("password by PATCH", "Kanarienvogel-64-patch")
	c.send(t, p.Client, "PATCH", "/"+p.ID, map[string]any{"password": p.Password, "current_password": whole["password"]}).Want(t, 200)
	c.send(t, p.Client, "PATCH", "/"+p.ID, map[string]any{"email": "margarita-pending@example.com"}).Want(t, 200) // two messages
	c.send(t, p.Client, "PATCH", "/"+account.RoleAdmin, map[string]any{"password": c.secret("password at no path", "Kanarienvogel-65-path")}).Want(t, 404)
}

// wrongPlaces: people and programs put secrets where they do not belong.
func (c *canaries) wrongPlaces(t *testing.T, a *apptest.App, p *apptest.Person) {
	s := func(n int) string {
		return c.secret(fmt.Sprint("misplaced ", n), fmt.Sprintf("Kanarienvogel-7%02d-misplaced", n))
	}
	for i, body := range []string{
		`{"email_or_name":"margarita","password":"` + s(0) + `"`, `{"email_or_name":"margarita","password":["` + s(1) + `"]}`,
		`{"email_or_name":"margarita","password":{"` + s(2) + `":1}}`, `{"` + s(3) + `":"margarita"}`, `{"password":"` + s(4) + `","password":"` + s(5) + `"}`,
		`{"email_or_name":"margarita","Password":"` + s(6) + `"}`, s(7), `"` + s(8) + `"`, `{"email_or_name":"` + s(9) + `\u0000","password":"` + s(10) + `"}`,
		"{\"email_or_name\":\"\xff" + s(11) + `"}`, `{"email_or_name":12,"password":"` + s(12) + `"}`, `{"email_or_name":"` + s(13) + `","password":"x"} ` + s(14),
	} {
		if got := c.send(t, a.Client, "POST", "/auth/login", body); got.Status != 400 {
			t.Errorf("body %d: status %d: %s", i, got.Status, got.Body)
		}
	}
	for _, path := range []string{
		"/" + s(20), "/auth/login/" + s(21), "/auth/session?token=" + s(22), "/" + p.ID + "?password=" + s(23), "/auth/sessions/" + s(24), "//" + s(25),
		"/auth/" + s(26) + "/../session", "/docs/" + s(27), "/?" + s(28), "/auth/session?access_token=" + p.Token, "/" + p.Token, "/auth/sessions/" + p.Token,
	} {
		for _, method := range []string{"GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE"} {
			if method != "DELETE" || !strings.HasPrefix(path, "/"+p.ID) {
				c.send(t, p.Client, method, path, nil)
			}
		}
	}
	for i, name := range []string{
		"Authorization", "Cookie", "X-Api-Key", "X-Forwarded-For", "Forwarded", "X-Request-Id", "Referer", "Accept", "Accept-Language", "If-Match",
		"Content-Type", "Idempotency-Key", "Traceparent", deviceHeader, "X-Forwarded-Host", "X-Original-Url",
	} {
		for _, call := range [][2]string{{"POST", "/auth/login"}, {"POST", "/auth/register"}, {"GET", "/auth/session"}, {"PATCH", "/" + p.ID}} {
			c.send(t, a.With(name, s(40+i)), call[0], call[1], "{}")
		}
	}
	c.send(t, a.With("Origin", "https://"+strings.ToLower(s(60))+".example"), "POST", "/auth/login", "{}").Want(t, 403)
	c.send(t, a.With("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("margarita:"+s(61)))), "GET", "/auth/session", nil).Want(t, 401)
	c.send(t, a.With("Authorization", "Bearer "+s(62)), "GET", "/auth/session", nil).Want(t, 401)
	c.send(t, a.Client, s(63), "/auth/login", nil)
}

// outages: the same while the database fails, when errors are logged.
func (c *canaries) outages(t *testing.T, a *apptest.App, p *apptest.Person) {
	d := direct(t, a.URL)
	for _, table := range []string{"events", "sessions", "users", "throttle"} {
		mend := breakTable(t, d, a.Engine, table)
		c.send(t, a.Client, "POST", "/auth/login", loginBody(p.Username, p.Password))
		c.send(t, a.Client, "POST", "/auth/login", loginBody(p.Username, c.secret("wrong password without "+table, "Kanarienvogel-80-"+table)))
		c.send(t, p.Client, "POST", "/auth/reauthenticate", map[string]any{"password": p.Password})
		c.send(t, p.Client, "PATCH", "/"+p.ID, map[string]any{"password": c.secret("new password without "+table, "Kanarienvogel-81-"+table), "current_password": p.Password})
		c.send(t, a.With("Idempotency-Key", c.secret("Idempotency-Key without "+table, "canary-idempotency-"+table)), "POST", "/auth/register", map[string]any{
			"username": "azazello", "email": "azazello@example.com", "password": c.secret("registration without "+table, "Kanarienvogel-82-"+table),
		})
		mend()
		d.exec(t, `ALTER TABLE `+table+` RENAME TO gone`)
		c.send(t, a.Client, "POST", "/auth/login", loginBody(p.Username, p.Password))
		c.send(t, p.Client, "POST", "/auth/logout", nil)
		d.exec(t, `ALTER TABLE gone RENAME TO `+table)
	}
	if !strings.Contains(a.Log.String(), "broken") {
		t.Error("the log says nothing of the fault: this test provoked none")
	}
}

func (c *canaries) search(t *testing.T, a *apptest.App) {
	places := map[string]string{"database": dump(t, a), "log": a.Log.String(), "metrics": metrics(t, a)}
	for _, b := range c.nodes {
		places["log"] += b.Log.String()
		places["metrics"] += metrics(t, b)
	}
	for where, said := range c.said {
		places["answer to "+where] = strings.Join(said, "\n")
	}
	for what, secret := range c.secrets {
		if len(secret) < 12 {
			t.Fatalf("%s is too short to be looked for", what)
		}
		for form, needle := range encodings(secret) {
			for place, all := range places {
				if strings.Contains(all, needle) {
					t.Errorf("%s (%q) is in the %s, %s", what, secret, place, form)
				}
			}
		}
	}
	for what, code := range c.codes {
		whole := regexp.MustCompile(`(?:^|[^0-9a-f])` + code + `(?:[^0-9a-f]|$)`)
		for place, all := range places {
			if place == "database" && a.Engine == db.SQLite { // where pages hold anything
				continue
			}
			if found := whole.FindString(all); found != "" {
				t.Errorf("%s (%s) is in the %s", what, code, place)
			}
		}
	}
	for place, word := range map[string]string{"database": "margarita@example.com", "log": "invalid_credentials", "metrics": "propusk_logins_total"} {
		if !strings.Contains(places[place], word) {
			t.Errorf("%q is not in the %s: this test looks in the wrong place", word, place)
		}
	}
	for place := range places { // whose account it is stands in the users, and is told to himself; nowhere else
		if place != "database" && strings.Contains(places[place], "margarita@") && !strings.Contains(place, "→ 200") {
			t.Errorf("an address is in the %s", place)
		}
	}
}

// searchOutbox: what waits to leave is sealed, down to the address.
func (c *canaries) searchOutbox(t *testing.T, a *apptest.App) {
	rows := direct(t, a.URL).rows(t, "outbox")
	if len(rows) < 3 {
		t.Fatalf("%d messages wait, want those of the new passwords and of the new address", len(rows))
	}
	for _, address := range []string{"margarita@example.com", "margarita-pending@example.com"} {
		for form, needle := range encodings(address) {
			if strings.Contains(strings.Join(rows, "\n"), needle) {
				t.Errorf("a message's address can be read, %s", form)
			}
		}
	}
}
