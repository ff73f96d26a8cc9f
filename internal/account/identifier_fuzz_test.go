package account

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// spellings are ways of writing s that name the same thing. Each may be refused
// (capitals can be longer), but none may have a key of its own.
func spellings(s string) []string {
	return []string{
		" " + s + " ", norm.NFD.String(s), strings.ToUpper(s), strings.ToLower(s),
		cases.Upper(language.Und).String(norm.NFD.String(s)), cases.Title(language.Und).String(norm.NFD.String(s)),
		strings.ReplaceAll(s, "i", "ı"), strings.ReplaceAll(s, "i", "İ"), strings.ReplaceAll(s, "ss", "ß"), strings.ReplaceAll(s, "k", "\u212a"),
	}
}

var uuidForm = regexp.MustCompile(`(?i)^(urn:)?(uuid:)?\{?[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\}?$`) //nolint:gochecknoglobals // a constant

func isHidden(r rune) bool {
	p, _ := bidi.LookupRune(r)
	switch p.Class() {
	case bidi.LRO, bidi.RLO, bidi.LRE, bidi.RLE, bidi.PDF, bidi.LRI, bidi.RLI, bidi.FSI, bidi.PDI, bidi.BN:
		return true
	}
	return unicode.IsControl(r) || unicode.IsSpace(r) || unicode.Is(unicode.Cf, r)
}

func FuzzParseEmail(f *testing.F) {
	for _, s := range []string{
		"Egor@Example.com", "Почта@Домен.рф", "a@evil,victim@x.example", "a\uff20b.example", "İıß\u212a@x.example",
		"a@xn--d1acufc.xn--p1ai", "a\u0345\u0301@x.example", "Ꭰꭰ@x.example", "\u05d0\u05d1@\u05d0.example", "a@b\u00ad.example",
	} {
		f.Add(s)
	}
	f.Fuzz(checkEmail)
}

func checkEmail(t *testing.T, s string) {
	e, fault := parseEmail(s)
	if fault != nil {
		if e != (email{}) {
			t.Fatalf("refused %q and answered %+v", s, e)
		}
		return
	}
	if e.address != norm.NFC.String(strings.Trim(s, " ")) {
		t.Errorf("address of %q = %q", s, e.address)
	}
	if again, fault := parseEmail(e.key); fault != nil || again.key != e.key {
		t.Errorf("key of %q = %q, of that %q (%v)", s, e.key, again.key, fault)
	}
	if again, fault := parseEmail(e.address); fault != nil || again != e {
		t.Errorf("address %q parsed to %+v, %v", e.address, again, fault)
	}
	for _, text := range []string{e.address, e.key} {
		if strings.Count(text, "@") != 1 || strings.ContainsFunc(text, isHidden) || strings.ContainsAny(text, `,;:<>()[]"\`) ||
			!utf8.ValidString(text) || len(text) > maxEmailBytes || norm.NFKC.String(text) != text {
			t.Errorf("%q let %q through", s, text)
		}
	}
	_, domain, _ := strings.Cut(e.key, "@")
	for _, c := range []byte(domain) {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-.", rune(c)) {
			t.Errorf("domain of %q = %q", s, domain)
		}
	}
	local, typed, _ := strings.Cut(e.address, "@")
	for _, l := range spellings(local) {
		for _, d := range []string{typed, domain, strings.ToUpper(domain)} {
			// A space added after the local part would not be at an end.
			if got, fault := parseEmail(strings.TrimRight(l, " ") + "@" + d + " "); fault == nil && got.key != e.key {
				t.Errorf("key of %q = %q, of %q@%q = %q", s, e.key, l, d, got.key)
			}
		}
	}
}

func FuzzParseUsername(f *testing.F) {
	for _, s := range []string{
		"egor228", "\u0410dmin", "\uff25gor", "Νίκος", "iνan", "田中さくら", "김田", "محمد١٢", "क्ष", "7Ёлка", "a\uff20b", "ŁÓDŹ ",
		"0fe3a1c2-7b64-4c7e-9d7b-3a5b1c2d3e4f", "{0fe3a1c27b644c7e9d7b3a5b1c2d3e4f}", "ı\u0307İi\u0307", "o\u0338ø", "ᾳΐῂ", "ﾊﾞｶ",
	} {
		f.Add(s)
	}
	f.Fuzz(checkUsername)
}

func checkUsername(t *testing.T, s string) {
	u, fault := parseUsername(s)
	if fault != nil {
		if u != (username{}) {
			t.Fatalf("refused %q and answered %+v", s, u)
		}
		return
	}
	if again, fault := parseUsername(u.name); fault != nil || again != u {
		t.Errorf("name %q of %q parsed to %+v, %v", u.name, s, again, fault)
	}
	if twice := skeleton(u.key); twice != u.key {
		t.Errorf("skeleton of %q = %q", u.key, twice)
	}
	for _, text := range []string{u.name, u.key} {
		if strings.Contains(text, "@") || strings.ContainsFunc(text, isHidden) || !utf8.ValidString(text) || !norm.NFC.IsNormalString(text) {
			t.Errorf("%q let %q through", s, text)
		}
		if uuidForm.MatchString(text) {
			t.Errorf("%q let the id %q through", s, text)
		}
		if _, fault := parseEmail(text); fault == nil {
			t.Errorf("%q is an e-mail address too", text)
		}
	}
	if n := utf8.RuneCountInString(norm.NFC.String(strings.ToLower(u.name))); n > maxUsername {
		t.Errorf("%q has %d code points", u.name, n)
	}
	variants := append(spellings(u.name), strings.NewReplacer(
		"a", "\u0430", "e", "\u0435", "o", "\u03bf", "p", "\u0440", "c", "\u0441", "x", "\u0445", "A", "\u0391", "B", "\u0412", "H", "\u041d",
	).Replace(u.name))
	for _, v := range variants {
		if got, fault := parseUsername(v); fault == nil && got.key != u.key {
			t.Errorf("key of %q = %q, of %q = %q", s, u.key, v, got.key)
		}
	}
}

func FuzzParsePhone(f *testing.F) {
	for _, s := range []string{
		"+79853553825", "8 (985) 355-38-25", "+7 985 355-38-25", "810 49 30 901820", "02 1234 5678", "+1 800 FLOWERS", "+54 9 11 1234-5678",
	} {
		f.Add(s, "RU")
		f.Add(s, "IT")
	}
	f.Fuzz(checkPhone)
}

func checkPhone(t *testing.T, s, region string) {
	number, fault := parsePhone(s, region)
	if fault != nil {
		if number != "" {
			t.Fatalf("refused %q and answered %q", s, number)
		}
		return
	}
	digits, ok := strings.CutPrefix(number, "+")
	if !ok || strings.Trim(digits, "0123456789") != "" || len(digits) < 4 || len(digits) > 17 {
		t.Errorf("E.164 form of %q = %q", s, number)
	}
	for _, r := range []string{region, "", "RU", "US", "IT"} {
		if again, fault := parsePhone(number, r); fault != nil || again != number {
			t.Errorf("E.164 form of %q = %q, in %q that is %q, %v", s, number, r, again, fault)
		}
	}
	for _, c := range []string{" " + s, s + " ", strings.ReplaceAll(s, "-", " ")} {
		if again, fault := parsePhone(c, region); fault == nil && again != number {
			t.Errorf("%q is %q and %q is %q", s, number, c, again)
		}
	}
}

// mappedRunes are the letters and marks that some mapping changes or could
// change: each is tried, since the mappings have exceptions that a fuzzer may
// not meet.
func mappedRunes() []rune {
	var all []rune
	for r := rune(0x21); r <= unicode.MaxRune; r++ {
		s := string(r)
		if unicode.IsMark(r) || unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic) ||
			unicode.IsLetter(r) && (foldCase(s) != s && !unicode.Is(unicode.Hangul, r) || strings.ToUpper(s) != s) {
			all = append(all, r)
		}
	}
	return all
}

func TestEmailKeyIsAFixedPointForEveryLetter(t *testing.T) {
	for _, r := range mappedRunes() {
		for _, in := range []string{"i" + string(r) + "\u0307@x.example", "a@a" + string(r) + ".example"} {
			e, fault := parseEmail(in)
			if fault != nil {
				continue
			}
			if got := parseEmailKey(e.key); got != e.key {
				t.Errorf("%U: key of %q = %q", r, e.key, got)
			}
			local, domain, _ := strings.Cut(e.address, "@")
			if got := parseEmailKey(strings.ToUpper(local) + "@" + domain); got[0] != '<' && got != e.key {
				t.Errorf("%U: key of %q in capitals = %q, want %q", r, e.address, got, e.key)
			}
		}
	}
}

func TestSkeletonIsAFixedPointForEveryLetter(t *testing.T) {
	for _, r := range mappedRunes() {
		for _, s := range []string{string(r), "i" + string(r) + "\u0307", "o\u0338" + string(r)} {
			once := skeleton(s)
			if twice := skeleton(once); twice != once {
				t.Errorf("%U: skeleton of %q = %q, again = %q", r, s, once, twice)
			}
		}
		if u, fault := parseUsername("ж" + string(r)); fault == nil {
			for _, s := range []string{u.name, strings.ToUpper(u.name), strings.ToLower(u.name), norm.NFD.String(u.name)} {
				if got := parseUsernameKey(s); got[0] != '<' && got != u.key {
					t.Errorf("%U: key of %q = %q, want %q", r, s, got, u.key)
				}
			}
		}
	}
}

func TestLookAlikesAreFoldedLettersOfTheThreeAlphabets(t *testing.T) {
	for r, twin := range lookAlikes {
		if foldCase(string(r)) != string(r) {
			t.Errorf("%U never reaches the table: it folds to %q", r, foldCase(string(r)))
		}
		for _, to := range twin {
			if _, ok := lookAlikes[to]; ok {
				t.Errorf("%U maps to %q, which maps on", r, twin)
			}
		}
		if scriptsOf(r)&european == 0 {
			t.Errorf("%U is in no user name", r)
		}
	}
}
