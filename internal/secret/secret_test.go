package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	jsonv1 "encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/go-json-experiment/json"

	"propusk/internal/secret"
)

const plain = "hunter2-Пароль"

// tells gives the form in which out tells of the plain text, "" for none.
func tells(out string) string {
	b := []byte(plain)
	for form, s := range map[string]string{
		"plain": "hunter2", "plain Cyrillic": "Пароль", "quoted": `\u041f\u0430`, "numbers": strings.Trim(fmt.Sprint(b[:4]), "[]"),
		"hexadecimal": hex.EncodeToString(b[:6]), "hexadecimal, upper case": strings.ToUpper(hex.EncodeToString(b[:6])),
		"hexadecimal with spaces": fmt.Sprintf("% x", b[:4]), "Go bytes": strings.Trim(fmt.Sprintf("%#v", b[:3]), "[]byte{}"),
		"base64": base64.RawStdEncoding.EncodeToString(b[:6]),
	} {
		if strings.Contains(out, s) {
			return form
		}
	}
	return ""
}

type exported struct {
	Name     string
	Password secret.Text
}

type unexported struct {
	name     string
	password secret.Text
	pointer  *secret.Text
}

type embedded struct{ secret.Text }

// holders are a text and what it can be inside of.
func holders() map[string]any {
	text := secret.NewText(plain)
	return map[string]any{
		"text": text, "pointer": &text, "slice": []secret.Text{text}, "map value": map[string]secret.Text{"p": text},
		"map key": map[secret.Text]int{text: 1}, "any": []any{text}, "array": [1]secret.Text{text},
		"exported field": exported{"n", text}, "pointer to exported field": &exported{"n", text},
		"unexported field": unexported{"n", text, &text}, "pointer to unexported field": &unexported{"n", text, &text},
		"slice of unexported fields": []unexported{{"n", text, &text}},
		"embedded":                   embedded{text},
		"error":                      fmt.Errorf("log in: %w", fmt.Errorf("password %v of %+v", text, unexported{password: text})),
		"joined error":               errors.Join(errors.New(text.String()), fmt.Errorf("%s %q", text, text)),
	}
}

func TestTextIsNeverPrinted(t *testing.T) {
	for name, v := range holders() {
		for _, flags := range []string{"", "+", "#", "-20", "020", " ", ".3", "+#"} {
			for _, verb := range "vTtbcdoOqxXUeEfFgGspwkZ!й" {
				format := "%" + flags + string(verb)
				if form := tells(fmt.Sprintf(format, v)); form != "" {
					t.Errorf("%s in %s: %s", format, name, form)
				}
			}
		}
		if form := tells(fmt.Sprint(v) + fmt.Sprintln(v)); form != "" {
			t.Errorf("Sprint of %s: %s", name, form)
		}
	}
	text := secret.NewText(plain)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(format, text); got != "[redacted]" {
			t.Errorf("%s gives %q", format, got)
		}
	}
	if tells(fmt.Sprint(plain)) == "" || tells(fmt.Sprintf("%x", plain)) == "" || tells(fmt.Sprintf("%d", []byte(plain))) == "" {
		t.Error("a string that does not redact is not found: what does this test look for?")
	}
}

func TestTextIsNeverLogged(t *testing.T) {
	for name, v := range holders() {
		var out bytes.Buffer
		o := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, o), slog.NewJSONHandler(&out, o)} {
			log := slog.New(h)
			log.Info("direct", "v", v)
			log.With("with", v).WithGroup("g").Debug("group", slog.Any("v", v), slog.Group("in", "v", v))
		}
		if form := tells(out.String()); form != "" || out.Len() == 0 {
			t.Errorf("%s: %s in %s", name, form, &out)
		}
	}
}

func TestTextIsNeverMarshalled(t *testing.T) {
	for name, v := range holders() {
		for codec, marshal := range map[string]func(any) ([]byte, error){
			"json":    jsonv1.Marshal,
			"json v2": func(v any) ([]byte, error) { return json.Marshal(v) },
			"xml":     xml.Marshal,
			"gob": func(v any) ([]byte, error) {
				var b bytes.Buffer
				err := gob.NewEncoder(&b).Encode(v)
				return b.Bytes(), err
			},
			"template": func(v any) ([]byte, error) {
				var b bytes.Buffer
				err := template.Must(template.New("").Parse(`{{.}} {{printf "%d" .}}`)).Execute(&b, v)
				return b.Bytes(), err
			},
			"HTML template": func(v any) ([]byte, error) {
				var b bytes.Buffer
				err := htmltemplate.Must(htmltemplate.New("").Parse(`<p title="{{.}}">{{.}}</p><script>{{.}}</script>`)).Execute(&b, v)
				return b.Bytes(), err
			},
		} {
			b, err := marshal(v) // an error is an answer as good, if it keeps silent too
			if form := tells(string(b) + fmt.Sprint(err)); form != "" {
				t.Errorf("%s of %s: %s in %s, %v", codec, name, form, b, err)
			}
		}
	}
	for codec, marshal := range map[string]func(any) ([]byte, error){"json": jsonv1.Marshal, "json v2": func(v any) ([]byte, error) { return json.Marshal(v) }} {
		b, err := marshal(exported{"n", secret.NewText(plain)})
		if string(b) != `{"Name":"n","Password":"[redacted]"}` || err != nil {
			t.Errorf("%s: %s, %v", codec, b, err)
		}
	}
}

func TestTextIsReadFromTheWireAndRevealed(t *testing.T) {
	for name, unmarshal := range map[string]func([]byte, any) error{"json": jsonv1.Unmarshal, "json v2": func(b []byte, v any) error { return json.Unmarshal(b, v) }} {
		var in exported
		if err := unmarshal([]byte(`{"Password":"`+plain+`"}`), &in); err != nil || in.Password.Reveal() != plain {
			t.Errorf("%s: %q, %v", name, in.Password.Reveal(), err)
		}
		if err := unmarshal([]byte(`{"Password":""}`), &in); err != nil || !in.Password.Empty() {
			t.Errorf("%s: %q, %v", name, in.Password.Reveal(), err)
		}
	}
}

func TestEmptyTextIsTheZeroText(t *testing.T) {
	for _, empty := range []secret.Text{{}, secret.NewText("")} {
		if !empty.Empty() || empty.Reveal() != "" || empty != (secret.Text{}) || fmt.Sprint(empty) != "[redacted]" {
			t.Errorf("%q", empty.Reveal())
		}
	}
	if full := secret.NewText(" "); full.Empty() || full.Reveal() != " " {
		t.Errorf("%q", full.Reveal())
	}
}

// bits counts how often each bit of the identifiers is set.
func bits(t *testing.T, ids []string) (set [128]int) {
	t.Helper()
	for _, id := range ids {
		b, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
		if err != nil || len(b) != 16 {
			t.Fatalf("%q: %v", id, err)
		}
		for i := range set {
			set[i] += int(b[i/8] >> (7 - i%8) & 1)
		}
	}
	return set
}

func TestSessionTokensAreRandomVersion4UUIDs(t *testing.T) {
	const n = 100_000
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	ids := make([]string, n)
	seen := make(map[string]bool, n)
	for i := range ids {
		ids[i] = secret.NewSessionToken().Reveal()
		if i < 1000 && !form.MatchString(ids[i]) || !secret.IsCanonicalUUID(ids[i]) {
			t.Fatalf("%q is not in the form", ids[i])
		}
		seen[ids[i]] = true
	}
	if len(seen) != n {
		t.Errorf("%d of %d are different", len(seen), n)
	}
	fixed := map[int]int{48: 0, 49: n, 50: 0, 51: 0, 64: n, 65: 0} // version and variant
	for i, set := range bits(t, ids) {
		want, isFixed := fixed[i]
		// Of so many, a fair coin is off by 1% once in 10^10 tries.
		if isFixed && set != want || !isFixed && (set < n/2-n/100 || set > n/2+n/100) {
			t.Errorf("bit %d is set in %d of %d", i, set, n)
		}
	}
}

func TestTokensHave256RandomBits(t *testing.T) {
	const n = 20_000
	seen := map[string]bool{}
	var set [256]int
	for range n {
		token := secret.NewToken().Reveal()
		b, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || len(b) != 32 || len(token) != 43 {
			t.Fatalf("%q: %d bytes, %v", token, len(b), err)
		}
		for i := range set {
			set[i] += int(b[i/8] >> (7 - i%8) & 1)
		}
		seen[token] = true
	}
	if len(seen) != n {
		t.Errorf("%d of %d are different", len(seen), n)
	}
	for i, set := range set {
		if set < n/2-n/40 || set > n/2+n/40 {
			t.Errorf("bit %d is set in %d of %d", i, set, n)
		}
	}
}

func TestTokenIsStoredAsItsSHA256(t *testing.T) {
	h := secret.HashOf("abc") // FIPS 180-2, appendix B.1
	if got := hex.EncodeToString(h[:]); got != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Error(got)
	}
}

func TestOrderedIDsSortByTheirInstant(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	// RFC 9562, appendix A.6: the example's instant.
	if id := secret.NewOrderedID(time.UnixMilli(1645557742000)); !strings.HasPrefix(id, "017f22e2-79b0-7") {
		t.Errorf("the RFC's instant gives %s", id)
	}
	for us := int64(1_800_000_000_000_000); us < 1_800_000_000_001_500; us++ {
		if a, b := secret.NewOrderedID(time.UnixMicro(us)), secret.NewOrderedID(time.UnixMicro(us+1)); a >= b {
			t.Fatalf("%s and, a microsecond later, %s", a, b)
		}
	}
	var ids []string
	for us := int64(0); us < 1<<48*1000; us = us*3/2 + 1 {
		for range 3 {
			id := secret.NewOrderedID(time.UnixMicro(us))
			if !form.MatchString(id) {
				t.Errorf("%s is not in the form", id)
			}
			if len(ids) > 0 && id[:18] < ids[len(ids)-1][:18] {
				t.Errorf("%s does not sort after %s", id, ids[len(ids)-1])
			}
			ids = append(ids, id)
		}
	}
	now := make([]string, 10_000)
	for i := range now {
		now[i] = secret.NewOrderedID(time.UnixMilli(1_800_000_000_000))
	}
	slices.Sort(now)
	if len(slices.Compact(now)) != 10_000 {
		t.Error("of 10000 made in one microsecond, some are equal")
	}
}

func TestOnlyTheCanonicalSpellingOfAUUIDIsTaken(t *testing.T) {
	const id = "0189f7ab-4c3d-4e5f-8a9b-0c1d2e3f4a5b"
	for _, good := range []string{id, "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", secret.NewID()} {
		if !secret.IsCanonicalUUID(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"", "-", strings.ToUpper(id), "0189F7ab" + id[8:], "{" + id + "}", "urn:uuid:" + id, "URN:UUID:" + id, strings.ReplaceAll(id, "-", ""),
		" " + id, id + " ", id + "\n", id + "\x00", "\x00" + id, id[:35], id + "0", id[:35] + "\n", id[:35] + "g", id[1:] + "-",
		strings.ReplaceAll(id, "-", "_"), strings.ReplaceAll(id, "-", "–"), strings.ReplaceAll(id, "-", "0"),
		"0189f7ab4-c3d-4e5f-8a9b-0c1d2e3f4a5b", "０" + id[3:], id[:33] + "０", "\"" + id + "\"", "0x" + id[2:], id + id,
	} {
		if secret.IsCanonicalUUID(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z`)
	for i := range id {
		for c := range 256 {
			other := id[:i] + string([]byte{byte(c)}) + id[i+1:]
			if secret.IsCanonicalUUID(other) != form.MatchString(other) {
				t.Errorf("%q: taken is %t", other, secret.IsCanonicalUUID(other))
			}
		}
	}
}

func FuzzIsCanonicalUUID(f *testing.F) {
	f.Add("0189f7ab-4c3d-4e5f-8a9b-0c1d2e3f4a5b")
	f.Add("")
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z`)
	f.Fuzz(func(t *testing.T, s string) {
		if secret.IsCanonicalUUID(s) != form.MatchString(s) {
			t.Errorf("%q: taken is %t", s, secret.IsCanonicalUUID(s))
		}
	})
}
