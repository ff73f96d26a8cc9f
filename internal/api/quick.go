package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"propusk/internal/account"
)

// AppendSession appends the answer of GET /auth/session to b where the token's
// session is in memory; otherwise, and for every refusal, it appends nothing and
// tells false. The bytes are those that the route itself would send: it is the
// same answer by a shorter way, without reflection or a context, since services
// ask this with every request of their own.
func (a *API) AppendSession(b []byte, r *http.Request) ([]byte, bool) {
	p, ok := a.peek(r)
	if !ok {
		return b, false
	}
	// Ids and roles hold nothing that JSON would escape.
	b = append(b, `{"status":"success","data":{"session_id":"`...)
	b = p.AppendSessionID(b)
	b = append(b, `","user_id":"`...)
	b = p.AppendUserID(b)
	b = append(b, `","user_role":"`...)
	b = append(b, p.Role...)
	b = append(b, `","amr":`...)
	b = append(b, a.methods[p.Methods]...)
	b = append(b, `,"acr":"`...)
	b = append(b, p.Methods.Level()...)
	b = append(b, `","created":"`...)
	b = a.appendTime(b, p.Created)
	b = append(b, `","authenticated_at":"`...)
	b = a.appendTime(b, p.Authenticated)
	if p.Strong != 0 {
		b = append(b, `","second_factor_at":"`...)
		b = a.appendTime(b, p.Strong)
	}
	b = append(b, `","expires_at":"`...)
	b = a.appendTime(b, p.Expires)
	if p.IdleExpires != 0 {
		b = append(b, `","idle_expires_at":"`...)
		b = a.appendTime(b, p.IdleExpires)
	}
	return append(b, `"}}`...), true
}

// Forward fills in the answer of GET /auth/forward in the same way.
func (a *API) Forward(h http.Header, r *http.Request) bool {
	if r.URL.RawQuery != "" {
		return false
	}
	p, ok := a.peek(r)
	if !ok {
		return false
	}
	// One allocation for the texts and one for the lists of them.
	ids := p.AppendSessionID(p.AppendUserID(make([]byte, 0, 72)))
	text := string(ids)
	values := [3]string{text[:36], p.Role, text[36:]}
	h["X-User-Id"], h["X-User-Role"], h["X-Session-Id"] = values[0:1:1], values[1:2:2], values[2:3:3]
	h["Cache-Control"] = a.forwardCaching(p.Expires)
	h["Vary"] = varyByCaller
	return true
}

// Shed is the refusal of an attempt to log in or to register for which there is
// no place, before its body is read; nil where there is one.
func (a *API) Shed(caller account.Caller, registration bool) error {
	return a.service.Shed(caller, registration)
}

// AppendOverloaded sets the headers of such a refusal and appends its body to b:
// what [API.WriteError] would send, without making it anew each time.
func (a *API) AppendOverloaded(b []byte, h http.Header, r *http.Request, err error) []byte {
	f := failureOf(err)
	if len(r.Header["Accept"]) > 0 && wantsProblem(r) {
		rec := httpRecorder{h: h, b: b}
		a.writeError(&rec, r, err)
		return rec.b
	}
	lang := a.langs[0]
	if len(r.Header["Accept-Language"]) > 0 || len(a.langs) > 1 {
		lang = a.language(r)
	}
	h["Content-Language"], h["Vary"] = a.overloaded[lang].lang, varyByAsker
	h["Content-Type"], h["Cache-Control"] = jsonType, cacheNever
	if f.retry > 0 {
		h["Retry-After"] = []string{strconv.Itoa(f.retry)}
	}
	b = append(b, a.overloaded[lang].body...)
	b = append(b, h.Get("X-Request-Id")...)
	return append(b, `"}}`...)
}

// prepared is what does not change from one refusal to the next.
type prepared struct {
	lang []string
	body string // up to the request's id
}

//nolint:gochecknoglobals // values of headers
var (
	jsonType    = []string{"application/json"}
	varyByAsker = []string{"Accept, Accept-Language"}
)

func prepareOverloaded(langs []string) map[string]prepared {
	out := map[string]prepared{}
	for _, lang := range langs {
		e := errorEnvelope{Status: "error", Code: account.CodeOverloaded, Message: text(account.Fault{Code: account.CodeOverloaded}, lang)}
		b, err := json.Marshal(e, json.Deterministic(true))
		body, found := strings.CutSuffix(string(b), `"}}`)
		if err != nil || !found {
			panic("the envelope of errors has another form") // it is part of the program, and every test makes it
		}
		out[lang] = prepared{lang: []string{lang}, body: body}
	}
	return out
}

// httpRecorder takes an answer to send it later.
type httpRecorder struct {
	h http.Header
	b []byte
}

func (r *httpRecorder) Header() http.Header { return r.h }
func (r *httpRecorder) WriteHeader(int)     {}
func (r *httpRecorder) Write(b []byte) (int, error) {
	r.b = append(r.b, b...)
	return len(b), nil
}

func (a *API) peek(r *http.Request) (account.Pass, bool) {
	given, _, err := a.tokenOf(r)
	if err != nil || given == "" || r.URL.RawPath != "" { // "/auth%2Fsession" is another path
		return account.Pass{}, false
	}
	return a.service.Peek(account.NewSecret(given))
}

// appendTime is [API.time] for an instant in microseconds since 1970: a layout
// that is read anew each time would take most of the answer's own time.
func (a *API) appendTime(b []byte, us int64) []byte {
	t := time.UnixMicro(us).In(a.zone)
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	if year < 1000 || year > 9999 {
		return t.AppendFormat(b, timeFormat)
	}
	b = appendTwo(b, year/100)
	b = appendTwo(b, year%100)
	b = append(b, '-')
	b = appendTwo(b, int(month))
	b = append(b, '-')
	b = appendTwo(b, day)
	b = append(b, 'T')
	b = appendTwo(b, hour)
	b = append(b, ':')
	b = appendTwo(b, minute)
	b = append(b, ':')
	b = appendTwo(b, second)
	b = append(b, '.')
	micros := t.Nanosecond() / 1000
	b = appendTwo(b, micros/10000)
	b = appendTwo(b, micros/100%100)
	b = appendTwo(b, micros%100)
	_, offset := t.Zone()
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	b = append(b, sign)
	b = appendTwo(b, offset/3600)
	b = append(b, ':')
	return appendTwo(b, offset/60%60)
}

// appendTwo needs a number below 100.
func appendTwo(b []byte, n int) []byte {
	return append(b, byte('0'+n/10), byte('0'+n%10)) //nolint:gosec // see above
}
