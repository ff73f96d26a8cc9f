package api

import "net/http"

// route is one call: how it is reached, what stands behind it, and what the
// OpenAPI document says of it.
type route struct {
	method   string
	paths    []string // the first is the one to use; the others are the seed's
	access   access
	handle   handlerFunc
	status   int  // of success
	quiet    bool // a success is not logged, only counted
	oauth    bool // the body is a form, the answer and its errors are those of the OAuth RFCs
	bodyless bool // the answer has no body
	id       string
	tag      string
	summary  string
	about    string
	in       any      // zero value of the body's type; nil: no body
	out      any      // zero value of the data's type; nil: no data
	headers  []string // of the request
	query    []string // parameters
	refuses  []int    // statuses of refusals beside those that every such route has
	answers  []string // headers of the answer
}

// routes is every route of the JSON face.
func (a *API) routes() []route {
	const ok, created = http.StatusOK, http.StatusCreated
	return []route{
		{
			method: "POST", paths: []string{"/auth/register", "/register"}, access: public, handle: body(a.register), status: created,
			id: "register", tag: "account", summary: "Register a user",
			about: "Makes an account and gives its id. With an `Idempotency-Key`, a request that is repeated within 24 hours, " +
				"because its answer was lost, gives the same id and makes no second account.",
			in: registerRequest{}, out: registered{}, headers: []string{"Idempotency-Key"}, refuses: []int{403, 409, 429},
			answers: []string{"Location", "Idempotent-Replayed"},
		}, {
			method: "POST", paths: []string{"/auth/login", "/login"}, access: public, handle: body(a.login), status: ok,
			id: "login", tag: "session", summary: "Log in",
			about: "Takes an e-mail address or a username with the password and gives a token. An unknown name, a wrong password " +
				"and a disabled account get the same answer. A success makes the device known to the account, by a cookie and by the header " +
				"`X-Device-Token`, either of which may be sent back: from there its owner can log in whatever strangers do.",
			in: loginRequest{}, out: tokenData{}, headers: []string{deviceHeader}, refuses: []int{401, 429}, answers: []string{deviceHeader, "Set-Cookie"},
		}, {
			method: "GET", paths: []string{"/auth/session"}, access: token, handle: a.session, status: ok, quiet: true,
			id: "getSession", tag: "session", summary: "Check a token",
			about: "Whose token this is, since when, how its owner proved himself, and until when it lives.",
			out:   sessionData{},
		}, {
			method: "POST", paths: []string{"/auth/logout"}, access: token, handle: a.logout, status: ok,
			id: "logout", tag: "session", summary: "Log out", about: "Ends the session of the token. From the answer on, the token is worth nothing.",
		}, {
			method: "GET", paths: []string{"/auth/sessions"}, access: token, handle: a.sessions, status: ok,
			id: "listSessions", tag: "session", summary: "List one's sessions", about: "Every live session of the token's owner.", out: sessionList{},
		}, {
			method: "DELETE", paths: []string{"/auth/sessions"}, access: token, handle: a.endOtherSessions, status: ok,
			id: "endOtherSessions", tag: "session", summary: "End all other sessions", about: "Every session of the owner ends but the one that asks.", out: ended{},
		}, {
			method: "DELETE", paths: []string{"/auth/sessions/{session_id}"}, access: token, handle: a.endSession, status: ok,
			id: "endSession", tag: "session", summary: "End one session", about: "One of the owner's own sessions, by its id.", refuses: []int{404},
		}, {
			method: "POST", paths: []string{"/auth/reauthenticate"}, access: token, handle: body(a.reauthenticate), status: ok,
			id: "reauthenticate", tag: "session", summary: "Prove again who one is",
			about: "Takes the password once more, which counts for 15 minutes for what needs a recent proof. The session gets a new token; the old one ends.",
			in:    reauthenticateRequest{}, out: tokenData{}, headers: []string{deviceHeader}, refuses: []int{403, 429},
		}, {
			method: "POST", paths: []string{"/auth/password"}, access: token, handle: body(a.changePassword), status: ok,
			id: "changePassword", tag: "account", summary: "Change the password",
			about: "Every other session ends. The session that asks gets a new token; its old one ends.",
			in:    passwordRequest{}, out: tokenData{}, headers: []string{deviceHeader}, refuses: []int{403, 429},
		}, {
			method: "GET", paths: []string{"/{user_id}"}, access: tokenOrNetwork, handle: a.readUser, status: ok,
			id: "getUser", tag: "account", summary: "Read a user",
			about: "A user reads himself, an Admin anyone. To everyone else another user's id looks like one that does not exist.",
			out:   userData{}, refuses: []int{404}, answers: []string{"ETag"},
		}, {
			method: "PUT", paths: []string{"/{user_id}"}, access: tokenOrNetwork, handle: body(a.replaceUser), status: ok,
			id: "replaceUser", tag: "account", summary: "Change a user",
			about: "Takes the document of register. The read-only fields may come along if they equal the present values, so that what was read can be written back.",
			in:    replaceRequest{}, headers: []string{"If-Match", deviceHeader}, refuses: []int{403, 404, 409, 412, 429},
		}, {
			method: "PATCH", paths: []string{"/{user_id}"}, access: token, handle: body(a.patchUser), status: ok,
			id: "patchUser", tag: "account", summary: "Change single fields of a user", about: "A JSON merge patch (RFC 7396).",
			in: patchRequest{}, headers: []string{"If-Match", deviceHeader}, refuses: []int{403, 404, 409, 412, 429},
		}, {
			method: "DELETE", paths: []string{"/{user_id}"}, access: token, handle: a.deleteUser, status: ok,
			id: "deleteUser", tag: "account", summary: "Delete a user",
			about:   "Erases the account, its sessions and everything else of it. Needs a proof of identity that is at most 15 minutes old.",
			headers: []string{"If-Match"}, refuses: []int{403, 404, 412},
		}, {
			method: "GET", paths: []string{forwardPath}, access: token, status: ok, bodyless: true, // handle: see mount
			id: "forward", tag: "service", summary: "Let a gateway ask about a request",
			about: "For nginx (auth_request), Traefik, Caddy, HAProxy and Envoy: 200 with the identity in headers and no body, 401 without a good token, 403 with another role, " +
				"503 where it cannot be known: never one for the other. Every method is taken, also on paths below, where the query is the client's own and not looked at.",
			query: []string{"role"}, refuses: []int{403}, answers: []string{"X-User-Id", "X-User-Role", "X-Session-Id", "Cache-Control"},
		}, {
			method: "POST", paths: []string{"/oauth/introspect"}, access: serviceKey, handle: a.introspect, status: ok, quiet: true, oauth: true,
			id: "introspect", tag: "service", summary: "Tell a service about a token",
			about: "OAuth 2.0 token introspection (RFC 7662). Needs the key of a service with the scope introspect (`propusk key add`), as a bearer token, or by Basic authentication with the key's id or name.",
			in:    tokenForm{}, out: introspection{}, refuses: []int{403},
		}, {
			method: "POST", paths: []string{"/oauth/revoke"}, access: serviceKey, handle: a.revokeToken, status: ok, oauth: true,
			id: "revokeToken", tag: "service", summary: "End the session of a token",
			about: "OAuth 2.0 token revocation (RFC 7009), with the same key. A token that is worth nothing already is no error.",
			in:    tokenForm{}, refuses: []int{403},
		}, {
			method: "GET", paths: []string{"/healthz"}, access: public, handle: a.health, status: ok, quiet: true,
			id: "healthz", tag: "operation", summary: "The process lives", about: "Says nothing of what it depends on.",
		}, {
			method: "GET", paths: []string{"/readyz"}, access: public, handle: a.readiness, status: ok, quiet: true,
			id: "readyz", tag: "operation", summary: "The service can serve", about: "503 while it is stopping, or while its database does not answer.",
		}, {
			method: "GET", paths: []string{"/openapi.json"}, access: public, status: ok, // handle: see mount
			id: "openapi", tag: "operation", summary: "This description", about: "The OpenAPI 3.1 document of this API. People find it as a page at /docs.",
		},
	}
}

func (a *API) health(*request) (reply, error) { return reply{}, nil }

func (a *API) readiness(r *request) (reply, error) {
	if a.ready != nil {
		if err := a.ready(r.Context()); err != nil {
			return reply{}, err
		}
	}
	return reply{}, nil
}

// Document is the OpenAPI document.
func (a *API) Document() []byte { return a.document() }
