package api_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/go-json-experiment/json"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// bodied is a call with a body: a good one, and the names that it may hold.
type bodied struct {
	method, path string
	as           *apptest.Client
	token        string // of as; "" if it needs none
	good         object
	fields       []string
	alias        bool // another path to the same call
}

// nobodysLink has the form of the token of a link.
var nobodysLink = strings.Repeat("A", 43)

func (b bodied) String() string { return b.method + " " + b.path }

// bodiedCalls gives every call of the document that takes a body, as a person
// who may make it. It does not run out of attempts.
func bodiedCalls(t testing.TB, a *apptest.App) (out []bodied) {
	t.Helper()
	p := a.NewPerson(t)
	goods := map[string]object{
		"/auth/register": newcomer(), "/register": newcomer(),
		"/auth/login":          {"email_or_name": p.Username, "password": p.Password, "remember_me": true},
		"/login":               {"email_or_name": p.Username, "password": p.Password, "remember_me": true},
		"/auth/reauthenticate": {"password": p.Password},
		"/auth/password":       {"current_password": p.Password, "new_password": "changed-Anchor-71-quartz"},
		"/{user_id}":           {"username": p.Username, "email": p.Email},
		// What was sent to nobody: of the right form, and refused by the rules.
		"/auth/register/confirm":                    {"token": nobodysLink},
		"/auth/login/code/send":                     {"email_or_name": p.Username, "via": "email"},
		"/auth/login/code":                          {"token": nobodysLink, "login_request": nobodysLink, "remember_me": true},
		"/auth/recover":                             {"email_or_name": p.Username},
		"/auth/recover/confirm":                     {"token": nobodysLink, "new_password": "changed-Anchor-71-quartz"},
		"/auth/verify/email/send":                   {"email_or_name": p.Username},
		"/auth/verify/email":                        {"email_or_name": p.Username, "code": "123456"},
		"/auth/verify/email/undo":                   {"token": nobodysLink},
		"/auth/login/second-factor":                 {"challenge": nobodysLink, "code": "123456"},
		"/auth/login/second-factor/enrol":           {"challenge": nobodysLink, "factor": "totp"},
		"/auth/login/second-factor/passkey-options": {"challenge": nobodysLink},
		"/auth/login/passkey/options":               {"email_or_name": p.Username},
		"/auth/login/passkey":                       {"passkey": object{"id": "x"}, "remember_me": true},
		"/auth/passkeys":                            {"name": "mine", "passkey": object{"id": "x"}},
		"/auth/passkeys/{passkey_id}":               {"name": "mine"},
		"/auth/factors/totp/confirm":                {"code": "123456"},
		"/auth/verify/phone":                        {"code": "123456"},
	}
	var doc struct {
		Paths map[string]map[string]struct {
			RequestBody struct {
				Content map[string]struct {
					Schema struct {
						Ref string `json:"$ref"`
					} `json:"schema"`
				} `json:"content"`
			} `json:"requestBody"`
		} `json:"paths"`
		Components struct {
			Schemas map[string]struct {
				Properties object `json:"properties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(a.Do(t, "GET", "/openapi.json", nil).Body, &doc); err != nil {
		t.Fatal(err)
	}
	for _, op := range operations(t, a) {
		if !op.hasBody {
			continue
		}
		ref := doc.Paths[op.path][strings.ToLower(op.method)].RequestBody.Content["application/json"].Schema.Ref
		fields := sortedKeys(doc.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")].Properties)
		if len(fields) == 0 || goods[op.path] == nil {
			t.Fatalf("%s %s: %d fields, good body %v", op.method, op.path, len(fields), goods[op.path])
		}
		b := bodied{method: op.method, path: at(op.path, p.ID, p.ID), as: a.Client, good: goods[op.path], fields: fields, alias: goods["/auth"+op.path] != nil}
		if op.needsToken {
			b.as, b.token = p.Client, p.Token
		}
		out = append(out, b)
	}
	if len(out) < 8 {
		t.Fatalf("only %d calls with a body", len(out))
	}
	return out
}

func patient(p *account.Policy) { p.AttemptsPerAccount, p.AttemptsPerNetwork = 1<<30, 1<<30 }

func utf16Of(order binary.AppendByteOrder, bom bool, s string) string {
	var b []byte
	if bom {
		b = order.AppendUint16(b, 0xfeff)
	}
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func gzipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Whatever is not one JSON object with known fields of the right types is
// refused with 400 and its code, on every call that takes a body, and changes
// nothing; no password is hashed for it (S-39, S-42, V67, V79, F16).
func TestBadBodiesAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true, Policy: patient}, func(t *testing.T, a *apptest.App) {
		calls := bodiedCalls(t, a)
		before := take(t, a)
		_, hashed := a.Hasher.Stats()
		for _, c := range calls {
			b, err := json.Marshal(c.good, json.Deterministic(true))
			if err != nil {
				t.Fatal(err)
			}
			good, rest := string(b), string(b[1:])
			f := c.fields[len(c.fields)-1]
			escaped := fmt.Sprintf(`\u%04x%s`, f[0], f[1:])
			quoted := `"` + f + `":`
			bodies := map[string][]string{
				"invalid_json": {
					"", " ", "\n", "null", "[]", `""`, `"x"`, "0", "-1", "true", "false", "{", "}", "{]", "[" + good + "]", "x", "{\"",
					good + "x", good + good, good + "{}", good + ",", good + "\x00", good + "]", good + "\ufeff", good[:len(good)-1], good[:len(good)/2],
					"\ufeff" + good, "\u00a0" + good, "\v" + good, "\x1e" + good, "\x00" + good,
					utf16Of(binary.LittleEndian, true, good), utf16Of(binary.BigEndian, true, good),
					utf16Of(binary.LittleEndian, false, good), utf16Of(binary.BigEndian, false, good), gzipped(t, good),
					"{" + quoted + "NaN," + rest, "{" + quoted + "Infinity," + rest, "{" + quoted + "-Infinity," + rest, "{" + quoted + "undefined," + rest,
					"{" + quoted + "True," + rest, "{" + quoted + "None," + rest, "{" + quoted + "01," + rest, "{" + quoted + "0x10," + rest,
					"{" + quoted + "1.," + rest, "{" + quoted + "+1," + rest, "{" + quoted + "'x'}", "{" + f + `:"x"}`, "{'" + f + `':"x"}`,
					"{" + quoted + `"x",}`, "{," + rest, "{" + quoted + `"x" "y":1}`, "{" + quoted + "}", "{" + quoted + `"x";}`,
					"{/* */" + rest, "{// \n" + rest, "{# \n" + rest, good + "// ",
					"{" + quoted + "\"a\x00b\"}", "{" + quoted + `"a\u0000b"}`, `{"\u0000":1}`, "{\"\x00\":1}", "{" + `"` + f + `\u0000":"x"}`,
					"{" + quoted + `"\ud800"}`, "{" + quoted + `"\udc00"}`, "{" + quoted + `"\udc00\ud800"}`, "{" + quoted + `"\ud800\u0041"}`, "{" + quoted + `"\ud83d"}`,
					"{" + quoted + "\"\xff\"}", "{" + quoted + "\"\xc0\x80\"}", "{" + quoted + "\"\xed\xa0\x80\"}", "{" + quoted + "\"\xf4\x90\x80\x80\"}", "{\"\xff\":1}",
					"{" + quoted + "\"a\nb\"}", "{" + quoted + "\"a\tb\"}", "{" + quoted + `"\x41"}`, "{" + quoted + `"\u004"}`, "{" + quoted + `"\'"}`,
					strings.Repeat("[", 60000), strings.Repeat("{", 60000), "--" + good, "email=a%40b.example&password=x",
					"<user><name>x</name></user>", "%7B%7D", ")]}'\n" + good,
				},
				"body_too_complex": {
					"{" + quoted + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + "}", strings.Repeat(`{"a":`, 10001) + "1" + strings.Repeat("}", 10001),
					"{" + quoted + strings.Repeat("[", 32) + strings.Repeat("]", 32) + "}", strings.Repeat(`{"a":`, 33), `{"none":[` + strings.Repeat("1,", 3000) + "1]}",
					`{"none":` + strings.Repeat("[", 5000) + `{"x":1,"x":2}` + strings.Repeat("]", 5000) + "}", numbered(1000),
				},
				"duplicate_field": {
					"{" + quoted + `"a",` + quoted + `"b"}`, "{" + quoted + `"a","` + escaped + `":"b"}`, `{"` + escaped + `":"a",` + quoted + `"a"}`,
					"{" + quoted + `null,` + quoted + `null}`, `{"none":1,"none":2}`, `{"":1,"":1}`, "{" + quoted + `{"x":1,"x":2}}`, `{"none":{"x":1,"\u0078":2}}`,
					"{" + quoted + `[{"x":1,"x":2}]}`, `{"none":` + strings.Repeat("[", 30) + `{"x":1,"x":2}` + strings.Repeat("]", 30) + "}",
				},
				"unknown_field": {
					`{"none":1,` + rest, `{"":"",` + rest, `{"` + strings.ToUpper(f) + `":"x"}`, `{"` + strings.ToUpper(f[:1]) + f[1:] + `":"x"}`,
					`{"` + strings.ReplaceAll(f, "_", "-") + `-":"x"}`, `{" ` + f + `":"x"}`, `{"` + f + ` ":"x"}`, `{"` + f + `\n":"x"}`,
					`{"` + f + `\u200b":"x"}`, `{"\ufeff` + f + `":"x"}`, `{"` + strings.NewReplacer("o", "\u043e", "e", "\u0435", "a", "\u0430").Replace(f) + `":"x"}`,
					`{"` + f + `[]":"x"}`, `{"` + f + `.x":"x"}`, `{"$ref":"x"}`, `{"__proto__":{"` + f + `":"x"}}`, `{"constructor":{}}`,
					`{"none":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + "}", numbered(999), `{"user":` + good + `}`, `{"data":` + good + `}`,
				},
			}
			for _, code := range sortedKeys(bodies) {
				for _, body := range bodies[code] {
					if code == "unknown_field" && strings.HasPrefix(body, `{"`+f+`":`) { // a spelling that changes nothing in this name
						continue
					}
					answer := c.as.Do(t, c.method, c.path, []byte(body))
					if answer.Status != 400 || answer.Code() != code {
						t.Errorf("%s %.60q: %d %s, want 400 %s: %s", c, body, answer.Status, answer.Code(), code, answer.Body)
					}
				}
			}
			for _, field := range c.fields {
				for _, value := range []any{1, -1.5, 1e300, []any{}, object{}, []any{"x"}, object{"x": "y"}, true, "true"} {
					isBool := field == "remember_me" || field == "trust_device"
					if _, isText := value.(string); isText && !isBool && field != "passkey" || value == true && isBool {
						continue
					}
					if _, isObject := value.(object); isObject && field == "passkey" {
						continue
					}
					answer := c.as.Do(t, c.method, c.path, with(c.good, field, value))
					if answer.Status != 400 || answer.Code() != "wrong_type" || answer.Fields()[field] != "wrong_type" || len(answer.Fields()) != 1 {
						t.Errorf("%s, %s as %v: %d %s", c, field, value, answer.Status, answer.Body)
					}
				}
			}
		}
		wantUnchanged(t, a, before, "a bad body")
		if _, now := a.Hasher.Stats(); now != hashed {
			t.Errorf("%d passwords were hashed for bad bodies", now-hashed)
		}
	})
}

// numbered is an object of so many members.
func numbered(n int) string {
	var members []string
	for i := range n {
		members = append(members, fmt.Sprintf(`"k%d":1`, i))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// A duplicate of a known field is named; of an unknown one nothing is.
func TestRefusedFieldsAreNamedOnlyIfTheyAreKnown(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:"})
	for body, want := range map[string]map[string]string{
		`{"email":"a","email":"b"}`:      {"email": "duplicate_field"},
		`{"email":"a","\u0065mail":"b"}`: {"email": "duplicate_field"},
		`{"email":{"x":1,"x":2}}`:        {},
		`{"none":1,"none":2}`:            {},
		`{"none":1}`:                     {},
		`{"email":1,"none":1}`:           {"email": "wrong_type"},
	} {
		wantFields(t, a.Do(t, "POST", "/register", body).Want(t, 400), want)
	}
	answer := a.Do(t, "POST", "/login", `{"none":1}`).Want(t, 400, "unknown_field")
	if !bytes.Contains(answer.Body, []byte("Known are: email_or_name, password, remember_me.")) {
		t.Errorf("what is known is not told: %s", answer.Body)
	}
}

// A body is sent as JSON, in UTF-8, as it is: anything else is 415 before it is
// looked at, and whatever is packed is not unpacked (V100, F16).
func TestOnlyPlainJSONIsTaken(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true, Policy: patient}, func(t *testing.T, a *apptest.App) {
		bomb := gzipped(t, strings.Repeat(" ", 1<<20))
		calls := bodiedCalls(t, a)
		before := take(t, a)
		for _, c := range calls {
			b, err := json.Marshal(c.good)
			if err != nil {
				t.Fatal(err)
			}
			good := string(b)
			for _, mediaType := range []string{
				"text/plain", "text/json", "text/plain; charset=utf-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml",
				"application/json; charset=utf-16", "application/json; charset=latin1", "application/json; charset=", "application/json; charset=utf-8; charset=latin1",
				"application/jsonx", "application/json, text/plain", "application/json-patch+json", "application/vnd.api+json", "*/*", "application/*", "json", "application", ";",
				"application/json;charset=\"utf-8", "application\\json",
			} {
				if answer := c.as.With("Content-Type", mediaType).Do(t, c.method, c.path, good); answer.Status != 415 || answer.Code() != "unsupported_media_type" {
					t.Errorf("%s as %q: %d %s", c, mediaType, answer.Status, answer.Body)
				}
			}
			if c.method != "PATCH" {
				c.as.With("Content-Type", "application/merge-patch+json").Do(t, c.method, c.path, good).Want(t, 415, "unsupported_media_type")
			}
			c.as.With("Content-Type", "application/json").With("Content-Type", "application/json").Do(t, c.method, c.path, good).Want(t, 415)
			c.as.With("Content-Type", "application/json").With("Content-Type", "text/plain").Do(t, c.method, c.path, good).Want(t, 415)
			for _, encoding := range []string{"gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "identity", "gzip, gzip", "x"} {
				c.as.With("Content-Encoding", encoding).Do(t, c.method, c.path, good).Want(t, 415, "unsupported_media_type")
			}
			c.as.With("Content-Encoding", "gzip").Do(t, c.method, c.path, bomb).Want(t, 415)
			c.as.With("Content-Encoding", "").With("Content-Encoding", "gzip").Do(t, c.method, c.path, bomb).Want(t, 400)
		}
		for _, header := range []string{"X-None: x", "Content-Type:", "Content-Type: "} {
			send(t, a, request("POST", "/register", "{}", header)).Want(t, 415, "unsupported_media_type")
		}
		wantUnchanged(t, a, before, "a body of another kind")
		for _, mediaType := range []string{
			"application/json", "APPLICATION/JSON", "application/json; charset=UTF-8", `application/json;charset="utf-8"`, " application/json ; v=1",
		} {
			a.With("Content-Type", mediaType).Do(t, "POST", "/register", newcomer()).Want(t, 201)
		}
	})
}

// 64 KiB are taken, whole and in chunks; one byte more is not, nor are a
// million fields or a hundred megabytes that are only announced. Nothing is
// hashed or changed for them (S-04, V99, F16).
func TestBodiesAreTakenUpTo64KiB(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		chunked := func(size int, body string) string {
			var b strings.Builder
			b.WriteString("POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
			for len(body) > 0 {
				n := min(size, len(body))
				fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
				body = body[n:]
			}
			return b.String() + "0\r\n\r\n"
		}
		padded := func(size int) string {
			b, err := json.Marshal(newcomer())
			if err != nil {
				t.Fatal(err)
			}
			return string(b) + strings.Repeat(" ", size-len(b))
		}
		const jsonType = "Content-Type: application/json"
		a.Do(t, "POST", "/register", padded(limit)).Want(t, 201)
		send(t, a, chunked(limit, padded(limit))).Want(t, 201)
		send(t, a, chunked(4000, padded(limit))).Want(t, 201)
		send(t, a, chunked(1, padded(300))).Want(t, 201)

		before := take(t, a)
		_, hashed := a.Hasher.Stats()
		million := "{" + strings.Repeat(`"k":1,`, 1_000_000)
		for name, r := range map[string]string{
			"one byte more":                         request("POST", "/register", padded(limit+1), jsonType),
			"one byte more, in one chunk":           chunked(limit+1, padded(limit+1)),
			"one byte more, in chunks":              chunked(1000, padded(limit+1)),
			"a password of a megabyte":              request("POST", "/register", `{"password":"`+strings.Repeat("x", 1<<20)+`"}`, jsonType),
			"a million fields":                      request("POST", "/register", million, jsonType),
			"a million fields, in chunks":           chunked(1<<20, million),
			"a hundred megabytes, announced":        strings.Replace(request("POST", "/register", "{}", jsonType), "Content-Length: 2", "Content-Length: 104857600", 1),
			"a hundred megabytes, asked for before": strings.Replace(request("PUT", "/register", "", jsonType, "Expect: 100-continue"), "PUT", "POST", 1),
		} {
			if strings.Contains(name, "asked for") {
				r = strings.Replace(r, "Content-Length: 0", "Content-Length: 104857600", 1)
			}
			if answer := send(t, a, r); answer.Status != 413 || answer.Code() != "body_too_large" {
				t.Errorf("%s: %d %s", name, answer.Status, answer.Body)
			}
		}
		wantUnchanged(t, a, before, "a body that is too large")
		if _, now := a.Hasher.Stats(); now != hashed {
			t.Errorf("%d passwords were hashed", now-hashed)
		}
	})
}

// Of a body that never ends, not much more than what is taken is read from the
// connection, and then it is closed (F16).
func TestEndlessBodyIsNotReadOn(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:"})
	service := httptest.NewUnstartedServer(a.Server.Handler())
	counted := &countingListener{Listener: service.Listener}
	service.Listener = counted
	service.Start()
	defer service.Close()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(service.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the service closes it
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	answer := make(chan string)
	go func() {
		b, _ := io.ReadAll(conn) // until the service closes, however it does
		answer <- string(b)
	}()
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<10, strings.Repeat(" ", 1<<10))
	_, err = io.WriteString(conn, "POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
	for n := 0; err == nil && n < 64<<20; n += len(chunk) {
		_, err = io.WriteString(conn, chunk)
	}
	if err == nil {
		t.Error("64 MiB were taken")
	}
	if got := <-answer; !strings.HasPrefix(got, "HTTP/1.1 413 ") || !strings.Contains(got, "body_too_large") {
		t.Errorf("answer %.200q, want 413", got)
	}
	if n := counted.bytes.Load(); n < limit || n > 2*limit {
		t.Errorf("%d bytes were read, want %d to %d", n, limit, 2*limit)
	}
}

type countingListener struct {
	net.Listener
	bytes atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &countingConn{c, &l.bytes}, err
}

type countingConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

// A body that breaks off is refused; half of it does nothing.
func TestBrokenOffBodyDoesNothing(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		before := take(t, a)
		b, err := json.Marshal(newcomer())
		if err != nil {
			t.Fatal(err)
		}
		whole := request("POST", "/register", string(b), "Content-Type: application/json")
		for name, r := range map[string]string{
			"shorter than announced":           strings.Replace(whole, "Content-Length: ", "Content-Length: 1", 1),
			"a chunk without an end":           "POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + string(b),
			"a chunk of a length that is none": "POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n" + string(b),
		} {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(a.Base(), "http://"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, r); err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(got, []byte("HTTP/1.1 400 ")) || !bytes.Contains(got, []byte(`"body_incomplete"`)) {
				t.Errorf("%s: %s", name, got)
			}
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
		}
		wantUnchanged(t, a, before, "half a body")
	})
}

// No refusal repeats what was sent, be it in a value, in a name, in the path, in
// a header or in the method, in either form of the answer; and the log does not
// hold it either (S-54, S-56).
func TestNoRefusalEchoesWhatWasSent(t *testing.T) {
	t.Parallel()
	const canary = "CaNaRy7f3"
	apptest.Each(t, apptest.Options{Debug: true, Policy: patient}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		check := func(c *apptest.Client, method, path string, body any, what string) {
			t.Helper()
			for _, form := range []string{"application/json", "application/problem+json"} {
				answer := c.With("Accept", form).Do(t, method, path, body)
				if answer.Status >= 500 {
					t.Errorf("%s: status %d", what, answer.Status)
				}
				wantNoEcho(t, answer, canary, what)
			}
		}
		for _, c := range bodiedCalls(t, a) {
			if c.alias {
				continue
			}
			for _, f := range c.fields {
				for _, v := range []any{
					canary + " " + canary, canary + "@", "\n" + canary, strings.Repeat(canary, 200), "<" + canary + ">", canary + "\ufffe", canary + "\u202e",
					canary + "@x.example,y@x.example", "8" + canary, []any{canary}, object{canary: canary}, object{"x": object{canary: 1}},
				} {
					check(c.as, c.method, c.path, with(c.good, f, v), fmt.Sprintf("%s, %s %v", c, f, v))
				}
			}
			for _, body := range []any{
				with(c.good, canary, canary), `{"` + canary + `":1,"` + canary + `":2}`, canary, `"` + canary + `"`, `{"` + canary, `["` + canary + `"]`,
				`{"x":"\u0000` + canary + `"}`, `{"x":"` + canary + "\xff\"}", `{"` + canary + `":` + strings.Repeat(" ", 70000) + "1}",
			} {
				check(c.as, c.method, c.path, body, fmt.Sprintf("%s %.80v", c, body))
			}
			check(c.as.With("Content-Type", canary+"/"+canary), c.method, c.path, canary, "Content-Type")
			check(c.as.With("Content-Encoding", canary), c.method, c.path, canary, "Content-Encoding")
			check(c.as.With("Origin", "https://"+canary+".example"), c.method, c.path, canary, "Origin")
			check(c.as.With("If-Match", canary).With("Idempotency-Key", canary+" "+canary), c.method, c.path, c.good, "If-Match")
		}
		for _, path := range []string{"/" + canary, "/" + canary + "/" + canary, "/auth/" + canary, "/docs/" + canary, "/%2e/" + canary, "//" + canary, "/auth/sessions/" + canary, "/auth/session?" + canary} {
			for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", canary} {
				check(a.Client, method, path, nil, method+" "+path)
				if path != "/auth/session?"+canary || method != "GET" {
					check(p.Client, method, path, nil, method+" "+path)
				}
			}
		}
		for _, c := range []*apptest.Client{
			a.As(canary), a.With("Authorization", canary), a.With("Cookie", canary+"="+canary), a.With("X-Request-Id", canary), a.With("Accept-Language", canary),
			a.With("User-Agent", canary), a.With("Referer", "https://"+canary), a.With("X-Forwarded-For", canary), a.With("X-Forwarded-Host", canary), a.With("Forwarded", "host="+canary),
		} {
			check(c, "GET", "/auth/session", nil, "a header")
		}
		answer := send(t, a, "GET /nothing HTTP/1.1\r\nHost: "+canary+".example\r\nConnection: close\r\n\r\n")
		wantNoEcho(t, answer, canary, "Host")
		for line := range strings.Lines(a.Log.String()) {
			if strings.Contains(strings.ToLower(line), strings.ToLower(canary)) {
				t.Errorf("the log holds what was sent: %s", line)
			}
		}
		if !strings.Contains(a.Log.String(), `"route":"/auth/register"`) {
			t.Error("nothing was logged")
		}
	})
}

// Mistakes are told apart from faults: whatever is sent, nothing is a 5xx, and
// nothing panics (S-56, V101).
func TestNothingThatIsSentIsAFaultOfOurs(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Policy: patient}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		for _, c := range bodiedCalls(t, a) {
			if c.alias {
				continue
			}
			for _, f := range c.fields {
				for _, v := range []string{
					"\ufffe", "\uffff", "\ufdd0", "\U0001fffe", "\U0010ffff", "\ufffd", "\u2028", "\u200b", "\u202e", "\ufeff", "\u0085", "\u007f", "\u0001",
					strings.Repeat("\u0301", 500), strings.Repeat("\ufdfa", 300), strings.Repeat("\U0001f600", 300), "\u1e9e", "\u0130", "\ufb01", "\U0001d160",
					"'; DROP TABLE users; --", `" OR ""="`, "%s%n%d", "${jndi:ldap://x}", "{{7*7}}", "../../etc/passwd", "\\\\x\\y", "<script>", "$1", "?", ":a", "@x", strings.Repeat("a", 40000),
				} {
					answer := c.as.Do(t, c.method, c.path, object{f: v})
					if answer.Status < 400 || answer.Status >= 500 {
						tellsNothing := f == "email_or_name" && (answer.Status == 202 || c.path == "/auth/login/passkey/options")
						if answer.Status >= 500 || c.method != "PATCH" && !tellsNothing {
							t.Errorf("%s %s %.20q: %d %s", c, f, v, answer.Status, answer.Body)
						}
					}
				}
			}
		}
		p.Do(t, "GET", "/auth/session", nil).Want(t, 200)
		if strings.Contains(a.Log.String(), `"level":"ERROR"`) {
			t.Errorf("errors were logged: %s", a.Log.String())
		}
	})
}
