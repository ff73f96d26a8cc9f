package gateways_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// person is somebody with a live token.
type person struct {
	token, id, role, session string
}

func (p person) authorization() string { return "Authorization: Bearer " + p.token }

// service is Propusk as the tests need it.
type service struct {
	handler http.Handler
	issue   func(t *testing.T, role string) person
	revoke  func(t *testing.T, p person)
}

// newService is the one place that knows what stands behind the gateways: the
// whole service, on SQLite.
func newService(t *testing.T) service {
	app := apptest.Start(t, apptest.Options{
		DatabaseURL:    apptest.SQLiteURL(t),
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Policy:         func(p *account.Policy) { p.RegistrationsPerNetwork = 10_000 },
	})
	operator := account.Caller{Kind: account.Operator}
	return service{
		handler: app.Server.Handler(),
		issue: func(t *testing.T, role string) person {
			t.Helper()
			p := app.NewPerson(t)
			if err := app.Service.SetRole(t.Context(), operator, p.ID, role); err != nil {
				t.Fatal(err)
			}
			p.Login(t, app.Client) // a role that was taken or given ends what was there
			session := p.Do(t, "GET", "/auth/session", nil).Want(t, http.StatusOK).Text("session_id")
			return person{token: p.Token, id: p.ID, role: role, session: session}
		},
		revoke: func(t *testing.T, p person) {
			t.Helper()
			app.As(p.token).Do(t, "POST", "/auth/logout", nil).Want(t, http.StatusOK)
		},
	}
}

// question is what Propusk was asked.
type question struct {
	method, uri, peer string
	header            http.Header
	body              int64
}

// propusk is the service on a port of its own, and can be taken away.
type propusk struct {
	service
	addr   string
	unable atomic.Bool // it answers 503: it cannot know
	mu     sync.Mutex
	asked  []question
	server *http.Server
}

func newPropusk(t *testing.T) *propusk {
	p := &propusk{service: newService(t), addr: freePort(t)}
	p.up(t)
	t.Cleanup(func() { p.down(t) })
	return p
}

func (p *propusk) up(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func(s *http.Server) { _ = s.Serve(l) }(p.server) // ends with down
}

func (p *propusk) down(t *testing.T) {
	t.Helper()
	if err := p.server.Close(); err != nil {
		t.Error(err)
	}
}

func (p *propusk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	p.mu.Lock()
	p.asked = append(p.asked, question{r.Method, r.RequestURI, r.RemoteAddr, r.Header.Clone(), n})
	p.mu.Unlock()
	if p.unable.Load() {
		w.Header().Set("Retry-After", "1")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"status":"error","code":"unavailable","message":"From Propusk.","data":{}}`)
		return
	}
	p.handler.ServeHTTP(w, r)
}

func (p *propusk) questions() []question {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

// arrival is a request that the application got.
type arrival struct {
	method, uri, host string
	header            http.Header
	body              string
}

// application is what stands behind the gateway. It answers with the X-User-Id
// that it saw, agrees to every upgrade, and keeps all that it is sent.
type application struct {
	addr string
	mu   sync.Mutex
	got  []arrival
	raw  bytes.Buffer
}

func newApplication(t *testing.T) *application {
	a := &application{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.addr = l.Addr().String()
	s := &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(tapped{l, a}) }() // ends with Close
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // what cannot be read is in raw
	a.mu.Lock()
	a.got = append(a.got, arrival{r.Method, r.RequestURI, r.Host, r.Header.Clone(), string(body)})
	a.mu.Unlock()
	if r.Header.Get("Upgrade") != "" {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close() //nolint:errcheck // whatever comes is in raw
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, c)
		return
	}
	_, _ = io.WriteString(w, "for "+r.Header.Get("X-User-Id")) //nolint:gosec // the reader is a test
}

func (a *application) arrivals() []arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.got)
}

// bytes is all that came over all connections.
func (a *application) bytes() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.raw.String()
}

// tapped keeps what its connections read.
type tapped struct {
	net.Listener
	a *application
}

func (l tapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &tap{c, l.a}, err
}

type tap struct {
	net.Conn
	a *application
}

func (c *tap) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	c.a.raw.Write(p[:n])
	return n, err
}

// world is a gateway between a client, Propusk and the application.
type world struct {
	*testing.T
	gateway string // which
	addr    string
	propusk *propusk
	app     *application
}

const (
	appHost = "app.example.com"
	idHost  = "id.example.com"
)

// answer is what a client got; status 0 is a connection that was closed on him.
type answer struct {
	status int
	header http.Header
	body   string
}

// get asks for path with these lines of header.
func (w *world) get(path string, lines ...string) answer {
	w.Helper()
	return w.send("GET " + path + " HTTP/1.1\r\nHost: " + appHost + "\r\n" + block(lines))
}

func block(lines []string) string {
	b := ""
	for _, line := range lines {
		b += line + "\r\n"
	}
	return b + "\r\n"
}

// send sends bytes on a connection of their own and reads the first answer.
func (w *world) send(request string) answer {
	w.Helper()
	a, err := exchange(w.addr, request, 20*time.Second)
	if err != nil {
		w.Fatalf("%q: %v", request, err)
	}
	return a
}

func exchange(addr, request string, atMost time.Duration) (answer, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return answer{}, err
	}
	defer c.Close() //nolint:errcheck // nothing more is wanted of it
	if err := c.SetDeadline(time.Now().Add(atMost)); err != nil {
		return answer{}, err
	}
	if _, err := io.WriteString(c, request); err != nil {
		return answer{}, nil // closed on us: that is an answer
	}
	method, _, _ := strings.Cut(request, " ")
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return answer{}, nil // the same
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, nil // the same
	}
	return answer{res.StatusCode, res.Header, string(body)}, nil
}

// want fails the test unless the answer has this status.
func (w *world) want(a answer, status int, what string) {
	w.Helper()
	if a.status != status {
		w.Errorf("%s: status %d, want %d: %.200s", what, a.status, status, a.body)
	}
}

// code is that of an error.
func (a answer) code() string {
	var e struct {
		Code string
		Data struct{ Code string }
	}
	_ = json.Unmarshal([]byte(a.body), &e) // what does not parse has none
	return e.Code + e.Data.Code
}

// identity is what only the gateway may say.
var identity = []string{"X-User-Id", "X-User-Role", "X-Session-Id"}

// letters is a header's name as the most careless application reads it.
func letters(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(name))
}

// belongsTo fails the test unless the request carries the identity of p, to the
// letter and once, and nothing else that could be taken for one or leads past
// Propusk.
func (w *world) belongsTo(got arrival, p person) {
	w.Helper()
	for i, value := range []string{p.id, p.role, p.session} {
		if values := got.header[identity[i]]; len(values) != 1 || values[0] != value {
			w.Errorf("%s %s: %s is %q, want %q", got.method, got.uri, identity[i], values, value)
		}
	}
	for name, values := range got.header {
		for _, reserved := range identity {
			if name != reserved && letters(name) == letters(reserved) {
				w.Errorf("%s %s: %s: %q got through", got.method, got.uri, name, values)
			}
		}
		switch letters(name) {
		case "authorization", "upgrade", "xoriginalurl", "xrewriteurl":
			w.Errorf("%s %s: %s: %q got through", got.method, got.uri, name, values)
		case "xforwardedfor":
			if name != "X-Forwarded-For" || len(values) != 1 || values[0] != "127.0.0.1" {
				w.Errorf("%s %s: %s: %q", got.method, got.uri, name, values)
			}
		}
	}
}

// nothingNew fails the test if the application has had more requests than n.
func (w *world) nothingNew(n int, what string) {
	w.Helper()
	if got := w.app.arrivals(); len(got) > n {
		w.Errorf("%s: the application got %d requests, the last %+v", what, len(got)-n, got[len(got)-1])
	}
}

// distinct counts the connections to Propusk.
func (p *propusk) distinct() int {
	peers := map[string]bool{}
	for _, q := range p.questions() {
		peers[q.peer] = true
	}
	return len(slices.Collect(maps.Keys(peers)))
}
