package apptest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"
)

// Client sends requests to a service and holds every answer against its
// OpenAPI document. Its methods may be called from several goroutines.
type Client struct {
	base     string
	http     *http.Client
	contract *contract
	header   http.Header
}

// With gives a client that sends one header more with every request.
func (c *Client) With(name, value string) *Client {
	d := *c
	d.header = c.header.Clone()
	if d.header == nil {
		d.header = http.Header{}
	}
	d.header.Add(name, value)
	return &d
}

// As gives a client that sends the token.
func (c *Client) As(token string) *Client { return c.With("Authorization", "Bearer "+token) }

// Base is the URL of the service.
func (c *Client) Base() string { return c.base }

// Do sends a request. body is sent as it is when it is a string or []byte, not
// at all when nil, and as JSON otherwise; a Content-Type comes along unless the
// client has one.
func (c *Client) Do(t testing.TB, method, path string, body any) *Answer {
	t.Helper()
	r, res, a := c.send(t, method, path, body) //nolint:bodyclose // send has read and closed it
	c.contract.check(t, r, res, a.Body)
	return a
}

// Raw is [Client.Do] for what the OpenAPI document does not have: other methods,
// and paths below one of its own.
func (c *Client) Raw(t testing.TB, method, path string, body any) *Answer {
	t.Helper()
	_, _, a := c.send(t, method, path, body) //nolint:bodyclose // as above
	return a
}

func (c *Client) send(t testing.TB, method, path string, body any) (*http.Request, *http.Response, *Answer) {
	t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	case []byte:
		reader = bytes.NewReader(b)
	default:
		j, err := json.Marshal(body, json.Deterministic(true))
		if err != nil {
			t.Fatalf("marshal body: %v", err)
		}
		reader = bytes.NewReader(j)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, c.base+path, reader)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	for k, v := range c.header {
		r.Header[k] = v
	}
	if _, given := r.Header["Content-Type"]; body != nil && !given {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end below
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: read answer: %v", method, path, err)
	}
	return r, res, &Answer{Status: res.StatusCode, Header: res.Header, Body: b}
}

// Answer is an answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Want fails the test unless the answer has this status and, where one is
// given, this code.
func (a *Answer) Want(t testing.TB, status int, code ...string) *Answer {
	t.Helper()
	if a.Status != status {
		t.Fatalf("status %d, want %d: %s", a.Status, status, a.Body)
	}
	if len(code) > 0 && a.Code() != code[0] {
		t.Fatalf("code %q, want %q: %s", a.Code(), code[0], a.Body)
	}
	return a
}

// Want2 fails the test unless the answer has one of two statuses, and gives it.
func (a *Answer) Want2(t testing.TB, one, other int) int {
	t.Helper()
	if a.Status != one && a.Status != other {
		t.Fatalf("status %d, want %d or %d: %s", a.Status, one, other, a.Body)
	}
	return a.Status
}

type envelope struct {
	Status  any       `json:"status"` // a number in RFC 9457
	Code    string    `json:"code"`
	Data    jsonValue `json:"data"`
	Message string    `json:"message"`
}

type jsonValue = map[string]any

func (a *Answer) envelope() (e envelope) {
	_ = json.Unmarshal(a.Body, &e) // what does not parse has no code, and the caller sees that
	return e
}

// Data gives a member of the answer's data.
func (a *Answer) Data(name string) any { return a.envelope().Data[name] }

// Text gives a member of the answer's data that is a string; "" if it is none.
func (a *Answer) Text(name string) string {
	s, _ := a.Data(name).(string)
	return s
}

// Code gives the code of an error, whatever its envelope.
func (a *Answer) Code() string {
	e := a.envelope()
	if e.Code != "" {
		return e.Code
	}
	s, _ := e.Data["code"].(string)
	return s
}

// Fields gives the codes of the fields at fault, by name.
func (a *Answer) Fields() map[string]string {
	var e struct {
		Data struct {
			Fields map[string]struct{ Code string }
		} `json:"data"`
		Fields map[string]struct{ Code string } `json:"fields"`
	}
	_ = json.Unmarshal(a.Body, &e, json.MatchCaseInsensitiveNames(true)) // as above
	out := map[string]string{}
	for k, v := range e.Data.Fields {
		out[k] = v.Code
	}
	for k, v := range e.Fields {
		out[k] = v.Code
	}
	return out
}

// GoodPassword is on no list and made of nobody's data.
const GoodPassword = "velvet-Anchor-71-quartz"

var people atomic.Int64

// Person is somebody who has registered and logged in.
type Person struct {
	*Client  // with his token
	ID       string
	Username string
	Email    string
	Password string
	Token    string
}

// NewPerson registers somebody new and logs him in.
func (a *App) NewPerson(t testing.TB) *Person {
	t.Helper()
	n := people.Add(1)
	p := &Person{Username: fmt.Sprintf("person%d", n), Email: fmt.Sprintf("Person%d@example.com", n), Password: GoodPassword}
	p.ID = a.Do(t, "POST", "/auth/register", map[string]any{
		"username": p.Username, "email": p.Email, "password": p.Password,
	}).Want(t, http.StatusCreated).Text("user_id")
	p.Login(t, a.Client)
	return p
}

// Login logs the person in anew through c.
func (p *Person) Login(t testing.TB, c *Client) {
	t.Helper()
	p.Token = c.Do(t, "POST", "/auth/login", map[string]any{
		"email_or_name": p.Username, "password": p.Password,
	}).Want(t, http.StatusOK).Text("token")
	p.Client = c.As(p.Token)
}
