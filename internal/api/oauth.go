package api

import (
	"encoding/base64"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"

	"propusk/internal/account"
)

// tokenForm is what introspection and revocation are asked with.
type tokenForm struct {
	Token         string `json:"token" doc:"The token that was handed over." example:"eeee1234-76a9-4509-87f0-e1b12354d92b"`
	TokenTypeHint string `json:"token_type_hint,omitempty" doc:"Not needed: there is one type of token." example:"access_token"`
}

// introspection is the answer of RFC 7662, section 2.2.
type introspection struct {
	Active    bool     `json:"active" doc:"Whether the token is worth anything; if not, nothing else is told." example:"true"`
	TokenType string   `json:"token_type,omitempty,omitzero" example:"Bearer"`
	Subject   string   `json:"sub,omitempty,omitzero" doc:"The user's id." example:"e5f8433e-76a9-4509-87f0-e1b12354d92b"`
	SessionID string   `json:"sid,omitempty,omitzero" example:"0f8fad5b-d9cb-469f-a165-70867728950e"`
	UserRole  string   `json:"user_role,omitempty,omitzero" example:"Verified"`
	IssuedAt  int64    `json:"iat,omitempty,omitzero" doc:"Seconds since 1970." example:"1734266926"`
	Expires   int64    `json:"exp,omitempty,omitzero" doc:"Seconds since 1970; the idle limit too." example:"1734353326"`
	AuthTime  int64    `json:"auth_time,omitempty,omitzero" doc:"When its owner last proved himself." example:"1734266926"`
	AMR       []string `json:"amr,omitempty,omitzero" nullable:"false" doc:"How he did (RFC 8176)." example:"[\"pwd\"]"`
	ACR       string   `json:"acr,omitempty,omitzero" doc:"How strong that is: aal2 is two factors." example:"aal1"`
	Issuer    string   `json:"iss,omitempty,omitzero" doc:"This service, where its public URL is known." example:"https://id.example.com"`
}

func (introspection) cases() []exampleCase {
	return []exampleCase{
		{name: "live", about: "A token that is worth something", fields: "active token_type sub sid user_role iat exp auth_time amr acr iss"},
		{name: "dead", about: "Any other", fields: "active", with: map[string]any{"active": false}},
	}
}

func (a *API) introspect(r *request) (reply, error) {
	token, err := readTokenForm(r)
	if err != nil {
		return reply{}, err
	}
	s, active, err := a.service.Introspect(r.Context(), r.caller, token)
	if err != nil || !active {
		return reply{data: introspection{}}, err
	}
	expires := s.ExpiresAt
	if !s.IdleExpiresAt.IsZero() && s.IdleExpiresAt.Before(expires) {
		expires = s.IdleExpiresAt
	}
	return reply{data: introspection{
		Active: true, TokenType: "Bearer", Subject: s.UserID, SessionID: s.ID, UserRole: s.Role, IssuedAt: s.CreatedAt.Unix(),
		Expires: expires.Unix(), AuthTime: s.AuthenticatedAt.Unix(), AMR: s.Methods.Names(), ACR: s.Methods.Level(), Issuer: a.publicURL,
	}}, nil
}

func (a *API) revokeToken(r *request) (reply, error) {
	token, err := readTokenForm(r)
	if err != nil {
		return reply{}, err
	}
	return reply{}, a.service.RevokeToken(r.Context(), r.caller, token)
}

// readTokenForm reads the body of an OAuth request.
func readTokenForm(r *request) (account.Secret, error) {
	form, err := readForm(r.w, r.Request)
	if err == nil && form.Get("token") == "" {
		err = fail(http.StatusBadRequest, codeFormInvalid)
	}
	return account.NewSecret(form.Get("token")), err
}

// readForm reads a body that is a form, in which nothing stands twice (RFC 6749,
// section 3.2). Never the query: it ends in logs.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" || len(r.Header.Values("Content-Type")) != 1 || r.Header.Get("Content-Encoding") != "" {
		f := fail(http.StatusUnsupportedMediaType, codeMediaType)
		f.fault.Args = map[string]string{"want": "application/x-www-form-urlencoded"}
		return nil, f
	}
	b, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(b))
	if err != nil {
		return nil, fail(http.StatusBadRequest, codeFormInvalid)
	}
	for _, values := range form {
		if len(values) != 1 {
			return nil, fail(http.StatusBadRequest, codeFormInvalid)
		}
	}
	return form, nil
}

// authenticateService finds out which service calls: its key comes as a bearer
// token (RFC 6750, section 2.1), or as the password of its id or name (RFC 6749,
// section 2.3.1).
func (r *request) authenticateService() error {
	id, key, ok := serviceCredentials(r.Header)
	if !ok {
		return &account.Error{Kind: account.Unauthenticated, Fault: account.Fault{Code: account.CodeKeyInvalid}}
	}
	var err error
	r.caller, err = r.api.service.AuthenticateService(r.Context(), r.caller, id, account.NewSecret(key))
	return err
}

func serviceCredentials(h http.Header) (id, key string, ok bool) {
	if key, err := bearer(h); err == nil && key != "" {
		return "", key, true
	}
	values := h.Values("Authorization")
	const scheme = "Basic "
	if len(values) != 1 || len(values[0]) <= len(scheme) || !strings.EqualFold(values[0][:len(scheme)], scheme) {
		return "", "", false
	}
	b, err := base64.StdEncoding.DecodeString(values[0][len(scheme):])
	if err != nil {
		return "", "", false
	}
	id, key, ok = strings.Cut(string(b), ":")
	if id, err = url.QueryUnescape(id); err != nil { // both are form-encoded first
		return "", "", false
	}
	if key, err = url.QueryUnescape(key); err != nil {
		return "", "", false
	}
	return id, key, ok && id != "" && key != ""
}

// oauthError is the error of RFC 6749, section 5.2, with our own code beside it.
type oauthError struct {
	Error       string       `json:"error" doc:"Of RFC 6749, 6750 or 7009." example:"invalid_client"`
	Description string       `json:"error_description" doc:"The same for people, in the language of Accept-Language." example:"This needs the key of a service, made with propusk key add; the one that came along is missing, unknown, expired or revoked."`
	Code        account.Code `json:"code" doc:"Our own stable name of it." example:"key_invalid"`
}

// oauthNames gives the standard's name of what a status means there.
var oauthNames = map[int]string{ //nolint:gochecknoglobals // a constant table
	http.StatusUnauthorized:        "invalid_client",
	http.StatusForbidden:           "insufficient_scope",
	http.StatusServiceUnavailable:  "temporarily_unavailable",
	http.StatusInternalServerError: "server_error",
}

// writeOAuthError answers a client that speaks OAuth, and knows no JSend.
func (a *API) writeOAuthError(w http.ResponseWriter, r *http.Request, err error) {
	f := failureOf(err)
	trace := traceOf(r)
	trace.Code = string(f.fault.Code)
	if f.status >= 500 {
		trace.Err = err
	}
	lang := a.errorHeaders(w, r, f)
	if f.status == http.StatusUnauthorized {
		w.Header()["Www-Authenticate"] = []string{`Bearer realm="propusk"`, `Basic realm="propusk", charset="UTF-8"`}
	}
	name, ok := oauthNames[f.status]
	if !ok {
		name = "invalid_request"
	}
	b, err := json.Marshal(oauthError{Error: name, Description: text(f.fault, lang), Code: f.fault.Code})
	if err != nil {
		trace.Err = err
		b = []byte(`{"error":"server_error","error_description":"","code":"internal_error"}`)
	}
	send(w, f.status, "application/json", b)
}
