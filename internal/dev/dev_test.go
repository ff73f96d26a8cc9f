package dev_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

const someone = "someone@example.com"

func register(t *testing.T, a *apptest.App, name, email string) (id string) {
	t.Helper()
	return a.Do(t, "POST", "/auth/register", object{"username": name, "email": email, "password": apptest.GoodPassword}).
		Want(t, http.StatusCreated).Text("user_id")
}

func start(t *testing.T, o apptest.Options) *apptest.App {
	t.Helper()
	o.DatabaseURL = "sqlite::memory:"
	return apptest.Start(t, o)
}

func TestMessagesAreFoundByAddressKindAndOrder(t *testing.T) {
	t.Parallel()
	a := start(t, throwaway(nil))
	register(t, a, "anna", "anna@example.com")
	messages(t, a, nil) // what is sent at the same time comes in any order
	register(t, a, "boris", "Boris@example.com")
	messages(t, a, nil)
	a.Do(t, "POST", "/auth/recover", object{"email_or_name": "anna"}).Want(t, http.StatusAccepted)
	for query, want := range map[string]string{
		"":                             "[recover to anna@example.com verify_email to Boris@example.com verify_email to anna@example.com]",
		"limit=1":                      "[recover to anna@example.com]",
		"to=boris@EXAMPLE.com":         "[verify_email to Boris@example.com]",
		"kind=verify_email":            "[verify_email to Boris@example.com verify_email to anna@example.com]",
		"to=anna@example.com&limit=1":  "[recover to anna@example.com]",
		"to=nobody@example.com&wait=0": "[]",
		"kind=login_code&wait=10ms":    "[]",
	} {
		q, _ := url.ParseQuery(query)
		got := []string{}
		for _, m := range messages(t, a, q) {
			got = append(got, m["kind"].(string)+" to "+m["to"].(string))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "wait=11s", "wait=-1s", "wait=5", "to=a&to=b", "wat=1s", "%zz"} {
		a.Raw(t, "GET", "/dev/messages?"+query, nil).Want(t, http.StatusUnprocessableEntity, "invalid_fields")
	}

	all := messages(t, a, nil)
	one := a.Raw(t, "GET", "/dev/messages/"+all[2]["id"].(string), nil).Want(t, http.StatusOK)
	link, _ := url.Parse(one.Text("link"))
	if one.Text("channel") != "mail" || one.Text("subject") == "" || !strings.Contains(one.Text("html"), one.Text("code")) ||
		!strings.HasPrefix(one.Text("link"), apptest.PublicURL+"/account/verify?") || link.Query().Get("token") != one.Text("token") || len(one.Text("code")) != 6 {
		t.Errorf("message: %s", one.Body)
	}
	if all[2]["html"] != nil {
		t.Error("the list holds HTML, which nobody reads there")
	}
	a.Raw(t, "GET", "/dev/messages/nobody", nil).Want(t, http.StatusNotFound, "message_not_found")

	// What comes after one that was seen.
	seen := url.Values{"after": {all[0]["id"].(string)}, "wait": {"20ms"}}
	if got := messages(t, a, seen); len(got) != 0 {
		t.Errorf("after the newest: %v", got)
	}
	a.Do(t, "POST", "/auth/recover", object{"email_or_name": "boris"}).Want(t, http.StatusAccepted)
	if got := messages(t, a, seen); len(got) != 1 || got[0]["to"] != "Boris@example.com" {
		t.Errorf("after the newest, once there was another: %v", got)
	}

	a.Do(t, "POST", "/auth/recover", object{"email_or_name": "boris"}).Want(t, http.StatusAccepted) // is under way
	a.Raw(t, "DELETE", "/dev/messages", nil).Want(t, http.StatusOK)
	if got := messages(t, a, nil); len(got) != 0 {
		t.Errorf("after all were deleted: %v", got)
	}
}

// Who waits is answered when the message comes, and not only when his time is up.
func TestWaitingEndsWhenTheMessageComes(t *testing.T) {
	t.Parallel()
	a := start(t, throwaway(nil))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go a.Outbox.Run(ctx)
	got := make(chan []object, 1)
	go func() { got <- messages(t, a, url.Values{"to": {someone}, "wait": {"10s"}}) }()
	time.Sleep(50 * time.Millisecond)
	register(t, a, "other", "other@example.com")
	begun := time.Now()
	register(t, a, "someone", someone)
	select {
	case all := <-got:
		if len(all) != 1 || all[0]["to"] != someone {
			t.Errorf("got %v", all)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("after %v", took)
		}
	case <-time.After(15 * time.Second):
		t.Error("nobody was answered")
	}
}

func TestClockMovesAheadAndBackToTheRealTime(t *testing.T) {
	t.Parallel()
	a := start(t, throwaway(nil))
	const real = "2026-03-01T12:00:00.123456+00:00"
	wantNow := func(now string) {
		t.Helper()
		if got := a.Raw(t, "GET", "/dev/clock", nil).Want(t, http.StatusOK).Text("now"); got != now {
			t.Errorf("it is %s, want %s", got, now)
		}
	}
	wantNow(real)
	if got := move(t, a, object{"advance": "30d"}).Want(t, http.StatusOK); got.Text("now") != "2026-03-31T12:00:00.123456+00:00" || got.Text("ahead") != "720h0m0s" {
		t.Errorf("30 days on: %s", got.Body)
	}
	move(t, a, object{"advance": "90m0.5s"}).Want(t, http.StatusOK)
	wantNow("2026-03-31T13:30:00.623456+00:00")
	move(t, a, object{"set": "2027-01-01T03:00:00+03:00"}).Want(t, http.StatusOK)
	wantNow("2027-01-01T00:00:00.000000+00:00")
	for _, bad := range []any{
		object{}, object{"advance": "1h", "reset": true}, object{"advance": "-1h"}, object{"advance": "0s"}, object{"advance": "1"},
		object{"advance": "d"}, object{"advance": "-1d"}, object{"advance": "99999d"}, object{"advance": "65535d"}, object{"reset": false},
		object{"set": "2026-12-31T23:59:59Z"}, object{"set": "2127-01-01T00:00:00Z"}, object{"set": "9999-01-01T00:00:00Z"},
	} {
		a.Raw(t, "POST", "/dev/clock", bad).Want(t, http.StatusUnprocessableEntity, "invalid_fields")
	}
	for _, bad := range []any{"", "[]", "{", object{"advance": 1}, object{"set": "yesterday"}, object{"ahead": "1h"}, `{"reset":true}{}`} {
		a.Raw(t, "POST", "/dev/clock", bad).Want(t, http.StatusBadRequest, "invalid_json")
	}
	a.With("Content-Type", "text/plain").Raw(t, "POST", "/dev/clock", `{"reset":true}`).Want(t, http.StatusUnsupportedMediaType)
	wantNow("2027-01-01T00:00:00.000000+00:00")
	move(t, a, object{"reset": true}).Want(t, http.StatusOK)
	wantNow(real)
}

// What was asked for before the clock is moved happens by the old time, and what
// is over by the new one is swept away before the answer.
func TestMovingTheClockLeavesNothingBehind(t *testing.T) {
	apptest.Each(t, throwaway(func(p *account.Policy) { p.TokenIdle = 30 * time.Minute }), func(t *testing.T, a *apptest.App) {
		register(t, a, "someone", someone)
		token := a.Do(t, "POST", "/auth/login", object{"email_or_name": "someone", "password": apptest.GoodPassword}).Want(t, http.StatusOK).Text("token")
		rows := func(table string) (n int) {
			t.Helper()
			if err := a.DB.QueryRow(t.Context(), "SELECT count(*) FROM "+table, nil, &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		// A session that is used does not end for want of use, though no minute has
		// passed in which its use could have been written down.
		for range 5 {
			move(t, a, object{"advance": "25m"}).Want(t, http.StatusOK)
			a.As(token).Do(t, "GET", "/auth/session", nil).Want(t, http.StatusOK)
		}
		a.As(token).Do(t, "PATCH", "/"+a.As(token).Do(t, "GET", "/auth/session", nil).Text("user_id"), object{"username": "someone-else"}).Want(t, http.StatusOK)

		a.Do(t, "POST", "/auth/recover", object{"email_or_name": someone}).Want(t, http.StatusAccepted)
		move(t, a, object{"advance": "24h"}).Want(t, http.StatusOK)
		recovery := newest(t, a, someone, "recover")
		if got, _ := time.Parse(time.RFC3339Nano, recovery["created_at"].(string)); a.Clock.Now().Sub(got) < 24*time.Hour {
			t.Errorf("a mail that was asked for yesterday is of %v", got)
		}
		a.Do(t, "POST", "/auth/recover/confirm", object{"token": recovery["token"], "new_password": "second-Teapot-93-lantern"}).Want(t, http.StatusUnauthorized, "link_invalid")
		a.As(token).Do(t, "GET", "/auth/session", nil).Want(t, http.StatusUnauthorized)
		move(t, a, object{"advance": "60d"}).Want(t, http.StatusOK)
		for _, table := range []string{"sessions", "tokens", "requests", "throttle", "outbox"} {
			if n := rows(table); n != 0 {
				t.Errorf("%d rows in %s", n, table)
			}
		}
		a.Do(t, "POST", "/auth/login", object{"email_or_name": someone, "password": apptest.GoodPassword}).Want(t, http.StatusOK)
	})
}

// N18: with a fixed code, every code is it, by mail and by SMS.
func TestEveryCodeIsTheFixedOne(t *testing.T) {
	t.Parallel()
	a := start(t, throwaway(func(p *account.Policy) { p.FixedCode = "000000" }))
	id := register(t, a, "someone", someone)
	a.Do(t, "POST", "/auth/verify/email", object{"email_or_name": someone, "code": "123456"}).Want(t, http.StatusUnauthorized, "wrong_code")
	a.Do(t, "POST", "/auth/verify/email", object{"email_or_name": someone, "code": "000000"}).Want(t, http.StatusOK)
	a.Do(t, "POST", "/auth/verify/email", object{"email_or_name": someone, "code": "000000"}).Want(t, http.StatusUnauthorized, "wrong_code")
	a.Do(t, "POST", "/auth/login/code/send", object{"email_or_name": someone}).Want(t, http.StatusAccepted)
	messages(t, a, nil)
	login := object{"email_or_name": someone, "code": "000000"}
	me := a.As(a.Do(t, "POST", "/auth/login/code", login).Want(t, http.StatusOK).Text("token"))
	a.Do(t, "POST", "/auth/login/code", login).Want(t, http.StatusUnauthorized, "wrong_code")

	me.Do(t, "PATCH", "/"+id, object{"contact_number": "+79853553825"}).Want(t, http.StatusOK)
	me.Do(t, "POST", "/auth/verify/phone/send", object{}).Want(t, http.StatusAccepted)
	sms := newest(t, a, "+79853553825", "verify_phone")
	if sms["channel"] != "sms" || sms["code"] != "000000" || !strings.Contains(sms["text"].(string), "000000") || sms["link"] != nil {
		t.Errorf("SMS: %v", sms)
	}
	me.Do(t, "POST", "/auth/verify/phone", object{"code": "000000"}).Want(t, http.StatusOK)
	for _, m := range messages(t, a, nil) {
		if code := m["code"]; code != nil && code != "000000" {
			t.Errorf("%v has the code %v", m["kind"], code)
		}
	}
}

func TestUsersAreMadeByTheDozen(t *testing.T) {
	t.Parallel()
	a := start(t, throwaway(nil))
	register(t, a, "user2", "taken@example.com")
	make := func(body object) (out []object) {
		t.Helper()
		for _, u := range a.Raw(t, "POST", "/dev/users", body).Want(t, http.StatusCreated).Data("users").([]any) {
			out = append(out, u.(object))
		}
		return out
	}
	users := make(object{"count": 3, "password": apptest.GoodPassword})
	var names []string
	for _, u := range users {
		names = append(names, u["username"].(string))
		if u["user_role"] != account.RoleNotVerified || u["token"] != nil || u["email"] != u["username"].(string)+"@example.com" {
			t.Errorf("made %v", u)
		}
		a.Do(t, "POST", "/auth/login", object{"email_or_name": u["email"], "password": u["password"]}).Want(t, http.StatusOK)
	}
	if fmt.Sprint(names) != "[user1 user3 user4]" {
		t.Errorf("names %v: the one that was taken is left out", names)
	}
	boss := make(object{"user_role": account.RoleAdmin, "verified": true, "token": true, "password": apptest.GoodPassword})[0]
	if boss["user_role"] != account.RoleAdmin {
		t.Errorf("made %v", boss)
	}
	a.As(boss["token"].(string)).Do(t, "GET", "/"+users[0]["id"].(string), nil).Want(t, http.StatusOK)
	if got := make(object{"verified": true, "password": apptest.GoodPassword})[0]["user_role"]; got != account.RoleVerified {
		t.Errorf("role of a verified user: %v", got)
	}
	if got := messages(t, a, url.Values{"to": {boss["email"].(string)}}); len(got) != 0 {
		t.Errorf("a user who was made was written to: %v", got)
	}
	a.Raw(t, "POST", "/dev/users", object{}).Want(t, http.StatusUnprocessableEntity, "invalid_fields") // pass12345 is a common one
	for body, code := range map[string]string{
		`{"count":0}`: "invalid_fields", `{"count":1001}`: "invalid_fields", `{"count":-1}`: "invalid_fields",
		`{"user_role":"no role","password":"` + apptest.GoodPassword + `"}`: "invalid_fields", `{"password":"short"}`: "invalid_fields",
		`{"count":"1"}`: "invalid_json", `{"name":"x"}`: "invalid_json", `{`: "invalid_json",
	} {
		if got := a.Raw(t, "POST", "/dev/users", body); got.Code() != code || got.Status >= 500 {
			t.Errorf("%s: %d %s", body, got.Status, got.Body)
		}
	}
}

func TestLimitsAreForgotten(t *testing.T) {
	apptest.Each(t, throwaway(func(p *account.Policy) { p.AttemptsPerAccount, p.AttemptsLimit = 2, 3 }), func(t *testing.T, a *apptest.App) {
		register(t, a, "someone", someone)
		wrong := object{"email_or_name": "someone", "password": "wrong-Anchor-71-quartz"}
		for range 2 {
			a.Do(t, "POST", "/auth/login", wrong).Want(t, http.StatusUnauthorized)
		}
		a.Do(t, "POST", "/auth/login", wrong).Want(t, http.StatusTooManyRequests)
		a.Raw(t, "POST", "/dev/limits/reset", nil).Want(t, http.StatusOK)
		for range 2 {
			a.Do(t, "POST", "/auth/login", wrong).Want(t, http.StatusUnauthorized)
		}
		a.Do(t, "POST", "/auth/login", wrong).Want(t, http.StatusTooManyRequests)
		a.Raw(t, "POST", "/dev/inbox", "do=limits").Want(t, http.StatusUnprocessableEntity) // JSON is not what a form sends
		form := a.With("Content-Type", "application/x-www-form-urlencoded")
		form.Raw(t, "POST", "/dev/inbox", "do=limits").Want(t, http.StatusOK) // and shown the inbox again
		a.Do(t, "POST", "/auth/login", object{"email_or_name": "someone", "password": apptest.GoodPassword}).Want(t, http.StatusOK)
	})
}

// devCalls is every call of the face, with what it takes.
var devCalls = []struct {
	method, path string
	body         any
}{
	{"GET", "/dev", nil}, {"GET", "/dev/inbox", nil}, {"POST", "/dev/inbox", "do=clear"}, {"GET", "/dev/inbox/x", nil}, {"GET", "/dev/inbox/x/html", nil},
	{"GET", "/dev/assets/style.css", nil}, {"GET", "/dev/messages", nil}, {"DELETE", "/dev/messages", nil}, {"GET", "/dev/messages/x", nil},
	{"GET", "/dev/clock", nil}, {"POST", "/dev/clock", object{"advance": "1h"}}, {"POST", "/dev/users", object{"count": 1}}, {"POST", "/dev/limits/reset", nil},
}

// N18: there is nothing of all this unless the service was built as a throwaway
// instance, whoever asks.
func TestServiceHasNoneOfThis(t *testing.T) {
	t.Parallel()
	a := start(t, apptest.Options{TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	admin := a.NewPerson(t)
	if err := a.Service.SetRole(t.Context(), account.Caller{Kind: account.Operator}, admin.ID, account.RoleAdmin); err != nil {
		t.Fatal(err)
	}
	for _, c := range devCalls {
		for _, as := range []*apptest.Client{a.Client, admin.Client} {
			as.Do(t, c.method, c.path, c.body).Want(t, http.StatusNotFound, "not_found")
		}
	}
	if strings.Contains(string(a.Do(t, "GET", "/openapi.json", nil).Body), "/dev") {
		t.Error("the API's document speaks of it")
	}
}

// N18: nobody but the person at this machine is answered: no other machine, no
// proxy, and no page of another origin in his browser, whatever name it has.
func TestStrangersGetNothing(t *testing.T) {
	t.Parallel()
	o := throwaway(nil)
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("127.0.0.0/8")}
	o.CORSOrigins = []string{"http://localhost:3000"}
	a := start(t, o)
	register(t, a, "someone", someone)
	from := func(remote, host string, header ...string) func(*http.Request) {
		return func(r *http.Request) {
			r.RemoteAddr, r.Host = remote, host
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
		}
	}
	const here, us = "127.0.0.1:40000", "127.0.0.1:8001"
	refused := map[string]func(*http.Request){
		"another machine":               from("192.0.2.7:40000", us),
		"another machine, IPv6":         from("[2001:db8::1]:40000", us),
		"a proxy that says loopback":    from("192.0.2.7:40000", us, "X-Forwarded-For", "127.0.0.1"),
		"a proxy here":                  from(here, us, "X-Forwarded-For", "192.0.2.9"),
		"a proxy here, for itself":      from(here, us, "X-Forwarded-For", "127.0.0.1"),
		"a proxy of RFC 7239":           from(here, us, "Forwarded", "for=127.0.0.1"),
		"a tunnel":                      from(here, us, "X-Forwarded-Host", "x.example.com"),
		"a name of a stranger":          from(here, "evil.example.com:8001"),
		"a name like ours":              from(here, "localhost.example.com:8001"),
		"a name within an address":      from(here, "127.0.0.1.example.com"),
		"the public URL's name":         from(here, "id.example.com"),
		"every address":                 from(here, "0.0.0.0:8001"),
		"a name without a dot":          from(here, "intranet:8001"),
		"half an address":               from(here, "[::1:8001"),
		"no name":                       from(here, ""),
		"a page that fetches":           from(here, us, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"),
		"a page of another port":        from(here, us, "Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Origin", "http://localhost:3000"),
		"an old browser, another name":  from(here, "evil.example.com", "Origin", "http://evil.example.com"),
		"a page that embeds this":       from(here, us, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"),
		"a stranger behind the machine": from("[::ffff:192.0.2.7]:40000", us),
	}
	ask := func(change func(*http.Request), method, path string, body any) *httptest.ResponseRecorder {
		var b io.Reader
		if body != nil {
			b = strings.NewReader(fmt.Sprintf(`{"count":1,"advance":"1h"%v}`, ""))
		}
		r := httptest.NewRequest(method, path, b)
		r.Header.Set("Content-Type", "application/json")
		change(r)
		w := httptest.NewRecorder()
		a.Server.Handler().ServeHTTP(w, r)
		return w
	}
	now := a.Clock.Now()
	for name, change := range refused {
		for _, c := range devCalls {
			w := ask(change, c.method, c.path, c.body)
			if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), `"dev_only_here"`) || strings.Contains(w.Body.String(), someone) {
				t.Errorf("%s: %s %s: %d %s", name, c.method, c.path, w.Code, w.Body)
			}
			if w.Header().Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s: %s %s may be read by pages of another origin", name, c.method, c.path)
			}
		}
	}
	// A page of another origin may lead here, and cause nothing.
	visitor := from(here, us, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	for _, c := range devCalls {
		if w := ask(visitor, c.method, c.path, c.body); (w.Code == http.StatusForbidden) != (c.method != "GET") {
			t.Errorf("a visitor: %s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
	for _, other := range []string{"http://evil.example.com", "http://localhost:3000", "null", "http://127.0.0.1:9999"} { // browsers without Sec-Fetch-Site
		for _, c := range devCalls {
			if w := ask(from(here, us, "Origin", other), c.method, c.path, c.body); c.method != "GET" && w.Code != http.StatusForbidden {
				t.Errorf("a page of %s: %s %s: %d %s", other, c.method, c.path, w.Code, w.Body)
			}
		}
	}
	if a.Clock.Now() != now || len(messages(t, a, nil)) != 1 {
		t.Error("a stranger has caused something")
	}
	for _, host := range []string{us, "localhost:8001", "LOCALHOST", "[::1]:8001", "[::1]", "127.8.8.8", "app.localhost:8001"} {
		for _, remote := range []string{here, "[::1]:40000", "[::ffff:127.0.0.1]:40000"} {
			if w := ask(from(remote, host), "GET", "/dev/messages", nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), someone) {
				t.Errorf("%s from %s: %d %s", host, remote, w.Code, w.Body)
			}
		}
	}
}

// Paths and methods that are not there are answered as everywhere.
func TestWrongTurnsHaveEnvelopes(t *testing.T) {
	t.Parallel()
	a := start(t, throwaway(nil))
	for _, path := range []string{"/dev/nothing", "/dev/inbox/x/text", "/dev/assets/head.html", "/dev/assets/nothing", "/dev/clock/x", "/device"} {
		a.Do(t, "GET", path, nil).Want(t, http.StatusNotFound, "not_found")
	}
	for path, allow := range map[string]string{
		"/dev/clock": "GET, HEAD, POST", "/dev/messages": "DELETE, GET, HEAD", "/dev/users": "POST", "/dev/limits/reset": "POST", "/dev/inbox": "GET, HEAD, POST",
	} {
		if got := a.Do(t, "PUT", path, object{}).Want(t, http.StatusMethodNotAllowed, "method_not_allowed").Header.Get("Allow"); got != allow {
			t.Errorf("%s allows %q, want %q", path, got, allow)
		}
	}
}

func TestPagesShowMessagesAndLetThemDoNothing(t *testing.T) {
	t.Parallel()
	a := start(t, throwaway(nil))
	a.Inbox.Clear()
	const evil = `<script>alert(1)</script>`
	send := func(e outbox.Envelope) {
		t.Helper()
		e.CreatedAt = a.Clock.Now()
		if err := a.Inbox.Send(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(a.With("Accept-Language", "ru").Raw(t, "GET", "/dev", nil).Want(t, http.StatusOK).Body); !strings.Contains(got, "Пока ничего не пришло.") || !strings.Contains(got, `lang="ru"`) {
		t.Errorf("empty inbox: %s", got)
	}
	send(outbox.Envelope{
		ID: "one", To: someone, Lang: "en", Kind: outbox.VerifyEmail, Subject: "Hello " + evil, Text: "text " + evil, HTML: "<p>html " + evil,
		Link: apptest.PublicURL + "/account/verify?token=T&lang=en", Code: "123456",
	})
	send(outbox.Envelope{ID: "two", To: "+79853553825", Lang: "ru", Kind: outbox.VerifyPhone, Text: "Код 654321" + evil, Code: "654321"})
	send(outbox.Envelope{ID: "three", To: someone, Lang: "en", Kind: outbox.Recovered, Subject: "No link", Text: "x", HTML: "<p>x", Link: "javascript:alert(1)"})

	page := func(c *apptest.Client, path string) string {
		t.Helper()
		got := c.Raw(t, "GET", path, nil).Want(t, http.StatusOK)
		policy := got.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || got.Header.Get("X-Frame-Options") != "DENY" || got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", path, got.Header)
		}
		if strings.Contains(string(got.Body), evil) || strings.Contains(string(got.Body), `"javascript:`) {
			t.Errorf("%s runs what a message holds:\n%s", path, got.Body)
		}
		return string(got.Body)
	}
	list := page(a.Client, "/dev/inbox")
	if i, j := strings.Index(list, "/dev/inbox/three"), strings.Index(list, "/dev/inbox/one"); i < 0 || j < i {
		t.Errorf("not the newest first: %s", list)
	}
	for _, want := range []string{"123456", "654321", "verify_phone", "Hello &lt;script&gt;", "Код 654321", `data-newest="three"`} {
		if !strings.Contains(list, want) {
			t.Errorf("the inbox does not hold %q", want)
		}
	}
	for lang, words := range map[string]string{"en": "Open the link", "ru": "Открыть ссылку"} {
		one := page(a.With("Accept-Language", lang), "/dev/inbox/one")
		for _, want := range []string{words, "text &lt;script&gt;", `href="https://id.example.com/account/verify?token=T&amp;lang=en"`, `sandbox="allow-popups allow-popups-to-escape-sandbox"`} {
			if !strings.Contains(one, want) {
				t.Errorf("%s: the page does not hold %q:\n%s", lang, want, one)
			}
		}
	}
	if two := page(a.Client, "/dev/inbox/two"); strings.Contains(two, "<iframe") || !strings.Contains(two, "654321") {
		t.Errorf("page of an SMS: %s", two)
	}
	page(a.Client, "/dev/inbox/three")

	mail := a.Raw(t, "GET", "/dev/inbox/one/html", nil).Want(t, http.StatusOK)
	policy := mail.Header.Get("Content-Security-Policy")
	if string(mail.Body) != "<p>html "+evil || !strings.Contains(policy, "sandbox allow-popups allow-popups-to-escape-sandbox") ||
		!strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "script") || !strings.Contains(policy, "frame-ancestors 'self'") {
		t.Errorf("mail alone: %q %s", policy, mail.Body)
	}
	a.Raw(t, "GET", "/dev/inbox/two/html", nil).Want(t, http.StatusNotFound)
	a.Raw(t, "GET", "/dev/inbox/gone", nil).Want(t, http.StatusNotFound)
}

// The buttons of the page work without a script.
func TestButtonsWork(t *testing.T) {
	t.Parallel()
	a := start(t, throwaway(nil))
	form := a.With("Content-Type", "application/x-www-form-urlencoded")
	press := func(body string, status int) string {
		t.Helper()
		return string(form.Raw(t, "POST", "/dev/inbox", body).Want(t, status).Body)
	}
	before := a.Clock.Now()
	press("do=advance&by=720h", http.StatusOK)
	if got := press("do=advance&by=+15m+", http.StatusOK); !strings.Contains(got, "ahead of the real time by 720h15m0s") {
		t.Errorf("the page does not tell that the clock was moved: %s", got)
	}
	if got := a.Clock.Now().Sub(before); got != 720*time.Hour+15*time.Minute {
		t.Errorf("moved by %v", got)
	}
	if got := press("do=advance&by=yesterday", http.StatusUnprocessableEntity); !strings.Contains(got, `role="alert"`) {
		t.Errorf("what is wrong is not shown: %s", got)
	}
	press("do=real", http.StatusOK)
	register(t, a, "someone", someone)
	if got := press("do=clear", http.StatusOK); strings.Contains(got, someone) || !a.Clock.Now().Equal(before) {
		t.Errorf("not cleared, or not the real time: %s", got)
	}
	press("do=", http.StatusUnprocessableEntity)
}

// Many may ask and move at the same time, and nothing comes twice or not at all.
func TestDevCallsMayComeAtTheSameTime(t *testing.T) {
	t.Parallel()
	a := start(t, throwaway(nil))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go a.Outbox.Run(ctx)
	done := make(chan struct{})
	const each = 10
	for i := range each {
		go func() {
			name := fmt.Sprintf("person-%d", i)
			a.Raw(t, "POST", "/auth/register", object{"username": name, "email": name + "@example.com", "password": apptest.GoodPassword})
			a.Raw(t, "POST", "/dev/clock", object{"advance": "1m"}) // an hour might end the life of another's message
			a.Raw(t, "POST", "/dev/users", object{"count": 2, "password": apptest.GoodPassword, "token": true})
			a.Raw(t, "GET", "/dev/messages?wait=5s&to="+name+"@example.com", nil)
			done <- struct{}{}
		}()
	}
	for range each {
		<-done
	}
	var to []string
	for _, m := range messages(t, a, url.Values{"limit": {"1000"}, "kind": {"verify_email"}}) {
		to = append(to, m["to"].(string))
	}
	slices.Sort(to)
	if n := len(slices.Compact(slices.Clone(to))); n != each || len(to) != each {
		t.Errorf("%d messages to %d people, want one to each of %d: %v", len(to), n, each, to)
	}
	if got := a.Clock.Ahead(); got != each*time.Minute {
		t.Errorf("moved by %v, want %d minutes", got, each)
	}
}
