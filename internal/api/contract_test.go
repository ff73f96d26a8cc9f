package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"propusk/internal/apptest"
)

// A check that cannot fail proves nothing: answers that are not what the
// document says are found out, one fault at a time (promise P4).
func TestAnswersThatBreakTheContractAreFoundOut(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:"})
	p := a.NewPerson(t)
	user := p.Do(t, "GET", "/"+p.ID, nil).Want(t, 200)
	token := a.Do(t, "POST", "/login", object{"email_or_name": p.Username, "password": p.Password}).Want(t, 200)
	refusal := a.Do(t, "POST", "/register", object{}).Want(t, 422)
	replace := func(a *apptest.Answer, old, new string) *apptest.Answer {
		t.Helper()
		if !strings.Contains(string(a.Body), old) {
			t.Fatalf("no %s in %s", old, a.Body)
		}
		return &apptest.Answer{Status: a.Status, Header: a.Header, Body: []byte(strings.Replace(string(a.Body), old, new, 1))}
	}
	header := func(a *apptest.Answer, name, value string) *apptest.Answer {
		h := a.Header.Clone()
		h.Set(name, value)
		return &apptest.Answer{Status: a.Status, Header: h, Body: a.Body}
	}
	for _, c := range []struct {
		name         string
		method, path string
		answer       *apptest.Answer
		right        bool
	}{
		{"the user", "GET", "/" + p.ID, user, true},
		{"the token", "POST", "/login", token, true},
		{"the refusal", "POST", "/register", refusal, true},
		{"a field is missing", "GET", "/" + p.ID, replace(user, `"user_type":"ind",`, ``), false},
		{"a field too many", "GET", "/" + p.ID, replace(user, `"id"`, `"password_hash":"x","id"`), false},
		{"a field of another type", "GET", "/" + p.ID, replace(user, `"contact_number":null`, `"contact_number":7`), false},
		{"null where there is a value", "GET", "/" + p.ID, replace(user, `"user_type":"ind"`, `"user_type":null`), false},
		{"a number as text", "POST", "/login", replace(token, `"token-expiry":86400`, `"token-expiry":"86400"`), false},
		{"a fraction", "POST", "/login", replace(token, `"token-expiry":86400`, `"token-expiry":0.5`), false},
		{"another spelling of a field", "POST", "/login", replace(token, `"token-expiry"`, `"token_expiry"`), false},
		{"another envelope", "GET", "/" + p.ID, replace(user, `"success"`, `"ok"`), false},
		{"more in the envelope", "GET", "/" + p.ID, replace(user, `{"status"`, `{"debug":1,"status"`), false},
		{"no data", "GET", "/" + p.ID, &apptest.Answer{Status: 200, Header: user.Header, Body: []byte(`{"status":"success"}`)}, false},
		{"data where there is none", "PATCH", "/" + p.ID, user, false},
		{"no JSON", "GET", "/" + p.ID, &apptest.Answer{Status: 200, Header: user.Header, Body: []byte(`{"status":`)}, false},
		{"nothing", "GET", "/" + p.ID, &apptest.Answer{Status: 200, Header: user.Header}, false},
		{"a status that is not in the document", "GET", "/" + p.ID, &apptest.Answer{Status: 418, Header: refusal.Header, Body: refusal.Body}, false},
		{"a refusal as a success", "GET", "/" + p.ID, &apptest.Answer{Status: 200, Header: refusal.Header, Body: refusal.Body}, false},
		{"a refusal without its code", "POST", "/register", replace(refusal, `"code":"invalid_fields",`, ``), false},
		{"another media type", "GET", "/" + p.ID, header(user, "Content-Type", "text/html"), false},
		{"a path of nobody", "GET", "/no/such/path", user, false},
		{"404 without an envelope", "GET", "/no/such/path", &apptest.Answer{Status: 404, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte("404 page not found")}, false},
		{"405 without an envelope", "POST", "/healthz", &apptest.Answer{Status: 405, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte("Method Not Allowed")}, false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, a.Base()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		found := &complaints{TB: t}
		a.Check(found, r, c.answer)
		if c.right != (len(found.list) == 0) {
			t.Errorf("%s: complaints %v", c.name, found.list)
		}
	}
}

// complaints is a test that fails without failing.
type complaints struct {
	testing.TB
	list []string
}

func (c *complaints) Helper() {}
func (c *complaints) Errorf(format string, args ...any) {
	c.list = append(c.list, fmt.Sprintf(format, args...))
}
