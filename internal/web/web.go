// Package web is the HTML face: the pages that the links in mails lead to, for
// people, without a script. Every page stands in routes.go.
//
// Opening a page changes nothing: what scans mails for viruses opens every link
// in them, and must neither use one up nor get anything for it. So GET and HEAD
// read at most, set no cookie, and show a form with one button; POST does what the
// page is about. The token goes from the link into a field of that form and from
// there into the body of the request: the URL of an answer never holds it.
//
// It decides nothing, like the JSON face, and has no words of its own for what the
// rules refuse.
package web

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"propusk/internal/account"
)

// Options are what the face is built from.
type Options struct {
	Service   *account.Service
	Face      Face
	Languages []string // on offer: "en", "ru"
	Name      string   // of the service, for people
	HTTPS     bool     // people reach it by HTTPS
}

// Face is what the pages have in common with the JSON face, which has it.
type Face interface {
	// Language is the one that a request asks for, or else the default.
	Language(r *http.Request) string
	ReadForm(w http.ResponseWriter, r *http.Request) (url.Values, error)
	// Refusal is the status and the words of an error. It tells the access log.
	Refusal(r *http.Request, err error) (status int, refusal *account.Error)
	Words(f account.Fault, lang string) string
	Note(r *http.Request, route, userID string)
	// BrowserOf is what the browser holds that asked for a link to log in with.
	BrowserOf(r *http.Request) account.Secret
	LoginCookie(browser account.Secret, lifetime time.Duration) *http.Cookie
	SessionCookie(t account.Token) *http.Cookie
	DeviceCookie(d account.Device) *http.Cookie
}

// Embedded in the page itself: nothing is fetched.
var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
)

// Web is the face. It is an http.Handler.
type Web struct {
	service  *account.Service
	face     Face
	langs    []string
	name     string
	https    bool
	pages    map[string]page // by path
	template *template.Template
	policy   string
}

// New builds the face.
func New(o Options) (*Web, error) {
	s := &Web{service: o.Service, face: o.Face, langs: o.Languages, name: o.Name, https: o.HTTPS, pages: map[string]page{}}
	for _, p := range s.routes() {
		s.pages[p.path] = p
	}
	var err error
	if s.template, err = template.New("page").Parse(pageHTML); err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	sum := sha256.Sum256([]byte(pageCSS))
	s.policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	return s, nil
}

// Prefix is where the pages are.
const Prefix = "/account"

// Has tells whether a path is one of this face, with or without a page.
func Has(path string) bool { return strings.HasPrefix(path, Prefix+"/") }

// visit is one call of a page.
type visit struct {
	*http.Request
	w       http.ResponseWriter
	page    page
	lang    string
	caller  account.Caller
	token   string     // of the link; "" where it has none
	form    url.Values // nil unless one was sent
	cookies []*http.Cookie
}

// setCookie has a cookie set, if the visit comes to its good end.
func (v *visit) setCookie(c *http.Cookie) { v.cookies = append(v.cookies, c) }

// ServeHTTP implements [http.Handler]. The path must be right to the letter: a
// gateway in front may have judged another spelling as another path.
func (s *Web) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := s.visit(w, r)
	p, found := s.pages[r.URL.EscapedPath()]
	if !found {
		s.face.Note(r, "none", "")
		s.write(v, notice(http.StatusNotFound, "no_page"))
		return
	}
	v.page = p
	s.face.Note(r, p.path, "")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.get(v)
	case http.MethodPost:
		s.post(v)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		s.write(v, notice(http.StatusMethodNotAllowed, "no_method"))
	}
}

func (s *Web) visit(w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{Request: r, w: w, lang: s.face.Language(r), caller: account.CallerFrom(r.Context())}
	if asked := r.URL.Query().Get("lang"); slices.Contains(s.langs, asked) {
		v.lang = asked
	}
	// Whoever opens a page is nobody yet, also from a network that is trusted: he
	// is whom his link makes him. And he is written to as he reads.
	v.caller.Kind, v.caller.Language = account.Anonymous, v.lang
	return v
}

func (s *Web) get(v *visit) {
	given := v.URL.Query()["token"]
	if len(given) > 1 || len(given) == 1 && !account.MayBeToken(given[0]) {
		s.write(v, notice(http.StatusBadRequest, "incomplete").again(v.page))
		return
	}
	if len(given) == 1 {
		v.token = given[0]
	}
	shown, err := s.show(v)
	if err != nil {
		shown = s.refuse(v, shown, err)
	}
	shown.switchable = true
	s.write(v, shown)
}

func (s *Web) post(v *visit) {
	form, err := s.face.ReadForm(v.w, v.Request)
	if err != nil {
		s.write(v, s.refuse(v, view{}, err))
		return
	}
	v.form, v.token = form, form.Get("token")
	shown, err := s.do(v)
	if err != nil {
		shown = s.refuse(v, shown, err)
	} else {
		for _, c := range v.cookies {
			http.SetCookie(v.w, c)
		}
	}
	s.write(v, shown)
}

// WriteError answers with err, on a page.
func (s *Web) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	v := s.visit(w, r)
	s.write(v, s.refuse(v, view{}, err))
}

// refuse puts what err says on the page that was to be shown: beside the fields
// that it is about, so that nothing is lost but the password.
func (s *Web) refuse(v *visit, shown view, err error) view {
	status, e := s.face.Refusal(v.Request, err)
	if e.RetryAfter > 0 {
		v.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	if status == http.StatusUnauthorized {
		status = http.StatusForbidden // 401 is for who can send an Authorization header (RFC 9110, section 15.5.2)
	}
	words := s.face.Words(e.Fault, v.lang)
	if e.Fault.Code == account.CodeLinkInvalid || shown.form == nil {
		title := "failed"
		if e.Fault.Code == account.CodeLinkInvalid {
			title = "spent"
		}
		shown = notice(status, title).again(v.page)
		shown.said = []string{words}
		shown.unforeseen = status >= http.StatusInternalServerError
		return shown
	}
	shown.status = status
	shown.unforeseen = status >= http.StatusInternalServerError
	fields := e.Fields
	if e.Fault.Code == account.CodeWrongCode {
		fields = map[string]account.Fault{"code": e.Fault}
	}
	alert := []string{words}
	for name, fault := range fields {
		if name == "token" { // the rule wants a link or a code, and this form has a place for the code
			name, fault = "code", account.Fault{Code: account.CodeCodeInvalid}
		}
		said := s.face.Words(fault, v.lang)
		if !shown.form.refuse(name, said) && said != words {
			alert = append(alert, said)
		}
	}
	slices.Sort(alert[1:])
	shown.alert = strings.Join(alert, " ")
	return shown
}

// write sends a page.
func (s *Web) write(v *visit, shown view) {
	var b bytes.Buffer
	if err := s.template.Execute(&b, s.content(v, shown)); err != nil {
		panic(err) // its data are our own, and tests show every page
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.lang)
	h.Set("Content-Security-Policy", s.policy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", s.referrerPolicy(v.Host))
	h.Set("X-Robots-Tag", "noindex")
	h.Add("Vary", "Accept-Language")
	v.w.WriteHeader(cmp.Or(shown.status, http.StatusOK))
	_, _ = v.w.Write(b.Bytes()) // whom it does not reach cannot be told
}

// referrerPolicy keeps the token in the page's URL from going anywhere. Under
// no-referrer, however, browsers say "Origin: null" of a form, and over plain HTTP
// (save from this very machine) they send no Sec-Fetch-Site either: nothing would
// tell our own page from another's. There the origin alone is told.
func (s *Web) referrerPolicy(host string) string {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	ip, _ := netip.ParseAddr(strings.Trim(name, "[]"))
	if s.https || ip.IsLoopback() || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return "no-referrer"
	}
	return "origin"
}
