package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"propusk/internal/account"
)

// forwardPath is where gateways ask about every request of their own. Below it
// stands whatever path a gateway appends (Envoy's path_prefix).
const (
	forwardPath      = "/auth/forward"
	forwardPathBelow = forwardPath + "/{rest...}"
)

// forward tells a gateway whether to let a request pass, and whose it is: 200
// without a body, with the identity in headers; 401 or 403; and 503 where it
// cannot know. Every header stands in every 200, so that no gateway keeps what
// its client sent in the place of one that is missing.
func (a *API) forward(w http.ResponseWriter, hr *http.Request) {
	trace := traceOf(hr)
	trace.Route, trace.Quiet = forwardPath, true
	r := &request{Request: hr, w: w, api: a, caller: account.CallerFrom(hr.Context())}
	err := r.authenticate(token)
	if err == nil {
		trace.UserID = r.caller.UserID
		err = mayPass(hr, r.caller.Role)
	}
	if err != nil {
		a.writeError(w, hr, err)
		return
	}
	h := w.Header()
	h.Set("X-User-Id", r.session.UserID)
	h.Set("X-User-Role", r.session.Role)
	h.Set("X-Session-Id", r.session.ID)
	h["Cache-Control"], h["Vary"] = a.forwardCaching(r.session.ExpiresAt.UnixMicro()), varyByCaller
	w.WriteHeader(http.StatusOK)
}

// mayPass holds the role against ?role=A,B. Whatever of the query cannot be
// understood lets nobody pass; and so does a second role, which a client might
// have had his gateway append. What stands below forwardPath is the client's own
// path and query.
func mayPass(r *http.Request, role string) error {
	if r.URL.Path != forwardPath || r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	roles := query["role"]
	if err != nil || len(query) != 1 || len(roles) != 1 {
		return errRoleMissing
	}
	list := strings.Split(roles[0], ",")
	for _, r := range list {
		if !account.IsRole(r) { // such as the path of a client, which his gateway has appended
			return errRoleMissing
		}
	}
	if !slices.Contains(list, role) {
		return errRoleMissing
	}
	return nil
}

//nolint:gochecknoglobals // values of headers
var (
	varyByCaller = []string{"Authorization, Cookie"}
	cacheBriefly = []string{"max-age=1, must-revalidate"}
	cacheNever   = []string{"no-store"}
)

// forwardCaching says for how long a gateway may do without asking again: a second
// where a revocation is effective at once, so that it is within that second
// everywhere, and not at all where it may take so long by itself.
func (a *API) forwardCaching(expires int64) []string {
	if a.service.Alone() && expires-a.service.Now().UnixMicro() > time.Second.Microseconds() {
		return cacheBriefly
	}
	return cacheNever
}
