package web_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
	"propusk/internal/web"
)

func memory(t *testing.T, o apptest.Options) *apptest.App {
	t.Helper()
	o.DatabaseURL = "sqlite::memory:"
	return apptest.Start(t, idle(o))
}

var paths = []string{"/account/verify", "/account/undo", "/account/recover", "/account/login", "/account/register"}

// S-44, S-43: nothing of a page may be framed, kept, run, fetched or told to others.
func TestEveryPageCarriesTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	a := memory(t, apptest.Options{HTTPS: true, CORSOrigins: []string{"https://app.example"}})
	l := verifyLetter(t, a, "en")
	var answers []*apptest.Answer
	for _, path := range append([]string{"/account/", "/account/nothing", "/account/verify/", "/account//verify", "/account/x/../verify", "/account/v%65rify", "/account%2Fverify", "/account/verify%00"}, paths...) {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "FOO"} {
			answers = append(answers, a.With("Origin", "https://app.example").With("Sec-Fetch-Site", "cross-site").Raw(t, method, path, nil), a.Raw(t, method, path, nil))
		}
	}
	page := a.Raw(t, "GET", below(t, l.Link), nil)
	answers = append(answers, page, press(t, a.Client, page), press(t, a.Client, page), send(t, a.Client, "/account/recover?code", "email_or_name", "x", "code", "1", "new_password", "x"))
	css := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindSubmatch(page.Body)
	sum := sha256.Sum256(css[1])
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	for _, answer := range answers {
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin", "X-Robots-Tag": "noindex",
			"Strict-Transport-Security": "max-age=63072000; includeSubDomains", "Content-Language": "en", "Vary": "Accept-Language",
			"Access-Control-Allow-Origin": "", "Set-Cookie": "", "Location": "", "WWW-Authenticate": "",
		} {
			if got := strings.Join(answer.Header.Values(name), "|"); got != want {
				t.Errorf("%d %s: %s %q, want %q", answer.Status, titleOf(answer), name, got, want)
			}
		}
		if outside := regexp.MustCompile(`(?:src|href|action)="[^"/]|https?://|<script|<link|<img|javascript:| style=| on\w+=`).FindString(shown(answer)); outside != "" {
			t.Errorf("%q in %s", outside, shown(answer))
		}
		if regexp.MustCompile(`<(?:title|h1|button|label|p|a)\b[^>]*>\s*</`).MatchString(shown(answer)) {
			t.Errorf("words are missing: %s", shown(answer))
		}
	}
}

// There is one spelling of a path, and other methods change nothing (S-48).
func TestPagesAnswerTheirOwnPathsAndMethodsOnly(t *testing.T) {
	t.Parallel()
	a := memory(t, apptest.Options{})
	l := verifyLetter(t, a, "ru")
	before := everything(t, a)
	for _, path := range []string{"/account/", "/account/nothing", "/account/verify/", "/account//verify", "/account/x/../verify", "/account/./verify", "/account/v%65rify", "/account/Verify", "/account%2Fverify"} {
		wantTitle(t, a.Raw(t, "GET", path+"?lang=ru&token="+l.Token, nil), 404, "Такой страницы нет")
		send(t, a.Client, path, "token", l.Token).Want(t, 404)
	}
	for _, path := range paths {
		for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", "get"} {
			answer := a.With("Content-Type", "application/x-www-form-urlencoded").With("X-HTTP-Method-Override", "POST").Raw(t, method, path+"?_method=POST", "token="+l.Token)
			if answer.Want(t, 405); answer.Header.Get("Allow") != "GET, HEAD, POST" {
				t.Errorf("Allow %q", answer.Header.Get("Allow"))
			}
		}
	}
	if everything(t, a) != before {
		t.Error("the database has changed")
	}
	p := l.person // users are where they were
	p.Do(t, "GET", "/"+p.ID, nil).Want(t, 200)
	p.Do(t, "GET", "/account", nil).Want(t, 404, "not_found")
}

// S-45, V76: a form counts only from a page of ours; where a browser says that it
// comes from elsewhere, it changes nothing. The API's listed origins are no
// exception.
func TestFormsOfOtherOriginsChangeNothing(t *testing.T) {
	t.Parallel()
	a := memory(t, apptest.Options{HTTPS: true, CORSOrigins: []string{"https://app.example"}})
	l := loginLetter(t, a, "en")
	before := everything(t, a)
	for _, header := range [][2]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}, {"Origin", "https://app.example"},
		{"Origin", strings.Replace(a.Base(), "http:", "https:", 1) + ".evil.example"},
	} {
		for _, path := range paths {
			for _, form := range []string{"token=" + l.Token, "email_or_name=" + l.person.Username, "email_or_name=" + l.person.Username + "&code=" + l.Code} {
				answer := l.browser.With("Content-Type", "application/x-www-form-urlencoded").With(header[0], header[1]).Raw(t, "POST", path, form).Want(t, 403)
				wantText(t, answer, "A page of another origin may not do this.")
				if len(answer.Header["Set-Cookie"]) > 0 {
					t.Errorf("%v sets a cookie", header)
				}
			}
		}
	}
	if everything(t, a) != before {
		t.Error("the database has changed")
	}
	for _, body := range []struct{ kind, body string }{
		{"application/json", `{"token":"` + l.Token + `"}`}, {"text/plain", "token=" + l.Token}, {"multipart/form-data; boundary=x", "--x\r\n"},
	} {
		l.browser.With("Content-Type", body.kind).Raw(t, "POST", "/account/login", body.body).Want(t, 415)
	}
	for body, status := range map[string]int{
		"token=" + l.Token + "&token=" + l.Token: 400, "%zz": 400, "email_or_name=%00": 400, "email_or_name=%ff": 400, "%ff=x": 400, "token=" + strings.Repeat("x", 65<<10): 413,
	} {
		l.browser.With("Content-Type", "application/x-www-form-urlencoded").Raw(t, "POST", "/account/login", body).Want(t, status)
	}
	if everything(t, a) != before {
		t.Error("the database has changed")
	}
}

// The language is the link's, or else the one that the browser asks for.
func TestPagesSpeakTheLanguageThatIsAskedFor(t *testing.T) {
	t.Parallel()
	a := memory(t, apptest.Options{})
	for _, c := range []struct{ path, header, want string }{
		{"/account/recover", "", "Forgot your password?"}, {"/account/recover", "ru-RU,ru;q=0.9,en;q=0.8", "Забыли пароль?"},
		{"/account/recover?lang=ru", "en", "Забыли пароль?"}, {"/account/recover?lang=en", "ru", "Forgot your password?"},
		{"/account/recover?lang=de", "ru", "Забыли пароль?"}, {"/account/recover?lang=%22%3E", "kk", "Forgot your password?"},
	} {
		wantTitle(t, a.With("Accept-Language", c.header).Raw(t, "GET", c.path, nil), 200, c.want)
	}
	l := verifyLetter(t, a, "en")
	page := a.Raw(t, "GET", below(t, l.Link), nil)
	other := regexp.MustCompile(`<footer><a href="([^"]*)" lang="ru"`).FindSubmatch(page.Body)
	if other == nil {
		t.Fatalf("no way to another language: %s", shown(page))
	}
	page = wantTitle(t, a.Raw(t, "GET", html.UnescapeString(string(other[1])), nil), 200, "Подтвердите адрес почты")
	wantTitle(t, press(t, a.Client, page), 200, "Адрес подтверждён")
	only := memory(t, apptest.Options{Languages: []string{"ru"}})
	page = wantTitle(t, only.With("Accept-Language", "en").Raw(t, "GET", "/account/login?lang=en", nil), 200, "Вход без пароля")
	if strings.Contains(shown(page), "<footer>") {
		t.Errorf("leads to a language that is not on offer: %s", shown(page))
	}
}

// S-17: who asks is told the same, whether there is such an account or not, and by
// the same bytes.
func TestAskingTellsNothingOfAnAccount(t *testing.T) {
	t.Parallel()
	a := memory(t, apptest.Options{})
	known := []*apptest.Person{a.NewPerson(t), a.NewPerson(t)}
	verify(t, a, known[1])
	for _, path := range []string{"/account/verify", "/account/recover", "/account/login"} {
		var pages []string
		for _, name := range []string{known[0].Username, known[0].Email, known[1].Username, known[1].Email, "nobody", "nobody@example.com", "@@"} {
			answer := send(t, a.Client, path, "email_or_name", name).Want(t, 200)
			pages = append(pages, strings.ReplaceAll(html.UnescapeString(string(answer.Body)), name, "NAME"))
			want := 0
			if path == "/account/login" {
				want = 1
			}
			if got := len(answer.Header["Set-Cookie"]); got != want {
				t.Errorf("%s of %s sets %d cookies", path, name, got)
			}
		}
		if pages = slices.Compact(pages); len(pages) != 1 {
			t.Errorf("%s: %q", path, pages)
		}
		answer := send(t, a.Client, path, "email_or_name", " ")
		wantText(t, answer.Want(t, 422), "This field is required.")
		if len(answer.Header["Set-Cookie"]) > 0 {
			t.Error("a request that was refused has set a cookie")
		}
	}
}

// Asking is limited, and says so.
func TestAskingTooOftenIsRefusedOnAPage(t *testing.T) {
	t.Parallel()
	a := memory(t, apptest.Options{
		Policy: func(p *account.Policy) { p.AsksPerNetwork = 1 }, TrustedProxies: loopback,
	})
	c := a.With("X-Forwarded-For", "192.0.2.9")
	send(t, c, "/account/recover", "email_or_name", "somebody").Want(t, 200)
	answer := send(t, c, "/account/recover?lang=ru", "email_or_name", "somebody else").Want(t, 429)
	wantText(t, answer, `value="somebody else"`, `role="alert"`)
	if answer.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// V19, S-27: a new password takes a link or a code; a mistake costs neither, stands
// beside its field in the visitor's language, and loses nothing but the password.
// Nobody is logged in by it.
func TestRecoveryOnPages(t *testing.T) {
	t.Parallel()
	a := memory(t, apptest.Options{})
	for _, lang := range []string{"en", "ru"} {
		l := recoverLetter(t, a, lang)
		common := map[string]string{"en": "among the most common ones", "ru": "входит в число самых распространённых"}[lang]
		page := l.browser.Raw(t, "GET", below(t, l.Link), nil)
		refused := press(t, a.Client, page, "new_password", "password1").Want(t, 422)
		wantText(t, refused, common, `aria-invalid="true"`, `aria-describedby="new_password-hint new_password-fault"`, `id="new_password-fault"`, `autocomplete="new-password"`)
		if strings.Contains(shown(refused), "password1") {
			t.Errorf("the password is shown: %s", shown(refused))
		}
		if hidden := hiddenToken.FindSubmatch(refused.Body); hidden == nil || string(hidden[1]) != l.Token {
			t.Errorf("the token is lost: %s", shown(refused))
		}
		end := wantTitle(t, press(t, a.Client, refused, "new_password", otherPassword), 200, l.done[lang])
		if len(end.Header["Set-Cookie"]) > 0 || !l.proof(t) {
			t.Error("logged in, or not done")
		}
		a.Clock.Move(time.Hour)

		l = recoverLetter(t, a, lang)
		asked := "/account/recover?lang=" + lang
		name := l.person.Username
		refused = send(t, a.Client, asked, "email_or_name", name, "code", "", "new_password", otherPassword).Want(t, 422)
		wantText(t, refused, map[string]string{"en": "The code is six digits.", "ru": "Код состоит из шести цифр."}[lang], `id="code-fault"`, `value="`+name+`"`)
		refused = send(t, a.Client, asked, "email_or_name", name, "code", wrong(l.Code), "new_password", otherPassword).Want(t, 403)
		wantText(t, refused, map[string]string{"en": "The code is wrong or has expired.", "ru": "Код неверен или устарел."}[lang], `id="code-fault"`, `value="`+wrong(l.Code)+`"`)
		refused = send(t, a.Client, asked, "email_or_name", "", "code", l.Code, "new_password", otherPassword).Want(t, 422)
		wantText(t, refused, `id="email_or_name-fault"`, `value="`+l.Code+`"`)
		send(t, a.Client, asked, "email_or_name", name, "token", l.Token, "code", l.Code, "new_password", otherPassword).Want(t, 200) // the link decides
		wantTitle(t, send(t, a.Client, asked, "email_or_name", name, "code", l.Code, "new_password", "once-more-"+otherPassword), 403, map[string]string{"en": "Set a new password", "ru": "Задайте новый пароль"}[lang])
		a.Clock.Move(time.Hour)

		l = recoverLetter(t, a, lang)
		wantTitle(t, send(t, a.Client, asked, "email_or_name", l.person.Username, "code", " "+l.Code[:3]+"-"+l.Code[3:]+" ", "new_password", otherPassword), 200, l.done[lang])
		a.Clock.Move(time.Hour)
	}
}

func wrong(code string) string {
	if code == "111111" {
		return "222222"
	}
	return "111111"
}

// The codes of a registration and of an address do what the links do.
func TestCodesOnPages(t *testing.T) {
	t.Parallel()
	a := memory(t, apptest.Options{})
	l := verifyLetter(t, a, "en")
	page := a.Raw(t, "GET", "/account/verify?code", nil).Want(t, 200)
	wantTitle(t, press(t, a.Client, page, "email_or_name", l.person.Username, "code", wrong(l.Code)), 403, "Confirm your email address")
	wantTitle(t, press(t, a.Client, page, "email_or_name", l.person.Username, "code", l.Code), 200, "The address is confirmed")
	send(t, a.Client, "/account/verify", "email_or_name", a.NewPerson(t).Username).Want(t, 200)
	later := memory(t, optionsFor("register"))
	n := registerLetter(t, later, "en")
	page = later.Raw(t, "GET", "/account/register", nil).Want(t, 200)
	wantTitle(t, press(t, later.Client, page, "email_or_name", n.person.Email, "code", n.Code), 200, "Your account is ready")
	if !n.proof(t) {
		t.Error("there is no account")
	}
	wantTitle(t, a.Raw(t, "GET", "/account/undo", nil), 200, "Open the link from the message")
	send(t, a.Client, "/account/undo", "email_or_name", "x", "code", "123456").Want(t, 403)
}

// A name that was taken while the mail was on its way is told.
func TestRegistrationOfATakenNameIsRefusedOnAPage(t *testing.T) {
	t.Parallel()
	a := memory(t, optionsFor("register"))
	one, other := registerLetter(t, a, "en"), &apptest.Person{Email: "other@example.com", Password: apptest.GoodPassword}
	other.Username = one.person.Username
	later(t, a, other, "en")
	l := a.Letter(t, other.Email, outbox.Register)
	press(t, a.Client, a.Raw(t, "GET", below(t, one.Link), nil)).Want(t, 200)
	refused := press(t, a.Client, a.Raw(t, "GET", below(t, l.Link), nil)).Want(t, 409)
	wantText(t, refused, "That username, or one that looks like it, is already in use.", `role="alert"`)
}

// V76: a link to log in with is good in the browser that asked for it. Another one
// is shown the code, gets no cookie, and cannot use the link up.
func TestLoginLinkBelongsToItsBrowser(t *testing.T) {
	t.Parallel()
	apptest.Each(t, idle(apptest.Options{HTTPS: true}), func(t *testing.T, a *apptest.App) {
		l := loginLetter(t, a, "en")
		stranger := keep(a.Client, send(t, a.Client, "/account/login", "email_or_name", "nobody"))
		for _, c := range []*apptest.Client{a.Client, stranger, a.With("Cookie", "__Host-propusk-login="), a.With("Cookie", "propusk-login="+l.Token)} {
			page := wantTitle(t, c.Raw(t, "GET", below(t, l.Link), nil), 200, "Your sign-in code")
			wantText(t, page, "<code>"+l.Code+"</code>")
			if strings.Contains(shown(page), "<form") || len(page.Header["Set-Cookie"]) > 0 {
				t.Errorf("%v %s", page.Header, shown(page))
			}
			if refused := wantTitle(t, send(t, c, "/account/login", "token", l.Token), 403, "This link no longer works"); len(refused.Header["Set-Cookie"]) > 0 {
				t.Errorf("%v", refused.Header)
			}
		}
		signedIn := wantTitle(t, press(t, l.browser, l.browser.Raw(t, "GET", below(t, l.Link), nil)), 200, "You are signed in")
		cookies := cookiesOf(signedIn)
		session, login := cookies["__Host-propusk-session"], cookies["__Host-propusk-login"]
		if len(cookies) != 3 || session == nil || login == nil || login.MaxAge >= 0 || login.Value != "" {
			t.Fatalf("cookies %v", signedIn.Header["Set-Cookie"])
		}
		for name, c := range cookies {
			if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
				t.Errorf("%s: %v", name, c)
			}
		}
		if me := keep(a.Client, signedIn).Do(t, "GET", "/auth/session", nil).Want(t, 200); me.Text("user_id") != l.person.ID {
			t.Errorf("logged in as %s", me.Text("user_id"))
		}
		if strings.Contains(string(signedIn.Body), session.Value) {
			t.Error("the page shows the token of the session")
		}
		wantTitle(t, l.browser.Raw(t, "GET", below(t, l.Link), nil), 403, "This link no longer works")
	})
}

// S-54, V102: no token, code, name or password of a page is in the log, which has
// one line for each request, with the route and nothing of the query.
func TestPagesAreLoggedByTheirRoute(t *testing.T) {
	t.Parallel()
	a := memory(t, apptest.Options{Debug: true})
	l := loginLetter(t, a, "en")
	lines := func() int { return bytes.Count([]byte(a.Log.String()), []byte(`"msg":"request"`)) }
	before := lines()
	page := l.browser.Raw(t, "GET", below(t, l.Link), nil)
	end := press(t, l.browser, page)
	send(t, a.Client, "/account/recover?token=canary-in-query", "email_or_name", "canary-name", "code", "canary-code", "new_password", "canary-password")
	a.Raw(t, "GET", "/account/canary-path?token=canary-in-query", nil)
	a.Raw(t, "GET", "/account/verify?token=canary-in-query", nil)
	if n := lines() - before; n != 5 {
		t.Errorf("%d lines for 5 requests", n)
	}
	log := a.Log.String()
	for _, secret := range []string{"canary", l.Token, l.Code, cookiesOf(end)["propusk-session"].Value, l.person.Username} {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	for _, want := range []string{`"method":"GET","route":"/account/login","status":200`, `"method":"POST","route":"/account/login","status":200`, `"user_id":"` + l.person.ID + `"`, `"route":"none","status":404`, `"code":"invalid_fields"`} {
		if !strings.Contains(log, want) {
			t.Errorf("%s is not in the log", want)
		}
	}
}

// S-56, V78: where the database is away, a page says so without a word of the
// inside, with the number of the request, and the form is still there.
func TestPagesDuringAnOutage(t *testing.T) {
	t.Parallel()
	a := memory(t, apptest.Options{})
	l := verifyLetter(t, a, "ru")
	login := loginLetter(t, a, "ru")
	page := a.Raw(t, "GET", below(t, l.Link), nil).Want(t, 200)
	if _, err := a.DB.Exec(t.Context(), `ALTER TABLE tokens RENAME TO canary`); err != nil {
		t.Fatal(err)
	}
	kept := press(t, a.Client, page)
	for _, answer := range []*apptest.Answer{kept, a.Raw(t, "GET", below(t, login.Link), nil)} {
		wantText(t, answer.Want(t, 500), "На нашей стороне произошла ошибка", "Номер запроса для оператора: "+answer.Header.Get("X-Request-Id"))
		if strings.Contains(shown(answer), "tokens") || strings.Contains(shown(answer), "SQL") {
			t.Errorf("tells of the inside: %s", shown(answer))
		}
	}
	if _, err := a.DB.Exec(t.Context(), `ALTER TABLE canary RENAME TO tokens`); err != nil {
		t.Fatal(err)
	}
	wantTitle(t, press(t, a.Client, kept), 200, "Адрес подтверждён")
}

// S-43, V74: what a stranger puts into the query or a form is shown as text, if at
// all.
func TestNothingThatIsSentIsMarkup(t *testing.T) {
	t.Parallel()
	a := memory(t, apptest.Options{})
	for _, polyglot := range polyglots {
		escaped := func(answer *apptest.Answer) {
			t.Helper()
			for _, part := range []string{"<script", "<svg", "<img", "<iframe", `onfocus="`} {
				if strings.Contains(shown(answer), part) {
					t.Errorf("%q: %s in %s", polyglot, part, shown(answer))
				}
			}
		}
		query := "?lang=" + escape(polyglot) + "&token=" + escape(polyglot) + "&code=" + escape(polyglot) + "&email_or_name=" + escape(polyglot)
		for _, path := range paths {
			escaped(a.Raw(t, "GET", path+query, nil))
			escaped(send(t, a.Client, path+query, "token", polyglot, "email_or_name", polyglot, "code", polyglot, "new_password", polyglot))
			escaped(send(t, a.Client, path+query, "email_or_name", polyglot, "code", polyglot, "new_password", polyglot))
			escaped(send(t, a.Client, path+query, "email_or_name", polyglot))
		}
		asked := send(t, a.Client, "/account/recover", "email_or_name", polyglot).Want(t, 200)
		if n := strings.Count(html.UnescapeString(shown(asked)), polyglot); n != 2 && !strings.Contains(polyglot, "&") {
			t.Errorf("%q is shown %d times: %s", polyglot, n, shown(asked))
		}
	}
}

func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "%%%02x", c)
	}
	return b.String()
}

// S-43, V29: an address is shown as it is.
func TestConfirmedAddressIsShownAsText(t *testing.T) {
	t.Parallel()
	a := memory(t, apptest.Options{})
	address := `{email}&lt'!#$%*+/=?^_|~@example.com`
	id := a.Do(t, "POST", "/auth/register", map[string]any{"username": "oddly", "email": address, "password": apptest.GoodPassword}).Want(t, 201).Text("user_id")
	send(t, a.Client, "/account/verify", "email_or_name", "oddly").Want(t, 200)
	l := a.Letter(t, address, outbox.VerifyEmail)
	end := press(t, a.Client, a.Raw(t, "GET", below(t, l.Link), nil)).Want(t, 200)
	if want := "<bdi>" + strings.NewReplacer("&", "&amp;", "'", "&#39;").Replace(address) + "</bdi>"; !strings.Contains(shown(end), want) || id == "" {
		t.Errorf("%s is not in %s", want, shown(end))
	}
}

// Both languages have every sentence, with the same values in it.
func TestWordsAreWhole(t *testing.T) {
	t.Parallel()
	value := regexp.MustCompile(`\{\w+\}`)
	for key, w := range web.Words {
		if w.EN == "" || w.RU == "" || !slices.Equal(value.FindAllString(w.EN, -1), value.FindAllString(w.RU, -1)) {
			t.Errorf("%s: %q, %q", key, w.EN, w.RU)
		}
	}
}
