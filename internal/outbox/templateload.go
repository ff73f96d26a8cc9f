package outbox

import (
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// templateLoader reads the files of templates, an operator's before those built
// in, and collects what is wrong with them.
type templateLoader struct {
	dir      string
	problems []string
}

// maxTemplateSize is more than any mail program shows in full.
const maxTemplateSize = 256 << 10

func (l *templateLoader) refuse(file string, line int, reason string, args ...any) {
	place := file
	if line > 0 {
		place = fmt.Sprintf("%s:%d", file, line)
	}
	l.problems = append(l.problems, place+": "+fmt.Sprintf(reason, args...))
}

// read gives the content of a file, and the name by which its reader knows it.
func (l *templateLoader) read(name string) (content, file string) {
	if l.dir != "" {
		file = filepath.Join(l.dir, filepath.FromSlash(name))
		b, err := os.ReadFile(file) //nolint:gosec // the operator's folder, and names of our own
		switch {
		case errors.Is(err, fs.ErrNotExist): // as it is built in, then
		case err != nil:
			l.refuse(file, 0, "%v", errors.Unwrap(err))
			return "", file
		default:
			return l.sound(file, b), file
		}
	}
	b, err := builtIn.ReadFile("templates/" + name)
	if err != nil {
		l.refuse(name, 0, "%v", err)
	}
	return l.sound(name, b), name
}

// sound is the text of a file, without what an editor may have put in front.
func (l *templateLoader) sound(file string, b []byte) string {
	text := strings.ReplaceAll(strings.TrimPrefix(string(b), "\uFEFF"), "\r\n", "\n")
	if len(text) > maxTemplateSize {
		l.refuse(file, 0, "is larger than %d KiB", maxTemplateSize>>10)
		return ""
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		odd := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
		switch {
		case !utf8.ValidString(line):
			l.refuse(file, n, "is not UTF-8")
			return ""
		case strings.ContainsFunc(line, odd):
			l.refuse(file, n, "has a control character")
			return ""
		}
	}
	return text
}

// strangers refuses what would not be read: its author believes it in use.
// Names that begin with a dot are those of editors and of mounted volumes.
func (l *templateLoader) strangers() {
	known := []string{layoutFile}
	for _, lang := range languages {
		known = append(known, lang, lang+"/"+footerFile, lang+"/"+smsFolder)
		for kind := range mailSpecs {
			known = append(known, mailFile(lang, kind))
		}
		for kind := range smsSpecs {
			known = append(known, smsFile(lang, kind))
		}
	}
	for _, folder := range []string{"", "en", "ru", "en/" + smsFolder, "ru/" + smsFolder} {
		entries, err := os.ReadDir(filepath.Join(l.dir, filepath.FromSlash(folder)))
		if err != nil && (folder == "" || !errors.Is(err, fs.ErrNotExist)) {
			l.refuse(filepath.Join(l.dir, filepath.FromSlash(folder)), 0, "%v", errors.Unwrap(err))
			return
		}
		for _, e := range entries {
			name := strings.TrimPrefix(folder+"/"+e.Name(), "/")
			if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(known, name) {
				l.refuse(filepath.Join(l.dir, filepath.FromSlash(name)), 0, "is the name of no template")
			}
		}
	}
}

func (l *templateLoader) words(lang, name string, data []string) words {
	content, file := l.read(name)
	p := parser{l: l, file: file, lang: lang, data: data}
	return p.whole(content)
}

func (l *templateLoader) sms(lang string, kind Kind, s spec) words {
	before := len(l.problems)
	w := l.words(lang, smsFile(lang, kind), s.data)
	if len(l.problems) == before && slices.Contains(s.data, "code") && !w.speaksOf("code") {
		_, file := l.read(smsFile(lang, kind))
		l.refuse(file, 0, "does not say {code}")
	}
	return w
}

func (l *templateLoader) mail(lang string, kind Kind, s spec, footer words) mail {
	before := len(l.problems)
	content, file := l.read(mailFile(lang, kind))
	p := parser{l: l, file: file, lang: lang, data: append(slices.Clone(commonData), s.data...)}
	m := p.mail(content)
	if len(l.problems) > before {
		return m // what is missing may stand in a line that was not understood
	}
	if slices.Contains(s.data, "code") && !m.has(codeBlock) {
		l.refuse(file, 0, "has no @code")
	}
	if s.link != noLink && !m.has(buttonBlock) {
		l.refuse(file, 0, "has no @button")
	}
	if s.link == noLink && m.has(buttonBlock) {
		l.refuse(file, 0, "has a @button, but there is no link for it")
	}
	if !slices.Contains(s.data, "code") && m.has(codeBlock) {
		l.refuse(file, 0, "has @code, but there is no code")
	}
	if !m.speaksOf("username") && !footer.speaksOf("username") {
		l.refuse(file, 0, "does not say {username}, nor does the footer")
	}
	return m
}

// comment is a comment in HTML, most of which are for Outlook alone: it obeys
// what stands in them.
var comment = regexp.MustCompile(`(?s)<!--.*?-->`)

// layout reads the look of mails. The comments go around html/template, which
// would drop them.
func (l *templateLoader) layout() *template.Template {
	content, file := l.read(layoutFile)
	broken := false
	content = comment.ReplaceAllStringFunc(content, func(c string) string {
		if strings.Contains(c, "{{") || strings.Contains(c, "`") {
			l.refuse(file, 1+strings.Count(content[:strings.Index(content, c)], "\n"), "a comment cannot hold {{ or a backquote")
			broken = true
		}
		return "{{comment `" + c + "`}}"
	})
	if broken {
		return nil
	}
	if content == "" {
		l.refuse(file, 0, "is empty")
		return nil
	}
	t, err := template.New(file).Option("missingkey=error").Funcs(template.FuncMap{
		"comment": func(c string) template.HTML { return template.HTML(c) }, //nolint:gosec // stands in the template itself
	}).Parse(content)
	if err != nil {
		l.problems = append(l.problems, sayTemplateError(file, err))
		return nil
	}
	return t
}

// sayTemplateError begins with the file: html/template puts its own name first,
// and at times does without the file.
func sayTemplateError(file string, err error) string {
	text := strings.TrimLeft(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "html/"), "template:"), " ")
	if !strings.HasPrefix(text, file) {
		text = file + ": " + text
	}
	return text
}

// tryLayout renders a sheet that has everything, for html/template finds some
// faults only then, and a layout that shows no code is of no use.
func (l *templateLoader) tryLayout(t *Templates) {
	link := "https://example.com/try?a=b"
	s := sheet{
		Lang: "en", Subject: "try-subject", Service: "try-service", Heading: "try-heading", Footer: "try-footer",
		Blocks: []block{
			{Paragraph: "try-paragraph"}, {Note: "try-note"}, {Code: "try-code"}, {Label: "try-label", Link: link},
			{Rows: []row{{Label: "try-row", Value: "try-value"}}},
		},
	}
	file := t.layout.Name()
	c, err := t.write(s)
	if err != nil {
		l.problems = append(l.problems, sayTemplateError(file, err))
		return
	}
	for _, one := range []struct{ field, shown string }{
		{".Service", s.Service}, {".Heading", s.Heading}, {".Footer", s.Footer}, {".Paragraph", "try-paragraph"}, {".Note", "try-note"},
		{".Code", "try-code"}, {".Label of a button", "try-label"}, {".Link as an href", `href="` + link}, {".Label of a row", "try-row"}, {".Value", "try-value"},
	} {
		if !strings.Contains(c.HTML, one.shown) {
			l.refuse(file, 0, "does not show %s", one.field)
		}
	}
}
