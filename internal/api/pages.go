package api

import (
	"net/http"
	"time"

	"propusk/internal/account"
)

// What the pages for people share with this face, so that there is one name for
// each cookie, one reading of Accept-Language, one table of statuses, and one
// place where the access log is told: see web.Face. It also has ReadForm and the
// makers of the cookies.

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
