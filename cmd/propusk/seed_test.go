package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// seedID is the id that the seed's examples show.
const seedID = "e5f8433e-76a9-4509-87f0-e1b12354d92b"

// example is one call of seed.md: the request as it is written, and the answer
// as it is shown.
type example struct {
	method, path string
	heading      string // the path of the section's heading
	body, answer string
}

var (
	headingLine = regexp.MustCompile(`^## \*\*(/\S+)\*\*`)
	requestLine = regexp.MustCompile(`^\s+(GET|PUT|POST|PATCH|DELETE) http://0\.0\.0\.0:8001(/\S*)\s*$`)
)

// readSeed takes the examples out of seed.md, which is a copy of the document
// that the service was built from: nobody retypes what is to be replayed.
func readSeed(t *testing.T) map[string]example {
	t.Helper()
	b, err := os.ReadFile("testdata/seed.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]example{}
	var heading string
	var e example
	var fenced *strings.Builder
	answering := false
	for line := range strings.Lines(string(b)) {
		text := strings.TrimSpace(line)
		switch m, h := requestLine.FindStringSubmatch(line), headingLine.FindStringSubmatch(line); {
		case fenced != nil && text == "```":
			if answering {
				e.answer = fenced.String()
				found[e.method+" "+e.heading] = e
			} else {
				e.body = fenced.String()
			}
			fenced = nil
		case fenced != nil:
			fenced.WriteString(line)
		case text == "```json":
			fenced = &strings.Builder{}
		case text == "Ответ:":
			answering = true
		case h != nil:
			heading = h[1]
		case m != nil:
			e, answering = example{method: m[1], path: m[2], heading: heading}, false
		}
	}
	for _, call := range []string{"GET /{user_id}", "PUT /{user_id}", "POST /register", "POST /login"} {
		if e := found[call]; e.answer == "" || (e.body == "") != (e.method == "GET") {
			t.Fatalf("seed.md: %s was not found whole: %+v", call, e)
		}
	}
	if len(found) != 4 {
		t.Fatalf("seed.md has %d examples, want 4: is this test still whole?", len(found))
	}
	return found
}

// The seed's examples, byte for byte, against a throwaway instance (P2): in the
// order in which they make sense, at the paths of the examples and at those of
// the headings.
func TestSeedReplaysWordForWord(t *testing.T) {
	seed := readSeed(t)
	for _, paths := range []string{"examples", "headings"} {
		t.Run(paths, func(t *testing.T) {
			p := run(t, t.TempDir(), "dev", "--time-zone=Europe/Moscow")
			send := func(call string) []byte {
				t.Helper()
				e := seed[call]
				if paths == "headings" && e.method == "POST" {
					e.path = e.heading
				}
				return replay(t, p, e, "")
			}
			wantLike(t, seed["POST /register"], send("POST /register"))
			registered := send("GET /{user_id}")
			wantLike(t, seed["GET /{user_id}"], registered, "email")
			if got := value(t, registered, "email"); got != "citymodz@yandex.com" {
				t.Errorf("email %q, want the one that was registered", got)
			}
			if got := string(send("PUT /{user_id}")); got != `{"status":"success"}` {
				t.Errorf("change: %s", got)
			}
			changed := send("GET /{user_id}")
			wantLike(t, seed["GET /{user_id}"], changed)
			if value(t, changed, "created") != value(t, registered, "created") || value(t, changed, "updated") <= value(t, registered, "updated") {
				t.Errorf("a change must move updated and nothing else:\n%s\n%s", registered, changed)
			}
			wantLike(t, seed["POST /login"], send("POST /login"), "token", "token-expiry")
		})
	}
}

// The same against the service itself: with a good password in place of the
// seed's, which everybody guesses first, and the token of login (P2). What the
// seed writes is refused there.
func TestSeedReplaysAgainstServe(t *testing.T) {
	seed := readSeed(t)
	p := run(t, t.TempDir(), "serve", "--time-zone=Europe/Moscow")
	if got := status(t, p, seed["POST /register"], ""); got != http.StatusUnprocessableEntity {
		t.Errorf("the seed's password: status %d, want 422", got)
	}
	if got := status(t, p, seed["POST /login"], ""); got != http.StatusBadRequest {
		t.Errorf("Python's True: status %d, want 400", got)
	}
	good := strings.NewReplacer(`"password": "password"`, `"password": "velvet-Anchor-71-quartz"`,
		`"password": "pass12345"`, `"password": "velvet-Anchor-71-quartz"`, `"email_or_name": "username"`, `"email_or_name": "egor228"`, "True", "true")
	for call, e := range seed {
		e.body = good.Replace(e.body)
		seed[call] = e
	}
	registered := replay(t, p, seed["POST /register"], "")
	id := value(t, registered, "user_id")
	for call, e := range seed {
		e.path = strings.ReplaceAll(e.path, seedID, id)
		e.answer = strings.ReplaceAll(e.answer, seedID, id)
		seed[call] = e
	}
	wantLike(t, seed["POST /register"], registered)
	if got := status(t, p, seed["GET /{user_id}"], ""); got != http.StatusUnauthorized {
		t.Errorf("without a token: status %d, want 401", got)
	}
	login := replay(t, p, seed["POST /login"], "")
	wantLike(t, seed["POST /login"], login, "token", "token-expiry")
	token := value(t, login, "token")
	if got := string(replay(t, p, seed["PUT /{user_id}"], token)); got != `{"status":"success"}` {
		t.Errorf("change: %s", got)
	}
	wantLike(t, seed["GET /{user_id}"], replay(t, p, seed["GET /{user_id}"], token))
}

// run starts propusk in dir on free ports and ends it with the test.
func run(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p, err := launch(dir, os.Environ(), append(args, "--listen=127.0.0.1:0", "--ops-listen=")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.end(os.Kill); err != nil {
			t.Error(err)
		}
	})
	return p
}

func replay(t *testing.T, p *process, e example, token string) []byte {
	t.Helper()
	code, body := call(t, p, e, token)
	if code/100 != 2 {
		t.Fatalf("%s %s: status %d: %s", e.method, e.path, code, body)
	}
	return body
}

func status(t *testing.T, p *process, e example, token string) int {
	t.Helper()
	code, _ := call(t, p, e, token)
	return code
}

func call(t *testing.T, p *process, e example, token string) (code int, body []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), e.method, p.url+e.path, strings.NewReader(e.body))
	if err != nil {
		t.Fatal(err)
	}
	if e.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end below
	if body, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

// timeForm is how the seed writes an instant under Europe/Moscow.
var timeForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+03:00$`)

// names gives the members of a JSON text in their order. The seed's answer to
// login holds Python, so it cannot be parsed.
func names(text string) (all []string) {
	for _, m := range regexp.MustCompile(`"([a-z_-]+)"\s*:`).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// wantLike holds an answer against the seed's: its members are there, in its
// order and with its values, save for those that are excepted. Times have its
// form.
func wantLike(t *testing.T, e example, answer []byte, except ...string) {
	t.Helper()
	var got []string
	want := names(e.answer)
	for _, name := range names(string(answer)) {
		if slices.Contains(want, name) { // login tells more than the seed
			got = append(got, name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s %s: members %v, the seed has %v: %s", e.method, e.path, got, want, answer)
	}
	for _, name := range want[2:] { // after status and data
		v := value(t, answer, name)
		switch {
		case name == "created" || name == "updated":
			if _, err := time.Parse(time.RFC3339Nano, v); err != nil || !timeForm.MatchString(v) {
				t.Errorf("%s is %q, which is not the form of the seed", name, v)
			}
		case name == "token":
			if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(v) {
				t.Errorf("token %q has not the form of the seed", v)
			}
		case name == "token-expiry":
			if v != "2592000" { // 30 days: the seed's login says remember_me
				t.Errorf("token-expiry %s, want 2592000", v)
			}
		case slices.Contains(except, name):
		case v != value(t, []byte(e.answer), name):
			t.Errorf("%s is %q, the seed has %q", name, v, value(t, []byte(e.answer), name))
		}
	}
}

// value gives a member of data as text.
func value(t *testing.T, answer []byte, name string) string {
	t.Helper()
	var v struct{ Data map[string]any }
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	switch x := v.Data[name].(type) {
	case string:
		return x
	case json.Number:
		return x.String()
	default:
		t.Fatalf("no %s in %s", name, answer)
		return ""
	}
}
