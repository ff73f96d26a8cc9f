package account_test

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/apptest/pgtest"
	"propusk/internal/db"
	"propusk/internal/event"
)

// What the tests of this package share: an operator, a second node, requests
// from many goroutines, and a look into the database past the service.

func operator() account.Caller { return account.Caller{Kind: account.Operator} }

// newUser makes somebody on an operator's word, and does not log him in.
func newUser(t testing.TB, a *apptest.App, name, role string, verified bool) *apptest.Person {
	t.Helper()
	p := &apptest.Person{Client: a.Client, Username: name, Email: name + "@example.com", Password: apptest.GoodPassword}
	id, err := a.Service.CreateUser(t.Context(), operator(), account.Registration{
		Username: p.Username, Email: p.Email, Password: account.NewSecret(p.Password),
	}, role, verified)
	if err != nil {
		t.Fatalf("create user %s: %v", name, err)
	}
	p.ID = id
	return p
}

// anotherNode is a second process on the same database.
func anotherNode(t testing.TB, a *apptest.App, o apptest.Options) *apptest.App {
	t.Helper()
	o.DatabaseURL, o.Keys = a.URL, a.Keys
	return apptest.Start(t, o)
}

// loginBody is the body of a login.
func loginBody(name, password string) map[string]any {
	return map[string]any{"email_or_name": name, "password": password}
}

// another logs the person in once more; his Token and Client stay as they are.
func another(t testing.TB, a *apptest.App, p *apptest.Person) string {
	t.Helper()
	return a.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password)).Want(t, http.StatusOK).Text("token")
}

// status is the answer of the token check.
func status(t testing.TB, a *apptest.App, token string) int {
	t.Helper()
	return a.As(token).Do(t, "GET", "/auth/session", nil).Status
}

func wantStatus(t testing.TB, a *apptest.App, what, token string, want int) {
	t.Helper()
	if got := status(t, a, token); got != want {
		t.Errorf("%s: status %d, want %d", what, got, want)
	}
}

// wire sends requests from many goroutines. It does not hold the answers
// against the OpenAPI document, which one goroutine at a time can do.
type wire struct {
	base string
	http *http.Client
}

func newWire(t testing.TB, a *apptest.App) *wire {
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &wire{base: a.Base(), http: &http.Client{Transport: tr}}
}

// send gives status and body, or 0 after telling t of the fault.
func (w *wire) send(t testing.TB, method, path, token, body string) (int, []byte) {
	r, err := http.NewRequestWithContext(t.Context(), method, w.base+path, strings.NewReader(body))
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return 0, nil
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := w.http.Do(r)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return 0, nil
	}
	defer res.Body.Close() //nolint:errcheck // read to its end below
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s %s: read answer: %v", method, path, err)
	}
	return res.StatusCode, b
}

// login gives the token, or "" where there is none.
func (w *wire) login(t testing.TB, name, password string) (token string) {
	_, b := w.send(t, "POST", "/auth/login", "", fmt.Sprintf(`{"email_or_name":%q,"password":%q}`, name, password))
	return text(b, "token")
}

// text takes a string member out of an answer.
func text(body []byte, name string) string {
	return (&apptest.Answer{Body: body}).Text(name)
}

// together calls f from n goroutines that start at once, and waits for them.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

// eventually waits until ok, or fails.
func eventually(t testing.TB, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// database is a connection that knows nothing of the service. (Package db has
// registered both drivers.)
type database struct {
	*sql.DB
	tables string // the query for their names
}

func direct(t testing.TB, url string) database {
	t.Helper()
	d := database{tables: `SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()`}
	driver, dsn := "pgx", url
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver, dsn = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
		d.tables = `SELECT name FROM sqlite_master WHERE type = 'table'`
	}
	var err error
	if d.DB, err = sql.Open(driver, dsn); err != nil {
		t.Fatalf("open database: %v", err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func (d database) exec(t testing.TB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := d.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// contents is every row of every table as text, with bytes in hexadecimal.
type contents map[string][]string

func (d database) read(t testing.TB) contents {
	t.Helper()
	c := contents{}
	for _, name := range d.names(t) {
		c[name] = d.rows(t, name)
	}
	return c
}

func (d database) names(t testing.TB) (names []string) {
	t.Helper()
	rows, err := d.QueryContext(t.Context(), d.tables)
	if err != nil {
		t.Fatalf("list tables: %v", err)
	}
	defer rows.Close() //nolint:errcheck // Err is looked at
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatalf("list tables: %v", err)
		}
		if !strings.HasPrefix(name, "goose") && !strings.HasPrefix(name, "sqlite") && name != "nodes" { // these count on by themselves
			names = append(names, name)
		}
	}
	if err := rows.Err(); err != nil || len(names) < 10 {
		t.Fatalf("list tables: %v: %v", names, err)
	}
	return names
}

func (d database) rows(t testing.TB, name string) []string {
	t.Helper()
	rows, err := d.QueryContext(t.Context(), "SELECT * FROM "+name)
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	defer rows.Close() //nolint:errcheck // Err is looked at
	columns, err := rows.Columns()
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	var out []string
	for rows.Next() {
		values, dest := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			t.Fatalf("read %s: %v", name, err)
		}
		var row strings.Builder
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				v = hex.EncodeToString(b)
			}
			fmt.Fprintf(&row, "%s=%v ", columns[i], v)
		}
		out = append(out, row.String())
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	slices.Sort(out)
	return out
}

// differences tells what was done to a database between two looks: for each
// table that differs, how many rows are gone and how many are new.
func differences(before, after contents) map[string][2]int {
	out := map[string][2]int{}
	for name := range maps.Keys(before) {
		gone, fresh := minus(before[name], after[name]), minus(after[name], before[name])
		if len(gone)+len(fresh) > 0 {
			out[name] = [2]int{len(gone), len(fresh)}
		}
	}
	return out
}

func minus(a, b []string) (rest []string) {
	have := map[string]bool{}
	for _, s := range b {
		have[s] = true
	}
	for _, s := range a {
		if !have[s] {
			rest = append(rest, s)
		}
	}
	return rest
}

// trail is every entry, the newest first.
func trail(t testing.TB, a *apptest.App) []event.Event {
	t.Helper()
	list, err := event.List(t.Context(), a.DB, "", 1_000_000)
	if err != nil {
		t.Fatalf("list events: %v", err)
	}
	return list
}

// entriesOf gives the entries that f causes.
func entriesOf(t testing.TB, a *apptest.App, f func()) (fresh []event.Event) {
	t.Helper()
	known := map[string]bool{}
	for _, e := range trail(t, a) {
		known[e.ID] = true
	}
	f()
	for _, e := range trail(t, a) {
		if !known[e.ID] {
			fresh = append(fresh, e)
		}
	}
	return fresh
}

// wantWhole fails the test if an entry of the trail is not what was written.
func wantWhole(t testing.TB, a *apptest.App) {
	t.Helper()
	n, changed, err := event.Verify(context.WithoutCancel(t.Context()), a.DB)
	if err != nil || changed != "" || n == 0 {
		t.Errorf("the trail is not whole: %d entries, changed %q, %v", n, changed, err)
	}
}

func hashes(a *apptest.App) int64 {
	_, n := a.Hasher.Stats()
	return n
}

// freshURL names an empty database of the engine.
func freshURL(t testing.TB, engine db.Engine) string {
	if engine == db.Postgres {
		return pgtest.URL(t)
	}
	return apptest.SQLiteURL(t)
}

// metrics is what the operations listener shows.
func metrics(t testing.TB, a *apptest.App) string {
	t.Helper()
	w := httptest.NewRecorder()
	a.Server.OpsHandler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("metrics: status %d", w.Code)
	}
	return w.Body.String()
}
