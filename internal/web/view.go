package web

import (
	"html/template"
	"net/url"
	"slices"
	"strings"
)

// view is what a page shows, before it is put into words.
type view struct {
	status     int      // 0: 200
	title      string   // a key of words
	text       []string // keys of words
	said       []string // words already, of the rules
	args       map[string]string
	code       string
	form       *form
	links      []link
	alert      string
	done       bool // what was to be done is done
	unforeseen bool // show the request's id
	switchable bool // to another language, by opening it again
}

type link struct{ words, href string }

// form is sent back to the page that shows it.
type form struct {
	token  string
	fields []field
	button string // a key of words
}

type field struct {
	name         string
	label, hint  string // keys of words
	kind         string // of input
	autocomplete string
	value        string
	fault        string // in words
}

// refuse puts words beside a field, if the form has it.
func (f *form) refuse(name, words string) bool {
	for i := range f.fields {
		if f.fields[i].name == name {
			f.fields[i].fault = words
			return true
		}
	}
	return false
}

// notice is a page that only says something. The words of its text have the key
// of its title and "_text", if there are any.
func notice(status int, title string) view {
	v := view{status: status, title: title}
	if _, ok := words[title+"_text"]; ok {
		v.text = []string{title + "_text"}
	}
	return v
}

// again leads to where another link can be asked for.
func (v view) again(p page) view {
	if p.ask != nil {
		v.links = append(v.links, link{"again", p.path})
	}
	return v
}

// content is what the template gets: words, and nothing to decide.
type content struct {
	Lang, Service, Title, Alert, Code string
	Text                              []template.HTML
	Done                              bool
	Form                              *formContent
	Links                             []linkContent
	Other                             *linkContent // the same page in another language
	Request                           string
	Style                             template.CSS
}

type linkContent struct{ Lang, Words, Href string }

type formContent struct {
	Action, Token, Button string
	Fields                []fieldContent
}

type fieldContent struct {
	Name, Label, Hint, Kind, Autocomplete, Value, Fault, Describe string
	Focus, Code                                                   bool
}

func (s *Web) content(v *visit, shown view) content {
	say := func(key string) string { return sentence(key, v.lang) }
	c := content{
		Lang: v.lang, Service: s.name, Title: say(shown.title), Alert: shown.alert, Code: shown.code, Done: shown.done,
		Style: template.CSS(pageCSS), //nolint:gosec // part of the program
	}
	for _, key := range shown.text {
		c.Text = append(c.Text, fill(say(key), shown.args))
	}
	for _, text := range shown.said {
		c.Text = append(c.Text, fill(text, nil))
	}
	for _, l := range shown.links {
		c.Links = append(c.Links, linkContent{Words: say(l.words), Href: withLang(l.href, v.lang)})
	}
	if shown.unforeseen {
		c.Request = say("request") + " " + v.caller.RequestID
	}
	if f := shown.form; f != nil {
		c.Form = s.formContent(v, f)
	}
	if shown.switchable {
		c.Other = s.otherLanguage(v)
	}
	return c
}

func (s *Web) formContent(v *visit, f *form) *formContent {
	out := &formContent{Action: withLang(v.page.path, v.lang), Token: f.token, Button: sentence(f.button, v.lang)}
	focused := false
	anyFault := slices.ContainsFunc(f.fields, func(x field) bool { return x.fault != "" })
	for _, x := range f.fields {
		c := fieldContent{
			Name: x.name, Label: sentence(x.label, v.lang), Kind: x.kind, Autocomplete: x.autocomplete, Value: x.value, Fault: x.fault, Code: x.name == "code",
		}
		var about []string
		if x.hint != "" {
			c.Hint = sentence(x.hint, v.lang)
			about = append(about, x.name+"-hint")
		}
		if x.fault != "" {
			about = append(about, x.name+"-fault")
		}
		c.Describe = strings.Join(about, " ")
		c.Focus = !focused && (x.fault != "" || !anyFault && x.value == "")
		focused = focused || c.Focus
		out.Fields = append(out.Fields, c)
	}
	return out
}

// otherLanguage leads to the page that was opened, in the next language.
func (s *Web) otherLanguage(v *visit) *linkContent {
	for _, lang := range s.langs {
		if lang == v.lang {
			continue
		}
		q := url.Values{"lang": {lang}}
		if v.token != "" {
			q.Set("token", v.token)
		}
		if v.URL.Query().Has("code") {
			q.Set("code", "")
		}
		return &linkContent{Lang: lang, Words: sentence("language", lang), Href: v.page.path + "?" + q.Encode()}
	}
	return nil
}

func withLang(href, lang string) string {
	sep := "?"
	if strings.Contains(href, "?") {
		sep = "&"
	}
	return href + sep + "lang=" + lang
}

// fill puts values into a sentence, escaped and apart from it: what a user chose
// cannot change how the rest is read, also where it is written from right to left.
func fill(sentence string, args map[string]string) template.HTML {
	var values []string
	for name, value := range args {
		values = append(values, "{"+name+"}", "<bdi>"+template.HTMLEscapeString(value)+"</bdi>")
	}
	escaped := strings.NewReplacer(values...).Replace(template.HTMLEscapeString(sentence))
	return template.HTML(escaped) //nolint:gosec // as the name says
}
