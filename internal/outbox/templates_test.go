package outbox_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
	"golang.org/x/text/unicode/norm"

	"propusk/internal/outbox"
)

var updateGolden = flag.Bool("update", false, "write the messages as they are now into testdata/golden")

const (
	service   = "propusk.example"
	publicURL = "https://propusk.example"
	mailLink  = "https://propusk.example/account/verify?token=0F7hN3kQx2WvYbRzJ9mLsTgUcEaDiPoK&lang=ru"
	mailCode  = "481902"
)

var mailKinds = []outbox.Kind{
	outbox.VerifyEmail, outbox.EmailChangeConfirm, outbox.EmailChangeRequested, outbox.EmailChanged, outbox.Recover,
	outbox.Recovered, outbox.LoginCode, outbox.NewSignIn, outbox.PasswordChanged, outbox.FactorAdded, outbox.FactorRemoved,
	outbox.PasskeyCopied, outbox.RecoveryCodesLow, outbox.AccountDisabled, outbox.AccountExists, outbox.Register,
}

var smsKinds = []outbox.Kind{outbox.VerifyPhone, outbox.LoginCode, outbox.Recovered, outbox.PasswordChanged, outbox.PasskeyCopied}

// withCode and withLink are the kinds of mail that have one.
var (
	withCode = []outbox.Kind{outbox.VerifyEmail, outbox.EmailChangeConfirm, outbox.Recover, outbox.LoginCode, outbox.Register}
	withLink = append(slices.Clone(withCode), outbox.EmailChanged, outbox.AccountExists)
)

// mailData is what account gives, whatever the kind.
func mailData() map[string]string {
	return map[string]string{
		"username": "ivan_petrov", "code": mailCode, "link": mailLink, "minutes": "15", "hours": "72", "left": "2",
		"ip": "203.0.113.5", "device": "Firefox, Windows", "time": "2026-05-06T15:48:46.195517+03:00",
		"factor": "passkey", "name": "Личный телефон",
	}
}

func builtInTemplates(t testing.TB) *outbox.Templates {
	t.Helper()
	ts, err := outbox.LoadTemplates("", service, publicURL)
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

func renderMail(t testing.TB, ts *outbox.Templates, channel outbox.Channel, kind outbox.Kind, lang string, data map[string]string) outbox.Content {
	t.Helper()
	c, err := ts.Render(outbox.Message{Channel: channel, Kind: kind, Lang: lang, Data: data})
	if err != nil {
		t.Fatalf("%s in %s: %v", kind, lang, err)
	}
	return c
}

// eachMail renders every mail in every language.
func eachMail(t *testing.T, test func(t *testing.T, kind outbox.Kind, lang string, c outbox.Content)) {
	t.Helper()
	ts := builtInTemplates(t)
	for _, lang := range []string{"en", "ru"} {
		for _, kind := range mailKinds {
			t.Run(lang+"/"+string(kind), func(t *testing.T) {
				test(t, kind, lang, renderMail(t, ts, outbox.Mail, kind, lang, mailData()))
			})
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", filepath.FromSlash(name))
	if *updateGolden {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not current; look at it, and run go test ./internal/outbox -run Golden -update\n%s", path, diff)
	}
}

// whole is the kind of mail that stands whole in its golden file of HTML. The others
// are written beside it.
const whole = outbox.VerifyEmail

// beside is a text in which the lines that another one has too are named and not
// repeated, so that a reader sees what is its own. Two texts that differ give two
// that differ.
func beside(other, text string) string {
	const least = 4
	lines, theirs := strings.Split(text, "\n"), strings.Split(other, "\n")
	var out []string
	for len(lines) > 0 {
		at, most := 0, 0
		for i := range theirs {
			n := 0
			for n < len(lines) && i+n < len(theirs) && lines[n] == theirs[i+n] {
				n++
			}
			if n > most {
				at, most = i, n
			}
		}
		if most < least {
			out, lines = append(out, lines[0]), lines[1:]
			continue
		}
		out, lines = append(out, fmt.Sprintf("[lines %d to %d of %s.html]", at+1, at+most, whole)), lines[most:]
	}
	return strings.Join(out, "\n")
}

func TestMailsAreThoseOfTheGoldenFiles(t *testing.T) {
	ts := builtInTemplates(t)
	eachMail(t, func(t *testing.T, kind outbox.Kind, lang string, c outbox.Content) {
		golden(t, lang+"/"+string(kind)+".txt", "Subject: "+c.Subject+"\n\n"+c.Text)
		html := c.HTML
		if kind != whole {
			html = beside(renderMail(t, ts, outbox.Mail, whole, lang, mailData()).HTML, html)
		}
		golden(t, lang+"/"+string(kind)+".html", html)
	})
}

// page is what a mail program finds in HTML.
type page struct {
	words []string // that are seen
	hrefs []string
	other []string // whatever else could be fetched
	tags  map[string]int
}

func readPage(t testing.TB, source string) (p page) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(source))
	if err != nil {
		t.Fatal(err)
	}
	p.tags = map[string]int{}
	for n := range root.Descendants() {
		switch n.Type {
		case html.TextNode:
			if parent := n.Parent.Data; parent == "style" || parent == "title" || parent == "script" {
				p.other = append(p.other, fetched.FindAllString(n.Data, -1)...)
			} else {
				p.words = append(p.words, strings.Fields(n.Data)...)
			}
		case html.ElementNode:
			p.tags[n.Data]++
			p.attributes(n)
		case html.CommentNode:
			p.other = append(p.other, fetched.FindAllString(n.Data, -1)...)
		default:
		}
	}
	return p
}

var fetched = regexp.MustCompile(`(?i)https?:|url\(|@import|src=|href=|<script|<iframe|<link`)

func (p *page) attributes(n *html.Node) {
	for _, a := range n.Attr {
		switch {
		case n.Data == "a" && a.Key == "href":
			p.hrefs = append(p.hrefs, a.Val)
		case a.Key == "xmlns" && a.Val == "http://www.w3.org/1999/xhtml": // a name
		case slices.Contains([]string{"src", "srcset", "href", "background", "data", "action", "poster", "xlink:href"}, a.Key),
			strings.HasPrefix(a.Key, "on"), fetched.MatchString(a.Val):
			p.other = append(p.other, n.Data+" "+a.Key+"="+a.Val)
		}
	}
}

func TestTextAndHTMLOfMailSayTheSame(t *testing.T) {
	eachMail(t, func(t *testing.T, kind outbox.Kind, _ string, c outbox.Content) {
		p := readPage(t, c.HTML)
		if p.words[0] != service {
			t.Fatalf("the page begins with %q and not with the name of the service", p.words[0])
		}
		var seen []string
		for _, word := range p.words[1:] {
			if word == mailLink { // in the text, a colon leads to it
				seen[len(seen)-1] += ":"
			}
			seen = append(seen, word)
		}
		if diff := cmp.Diff(strings.Fields(c.Text), seen); diff != "" {
			t.Errorf("text and HTML of %s differ:\n%s", kind, diff)
		}
		if strings.Contains(c.Text, mailCode) != slices.Contains(withCode, kind) {
			t.Error("code: there or missing against the list")
		}
		if strings.Contains(c.Text, "\n"+mailLink+"\n") != slices.Contains(withLink, kind) {
			t.Error("link on a line of its own: there or missing against the list")
		}
		if !slices.Contains(seen, "ivan_petrov") && !slices.ContainsFunc(seen, func(s string) bool { return strings.HasPrefix(s, "ivan_petrov") }) {
			t.Error("it does not say for which user it is")
		}
	})
}

// What is fetched tells somebody that the mail was read.
func TestMailFetchesNothingAndLeadsNowhereElse(t *testing.T) {
	eachMail(t, func(t *testing.T, kind outbox.Kind, _ string, c outbox.Content) {
		var want []string
		if slices.Contains(withLink, kind) {
			want = []string{mailLink}
		}
		p := readPage(t, c.HTML)
		if !slices.Equal(p.hrefs, want) || p.other != nil {
			t.Errorf("links: %q, other: %q", p.hrefs, p.other)
		}
		if n := strings.Count(strings.ToLower(c.Text), "http"); n != len(want) {
			t.Errorf("%d addresses in the text", n)
		}
		if n := strings.Count(strings.ToLower(c.HTML), "http:") + strings.Count(strings.ToLower(c.HTML), "https:"); n != 2*len(want)+1 { // the href, what is read, and the name of XHTML
			t.Errorf("%d addresses in the HTML", n)
		}
	})
}

func TestMailKeepsWhatOutlookObeys(t *testing.T) {
	eachMail(t, func(t *testing.T, _ outbox.Kind, _ string, c outbox.Content) {
		if open, closed := strings.Count(c.HTML, "<!--[if "), strings.Count(c.HTML, "<![endif]-->"); open < 5 || open != closed {
			t.Errorf("%d conditional comments, %d ends", open, closed)
		}
		for _, want := range []string{`<meta name="color-scheme" content="light dark">`, "prefers-color-scheme: dark"} {
			if !strings.Contains(c.HTML, want) {
				t.Errorf("no %s", want)
			}
		}
		if len(c.HTML) > 60<<10 {
			t.Errorf("%d bytes: Gmail cuts off what is over 102 KB", len(c.HTML))
		}
	})
}

// RFC 5322, section 2.1.1.
func TestLinesOfMailAreShort(t *testing.T) {
	ts := builtInTemplates(t)
	long := mailData()
	long["device"] = strings.Repeat("Mozilla/5.0 (X11; Linux x86_64) ", 10)
	long["name"] = strings.Repeat("Длинное название ", 10)
	for _, lang := range []string{"en", "ru"} {
		for _, kind := range mailKinds {
			for _, data := range []map[string]string{mailData(), long} {
				c := renderMail(t, ts, outbox.Mail, kind, lang, data)
				for line := range strings.Lines(c.Text) {
					line = strings.TrimSuffix(line, "\n")
					if utf8.RuneCountInString(line) > 78 && line != mailLink || strings.TrimRight(line, " ") != line {
						t.Errorf("%s in %s: %q", kind, lang, line)
					}
				}
				if strings.ContainsAny(c.Subject, "\r\n") || utf8.RuneCountInString(c.Subject) > 60 {
					t.Errorf("%s in %s: subject %q", kind, lang, c.Subject)
				}
			}
		}
	}
}

// gsm7 are the characters of GSM 03.38 that take one place.
const gsm7 = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"

// segments is for how many SMS the recipient's operator is paid.
func segments(text string) int {
	places, single, part := 0, 160, 153
	for _, r := range text {
		switch {
		case strings.ContainsRune(gsm7, r):
			places++
		case strings.ContainsRune("\f^{}\\[~]|€", r):
			places += 2
		default:
			places, single, part = len(utf16.Encode([]rune(text))), 70, 67
		}
		if single == 70 {
			break
		}
	}
	if places <= single {
		return 1
	}
	return (places + part - 1) / part
}

func TestSegmentsAreCounted(t *testing.T) {
	for text, want := range map[string]int{
		strings.Repeat("a", 160): 1, strings.Repeat("a", 161): 2, strings.Repeat("€", 80): 1, strings.Repeat("€", 81): 2,
		strings.Repeat("я", 70): 1, strings.Repeat("я", 71): 2, strings.Repeat("a", 70) + "я": 2, strings.Repeat("😀", 35): 1, strings.Repeat("😀", 36): 2,
	} {
		if got := segments(text); got != want {
			t.Errorf("%q: %d, not %d", text, got, want)
		}
	}
}

func TestSMSIsTextInOneSegment(t *testing.T) {
	ts := builtInTemplates(t)
	for _, lang := range []string{"en", "ru"} {
		for _, kind := range smsKinds {
			for _, minutes := range []string{"1", "2", "15"} {
				data := mailData()
				data["minutes"] = minutes
				c := renderMail(t, ts, outbox.SMS, kind, lang, data)
				if n := segments(c.Text); n != 1 || c.Subject != "" || c.HTML != "" || strings.ContainsAny(c.Text, "\r\n") {
					t.Errorf("%s in %s, %d segments: %+v", kind, lang, n, c)
				}
				if strings.Contains(c.Text, "http") || strings.Contains(c.Text, "petrov") || !strings.Contains(c.Text, service) {
					t.Errorf("%s in %s: %q", kind, lang, c.Text)
				}
				if want := kind == outbox.VerifyPhone || kind == outbox.LoginCode; strings.Contains(c.Text, mailCode) != want {
					t.Errorf("%s in %s, code: %q", kind, lang, c.Text)
				}
			}
			golden(t, lang+"/sms/"+string(kind)+".txt", renderMail(t, ts, outbox.SMS, kind, lang, mailData()).Text+"\n")
		}
	}
}

func TestCodesAreToBeKeptToOneself(t *testing.T) {
	eachMail(t, func(t *testing.T, kind outbox.Kind, lang string, c outbox.Content) {
		want := map[string]string{"en": "Do not share it with anyone", "ru": "Никому не сообщайте этот код"}[lang]
		if strings.Contains(strings.Join(strings.Fields(c.Text), " "), want) != slices.Contains(withCode, kind) {
			t.Errorf("%q is there or missing against the list:\n%s", want, c.Text)
		}
	})
}

func TestNumbersHaveTheirNouns(t *testing.T) {
	ts := builtInTemplates(t)
	for minutes, want := range map[int][2]string{
		0: {"0 minutes", "0 минут"}, 1: {"1 minute", "1 минуту"}, 2: {"2 minutes", "2 минуты"}, 4: {"4 minutes", "4 минуты"},
		5: {"5 minutes", "5 минут"}, 11: {"11 minutes", "11 минут"}, 14: {"14 minutes", "14 минут"}, 20: {"20 minutes", "20 минут"},
		21: {"21 minutes", "21 минуту"}, 22: {"22 minutes", "22 минуты"}, 111: {"111 minutes", "111 минут"}, 121: {"121 minutes", "121 минуту"},
	} {
		for i, lang := range []string{"en", "ru"} {
			data := mailData()
			data["minutes"] = strconv.Itoa(minutes)
			for _, text := range []string{
				renderMail(t, ts, outbox.SMS, outbox.VerifyPhone, lang, data).Text,
				strings.Join(strings.Fields(renderMail(t, ts, outbox.Mail, outbox.LoginCode, lang, data).Text), " "),
			} {
				if !regexp.MustCompile(`\b` + want[i] + `(\.|,| )`).MatchString(text) {
					t.Errorf("no %q in %q", want[i], text)
				}
			}
		}
	}
}

func TestTimesAreWrittenAsPeopleDo(t *testing.T) {
	ts := builtInTemplates(t)
	for at, want := range map[string][2]string{
		"2026-05-06T15:48:46.195517+03:00": {"6 May 2026, 15:48 (UTC+3)", "6 мая 2026, 15:48 (UTC+3)"},
		"2026-12-31T23:59:59Z":             {"31 December 2026, 23:59 (UTC)", "31 декабря 2026, 23:59 (UTC)"},
		"2026-01-01T00:00:00-03:30":        {"1 January 2026, 00:00 (UTC-3:30)", "1 января 2026, 00:00 (UTC-3:30)"},
	} {
		for i, lang := range []string{"en", "ru"} {
			data := mailData()
			data["time"] = at
			if c := renderMail(t, ts, outbox.Mail, outbox.NewSignIn, lang, data); !strings.Contains(c.Text, "  "+want[i]+"\n") {
				t.Errorf("no %q in\n%s", want[i], c.Text)
			}
		}
	}
}

func TestLanguageWithoutWordsIsEnglish(t *testing.T) {
	ts := builtInTemplates(t)
	en, ru := renderMail(t, ts, outbox.Mail, outbox.Recover, "en", mailData()), renderMail(t, ts, outbox.Mail, outbox.Recover, "ru", mailData())
	for lang, want := range map[string]outbox.Content{"": en, "de": en, "en-GB": en, "../ru": en, "ru-RU": ru} {
		if got := renderMail(t, ts, outbox.Mail, outbox.Recover, lang, mailData()); got != want {
			t.Errorf("%q: %q", lang, got.Subject)
		}
	}
}

func TestWhatIsNotKnownIsLeftOut(t *testing.T) {
	ts := builtInTemplates(t)
	data := mailData()
	data["ip"], data["device"] = "", ""
	delete(data, "time")
	delete(data, "link")
	c := renderMail(t, ts, outbox.Mail, outbox.VerifyEmail, "en", data)
	p := readPage(t, c.HTML)
	for _, word := range []string{"Device", "Time", "follow", "https:"} {
		if strings.Contains(c.Text, word) || slices.Contains(p.words, word) {
			t.Errorf("%q is there:\n%s", word, c.Text)
		}
	}
	if len(p.hrefs) != 0 || !strings.Contains(c.Text, "Account  ivan_petrov\n") || !strings.Contains(c.Text, mailCode) {
		t.Errorf("links %q:\n%s", p.hrefs, c.Text)
	}
}

// The errors are logged: they must not hold a code, a link or a name.
func TestMessageThatCannotBeWrittenIsRefused(t *testing.T) {
	ts := builtInTemplates(t)
	for name, m := range map[string]outbox.Message{
		"unknown kind":                 {Channel: outbox.Mail, Kind: "greeting"},
		"no kind":                      {Channel: outbox.Mail},
		"SMS of a kind that is mail":   {Channel: outbox.SMS, Kind: outbox.Register},
		"mail of a kind that is SMS":   {Channel: outbox.Mail, Kind: outbox.VerifyPhone},
		"kind that is a path":          {Channel: outbox.Mail, Kind: "sms/login_code"},
		"unknown channel":              {Channel: "pigeon", Kind: outbox.Recover},
		"no channel":                   {Kind: outbox.Recover},
		"no code":                      {Channel: outbox.Mail, Kind: outbox.Recover, Data: map[string]string{"code": ""}},
		"no code in SMS":               {Channel: outbox.SMS, Kind: outbox.LoginCode, Data: map[string]string{"code": ""}},
		"code that is words":           {Channel: outbox.Mail, Kind: outbox.Recover, Data: map[string]string{"code": "secret code"}},
		"code that is an address":      {Channel: outbox.SMS, Kind: outbox.LoginCode, Data: map[string]string{"code": "secret.example"}},
		"minutes that are no number":   {Channel: outbox.Mail, Kind: outbox.Recover, Data: map[string]string{"minutes": "secret"}},
		"minutes before now":           {Channel: outbox.Mail, Kind: outbox.Recover, Data: map[string]string{"minutes": "-5"}},
		"no minutes":                   {Channel: outbox.Mail, Kind: outbox.Recover, Data: map[string]string{"minutes": ""}},
		"time that is none":            {Channel: outbox.Mail, Kind: outbox.NewSignIn, Data: map[string]string{"time": "secret"}},
		"factor that is not known":     {Channel: outbox.Mail, Kind: outbox.FactorAdded, Data: map[string]string{"factor": "secret"}},
		"no user":                      {Channel: outbox.Mail, Kind: outbox.NewSignIn, Data: map[string]string{"username": ""}},
		"no link where all is in vain": {Channel: outbox.Mail, Kind: outbox.EmailChanged, Data: map[string]string{"link": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			data := mailData()
			maps.Copy(data, m.Data)
			m.Data = data
			c, err := ts.Render(m)
			if err == nil {
				t.Fatalf("it was written:\n%s", c.Text)
			}
			if c != (outbox.Content{}) {
				t.Errorf("and beside the error there is %+v", c)
			}
			for _, value := range append(slices.Collect(maps.Values(mailData())), "secret") {
				if len(value) > 3 && strings.Contains(err.Error(), value) {
					t.Errorf("the error tells %q: %v", value, err)
				}
			}
		})
	}
}

// V17.
func TestLinksLeadToThePublicURLAndNowhereElse(t *testing.T) {
	with := func(public, link string) error {
		ts, err := outbox.LoadTemplates("", service, public)
		if err != nil {
			t.Fatal(err)
		}
		data := mailData()
		data["link"] = link
		_, err = ts.Render(outbox.Message{Channel: outbox.Mail, Kind: outbox.Recover, Lang: "en", Data: data})
		return err
	}
	for public, links := range map[string][]string{
		publicURL:                            {publicURL, publicURL + "/", publicURL + "/a?b=c&d=%2F", publicURL + "?a", publicURL + "#token=a", publicURL + "/account/verify?token=x-_~."},
		"https://propusk.example:8443/login": {"https://propusk.example:8443/login", "https://propusk.example:8443/login/a"},
		"http://127.0.0.1:8001":              {"http://127.0.0.1:8001/account"},
	} {
		for _, link := range links {
			if err := with(public, link); err != nil {
				t.Errorf("%s of %s: %v", link, public, err)
			}
		}
	}
	for public, links := range map[string][]string{
		publicURL: {
			"https://propusk.example.evil.example/", "https://propusk.example@evil.example/", "https://propusk.example:pw@evil.example/",
			"https://propusk.exampleevil/", "https://propusk.example:8443/", "http://propusk.example/", "HTTPS://propusk.example/",
			"https://evil.example/https://propusk.example/", "https://evil.example/?https://propusk.example/", " https://propusk.example/",
			"javascript:alert(1)//https://propusk.example/", "//propusk.example/", "/account", "https://propusk.example\\@evil.example/",
			"https://propusk.example/ https://evil.example/", "https://propusk.example/\nhttps://evil.example/", "https://propusk.example/\thttps:",
			"https://propusk.example//evil.example", "https://propusk.example/\\evil.example", "https://propusk.example/\">x", "https://propusk.example/'",
			"https://propusk.example/<b>", "https://propusk.example/я", "https://propusk.example/\u202e", "https://propusk.example/%zz",
		},
		"https://propusk.example/login": {"https://propusk.example/", "https://propusk.example/loginevil", "https://propusk.example/login/../admin"},
		"":                              {publicURL + "/", "https://evil.example/", "/", "x"},
	} {
		for _, link := range links {
			if err := with(public, link); err == nil {
				t.Errorf("%q was taken for one of %q", link, public)
			} else if link != "/" && link != "x" && strings.Contains(err.Error(), link) {
				t.Errorf("the error tells the link: %v", err)
			}
		}
	}
}

// hostile is what somebody could choose as a name in order to be read, or
// followed, by another.
var hostile = []string{
	"http://evil.example", "https://evil.example/reset?x=1", "evil.example/x", "www.evil.example", "evil.example", "a@b.c", "mailto:a@b.c",
	"<a href=https://evil.example>x</a>", `<a href="https://evil.example">here</a>`, "</div></td><script>alert(1)</script>", "<img src=//evil.example/p.gif>",
	"<!--[if mso]><a href=x>", "--><b>", "javascript:alert(1)", "data:text/html,x", "tel:+70000000000", `\\evil.example\share`, "file:///etc/passwd",
	"[x](https://evil.example)", "evil。example", "evil．example", "evil․example", "evil｡example", "http:／／evil.example", "http：//evil.example", "a＠b.c", "ev\u200bil.example",
	"evil\u2060.\u2060example", "evil\u00ad.example", "ev\u202eil.example", "\u2066evil.example\u2069", "xn--e1awd7f.example", "президент.рф",
	"{{.Link}}", "{link}", "{service}", "'; DROP TABLE users; --", "a\r\nBcc: victim@b.c\r\n\r\nbody", "a\nhttps://evil.example\n", "\x00\x1b[31m", "\xff\xfe",
	strings.Repeat("a", 10_000), strings.Repeat("e\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301", 64), "\u200b\u200c\u2060", "\u3164", " ", "https://propusk.example.evil.example/",
}

// linkable is what mail programs make a link of, and more: a sign of addresses
// between two letters, or after a scheme.
var linkable = regexp.MustCompile(`(?i)\p{L}[.:/\\@。．｡․／：＠]+[\p{L}\p{Nd}]|[\p{L}\p{Nd}][.@]+\p{L}|://|//|\d\.\d`)

// V29, V74.
func TestNoNameBecomesALink(t *testing.T) {
	ts := builtInTemplates(t)
	for _, lang := range []string{"en", "ru"} {
		for i, kind := range mailKinds {
			plain := renderMail(t, ts, outbox.Mail, kind, lang, mailData())
			want := readPage(t, plain.HTML)
			for j, value := range hostile {
				if kind != outbox.FactorAdded && (i+j)%8 != 0 {
					continue // that mail has all of it, the others only take turns
				}
				data := mailData()
				for _, key := range []string{"username", "device", "name", "ip"} {
					data[key] = value
				}
				c := renderMail(t, ts, outbox.Mail, kind, lang, data)
				got := readPage(t, c.HTML)
				if !slices.Equal(got.hrefs, want.hrefs) || got.other != nil {
					t.Errorf("%s, %q: links %q, other %q", kind, value, got.hrefs, got.other)
				}
				if !maps.Equal(want.tags, got.tags) {
					t.Errorf("%s, %q: the page has other elements:\n%s", kind, value, cmp.Diff(want.tags, got.tags))
				}
				if c.Subject != plain.Subject {
					t.Errorf("%s: subject %q", kind, c.Subject)
				}
				seen := map[string]string{"text": c.Text, "HTML": strings.Join(got.words, " ")}
				for part, text := range seen {
					own := strings.NewReplacer(mailLink, "", service+".evil", service+".evil", service, "")
					if found := linkable.FindString(own.Replace(text)); found != "" {
						t.Errorf("%s, %q: %q in the %s can become a link", kind, value, found, part)
					}
					if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) }) {
						t.Errorf("%s, %q: unseen characters in the %s: %q", kind, value, part, text)
					}
				}
			}
		}
	}
}

// Some programs normalise before they look for addresses.
func TestNoSignThatIsReadAsADotMakesALink(t *testing.T) {
	ts := builtInTemplates(t)
	n := 0
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		if !unicode.IsPrint(r) || !strings.ContainsAny(norm.NFKC.String(string(r)), ".:/\\@") && r != '。' {
			continue
		}
		n++
		data := mailData()
		data["device"] = "evil" + string(r) + "example"
		c := renderMail(t, ts, outbox.Mail, outbox.NewSignIn, "en", data)
		if strings.Contains(c.Text, data["device"]) || strings.Contains(c.HTML, data["device"]) {
			t.Errorf("%q stands there as it came", data["device"])
		}
	}
	if n < 40 {
		t.Errorf("only %d signs were tried", n)
	}
}

func TestNamesAreShownAsTheyAre(t *testing.T) {
	ts := builtInTemplates(t)
	for value, want := range map[string]string{
		"Anna's phone": "Anna's phone", "Телефон «Мой»": "Телефон «\u200aМой»", "R&D": "R&D", "אנה": "אנה", "田中": "田中", "e\u0301": "e\u0301",
		"ivan.petrov": "ivan.\u200apetrov", "  two \t\n words ": "two words", "\u200b": "—", strings.Repeat("я", 64): strings.Repeat("я", 64),
		strings.Repeat("я", 65): strings.Repeat("я", 63) + "…", "2001:db8::1": "2001:\u200adb8:\u200a:\u200a1",
	} {
		data := mailData()
		data["device"] = value
		c := renderMail(t, ts, outbox.Mail, outbox.NewSignIn, "en", data)
		if !strings.Contains(c.Text, "\nDevice      "+want+"\n") {
			t.Errorf("%q is not shown as %q:\n%s", value, want, c.Text)
		}
	}
	data := mailData()
	data["ip"] = "2001:0DB8::1"
	if c := renderMail(t, ts, outbox.Mail, outbox.NewSignIn, "en", data); !strings.Contains(c.Text, "  2001:db8::1\n") || !strings.Contains(c.HTML, "<bdi>2001:db8::1</bdi>") {
		t.Errorf("an address of IPv6:\n%s", c.Text)
	}
}

func FuzzRender(f *testing.F) {
	for i, value := range hostile {
		f.Add(uint8(i), value, value, value, value)
	}
	ts := builtInTemplates(f)
	f.Fuzz(func(t *testing.T, n uint8, username, device, name, ip string) {
		if username == "" || device == "" || name == "" || ip == "" {
			return // left out, as others test
		}
		kind, lang := mailKinds[int(n)%len(mailKinds)], []string{"en", "ru"}[int(n)/len(mailKinds)%2]
		want := renderMail(t, ts, outbox.Mail, kind, lang, mailData())
		data := mailData()
		data["username"], data["device"], data["name"], data["ip"] = username, device, name, ip
		got := renderMail(t, ts, outbox.Mail, kind, lang, data)
		for _, sign := range []string{"<", ">", "\"", "://"} { // without these there is no element, no attribute and no address
			if n, as := strings.Count(got.HTML, sign), strings.Count(want.HTML, sign); n != as {
				t.Errorf("%s: %d times in the HTML, not %d", sign, n, as)
			}
		}
		if n, as := strings.Count(got.Text, "://"), strings.Count(want.Text, "://"); n != as || got.Subject != want.Subject || strings.Count(got.Text, "\n\n") != strings.Count(want.Text, "\n\n") {
			t.Errorf("subject %q, text:\n%s", got.Subject, got.Text)
		}
		if !utf8.ValidString(got.Text) || !utf8.ValidString(got.HTML) || strings.ContainsAny(got.Text, "\r\x00\u202e\u2066") {
			t.Errorf("%q", got.Text)
		}
	})
}

func ExampleTemplates_Render() {
	ts, err := outbox.LoadTemplates("", "propusk.example", "https://propusk.example")
	if err != nil {
		panic(err)
	}
	c, err := ts.Render(outbox.Message{Channel: outbox.SMS, Kind: outbox.VerifyPhone, Lang: "ru", Data: map[string]string{"code": "481902", "minutes": "2"}})
	fmt.Println(c.Text, err)
	// Output: propusk.example: код 481902, действует 2 минуты. Никому не сообщайте. <nil>
}
