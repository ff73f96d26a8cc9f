// Package api is the JSON face: it decodes a request, calls one rule, and
// responds in the manner of the API's seed (JSend, or RFC 9457 on request). Every
// route stands in routes.go, from which the OpenAPI document is made as well.
//
// It decides nothing: which status belongs to a refusal is all that it knows.
package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"propusk/internal/account"
)

// Options are what the face is built from.
type Options struct {
	Service   *account.Service
	Zone      *time.Location // of every instant in an answer
	Languages []string       // on offer: "en", "ru"; the first is the default
	Version   string         // of the program
	PublicURL string         // where people reach the service; "" if not known
	HTTPS     bool           // they do by HTTPS: cookies are for nothing else
	// Literals lets JSON be written with Python's True, False and None, as one
	// example of the API's seed is. For throwaway instances only.
	Literals bool
	// Ready tells whether the service can serve.
	Ready func(context.Context) error
}

// API is the face. It is an http.Handler.
type API struct {
	service    *account.Service
	zone       *time.Location
	langs      []string
	literals   bool
	publicURL  string
	overloaded map[string]prepared // by language
	methods    [256]string         // in JSON, of each set of methods
	https      bool
	ready      func(context.Context) error
	mux        *http.ServeMux
	paths      map[string][]string // path pattern → its methods
	document   func() []byte       // made when first asked for: most instances never are
}

// New builds the face.
func New(o Options) (*API, error) {
	a := &API{
		service: o.Service, zone: o.Zone, langs: o.Languages, literals: o.Literals, ready: o.Ready, publicURL: o.PublicURL, https: o.HTTPS, overloaded: prepareOverloaded(o.Languages),
		mux: http.NewServeMux(), paths: map[string][]string{},
	}
	for m := range a.methods {
		b, err := json.Marshal(account.Methods(m).Names())
		if err != nil {
			return nil, fmt.Errorf("names of methods: %w", err)
		}
		a.methods[m] = string(b)
	}
	routes := a.routes()
	a.document = sync.OnceValue(func() []byte {
		b, err := document(o, routes)
		if err != nil {
			panic(err) // it is part of the program, and every test makes it
		}
		return b
	})
	a.mount(routes)
	return a, nil
}

// mount puts the routes on a mux, and answers for every other method of their
// paths and for every other path in the envelope: the mux's own answers are
// plain text. Every method of a path is mounted by name, for "/register" would
// not be more special than "GET /{user_id}"; what has no name here, ServeHTTP
// takes for OPTIONS.
func (a *API) mount(routes []route) {
	for _, r := range routes {
		if r.handle == nil {
			continue // described here, served below
		}
		for _, path := range r.paths {
			a.paths[path] = append(a.paths[path], r.method)
			a.handle(r.method, path, a.handler(r, path))
		}
	}
	description := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		send(w, http.StatusOK, "application/json", a.document())
	})
	docs := sync.OnceValues(func() (page, asset http.Handler) { return newDocs(http.HandlerFunc(a.nowhere)) }) // hashes the whole bundle
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := docs()
		p.ServeHTTP(w, r)
	})
	asset := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, f := docs()
		f.ServeHTTP(w, r)
	})
	for path, h := range map[string]http.Handler{"/openapi.json": description, relatedOriginsPath: http.HandlerFunc(a.relatedOrigins), "/docs": page, "/docs/{asset}": asset} {
		a.paths[path] = []string{http.MethodGet}
		a.handle(http.MethodGet, path, traced(path, h))
	}
	for _, path := range []string{forwardPath, forwardPathBelow} { // a gateway may ask with the method of its client
		a.paths[path] = mountedMethods
		for _, m := range mountedMethods {
			a.handle(m, path, http.HandlerFunc(a.forward))
		}
	}
	for path, methods := range a.paths {
		for _, m := range mountedMethods {
			if !slices.Contains(methods, m) {
				a.handle(m, path, a.notAllowed(path, methods))
			}
		}
	}
	a.mux.Handle("/", http.HandlerFunc(a.nowhere))
}

var mountedMethods = []string{ //nolint:gochecknoglobals // a constant list; HEAD comes with GET
	http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// userPath is where users are.
const userPath = "/{user_id}"

// handle puts h on the mux. What has not the form of an id is no user's path:
// nothing is there, for everyone, and nobody is asked for a token first.
func (a *API) handle(method, path string, h http.Handler) {
	if path == userPath {
		user := h
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !account.IsID(r.PathValue("user_id")) {
				a.nowhere(w, r)
				return
			}
			user.ServeHTTP(w, r)
		})
	}
	a.mux.Handle(method+" "+path, h)
}

// nowhere answers for a path where nothing is.
func (a *API) nowhere(w http.ResponseWriter, r *http.Request) {
	traceOf(r).Route = "none"
	a.writeError(w, r, errNoSuchPath)
}

func (a *API) notAllowed(path string, methods []string) http.Handler {
	allow := allowHeader(methods)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		traceOf(r).Route = path
		w.Header().Set("Allow", allow)
		a.writeError(w, r, errNoSuchMethod)
	})
}

// ServeHTTP implements [http.Handler].
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !cleanPath(r.URL.Path) {
		// The mux would redirect "//x" and "/a/../x" to the clean path. A gateway
		// in front may have decided on what it took the unclean one for.
		a.nowhere(w, r)
		return
	}
	if r.Method != http.MethodHead && !slices.Contains(mountedMethods, r.Method) {
		// To a path, a method that nobody has heard of is what OPTIONS is: not
		// among its own.
		r = r.WithContext(r.Context()) // a copy: the access log keeps the method that was sent
		r.Method = http.MethodOptions
	}
	a.mux.ServeHTTP(w, r)
}

// Trace is what an answer tells the access log.
type Trace struct {
	Route  string // the pattern, never the path: a path may hold what was pasted into it
	UserID string
	Code   string
	Err    error // a fault of ours, to be logged once
	Quiet  bool  // a success is worth a log line only to who debugs: it is asked too often
}

type traceKey struct{}

// WithTrace gives the request a trace to be filled in.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

func traceOf(r *http.Request) *Trace {
	if t, ok := r.Context().Value(traceKey{}).(*Trace); ok {
		return t
	}
	return &Trace{}
}

func traced(path string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		traceOf(r).Route = path
		h.ServeHTTP(w, r)
	})
}
