package api_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

const seedID = "e5f8433e-76a9-4509-87f0-e1b12354d92b"

// The bodies of the seed's examples, to the letter (the blanks at the ends of
// lines too).
const (
	seedRegister = `{
    "user_type": "ind", 
    "username": "egor228", 
    "password": "password", 
    "email": "citymodz@yandex.com", 
    "contact_number": "+79853553825"
    }`
	seedPut = `{
    "user_type": "ind", 
    "username": "egor228", 
    "password": "password", 
    "email": "AGUREZ@yandex.com", 
    "contact_number": "+79853553825"
    }`
	seedLogin = `{
    "email_or_name": "username",
    "password": "pass12345",
    "remember_me": True
    }`
)

func moscow(t *testing.T) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Moscow")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// throwaway is what `propusk dev` sets: no token is needed on loopback, common
// passwords are taken, and the first user has the seed's id.
func throwaway(t *testing.T) apptest.Options {
	return apptest.Options{
		Zone: moscow(t), Literals: true, TrustedNetworks: loopback,
		Policy: func(p *account.Policy) {
			p.PasswordBlocklist = false
			p.FirstUserID = seedID
		},
	}
}

// seedPaths are the two ways to each of the seed's calls: the path of the
// heading and that of the example.
var seedPaths = []struct{ name, register, login string }{
	{"as in the examples", "/auth/register", "/auth/login"},
	{"as in the headings", "/register", "/login"},
}

// The seed's examples, sent as they are written and answered as they are
// written, byte for byte (S-01; promise P2).
func TestSeedReplaysWordForWord(t *testing.T) {
	t.Parallel()
	for _, paths := range seedPaths {
		t.Run(paths.name, func(t *testing.T) {
			apptest.Each(t, throwaway(t), func(t *testing.T, a *apptest.App) {
				answer := a.Do(t, "POST", paths.register, seedRegister).Want(t, 201)
				wantBody(t, answer, `{"status":"success","data":{"user_id":"`+seedID+`"}}`)

				a.Clock.Move(5*time.Hour + 12*time.Minute + 48*time.Second + 186555*time.Microsecond)
				answer = a.Do(t, "PUT", "/"+seedID, seedPut).Want(t, 200)
				wantBody(t, answer, `{"status":"success"}`)

				answer = a.Do(t, "GET", "/"+seedID, nil).Want(t, 200)
				wantBody(t, answer, `{"status":"success","data":{"id":"e5f8433e-76a9-4509-87f0-e1b12354d92b",`+
					`"email":"AGUREZ@yandex.com","user_type":"ind","username":"egor228","contact_number":"+79853553825",`+
					`"user_role":"Not_Verifyed","created":"2026-03-01T15:00:00.123456+03:00","updated":"2026-03-01T20:12:48.310011+03:00"}}`)

				a.Do(t, "POST", paths.register, `{"username": "username", "password": "pass12345", "email": "someone@yandex.com"}`).Want(t, 201)
				answer = a.Do(t, "POST", paths.login, seedLogin).Want(t, 200)
				wantTokenBody(t, answer, 30*24*60*60, `2026-03-31T20:12:48.310011\+03:00`)
			})
		})
	}
}

// The same against the defaults, with what they ask for: a good password, a
// token, and JSON (S-01; promise P2). What the seed sends verbatim is refused
// and changes nothing.
func TestSeedReplaysAgainstTheDefaultsWithTokenAndGoodPassword(t *testing.T) {
	t.Parallel()
	good := strings.NewReplacer(`"password": "password"`, `"password": "corAl-Teapot-93-lantern"`)
	for _, paths := range seedPaths {
		t.Run(paths.name, func(t *testing.T) {
			apptest.Each(t, apptest.Options{Zone: moscow(t), Idle: true}, func(t *testing.T, a *apptest.App) {
				before := take(t, a)
				refused := a.Do(t, "POST", paths.register, seedRegister).Want(t, 422, "invalid_fields")
				wantFields(t, refused, map[string]string{"password": "password_common"})
				a.Do(t, "POST", paths.login, seedLogin).Want(t, 400, "invalid_json")
				a.Do(t, "GET", "/"+seedID, nil).Want(t, 401, "token_required")
				a.Do(t, "PUT", "/"+seedID, seedPut).Want(t, 401, "token_required")
				wantUnchanged(t, a, before, "what was refused")

				id := a.Do(t, "POST", paths.register, good.Replace(seedRegister)).Want(t, 201).Text("user_id")
				login := `{"email_or_name": "egor228", "password": "corAl-Teapot-93-lantern", "remember_me": `
				wantTokenBody(t, a.Do(t, "POST", paths.login, login+`true}`).Want(t, 200), 30*24*60*60, `2026-03-31T15:00:00.123456\+03:00`)
				wantTokenBody(t, a.Do(t, "POST", paths.login, login+`false}`).Want(t, 200), 24*60*60, `2026-03-02T15:00:00.123456\+03:00`)
				me := a.As(a.Do(t, "POST", paths.login, strings.Replace(login, "egor228", "CityModz@yandex.com", 1)+`null}`).Want(t, 200).Text("token"))
				answer := me.Do(t, "PUT", "/"+id, good.Replace(seedPut)).Want(t, 200)
				wantBody(t, answer, `{"status":"success"}`)
				answer = me.Do(t, "GET", "/"+id, nil).Want(t, 200)
				wantBody(t, answer, `{"status":"success","data":{"id":"`+id+`",`+
					`"email":"AGUREZ@yandex.com","user_type":"ind","username":"egor228","contact_number":"+79853553825",`+
					`"user_role":"Not_Verifyed","created":"2026-03-01T15:00:00.123456+03:00","updated":"2026-03-01T15:00:00.123456+03:00"}}`)
			})
		})
	}
}

// Six digits of a second, also where they are zeros, and the offset of the zone
// in force at that time.
func TestTimesHaveSixDigitsAndTheZonesOffset(t *testing.T) {
	t.Parallel()
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		zone *time.Location
		want string
	}{
		{time.UTC, "2026-03-01T12:00:01.000000+00:00"},
		{kolkata, "2026-03-01T17:30:01.000000+05:30"},
	} {
		a := apptest.Start(t, apptest.Options{Zone: c.zone, DatabaseURL: "sqlite::memory:"})
		a.Clock.Move(time.Second - 123456*time.Microsecond)
		p := a.NewPerson(t)
		if got := document(t, p.Client, p.ID)["created"]; got != c.want {
			t.Errorf("created %q, want %q", got, c.want)
		}
	}
}

// Python's words are taken for JSON's in a throwaway instance only, and there
// outside of strings only.
func TestPythonLiteralsStandForThemselvesInStrings(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{Literals: true, DatabaseURL: "sqlite::memory:"})
	a.Do(t, "POST", "/register", `{"username":"True","email":"None@example.org","password":"\\\"True-anchor-\"None False","contact_number":None}`).Want(t, 201)
	me := a.As(a.Do(t, "POST", "/login", `{"email_or_name":"True","password":"\\\"True-anchor-\"None False","remember_me":False}`).Want(t, 200).Text("token"))
	id := me.Do(t, "GET", "/auth/session", nil).Want(t, 200).Text("user_id")
	if d := document(t, me, id); d["username"] != "True" || d["email"] != "None@example.org" || d["contact_number"] != nil {
		t.Errorf("stored %v", d)
	}
	for _, body := range []string{
		`{"email_or_name":"True","password":"x","remember_me":TrueFalse}`,
		`{"email_or_name":"True","password":"x","remember_me":true True}`,
		`{"email_or_name":True"True","password":"x"}`,
		`{"email_or_name":"True","password":"x","remember_me":TRUE}`,
		`True`, `{True:1}`, `{"remember_me":True`, `{"remember_me":"True`, `{"remember_me":"\`,
	} {
		a.Do(t, "POST", "/login", body).Want(t, 400, "invalid_json")
	}
}

func wantBody(t *testing.T, a *apptest.Answer, want string) {
	t.Helper()
	if got := string(a.Body); got != want {
		t.Errorf("answer\n%s, want\n%s", got, want)
	}
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q, want application/json", got)
	}
}

// wantTokenBody: the seed's members in its order, then what was added; a random
// token of version 4; whole seconds as a number.
func wantTokenBody(t *testing.T, a *apptest.Answer, seconds int, expires string) {
	t.Helper()
	const hex = "[0-9a-f]"
	want := regexp.MustCompile(`^\{"status":"success","data":\{"token":"` + hex + `{8}-` + hex + `{4}-4` + hex + `{3}-[89ab]` + hex + `{3}-` + hex + `{12}",` +
		`"token-expiry":` + strconv.Itoa(seconds) + `,"expires_at":"` + expires + `","user_id":"` + hex + `{8}(-` + hex + `{4}){3}-` + hex + `{12}"\}\}$`)
	if !want.Match(a.Body) {
		t.Errorf("answer\n%s, want\n%s", a.Body, want)
	}
}

func wantFields(t *testing.T, a *apptest.Answer, want map[string]string) {
	t.Helper()
	got := a.Fields()
	for _, name := range sortedKeys(want) {
		if got[name] != want[name] {
			t.Errorf("field %s: %q, want %q: %s", name, got[name], want[name], a.Body)
		}
	}
	if len(got) != len(want) {
		t.Errorf("fields %v, want %v", got, want)
	}
}
