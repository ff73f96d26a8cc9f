package api_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/secret"
)

// varied gives n characters from the alphabet in an order that nobody would
// guess and no list holds, the same each time.
func varied(n int, alphabet string) string {
	letters := []rune(alphabet)
	var b strings.Builder
	for i, x := 0, uint32(2463534242); i < n; i++ {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b.WriteRune(letters[int(x%uint32(len(letters)))])
	}
	return b.String()
}

const (
	latin  = "abcdefghjkmnopqrstuvwxyz"
	emoji  = "\U0001f600\U0001f603\U0001f607\U0001f60e\U0001f63a\U0001f984\U0001f98a\U0001f308\U0001f335\U0001f40b"
	hangul = "\ud55c\uae00\uac01\ub098\ub77c\ub9d0\uc2f8\ubbf8\ub4d1\uad6d" // each three letters when decomposed
)

// Length is counted in characters as people see code points, after
// normalisation: 8 to 256, whatever they take in bytes. There is no rule about
// what they must be (S-02, N1 to N3).
func TestPasswordLengthIsCountedInCodePoints(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, password, code string
	}{
		{"7 letters", varied(7, latin), "password_too_short"},
		{"8 letters", varied(8, latin), ""},
		{"256 letters", varied(256, latin), ""},
		{"257 letters", varied(257, latin), "password_too_long"},
		{"7 emoji", varied(7, emoji), "password_too_short"},
		{"8 emoji", varied(8, emoji), ""},
		{"256 emoji", varied(256, emoji), ""},
		{"257 emoji", varied(257, emoji), "password_too_long"},
		{"7 letters with accents, decomposed", norm.NFD.String(varied(7, "\u00e0\u00e9\u00ee\u00f5\u00fc\u1e69")), "password_too_short"},
		{"8 letters with accents, decomposed", norm.NFD.String(varied(8, "\u00e0\u00e9\u00ee\u00f5\u00fc\u1e69")), ""},
		{"256 syllables", varied(256, hangul), ""},
		{"256 syllables, decomposed", norm.NFD.String(varied(256, hangul)), ""},
		{"257 syllables, decomposed", norm.NFD.String(varied(257, hangul)), "password_too_long"},
		{"small letters only", "corallanternteapot", ""},
		{"digits only", "73910468251739", ""},
		{"with spaces", " corAl  Teapot ", ""},
		{"signs", `'"\;--/*<>&%$#@!`, ""},
		{"a line break and other controls", "corAl\nTeapot\t\u0001\u007f", ""},
		{"right to left", "\u05e9\u05dc\u05d5\u05dd-corAl-\u202e\u0633\u0644\u0627\u0645", ""},
	}
	apptest.Each(t, apptest.Options{Policy: patient}, func(t *testing.T, a *apptest.App) {
		for _, c := range cases {
			o := with(newcomer(), "password", c.password)
			answer := a.Do(t, "POST", "/register", o)
			if c.code != "" {
				if answer.Status != 422 || !maps.Equal(answer.Fields(), map[string]string{"password": c.code}) {
					t.Errorf("%s: %d %s, want %s", c.name, answer.Status, answer.Body, c.code)
				}
				continue
			}
			if answer.Status != 201 {
				t.Errorf("%s: %d %s", c.name, answer.Status, answer.Body)
				continue
			}
			a.Do(t, "POST", "/login", object{"email_or_name": o["username"], "password": c.password}).Want(t, 200)
		}
	})
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:", Policy: func(p *account.Policy) { p.PasswordMinLength = 15 }})
	a.Do(t, "POST", "/register", with(newcomer(), "password", varied(14, emoji))).Want(t, 422)
	a.Do(t, "POST", "/register", with(newcomer(), "password", varied(15, emoji))).Want(t, 201)
}

// The whole password counts, to the last byte, its letter case and the spaces
// around it; only Unicode's own spellings of the same letters are the same, and
// a ligature is not its letters (S-03, N4, V98).
func TestTheWholePasswordCounts(t *testing.T) {
	t.Parallel()
	long := varied(256, latin)
	flipped := func(i int) string { return long[:i] + strings.ToUpper(long[i:i+1]) + long[i+1:] }
	cases := []struct {
		password string
		same     []string
		others   []string
	}{
		{password: long, others: []string{
			flipped(0), flipped(51), flipped(54), flipped(55), flipped(71), flipped(72), flipped(73), flipped(127), flipped(128), flipped(254), flipped(255),
			long[:71], long[:72], long[:73], long[:127], long[:128], long[:254], long[:255], strings.ToUpper(long), long[1:],
		}},
		{password: long[:255], others: []string{long, long[:254], long[:255] + " ", " " + long[:255]}},
		{password: varied(18, emoji), others: []string{varied(19, emoji), varied(17, emoji), varied(17, emoji) + "\U0001f601"}}, // 72 bytes
		{
			password: "caf\u00e9-\u00c5ngstr\u00f6m-\uac01-quartz",
			same:     []string{"cafe\u0301-A\u030angstro\u0308m-\u1100\u1161\u11a8-quartz", "caf\u00e9-\u212bngstr\u00f6m-\uac01-quartz"},
			others:   []string{"cafe-Angstrom-\uac01-quartz", "caf\u00e9-\u00e5ngstr\u00f6m-\uac01-quartz", "caf\u00e9-\u00c5ngstr\u00f6m-\uac01-Quartz"},
		},
		{
			password: "o\ufb01ce-velvet-anchor",
			others:   []string{"ofice-velvet-anchor", "\uff4fo\ufb01ce-velvet-anchor", "o\ufb01ce-velvet-anchor ", " o\ufb01ce-velvet-anchor", "o\ufb01ce-velvet-anchor\n", "o\ufb01ce-\uff56elvet-anchor"},
		},
		{password: "officer-velvet-anchor ", others: []string{"officer-velvet-anchor", "officer-velvet-anchor  ", "officer-velvet-anchor\u00a0", "o\ufb03cer-velvet-anchor "}},
		{password: "\u00df-velvet-anchor", others: []string{"ss-velvet-anchor", "\u1e9e-velvet-anchor"}},
	}
	apptest.Each(t, apptest.Options{Policy: patient}, func(t *testing.T, a *apptest.App) {
		for _, c := range cases {
			o := with(newcomer(), "password", c.password)
			a.Do(t, "POST", "/register", o).Want(t, 201)
			login := object{"email_or_name": o["username"]}
			for _, p := range append(c.same, c.password) {
				if answer := a.Do(t, "POST", "/login", with(login, "password", p)); answer.Status != 200 {
					t.Errorf("%.30q does not log in with %.30q: %s", c.password, p, answer.Body)
				}
			}
			for _, p := range c.others {
				if answer := a.Do(t, "POST", "/login", with(login, "password", p)); answer.Status != 401 || answer.Code() != "invalid_credentials" {
					t.Errorf("%.30q: %d with %.30q: %s", c.password, answer.Status, p, answer.Body)
				}
			}
		}
	})
}

// door is a way to set a password. It gives the refusal's code, "" for none.
type door struct {
	name string
	try  func(password string) string
}

// doors gives every way to set a password, of an account with the words velvetfox,
// amberlynx@quartzmail.example and +79853553825. Those before "PUT" ask for names
// that are taken, and so can only be refused.
func doors(t *testing.T, a *apptest.App) []door {
	t.Helper()
	const address, phone = "amberlynx@quartzmail.example", "+79853553825"
	register := object{"username": "velvetfox", "email": address, "contact_number": phone}
	code := func(answer *apptest.Answer, field string, done int) string {
		t.Helper()
		if answer.Status == done {
			return ""
		}
		answer.Want(t, 422, "invalid_fields")
		if len(answer.Fields()) != 1 {
			t.Errorf("fields %v", answer.Fields())
		}
		return answer.Fields()[field]
	}
	out := []door{
		{"an operator", func(password string) string {
			_, err := a.Service.CreateUser(t.Context(), account.Caller{Kind: account.Operator}, account.Registration{
				Username: "velvetfox", Email: address, ContactNumber: phone, Password: account.NewSecret(password),
			}, "", false)
			var e *account.Error
			if errors.As(err, &e) {
				return string(e.Fields["password"].Code)
			}
			if err != nil {
				t.Fatal(err)
			}
			return ""
		}},
		{"register", func(password string) string {
			return code(a.Do(t, "POST", "/auth/register", with(register, "password", password)), "password", 201)
		}},
	}
	p := a.NewPerson(t)
	now := apptest.GoodPassword
	p.Do(t, "PATCH", "/"+p.ID, register).Want(t, 200)
	q := a.NewPerson(t)
	return append(out,
		door{"PUT of password and names at once", func(password string) string {
			return code(q.Do(t, "PUT", "/"+q.ID, with(register, "password", password)), "password", 200)
		}},
		door{"PUT", func(password string) string {
			c := code(p.Do(t, "PUT", "/"+p.ID, with(register, "password", password)), "password", 200)
			if c == "" {
				now = password
			}
			return c
		}},
		door{"PATCH", func(password string) string {
			c := code(p.Do(t, "PATCH", "/"+p.ID, object{"password": password}), "password", 200)
			if c == "" {
				now = password
			}
			return c
		}},
		door{"POST /auth/password", func(password string) string {
			answer := p.Do(t, "POST", "/auth/password", object{"current_password": now, "new_password": password})
			if answer.Status == 200 {
				p.Client = a.As(answer.Text("token"))
			}
			return code(answer, "new_password", 200)
		}},
	)
}

// Passwords that everybody tries first, and those made of the account's own
// words, are refused at every door, whatever they are dressed up with; a long
// one that merely holds a listed word is taken (S-05, N5).
func TestCommonAndPersonalPasswordsAreRefusedAtEveryDoor(t *testing.T) {
	t.Parallel()
	const short, long, chars, common, personal = "password_too_short", "password_too_long", "password_characters", "password_common", "password_personal"
	cases := []struct{ password, code string }{
		{"", "required"},
		{"seven-7", short},
		{varied(257, latin), long},
		{"velvet\ufffe-anchor", chars},
		{"password", common}, {"PASSWORD", common}, {"pass12345", common}, {"Password1", common}, {"qwerty123", common}, {"1234567890", common},
		{"11111111", common}, {"abcabcabc", common}, {"iloveyou", common}, {"\u0439\u0446\u0443\u043a\u0435\u043d123", common},
		{"\u041f\u0430\u0440\u043e\u043b\u044c123", common}, {"gfhjkm123", common}, {"31.12.1999", common}, {"\u043d\u0430\u0442\u0430\u0448\u04301990", common},
		{"velvetfox1", personal}, {"VelvetFox!", personal}, {"xoftevlev", personal}, {"amberlynx", personal}, {"AmberLynx-99", personal},
		{"amberlynx@quartzmail.example", personal}, {"quartzmail", personal}, {"QUARTZMAIL.EXAMPLE", personal}, {"79853553825", personal}, {"+7 9853553825", personal},
		{"9853553825", personal}, {"velvetfoxamberlynx1", personal}, {"PROPUSKpropusk", personal}, {"propusk-42", common},
		{"password-corAl-Teapot-93", ""}, {"velvetfox-Teapot-93", ""},
	}
	apptest.Each(t, apptest.Options{Policy: patient}, func(t *testing.T, a *apptest.App) {
		all := doors(t, a)
		for _, c := range cases {
			for i, d := range all {
				password := c.password
				if c.code == "" && i < 3 {
					continue
				}
				if c.code == "" {
					password += strconv.Itoa(i)
				}
				if got := d.try(password); got != c.code {
					t.Errorf("%s, %.30q: %q, want %q", d.name, c.password, got, c.code)
				}
			}
		}
		var users int
		if err := a.DB.QueryRow(t.Context(), `SELECT count(*) FROM users`, nil, &users); err != nil || users != 2 {
			t.Errorf("%d users (%v), want 2", users, err)
		}
	})
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:", Policy: func(p *account.Policy) { p.PasswordBlocklist = false }})
	a.Do(t, "POST", "/register", with(newcomer(), "password", "password")).Want(t, 201)
}

// A password that is too long is refused before anything is hashed, wherever one
// is sent; so is a body of a megabyte (S-04, V99).
func TestOversizePasswordsAreRefusedBeforeHashing(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true, Policy: patient}, func(t *testing.T, a *apptest.App) {
		calls := bodiedCalls(t, a)
		before := take(t, a)
		_, hashed := a.Hasher.Stats()
		for _, c := range calls {
			for _, f := range c.fields {
				if !strings.Contains(f, "password") {
					continue
				}
				for _, password := range []string{
					varied(257, latin), varied(257, emoji), strings.Repeat("x", 300), strings.Repeat("x", 513), strings.Repeat("x", 2305), strings.Repeat("x", 60000), strings.Repeat("\u0301", 20000),
				} {
					answer := c.as.Do(t, c.method, c.path, with(c.good, f, password)).Want(t, 422, "invalid_fields")
					wantFields(t, answer, map[string]string{f: "password_too_long"})
				}
				c.as.Do(t, c.method, c.path, with(c.good, f, strings.Repeat("x", 1<<20))).Want(t, 413, "body_too_large")
			}
		}
		if _, now := a.Hasher.Stats(); now != hashed {
			t.Errorf("%d passwords were hashed", now-hashed)
		}
		wantUnchanged(t, a, before, "an oversize password")
	})
}

func storedHash(t *testing.T, a *apptest.App, id string) (phc string) {
	t.Helper()
	if err := a.DB.QueryRow(t.Context(), `SELECT password_hash FROM users WHERE id = $1`, []any{id}, &phc); err != nil {
		t.Fatal(err)
	}
	return phc
}

// What is stored of a password is Argon2id in PHC form, with a salt of its own
// and the cost that is set; computed anew from that text alone, it is the same
// (S-06, N7).
func TestStoredPasswordIsArgon2idInPHCForm(t *testing.T) {
	t.Parallel()
	cost := secret.Argon2{Memory: 64, Passes: 3, Threads: 2}
	form := regexp.MustCompile(`^\$argon2id\$v=19\$m=64,t=3,p=2\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{43})$`)
	apptest.Each(t, apptest.Options{Argon2: cost}, func(t *testing.T, a *apptest.App) {
		password := norm.NFD.String("caf\u00e9-") + apptest.GoodPassword
		salts := map[string]bool{}
		for range 2 {
			id := a.Do(t, "POST", "/register", with(newcomer(), "password", password)).Want(t, 201).Text("user_id")
			phc := storedHash(t, a, id)
			m := form.FindStringSubmatch(phc)
			if m == nil {
				t.Fatalf("stored %q", phc)
			}
			salt, err := base64.RawStdEncoding.Strict().DecodeString(m[1])
			if err != nil {
				t.Fatal(err)
			}
			key := argon2.IDKey([]byte(norm.NFC.String(password)), salt, 3, 64, 2, 32)
			if got := base64.RawStdEncoding.EncodeToString(key); got != m[2] {
				t.Errorf("the key is %s, computed anew %s", m[2], got)
			}
			salts[m[1]] = true
		}
		if len(salts) != 2 {
			t.Error("two users share a salt")
		}
		for at, value := range take(t, a) {
			if strings.Contains(value, apptest.GoodPassword) || strings.Contains(value, fmt.Sprintf("%x", apptest.GoodPassword)) {
				t.Errorf("%s holds a password", at)
			}
		}
	})
}

// When the cost is set anew, the next login of each user stores a hash of the
// new cost; nobody is logged out, and a wrong password changes nothing (S-06).
func TestHashIsMadeAnewAtLoginWhenTheCostChanges(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		before, tag := storedHash(t, a, p.ID), etag(t, p)
		b := apptest.Start(t, apptest.Options{DatabaseURL: a.URL, Keys: a.Keys, Argon2: secret.Argon2{Memory: 32, Passes: 2, Threads: 1}})
		login := object{"email_or_name": p.Username, "password": p.Password}
		b.Do(t, "POST", "/login", with(login, "password", "wrong-Anchor-71-quartz")).Want(t, 401)
		b.As(p.Token).Do(t, "POST", "/auth/reauthenticate", object{"password": "wrong-Anchor-71-quartz"}).Want(t, 403)
		if storedHash(t, a, p.ID) != before {
			t.Error("a wrong password changed the hash")
		}
		b.Do(t, "POST", "/login", login).Want(t, 200)
		after := storedHash(t, a, p.ID)
		if !strings.HasPrefix(after, "$argon2id$v=19$m=32,t=2,p=1$") {
			t.Errorf("after the login %s", after)
		}
		b.Do(t, "POST", "/login", login).Want(t, 200)
		if storedHash(t, a, p.ID) != after {
			t.Error("a hash of the right cost was made anew")
		}
		for _, app := range []*apptest.App{a, b} { // the session from before
			app.As(p.Token).Do(t, "GET", "/auth/session", nil).Want(t, 200)
		}
		if got := etag(t, p); got != tag {
			t.Errorf("ETag %s, was %s: the user has not changed", got, tag)
		}
		b.Do(t, "POST", "/login", with(login, "password", "wrong-Anchor-71-quartz")).Want(t, 401)
		var events int
		err := a.DB.QueryRow(t.Context(), `SELECT count(*) FROM events WHERE action = 'password.rehashed' AND target_id = $1`, []any{p.ID}, &events)
		if err != nil || events != 1 {
			t.Errorf("%d entries in the trail (%v), want 1", events, err)
		}
	})
}
