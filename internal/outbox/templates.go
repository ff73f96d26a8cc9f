package outbox

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"slices"
	"strings"
)

//go:embed templates
var builtIn embed.FS //nolint:gochecknoglobals // files of the program

// Content is what a recipient sees. Text and HTML say the same; of an SMS there
// is the text only.
type Content struct{ Subject, Text, HTML string }

// Templates is the words and the look of all messages. It is read once and safe
// for concurrent use.
type Templates struct {
	service, publicURL string
	layout             *template.Template
	mails              map[string]map[Kind]mail // by language
	texts              map[string]map[Kind]words
	footers            map[string]words
}

// languages that there are words in; the first is for everybody else.
var languages = []string{"en", "ru"} //nolint:gochecknoglobals // a constant list

const (
	layoutFile = "layout.html.tmpl"
	footerFile = "footer.txt" // for each language
	smsFolder  = "sms"
)

// spec is what the account gives for a kind of message, and so what its words
// may speak of.
type spec struct {
	data []string // besides those of commonData
	link linkUse
}

type linkUse uint8

const (
	noLink   linkUse = iota
	mayLink          // without a public URL there is none, and the message is still worth reading
	mustLink         // it would be worth nothing
)

// commonData can be in every mail: for whom, and who did it.
var commonData = []string{"username", "ip", "device", "time"} //nolint:gochecknoglobals // a constant list

var mailSpecs = map[Kind]spec{ //nolint:gochecknoglobals // a constant table
	VerifyEmail:          {data: []string{"code", "minutes", "hours"}, link: mayLink},
	EmailChangeConfirm:   {data: []string{"code", "minutes", "hours"}, link: mayLink},
	EmailChangeRequested: {},
	EmailChanged:         {data: []string{"hours"}, link: mustLink},
	Recover:              {data: []string{"code", "minutes"}, link: mayLink},
	Recovered:            {},
	LoginCode:            {data: []string{"code", "minutes"}, link: mayLink},
	NewSignIn:            {},
	PasswordChanged:      {},
	FactorAdded:          {data: []string{"factor", "name"}},
	FactorRemoved:        {data: []string{"factor", "name"}},
	PasskeyCopied:        {data: []string{"name"}},
	RecoveryCodesLow:     {data: []string{"left"}},
	AccountDisabled:      {},
	AccountExists:        {link: mayLink},
	Register:             {data: []string{"code", "minutes", "hours"}, link: mayLink},
}

// An SMS holds nothing that a user wrote: it has no room for it, and telephones
// make links of anything.
var smsSpecs = map[Kind]spec{ //nolint:gochecknoglobals // a constant table
	VerifyPhone:     {data: []string{"code", "minutes"}},
	LoginCode:       {data: []string{"code", "minutes"}},
	Recovered:       {},
	PasswordChanged: {},
	PasskeyCopied:   {},
}

// LoadTemplates reads what is built in, and instead of each of these files the
// one of the same name in dir, if dir is not empty and has it. The service is
// what messages call it. Links are refused that do not lead to publicURL, which
// has no slash at its end. The error has a line for each fault, with the file
// and, where there is one, the number of the line.
func LoadTemplates(dir, service, publicURL string) (*Templates, error) {
	t := &Templates{
		service: clean(service), publicURL: publicURL,
		mails: map[string]map[Kind]mail{}, texts: map[string]map[Kind]words{}, footers: map[string]words{},
	}
	l := &templateLoader{dir: dir}
	if dir != "" {
		l.strangers()
	}
	if t.layout = l.layout(); t.layout != nil {
		l.tryLayout(t)
	}
	for _, lang := range languages {
		t.footers[lang] = l.words(lang, lang+"/"+footerFile, []string{"username"})
		t.mails[lang], t.texts[lang] = map[Kind]mail{}, map[Kind]words{}
		for _, kind := range slices.Sorted(maps.Keys(mailSpecs)) {
			t.mails[lang][kind] = l.mail(lang, kind, mailSpecs[kind], t.footers[lang])
		}
		for _, kind := range slices.Sorted(maps.Keys(smsSpecs)) {
			t.texts[lang][kind] = l.sms(lang, kind, smsSpecs[kind])
		}
	}
	if len(l.problems) > 0 {
		return nil, errors.New(strings.Join(l.problems, "\n"))
	}
	return t, nil
}

func mailFile(lang string, kind Kind) string { return lang + "/" + string(kind) + ".txt" }

func smsFile(lang string, kind Kind) string {
	return lang + "/" + smsFolder + "/" + string(kind) + ".txt"
}

// Render gives a message its words: in English, if there are none in its
// language. Its errors hold nothing of its data.
func (t *Templates) Render(m Message) (Content, error) {
	lang := languages[0]
	if base, _, _ := strings.Cut(m.Lang, "-"); slices.Contains(languages, base) {
		lang = base
	}
	v := values{lang: lang, service: t.service, data: m.Data}
	var c Content
	var err error
	switch m.Channel {
	case Mail:
		c, err = t.renderMail(m.Kind, v)
	case SMS:
		c, err = t.renderSMS(m.Kind, v)
	default:
		err = fmt.Errorf("there is no channel %q", m.Channel)
	}
	if err != nil {
		return Content{}, fmt.Errorf("render %s: %w", m.Kind, err)
	}
	return c, nil
}

func (t *Templates) renderSMS(kind Kind, v values) (Content, error) {
	w, ok := t.texts[v.lang][kind]
	if !ok {
		return Content{}, errors.New("there is no such SMS")
	}
	text, err := w.in(v)
	return Content{Text: strings.ReplaceAll(text, noBreak, " ")}, err // a no-break space would double the price: it is not in GSM 03.38
}

func (t *Templates) renderMail(kind Kind, v values) (Content, error) {
	m, ok := t.mails[v.lang][kind]
	if !ok {
		return Content{}, errors.New("there is no such mail")
	}
	if link := v.data["link"]; link != "" && !t.leadsHome(link) {
		return Content{}, errors.New("its link does not lead to the public URL")
	}
	s, err := m.in(v, mailSpecs[kind].link)
	if err != nil {
		return Content{}, err
	}
	if s.Footer, err = t.footers[v.lang].in(v); err != nil {
		return Content{}, err
	}
	return t.write(s)
}

func (t *Templates) write(s sheet) (Content, error) {
	var html strings.Builder
	if err := t.layout.Execute(&html, s); err != nil {
		return Content{}, err
	}
	return Content{Subject: s.Subject, Text: s.plain(), HTML: html.String()}, nil
}

// leadsHome is true for an address below the public URL that everybody reads
// alike: what looks like a path to us must not be a host to a mail program.
func (t *Templates) leadsHome(link string) bool {
	rest, ok := strings.CutPrefix(link, t.publicURL)
	if !ok || t.publicURL == "" || rest != "" && !strings.ContainsRune("/?#", rune(rest[0])) {
		return false
	}
	odd := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'`<>\\^{|}", r) }
	if strings.ContainsFunc(link, odd) || strings.Contains(rest, "//") || strings.Contains(rest, "/..") {
		return false
	}
	_, err := url.Parse(link)
	return err == nil
}
