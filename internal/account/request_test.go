package account_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

// asks is every way for strangers to have something sent.
var asks = map[string]func(name string) (path string, body map[string]any){
	"recovery": func(name string) (string, map[string]any) {
		return "/auth/recover", map[string]any{"email_or_name": name}
	},
	"login code": func(name string) (string, map[string]any) {
		return "/auth/login/code/send", map[string]any{"email_or_name": name}
	},
	"login code by SMS": func(name string) (string, map[string]any) {
		return "/auth/login/code/send", map[string]any{"email_or_name": name, "via": "phone"}
	},
	"verification": func(name string) (string, map[string]any) {
		return "/auth/verify/email/send", map[string]any{"email_or_name": name}
	},
}

// given takes out of an answer what no two have in common.
func given(got *apptest.Answer) string {
	header := got.Header.Clone()
	header.Del("Date")
	header.Del("X-Request-Id")
	text := fmt.Sprint(got.Status, header, string(got.Body))
	if browser := got.Text("login_request"); browser != "" {
		text = strings.ReplaceAll(text, browser, "BROWSER")
	}
	return text
}

// P6, S-17, V50: who is unknown, disabled, unproven or known gets the same answer to
// a request for a message, after the same statements that write the same rows;
// nothing is looked up while anybody waits.
func TestRequestsForMessagesTellNothingOfAnAccount(t *testing.T) {
	t.Parallel()
	o := manyMessages()
	o.Idle = true
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		d := direct(t, a.URL)
		withPhone(t, a, newUser(t, a, "phoned", "", true), true)
		newUser(t, a, "proven", "", true)
		newUser(t, a, "unproven", "", false)
		must(t, a.Service.DisableUser(t.Context(), operator(), newUser(t, a, "disabled", "", true).ID))
		must(t, a.Service.DeleteUser(t.Context(), operator(), newUser(t, a, "deleted", "", true).ID, nil))
		for what, body := range asks {
			type seen struct{ answer, rows, entries, messages string }
			ask := func(name string) seen {
				path, form := body(name)
				before := d.read(t)
				var got *apptest.Answer
				entries := entriesOf(t, a, func() { got = a.With("Accept-Language", "ru").Do(t, "POST", path, form) })
				return seen{given(got), fmt.Sprint(differences(before, d.read(t))), fmt.Sprint(len(entries)), fmt.Sprint(len(d.rows(t, "outbox")))}
			}
			want := ask("nobody-at-all")
			if !strings.HasPrefix(want.answer, "202") || !strings.Contains(want.rows, "requests:[0 1]") {
				t.Fatalf("%s: %+v", what, want)
			}
			for _, name := range []string{"proven", "phoned", "phoned@example.com", "unproven", "unproven@example.com", "disabled", "deleted", "nobody@example.com", "@@", "a b", "x", strings.Repeat("x", 3000)} {
				if got := ask(name); got != want {
					t.Errorf("%s of %.20s:\n%+v\nof nobody:\n%+v", what, name, got, want)
				}
			}
		}
		// What waits tells nothing of whom it is for.
		for _, row := range d.rows(t, "requests") {
			for _, name := range []string{"proven", "phoned", "disabled", "nobody"} {
				for form, needle := range encodings(name) {
					if strings.Contains(row, needle) {
						t.Errorf("a request can be read, %s: %s", form, row)
					}
				}
			}
		}
		a.Deliver(t)
		if rows := d.rows(t, "requests"); len(rows) != 0 {
			t.Errorf("%d requests were not served", len(rows))
		}
		if len(a.Inbox.Messages("proven@example.com")) == 0 || len(a.Inbox.Messages("disabled@example.com")) != 1 { // that he is shut out
			t.Error("who is there was sent nothing, or who is shut out was")
		}
	})
}

// P5, F18, S-17: hundreds of requests for one address, from one network and from
// many, by every spelling: the answers are alike, the mails as many as may be, and
// what is kept is bounded. Time gives single ones back.
func TestFloodOfRequestsForOneAddress(t *testing.T) {
	t.Parallel()
	const flood, limit = 500, 5
	o := throughProxy(apptest.Options{Idle: true, Policy: func(p *account.Policy) { p.AsksPerNetwork, p.MessagesPerAddress = 1000, limit }})
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		d := direct(t, a.URL)
		p := newUser(t, a, "margarita", "", true)
		mark := tryLogin(t, a.Client, p.Username, p.Password).Want(t, 200).Header.Get(deviceHeader)
		w := newWire(t, a)
		spellings := []string{"margarita@example.com", "MARGARITA@example.com", " margarita@example.com ", "Margarita@Example.COM"}
		answers := map[string]int{}
		results := make(chan string, flood)
		together(20, func(g int) {
			for i := range flood / 20 {
				r := mustRequest(t, a, "POST", "/auth/recover", `{"email_or_name":"`+spellings[(g+i)%len(spellings)]+`"}`)
				if g%2 == 0 {
					r.Header.Set("X-Forwarded-For", fmt.Sprintf("203.0.%d.%d", g, i))
				} else {
					r.Header.Set("X-Forwarded-For", "198.51.100.7")
				}
				status, body := w.do(t, r)
				results <- fmt.Sprint(status, string(body))
			}
		})
		close(results)
		for r := range results {
			answers[r]++
		}
		if len(answers) != 1 || answers[`202{"status":"success"}`] != flood {
			t.Errorf("answers %v", answers)
		}
		if n := len(d.rows(t, "requests")); n > 2*limit { // an address with spaces is another name, of nobody
			t.Errorf("%d requests wait", n)
		}
		mails := func() (n int) {
			for _, l := range a.Letters(t, p.Email) {
				if l.Kind == outbox.Recover {
					n++
				}
			}
			return n
		}
		if n := mails(); n != limit {
			t.Errorf("%d mails, want %d", n, limit)
		}
		if rows := d.rows(t, "tokens"); len(rows) != 1 {
			t.Errorf("%d tokens", len(rows))
		}
		// Junk marks of devices give the requests budgets of their own, and no mail.
		for i := range 50 {
			junk := strings.Repeat(string(rune('a'+i%26)), len(mark)-2) + fmt.Sprintf("%02d", i)
			a.With(deviceHeader, junk).With("X-Forwarded-For", "203.0.113.9").Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": p.Email}).Want(t, 202)
		}
		if n := mails(); n != limit {
			t.Errorf("%d mails, want %d", n, limit)
		}
		// The owner's own device is not kept waiting, nor is time forgotten.
		a.With(deviceHeader, mark).Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": p.Email}).Want(t, 202)
		if n := mails(); n != limit+1 {
			t.Errorf("from a known device: %d mails, want %d", n, limit+1)
		}
		a.Clock.Move(10 * time.Minute)
		for range 3 {
			a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": p.Email}).Want(t, 202)
		}
		if n := mails(); n != limit+2 {
			t.Errorf("after ten minutes: %d mails, want %d", n, limit+2)
		}
	})
}

func mustRequest(t testing.TB, a *apptest.App, method, path, body string) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), method, a.Base()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}

// F18: one network asks for many names. It is told to wait, alike for names that
// somebody has and those that nobody has, over all ways to ask.
func TestNetworkAsksForSoMuchAndNoMore(t *testing.T) {
	t.Parallel()
	const limit = 30
	o := throughProxy(apptest.Options{Idle: true, Policy: func(p *account.Policy) { p.AsksPerNetwork = limit }})
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		newUser(t, a, "margarita", "", true)
		c := a.With("X-Forwarded-For", "203.0.113.7")
		var refusals []string
		n := 0
		for n < limit {
			for _, body := range asks {
				if path, form := body(fmt.Sprintf("name%d", n)); n < limit {
					c.Do(t, "POST", path, form).Want(t, 202)
				}
				n++
			}
		}
		for _, name := range []string{"margarita", "nobody", "margarita@example.com", "x"} {
			for _, body := range asks {
				path, form := body(name)
				got := a.With("X-Forwarded-For", "203.0.113.99").Do(t, "POST", path, form).Want(t, 429, "too_many_attempts")
				refusals = append(refusals, given(got))
			}
		}
		slices.Sort(refusals)
		if len(slices.Compact(refusals)) != 1 {
			t.Errorf("refusals differ: %v", refusals)
		}
		if n := len(direct(t, a.URL).rows(t, "requests")); n != limit {
			t.Errorf("%d requests wait, want %d", n, limit)
		}
		path, form := asks["recovery"]("margarita")
		a.With("X-Forwarded-For", "203.0.114.7").Do(t, "POST", path, form).Want(t, 202)
	})
}

// Attack: mail for somebody else's address, asked for by one's own account, which
// takes turns between two addresses, and between spellings of one (F18, V14).
func TestNobodyIsBombedWithChangesOfAddress(t *testing.T) {
	t.Parallel()
	const limit = 5
	apptest.Each(t, apptest.Options{Policy: func(p *account.Policy) { p.MessagesPerAddress = limit }}, func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "woland", "", true)
		p.Login(t, a.Client)
		refused := 0
		for i := range 40 {
			victim := []byte("victim@example.com")
			for bit := range 6 {
				if i>>bit&1 == 1 {
					victim[bit] -= 'a' - 'A'
				}
			}
			p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": fmt.Sprintf("other%d@example.com", i)}).Want(t, 200)
			got := p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": string(victim)})
			if got.Want2(t, 200, 429) == 429 {
				got.Want(t, 429, "too_many_messages")
				refused++
			}
		}
		a.Deliver(t)
		sent := 0
		for _, e := range a.Inbox.Messages("") {
			if strings.EqualFold(e.To, "victim@example.com") {
				sent++
			}
		}
		if sent != limit || refused != 40-limit {
			t.Errorf("%d mails, %d refusals", sent, refused)
		}
	})
}

var (
	linkInText = regexp.MustCompile(`(?i)\b(?:https?|ftp)://[^\s"'<>]+|\b(?:javascript|data|mailto):[^\s\x{200a}"'<>]+`)
	namespace  = regexp.MustCompile(`\bxmlns(?::\w+)?="[^"]*"`)
)

// linksIn finds all that could be followed.
func linksIn(body string) []string {
	return linkInText.FindAllString(namespace.ReplaceAllString(body, ""), -1)
}

// S-24, V17, V18, V28, V12: whatever a request says of hosts and addresses, a mail
// goes to the one address that the account has, and its links begin with the public
// URL, byte for byte.
func TestLinksAndRecipientsAreOursAndNotTheRequests(t *testing.T) {
	t.Parallel()
	o := manyMessages()
	policy := o.Policy
	o.Policy = func(p *account.Policy) { policy(p); p.Mail = true }
	o = throughProxy(o) // even from a proxy that is trusted
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		newUser(t, a, "unproven", "", false)
		p.Login(t, a.Client)
		poisoned := []func(r *http.Request){
			func(r *http.Request) { r.Host = "evil.example" },
			func(r *http.Request) { r.Host = "evil.example:443"; r.Header.Set("X-Forwarded-Host", "evil.example") },
			func(r *http.Request) { r.Header["X-Forwarded-Host"] = []string{"evil.example", "evil2.example"} },
			func(r *http.Request) {
				r.Header.Set("X-Forwarded-Proto", "evil")
				r.Header.Set("X-Forwarded-Scheme", "evil")
			},
			func(r *http.Request) { r.Header.Set("Forwarded", `for=192.0.2.1;host="evil.example";proto=http`) },
			func(r *http.Request) { r.Header.Set("Referer", "https://evil.example/") },
			func(r *http.Request) {
				r.Header.Set("X-Forwarded-Server", "evil.example")
				r.Header.Set("X-Forwarded-Prefix", "/evil")
			},
			func(r *http.Request) {
				r.Header.Set("X-Original-URL", "https://evil.example/")
				r.Header.Set("X-Rewrite-URL", "https://evil.example/")
			},
			func(r *http.Request) {
				r.Header.Set("X-HTTP-Host-Override", "evil.example")
				r.Header.Set("X-Host", "evil.example")
			},
			func(r *http.Request) {
				r.URL.RawQuery = "redirect_uri=https://evil.example&host=evil.example&email=evil@evil.example"
			},
			func(r *http.Request) { r.Header.Set("Accept-Language", "https://evil.example") },
			func(r *http.Request) { r.Header.Set("User-Agent", "Mozilla/5.0 (https://evil.example) evil.example/1") },
		}
		w := newWire(t, a)
		for i, poison := range poisoned {
			for what, body := range asks {
				for _, name := range []string{"margarita", "unproven"} {
					path, form := body(name)
					text := `{"email_or_name":"` + name + `"}`
					if form["via"] != nil {
						text = `{"email_or_name":"` + name + `","via":"phone"}`
					}
					r := mustRequest(t, a, "POST", path, text)
					poison(r)
					if status, b := w.do(t, r); status != 202 {
						t.Errorf("%s %d: %d: %s", what, i, status, b)
					}
				}
			}
			r := mustRequest(t, a, "POST", "/auth/register", fmt.Sprintf(`{"username":"fresh%d","email":"fresh%d@example.com","password":%q}`, i, i, apptest.GoodPassword))
			poison(r)
			w.do(t, r)
			r = mustRequest(t, a, "PATCH", "/"+p.ID, fmt.Sprintf(`{"email":"margarita%d@example.com"}`, i))
			r.Header.Set("Authorization", "Bearer "+p.Token)
			poison(r)
			w.do(t, r)
		}
		// Nobody is asked where to send it.
		for _, extra := range []string{
			`"email":"evil@evil.example"`, `"to":"evil@evil.example"`, `"redirect_uri":"https://evil.example"`, `"host":"evil.example"`, `"base_url":"https://evil.example"`,
			`"email_or_name":"evil@evil.example"`, `"Email_or_name":"evil@evil.example"`, `"return_to":"//evil.example"`,
		} {
			for what, body := range asks {
				path, _ := body("margarita")
				if got := a.Do(t, "POST", path, `{"email_or_name":"margarita",`+extra+`}`); got.Status != 400 {
					t.Errorf("%s with %s: %d", what, extra, got.Status)
				}
			}
		}
		for _, list := range []string{
			"margarita@example.com,evil@evil.example", "margarita@example.com;evil@evil.example", "evil@evil.example, margarita@example.com", "margarita@example.com evil@evil.example",
			"x: margarita@example.com, evil@evil.example;", "<margarita@example.com>", "margarita@example.com\r\nBcc: evil@evil.example", "margarita@example.com\u0000@evil.example",
			"margarita@example.com(evil@evil.example)", `"margarita@example.com"@evil.example`, "margarita@evil.example@example.com",
		} {
			for _, body := range asks {
				path, form := body(list)
				a.Do(t, "POST", path, form)
			}
			a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": []string{"margarita", list}}).Want(t, 400)
		}
		a.Deliver(t)
		letters := 0
		for _, e := range a.Inbox.Messages("") {
			if !strings.HasSuffix(e.To, "@example.com") || strings.Count(e.To, "@") != 1 || strings.ContainsAny(e.To, ", ;\r\n<>") {
				t.Errorf("a mail went to %q", e.To)
			}
			for _, body := range []string{e.Text, e.HTML} {
				for _, link := range linksIn(body) {
					if !strings.HasPrefix(link, apptest.PublicURL+"/account/") {
						t.Errorf("%s has a link to %s", e.Kind, link)
					} else if u, err := url.Parse(strings.ReplaceAll(link, "&amp;", "&")); err != nil || u.Host != "id.example.com" || u.Scheme != "https" || u.User != nil || len(u.Query()) != 2 || !slices.Contains([]string{"en", "ru"}, u.Query().Get("lang")) {
						t.Errorf("%s has the link %s", e.Kind, link)
					} else {
						letters++
					}
				}
			}
		}
		if letters < 50 {
			t.Errorf("only %d links: this test has seen too little", letters)
		}
	})
}

// V29, V33, S-33, S-43: a name that is a link, or HTML, makes neither of it in any
// mail, and breaks no line of a header.
func TestNamesInMailsAreNoLinks(t *testing.T) {
	t.Parallel()
	o := manyMessages()
	policy := o.Policy
	o.Policy = func(p *account.Policy) { policy(p); p.Mail = true }
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		taken := 0
		for i, name := range []string{"www.evil.example", "evil.example", "<b>evil</b>", "<a-href=evil>", "&lt;evil&gt;", "evil\"'", "//evil.example", "http://evil.ex", "javascript:evil", "{username}", "{{.Link}}", "[evil](evil.ex)"} {
			address := fmt.Sprintf("evil%d@example.com", i)
			got := a.Do(t, "POST", "/auth/register", map[string]any{"username": name, "email": address, "password": apptest.GoodPassword})
			if got.Want2(t, 201, 422) == 422 {
				continue
			}
			taken++
			a.With("User-Agent", "evil.example/1 <script>").Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": name}).Want(t, 202)
			a.Do(t, "POST", "/auth/login/code/send", map[string]any{"email_or_name": name}).Want(t, 202)
			for _, l := range a.Letters(t, address) {
				for _, body := range []string{l.Text, l.HTML} {
					for _, link := range linksIn(body) {
						if !strings.HasPrefix(link, apptest.PublicURL+"/account/") {
							t.Errorf("%s to %q has a link to %s", l.Kind, name, link)
						}
					}
					if strings.Contains(body, "evil.example") || strings.Contains(body, "evil.ex<") {
						t.Errorf("%s to %q holds what a mail program makes a link of", l.Kind, name)
					}
				}
				if strings.Contains(l.HTML, "<b>evil") || strings.Contains(l.HTML, "<a-href") || strings.Contains(l.HTML, "<script") || strings.ContainsAny(l.Subject, "\r\n") || strings.Contains(l.Subject, "evil") {
					t.Errorf("%s to %q: HTML or subject hold the name as it is", l.Kind, name)
				}
			}
		}
		if taken == 0 {
			t.Error("no such name is allowed at all: this test has seen nothing")
		}
	})
}

// F18: who asks for one name again and again waits for nothing that others need:
// once its budget is known to be empty, the database is not asked.
func TestFloodForOneNameDoesNotStandBeforeItsRow(t *testing.T) {
	t.Parallel()
	const limit = 5
	o := apptest.Options{Idle: true, Policy: func(p *account.Policy) { p.MessagesPerAddress = limit }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		recoverOf := func(name string) *apptest.Answer {
			return a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": name})
		}
		for range limit + 1 {
			recoverOf("margarita").Want(t, http.StatusAccepted)
		}
		mend := breakTable(t, direct(t, a.URL), a.Engine, "throttle")
		defer mend()
		again := func() { recoverOf("margarita").Want(t, http.StatusAccepted) }
		wantFigures(t, a, "too many requests for a name", "throttled_total", again, map[string]float64{`scope="asked"`: 1})
		if got := recoverOf("woland"); got.Status < 500 {
			t.Errorf("a budget that cannot be taken from: status %d", got.Status)
		}
	})
}

// V27: what is sent cannot be told in advance. A great many links share nothing,
// and every digit of the codes is as frequent as any other.
func TestWhatIsSentCannotBeTold(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: apptest.SQLiteURL(t), Idle: true, Policy: manyMessages().Policy})
	const n = 300
	newUser(t, a, "margarita", "", true)
	seen := map[string]bool{}
	var digits [6][10]int
	var collided atomic.Int64
	for range n {
		a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": "margarita"}).Want(t, 202)
	}
	a.Deliver(t)
	for _, l := range a.Letters(t, "margarita@example.com") {
		if seen[l.Token] || len(l.Token) != 43 {
			t.Fatalf("token %q", l.Token)
		}
		seen[l.Token] = true
		if seen[l.Code] {
			collided.Add(1)
		}
		seen[l.Code] = true
		for i, r := range l.Code {
			digits[i][r-'0']++
		}
	}
	if len(seen) < 2*n-5 || collided.Load() > 5 {
		t.Errorf("%d different links and codes of %d", len(seen), n)
	}
	for i, counts := range digits {
		chi := 0.0
		for _, c := range counts {
			d := float64(c) - n/10.0
			chi += d * d / (n / 10.0)
		}
		if chi > 40 { // nine degrees of freedom: once in a hundred thousand
			t.Errorf("digit %d: %v", i, counts)
		}
	}
}
