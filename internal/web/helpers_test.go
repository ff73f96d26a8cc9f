package web_test

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/db"
	"propusk/internal/outbox"
)

// idle is a service that does nothing by itself, so that whatever is different in
// its database was done by a request.
func idle(o apptest.Options) apptest.Options {
	o.Idle = true
	return o
}

// below is the part of a link below the public URL.
func below(t testing.TB, link string) string {
	t.Helper()
	path, ok := strings.CutPrefix(link, apptest.PublicURL)
	if !ok {
		t.Fatalf("link %q does not lead to %s", link, apptest.PublicURL)
	}
	return path
}

// send sends a form, as a browser does from the page that shows it.
func send(t testing.TB, c *apptest.Client, path string, fields ...string) *apptest.Answer {
	t.Helper()
	form := url.Values{}
	for pair := range slices.Chunk(fields, 2) {
		form.Set(pair[0], pair[1])
	}
	return c.With("Content-Type", "application/x-www-form-urlencoded").With("Sec-Fetch-Site", "same-origin").Raw(t, "POST", path, form.Encode())
}

var (
	hiddenToken = regexp.MustCompile(`<input type="hidden" name="token" value="([^"]*)">`)
	action      = regexp.MustCompile(`<form method="post" action="([^"]*)">`)
	title       = regexp.MustCompile(`<h1>(?:<span.*</span> )?([^<]*)</h1>`)
)

// press sends the form of a page that was got, with its token.
func press(t testing.TB, c *apptest.Client, page *apptest.Answer, fields ...string) *apptest.Answer {
	t.Helper()
	to := action.FindSubmatch(page.Body)
	if to == nil {
		t.Fatalf("no form: %s", shown(page))
	}
	if m := hiddenToken.FindSubmatch(page.Body); m != nil {
		fields = append(fields, "token", html.UnescapeString(string(m[1])))
	}
	return send(t, c, html.UnescapeString(string(to[1])), fields...)
}

var style = regexp.MustCompile(`(?s)<style>.*</style>`)

// shown is what a page shows.
func shown(a *apptest.Answer) string { return style.ReplaceAllString(string(a.Body), "") }

func titleOf(a *apptest.Answer) string {
	m := title.FindSubmatch(a.Body)
	if m == nil {
		return ""
	}
	return html.UnescapeString(string(m[1]))
}

func wantTitle(t testing.TB, a *apptest.Answer, status int, want string) *apptest.Answer {
	t.Helper()
	if a.Status != status || titleOf(a) != want {
		t.Fatalf("%d %q, want %d %q: %s", a.Status, titleOf(a), status, want, shown(a))
	}
	return a
}

func wantText(t testing.TB, a *apptest.Answer, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(html.UnescapeString(shown(a)), part) {
			t.Errorf("%q is not in %s", part, shown(a))
		}
	}
}

// cookiesOf gives the cookies that an answer sets, by name.
func cookiesOf(a *apptest.Answer) map[string]*http.Cookie {
	out := map[string]*http.Cookie{}
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		out[c.Name] = c
	}
	return out
}

// keep gives a client that sends the cookies which an answer has set.
func keep(c *apptest.Client, a *apptest.Answer) *apptest.Client {
	for name, cookie := range cookiesOf(a) {
		if cookie.MaxAge > 0 {
			c = c.With("Cookie", name+"="+cookie.Value)
		}
	}
	return c
}

// everything is every row in the database.
func everything(t testing.TB, a *apptest.App) string {
	t.Helper()
	list := func(query string, args ...any) (out []string) {
		err := a.DB.Query(t.Context(), query, args, func(scan func(...any) error) error {
			var s string
			err := scan(&s)
			out = append(out, s)
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return out
	}
	tables, row := `SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1`, func(table string) string {
		return `t::text FROM ` + table + ` t`
	}
	if a.Engine == db.SQLite {
		tables, row = `SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1`, func(table string) string {
			columns := list(`SELECT 'quote(' || name || ')' FROM pragma_table_info($1)`, table)
			return strings.Join(columns, ` || ',' || `) + ` FROM ` + table
		}
	}
	var b strings.Builder
	seen := list(tables)
	for _, table := range seen {
		rows := list(`SELECT ` + row(table))
		slices.Sort(rows)
		fmt.Fprintf(&b, "%s: %s\n", table, strings.Join(rows, "\n"))
	}
	if !slices.Contains(seen, "tokens") || !slices.Contains(seen, "events") {
		t.Fatalf("these are not all tables: %q", seen)
	}
	return b.String()
}

// letters is a link of each kind, freshly sent, and what its page is about.
type letter struct {
	apptest.Letter
	path    string
	person  *apptest.Person
	browser *apptest.Client       // of whoever asked
	fields  []string              // that the form wants besides
	done    map[string]string     // title of the end, by language
	proof   func(testing.TB) bool // tells whether it was done
}

func verifyLetter(t testing.TB, a *apptest.App, lang string) letter {
	p := a.NewPerson(t)
	p.With("Accept-Language", lang).Do(t, "POST", "/auth/verify/email/send", map[string]any{}).Want(t, 202)
	return letter{
		Letter: a.Letter(t, p.Email, outbox.VerifyEmail), path: "/account/verify", person: p, browser: a.Client,
		done:  map[string]string{"en": "The address is confirmed", "ru": "Адрес подтверждён"},
		proof: func(t testing.TB) bool { return p.Do(t, "GET", "/"+p.ID, nil).Text("user_role") == "Verified" },
	}
}

func verify(t testing.TB, a *apptest.App, p *apptest.Person) {
	t.Helper()
	p.Do(t, "POST", "/auth/verify/email/send", map[string]any{}).Want(t, 202)
	l := a.Letter(t, p.Email, outbox.VerifyEmail)
	a.Do(t, "POST", "/auth/verify/email", map[string]any{"token": l.Token}).Want(t, 200)
}

func undoLetter(t testing.TB, a *apptest.App, lang string) letter {
	p := a.NewPerson(t)
	verify(t, a, p)
	old, other := p.Email, "other-"+strings.ToLower(p.Email)
	c := p.With("Accept-Language", lang)
	c.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": other}).Want(t, 200)
	a.With("Accept-Language", lang).Do(t, "POST", "/auth/verify/email", map[string]any{"token": a.Letter(t, other, outbox.EmailChangeConfirm).Token}).Want(t, 200)
	return letter{
		Letter: a.Letter(t, old, outbox.EmailChanged), path: "/account/undo", person: p, browser: a.Client,
		done: map[string]string{"en": "The old address is back", "ru": "Прежний адрес возвращён"},
		proof: func(t testing.TB) bool {
			return a.Do(t, "POST", "/auth/login", map[string]any{"email_or_name": p.Username, "password": p.Password}).Status != 200
		},
	}
}

const otherPassword = "copper-Lantern-58-meadow"

func recoverLetter(t testing.TB, a *apptest.App, lang string) letter {
	p := a.NewPerson(t)
	a.With("Accept-Language", lang).Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": p.Username}).Want(t, 202)
	return letter{
		Letter: a.Letter(t, p.Email, outbox.Recover), path: "/account/recover", person: p, browser: a.Client,
		fields: []string{"new_password", otherPassword},
		done:   map[string]string{"en": "The password is set", "ru": "Новый пароль сохранён"},
		proof: func(t testing.TB) bool {
			return a.Do(t, "POST", "/auth/login", map[string]any{"email_or_name": p.Username, "password": otherPassword}).Status == 200
		},
	}
}

func loginLetter(t testing.TB, a *apptest.App, lang string) letter {
	p := a.NewPerson(t)
	verify(t, a, p)
	asked := send(t, a.Client, "/account/login?lang="+lang, "email_or_name", p.Username).Want(t, 200)
	l := letter{
		Letter: a.Letter(t, p.Email, outbox.LoginCode), path: "/account/login", person: p, browser: keep(a.Client, asked),
		done: map[string]string{"en": "You are signed in", "ru": "Вы вошли"},
	}
	l.proof = func(t testing.TB) bool {
		n := 0
		err := a.DB.QueryRow(t.Context(), `SELECT count(*) FROM sessions WHERE user_id = $1`, []any{p.ID}, &n)
		if err != nil {
			t.Fatal(err)
		}
		return n == 2 // the person is logged in already
	}
	return l
}

var newcomers = 0

func registerLetter(t testing.TB, a *apptest.App, lang string) letter {
	newcomers++
	p := &apptest.Person{Username: fmt.Sprintf("newcomer%d", newcomers), Password: apptest.GoodPassword}
	p.Email = p.Username + "@example.com"
	later(t, a, p, lang)
	return letter{
		Letter: a.Letter(t, p.Email, outbox.Register), path: "/account/register", person: p, browser: a.Client,
		done: map[string]string{"en": "Your account is ready", "ru": "Аккаунт создан"},
		proof: func(t testing.TB) bool {
			return a.Do(t, "POST", "/auth/login", map[string]any{"email_or_name": p.Username, "password": p.Password}).Status == 200
		},
	}
}

func later(t testing.TB, a *apptest.App, p *apptest.Person, lang string) {
	t.Helper()
	a.With("Accept-Language", lang).Do(t, "POST", "/auth/register", map[string]any{"username": p.Username, "email": p.Email, "password": p.Password}).Want(t, http.StatusAccepted)
}

// writers has a letter of each kind written.
var writers = map[string]func(testing.TB, *apptest.App, string) letter{
	"verify": verifyLetter, "undo": undoLetter, "recover": recoverLetter, "login": loginLetter, "register": registerLetter,
}

// optionsFor are those of a service that writes a letter.
func optionsFor(name string) (o apptest.Options) {
	if name == "register" {
		o.Policy = func(p *account.Policy) { p.Registration = account.RegistrationVerifyFirst }
	}
	return o
}

// each runs f with a fresh letter of each kind in each language.
func each(t *testing.T, o apptest.Options, f func(t *testing.T, a *apptest.App, l letter, lang string)) {
	t.Helper()
	apptest.Each(t, idle(o), func(t *testing.T, a *apptest.App) {
		verifyFirst := o
		verifyFirst.DatabaseURL, verifyFirst.Policy = "sqlite::memory:", optionsFor("register").Policy
		later := apptest.Start(t, idle(verifyFirst))
		for _, lang := range []string{"en", "ru"} {
			for name, write := range writers {
				t.Run(name+" "+lang, func(t *testing.T) {
					app := a
					if name == "register" {
						app = later
					}
					f(t, app, write(t, app, lang), lang)
					app.Clock.Move(time.Hour) // budgets are full again
				})
			}
		}
	})
}

// polyglots are what would run where it is not escaped, whatever is around it.
var polyglots = []string{
	`"><script>alert(1)</script>`, `'"--></style></script><svg onload=alert(1)>`, `<img src=x onerror=alert(1)>`, `javascript:alert(1)`,
	`{{.Service}}{{printf "%v" .}}`, `" autofocus onfocus="alert(1)`, `</title><iframe srcdoc="<script>parent.alert(1)</script>">`, `{name}{email}&lt;&#x3c;`,
}
