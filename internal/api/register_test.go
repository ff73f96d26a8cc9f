package api_test

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// Every rule of every field, one broken at a time, with its own code; and what
// is refused leaves nothing behind (S-33, V12, V13).
func TestRegisterRefusesEveryBrokenField(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 65)
	rules := []struct {
		field string
		value any
		code  string
	}{
		{"username", "", "required"},
		{"username", "   ", "required"},
		{"username", nil, "required"},
		{"username", "a", "username_too_short"},
		{"username", long, "username_too_long"},
		{"username", strings.Repeat("a", 30000), "username_too_long"},
		{"username", "two words", "username_invalid"},
		{"username", "name@home", "username_invalid"},
		{"username", "tab\tbed", "username_invalid"},
		{"username", "line\nbreak", "username_invalid"},
		{"username", "left\u202eright", "username_invalid"},
		{"username", "zero\u200bwidth", "username_invalid"},
		{"username", "not\ufffea character", "username_invalid"},
		{"username", "re\ufffdplaced", "username_invalid"},
		{"username", "--", "username_invalid"},
		{"username", seedID, "username_looks_like_id"},
		{"username", strings.ToUpper(seedID), "username_looks_like_id"},
		{"username", strings.ReplaceAll(seedID, "e", "\u0435"), "username_looks_like_id"},
		{"username", "latin\u3042", "username_mixed_scripts"},
		{"username", "i\u03bdan", "username_ambiguous"},

		{"email", "", "required"},
		{"email", "  ", "required"},
		{"email", nil, "required"},
		{"email", "somebody", "email_invalid"},
		{"email", "a@evil.example,victim@x.example", "email_invalid"},
		{"email", "a@evil.example;victim@x.example", "email_invalid"},
		{"email", "a@evil@x.example", "email_invalid"},
		{"email", "Name <a@x.example>", "email_invalid"},
		{"email", `"a"@x.example`, "email_invalid"},
		{"email", "a@x.example(comment)", "email_invalid"},
		{"email", "a@x.example\r\nBcc: v@x.example", "email_invalid"},
		{"email", "a\uff20x.example", "email_invalid"},
		{"email", "a\ufe6bx.example", "email_invalid"},
		{"email", "a@evil.example\uff20x.example", "email_invalid"},
		{"email", "so\u00adft@x.example", "email_invalid"},
		{"email", "a@x\u200f.example", "email_invalid"},
		{"email", "a@\u0430pple\u200b.com", "email_invalid"},
		{"email", "a\ufffe@x.example", "email_invalid"},
		{"email", "a@localhost", "email_invalid"},
		{"email", "a@[127.0.0.1]", "email_invalid"},
		{"email", "a@127.0.0.1", "email_invalid"},
		{"email", "a@x.example.", "email_invalid"},
		{"email", long + "@x.example", "email_invalid"},
		{"email", "a@" + strings.Repeat("b.", 200) + "example", "email_invalid"},

		{"contact_number", "+7 985 355-38-2", "contact_number_invalid"},
		{"contact_number", "1-800-FLOWERS", "contact_number_invalid"},
		{"contact_number", "+79853553825 ext. 5", "contact_number_invalid"},
		{"contact_number", "+79853553825;phone-context=x", "contact_number_invalid"},
		{"contact_number", "++79853553825", "contact_number_invalid"},
		{"contact_number", "\uff0b79853553825", "contact_number_invalid"},
		{"contact_number", "+7985355382\ufffe5", "contact_number_invalid"},
		{"contact_number", strings.Repeat("7", 30000), "contact_number_invalid"},

		{"user_type", "robot", "user_type_unknown"},
		{"user_type", "IND", "user_type_unknown"},
		{"user_type", "ind ", "user_type_unknown"},
		{"user_type", "ind\ufffe", "user_type_unknown"},

		{"password", "", "required"},
		{"password", nil, "required"},
		{"password", "seven-7", "password_too_short"},
		{"password", strings.Repeat("ab-", 86), "password_too_long"},
		{"password", "velvet-\ufffe-anchor", "password_characters"},
		{"password", "velvet-\ufdd0-anchor", "password_characters"},
		{"password", "password", "password_common"},
		{"password", "pass12345", "password_common"},
		{"password", "\u041f\u0430\u0440\u043e\u043b\u044c123", "password_common"}, // Пароль123
	}
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		before := take(t, a)
		for _, r := range rules {
			answer := a.Do(t, "POST", "/auth/register", with(newcomer(), r.field, r.value))
			if answer.Status != 422 || answer.Code() != "invalid_fields" || !maps.Equal(answer.Fields(), map[string]string{r.field: r.code}) {
				t.Errorf("%s %.40q: %d %s, want 422 and %s: %s", r.field, r.value, answer.Status, answer.Fields(), r.code, answer.Body)
			}
		}
		wantUnchanged(t, a, before, "a refused registration")
		if _, hashed := a.Hasher.Stats(); hashed != 0 {
			t.Errorf("%d passwords were hashed for nothing", hashed)
		}
	})
}

// Every broken field is named at once, in the language and the form that the
// caller asks for, in the words of the one list of codes.
func TestEveryBrokenFieldIsNamedAtOnceInBothLanguagesAndForms(t *testing.T) {
	t.Parallel()
	body := object{"username": "two words", "email": "nobody", "password": "short", "contact_number": "12", "user_type": "robot"}
	args := map[string]string{"min": "8"}
	want := map[string]account.Code{
		"username": account.CodeUsernameInvalid, "email": account.CodeEmailInvalid, "password": account.CodePasswordTooShort,
		"contact_number": account.CodeContactNumberInvalid, "user_type": account.CodeUserTypeUnknown,
	}
	type fault struct{ Code, Message string }
	type jsend struct {
		Status string
		Data   struct {
			Code, Message string
			Fields        map[string]fault
		}
	}
	type problem struct {
		Type, Title, Detail, Code string
		Status                    int
		Fields                    map[string]fault
		RequestID                 string `json:"request_id"`
	}
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:"})
	for header, lang := range map[string]string{
		"": "en", "en": "en", "en-GB": "en", "ru": "ru", "ru-RU": "ru", "RU": "ru", "de": "en", "uk": "en", "kk, be;q=0.9": "en", "sr-RU": "en", "rue": "en",
		"de, ru;q=0.5": "ru", "en;q=0.1, ru;q=0.9": "ru", "ru;q=0, en": "en", "*": "en", "und-Cyrl": "en", "nonsense;;;": "en", "ru-Latn-UA, uk": "ru",
	} {
		c := a.Client
		if header != "" {
			c = c.With("Accept-Language", header)
		}
		plain := c.Do(t, "POST", "/register", body).Want(t, 422)
		var e jsend
		unmarshal(t, plain, &e)
		if e.Status != "fail" || e.Data.Code != "invalid_fields" || e.Data.Message != account.Codes["invalid_fields"].In(lang, nil) {
			t.Errorf("Accept-Language %q: %s", header, plain.Body)
		}
		wantHeader(t, plain, "Content-Type", "application/json")

		asked := c.With("Accept", "application/problem+json").Do(t, "POST", "/register", body).Want(t, 422)
		var p problem
		unmarshal(t, asked, &p)
		if p.Type != "urn:propusk:error:invalid_fields" || p.Title != "Unprocessable Entity" || p.Status != 422 ||
			p.Code != "invalid_fields" || p.Detail != e.Data.Message || p.RequestID != asked.Header.Get("X-Request-Id") {
			t.Errorf("Accept-Language %q: %s", header, asked.Body)
		}
		wantHeader(t, asked, "Content-Type", "application/problem+json")

		for _, answer := range []*apptest.Answer{plain, asked} {
			wantHeader(t, answer, "Content-Language", lang)
			if vary := strings.Join(answer.Header.Values("Vary"), ", "); !strings.Contains(vary, "Accept-Language") || !strings.Contains(vary, "Accept,") {
				t.Errorf("Vary %q", vary)
			}
		}
		for _, fields := range []map[string]fault{e.Data.Fields, p.Fields} {
			if len(fields) != len(want) {
				t.Errorf("%d fields, want %d: %v", len(fields), len(want), fields)
			}
			for name, code := range want {
				if got := (fault{string(code), account.Codes[code].In(lang, args)}); fields[name] != got {
					t.Errorf("Accept-Language %q, field %s: %v, want %v", header, name, fields[name], got)
				}
			}
		}
	}
}

// The RFC 9457 form is for those who name it, and not for those who refuse it.
func TestProblemFormIsForThoseWhoAskForIt(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:"})
	const jsend, problem = "application/json", "application/problem+json"
	for accept, want := range map[string]string{
		"": jsend, "*/*": jsend, "application/*": jsend, "application/json": jsend, "text/html": jsend,
		problem: problem, "APPLICATION/Problem+JSON": problem, "application/json, application/problem+json": problem,
		"application/problem+json; charset=utf-8": problem, "text/html, application/problem+json;q=0.5": problem,
		"application/problem+json;q=1.0": problem, "application/problem+json; q=0.001": problem,
		"application/problem+json;q=0": jsend, "application/problem+json;q=0.000": jsend, "application/problem+json ; Q=0.0": jsend,
		"application/problem+json;q=often": jsend, "application/problem+jsonx": jsend, ",;,": jsend,
	} {
		answer := a.With("Accept", accept).Do(t, "GET", "/no/such/path", nil).Want(t, 404, "not_found")
		if got := answer.Header.Get("Content-Type"); got != want {
			t.Errorf("Accept %q: %s, want %s", accept, got, want)
		}
	}
}

// One address and one name have one owner in whatever spelling: letter case,
// blanks around, width, look-alike letters, another form of the same letter, and
// a domain in Punycode (S-33, V13, V14).
func TestRegisterRefusesTakenNamesInAnySpelling(t *testing.T) {
	t.Parallel()
	taken := []struct {
		field, code, holder string
		spellings           []string
	}{
		{"username", "username_taken", "Egor228", []string{
			"Egor228", "egor228", "EGOR228", " egor228 ", "\u0435gor228", "eg\u043er228", "\uff25\uff47\uff4f\uff52\uff12\uff12\uff18",
		}},
		{"username", "username_taken", "Straße", []string{"STRASSE", "strasse", "stra\u1e9ee", "\u0455trasse"}},
		{"username", "username_taken", "Ёлка", []string{"ёлка", "ЁЛКА", "\u0415\u0308лка"}},
		{"username", "username_taken", "admin", []string{"\u0430dmin", "ADMIN", "adm\u0456n", "adm\u0131n"}},
		{"email", "email_taken", "Egor@Example.COM", []string{"egor@example.com", "EGOR@EXAMPLE.COM", " Egor@example.com "}},
		{"email", "email_taken", "user@домен.рф", []string{"USER@ДОМЕН.РФ", "user@xn--d1acufc.xn--p1ai", "User@XN--D1ACUFC.xn--p1ai"}},
		{"email", "email_taken", "kelvin@example.com", []string{"\u212aelvin@example.com", "KELVIN@example.com"}},
		{"email", "email_taken", "strasse@example.com", []string{"straße@example.com", "STRASSE@EXAMPLE.COM"}},
		{"email", "email_taken", "istanbul@example.com", []string{"İstanbul@example.com", "\u0131stanbul@example.com", "ISTANBUL@example.com"}},
	}
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		for _, c := range taken {
			a.Do(t, "POST", "/register", with(newcomer(), c.field, c.holder)).Want(t, 201)
			before := take(t, a)
			for _, s := range c.spellings {
				answer := a.Do(t, "POST", "/register", with(newcomer(), c.field, s))
				if answer.Status != 409 || answer.Code() != c.code || !maps.Equal(answer.Fields(), map[string]string{c.field: c.code}) {
					t.Errorf("%s %q beside %q: %d %s", c.field, s, c.holder, answer.Status, answer.Body)
				}
			}
			wantUnchanged(t, a, before, "a registration of a taken name")
		}
		_, err := a.Service.CreateUser(t.Context(), account.Caller{Kind: account.Operator}, account.Registration{
			Username: "\u0435gor228", Email: "else@example.com", Password: account.NewSecret(apptest.GoodPassword),
		}, "", false)
		if e, ok := err.(*account.Error); !ok || e.Fault.Code != account.CodeUsernameTaken { //nolint:errorlint // refusals come bare
			t.Errorf("an operator takes a taken name: %v", err)
		}
	})
}

// Both names are named where both are taken, by one holder or by two.
func TestRegisterNamesBothTakenNamesAtOnce(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p, q := a.NewPerson(t), a.NewPerson(t)
		for _, o := range []object{
			{"username": p.Username, "email": p.Email, "password": apptest.GoodPassword},
			{"username": strings.ToUpper(p.Username), "email": strings.ToUpper(q.Email), "password": apptest.GoodPassword},
		} {
			answer := a.Do(t, "POST", "/register", o).Want(t, 409, "already_taken")
			wantFields(t, answer, map[string]string{"username": "username_taken", "email": "email_taken"})
		}
	})
}

// The forms in which people write one number are one number; it may be absent.
func TestContactNumberHasOneFormOrNone(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		for given, want := range map[any]any{
			"+79853553825": "+79853553825", "8 (985) 355-38-25": "+79853553825", "+7 985 355-38-25": "+79853553825",
			"89853553825": "+79853553825", "985 355 38 25": "+79853553825", "+7.985.355.38.25": "+79853553825", " +79853553825 ": "+79853553825",
			"+44 20 7946 0958": "+442079460958", "+1 (212) 555-0123": "+12125550123", nil: nil, "": nil,
		} {
			o := with(newcomer(), "contact_number", given)
			if got := stored(t, a, o)["contact_number"]; got != want {
				t.Errorf("contact_number %q is stored as %v, want %v", given, got, want)
			}
		}
		if got := stored(t, a, without(newcomer(), "contact_number"))["contact_number"]; got != nil {
			t.Errorf("contact_number left out is stored as %v", got)
		}
	})
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:", Policy: func(p *account.Policy) { p.PhoneRegion = "GB" }})
	if got := stored(t, a, with(newcomer(), "contact_number", "020 7946 0958"))["contact_number"]; got != "+442079460958" {
		t.Errorf("a local number of the set region is stored as %v", got)
	}
}

// stored registers o and reads what became of it.
func stored(t *testing.T, a *apptest.App, o object) object {
	t.Helper()
	id := a.Do(t, "POST", "/register", o).Want(t, 201).Text("user_id")
	token := a.Do(t, "POST", "/login", object{"email_or_name": o["username"], "password": o["password"]}).Want(t, 200).Text("token")
	return document(t, a.As(token), id)
}

// A new user is what the caller said, and not verified, whatever he said; the
// first type is the default; the operator sets the list.
func TestRegisterStoresWhatWasGiven(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Policy: func(p *account.Policy) { p.UserTypes = []string{"shop", "courier"} }}, func(t *testing.T, a *apptest.App) {
		o := with(newcomer(), "user_type", "courier")
		o["username"], o["email"] = " \u0401лка7 ", " \u041f\u043e\u0447\u0442\u0430@Домен.рф "
		d := stored(t, a, o)
		for name, want := range (object{
			"user_type": "courier", "username": "Ёлка7", "email": "Почта@Домен.рф", "contact_number": "+79853553825",
			"user_role": "Not_Verifyed", "created": "2026-03-01T12:00:00.123456+00:00", "updated": "2026-03-01T12:00:00.123456+00:00",
		}) {
			if d[name] != want {
				t.Errorf("%s: %v, want %v", name, d[name], want)
			}
		}
		for _, o := range []object{with(newcomer(), "user_type", ""), with(newcomer(), "user_type", nil), without(newcomer(), "user_type")} {
			if d := stored(t, a, o); d["user_type"] != "shop" {
				t.Errorf("the default type is %v, want shop", d["user_type"])
			}
		}
		a.Do(t, "POST", "/register", with(newcomer(), "user_type", "ind")).Want(t, 422, "invalid_fields")
	})
}

// Location leads to the new user, and to nobody else.
func TestRegisterTellsWhereTheUserIs(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		o := newcomer()
		answer := a.Do(t, "POST", "/auth/register", o).Want(t, 201)
		location := answer.Header.Get("Location")
		if location != "/"+answer.Text("user_id") {
			t.Fatalf("Location %q of user %q", location, answer.Text("user_id"))
		}
		a.Do(t, "GET", location, nil).Want(t, 401)
		token := a.Do(t, "POST", "/login", object{"email_or_name": o["email"], "password": o["password"]}).Want(t, 200).Text("token")
		if got := a.As(token).Do(t, "GET", location, nil).Want(t, 200).Text("username"); got != o["username"] {
			t.Errorf("at %s there is %q", location, got)
		}
		if answer := a.Do(t, "POST", "/auth/register", o).Want(t, 409); answer.Header.Get("Location") != "" {
			t.Error("a refusal has a Location")
		}
	})
}

// Where registration is closed, nobody gets in, and nobody learns what is taken.
func TestClosedRegistrationTellsNothing(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true, Policy: func(p *account.Policy) { p.Registration = account.RegistrationClosed }}, func(t *testing.T, a *apptest.App) {
		p := create(t, a, "", false)
		before := take(t, a)
		for _, o := range []object{newcomer(), with(newcomer(), "email", p.Email), {}} {
			a.Do(t, "POST", "/register", o).Want(t, 403, "registration_closed")
		}
		wantUnchanged(t, a, before, "a refused registration")
	})
}

// Sixteen at once for one address, and for one name, in as many spellings: one
// has it, the others are told that it is taken (S-57; promise P6).
func TestParallelRegistrationsOfOneNameHaveOneWinner(t *testing.T) {
	t.Parallel()
	emails := []string{
		"strasse@домен.рф", "STRASSE@ДОМЕН.РФ", "straße@домен.рф", "Stra\u1e9ee@Домен.рф", " strasse@домен.рф ", "strasse@xn--d1acufc.xn--p1ai",
		"Strasse@XN--D1ACUFC.XN--P1AI", "sTRASSE@домен.рф", "stRASSE@домен.рф", "strASSE@домен.рф", "straSSE@домен.рф", "strasSE@домен.рф",
		"strassE@домен.рф", "sTrAsSe@домен.рф", "STRAßE@домен.рф", "StRaSsE@домен.РФ",
	}
	usernames := []string{
		"racer", "RACER", "Racer", "rAcer", "raCer", "racEr", "raceR", " racer ",
		"r\u0430cer", "rac\u0435r", "ra\u0441er", "r\u0430\u0441er", "R\u0410CER", "\uff52acer", "RAc\u0435r", "race\u0280",
	}
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		for field, spellings := range map[string][]string{"email": emails, "username": usernames} {
			answers := make([]*apptest.Answer, len(spellings))
			requests := make([]object, len(spellings))
			for i, s := range spellings {
				requests[i] = with(newcomer(), field, s)
			}
			parallel(len(spellings), func(i int) { answers[i] = a.Do(t, "POST", "/register", requests[i]) })
			if n := statuses(answers); n[201] != 1 || n[409] != 15 {
				t.Errorf("%s: answers %v, want one 201 and fifteen 409", field, n)
				continue
			}
			for i, answer := range answers {
				if answer.Status == 409 {
					wantFields(t, answer, map[string]string{field: field + "_taken"})
					a.Do(t, "POST", "/login", object{"email_or_name": without(requests[i], field)[other(field)], "password": apptest.GoodPassword}).Want(t, 401)
				}
			}
		}
		var users int
		if err := a.DB.QueryRow(t.Context(), `SELECT count(*) FROM users`, nil, &users); err != nil || users != 2 {
			t.Errorf("%d users (%v), want 2", users, err)
		}
	})
}

func other(field string) string {
	return map[string]string{"email": "username", "username": "email"}[field]
}

// A lost answer costs nothing: the same request with the same Idempotency-Key
// gives the same user, fifty times at once or one after the other (F11;
// promise P6).
func TestRepeatedRegistrationsWithOneKeyMakeOneUser(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		o := newcomer()
		c := a.With("Idempotency-Key", "the-only-one")
		answers := make([]*apptest.Answer, 50)
		parallel(len(answers), func(i int) { answers[i] = c.Do(t, "POST", "/auth/register", o) })
		answers = append(answers, c.Do(t, "POST", "/register", o)) // the other path is the same call
		id, first := answers[0].Text("user_id"), 0
		for _, answer := range answers {
			if answer.Status != 201 || answer.Text("user_id") != id || answer.Header.Get("Location") != "/"+id {
				t.Fatalf("answers %d %s and %s", answer.Status, answer.Body, answers[0].Body)
			}
			if answer.Header.Get("Idempotent-Replayed") == "" {
				first++
			}
		}
		if first != 1 {
			t.Errorf("%d answers are not marked as repeated, want 1", first)
		}
		var users, events int
		if err := a.DB.QueryRow(t.Context(), `SELECT count(*) FROM users`, nil, &users); err != nil || users != 1 {
			t.Errorf("%d users (%v), want 1", users, err)
		}
		if err := a.DB.QueryRow(t.Context(), `SELECT count(*) FROM events WHERE action = 'user.registered'`, nil, &events); err != nil || events != 1 {
			t.Errorf("%d entries in the trail (%v), want 1", events, err)
		}
	})
}

// A key stands for one request: another one under it is refused, whatever in it
// is another, and the first is not disturbed (F11).
func TestIdempotencyKeyOfAnotherRequestIsRefused(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		o := newcomer()
		c := a.With("Idempotency-Key", "k1")
		id := c.Do(t, "POST", "/register", o).Want(t, 201).Text("user_id")
		before := take(t, a)
		for field, value := range (object{
			"username": "somebodyelse", "email": "somebody@else.example", "password": "another-Anchor-71-quartz",
			"contact_number": nil, "user_type": "org",
		}) {
			answer := c.Do(t, "POST", "/register", with(o, field, value)).Want(t, 422, "idempotency_key_reused")
			if answer.Text("user_id") != "" || answer.Header.Get("Location") != "" {
				t.Errorf("the refusal tells of the first user: %s", answer.Body)
			}
		}
		wantUnchanged(t, a, before, "a refused registration")
		if again := c.Do(t, "POST", "/register", o).Want(t, 201); again.Text("user_id") != id {
			t.Errorf("another user than before: %s", again.Body)
		}
		// Keys are told apart to the letter.
		a.With("Idempotency-Key", "K1").Do(t, "POST", "/register", o).Want(t, 409)
	})
}

// What was refused is not remembered: corrected, the request goes through under
// the same key.
func TestRefusedRequestDoesNotUseItsKeyUp(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		c := a.With("Idempotency-Key", "second-try")
		o := newcomer()
		c.Do(t, "POST", "/register", with(o, "password", "short")).Want(t, 422, "invalid_fields")
		c.Do(t, "POST", "/register", with(o, "email", p.Email)).Want(t, 409, "email_taken")
		if answer := c.Do(t, "POST", "/register", o).Want(t, 201); answer.Header.Get("Idempotent-Replayed") != "" {
			t.Error("the answer claims to be a repetition")
		}
	})
}

// A key is remembered for 24 hours, to the microsecond, and no longer (F11).
func TestIdempotencyKeyLivesForADay(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		o := newcomer()
		c := a.With("Idempotency-Key", "daily")
		id := c.Do(t, "POST", "/register", o).Want(t, 201).Text("user_id")
		a.Clock.Move(day - 1000)
		if again := c.Do(t, "POST", "/register", o).Want(t, 201); again.Text("user_id") != id {
			t.Errorf("another user than before: %s", again.Body)
		}
		a.Clock.Move(1000)
		c.Do(t, "POST", "/register", o).Want(t, 409, "already_taken")
		answer := c.Do(t, "POST", "/register", newcomer()).Want(t, 201)
		if answer.Text("user_id") == id || answer.Header.Get("Idempotent-Replayed") != "" {
			t.Errorf("an old key answers for a new request: %s", answer.Body)
		}
		// Sweeping takes nothing that is still remembered.
		if err := a.Service.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		var keys int
		if err := a.DB.QueryRow(t.Context(), `SELECT count(*) FROM idempotency`, nil, &keys); err != nil || keys != 1 {
			t.Errorf("%d keys (%v), want 1", keys, err)
		}
	})
}

// The client went away before it had its answer. Whether or not the service had
// done it by then, the repetition ends with one user, whole (F11).
func TestRegistrationAfterALostAnswer(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		for i := range 20 {
			o := newcomer()
			b, err := json.Marshal(o, json.Deterministic(true))
			if err != nil {
				t.Fatal(err)
			}
			key := "Idempotency-Key: lost-" + strconv.Itoa(i)
			hangUp(t, a, request("POST", "/register", string(b), key, "Content-Type: application/json"), i*100)
			answer := a.With("Idempotency-Key", "lost-"+strconv.Itoa(i)).Do(t, "POST", "/register", o).Want(t, 201)
			token := a.Do(t, "POST", "/login", object{"email_or_name": o["email"], "password": o["password"]}).Want(t, 200)
			if token.Text("user_id") != answer.Text("user_id") {
				t.Errorf("registered %s, logged in as %s", answer.Text("user_id"), token.Text("user_id"))
			}
		}
		var users int
		if err := a.DB.QueryRow(t.Context(), `SELECT count(*) FROM users`, nil, &users); err != nil || users != 20 {
			t.Errorf("%d users (%v), want 20", users, err)
		}
	})
}

// A key is 1 to 255 visible ASCII characters, once; nothing else is taken for
// one, or for none.
func TestHostileIdempotencyKeysAreRefused(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		before := take(t, a)
		for _, header := range []string{
			"Idempotency-Key:", "Idempotency-Key: a b", "Idempotency-Key: a\tb", "Idempotency-Key: ключ", "Idempotency-Key: \xff\xfe",
			"Idempotency-Key: a\u00a0b", "Idempotency-Key: " + strings.Repeat("k", 256), "Idempotency-Key: " + strings.Repeat("k", 20000),
			"Idempotency-Key: a\r\nIdempotency-Key: a", "Idempotency-Key: a\r\nidempotency-key:", "Idempotency-Key: \x7f",
		} {
			b, err := json.Marshal(newcomer())
			if err != nil {
				t.Fatal(err)
			}
			answer := send(t, a, request("POST", "/register", string(b), header, "Content-Type: application/json"))
			if answer.Status != 400 || answer.Code() != "header_invalid" && answer.Code() != "" {
				t.Errorf("%.60q: %d %s", header, answer.Status, answer.Body)
			}
		}
		wantUnchanged(t, a, before, "a refused registration")
		for _, key := range []string{"k", strings.Repeat("k", 255), `'"; DROP TABLE users; --`, "%00", "../../etc/passwd", "{}", "~!"} {
			o := newcomer()
			if strings.Contains(key, " ") {
				key = strings.ReplaceAll(key, " ", "_")
			}
			c := a.With("Idempotency-Key", key)
			id := c.Do(t, "POST", "/register", o).Want(t, 201).Text("user_id")
			if again := c.Do(t, "POST", "/register", o).Want(t, 201).Text("user_id"); again != id {
				t.Errorf("key %.40q: users %s and %s", key, id, again)
			}
		}
	})
}

// The key and the request that it stands for are not kept in plain text: the
// request holds a password.
func TestIdempotencyKeepsNoPlainText(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		o := newcomer()
		a.With("Idempotency-Key", "plainly-visible").Do(t, "POST", "/register", o).Want(t, 201)
		for at, value := range take(t, a) {
			for _, plain := range []string{"plainly-visible", fmt.Sprintf("%x", "plainly-visible"), apptest.GoodPassword, fmt.Sprintf("%x", apptest.GoodPassword)} {
				if strings.Contains(value, plain) {
					t.Errorf("%s holds %q", at, plain)
				}
			}
		}
	})
}

func unmarshal(t *testing.T, a *apptest.Answer, into any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, into, json.MatchCaseInsensitiveNames(true), json.RejectUnknownMembers(true)); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
}

func wantHeader(t *testing.T, a *apptest.Answer, name, want string) {
	t.Helper()
	if got := a.Header.Get(name); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}
