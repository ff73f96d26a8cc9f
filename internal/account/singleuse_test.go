package account_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

// sendable is something that is sent out to be brought back once.
type sendable struct {
	name           string
	link, code     time.Duration                                                           // how long they live; 0: there is none
	fromTheRequest bool                                                                    // it is handed over at once, and lives from then
	ask            func(t testing.TB, a *apptest.App, who string) (receive func() brought) // who: a name that nobody has yet
}

// brought is what came, and where it is to be brought.
type brought struct {
	token    string // of a session that is needed; "" for none
	path     string
	common   map[string]any // in the body, beside the token of the link, or the code and the name
	name     string
	link     string // the token
	code     string
	nameless bool // the code is for the caller's own account
}

// body is what is sent to path.
func (b brought) body(byLink bool) map[string]any {
	m := maps.Clone(b.common)
	switch {
	case m == nil:
		m = map[string]any{}
	}
	switch {
	case byLink:
		m["token"] = b.link
	case b.nameless:
		m["code"] = b.code
	default:
		m["code"], m["email_or_name"] = b.code, b.name
	}
	return m
}

func (b brought) bring(t testing.TB, a *apptest.App, byLink bool) *apptest.Answer {
	t.Helper()
	c := a.Client
	if b.token != "" {
		c = c.As(b.token)
	}
	return c.Do(t, "POST", b.path, b.body(byLink))
}

// verifyFirst lets all of them be sent by one service.
func verifyFirst() apptest.Options {
	return apptest.Options{Policy: func(p *account.Policy) {
		p.Registration = account.RegistrationVerifyFirst
		p.AttemptsPerNetwork, p.MessagesPerAddress = 1<<20, 1<<20
	}}
}

var phones atomic.Int64

// newPhone is a number that nobody has.
func newPhone() string { return fmt.Sprintf("+7985%07d", 3550000+phones.Add(1)) }

// withPhone gives somebody a number, and proves it where asked.
func withPhone(t testing.TB, a *apptest.App, p *apptest.Person, proven bool) string {
	t.Helper()
	number := newPhone()
	p.Login(t, a.Client)
	p.Do(t, "PATCH", "/"+p.ID, map[string]any{"contact_number": number}).Want(t, http.StatusOK)
	if proven {
		p.Do(t, "POST", "/auth/verify/phone/send", nil).Want(t, http.StatusAccepted)
		p.Do(t, "POST", "/auth/verify/phone", map[string]any{"code": a.Letter(t, number, outbox.VerifyPhone).Code}).Want(t, http.StatusOK)
	}
	return number
}

func sendables() []sendable {
	const day = 24 * time.Hour
	accepted := http.StatusAccepted
	password := map[string]any{"new_password": nextPassword}
	return []sendable{
		{"verify_email", day, 10 * time.Minute, false, func(t testing.TB, a *apptest.App, who string) func() brought {
			p := newUser(t, a, who, "", false)
			a.Do(t, "POST", "/auth/verify/email/send", map[string]any{"email_or_name": who}).Want(t, accepted)
			return func() brought {
				l := a.Letter(t, p.Email, outbox.VerifyEmail)
				return brought{path: "/auth/verify/email", name: who, link: l.Token, code: l.Code}
			}
		}},
		{"change_email", day, 10 * time.Minute, false, func(t testing.TB, a *apptest.App, who string) func() brought {
			p := newUser(t, a, who, "", true)
			p.Login(t, a.Client)
			p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": "new-" + p.Email}).Want(t, http.StatusOK)
			return func() brought {
				l := a.Letter(t, "new-"+p.Email, outbox.EmailChangeConfirm)
				return brought{path: "/auth/verify/email", name: who, link: l.Token, code: l.Code}
			}
		}},
		{"undo_email_change", 3 * day, 0, false, func(t testing.TB, a *apptest.App, who string) func() brought {
			p := newUser(t, a, who, "", true)
			changeEmail(t, a, p, "new-"+p.Email)
			return func() brought {
				return brought{path: "/auth/verify/email/undo", link: a.Letter(t, who+"@example.com", outbox.EmailChanged).Token}
			}
		}},
		{"verify_phone", 0, 10 * time.Minute, false, func(t testing.TB, a *apptest.App, who string) func() brought {
			p := newUser(t, a, who, "", false)
			number := withPhone(t, a, p, false)
			p.Do(t, "POST", "/auth/verify/phone/send", nil).Want(t, accepted)
			return func() brought {
				return brought{token: p.Token, path: "/auth/verify/phone", nameless: true, code: a.Letter(t, number, outbox.VerifyPhone).Code}
			}
		}},
		{"recover", 15 * time.Minute, 15 * time.Minute, false, func(t testing.TB, a *apptest.App, who string) func() brought {
			p := newUser(t, a, who, "", true)
			a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": who}).Want(t, accepted)
			return func() brought {
				l := a.Letter(t, p.Email, outbox.Recover)
				return brought{path: "/auth/recover/confirm", name: who, common: password, link: l.Token, code: l.Code}
			}
		}},
		{"recover_issued", day, 0, true, func(t testing.TB, a *apptest.App, who string) func() brought {
			p := newUser(t, a, who, "", true)
			token, _, _, err := a.Service.IssueRecovery(t.Context(), operator(), p.ID)
			if err != nil {
				t.Fatal(err)
			}
			return func() brought {
				return brought{path: "/auth/recover/confirm", common: password, link: token.Reveal()}
			}
		}},
		{"login", 10 * time.Minute, 10 * time.Minute, false, func(t testing.TB, a *apptest.App, who string) func() brought {
			p := newUser(t, a, who, "", true)
			browser := a.Do(t, "POST", "/auth/login/code/send", map[string]any{"email_or_name": who}).Want(t, accepted).Text("login_request")
			return func() brought {
				l := a.Letter(t, p.Email, outbox.LoginCode)
				return brought{path: "/auth/login/code", name: p.Email, common: map[string]any{"login_request": browser}, link: l.Token, code: l.Code}
			}
		}},
		{"login by SMS", 0, 10 * time.Minute, false, func(t testing.TB, a *apptest.App, who string) func() brought {
			p := newUser(t, a, who, "", true)
			number := withPhone(t, a, p, true)
			a.Do(t, "POST", "/auth/login/code/send", map[string]any{"email_or_name": who, "via": "phone"}).Want(t, accepted)
			return func() brought {
				return brought{path: "/auth/login/code", name: who, code: a.Letter(t, number, outbox.LoginCode).Code}
			}
		}},
		{"register", day, 10 * time.Minute, false, func(t testing.TB, a *apptest.App, who string) func() brought {
			email := who + "@example.com"
			a.Do(t, "POST", "/auth/register", map[string]any{"username": who, "email": email, "password": apptest.GoodPassword}).Want(t, accepted)
			return func() brought {
				l := a.Letter(t, email, outbox.Register)
				return brought{path: "/auth/register/confirm", name: email, link: l.Token, code: l.Code}
			}
		}},
	}
}

// changeEmail gives somebody another address, which he proves.
func changeEmail(t testing.TB, a *apptest.App, p *apptest.Person, to string) {
	t.Helper()
	p.Login(t, a.Client)
	p.Do(t, "PATCH", "/"+p.ID, map[string]any{"email": to}).Want(t, http.StatusOK)
	a.Do(t, "POST", "/auth/verify/email", map[string]any{"token": a.Letter(t, to, outbox.EmailChangeConfirm).Token}).Want(t, http.StatusOK)
	p.Email = to
}

// forms calls f for the link and for the code of each, where there is one.
func forms(f func(s sendable, byLink bool, what string)) {
	for _, s := range sendables() {
		if s.link > 0 {
			f(s, true, s.name+", link")
		}
		if s.code > 0 {
			f(s, false, s.name+", code")
		}
	}
}

// P3, S-26, V20, V30, S-57: of fifty who bring one link or code at once exactly
// one wins, and nobody after him; not on another node either, nor after a restart.
func TestWhatIsSentWorksOnce(t *testing.T) {
	t.Parallel()
	const uses = 50
	apptest.Each(t, verifyFirst(), func(t *testing.T, a *apptest.App) {
		b := anotherNode(t, a, verifyFirst())
		wires := []*wire{newWire(t, a), newWire(t, b)}
		n := 0
		forms(func(s sendable, byLink bool, what string) {
			n++
			got := s.ask(t, a, fmt.Sprintf("once%d", n))()
			body, err := json.Marshal(got.body(byLink))
			must(t, err)
			var won, lost, other atomic.Int64
			together(uses, func(i int) {
				switch code, answer := wires[i%2].send(t, "POST", got.path, got.token, string(body)); code {
				case 200, 201:
					won.Add(1)
				case 401, 429:
					lost.Add(1)
				default:
					other.Add(1)
					t.Errorf("%s: %d: %s", what, code, answer)
				}
			})
			if won.Load() != 1 || lost.Load() != uses-1 {
				t.Errorf("%s: %d won, %d lost, %d others", what, won.Load(), lost.Load(), other.Load())
			}
			restarted := b // which has heard of nothing but through the database
			if again := got.bring(t, restarted, byLink); again.Status != 401 && again.Status != 429 {
				t.Errorf("%s, again: %d: %s", what, again.Status, again.Body)
			}
		})
	})
}

// V22, F9: a link and a code are good to the second before their end and not
// at it, counted from the moment in which they were sent, however long they had
// to wait for that.
func TestWhatIsSentLivesAsLongAsPromisedFromTheSending(t *testing.T) {
	t.Parallel()
	apptest.Each(t, verifyFirst(), func(t *testing.T, a *apptest.App) {
		n := 0
		for _, late := range []bool{false, true} {
			forms(func(s sendable, byLink bool, what string) {
				n++
				receive := s.ask(t, a, fmt.Sprintf("lives%d", n))
				if !s.fromTheRequest {
					a.Clock.Move(40 * time.Minute)
				}
				got := receive()
				lifetime := map[bool]time.Duration{true: s.link, false: s.code}[byLink]
				if late {
					a.Clock.Move(lifetime)
					if answer := got.bring(t, a, byLink); answer.Status != http.StatusUnauthorized {
						t.Errorf("%s, at its end: %d: %s", what, answer.Status, answer.Body)
					}
					return
				}
				a.Clock.Move(lifetime - time.Second)
				if answer := got.bring(t, a, byLink); answer.Status >= 300 {
					t.Errorf("%s, a second before its end: %d: %s", what, answer.Status, answer.Body)
				}
			})
		}
	})
}

// A code that proves an address lives ten minutes, as its mail says, and the link
// beside it a day. The code is then a wrong one.
func TestLinkOutlivesItsCode(t *testing.T) {
	t.Parallel()
	apptest.Each(t, verifyFirst(), func(t *testing.T, a *apptest.App) {
		n := 0
		for _, s := range sendables() {
			if s.link != 24*time.Hour || s.code == 0 {
				continue
			}
			n++
			got := s.ask(t, a, fmt.Sprintf("outlives%d", n))()
			a.Clock.Move(10 * time.Minute)
			if answer := got.bring(t, a, false); answer.Status != 401 || answer.Code() != "wrong_code" {
				t.Errorf("%s, code: %d: %s", s.name, answer.Status, answer.Body)
			}
			a.Clock.Move(23 * time.Hour)
			if answer := got.bring(t, a, true); answer.Status >= 300 {
				t.Errorf("%s, link: %d: %s", s.name, answer.Status, answer.Body)
			}
		}
		if n != 3 {
			t.Errorf("%d kinds of mails, want 3", n)
		}
		a.Do(t, "POST", "/auth/register", form("mallory", foreign)).Want(t, 202)
		p := newUser(t, a, "margarita", "", true)
		for _, l := range []apptest.Letter{a.Letter(t, foreign, outbox.Register), claimForeign(t, a, p, "other@corp.example")} {
			if !strings.Contains(l.Text, "10 minutes") || !strings.Contains(l.Text, "24 hours") {
				t.Errorf("the mail says: %s", l.Text)
			}
		}
	})
}

// What could not be sent within an hour is not sent later, and was worth nothing
// after its lifetime and that hour in any case.
func TestWhatIsNeverSentDiesToo(t *testing.T) {
	t.Parallel()
	apptest.Each(t, verifyFirst(), func(t *testing.T, a *apptest.App) {
		p := newUser(t, a, "margarita", "", true)
		a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": "margarita"}).Want(t, 202)
		a.Clock.Move(time.Hour + time.Second)
		if l := a.Letters(t, p.Email); len(l) != 0 {
			t.Errorf("%d letters after more than an hour", len(l))
		}
		a.Do(t, "POST", "/auth/recover", map[string]any{"email_or_name": "margarita"}).Want(t, 202)
		must(t, a.Service.ServeRequests(t.Context()))
		a.Clock.Move(time.Hour + time.Second)
		if l := a.Letters(t, p.Email); len(l) != 0 {
			t.Errorf("%d letters that had waited for more than an hour", len(l))
		}
		a.Clock.Move(15 * time.Minute)
		must(t, a.Service.Sweep(t.Context()))
		if rows := direct(t, a.URL).rows(t, "tokens"); len(rows) != 0 {
			t.Errorf("tokens are left: %v", rows)
		}
	})
}

// S-10, V23, V24: no blank, no other type, and not the right name with a wrong
// token is a link or a code.
func TestBlankAndWrongLinksMatchNothing(t *testing.T) {
	t.Parallel()
	apptest.Each(t, verifyFirst(), func(t *testing.T, a *apptest.App) {
		d := direct(t, a.URL)
		for i, s := range sendables() {
			got := s.ask(t, a, fmt.Sprintf("blank%d", i))()
			token := got.link
			if token == "" {
				token = "0F7hN3kQx2WvYbRzJ9mLsTgUcEaDiPoKnBvXtZqWyHg"
			}
			before := len(d.rows(t, "tokens"))
			for _, blank := range []any{"", nil, []any{}, []any{token}, 0, false, map[string]any{}, " ", "\t", token[:42], token + " ", token + "=", " " + token, token[1:] + token[:1], "null", "undefined"} {
				for _, field := range []string{"token", "code"} {
					if field == "token" && got.link == "" || field == "code" && blank == "null" {
						continue
					}
					body := map[string]any{field: blank}
					maps.Copy(body, got.common)
					if got.name != "" && field == "code" {
						body["email_or_name"] = got.name
					}
					c := a.Client
					if got.token != "" {
						c = c.As(got.token)
					}
					if answer := c.Do(t, "POST", got.path, body); answer.Status < 400 || answer.Status >= 500 {
						t.Errorf("%s with %s %v: %d: %s", s.name, field, blank, answer.Status, answer.Body)
					}
				}
			}
			c := a.Client
			if got.token != "" {
				c = c.As(got.token)
			}
			if answer := c.Do(t, "POST", got.path, got.common); answer.Status != 422 && answer.Status != 400 && answer.Status != 401 {
				t.Errorf("%s without anything: %d: %s", s.name, answer.Status, answer.Body)
			}
			if after := len(d.rows(t, "tokens")); after != before {
				t.Errorf("%s: %d tokens, before %d", s.name, after, before)
			}
		}
	})
}
