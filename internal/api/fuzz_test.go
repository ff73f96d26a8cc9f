package api_test

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/net/http/httpguts"

	"propusk/internal/account"
	"propusk/internal/api"
	"propusk/internal/apptest"
)

// fuzzed is a service whose handlers are called without a socket in between.
type fuzzed struct {
	*apptest.App
	p, admin *apptest.Person
	calls    []bodied
	messages map[string]bool // every sentence that may be said
}

func startFuzzed(f *testing.F) *fuzzed {
	f.Helper()
	a := apptest.Start(f, apptest.Options{DatabaseURL: "sqlite::memory:", Policy: patient})
	z := &fuzzed{App: a, p: a.NewPerson(f), admin: create(f, a, "Admin", true), calls: bodiedCalls(f, a), messages: map[string]bool{}}
	args := []map[string]string{
		{"min": "2", "max": "64"}, {"min": "8", "max": "256"}, {"want": "application/json"}, {"want": "application/merge-patch+json"},
		{"header": "If-Match"}, {"header": "Idempotency-Key"},
	}
	for _, c := range z.calls {
		known := c.as.Do(f, c.method, c.path, `{"none":1}`)
		_, names, _ := strings.Cut(known.Text("message"), "Known are: ")
		args = append(args, map[string]string{"known": strings.TrimSuffix(names, ".")})
	}
	for _, words := range api.AllCodes() {
		for _, a := range args {
			z.messages[words.In("en", a)], z.messages[words.In("ru", a)] = true, true
		}
	}
	return z
}

// serve gives the answer to r, which must not be a fault of ours, and if it is a
// refusal, say nothing but what is in the list of what may be said.
func (z *fuzzed) serve(t *testing.T, r *http.Request) *apptest.Answer {
	t.Helper()
	r.RemoteAddr = "192.0.2.1:1234"
	w := httptest.NewRecorder()
	z.Server.Handler().ServeHTTP(w, r)
	answer := &apptest.Answer{Status: w.Code, Header: w.Header(), Body: w.Body.Bytes()}
	if answer.Status < 200 || answer.Status >= 500 || answer.Status/100 == 3 && answer.Status != http.StatusNotModified {
		t.Fatalf("status %d: %s", answer.Status, answer.Body)
	}
	if answer.Header.Get("X-Content-Type-Options") != "nosniff" || answer.Header.Get("X-Request-Id") == "" {
		t.Errorf("headers %v", answer.Header)
	}
	if answer.Status >= 400 && r.Method != http.MethodHead {
		z.wantOnlyKnownWords(t, answer)
	}
	return answer
}

func (z *fuzzed) wantOnlyKnownWords(t *testing.T, answer *apptest.Answer) {
	t.Helper()
	type fault struct {
		Code    account.Code `json:"code"`
		Message string       `json:"message"`
	}
	var e struct { // both forms; nothing else may be there
		Status any `json:"status"`
		Data   struct {
			fault
			Fields map[string]fault `json:"fields"`
		} `json:"data"`
		Type   string           `json:"type"`
		Title  string           `json:"title"`
		Detail string           `json:"detail"`
		Code   account.Code     `json:"code"`
		Fields map[string]fault `json:"fields"`
		ID     string           `json:"request_id"`
	}
	if err := json.Unmarshal(answer.Body, &e, json.RejectUnknownMembers(true)); err != nil {
		t.Fatalf("%v: %s", err, answer.Body)
	}
	faults := []fault{e.Data.fault}
	if e.Type != "" {
		faults[0] = fault{e.Code, e.Detail}
		if e.Type != "urn:propusk:error:"+string(e.Code) || e.Title != http.StatusText(answer.Status) || e.ID != answer.Header.Get("X-Request-Id") {
			t.Errorf("problem %s", answer.Body)
		}
	}
	for _, fields := range []map[string]fault{e.Data.Fields, e.Fields} {
		for name, f := range fields {
			faults = append(faults, f)
			if !strings.Contains(" username email password contact_number user_type current_password new_password email_or_name remember_me token code via login_request challenge passkey trust_device factor name id user_role created updated ", " "+name+" ") {
				t.Errorf("field %q: %s", name, answer.Body)
			}
		}
	}
	for _, f := range faults {
		if _, ok := api.AllCodes()[f.Code]; !ok || !z.messages[f.Message] {
			t.Errorf("code %q, message %q", f.Code, f.Message)
		}
	}
}

// FuzzDecode sends bodies to every call that takes one. Nothing is a fault of
// ours, no refusal says anything of what was sent, and what was taken can be
// read and written back as it is (S-39, S-42, S-56, V79, V101).
func FuzzDecode(f *testing.F) {
	z := startFuzzed(f)
	for i := range z.calls {
		for _, body := range []string{
			`{}`, `{"username":"fuzz","email":"fuzz@example.org","password":"fuzzed-Anchor-71-quartz","contact_number":"+79853553825","user_type":"ind"}`,
			`{"username":"\u0451\u043b\u043a\u0430","email":"\u043f\u043e\u0447\u0442\u0430@\u0434\u043e\u043c\u0435\u043d.\u0440\u0444","password":"\ud83d\ude00 fuzzed anchor","contact_number":null,"user_type":null}`,
			`{"email_or_name":"fuzz","password":"wrong-Anchor-71-quartz","remember_me":true}`, `{"current_password":"wrong","new_password":"fuzzed-Anchor-71-quartz"}`,
			`{"id":null,"user_role":"Admin","created":"2026-03-01T12:00:00.123456Z","updated":""}`, `{"email":"a","\u0065mail":"b"}`, `{"username":"\u0000"}`, `{"username":"\ud800"}`,
			`[`, `{"":[{"x":1,"x":2}]}`, "\ufeff{}", "{\"email\":\"\xff\"}", `{"email":"a@b@c","contact_number":"8 (985) 355-38-25"}`, `{"username":"\uff25\u0131\u00df\u212a"}`,
		} {
			f.Add(byte(i), []byte(body))
		}
	}
	user := regexp.MustCompile(`^\{"status":"success","data":\{"user_id":"([0-9a-f-]{36})"\}\}$`)
	f.Fuzz(func(t *testing.T, call byte, body []byte) {
		c := z.calls[int(call)%len(z.calls)]
		r := httptest.NewRequest(c.method, c.path, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if c.token != "" {
			r.Header.Set("Authorization", "Bearer "+c.token)
		}
		answer := z.serve(t, r)
		if answer.Status >= 400 {
			return
		}
		if !utf8.Valid(body) || !jsontext.Value(body).IsValid() {
			t.Errorf("%s takes %q", c, body)
		}
		id := strings.TrimPrefix(c.path, "/")
		if m := user.FindSubmatch(answer.Body); m != nil {
			id = string(m[1])
		} else if strings.HasSuffix(c.path, "register") {
			t.Errorf("answer %s", answer.Body)
		}
		if account.IsID(id) {
			z.wantFixedPoint(t, id)
		}
	})
}

// wantFixedPoint: what is stored is read, and written back without a change.
func (z *fuzzed) wantFixedPoint(t *testing.T, id string) {
	t.Helper()
	as := func(method string, body []byte) *apptest.Answer {
		r := httptest.NewRequest(method, "/"+id, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+z.admin.Token)
		return z.serve(t, r).Want(t, 200)
	}
	read := as("GET", nil)
	var e struct {
		Data jsontext.Value `json:"data"`
	}
	if err := json.Unmarshal(read.Body, &e); err != nil {
		t.Fatalf("%v: %s", err, read.Body)
	}
	as("PUT", e.Data)
	if again := as("GET", nil); !bytes.Equal(again.Body, read.Body) || again.Header.Get("ETag") != read.Header.Get("ETag") {
		t.Errorf("read\n%s, written back\n%s", read.Body, again.Body)
	}
}

// FuzzRegistration fills the fields of a registration with anything. Nothing is
// a fault of ours; who is registered logs in by both names, as they were typed
// and as they are shown, and is read and written back as he is (S-02, S-03,
// S-33, S-56, V79).
func FuzzRegistration(f *testing.F) {
	z := startFuzzed(f)
	for _, s := range [][5]string{
		{"egor228", "AGUREZ@yandex.com", "corAl-Teapot-93-lantern", "+79853553825", "ind"}, {"Ёлка", "Почта@домен.рф", "пароль из многих слов", "8 (985) 355-38-25", "org"},
		{" \uff25\u0131ß ", " İstanbul@example.org ", "\U0001f600 anchor \u0301", "", ""}, {"\u212aelvin", "stra\u1e9ee@x.example", "\u1100\u1161\u11a8 velvet anchor", "+442079460958", "ind"},
		{"田中さくら", "a@xn--d1acufc.xn--p1ai", strings.Repeat("\u00e9x", 128), "020 7946 0958", "x"}, {"a@b", "a@b@c", "\ufffe", "+7", "\u0000"}, {"i\u03bdan", "a\uff20b.example", "password", "1-800-FLOWERS", "IND"},
		{"محمد١٢", "o'neil+tag@x-y.example", " spaces  around ", "79853553825", "ind"}, {"νίκοσ", "ΟΔΌΣ@x.example", "σίσυφος-velvet", "", ""},
	} {
		f.Add(s[0], s[1], s[2], s[3], s[4])
	}
	f.Fuzz(func(t *testing.T, username, email, password, phone, userType string) {
		post := func(path string, body object) *apptest.Answer {
			b, err := json.Marshal(body, jsontext.AllowInvalidUTF8(true))
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("POST", path, bytes.NewReader(b))
			r.Header.Set("Content-Type", "application/json")
			return z.serve(t, r)
		}
		answer := post("/register", object{"username": username, "email": email, "password": password, "contact_number": phone, "user_type": userType})
		if answer.Status != 201 {
			return
		}
		id := answer.Text("user_id")
		z.wantFixedPoint(t, id)
		shown := document(t, z.admin.Client, id)
		for _, name := range []any{username, email, shown["username"], shown["email"]} {
			if got := post("/login", object{"email_or_name": name, "password": password}).Want(t, 200).Text("user_id"); got != id {
				t.Errorf("%q logs in as another", name)
			}
		}
		post("/login", object{"email_or_name": shown["username"], "password": password + "x"}).Want(t, 401)
	})
}

// FuzzRoutes sends any request line and any headers, with a token and without:
// nothing is a fault of ours, nothing is redirected, and nothing is said but
// what is in the list (S-56, V83, V101).
func FuzzRoutes(f *testing.F) {
	z := startFuzzed(f)
	for _, s := range [][3]string{
		{"GET", "/" + z.p.ID, ""}, {"GET", "/auth/session", "Accept: application/problem+json"}, {"HEAD", "/healthz", ""}, {"PUT", "/" + z.p.ID, "If-Match: *"},
		{"PATCH", "/" + z.p.ID, "Content-Type: application/merge-patch+json"}, {"POST", "/auth/login", "Content-Type: application/json"}, {"OPTIONS", "*", ""},
		{"POST", "/register", "Idempotency-Key: a\r\nIdempotency-Key: b"}, {"CONNECT", "evil.example:443", ""}, {"GET", "//x", ""}, {"GET", "/%2e%2e/auth/session", ""},
		{"GET", "/auth%2fsession", ""}, {"GET", "http://x/auth/session", ""}, {"get", "/docs", "Accept-Encoding: gzip"}, {"FOO", "/readyz", "Origin: https://evil.example"},
		{"GET", "/openapi.json", "X-Forwarded-For: ::1"}, {"DELETE", "/auth/sessions/x", "Authorization: Bearer x"}, {"TRACE", "/", "Accept-Language: ru, en;q=0.5"},
		{"GET", "/docs/scalar.js", "If-None-Match: *"}, {"POST", "/auth/logout", "Upgrade: h2c\r\nConnection: Upgrade"},
	} {
		f.Add(s[0], s[1], s[2], true)
		f.Add(s[0], s[1], s[2], false)
	}
	f.Fuzz(func(t *testing.T, method, target, headers string, authorized bool) {
		if authorized {
			headers += "\r\nAuthorization: Bearer " + z.p.Token
		}
		head := method + " " + target + " HTTP/1.1\r\n" + strings.Trim(headers, "\r\n") + "\r\n\r\n"
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
		if err != nil {
			return // no request at all: net/http itself refuses it
		}
		if authorized && (r.Method == "DELETE" || strings.HasSuffix(r.URL.Path, "/logout")) {
			return // the next ones need the session
		}
		answer := z.serve(t, r)
		if strings.Contains(r.URL.Path, "//") && answer.Status < 400 {
			t.Errorf("%s %q: %d", r.Method, target, answer.Status)
		}
		if !authorized && answer.Status < 300 && (strings.Contains(r.URL.Path, z.p.ID) || strings.HasPrefix(r.URL.Path, "/auth")) {
			t.Errorf("%s %q without a token: %d %s", r.Method, target, answer.Status, answer.Body)
		}
	})
}

// FuzzAcceptLanguage: whatever is asked for, the answer is in one of the two
// languages and says in which; in Russian only if that was asked for.
func FuzzAcceptLanguage(f *testing.F) {
	z := startFuzzed(f)
	for _, s := range []string{
		"", "ru", "ru-RU, en;q=0.5", "en-GB,en;q=0.9,ru;q=0.8", "*", "ru;q=0", "de, fr;q=0.5", "kk", "und-Cyrl", "x-ru", "ru-", "i-klingon", "ru;q=1.5", ";;,,", "ru\x00", "zh-cmn-Hans-CN, ru-u-co-phonebk",
		strings.Repeat("ru,", 90), strings.Repeat("-a", 128), "sl-IT-nedis", "rus", "RU", "Ru_ru",
	} {
		f.Add(s)
	}
	words := api.AllCodes()["not_found"]
	f.Fuzz(func(t *testing.T, asked string) {
		r := httptest.NewRequest("GET", "/nothing", nil)
		r.Header.Set("Accept-Language", asked)
		answer := z.serve(t, r).Want(t, 404)
		lang := answer.Header.Get("Content-Language")
		if want := words.In(lang, nil); lang != "en" && lang != "ru" || answer.Text("message") != want {
			t.Errorf("%q: %q in %q", asked, answer.Text("message"), lang)
		}
		if lang == "ru" && !strings.Contains(strings.ToLower(asked), "ru") {
			t.Errorf("%q is answered in Russian", asked)
		}
	})
}

// FuzzIfMatch holds the reader of If-Match against the grammar of RFC 9110,
// sections 5.6.1, 8.8.3 and 13.1.1, written as a regular expression.
func FuzzIfMatch(f *testing.F) {
	z := startFuzzed(f)
	r := httptest.NewRequest("GET", "/"+z.p.ID, nil)
	r.Header.Set("Authorization", "Bearer "+z.p.Token)
	w := httptest.NewRecorder()
	z.Server.Handler().ServeHTTP(w, r)
	present := w.Header().Get("ETag")
	const tag = `(?:W/)?"[^\x00-\x20"\x7f]*"`
	list := regexp.MustCompile(`^[ \t,]*` + tag + `(?:[ \t]*,[ \t,]*` + tag + `)*[ \t,]*$`)
	one := regexp.MustCompile(tag)
	for _, s := range []string{
		`*`, present, `W/` + present, present + `, "x"`, `"a,b",` + present, `""`, `"`, `W/`, `,` + present + `,`, `w/` + present, `"x" ` + present, "\"\xff\"", present + `,*`, ` * `, `""` + present,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if !httpguts.ValidHeaderFieldValue(header) {
			return // no header: net/http refuses the request
		}
		want := 400
		if list.MatchString(header) {
			want = 412
			for _, tag := range one.FindAllString(header, -1) {
				if tag == present {
					want = 200
				}
			}
		} else if strings.Trim(header, " \t") == "*" {
			want = 200
		}
		r := httptest.NewRequest("PATCH", "/"+z.p.ID, strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+z.p.Token)
		r.Header.Set("If-Match", header)
		if answer := z.serve(t, r); answer.Status != want {
			t.Errorf("If-Match %q: %d, want %d", header, answer.Status, want)
		}
	})
}
