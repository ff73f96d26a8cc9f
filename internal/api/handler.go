package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"propusk/internal/account"
)

// access says who may call a route at all. What he may do there, the rules say.
type access uint8

const (
	public         access = iota // anyone; a token is not looked at
	optional                     // anyone, or the bearer of a live token
	token                        // the bearer of a live token
	tokenOrNetwork               // or, without any, an address of the trusted networks
	serviceKey                   // the key of a service
)

// request is one call of a route.
type request struct {
	*http.Request
	w       http.ResponseWriter
	api     *API
	caller  account.Caller
	session account.Session // zero unless a token came along
	cookie  bool            // it came along in the cookie
}

// reply is a successful answer.
type reply struct {
	status  int // 0: the route's own
	data    any // nil: no data member
	etag    string
	header  map[string]string
	cookies []*http.Cookie
}

// handlerFunc is what stands behind a route.
type handlerFunc func(r *request) (reply, error)

// body decodes the JSON body into In before it calls f.
func body[In any](f func(r *request, in *In) (reply, error)) handlerFunc {
	return func(r *request) (reply, error) {
		in := new(In)
		if err := r.api.decode(r.w, r.Request, in); err != nil {
			return reply{}, err
		}
		return f(r, in)
	}
}

func (a *API) handler(rt route, path string) http.Handler {
	writeError := a.writeError
	if rt.oauth {
		writeError = a.writeOAuthError
	}
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		trace := traceOf(hr)
		trace.Route, trace.Quiet = path, rt.quiet
		r := &request{Request: hr, w: w, api: a, caller: account.CallerFrom(hr.Context())}
		if rt.access != public {
			if err := r.authenticate(rt.access); err != nil {
				writeError(w, hr, err)
				return
			}
			trace.UserID = r.caller.UserID
		}
		rep, err := rt.handle(r)
		if err != nil {
			writeError(w, hr, err)
			return
		}
		if rep.status == 0 {
			rep.status = rt.status
		}
		a.write(w, hr, rep, rt.oauth)
	})
}

// authenticate finds out who calls. It leaves an address of the trusted
// networks as it is where no token came along.
func (r *request) authenticate(need access) error {
	if need == serviceKey {
		err := r.authenticateService()
		if err != nil { // net/http would read more of the body than we allow, before it lets the refusal out
			if _, tooLarge := readBody(r.w, r.Request); tooLarge != nil {
				return tooLarge
			}
		}
		return err
	}
	given, cookie, err := r.api.tokenOf(r.Request)
	if err != nil {
		return err
	}
	if given == "" {
		if need == optional || need == tokenOrNetwork && r.caller.Kind == account.Network {
			return nil
		}
		return errTokenRequired
	}
	r.cookie = cookie
	r.caller.Kind = account.Anonymous // a token that came along decides, whatever the address
	r.caller, r.session, err = r.api.service.Authenticate(r.Context(), account.NewSecret(given), r.caller)
	return err
}

// bearer takes the token from "Authorization: Bearer <token>" (RFC 6750, 2.1);
// "" where there is no such header. Two of them, or another scheme, is no token.
func bearer(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return "", nil
	}
	const scheme = "Bearer "
	v := values[0]
	if len(values) > 1 || len(v) <= len(scheme) || !strings.EqualFold(v[:len(scheme)], scheme) {
		return "", errTokenInvalid
	}
	return v[len(scheme):], nil
}

// tokenOf takes the token from the header, or where there is none from the cookie
// of a browser that was logged in on a page of ours. Pages of other origins cannot
// have it sent along with what changes anything: see server.front.
func (a *API) tokenOf(r *http.Request) (token string, cookie bool, err error) {
	token, err = bearer(r.Header)
	if token != "" || err != nil || len(r.Header["Cookie"]) == 0 {
		return token, false, err
	}
	c, err := r.Cookie(a.cookieName(sessionCookie))
	if err != nil { // there is none
		return "", false, nil
	}
	return c.Value, true, nil
}

// success is the envelope of an answer (JSend).
type success struct {
	Status string `json:"status"`
	Data   any    `json:"data,omitzero"`
}

// write sends a reply: in the envelope, or, to whoever speaks OAuth, bare.
func (a *API) write(w http.ResponseWriter, r *http.Request, rep reply, bare bool) {
	var answer any = success{Status: "success", Data: rep.data}
	if bare {
		if answer = rep.data; answer == nil {
			answer = struct{}{}
		}
	}
	b, err := json.Marshal(answer)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	h := w.Header()
	for k, v := range rep.header {
		h.Set(k, v)
	}
	for _, c := range rep.cookies {
		http.SetCookie(w, c)
	}
	if rep.etag != "" {
		h.Set("ETag", rep.etag)
	}
	send(w, rep.status, "application/json", b)
}

// send writes a whole answer. Every answer is for this caller alone, so none is
// kept by anyone on the way.
func send(w http.ResponseWriter, status int, contentType string, b []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b) //nolint:gosec // JSON, sent as what it is; whom the answer does not reach cannot be told
}

func allowHeader(methods []string) string {
	m := slices.Clone(methods)
	if slices.Contains(m, http.MethodGet) {
		m = append(m, http.MethodHead)
	}
	slices.Sort(m)
	return strings.Join(m, ", ")
}

// cleanPath tells whether a path has no empty, "." or ".." segment and no NUL.
func cleanPath(p string) bool {
	if p == "" || p[0] != '/' || strings.ContainsRune(p, 0) {
		return false
	}
	for i, seg := range strings.Split(p[1:], "/") {
		if seg == "." || seg == ".." || seg == "" && !(i == 0 && p == "/") {
			return false
		}
	}
	return true
}
