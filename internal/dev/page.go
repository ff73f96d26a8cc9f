package dev

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"propusk/internal/account"
	"propusk/internal/outbox"
)

const inboxPath = "/dev/inbox"

//go:embed pages
var files embed.FS //nolint:gochecknoglobals // files of the program

var pages = template.Must(template.New("").Option("missingkey=error").ParseFS(files, "pages/*.html")) //nolint:gochecknoglobals // read once

// What a page may load: its own style and script, and the mail in its frame.
const pagePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; frame-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// What a mail may: nothing but to be looked at, and to have its links opened
// elsewhere. It has no origin, so that a script in it, which does not run, could
// not ask for the other messages either.
const mailPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; " +
	"sandbox allow-popups allow-popups-to-escape-sandbox"

// shown is a message as a page shows it.
type shown struct {
	ID, Kind, To, Lang, Subject, Text, Link, Code string
	At                                            time.Time
	HTML, Mail                                    bool
	Day, Time                                     string
}

// view is what a template gets.
type view struct {
	Lang     string
	Title    string
	T        map[string]string // words
	Messages []shown
	Message  shown
	Now      string
	Ahead    string // "" where the clock shows the real time
	Newest   string // id of the newest message
	Problem  string
}

func (d *Dev) view(r *http.Request) view {
	lang := account.CallerFrom(r.Context()).Language
	if lang != "ru" {
		lang = "en"
	}
	v := view{Lang: lang, T: words[lang], Now: d.o.Clock.Now().In(d.o.Zone).Format("2006-01-02 15:04:05 MST")}
	if ahead := d.o.Clock.Ahead().Round(time.Second); ahead != 0 {
		v.Ahead = ahead.String()
		if days := ahead.Truncate(24 * time.Hour); days == ahead {
			v.Ahead = itoa(int(days/(24*time.Hour))) + " " + v.T["days"]
		}
	}
	return v
}

func (d *Dev) shown(e outbox.Envelope) shown {
	at := e.CreatedAt.In(d.o.Zone)
	return shown{
		ID: e.ID, Kind: string(e.Kind), To: e.To, Lang: e.Lang, Subject: e.Subject, Text: e.Text, Link: e.Link, Code: e.Code, At: at,
		HTML: e.HTML != "", Mail: channelOf(e) == outbox.Mail, Day: at.Format("2006-01-02"), Time: at.Format("15:04:05"),
	}
}

func (d *Dev) render(w http.ResponseWriter, r *http.Request, status int, name string, v view) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, v); err != nil {
		d.o.Fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.Lang)
	h.Set("Vary", "Accept-Language")
	h.Set("Content-Security-Policy", pagePolicy)
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // whom it does not reach cannot be told
}

func (d *Dev) inboxPage(w http.ResponseWriter, r *http.Request) { d.showInbox(w, r, http.StatusOK, "") }

func (d *Dev) showInbox(w http.ResponseWriter, r *http.Request, status int, problem string) {
	found, err := d.find(r.Context(), wanted{limit: mostMessages})
	if err != nil {
		d.fail(w, r, err)
		return
	}
	v := d.view(r)
	v.Title, v.Problem = v.T["inbox"], problem
	for i, e := range found {
		if i == 0 {
			v.Newest = e.ID
		}
		s := d.shown(e)
		if !s.Mail {
			s.Subject = firstLine(s.Text)
		}
		v.Messages = append(v.Messages, s)
	}
	d.render(w, r, status, "inbox.html", v)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// inboxForm is for the buttons of the page.
func (d *Dev) inboxForm(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	var err error
	switch r.PostFormValue("do") {
	case "clear":
		if err = d.settle(r.Context()); err == nil {
			d.o.Inbox.Clear()
		}
	case "advance":
		err = d.move(r.Context(), clockRequest{Advance: strings.TrimSpace(r.PostFormValue("by"))})
	case "real":
		err = d.move(r.Context(), clockRequest{Reset: true})
	case "limits":
		err = d.o.Service.ResetLimits(r.Context(), operator(r))
	default:
		err = &refusal{"", "there is no such button"}
	}
	if bad, ok := err.(*refusal); ok { //nolint:errorlint // made in this package, never wrapped
		d.showInbox(w, r, http.StatusUnprocessableEntity, bad.Error())
		return
	}
	if err != nil {
		d.fail(w, r, err)
		return
	}
	http.Redirect(w, r, inboxPath, http.StatusSeeOther)
}

func (d *Dev) messagePage(w http.ResponseWriter, r *http.Request) {
	v := d.view(r)
	e, ok := d.message(r.PathValue("id"))
	if !ok {
		v.Title = v.T["gone"]
		d.render(w, r, http.StatusNotFound, "gone.html", v)
		return
	}
	v.Message = d.shown(e)
	if v.Title = e.Subject; v.Title == "" {
		v.Title = firstLine(e.Text)
	}
	d.render(w, r, http.StatusOK, "message.html", v)
}

// messageHTML is the mail alone, for the frame on its page.
func (d *Dev) messageHTML(w http.ResponseWriter, r *http.Request) {
	e, ok := d.message(r.PathValue("id"))
	if !ok || e.HTML == "" {
		d.o.Otherwise.ServeHTTP(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", mailPolicy)
	h.Set("X-Frame-Options", "SAMEORIGIN")
	_, _ = w.Write([]byte(e.HTML)) // a mail of ours; see mailPolicy for what it may do
}

func (d *Dev) asset(w http.ResponseWriter, r *http.Request) {
	types := map[string]string{"style.css": "text/css; charset=utf-8", "inbox.js": "text/javascript; charset=utf-8"}
	name := r.PathValue("name")
	b, err := files.ReadFile("pages/" + name)
	if err != nil || types[name] == "" {
		d.o.Otherwise.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", types[name])
	_, _ = w.Write(b) //nolint:gosec // a file of the program
}
