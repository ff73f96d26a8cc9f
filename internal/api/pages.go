package api

import (
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"propusk/internal/account"
)

// What the pages for people share with this face, so that there is one name for
// each cookie, one reading of Accept-Language, one table of statuses, and one
// place where the access log is told: see web.Face. The makers of the cookies
// stand in device.go.

// Note tells the access log which route a request came to, and of whom it was.
func (a *API) Note(r *http.Request, route, userID string) {
	t := traceOf(r)
	t.Route, t.UserID = route, userID
}

// Refusal is what an error says to whoever caused it, and the status that belongs
// to it. It tells the access log.
func (a *API) Refusal(r *http.Request, err error) (status int, refusal *account.Error) {
	f := failureOf(err)
	f.note(traceOf(r), err)
	return f.status, &account.Error{Fault: f.fault, Fields: f.fields, RetryAfter: time.Duration(f.retry) * time.Second}
}

// Words gives the words of a fault, be it of the rules or of the face.
func (a *API) Words(f account.Fault, lang string) string { return text(f, lang) }

// Language is the language of an answer.
func (a *API) Language(r *http.Request) string { return a.language(r) }

// ReadForm reads a form that people have filled in, all of it text.
func (a *API) ReadForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	form, err := readForm(w, r)
	for name, values := range form {
		if !isText(name) || !isText(values[0]) {
			return nil, fail(http.StatusBadRequest, codeFormInvalid)
		}
	}
	return form, err
}

// isText: both engines store text alike, and nobody's name or password is anything
// else.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
