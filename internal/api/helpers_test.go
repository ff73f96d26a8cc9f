package api_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
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

	"github.com/go-json-experiment/json"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// object is a JSON object.
type object = map[string]any

// with gives a copy of o with one member set, and without one with members
// taken out.
func with(o object, name string, value any) object {
	c := maps.Clone(o)
	c[name] = value
	return c
}

func without(o object, names ...string) object {
	c := maps.Clone(o)
	for _, n := range names {
		delete(c, n)
	}
	return c
}

// loopback is where the tests' requests come from.
var loopback = mustPrefix("127.0.0.0/8")

func mustPrefix(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }

var numbers atomic.Int64

// newcomer is a registration that nothing is wrong with, of somebody new.
func newcomer() object {
	n := numbers.Add(1)
	return object{
		"user_type": "ind", "username": fmt.Sprintf("newcomer%d", n), "password": apptest.GoodPassword,
		"email": fmt.Sprintf("newcomer%d@example.org", n), "contact_number": "+79853553825",
	}
}

// create makes an account as an operator does, and logs its owner in.
func create(t testing.TB, a *apptest.App, role string, verified bool) *apptest.Person {
	t.Helper()
	o := newcomer()
	p := &apptest.Person{Username: o["username"].(string), Email: o["email"].(string), Password: apptest.GoodPassword}
	id, err := a.Service.CreateUser(t.Context(), account.Caller{Kind: account.Operator}, account.Registration{
		Username: p.Username, Email: p.Email, Password: account.NewSecret(p.Password),
	}, role, verified)
	if err != nil {
		t.Fatalf("create user: %v", err)
	}
	p.ID = id
	p.Login(t, a.Client)
	return p
}

// document reads a user as PUT takes it back.
func document(t testing.TB, c *apptest.Client, id string) object {
	t.Helper()
	var e struct {
		Data object `json:"data"`
	}
	if err := json.Unmarshal(c.Do(t, "GET", "/"+id, nil).Want(t, 200).Body, &e); err != nil {
		t.Fatalf("GET /%s: %v", id, err)
	}
	return e.Data
}

// etag gives the ETag of a user.
func etag(t *testing.T, p *apptest.Person) string {
	t.Helper()
	tag := p.Do(t, "GET", "/"+p.ID, nil).Want(t, 200).Header.Get("ETag")
	if len(tag) < 3 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		t.Fatalf("ETag %q is no strong entity tag", tag)
	}
	return tag
}

// parallel calls f n times at once.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			f(i)
		})
	}
	close(begin)
	wg.Wait()
}

// statuses counts answers by status.
func statuses(answers []*apptest.Answer) map[int]int {
	n := map[int]int{}
	for _, a := range answers {
		n[a.Status]++
	}
	return n
}

// columns is every table with all its columns, in the order in which "*" gives
// them: a column that is added to a table and not here makes snapshot fail.
var columns = map[string]string{
	"users": "id email email_key email_verified_at username username_key contact_number contact_number_verified_at " +
		"user_type user_role password_hash password_changed_at disabled_at proved_at version created_at updated_at language factors factors_changed_at trust_after",
	"email_changes":   "user_id email email_key created_at expires_at",
	"sessions":        "token_hash id user_id remembered created_at authenticated_at last_seen_at expires_at ip user_agent methods strong_at",
	"session_changes": "epoch subject at",
	"session_epoch":   "one epoch",
	"throttle":        "key failures until forget_at",
	"service_keys":    "id name key_hash scopes created_at expires_at",
	"idempotency":     "key fingerprint user_id expires_at",
	"installation":    "name value",
	"events":          "id at action outcome actor_kind actor_id target_id request_id data personal salt commitment leaf",
	"outbox": "seq id channel kind subject_id lang ref recipient_key sealed created_at next_attempt_at claimed_until attempts refusals " +
		"last_error sent_at failed_at expires_at purge_at cause",
	"tokens":         "id holder purpose slot token_hash code_mac browser_hash kept_mac sealed lifetime code_lifetime created_at expires_at code_expires_at",
	"totp":           "user_id sealed last_step created_at confirmed_at last_used_at",
	"recovery_codes": "code_mac user_id created_at",
	"passkeys":       "id user_id credential_id public_key name aaguid attestation transports sign_count user_verified backup_eligible backed_up created_at last_used_at",
	"requests":       "id sealed created_at",
}

// snapshot is every value in the database, as "table[key].column".
type snapshot map[string]string

func take(t *testing.T, a *apptest.App) snapshot {
	t.Helper()
	s := snapshot{}
	for table, list := range columns {
		names := strings.Fields(list)
		err := a.DB.Query(t.Context(), "SELECT * FROM "+table, nil, func(scan func(...any) error) error {
			values, pointers := make([]any, len(names)), make([]any, len(names))
			for i := range values {
				pointers[i] = &values[i]
			}
			if err := scan(pointers...); err != nil {
				return err
			}
			for i, v := range values {
				if b, ok := v.([]byte); ok {
					values[i] = hex.EncodeToString(b)
				}
				s[fmt.Sprintf("%s[%v].%s", table, values[0], names[i])] = fmt.Sprint(values[i])
			}
			return nil
		})
		if err != nil {
			t.Fatalf("read table %s: %v", table, err)
		}
	}
	return s
}

// since tells what is not as it was: "users[id].email" for a value that changed,
// "+events" and "-sessions" for rows that came and went.
func (s snapshot) since(before snapshot) []string {
	row := func(key string) string { return key[:strings.LastIndex(key, "]")+1] }
	table := func(key string) string { return key[:strings.Index(key, "[")] }
	rows := func(s snapshot) map[string]bool {
		m := map[string]bool{}
		for k := range s {
			m[row(k)] = true
		}
		return m
	}
	had, has := rows(before), rows(s)
	var out []string
	for r := range has {
		if !had[r] {
			out = append(out, "+"+table(r))
		}
	}
	for r := range had {
		if !has[r] {
			out = append(out, "-"+table(r))
		}
	}
	for k, v := range s {
		if old, ok := before[k]; ok && old != v {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// wantUnchanged fails the test if anything in the database is not as it was.
func wantUnchanged(t *testing.T, a *apptest.App, before snapshot, what string) {
	t.Helper()
	if changed := take(t, a).since(before); len(changed) > 0 {
		t.Errorf("%s changed %v", what, changed)
	}
}

// send writes a request as it is written, byte for byte, and reads the answer,
// which is held against the OpenAPI document like any other.
func send(t *testing.T, a *apptest.App, request string) *apptest.Answer {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(a.Base(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the answer is all that is wanted
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go io.WriteString(conn, request) //nolint:errcheck // the service may answer and close before it has read all
	method, _, _ := strings.Cut(request, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%.80q: %v", request, err)
	}
	defer res.Body.Close() //nolint:errcheck // as above
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%.80q: read answer: %v", request, err)
	}
	answer := &apptest.Answer{Status: res.StatusCode, Header: res.Header, Body: body}
	head, _, _ := strings.Cut(request, "\r\n\r\n")
	if r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\r\n\r\n"))); err == nil {
		a.Check(t, r, answer)
	}
	return answer
}

// day is a day.
const day = 24 * time.Hour

// hangUp sends a request and goes away after so many microseconds.
func hangUp(t *testing.T, a *apptest.App, request string, after int) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(a.Base(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Duration(after) * time.Microsecond)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// request writes a request with a body.
func request(method, target, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: propusk.example\r\nConnection: close\r\n", method, target)
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

// wantNoEcho fails the test if the answer holds the word anywhere.
func wantNoEcho(t *testing.T, answer *apptest.Answer, word, what string) {
	t.Helper()
	var head bytes.Buffer
	if err := answer.Header.Write(&head); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(bytes.ToLower(answer.Body), []byte(strings.ToLower(word))) || strings.Contains(strings.ToLower(head.String()), strings.ToLower(word)) {
		t.Errorf("%s: the answer echoes %q:\n%s\n%s", what, word, head.String(), answer.Body)
	}
}

// sortedKeys gives the keys of a table in order, so that runs are alike.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
