package account

import (
	"strings"
	"sync"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// parseEmailKey and parseUsernameKey reduce an answer to one string: the key, or
// the code of the refusal in angle brackets.
func parseEmailKey(s string) string {
	e, fault := parseEmail(s)
	if fault != nil {
		return "<" + string(fault.Code) + ">"
	}
	return e.key
}

func parseUsernameKey(s string) string {
	u, fault := parseUsername(s)
	if fault != nil {
		return "<" + string(fault.Code) + ">"
	}
	return u.key
}

func TestEmailKeepsTheLettersThatWereTyped(t *testing.T) {
	for in, want := range map[string]email{
		"  Egor@Example.COM ":    {"Egor@Example.COM", "egor@example.com"},
		"Почта@Домен.рф":         {"Почта@Домен.рф", "почта@xn--d1acufc.xn--p1ai"},
		"e\u0301a@example.com":   {"\u00e9a@example.com", "\u00e9a@example.com"},
		"1я@1я.рф":               {"1я@1я.рф", "1я@xn--1-0ub.xn--p1ai"},
		"o'neil+tag@x-y.example": {"o'neil+tag@x-y.example", "o'neil+tag@x-y.example"},
	} {
		if got, fault := parseEmail(in); fault != nil || got != want {
			t.Errorf("parseEmail(%q) = %+v, %v; want %+v", in, got, fault, want)
		}
	}
}

func TestEmailSpellingsShareOneKey(t *testing.T) {
	for _, spellings := range [][]string{
		{"user@x.example", "USER@X.EXAMPLE", "User@x.Example", " user@x.example "},
		{"почта@домен.рф", "ПОЧТА@ДОМЕН.РФ", "почта@xn--d1acufc.xn--p1ai", "Почта@XN--D1ACUFC.XN--P1AI"},
		{"strasse@x.example", "straße@x.example", "STRASSE@x.example", "stra\u1e9ee@x.example"},
		{"kelvin@x.example", "\u212aelvin@x.example", "KELVIN@x.example"},
		{"istanbul@x.example", "İstanbul@x.example", "ıstanbul@x.example", "ISTANBUL@x.example", "i\u0307stanbul@x.example"},
		{"\u00e5@x.example", "\u212b@x.example", "A\u030a@x.example"},
		{"οδός@x.example", "ΟΔΌΣ@x.example", "οδόσ@x.example"},
	} {
		want := parseEmailKey(spellings[0])
		for _, s := range spellings {
			if got := parseEmailKey(s); got != want || strings.HasPrefix(got, "<") {
				t.Errorf("key of %q = %q, want %q", s, got, want)
			}
		}
	}
}

func TestEmailsOfDifferentMailboxesDiffer(t *testing.T) {
	for _, pair := range [][2]string{
		{"first.last@gmail.com", "firstlast@gmail.com"},
		{"user+a@x.example", "user@x.example"},
		{"a@straße.de", "a@strasse.de"},
		{"a@\u0430pple.com", "a@apple.com"},
	} {
		if a, b := parseEmailKey(pair[0]), parseEmailKey(pair[1]); a == b || a[0] == '<' || b[0] == '<' {
			t.Errorf("keys of %q = %q, %q; want two", pair, a, b)
		}
	}
}

func TestEmailRefusesWhatIsNotOneAddress(t *testing.T) {
	for _, in := range []string{
		"a@evil.example,victim@x.example", "a@evil.example;victim@x.example", "a@evil@x.example",
		"a@@x.example", "@x.example", "a@", "a", "@", "a@x.example b@x.example",
		"g:a@x.example;", "Name <a@x.example>", "<a@x.example>", "a@x.example(c)", "(c)a@x.example",
		`"a b"@x.example`, `"a"@x.example`, `a\@b@x.example`, "mailto:a@x.example",
		"a@x.example\r\nBcc: v@x.example", "a\n@x.example", "a\t@x.example", "\ta@x.example", "a@x.example\x00",
		"a\u00a0@x.example", "\u00a0a@x.example", "a\u2003@x.example", "a\u2028@x.example",
		"a\uff20x.example", "a\ufe6bx.example", "a@evil.example\uff20x.example", "\uff41@x.example",
		"a@x\uff0eexample", "a@x\u3002example", "a@x\uff61example", "a@\uff58.example", "\ufb01@x.example",
		"a\u00adb@x.example", "a@x\u00ad.example", "a\u200bb@x.example", "a\u200d@x.example", "a@x\u200b.example",
		"a\u202eb@x.example", "a\u200f@x.example", "a@x\u2066.example", "a\ufeff@x.example", "\u2060a@x.example",
		"a\u034fb@x.example", "a\ufe0f@x.example", "a\u115f@x.example", "a\u3164@x.example", "a\u180b@x.example",
		"a@[127.0.0.1]", "a@127.0.0.1", "a@0x7f.1", "a@0x7f.0x1", "a@[IPv6:::1]", "a@1.2", "a@x.123",
		".a@x.example", "a.@x.example", "a..b@x.example", "\u0301a@x.example", "a.\u0301b@x.example",
		"a@x.example.", "a@.x.example", "a@x..example", "a@localhost", "a@x_y.example", "a@-x.example", "a@x-.example",
		"a@xn--.example", "a@xn--a.example", "a@xn--x-.example", "a@xn--n3h.example", "a@\u2603.example", "a@x!.example",
		"☃@x.example", "a\u0378@x.example", "a\ufffd@x.example", "a\xff@x.example", "a@x\xc3.example",
		"\u05d0b\u05d0@x.example", "a@\u05d0b.example", "1\u05d0@x.example",
		strings.Repeat("a", 65) + "@x.example", strings.Repeat("ж", 33) + "@x.example",
		"a@" + strings.Repeat("b", 64) + ".example",
		"a@" + strings.Repeat(strings.Repeat("b", 60)+".", 4) + "example.example", // 264 bytes
		strings.Repeat("a", maxInputBytes) + "@x.example",
	} {
		if got := parseEmailKey(in); got != "<email_invalid>" {
			t.Errorf("parseEmail(%q) = %q, want <email_invalid>", in, got)
		}
	}
	for _, in := range []string{"", " ", "   "} {
		if got := parseEmailKey(in); got != "<required>" {
			t.Errorf("parseEmail(%q) = %q, want <required>", in, got)
		}
	}
}

func TestUsernameKeepsTheLettersThatWereTyped(t *testing.T) {
	for in, want := range map[string]username{
		"7Богатырей":    {"7Богатырей", "76oratbipeй"},
		"1ab":           {"1ab", "1ab"},
		" Egor228 ":     {"Egor228", "egor228"},
		"\uff25gor":     {"Egor", "egor"},
		"Ёлка":          {"Ёлка", "e\u0308ʌka"},
		"田中さくら":         {"田中さくら", "田中さくら"},
		"김철수":           {"김철수", "김철수"},
		"محمد١٢":        {"محمد١٢", "محمد١٢"},
		"Νίκος":         {"Νίκος", "n\u00edkoo"},
		"o_O.o-o+!#%":   {"o_O.o-o+!#%", "o_o.o-o+!#%"},
		"Анна-Мария_92": {"Анна-Мария_92", "ahha-mapия_92"},
	} {
		want.key = norm.NFC.String(want.key)
		if got, fault := parseUsername(in); fault != nil || got != want {
			t.Errorf("parseUsername(%q) = %+v, %v; want %+v", in, got, fault, want)
		}
	}
}

func TestUsernamesThatLookAlikeAreOneName(t *testing.T) {
	for _, names := range [][]string{
		{"admin", "ADMIN", "Admin ", "\u0430dmin", "\u0410DMIN", "\u0251dmin", "adm\u0131n", "ADM\u0130N", "ad\u043cin", "\uff41dmin", "αdmin"},
		{"root", "r\u043e\u043et", "roo\u0442", "\u0433oot", "RΟΟΤ", "rσσt"},
		{"kelvin", "\u212aelvin", "\u043aelvin"},
		{"strasse", "straße", "STRASSE", "stra\u1e9ee"},
		{"boris", "Вoris", "ВОRIS", "Ьoris"},
		{"zoe123", "Ζoe123", "zoe12з"},
		{"рыба", "рьіба", "PЫБА", "pbi6a"},
		{"ёж", "ëж", "e\u0308ж"},
		{"o'neil", "o\u02bcneil"},
		{"đuro", "d\u0335uro", "ðuro", "d\u0336uro"},
		{"æon", "aeon", "ӕon"},
		{"google", "\u0261oogle", "goo\u0262le"},
	} {
		want := parseUsernameKey(names[0])
		for _, name := range names {
			if got := parseUsernameKey(name); got != want || got[0] == '<' {
				t.Errorf("key of %q = %q, want %q", name, got, want)
			}
		}
	}
}

func TestUsernamesThatReadDifferentlyAreTwoNames(t *testing.T) {
	for _, pair := range [][2]string{
		{"karl", "kari"}, {"lan", "ian"}, {"user0", "usero"}, {"user1", "userl"},
		{"иван", "ivan"}, {"олег", "oleg"}, {"егор", "egor"}, {"саша", "sasha"},
		{"ира", "ipa"}, {"женя", "жeня2"}, {"ella", "ellá"}, {"hick", "nick"}, {"gus", "gys"},
	} {
		if a, b := parseUsernameKey(pair[0]), parseUsernameKey(pair[1]); a == b || a[0] == '<' || b[0] == '<' {
			t.Errorf("keys of %q = %q, %q; want two", pair, a, b)
		}
	}
}

func TestUsernameRefusals(t *testing.T) {
	for code, names := range map[Code][]string{
		CodeRequired:         {"", " ", "    "},
		CodeUsernameTooShort: {"a", " Я ", "\uff11"},
		CodeUsernameTooLong: {
			strings.Repeat("a", 65), strings.Repeat("ж", 65), strings.Repeat("İ", 33), strings.Repeat("a", 2000),
		},
		CodeUsernameInvalid: {
			"a@b", "a\uff20b", "a\ufe6bb", "a b", "a\u00a0b", "a\u3000b", "\ta", "ab\n", "a\x00b", "a\x7fb",
			"a\u00adb", "a\u200bb", "a\u202eb", "a\u200fb", "a\u2066b", "\ufeffab", "a\u034fb", "a\ufe0fb",
			"क्\u200dष", "क्\u200cष", "a\u3164b", "a\u115fb", "...", "__", "!?", "\u0301ab", "a\u0301\u0301b",
			"a\u0300\u0301\u0302\u0303\u0304", "a\ufffdb", "a\xffb", "a\ufdd0b", "a\u0378b", "a\U000e0041b",
			"\ufb01b", "a\u00b2", "a☃", "a\U0001f600", "\ua4ee\ua4f7", "ᎪᎠᎷ", "ⲁⲃ", "ᴀdmin", "adｍi\u1d0f",
			"\u05d0b\u05d0", "1\u05d0",
		},
		CodeUsernameLooksLikeID: {
			"0fe3a1c2-7b64-4c7e-9d7b-3a5b1c2d3e4f", "0FE3A1C2-7B64-4C7E-9D7B-3A5B1C2D3E4F",
			"0fe3a1c27b644c7e9d7b3a5b1c2d3e4f", "{0fe3a1c2-7b64-4c7e-9d7b-3a5b1c2d3e4f}",
			"urn:uuid:0fe3a1c2-7b64-4c7e-9d7b-3a5b1c2d3e4f", "URN:UUID:0fe3a1c2-7b64-4c7e-9d7b-3a5b1c2d3e4f",
			"０fe3a1c2-7b64-4c7e-9d7b-3a5b1c2d3e4ｆ", "0fe3\u04301c2-7b64-4c7e-9d7b-3a5b1c2d3e4f",
			"0fe3a1c2-7b64-4c7e-9d7b-\u0437a5b1c2d3e4f",
		},
		CodeUsernameMixedScripts: {
			"田中taro", "김철수abc", "ivan田", "さくら김", "अaa", "иван田", "admin\u0966", "ա\u0430dmin", "a\u30fcb",
			"a\u3099b", "ka\u0e01", "กა",
		},
		CodeUsernameAmbiguous: {"iνan", "ΙνΑΝ", "υser", "νονα", "ΝΟΝΑ", "Herνé", "ΓЕОРГ", "γahoo", "aƽ"},
	} {
		for _, name := range names {
			if got := parseUsernameKey(name); got != "<"+string(code)+">" {
				t.Errorf("parseUsername(%q) = %q, want <%s>", name, got, code)
			}
		}
	}
}

func TestUsernameLengthIsCountedInCodePoints(t *testing.T) {
	for _, name := range []string{"яя", "ab", strings.Repeat("ж", 64), strings.Repeat("e\u0301", 64), strings.Repeat("田", 64)} {
		if got := parseUsernameKey(name); got[0] == '<' {
			t.Errorf("parseUsername(%q) = %s", name, got)
		}
	}
	_, fault := parseUsername("a")
	if got := fault.Args["min"]; got != "2" {
		t.Errorf("min = %q", got)
	}
	_, fault = parseUsername(strings.Repeat("a", 65))
	if got := fault.Args["max"]; got != "64" {
		t.Errorf("max = %q", got)
	}
}

func TestPhoneSpellingsAreOneNumber(t *testing.T) {
	for _, tc := range []struct{ in, region, want string }{
		{"+79853553825", "RU", "+79853553825"},
		{"8 (985) 355-38-25", "RU", "+79853553825"},
		{"+7 985 355-38-25", "RU", "+79853553825"},
		{"+7 985 355-38-25", "DE", "+79853553825"},
		{" +7(985)355.38.25 ", "", "+79853553825"},
		{"(+7) 985 355-38-25", "US", "+79853553825"},
		{"9853553825", "RU", "+79853553825"},
		{"030/901820", "DE", "+4930901820"},
		{"(201) 555-0123", "US", "+12015550123"},
		{"02 1234 5678", "IT", "+390212345678"},
	} {
		if got, fault := parsePhone(tc.in, tc.region); fault != nil || got != tc.want {
			t.Errorf("parsePhone(%q, %q) = %q, %v; want %q", tc.in, tc.region, got, fault, tc.want)
		}
	}
}

func TestPhoneRefusals(t *testing.T) {
	for _, in := range []string{
		"1", "112", "+", "-", "+7", "+7985355382", "+798535538255", "+999123456789", "+0 985 355 38 25",
		"8 (985) 355-38-25 ext. 1", "+79853553825;ext=1", "+79853553825#1", "+79853553825x1", "+79853553825,1",
		"tel:+79853553825", "1-800-FLOWERS", "+7985355382S", "++79853553825", "+7+9853553825", "79853553825+",
		"+7985\n3553825", "+79853553825\r\n", "\t+79853553825", "+7\u00a09853553825", "+79853553825\x00", "\u202a+79853553825",
		"\uff0b79853553825", "+７9853553825", "+٧9853553825", "+7\u20119853553825", "+7985355~3825",
		"+7985" + strings.Repeat(" ", 40) + "3553825", strings.Repeat("9", 41), strings.Repeat("1", 2000),
	} {
		if got, fault := parsePhone(in, "RU"); fault == nil || fault.Code != CodeContactNumberInvalid {
			t.Errorf("parsePhone(%q) = %q, %v", in, got, fault)
		}
	}
	if _, fault := parsePhone("  ", "RU"); fault == nil || fault.Code != CodeRequired {
		t.Errorf("blank number: %v", fault)
	}
	if got, fault := parsePhone("8 (985) 355-38-25", "US"); fault == nil {
		t.Errorf("a Russian national number in the USA = %q", got)
	}
}

func TestRegionIsAnAlpha2Code(t *testing.T) {
	for region, want := range map[string]bool{
		"RU": true, "US": true, "KZ": true, "ru": false, "": false, "ZZ": false, "001": false, "RUS": false, "R": false,
	} {
		if got := validRegion(region); got != want {
			t.Errorf("validRegion(%q) = %t", region, got)
		}
	}
}

// The profiles of the libraries are shared by all requests.
func TestIdentifiersAreParsedInParallel(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if parseUsernameKey("Ёлка") != parseUsernameKey("ЁЛКА") || parseEmailKey("Почта@Домен.рф") != parseEmailKey("почта@домен.рф") {
					t.Error("keys differ")
				}
				if got, _ := parsePhone("8 (985) 355-38-25", "RU"); got != "+79853553825" {
					t.Error(got)
				}
			}
		})
	}
	wg.Wait()
}
